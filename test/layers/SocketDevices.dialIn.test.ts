/**
 * Consumers that dial a feeder: processes that come, die, come back, and are fed as they appear.
 */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Logger, Redacted, Stream } from "effect"
import { Credentials, FailureTolerator, Feeder, MemoryDevices } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import type { ConsumerSettings } from "../fixtures/messages.ts"
import { Numbers } from "../fixtures/messages.ts"
import {
  freePort,
  makeProxy,
  type Process,
  startBadConsumer,
  startConsumer,
  startFeeder,
  until
} from "../fixtures/processes.ts"

const numbers = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: to - from }, (_, i) => from + i)

const nameOf = (replica: number) => `/job:consumer/replica:${replica}`

const patient = FailureTolerator.make({ limit: 400, initDelay: 50, backoffFactor: 1 })

const secret = "correct horse battery staple"

/** Gives `before` elements, and the rest up to `count` once it is opened. */
const gated = (before: number, count: number) =>
  Effect.map(Deferred.make<void>(), (gate) => ({
    open: Deferred.succeed(gate, undefined),
    source: Stream.concat(
      Stream.fromIterable(numbers(0, before)),
      Stream.unwrap(Effect.as(Deferred.await(gate), Stream.fromIterable(numbers(before, count))))
    )
  }))

/** A feeder in this process that listens, and feeds all that come, or those that pass. */
const listening = (
  source: Stream.Stream<number>,
  port: number,
  options: Feeder.Options & { readonly devices?: Feeder.Devices; readonly secret?: string } = {}
) =>
  Effect.gen(function*() {
    const { secret } = options
    const live = SocketDevices.layerListen({ url: `tcp://127.0.0.1:${port}` }).pipe(
      Layer.provide([
        Logger.layer([]),
        secret === undefined ? Layer.empty : Credentials.layerSecret(Redacted.make(secret))
      ])
    )
    const context = yield* Layer.build(live)
    const made = yield* Feeder.make(Numbers, { lease: 500, tolerate: patient, ...options })
    const feeder = yield* made.set(source)
    yield* Effect.provide(feeder.addRemoteDevices(options.devices ?? "all"), context)
    const fiber = yield* Effect.forkScoped(feeder.run)
    return { feeder, ledger: Fiber.join(fiber) }
  }).pipe(Effect.provide(Logger.layer([])))

const dialling = (port: number, replica: number, settings: Partial<ConsumerSettings> = {}): ConsumerSettings => ({
  port: 0,
  dial: `tcp://127.0.0.1:${port}`,
  device: nameOf(replica),
  feeds: ["numbers"],
  concurrency: 4,
  millis: 2,
  ...settings
})

const handed = (consumers: ReadonlyArray<Process>) => consumers.flatMap((consumer) => consumer.all("Handed"))

/** No element unseen, and none handed out twice without a mark. */
const assertEachSeen = (consumers: ReadonlyArray<Process>, count: number) => {
  const seen = new Set<number>()
  const unmarked = new Set<number>()
  for (const { ordinal, redelivered } of handed(consumers)) {
    seen.add(ordinal)
    if (redelivered) continue
    assert.isFalse(unmarked.has(ordinal), `#${ordinal} came twice, unmarked`)
    unmarked.add(ordinal)
  }
  assert.deepStrictEqual(numbers(0, count).filter((ordinal) => !seen.has(ordinal)), [])
}

it.live("a consumer that appears is fed; one that is killed is removed, and fed again when it is back", () =>
  Effect.gen(function*() {
    const port = yield* freePort
    // A process takes its time to appear.
    const slow = { millis: 25 }
    const { open, source } = yield* gated(1500, 2000)
    const { feeder, ledger } = yield* listening(source, port)
    const devices = Effect.map(feeder.status, ({ devices }) => devices.map(({ device }) => device).toSorted())
    assert.deepStrictEqual(yield* devices, [])
    const a = yield* startConsumer(dialling(port, 0, slow))
    yield* a.printed("Handed", 50)
    const b = yield* startConsumer(dialling(port, 1, slow))
    yield* b.printed("Handed", 50)
    assert.deepStrictEqual(yield* devices, [nameOf(0), nameOf(1)])
    yield* a.signal("SIGKILL")
    yield* a.exited
    yield* feeder.changes.pipe(
      Stream.takeUntil(({ devices }) => devices.length === 1),
      Stream.runDrain,
      Effect.timeout("10 seconds")
    )
    const again = yield* startConsumer(dialling(port, 0, slow))
    yield* open
    yield* again.printed("Handed", 50)
    const account = yield* ledger
    for (const consumer of [b, again]) assert.deepStrictEqual(yield* consumer.exited, { code: 0, signal: null })
    assertEachSeen([a, b, again], 2000)
    assert.deepInclude(account, { generated: 2000, delivered: 2000, lost: 0, leased: 0, queued: 0, dead: 0 })
  }))

it.live("a link that breaks is resumed: nothing is given twice, and nobody leaves", () =>
  Effect.gen(function*() {
    const port = yield* freePort
    const proxy = yield* makeProxy(port)
    const { feeder, ledger } = yield* listening(Stream.fromIterable(numbers(0, 1000)), port, { lease: 5000 })
    const consumer = yield* startConsumer(dialling(proxy.port, 0))
    for (const count of [100, 300, 500]) {
      yield* consumer.printed("Handed", count)
      yield* proxy.cut
    }
    assert.deepInclude(yield* ledger, { generated: 1000, delivered: 1000, lost: 0, redelivered: 0 })
    assert.deepInclude((yield* feeder.status).devices[0], { failures: 0, session: 1 })
    yield* consumer.exited
    assertEachSeen([consumer], 1000)
    assert.strictEqual(handed([consumer]).length, 1000)
  }))

it.live("a feeder that is killed and started again: its consumers just appear", () =>
  Effect.gen(function*() {
    const port = yield* freePort
    // So many that one alone is not done with them before the other has dialled again.
    const count = 10_000
    const settings = { feed: "numbers", count, id: "phoenix", leaseMillis: 500, devices: {} } as const
    const listen = `tcp://127.0.0.1:${port}`
    // The consumers are there before the feeder is.
    const consumers = yield* Effect.forEach([0, 1], (replica) => startConsumer(dialling(port, replica)), {
      concurrency: "unbounded"
    })
    const first = yield* startFeeder({ ...settings, listen })
    yield* until("both are fed", () => consumers.every((consumer) => handed([consumer]).length > 50))
    yield* first.signal("SIGKILL")
    yield* first.exited
    const second = yield* startFeeder({ ...settings, listen })
    yield* second.exited
    for (const consumer of consumers) assert.deepStrictEqual(yield* consumer.exited, { code: 0, signal: null })
    assert.deepInclude(second.all("Fed")[0], { generated: count, delivered: count, lost: 0 })
  }))

it.live("one with a wrong secret is refused, and learns nothing", () =>
  Effect.gen(function*() {
    const port = yield* freePort
    const { feeder, ledger } = yield* listening(Stream.fromIterable(numbers(0, 300)), port, { secret })
    const wrong = yield* startBadConsumer(dialling(port, 0, { credential: "a guess" }))
    const none = yield* startBadConsumer(dialling(port, 2))
    yield* wrong.printed("Up")
    yield* none.printed("Up")
    const right = yield* startConsumer(dialling(port, 1, { credential: secret }))
    assert.deepInclude(yield* ledger, { generated: 300, delivered: 300 })
    assert.deepStrictEqual((yield* feeder.status).devices.map(({ device }) => device), [nameOf(1)])
    yield* right.exited
    assert.strictEqual(handed([right]).length, 300)
    assert.strictEqual(handed([wrong, none]).length, 0)
  }))

it.live("only those that pass, and host the feed, are fed", () =>
  Effect.gen(function*() {
    const port = yield* freePort
    const { feeder, ledger } = yield* listening(Stream.fromIterable(numbers(0, 300)), port, {
      devices: ({ replica }) => replica === 1 || replica === 2
    })
    const [other, , right] = yield* Effect.forEach(
      [dialling(port, 0), dialling(port, 1, { feeds: ["kept"] }), dialling(port, 2)],
      startConsumer,
      { concurrency: "unbounded" }
    )
    yield* ledger
    yield* right!.exited
    assert.deepStrictEqual((yield* feeder.status).devices.map(({ device }) => device), [nameOf(2)])
    assert.strictEqual(handed([other!]).length, 0)
  }))

it.live("a transport that does not know its devices says so", () =>
  Effect.gen(function*() {
    const feed = Feeder.run(Numbers, { source: [1], devices: "all" })
    const error = yield* Effect.flip(Effect.provide(feed, MemoryDevices.layerNetwork))
    assert.match(error.message, /this transport does not tell which devices there are; name them/)
  }))
