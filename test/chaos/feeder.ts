/**
 * The feeder's process: `node feeder.ts '<FeederSettings as JSON>'`. It generates numbered elements at a pace, and says
 * every second how it stands.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { FailureTolerator, Feeder, ResumableSource } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { existsSync } from "node:fs"
import { LeastMargin } from "../../src/internal/resuming.ts"
import * as Element from "./element.ts"
import { endWithParent, say } from "./process.ts"
import { FeederSettings } from "./settings.ts"

endWithParent()

const settings = Schema.decodeUnknownSync(Schema.fromJsonString(FeederSettings))(process.argv[2])
const feed = Element.feedOf(settings.delivery)
const { splits } = Element
const { began, generated, life, perSecond } = settings

/** How often the source looks what is due, and how much it gives at once. */
const pauseMillis = 20
const mostAtOnce = 256

/** What is due of elements `from`, `from + step` and so on, with their numbers. */
const generate = (from: number, step: number): Stream.Stream<readonly [number, Element.Element]> =>
  Stream.unfold(from, (n) =>
    Effect.gen(function*() {
      if (n >= generated) return undefined
      let due = 0
      while (due <= n) {
        due = perSecond === 0 ? generated : Math.min(generated, Math.floor((Date.now() - began) / 1000 * perSecond))
        if (due <= n) yield* Effect.sleep(pauseMillis)
      }
      const count = Math.min(Math.ceil((due - n) / step), mostAtOnce)
      const elements = Array.from({ length: count }, (_, i) => {
        const number = n + i * step
        return [number, Element.make(number, life)] as const
      })
      return [elements, n + count * step] as const
    })).pipe(Stream.flattenIterable)

const source = ResumableSource.make(Element.source, {
  splits: Array.from({ length: splits }, (_, i) => Element.splitOf(i)),
  read: (split, after) => generate(after === undefined ? Number(split) : after + splits, splits)
})

/** The store, which can be told to behave as one on a full disk. */
const store = Effect.gen(function*() {
  const real = yield* KeyValueStore.KeyValueStore
  const set: KeyValueStore.KeyValueStore["set"] = (key, value) =>
    existsSync(settings.fullFile)
      ? Effect.fail(
        new KeyValueStore.KeyValueStoreError({ method: "set", key, message: "ENOSPC: no space left on device" })
      )
      : real.set(key, value)
  return KeyValueStore.make({ ...real, set })
})

const main = Effect.gen(function*() {
  const made = yield* Feeder.make(feed, {
    id: Element.feeder,
    lease: settings.leaseMillis,
    store: yield* store,
    checkpointEvery: 200,
    // Nothing is to die of faults, which are many here.
    maxAttempts: 100_000,
    maxDeadLetters: 1000,
    tolerate: FailureTolerator.make({ limit: 1_000_000, initDelay: 50, backoffFactor: 1 })
  })
  const feeder = yield* (settings.delivery === "atMostOnce"
    // Such a feed cannot be resumed.
    ? made.set(Stream.map(generate(0, 1), ([, element]) => element))
    : made.set(source))
  yield* feeder.addRemoteDevices(Object.keys(settings.devices))
  say({ _tag: "Up" })
  yield* feeder.status.pipe(
    Effect.map(({ devices, ledger }) =>
      say({
        _tag: "Account",
        account: ledger,
        sessions: devices.reduce((sum, { session }) => sum + session, 0),
        failures: devices.reduce((sum, { failures }) => sum + failures, 0)
      })
    ),
    Effect.repeat(Schedule.spaced(1000)),
    Effect.forkScoped
  )
  const account = yield* feeder.run
  const letters = yield* feeder.deadLetters.list
  const refused = letters.filter(({ reason }) => reason === "rejected")
  say({ _tag: "Ended", account, refused: refused.map(({ element }) => Option.getOrThrow(element).n) })
}).pipe(
  Effect.scoped,
  // Marks what its former life may have fed: with the usual margin, that would be nearly everything here.
  Effect.provideService(LeastMargin, 500),
  Effect.provide([
    SocketDevices.layer(settings.devices),
    KeyValueStore.layerFileSystem(settings.store).pipe(Layer.provide(NodeServices.layer)),
    Logger.layer([])
  ]),
  Effect.tapError((error) => Effect.sync(() => say({ _tag: "Failed", message: error.message })))
)

NodeRuntime.runMain(main, { disableErrorReporting: true })
