/**
 * Elements that are too large for the broker, that the device's Schema does not accept, and that are to take effect once.
 */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Option, Schedule, Schema } from "effect"
import { Feed, Feeder } from "effect-feeder"
import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
import { Ledgers } from "effect-feeder/testing"
import * as Claims from "../../src/internal/jetStreamClaim.ts"
import * as Client from "../../src/internal/jetStreamClient.ts"
import { names } from "../../src/internal/jetStreamRecords.ts"
import { element, elements, good } from "../fixtures/checked.ts"
import * as Nats from "../fixtures/nats.ts"
import { until } from "../fixtures/processes.ts"
import { range } from "../network.ts"

const nats = await Nats.start()
afterAll(() => nats.stop())

const connection = { servers: nats.url }
const device = "/job:consumer/replica:0"

let prefixes = 0
const newPrefix = () => `edge${++prefixes}`

const hostOf = <const Feeds extends ReadonlyArray<Feed.Any>>(feeds: Feeds, prefix: string) =>
  JetStreamDevices.layerHost({ connection, prefix, device, feeds, lease: 1000 })

/** What is logged as an error. */
const errors = () => {
  const logged: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (logLevel === "Error") logged.push(String(message))
  })
  return { logged, layer: Logger.layer([logger]) }
}

describe("an element that the Schema at the device does not accept", () => {
  for (const acknowledge of ["processed", "accepted"] as const) {
    const becomes = acknowledge === "processed" ? "is a dead letter" : "is left out, which is logged"
    it.live(`${becomes}, and all others arrive, once and in order (${acknowledge})`, () =>
      Effect.gen(function*() {
        const prefix = newPrefix()
        const Ours = Feed.make("checked", { element: element(1000), capacity: 16, acknowledge })
        const Theirs = Feed.make("checked", { element: element(50), capacity: 16, acknowledge })
        const seen: Array<number> = []
        const { layer, logged } = errors()
        const consume = Theirs.forEach(({ n }, { redelivered }) => Effect.sync(() => seen.push(redelivered ? -n : n)))
        const loop = yield* Effect.forkScoped(
          Effect.provide(consume, hostOf([Theirs], prefix).pipe(Layer.provide(layer)))
        )
        const made = yield* Feeder.make(Ours, { id: "f" })
        const feeder = yield* made.set(elements)
        const devices = yield* Layer.build(JetStreamDevices.layer({ connection, prefix }))
        yield* Effect.provideContext(feeder.addRemoteDevice(device), devices)
        const ledger = yield* Effect.timeout(feeder.run, "20 seconds")
        yield* Fiber.join(loop)
        assert.deepStrictEqual(seen, good)
        const letters = yield* feeder.deadLetters.list
        if (acknowledge === "processed") {
          Ledgers.assertCounts(ledger, { generated: 40, delivered: 37, dead: 3, dropped: 0, heldByDead: 0 })
          assert.deepStrictEqual(
            letters.map(({ element, reason }) => [Option.getOrThrow(element).n, reason]),
            [[7, "invalid"], [8, "invalid"], [21, "invalid"]]
          )
          assert.match(letters[0]?.causes.at(-1) ?? "", /^rest: m: Expected a value less than 50/)
          assert.deepStrictEqual(logged, [])
        } else {
          // The broker had it before anybody could look.
          Ledgers.assertCounts(ledger, { generated: 40, delivered: 40, dead: 0, dropped: 0, heldByDead: 0 })
          assert.deepStrictEqual(letters, [])
          const all = logged.join("\n")
          assert.match(all, /feeder f .*feed "checked".* left out.*#7: rest: m: Expected a value less than 50/)
          for (const n of [7, 8, 21]) assert.include(all, `#${n}: `)
        }
      }), 30_000)
  }
})

const serverOf = (config: string) =>
  Effect.acquireRelease(Effect.promise(() => Nats.start(config)), (nats) => Effect.promise(() => nats.stop()))

/** A server that takes little in one message. */
const serverOfSmall = serverOf("max_payload: 20000")

describe("what is told of elements", () => {
  it.live("is told in parts where it is more than a message takes", () =>
    Effect.gen(function*() {
      const small = yield* serverOfSmall
      const at = { connection: { servers: small.url }, prefix: newPrefix() }
      const Refused = Feed.make("refused", { element: Schema.Int, capacity: 400 })
      // Every other one, so that they are told one by one, in letters that take much.
      const consume = Refused.forEach((n) =>
        n % 2 === 0 ? Effect.void : Effect.fail(Feed.reject(`${n} ${"\u0001\u5b57".repeat(200)}`))
      )
      const host = JetStreamDevices.layerHost({ ...at, device, feeds: [Refused] })
      const loop = yield* Effect.forkScoped(Effect.provide(consume, host))
      const devices = yield* Layer.build(JetStreamDevices.layer(at))
      const made = yield* Feeder.make(Refused, { lease: 1000 })
      const feeder = yield* made.set(range(120))
      yield* Effect.provideContext(feeder.addRemoteDevice(device), devices)
      const ledger = yield* Effect.timeout(feeder.run, "20 seconds")
      yield* Fiber.join(loop)
      Ledgers.assertCounts(ledger, { generated: 120, delivered: 60, dead: 60, dropped: 0, heldByDead: 0 })
    }).pipe(Effect.provide(Logger.layer([]))), 40_000)
})

describe("what is read ahead", () => {
  it.live(
    "is less than what a server keeps for whom it cannot write to, however large its messages may be",
    () =>
      Effect.gen(function*() {
        const large = yield* serverOf("max_payload: 8MB")
        const at = { connection: { servers: large.url }, prefix: newPrefix() }
        const Waiting = Feed.make("waiting", { element: Schema.Int, capacity: 4, acknowledge: "accepted" })
        const host = JetStreamDevices.layerHost({ ...at, device, feeds: [Waiting], stored: 1000, feeders: "forever" })
        yield* Effect.forkScoped(Effect.provide(Waiting.forEach(() => Effect.never), host))
        const devices = yield* Layer.build(JetStreamDevices.layer(at))
        const feeder = yield* Feeder.make(Waiting)
        yield* Effect.provideContext(feeder.addRemoteDevice(device), devices)
        const producer = yield* feeder.producer
        yield* Effect.forkScoped(feeder.run)
        // Each is stored before the next one is pushed: as many messages.
        yield* Effect.forEach(range(60), (n) => producer.push(n), { discard: true })
        const client = yield* Client.connect(at.connection)
        const all = names(at.prefix)
        const read = Effect.map(
          Claims.consumersOf(client, all, Waiting.name, device),
          (found) => found.reduce((sum, { num_ack_pending }) => sum + num_ack_pending, 0)
        )
        const stored = yield* Client.ask(() => client.manager.streams.info(all.feedStream(Waiting.name)))
        assert.isAtLeast(stored.state.last_seq, 60)
        yield* Effect.repeat(read, { until: (count) => count > 16, schedule: Schedule.spaced("20 millis") })
        yield* Effect.sleep("300 millis")
        // At the device 4, in line for it 16, in hand 1, and 2 of 8 MB.
        assert.isAtMost(yield* read, 4 + 16 + 1 + 2)
      }).pipe(Effect.provide(Logger.layer([]))),
    40_000
  )
})

describe("an element that is larger than a message", () => {
  const Texts = Feed.make("texts", { element: Schema.String, capacity: 64 })
  const KeptTexts = Feed.make("texts", { element: Schema.String, capacity: 64, acknowledge: "accepted" })

  it.live(
    "fails its feeder by name, and what others feed goes on (processed)",
    () => larger(Texts, (seen) => Texts.forEach((text) => Effect.sync(() => seen.push(text.length)))),
    30_000
  )

  it.live(
    "fails its feeder by name, and what others feed goes on (accepted)",
    () => larger(KeptTexts, (seen) => KeptTexts.forEach((text) => Effect.sync(() => seen.push(text.length)))),
    30_000
  )

  const larger = (
    Of: typeof Texts | typeof KeptTexts,
    consume: (seen: Array<number>) => Effect.Effect<unknown, unknown, Feed.Host<"texts">>
  ) =>
    Effect.gen(function*() {
      const small = yield* serverOfSmall
      const at = { connection: { servers: small.url }, prefix: newPrefix() }
      const devices = yield* Layer.build(JetStreamDevices.layer(at))
      const feeding = (lengths: ReadonlyArray<number>) =>
        Effect.gen(function*() {
          const made = yield* Of.acknowledge === "processed" ? Feeder.make(Of) : Feeder.make(Of)
          const feeder = yield* made.set(lengths.map((length) => "x".repeat(length)))
          yield* Effect.provideContext(feeder.addRemoteDevice(device), devices)
          return feeder
        })
      const seen: Array<number> = []
      const { layer, logged } = errors()
      const host = JetStreamDevices.layerHost({ ...at, device, feeds: [Of], feeders: "forever" })
      yield* Effect.forkScoped(Effect.provide(consume(seen), host.pipe(Layer.provide(layer))))
      const first = yield* feeding([1, 2, 3, 200_000, 5])
      const error = yield* Effect.flip(first.run)
      assert.strictEqual(error._tag === "FeedError" ? error.reason._tag : error._tag, "ElementTooLarge")
      assert.match(
        error.message,
        /element #3 takes 2000\d\d bytes, device \/job:consumer\/replica:0 accepts 10000 in a/
      )
      const { ledger: books } = yield* first.status
      assert.strictEqual(books.lost, 0)
      assert.strictEqual(books.generated, books.queued + books.leased + books.held + books.delivered)
      yield* until("what was before it arrived", () => seen.length >= 3)
      const second = yield* feeding([6, ...range(30).map(() => 900), 9_900, 7])
      const ledger = yield* Effect.timeout(second.run, "20 seconds")
      Ledgers.assertCounts(ledger, { generated: 33, delivered: 33, dead: 0, dropped: 0, heldByDead: 0 })
      assert.deepStrictEqual(seen, [1, 2, 3, 6, ...range(30).map(() => 900), 9_900, 7])
      assert.deepStrictEqual(logged, [])
    })
})
