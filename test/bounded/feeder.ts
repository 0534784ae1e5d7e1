/**
 * A feeder's process of a bounded scenario: `node --expose-gc feeder.ts '<FeederSettings as JSON>'`. It runs many
 * feeders at once, or many one after the other. It prints `Line`s.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { FailureTolerator, Feeder, type Ledger } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import type { RemoteDevices } from "effect-feeder/RemoteDevices"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { blobBytes, Blobs, FeederSettings, labelOf, Rows, Shared } from "./messages.ts"
import { print, start } from "./sampler.ts"

const settings = Schema.decodeUnknownSync(Schema.fromJsonString(FeederSettings))(process.argv[2])
const devices = Object.keys(settings.devices)
const options = {
  lease: settings.leaseMillis,
  // On a busy machine a lease may run out, and what is out come back, more often than it would elsewhere.
  maxAttempts: 100,
  tolerate: FailureTolerator.make({ limit: 400, initDelay: 50, backoffFactor: 1 })
}

const released = Deferred.makeUnsafe<void>()
process.once("SIGUSR2", () => Deferred.doneUnsafe(released, Effect.void))

const rows = function*(count: number) {
  for (let id = 0; id < count; id++) yield { id, label: labelOf(id) }
}

const blobs = function*(count: number) {
  for (let id = 0; id < count; id++) {
    const bytes = new Uint8Array(blobBytes)
    new DataView(bytes.buffer).setUint32(0, id, true)
    yield bytes
  }
}

const held = <A>(source: Iterable<A>): Iterable<A> | Stream.Stream<A> =>
  settings.isHeld ? Stream.unwrap(Effect.as(Deferred.await(released), Stream.fromIterable(source))) : source

/** A feeder of the feed, linked with the devices. */
interface Made {
  readonly run: Effect.Effect<Ledger.Ledger, unknown>
  readonly feeding: Effect.Effect<void, unknown>
  readonly ledger: Effect.Effect<Ledger.Ledger>
  readonly status: Effect.Effect<Feeder.Status>
}

const make = (count: number): Effect.Effect<Made, unknown, Scope.Scope | RemoteDevices> =>
  Effect.gen(function*() {
    const made = settings.feed === "rows" ? Feeder.make(Rows, options) : Feeder.make(Shared, options)
    const feeder: Made & Pick<Feeder.Feeder<typeof Rows.element>, "addRemoteDevices"> = settings.feed === "blobs"
      ? yield* Effect.flatMap(Feeder.make(Blobs, options), (made) => made.set(held(blobs(count))))
      : yield* Effect.flatMap(made, (made) => made.set(held(rows(count))))
    yield* feeder.addRemoteDevices(devices)
    return feeder
  })

const fed = { generated: 0, delivered: 0, redelivered: 0, lost: 0, cycles: 0, interrupted: 0 }

const add = ({ delivered, generated, lost, redelivered }: Ledger.Ledger): void => {
  fed.generated += generated
  fed.delivered += delivered
  fed.redelivered += redelivered
  fed.lost += lost
}

let feeders: ReadonlyArray<Made> = []

const atOnce = Effect.gen(function*() {
  feeders = yield* Effect.forEach(Array.from({ length: settings.feeders }), () => make(settings.count))
  const attached: Effect.Effect<void> = Effect.gen(function*() {
    while (true) {
      const all = yield* Effect.forEach(feeders, (feeder) => feeder.status)
      const links = all.reduce((sum, { devices }) => sum + devices.filter(({ phase }) => phase === "Live").length, 0)
      if (links === settings.feeders * devices.length) return print({ _tag: "Attached", links })
      yield* Effect.sleep(20)
    }
  })
  yield* Effect.forkScoped(attached)
  const ledgers = yield* Effect.forEach(feeders, (feeder) => feeder.run, { concurrency: "unbounded" })
  for (const ledger of ledgers) add(ledger)
})

/** One feeder after the other, of which every fourth is interrupted as soon as something was accepted. */
const cycle = (index: number) =>
  Effect.scoped(Effect.gen(function*() {
    if (index % 4 === 3) {
      const { feeding, run } = yield* make(Number.MAX_SAFE_INTEGER)
      yield* Effect.raceFirst(run, feeding)
      fed.interrupted++
    } else {
      const { run } = yield* make(settings.count)
      add(yield* run)
    }
    fed.cycles++
  }))

const cycles = Effect.gen(function*() {
  for (let index = 0; index < settings.cycles; index++) yield* cycle(index)
})

const counts = () => {
  const all = feeders.map(({ ledger }) => Effect.runSync(ledger))
  const sum = (of: (ledger: Ledger.Ledger) => number) => all.reduce((total, ledger) => total + of(ledger), 0)
  return { leased: sum(({ leased }) => leased), queued: sum(({ queued }) => queued), consumed: fed.cycles }
}

const main = Effect.gen(function*() {
  yield* start(settings.sampleMillis, counts)
  print({ _tag: "Up", pid: process.pid })
  yield* settings.cycles > 0 ? cycles : atOnce
  print({ _tag: "Fed", ...fed })
}).pipe(
  Effect.scoped,
  Effect.tapError((error) => Effect.sync(() => print({ _tag: "Failed", message: String(error) }))),
  Effect.provide([SocketDevices.layer(settings.devices), Logger.layer([])])
)

NodeRuntime.runMain(main, { disableErrorReporting: true })
