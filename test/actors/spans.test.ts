/**
 * Elements that come to a device in one frame are one span there: what happens to some of them only.
 */
import { assert, describe, it } from "@effect/vitest"
import { Bytes, Effect, Fiber, Latch, Result, Schema, Stream } from "effect"
import { BatchCodec, Feed, MemoryDevices, RemoteDevices } from "effect-feeder"
import { TestClock } from "effect/testing"
import { greeting, passUntil, range, settled } from "../network.ts"

const device = "/job:consumer"

const element = (most: number) => Schema.Struct({ n: Schema.Number.check(Schema.isLessThan(most)) })

const Few = Feed.make("few", { element: element(100), capacity: 16 })
const Kept = Feed.make("kept", { element: element(100), capacity: 16, acknowledge: "accepted" })
type Fed = typeof Few | typeof Kept

/** A feeder's whose elements may be larger. */
const sent = BatchCodec.make(element(1000))

const onDevice = (feeds: readonly [Fed, ...ReadonlyArray<Fed>] = [Few, Kept], windowBytes?: number) =>
  Effect.provide(MemoryDevices.layerHost({ feeds, device, ...(windowBytes === undefined ? {} : { windowBytes }) }))

const bytes = 10

/** A feeder's side of a link, frame by frame. */
const linked = (feed: Fed, facts: Partial<RemoteDevices.Hello> = {}) =>
  Effect.gen(function*() {
    const devices = yield* RemoteDevices.RemoteDevices
    const link = yield* devices.open(device, feed.info)
    const told: Array<RemoteDevices.Progress> = []
    yield* Effect.forkScoped(Effect.ignore(Effect.forever(
      Effect.map(link.receive, (frame) => {
        if (frame._tag === "Welcome" || frame._tag === "Progress") told.push(frame.progress)
      })
    )))
    const send = (frame: RemoteDevices.FeederFrame) => Effect.andThen(link.send(frame), settled)
    const heard = () => told.at(-1)!.report
    yield* send({ ...greeting(device, feed), acknowledge: feed.acknowledge, ...facts })
    let last = 0
    return {
      progress: () => told.at(-1)!,
      ping: Effect.suspend(() => send({ _tag: "Ping", heard: heard() })),
      end: Effect.suspend(() => send({ _tag: "End", last, heard: heard() })),
      /** Elements in one frame, of some runs of ordinals and attempts. */
      send: (ns: ReadonlyArray<number>, ...runs: ReadonlyArray<RemoteDevices.Run>) =>
        Effect.suspend(() => {
          const encoded = Bytes.concat(sent.encode(sent.fromElements(ns.map((n) => ({ n })))))
          const chunk = Result.getOrThrow(feed.codec.decode(encoded, { invalid: "mark" }))
          const first = last + 1
          last += ns.length
          return send({
            _tag: "Batch",
            first,
            heard: heard(),
            elementBytes: bytes,
            runs: runs.length > 0 ? runs : [{ ordinal: ns[0]!, count: ns.length, attempt: 1 }],
            chunk
          })
        })
    }
  })

const onNetwork = Effect.provide(MemoryDevices.layerNetwork)

const above = ({ above }: RemoteDevices.Progress) => above.map(({ count, from, result }) => [from, count, result._tag])

describe("of elements that came together", () => {
  it.effect("those are marked of which the feeder may not know, wherever batches are cut", () =>
    Effect.gen(function*() {
      const feeder = yield* linked(Kept)
      yield* feeder.send([0, 1, 2])
      yield* feeder.ping
      yield* feeder.send([3, 4, 5, 6, 7])
      yield* TestClock.adjust(5000)
      const seen: Array<readonly [ReadonlyArray<number>, ReadonlyArray<boolean>]> = []
      yield* Effect.forkScoped(Kept.forEachBatch(2, ({ n }, { deliveries }) =>
        Effect.sync(() => {
          assert.deepStrictEqual(deliveries.map(({ ordinal }) => ordinal), n)
          seen.push([n, deliveries.map(({ redelivered }) => redelivered)])
        })))
      yield* settled
      assert.deepStrictEqual(seen, [
        [[0, 1], [false, false]],
        [[2, 3], [false, true]],
        [[4, 5], [true, true]],
        [[6, 7], [true, true]]
      ])
    }).pipe(Effect.scoped, onDevice(), onNetwork))

  it.effect("those that a new session takes back are discarded, and their bytes with them", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const gate = yield* Latch.make(false)
      yield* Effect.forkScoped(
        Kept.forEachBatch(2, ({ n }) => Effect.andThen(Effect.sync(() => seen.push(...n)), gate.await))
      )
      const before = yield* linked(Kept)
      yield* before.send(range(8))
      const feeder = yield* linked(Kept, { session: 2, keepTo: 6 })
      assert.strictEqual(feeder.progress().carried, 4)
      const other = yield* linked(Kept, { feeder: "g" })
      assert.strictEqual(other.progress().creditBytesTo, 8 * bytes - 4 * bytes)
      yield* feeder.send([6, 7])
      yield* gate.open
      yield* settled
      assert.deepStrictEqual(seen, range(8))
    }).pipe(Effect.scoped, onDevice([Kept], 8 * bytes), onNetwork))

  it.effect("those whose lease has run out are let go of, and their bytes with them", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const feeder = yield* linked(Few)
      yield* feeder.send(range(8))
      yield* TestClock.adjust(5000)
      const loop = yield* Effect.forkScoped(Few.forEachBatch(6, ({ n }) => Effect.sync(() => seen.push(...n))))
      yield* settled
      yield* Fiber.interrupt(loop)
      const other = yield* linked(Few, { feeder: "g" })
      assert.strictEqual(other.progress().creditBytesTo, 8 * bytes)
      assert.deepStrictEqual(seen, [])
    }).pipe(Effect.scoped, onDevice([Few], 8 * bytes), onNetwork))

  it.effect("those that are none here are refused, and the others are handed out without them", () =>
    Effect.gen(function*() {
      const seen: Array<ReadonlyArray<number>> = []
      const loop = yield* Effect.forkScoped(
        Few.forEachBatch(2, ({ n }, { deliveries }) =>
          Effect.sync(() => {
            assert.deepStrictEqual(deliveries.map(({ ordinal }) => ordinal), n)
            seen.push(n)
          }))
      )
      const feeder = yield* linked(Few)
      yield* feeder.send([100, 1, 2, 100, 100, 5, 6, 100], { ordinal: 0, count: 8, attempt: 1 })
      assert.deepStrictEqual(seen, [[1, 2], [5, 6]])
      const { accepted, delivered, settled: watermark } = feeder.progress()
      assert.deepStrictEqual([accepted, delivered, watermark], [8, 7, 0])
      assert.deepStrictEqual(above(feeder.progress()), [
        [1, 1, "Reject"],
        [2, 2, "Done"],
        [4, 2, "Reject"],
        [6, 2, "Done"],
        [8, 1, "Reject"]
      ])
      yield* feeder.end
      assert.strictEqual((yield* passUntil(loop)).done, 4)
    }).pipe(Effect.scoped, onDevice(), onNetwork))

  it.effect("those that came back twice are each handed out alone, and cut the batch before them", () =>
    Effect.gen(function*() {
      const seen: Array<ReadonlyArray<number>> = []
      const loop = yield* Effect.forkScoped(
        Few.forEachBatch(4, ({ n }) => Effect.sync(() => seen.push(n)), { remainder: "drop" })
      )
      const feeder = yield* linked(Few)
      yield* feeder.send(
        range(8),
        { ordinal: 0, count: 5, attempt: 1 },
        { ordinal: 5, count: 2, attempt: 3 },
        { ordinal: 7, count: 1, attempt: 1 }
      )
      yield* feeder.end
      // Of a last batch only what is not full for want of elements is dropped.
      assert.deepStrictEqual(seen, [[0, 1, 2, 3], [4], [5], [6]])
      const { done, rejected } = yield* passUntil(loop)
      assert.deepStrictEqual([done, rejected], [7, 1])
    }).pipe(Effect.scoped, onDevice(), onNetwork))

  it.effect("each has its own outcome, by its index in the batch, from whichever frames that is", () =>
    Effect.gen(function*() {
      const sizes: Array<number> = []
      const loop = yield* Effect.forkScoped(Few.forEachBatch(6, ({ n }, { size }) => {
        sizes.push(size)
        return Effect.fail(
          Feed.outcomes(n.map((n) => n === 1 ? Feed.retry() : n === 4 ? Feed.reject("no") : Feed.done))
        )
      }))
      const feeder = yield* linked(Few)
      yield* feeder.send(range(4))
      yield* feeder.send(range(4, 4))
      const expected = [[2, 1, "Retry"], [3, 2, "Done"], [5, 1, "Reject"]]
      assert.deepStrictEqual(above(feeder.progress()), [...expected, [6, 1, "Done"]])
      assert.strictEqual(feeder.progress().settled, 1)
      yield* feeder.send(range(4, 8))
      assert.deepStrictEqual(above(feeder.progress()), [])
      assert.strictEqual(feeder.progress().settled, 12)
      yield* feeder.end
      assert.deepStrictEqual(sizes, [6, 6])
      assert.deepStrictEqual(yield* passUntil(loop), { done: 10, retried: 1, rejected: 1, fenced: 0, timedOut: 0 })
    }).pipe(Effect.scoped, onDevice(), onNetwork))

  it.effect("the last one pads the last batch, and is counted once", () =>
    Effect.gen(function*() {
      const seen: Array<readonly [ReadonlyArray<number>, number, ReadonlyArray<number>]> = []
      const loop = yield* Effect.forkScoped(
        Few.forEachBatch(4, ({ n }, { deliveries, size }) =>
          Effect.sync(() =>
            seen.push([n, size, deliveries.map(({ ordinal }) => ordinal)])
          ), { remainder: "pad" })
      )
      const feeder = yield* linked(Few)
      yield* feeder.send(range(6))
      yield* feeder.end
      assert.deepStrictEqual(seen, [[[0, 1, 2, 3], 4, [0, 1, 2, 3]], [[4, 5, 5, 5], 2, [4, 5]]])
      assert.strictEqual((yield* passUntil(loop)).done, 6)
    }).pipe(Effect.scoped, onDevice(), onNetwork))

  it.effect("those not processed in time are given back, and no others", () =>
    Effect.gen(function*() {
      const loop = yield* Effect.forkScoped(
        Few.forEachBatch(3, ({ n }) => n.includes(0) ? Effect.never : Effect.void, { processWithin: 500 })
      )
      const feeder = yield* linked(Few)
      yield* feeder.send(range(6))
      yield* TestClock.adjust(500)
      yield* settled
      assert.deepStrictEqual(above(feeder.progress()), [[1, 3, "Retry"], [4, 3, "Done"]])
      yield* feeder.end
      assert.deepStrictEqual(yield* passUntil(loop), { done: 3, retried: 3, rejected: 0, fenced: 0, timedOut: 3 })
    }).pipe(Effect.scoped, onDevice(), onNetwork))

  it.effect("a stream says of each what is known, and settles those of a batch", () =>
    Effect.gen(function*() {
      const ordinals: Array<ReadonlyArray<number>> = []
      const stream = yield* Effect.forkScoped(Stream.runForEach(Few.batches(3), (leased) => {
        ordinals.push(leased.deliveries.map(({ ordinal }) => ordinal))
        assert.strictEqual(leased.deliveries, leased.deliveries)
        return leased.value.n.includes(0) ? leased.settle(Feed.retry()) : leased.acknowledge
      }))
      const feeder = yield* linked(Few)
      yield* feeder.send(range(7))
      assert.deepStrictEqual(above(feeder.progress()), [[1, 3, "Retry"], [4, 3, "Done"]])
      yield* feeder.end
      yield* Fiber.join(stream)
      assert.deepStrictEqual(ordinals, [[0, 1, 2], [3, 4, 5], [6]])
    }).pipe(Effect.scoped, onDevice(), onNetwork))
})
