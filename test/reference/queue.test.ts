/**
 * What the reference's queue does beside the cases in test/FeedQueue.test.ts, and what it does to elements before they
 * enter: types, shapes, components and their names are a feed's Schema here.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result, Schema } from "effect"
import { BatchCodec, Feed, Feeder, FeedQueue, MemoryDevices, Tensor } from "effect-feeder"
import { Ledgers } from "effect-feeder/testing"
import { Numbers, onNetwork, range, replica, settled } from "../network.ts"

const issueOf = (result: Result.Result<unknown, BatchCodec.ElementInvalid>) =>
  Result.isSuccess(result) ? "accepted" : result.failure.issue

/** What came from outside the types. */
const untyped = (codec: BatchCodec.BatchCodec<unknown, unknown>) => codec

describe("the reference's cases", () => {
  it.effect("64, 67: a feed keeps what it was declared with", () =>
    Effect.gen(function*() {
      const Digits = Feed.make("digits", { element: Schema.Struct({ image: Tensor.float32([3, 2]) }), capacity: 7 })
      const { feed, ledger } = yield* (yield* Feeder.make(Digits)).status
      assert.deepStrictEqual([feed, Digits.capacity, ledger.generated], ["digits", 7, 0])
      assert.include(Digits.info.fingerprint, "float32")
      assert.strictEqual(Feed.make("default", { element: Schema.Int }).capacity, 10)
    }))

  it("65, 80, 82: a tensor of another type or size is refused before it is queued, and both are named", () => {
    const codec = untyped(BatchCodec.make(Schema.Struct({ x: Tensor.float32([3, 2]) })))
    assert.strictEqual(issueOf(codec.validate({ x: new Float32Array(6) })), "accepted")
    assert.match(
      issueOf(codec.validate({ x: new Float32Array(5) })),
      /x: expected float32\[3,2\].* got Float32Array of 5/
    )
    assert.match(issueOf(codec.validate({ x: new Int32Array(6) })), /x: expected float32\[3,2\].* got Int32Array of 6/)
  })

  it("69, 108: components have names, and an element must have each of them", () => {
    const codec = untyped(BatchCodec.make(Schema.Struct({ i: Schema.Int, s: Schema.String })))
    assert.strictEqual(issueOf(codec.validate({ i: 1, s: "a" })), "accepted")
    assert.strictEqual(issueOf(codec.validate({ i: 1 })), "s: Missing key")
    assert.strictEqual(issueOf(codec.validate({ i: 1, x: "a" })), "s: Missing key")
    assert.strictEqual(issueOf(codec.validate([1, "a"])), "Expected object")
  })

  it("66, 75: a batch is taken apart by rows, all fields of a row together", () => {
    const codec = BatchCodec.make(Schema.Struct({ n: Tensor.int32([]), x: Tensor.float32([2]) }))
    const rows = Result.getOrThrow(
      codec.unstack({ n: Int32Array.of(1, 2, 3, 4), x: Float32Array.of(1, 1, 2, 2, 3, 3, 4, 4) })
    )
    assert.deepStrictEqual(rows.map(({ n, x }) => [n, ...x]), [[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]])
  })

  it("80, 82: a batch whose fields differ in length is refused, with both lengths", () => {
    const codec = untyped(BatchCodec.make(Schema.Struct({ n: Tensor.int32([]), x: Tensor.float32([2]) })))
    const uneven = codec.unstack({ n: Int32Array.of(1, 2, 3), x: new Float32Array(4) })
    assert.match(issueOf(uneven), /expected 3 elements, as many as n, got 2/)
  })

  it("79: a tensor of high dimension comes back stacked", () => {
    const shape = [4, 4, 4, 4]
    const codec = BatchCodec.make(Schema.Struct({ x: Tensor.float64(shape) }))
    const elements = range(10).map((n) => ({ x: new Float64Array(256).fill(n) }))
    const { x } = codec.stack(elements)
    assert.strictEqual(x.length, 2560)
    assert.deepStrictEqual(range(10).map((n) => x[n * 256 + 255]), range(10))
  })

  it.effect("76, 81: an empty stacked batch is one of the declared types, and feeds nothing", () =>
    Effect.gen(function*() {
      const Points = Feed.make("points", { element: Schema.Struct({ n: Tensor.int32([]), s: Schema.String }) })
      const made = yield* Feeder.make(Points)
      const feeder = yield* made.setMany([
        { n: new Int32Array(0), s: [] },
        { n: Int32Array.of(7), s: ["seven"] },
        { n: new Int32Array(0), s: [] }
      ])
      const run = yield* Effect.forkChild(feeder.run)
      assert.deepStrictEqual(yield* feeder.take, { n: 7, s: "seven" })
      Ledgers.assertCounts(yield* Fiber.join(run), { generated: 1, delivered: 1 })
    }))

  it.effect("100: whatever takes from one feed of a device takes from one queue", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const loop = Numbers.forEach((n) => Effect.andThen(Effect.sync(() => seen.push(n)), Effect.yieldNow))
      const [one, two, ledger] = yield* Effect.all([
        loop,
        loop,
        Feeder.run(Numbers, { source: range(40), devices: [replica(0)] })
      ], { concurrency: "unbounded" })
      assert.strictEqual(one.done + two.done, 40)
      assert.deepStrictEqual(seen.toSorted((a, b) => a - b), range(40))
      Ledgers.assertCounts(ledger, { delivered: 40, redelivered: 0 })
    }).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }))))

  it.effect("101: types must match on both sides; the capacity is each side's own", () =>
    Effect.gen(function*() {
      const declared = (element: Schema.Codec<number>, capacity: number) => Feed.make("numbers", { element, capacity })
      const run = (feeder: ReturnType<typeof declared>, consumer: ReturnType<typeof declared>) =>
        Effect.gen(function*() {
          const loop = yield* Effect.forkChild(
            consumer.forEach(() => Effect.void).pipe(
              Effect.provide(MemoryDevices.layerHost({ feeds: [consumer], device: replica(0) }))
            )
          )
          yield* settled
          const exit = yield* Effect.exit(Feeder.run(feeder, { source: range(20), devices: [replica(0)] }))
          yield* Fiber.interrupt(loop)
          return exit._tag
        })
      assert.strictEqual(yield* run(declared(Schema.Int, 2), declared(Schema.Int, 9)), "Success")
      assert.strictEqual(yield* run(declared(Schema.Int, 2), declared(Tensor.int32([]), 2)), "Failure")
      assert.strictEqual(yield* run(declared(Tensor.int32([]), 2), declared(Tensor.float32([]), 2)), "Failure")
      // What a Schema checks beyond its layout is each side's own too.
      assert.strictEqual(yield* run(declared(Schema.Int, 2), declared(Schema.Number, 2)), "Success")
    }).pipe(onNetwork))
})

describe("what the reference's tests leave out", () => {
  it.effect("an element that does not fit fails before it waits, on a full queue too", () =>
    Effect.gen(function*() {
      const Small = Feed.make("small", { element: Schema.Int, capacity: 1 })
      const feeder = yield* (yield* Feeder.make(Small)).set([1, 0.5])
      // Nobody has taken the first one: the queue is full.
      const error = yield* Effect.flip(feeder.run)
      assert.strictEqual(error.reason._tag, "ElementInvalid")
      assert.match(error.message, /Expected an integer/)
      Ledgers.assertCounts(yield* feeder.ledger, { generated: 1, queued: 1 })
    }))

  it.effect("closing a queue twice succeeds, in each order of the two kinds", () =>
    Effect.gen(function*() {
      for (const first of [true, false]) {
        for (const second of [true, false]) {
          const queue = yield* FeedQueue.make<number>({ capacity: 2 })
          yield* queue.offer(1)
          yield* queue.close({ cancelPending: first })
          yield* queue.close({ cancelPending: second })
          assert.strictEqual(yield* queue.take, 1)
          assert.isTrue(yield* queue.isClosed)
        }
      }
    }))

  it.effect("what a closed queue is asked for says what was asked and what is left; refused offers say closed", () =>
    Effect.gen(function*() {
      const queue = yield* FeedQueue.make<number>({ capacity: 2, name: "N" })
      yield* queue.offer(1)
      yield* queue.close()
      const ended = yield* Effect.flip(queue.takeMany(3))
      assert.deepStrictEqual([ended._tag, ended.requested, ended.left], ["QueueEnded", 3, 1])
      assert.strictEqual(
        ended.message,
        "FeedQueue 'N' is closed and has insufficient elements (requested 3, current size 1)"
      )
      const closed = yield* Effect.flip(queue.offer(2))
      assert.deepStrictEqual([closed._tag, closed.message], ["QueueClosed", "FeedQueue 'N' is closed."])
    }))

  it.effect("elements of two batches that are offered and taken at once never mix", () =>
    Effect.gen(function*() {
      const queue = yield* FeedQueue.make<number>({ capacity: 3 })
      const offers = yield* Effect.forEach([0, 100, 200], (from) => Effect.forkChild(queue.offerAll(range(10, from))))
      yield* settled
      const batches = yield* Effect.all([queue.takeMany(10), queue.takeMany(10), queue.takeMany(10)], {
        concurrency: "unbounded"
      })
      yield* Effect.forEach(offers, Fiber.join)
      assert.deepStrictEqual(batches, [range(10), range(10, 100), range(10, 200)])
    }))
})
