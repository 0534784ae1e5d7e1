import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, MutableList, Queue, Stream } from "effect"
import * as FeedQueue from "effect-feeder/FeedQueue"
import * as Scheduler from "effect/Scheduler"
import { TestClock } from "effect/testing"
import { takeThrough } from "./fixtures/takeThrough.ts"

const { QueueClosed, QueueEnded } = FeedQueue

const ended = (requested: number, left: number) => new QueueEnded({ queue: "feed-queue", requested, left })
const closed = new QueueClosed({ queue: "feed-queue" })

const start = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })
const isWaiting = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.pollUnsafe() === undefined

/** Gives every woken fiber its turn: enough of them for any script here. */
const settle = Effect.gen(function*() {
  for (let turn = 0; turn < 60; turn++) yield* Effect.yieldNow
})

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

const filled = (capacity: number, elements: ReadonlyArray<number>) =>
  Effect.tap(FeedQueue.make<number>({ capacity }), (queue) => queue.offerAll(elements))

type Operation = Effect.Effect<unknown, FeedQueue.QueueClosed | FeedQueue.QueueEnded>
type Running = Fiber.Fiber<Effect.Success<Operation>, Effect.Error<Operation>>

const wasInterrupted = (fiber: Running): boolean => {
  const exit = fiber.pollUnsafe()
  return exit !== undefined && Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
}

describe("FeedQueue", () => {
  describe("the reference's cases", () => {
    it.effect("66, 72, 74, 75: elements leave in the order they came, and the size follows", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 10 })
        assert.strictEqual(yield* queue.size, 0)
        yield* queue.offer(1)
        yield* queue.offerAll([2, 3, 4])
        assert.strictEqual(yield* queue.size, 4)
        assert.deepStrictEqual([yield* queue.take, yield* queue.take, yield* queue.take, yield* queue.take], [
          1,
          2,
          3,
          4
        ])
        assert.strictEqual(yield* queue.size, 0)
      }))

    it.effect("67: several takes at once get an element each", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, [1, 2, 3])
        const taken = yield* Effect.all([queue.take, queue.take, queue.take], { concurrency: "unbounded" })
        assert.deepStrictEqual(taken, [1, 2, 3])
      }))

    it.effect("68: two queues without a name share nothing", () =>
      Effect.gen(function*() {
        const [first, second] = [yield* filled(10, [1]), yield* filled(10, [2])]
        assert.deepStrictEqual([yield* first.take, yield* second.take], [1, 2])
      }))

    it.effect("70, 71: ten producers and ten consumers in parallel move each element once", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 10 })
        const takes = yield* start(Effect.all(range(1, 10).map(() => queue.take), { concurrency: "unbounded" }))
        yield* Effect.forEach(range(1, 10), queue.offer, { concurrency: "unbounded", discard: true })
        assert.deepStrictEqual((yield* Fiber.join(takes)).toSorted((a, b) => a - b), range(1, 10))
      }))

    it.effect("73: a consumer that comes first gets the elements in order", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 10 })
        const consumer = yield* start(Effect.all([queue.take, queue.take, queue.take]))
        yield* Effect.forEach([1, 2, 3], queue.offer)
        assert.deepStrictEqual(yield* Fiber.join(consumer), [1, 2, 3])
      }))

    it.effect("76: an empty batch succeeds at once, also on an empty, a full and a closed queue, and moves nothing", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 1 })
        const empty = Effect.all([
          queue.takeMany(0),
          queue.takeUpTo(0),
          queue.takeAvailable(0),
          queue.takeWithin(0, "1 second")
        ])
        assert.deepStrictEqual(yield* empty, [[], [], [], []])
        yield* queue.offer(1)
        yield* queue.offerAll([])
        assert.deepStrictEqual(yield* empty, [[], [], [], []])
        yield* queue.close()
        yield* queue.offerAll([])
        assert.deepStrictEqual(yield* empty, [[], [], [], []])
        assert.strictEqual(yield* queue.size, 1)
      }))

    it.effect("77, 78: batches of 4 out of 10 come in order, a single take goes on behind them", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, range(1, 10))
        assert.deepStrictEqual(yield* queue.takeMany(4), [1, 2, 3, 4])
        assert.deepStrictEqual(yield* queue.takeUpTo(4), [5, 6, 7, 8])
        assert.strictEqual(yield* queue.take, 9)
      }))

    it.effect("83: ten offers of 100 and one batch of 1000, through a capacity of 50", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 50 })
        yield* start(Effect.forEach(range(0, 9), (k) => queue.offerAll(range(100 * k, 100 * k + 99)), {
          concurrency: "unbounded"
        }))
        assert.deepStrictEqual(yield* queue.takeMany(1000), range(0, 999))
      }))

    it.effect("84: ten takes of up to 101 share 1000 elements of a closed queue, the last one is short", () =>
      Effect.gen(function*() {
        const queue = yield* filled(1000, range(1, 1000))
        yield* queue.close()
        const batches = yield* Effect.forEach(range(1, 10), () => queue.takeUpTo(101), { concurrency: "unbounded" })
        assert.deepStrictEqual(batches.flat(), range(1, 1000))
        assert.strictEqual(batches[9]!.length, 1000 - 9 * 101)
      }))

    it.effect("87: a waiting batch gets all of its elements when the last one comes", () =>
      Effect.gen(function*() {
        for (const take of ["takeMany", "takeUpTo"] as const) {
          const queue = yield* filled(10, [1, 2, 3])
          const batch = yield* start(queue[take](4))
          yield* settle
          assert.isTrue(isWaiting(batch))
          yield* queue.offer(4)
          assert.deepStrictEqual(yield* Fiber.join(batch), [1, 2, 3, 4])
        }
      }))

    it.effect("88: a closed queue gives what it holds, then ends", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, [1, 2])
        yield* queue.close()
        assert.deepStrictEqual([yield* queue.take, yield* queue.take], [1, 2])
        const error = yield* Effect.flip(queue.take)
        assert.deepStrictEqual(error, ended(1, 0))
        assert.strictEqual(
          error.message,
          "FeedQueue 'feed-queue' is closed and has insufficient elements (requested 1, current size 0)"
        )
      }))

    it.effect("89, 94: takes that wait at an empty queue end when it is closed", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 10 })
        const take = yield* start(queue.take)
        const waiting = yield* Effect.forEach(
          [queue.takeMany(2), queue.takeUpTo(2), queue.takeAvailable(2), queue.takeWithin(2, "1 hour")],
          start
        )
        yield* settle
        yield* queue.close()
        assert.deepStrictEqual(yield* Fiber.await(take), Exit.fail(ended(1, 0)))
        for (const fiber of waiting) assert.deepStrictEqual(yield* Fiber.await(fiber), Exit.fail(ended(2, 0)))
      }))

    it.effect("90: a batch that closing leaves short ends, and its elements stay at the front", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, [1, 2, 3, 4])
        assert.deepStrictEqual(yield* queue.takeMany(3), [1, 2, 3])
        const batch = yield* start(queue.takeMany(3))
        yield* settle
        yield* queue.close()
        assert.deepStrictEqual(yield* Fiber.await(batch), Exit.fail(ended(3, 1)))
        assert.strictEqual(yield* queue.take, 4)
      }))

    it.effect("90: closing ends the batch in front and serves the small take behind it", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, [1, 2])
        const batch = yield* start(queue.takeMany(3))
        const small = yield* start(queue.take)
        yield* settle
        assert.isTrue(isWaiting(small))
        yield* queue.close()
        assert.deepStrictEqual(yield* Fiber.await(batch), Exit.fail(ended(3, 2)))
        assert.strictEqual(yield* Fiber.join(small), 1)
      }))

    it.effect("91: takeUpTo gives the remainder of a closed queue", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, [1, 2, 3, 4])
        assert.deepStrictEqual(yield* queue.takeUpTo(3), [1, 2, 3])
        const rest = yield* start(queue.takeUpTo(3))
        yield* settle
        assert.isTrue(isWaiting(rest))
        yield* queue.close()
        assert.deepStrictEqual(yield* Fiber.join(rest), [4])
      }))

    it.effect("95: offers to a closed queue fail", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, [1])
        yield* queue.close()
        const error = yield* Effect.flip(queue.offer(2))
        assert.deepStrictEqual(error, closed)
        assert.strictEqual(error.message, "FeedQueue 'feed-queue' is closed.")
        assert.deepStrictEqual(yield* Effect.flip(queue.offerAll([2, 3])), closed)
        assert.strictEqual(yield* queue.size, 1)
      }))

    it.effect("96: offers wait at a full queue and go on in order, one taken element at a time", () =>
      Effect.gen(function*() {
        const queue = yield* filled(4, [1, 2, 3, 4])
        const one = yield* start(queue.offer(5))
        const many = yield* start(queue.offerAll([6, 7, 8]))
        yield* settle
        assert.isTrue(isWaiting(one) && isWaiting(many))
        assert.strictEqual(yield* queue.size, 4)
        assert.strictEqual(yield* queue.take, 1)
        yield* Fiber.join(one)
        assert.isTrue(isWaiting(many))
        assert.deepStrictEqual(yield* queue.takeMany(7), range(2, 8))
        yield* Fiber.join(many)
      }))

    it.effect("99: reading the size often takes nothing", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, [1])
        for (let i = 0; i < 500; i++) assert.strictEqual(yield* queue.size, 1)
        assert.strictEqual(yield* queue.take, 1)
      }))

    it.effect("103: waiting operations can all be interrupted, and the queue stays usable", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 1 })
        const interrupted = (operations: ReadonlyArray<Operation>) =>
          Effect.gen(function*() {
            const fibers: Array<Running> = []
            for (const operation of operations) fibers.push(yield* start(operation))
            yield* settle
            for (const fiber of fibers) yield* Fiber.interrupt(fiber)
            return fibers.map(wasInterrupted)
          })
        assert.deepStrictEqual(yield* interrupted([queue.take, queue.takeMany(2)]), [true, true])
        yield* queue.offer(1)
        assert.deepStrictEqual(
          yield* interrupted([queue.offer(2), queue.offerAll([3, 4]), queue.close()]),
          [true, true, true]
        )
        assert.strictEqual(yield* queue.take, 1)
        yield* queue.offer(5)
        assert.strictEqual(yield* queue.take, 5)
      }))

    it.effect("106: any value is an element, undefined too", () =>
      Effect.gen(function*() {
        const values = [undefined, null, 0, NaN, "", [], {}, 1n, new Float32Array(2)]
        const queue = yield* FeedQueue.make<unknown>({ capacity: 9 })
        yield* queue.offerAll(values)
        assert.deepStrictEqual(yield* queue.takeMany(9), values)
      }))
  })

  describe("lines", () => {
    it.effect("a small take does not overtake a waiting batch", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        const batch = yield* start(queue.takeMany(3))
        const small = yield* start(queue.take)
        yield* queue.offerAll([1, 2])
        yield* settle
        assert.isTrue(isWaiting(batch) && isWaiting(small))
        yield* queue.offerAll([3, 4])
        assert.deepStrictEqual([yield* Fiber.join(batch), yield* Fiber.join(small)], [[1, 2, 3], 4])
      }))

    it.effect("a newcomer does not slip in between an offer and the waiter it wakes", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        const waiter = yield* start(queue.take)
        yield* queue.offer(1)
        const newcomer = yield* start(queue.take)
        yield* queue.offer(2)
        assert.deepStrictEqual([yield* Fiber.join(waiter), yield* Fiber.join(newcomer)], [1, 2])
      }))

    it.effect("a newcomer's offer does not slip in before one that waits", () =>
      Effect.gen(function*() {
        const queue = yield* filled(1, [1])
        const waiter = yield* start(queue.offer(2))
        assert.strictEqual(yield* queue.take, 1)
        yield* start(queue.offer(3))
        assert.deepStrictEqual(yield* queue.takeMany(2), [2, 3])
        yield* Fiber.join(waiter)
      }))

    it.effect("bounded: a collecting batch holds n - 1 beyond the capacity, and they do not count as stored", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        const batch = yield* start(queue.takeMany(5))
        yield* queue.offerAll([1, 2, 3, 4])
        yield* settle
        assert.deepStrictEqual([queue.sizeUnsafe(), queue.heldUnsafe()], [0, 4])
        const offers = yield* start(queue.offerAll(range(5, 12)))
        assert.deepStrictEqual(yield* Fiber.join(batch), range(1, 5))
        yield* settle
        assert.deepStrictEqual([queue.sizeUnsafe(), queue.heldUnsafe()], [2, 2])
        assert.isTrue(isWaiting(offers))
      }))

    it.effect("restored: interrupting a half-collected batch leaves it in front, over-full, and admits nothing more", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        const batch = yield* start(queue.takeMany(5))
        yield* queue.offerAll([1, 2, 3, 4])
        yield* Fiber.interrupt(batch)
        assert.strictEqual(yield* queue.size, 4)
        const offer = yield* start(queue.offer(5))
        yield* queue.takeMany(2)
        yield* settle
        assert.isTrue(isWaiting(offer))
        assert.strictEqual(yield* queue.take, 3)
        yield* Fiber.join(offer)
        assert.deepStrictEqual(yield* queue.takeMany(2), [4, 5])
      }))

    it.effect("interrupting the batch in front lets those behind it go on", () =>
      Effect.gen(function*() {
        const queue = yield* filled(4, [1, 2])
        const batch = yield* start(queue.takeMany(3))
        const small = yield* start(queue.takeAvailable(3))
        yield* settle
        yield* Fiber.interrupt(batch)
        assert.deepStrictEqual(yield* Fiber.join(small), [1, 2])
      }))

    it.effect("an interrupted offerAll reports the prefix that is in the queue", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        const counts: Array<number> = []
        const offer = yield* start(queue.offerAll([1, 2, 3, 4, 5], (count) => counts.push(count)))
        yield* settle
        assert.strictEqual(yield* queue.take, 1)
        yield* settle
        yield* Fiber.interrupt(offer)
        assert.deepStrictEqual(counts, [2, 1])
        assert.deepStrictEqual(yield* queue.takeMany(2), [2, 3])
      }))

    it.effect("an offer that is preempted before its step goes behind one that stands in line by then", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 1 })
        const preempted = new (class extends Scheduler.MixedScheduler {
          override shouldYield(fiber: Fiber.Fiber<unknown, unknown>) {
            return fiber.currentOpCount > 3 // provideService and suspend, then the step of the offer
          }
        })()
        const offer = Effect.provideService(Effect.suspend(() => queue.offer(9)), Scheduler.Scheduler, preempted)
        const late = yield* start(offer)
        yield* start(queue.offerAll([1, 2]))
        yield* settle
        assert.isTrue(isWaiting(late))
        assert.deepStrictEqual([yield* queue.take, yield* queue.take, yield* queue.take], [1, 2, 9])
      }))

    it.effect("an offer that is preempted before its step, and finds the queue full then, waits", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 1 })
        const preempted = new (class extends Scheduler.MixedScheduler {
          override shouldYield(fiber: Fiber.Fiber<unknown, unknown>) {
            return fiber.currentOpCount > 3
          }
        })()
        const late = yield* start(Effect.provideService(
          Effect.suspend(() => queue.offerAll([8, 9])),
          Scheduler.Scheduler,
          preempted
        ))
        yield* queue.offer(1)
        yield* settle
        assert.isTrue(isWaiting(late))
        assert.deepStrictEqual([yield* queue.take, yield* queue.takeMany(2)], [1, [8, 9]])
        yield* Fiber.join(late)
      }))

    it.effect("an offer and a take can be run again, whatever the queue was like when they were made", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 3 })
        const offers = [queue.offer(1), queue.offerAll([2, 3]), queue.offerAll([4, 5, 6, 7, 8])]
        const all = yield* start(Effect.forEach([...offers, ...offers], (offer) => offer, { discard: true }))
        const [take, most] = [queue.take, queue.takeAvailable(2)]
        const taken: Array<number> = []
        while (taken.length < 8) taken.push(yield* take)
        while (taken.length < 16) taken.push(...(yield* most))
        assert.deepStrictEqual(taken, [...range(1, 8), ...range(1, 8)])
        yield* Fiber.join(all)
      }))

    it.effect("the array of an offerAll stays the caller's, and that of a batch is the taker's", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 4 })
        const given = [1, 2]
        yield* queue.offerAll(given)
        given.fill(0)
        yield* queue.offerAll([3, 4])
        const batch = yield* queue.takeMany(2) as Effect.Effect<Array<number>, FeedQueue.QueueEnded>
        batch.push(9)
        yield* queue.restore([2])
        assert.deepStrictEqual([batch, yield* queue.takeMany(3)], [[1, 2, 9], [2, 3, 4]])
      }))

    it.effect("a take that finds the queue empty collects from offers that wait, and leaves them when it is interrupted", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        const counts: Array<number> = []
        const offer = yield* start(queue.offerAll(range(1, 9), (count) => counts.push(count)))
        assert.deepStrictEqual(yield* queue.takeMany(5), range(1, 5))
        assert.deepStrictEqual(counts, [2, 4])
        assert.isTrue(isWaiting(offer))
        assert.deepStrictEqual(yield* queue.takeAvailable(9), [6])
        assert.deepStrictEqual(yield* queue.takeAvailable(9), [7, 8])
        assert.deepStrictEqual(yield* queue.takeAvailable(9), [9])
        yield* Fiber.join(offer)

        const late = yield* start(queue.offerAll(range(1, 9)))
        let taker: Fiber.Fiber<unknown, unknown> | undefined
        yield* start(queue.offerAll([10], () => taker?.interruptUnsafe()))
        taker = yield* Effect.forkChild(queue.takeMany(10))
        yield* Fiber.await(taker)
        yield* Fiber.join(late)
        assert.deepStrictEqual(queue.removeWhereUnsafe(() => true), range(1, 10))
      }))

    it.effect("takes through what an offer in line still has, but for its last element, and never holds more than its capacity", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        const counts: Array<number> = []
        const sizes: Array<number> = []
        const taken: Array<number> = []
        const offer = yield* start(queue.offerAll(range(1, 9), (count) => {
          counts.push(count)
          sizes.push(queue.sizeUnsafe())
        }))
        const second = yield* start(queue.offerAll([10, 11]))
        const take = (n: number) => takeThrough(queue, () => n, (elements) => taken.push(...elements))
        assert.deepStrictEqual(yield* take(3), [1, 2, 3])
        assert.deepStrictEqual(yield* take(9), range(4, 8))
        assert.isTrue(isWaiting(second))
        assert.deepStrictEqual([...yield* take(9), ...yield* take(9)], [9, 10, 11])
        yield* Fiber.join(offer)
        yield* Fiber.join(second)
        assert.deepStrictEqual(taken, range(1, 11))
        assert.deepStrictEqual(counts, [2, 3, 3, 1])
        assert.isAtMost(Math.max(...sizes), 2)
      }))

    it.effect("takes through what is worth it while an offer gives way: a queue that is filled fast gives full shares, to all in line", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 8 })
        const shares: Array<ReadonlyArray<number>> = [[], [], []]
        const sizes: Array<number> = []
        yield* Effect.forEach(
          shares.keys(),
          (taker) =>
            start(Effect.forever(Effect.map(takeThrough(queue, () => 4), (elements) => {
              shares[taker] = [...shares[taker]!, ...elements]
              sizes.push(elements.length)
            }))),
          { discard: true }
        )
        for (let i = 0; i < 40; i++) yield* queue.offerAll(range(3 * i + 1, 3 * i + 3))
        yield* settle
        assert.deepStrictEqual(shares.flat().toSorted((a, b) => a - b), range(1, 120))
        assert.deepStrictEqual(sizes, sizes.map(() => 4))
        assert.deepStrictEqual(shares.map((share) => share.length), [40, 40, 40])
      }))

    it.effect("asks a take through how much it wants when it takes, not when it comes", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 8 })
        let wanted = 2
        const taker = yield* start(takeThrough(queue, () => wanted))
        wanted = 5
        yield* queue.offerAll(range(1, 7))
        assert.deepStrictEqual(yield* Fiber.join(taker), range(1, 5))
        assert.deepStrictEqual(yield* takeThrough(queue, () => 0), [6])
      }))

    it.effect("who takes without a fiber stands in line once, behind who came before, and is told when it is its turn", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 8 })
        const taken: Array<number> = []
        let turns = 0
        const taker = queue.taker({
          most: () => 2,
          onTake: (elements) => taken.push(...elements),
          onTurn: () => {
            turns++
            taker.takeUnsafe()
          }
        })
        const before = yield* start(queue.takeMany(2))
        assert.isFalse(taker.takeUnsafe())
        assert.isFalse(taker.takeUnsafe())
        const behind = yield* start(queue.take)
        yield* queue.offerAll(range(1, 6))
        assert.deepStrictEqual([yield* Fiber.join(before), yield* Fiber.join(behind)], [[1, 2], 5])
        assert.deepStrictEqual([taken, turns], [[3, 4], 1])
        assert.isTrue(taker.takeUnsafe())
        assert.deepStrictEqual([taken, turns], [[3, 4, 6], 1])
      }))

    it.effect("who takes without a fiber and leaves the line takes nothing, and who is behind goes on", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 8 })
        const options = { most: () => 9, onTake: () => assert.fail("it has left"), onTurn: () => taker.leaveUnsafe() }
        const taker = queue.taker(options)
        for (let i = 0; i < 2; i++) {
          assert.isFalse(taker.takeUnsafe())
          const behind = yield* start(queue.take)
          // The first time when it is its turn, then before.
          if (i === 1) taker.leaveUnsafe()
          yield* queue.offer(i)
          assert.strictEqual(yield* Fiber.join(behind), i)
        }
      }))

    it.effect("who takes without a fiber is not in the line of a queue that has ended, and takes what is put back", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 8 })
        const taken: Array<number> = []
        const taker = queue.taker({
          most: () => 9,
          onTake: (elements) => taken.push(...elements),
          onTurn: () => assert.isFalse(taker.takeUnsafe())
        })
        assert.isFalse(taker.takeUnsafe())
        yield* queue.close()
        yield* settle
        yield* queue.restore([1])
        yield* settle
        assert.deepStrictEqual(taken, [])
        assert.isTrue(taker.takeUnsafe())
        assert.isFalse(taker.takeUnsafe())
        assert.deepStrictEqual(taken, [1])
      }))

    it.effect("who takes without a fiber may leave while a producer gives it way", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 1 })
        const taken: Array<number> = []
        const taker = queue.taker({ most: () => 9, onTake: (elements) => taken.push(...elements), onTurn: () => {} })
        yield* queue.offer(1)
        yield* start(Effect.andThen(queue.offer(2), Effect.sync(() => taker.leaveUnsafe())))
        yield* queue.restore([])
        assert.isTrue(taker.takeUnsafe())
        assert.isFalse(taker.takeUnsafe())
        assert.deepStrictEqual([...taken, ...queue.removeWhereUnsafe(() => true)], [1, 2])
      }))

    it.effect("who is told of an admission may interrupt the take through that it was made for: it has told what it took", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        let taker: Fiber.Fiber<unknown, unknown> | undefined
        const taken: Array<number> = []
        yield* start(queue.offerAll(range(1, 9), () => taker?.interruptUnsafe()))
        taker = yield* Effect.forkChild(takeThrough(queue, () => 9, (elements) => taken.push(...elements)))
        yield* Fiber.await(taker)
        yield* settle
        assert.isAbove(taken.length, 2)
        assert.deepStrictEqual([...taken, ...queue.removeWhereUnsafe(() => true)], range(1, 9))
      }))

    it.effect("who is told of an admission may interrupt the take that it was made for, and nothing is lost", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        let taker: Fiber.Fiber<unknown, unknown> | undefined
        const admitted: Array<number> = []
        yield* start(queue.offerAll(range(1, 9), (count) => {
          admitted.push(...range(admitted.length + 1, admitted.length + count))
          if (admitted.length > 5) taker?.interruptUnsafe()
        }))
        const taken: Array<number> = []
        taker = yield* Effect.forkChild(Effect.forever(
          Effect.map(queue.takeAvailable(9), (batch) => taken.push(...batch)),
          { disableYield: true }
        ))
        yield* Fiber.await(taker)
        yield* settle
        assert.deepStrictEqual([...taken, ...queue.removeWhereUnsafe(() => true)], admitted)
      }))

    it.effect("who is told of an admission may take, and interrupt the offer while it takes its place", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        const taken: Array<number> = []
        const take = Effect.map(queue.takeAvailable(2), (batch) => taken.push(...batch))
        const takes = yield* Deferred.make<Fiber.Fiber<number, FeedQueue.QueueEnded>>()
        const offer: Running = yield* Effect.forkChild(queue.offerAll([1, 2, 3], () => {
          Deferred.doneUnsafe(takes, Effect.succeed(Effect.runFork(Effect.andThen(take, take))))
          offer.interruptUnsafe()
        }))
        yield* Fiber.await(offer)
        yield* queue.offerAll([4, 5])
        yield* Fiber.join(yield* Deferred.await(takes))
        assert.deepStrictEqual(taken, [1, 2, 4, 5])
      }))

    it.effect("a take that is refused, and interrupted at any step from there on, has left the line once", () =>
      Effect.gen(function*() {
        for (let steps = 1; steps < 12; steps++) {
          let taken = 0
          const preempted = new (class extends Scheduler.MixedScheduler {
            override shouldYield() {
              return ++taken === steps
            }
          })()
          const queue = yield* FeedQueue.make<number>({ capacity: 1 })
          const first = yield* start(Effect.provideService(queue.take, Scheduler.Scheduler, preempted))
          const second = yield* start(queue.take)
          taken = 0
          queue.closeNowUnsafe()
          yield* Effect.exit(Fiber.join(second))
          yield* Fiber.interrupt(first)
          yield* queue.restore([1])
          const third = yield* start(queue.take)
          yield* settle
          assert.isFalse(isWaiting(third), `preempted at step ${steps}`)
        }
      }))

    it.effect("a fiber that is woken may interrupt the one that made it go on, and nothing is lost", () =>
      Effect.gen(function*() {
        const queue = yield* filled(1, [1])
        let consumer: Fiber.Fiber<unknown, unknown> | undefined
        yield* start(Effect.andThen(queue.offer(2), Effect.sync(() => consumer?.interruptUnsafe())))
        const taken: Array<number> = []
        consumer = yield* Effect.forkChild(
          Effect.forever(Effect.map(queue.take, (element) => taken.push(element)), { disableYield: true })
        )
        yield* Fiber.await(consumer)
        assert.deepStrictEqual([...taken, ...queue.removeWhereUnsafe(() => true)], [1, 2])
      }))
  })

  describe("closing", () => {
    it.effect("a plain close takes its turn behind the offers that wait, and later ones fail", () =>
      Effect.gen(function*() {
        const queue = yield* filled(1, [1])
        const before = yield* start(queue.offerAll([2, 3]))
        const close = yield* start(queue.close())
        const after = yield* start(queue.offer(4))
        yield* settle
        assert.isTrue(isWaiting(before) && isWaiting(close) && isWaiting(after))
        assert.isFalse(yield* queue.isClosed)
        assert.deepStrictEqual(yield* queue.takeMany(3), [1, 2, 3])
        yield* Fiber.join(close)
        assert.deepStrictEqual(yield* Fiber.await(after), Exit.fail(closed))
        assert.isTrue(yield* queue.isClosed)
        yield* queue.close()
      }))

    it.effect("close({ cancelPending: true }) fails the offers and the close that wait, keeps what is stored, and repeats without error", () =>
      Effect.gen(function*() {
        const queue = yield* filled(1, [1])
        let admitted = 0
        const waiting = yield* Effect.forEach([
          queue.offerAll([2, 3], (count) => admitted += count),
          queue.close(),
          queue.offer(4)
        ], start)
        yield* queue.close({ cancelPending: true })
        for (const fiber of waiting) assert.deepStrictEqual(yield* Fiber.await(fiber), Exit.fail(closed))
        yield* queue.close({ cancelPending: true })
        assert.strictEqual(admitted, 0)
        assert.deepStrictEqual(yield* queue.takeUpTo(5), [1])
      }))

    it.effect("an interrupted close has not closed", () =>
      Effect.gen(function*() {
        const queue = yield* filled(1, [1])
        yield* start(queue.offer(2))
        yield* Effect.flatMap(start(queue.close()), Fiber.interrupt)
        assert.deepStrictEqual(yield* queue.takeMany(2), [1, 2])
        assert.isFalse(yield* queue.isClosed)
      }))
  })

  describe("takes", () => {
    it.effect("takeWithin counts from its first element and gives what came", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 10 })
        const batch = yield* start(queue.takeWithin(3, "1 second"))
        yield* TestClock.adjust("1 hour")
        yield* queue.offer(1)
        yield* settle
        yield* TestClock.adjust("999 millis")
        yield* queue.offer(2)
        yield* settle
        assert.isTrue(isWaiting(batch))
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* Fiber.join(batch), [1, 2])
      }))

    it.effect("takeWithin gives n as soon as they are there, and what there is at once for a duration of 0", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, [1])
        const batch = yield* start(queue.takeWithin(3, "1 second"))
        yield* settle
        yield* queue.offerAll([2, 3, 4])
        assert.deepStrictEqual(yield* Fiber.join(batch), [1, 2, 3])
        assert.deepStrictEqual(yield* queue.takeWithin(3, 0), [4])
      }))

    it.effect("restored: an interrupted takeWithin leaves its elements", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, [1, 2])
        const batch = yield* start(queue.takeWithin(3, "1 second"))
        yield* settle
        yield* Fiber.interrupt(batch)
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* queue.takeAvailable(3), [1, 2])
      }))

    it.effect("takeWithin keeps its deadline when some of its elements are discarded", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 10, isCurrent: (n) => n !== 2 })
        const batch = yield* start(queue.takeWithin(3, "10 millis"))
        yield* queue.offer(1)
        yield* settle
        yield* TestClock.adjust("6 millis")
        yield* queue.offerAll([2, 3])
        yield* settle
        assert.strictEqual(queue.heldUnsafe(), 2)
        yield* TestClock.adjust("3 millis")
        assert.isTrue(isWaiting(batch))
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* Fiber.join(batch), [1, 3])
      }))

    it.effect("takeWithin counts anew when its elements were removed", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, [1])
        const batch = yield* start(queue.takeWithin(3, "10 millis"))
        yield* settle
        queue.removeWhereUnsafe(() => true)
        yield* TestClock.adjust("12 millis")
        yield* queue.offer(2)
        yield* settle
        yield* TestClock.adjust("9 millis")
        assert.isTrue(isWaiting(batch))
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* Fiber.join(batch), [2])
      }))

    it.effect("takeAvailable waits only while there is nothing", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 10 })
        const batch = yield* start(queue.takeAvailable(3))
        yield* settle
        assert.isTrue(isWaiting(batch))
        yield* queue.offerAll([1, 2, 3, 4])
        assert.deepStrictEqual([yield* Fiber.join(batch), yield* queue.takeAvailable(3)], [[1, 2, 3], [4]])
      }))

    it.effect("a negative or fractional count and a capacity below 1 are defects that say so", () =>
      Effect.gen(function*() {
        const defect = <A, E>(effect: Effect.Effect<A, E>) =>
          Effect.map(Effect.exit(effect), (exit) => Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "none")
        const queue = yield* FeedQueue.make<number>({ capacity: 1, name: "digits" })
        assert.strictEqual(
          yield* defect(queue.takeMany(-1)),
          "RangeError: FeedQueue 'digits': takeMany needs an integer from 0, got -1"
        )
        assert.strictEqual(
          yield* defect(queue.takeWithin(1.5, "1 second")),
          "RangeError: FeedQueue 'digits': takeWithin needs an integer from 0, got 1.5"
        )
        assert.strictEqual(
          yield* defect(Stream.runDrain(queue.batches(0))),
          "RangeError: FeedQueue 'digits': batches needs a positive integer, got 0"
        )
        for (const capacity of [0, -1, 1.5, NaN, Infinity]) {
          assert.strictEqual(
            yield* defect(FeedQueue.make({ capacity })),
            `RangeError: FeedQueue.make: capacity must be a positive integer, got ${capacity}`
          )
        }
      }))
  })

  describe("streams", () => {
    it.effect("elements ends when the queue is closed and drained", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        yield* start(Effect.andThen(queue.offerAll(range(1, 9)), queue.close()))
        assert.deepStrictEqual(yield* Stream.runCollect(queue.elements), range(1, 9))
      }))

    it.effect("batches emits, drops into the queue, or pads the remainder", () =>
      Effect.gen(function*() {
        const batches = (remainder?: "emit" | "drop" | "pad") =>
          Effect.gen(function*() {
            const queue = yield* FeedQueue.make<number>({ capacity: 2 })
            yield* start(Effect.andThen(queue.offerAll(range(1, 7)), queue.close()))
            const all = yield* Stream.runCollect(queue.batches(3, remainder && { remainder }))
            return [...all, queue.heldUnsafe()]
          })
        assert.deepStrictEqual(yield* batches(), [[1, 2, 3], [4, 5, 6], [7], 0])
        assert.deepStrictEqual(yield* batches("emit"), [[1, 2, 3], [4, 5, 6], [7], 0])
        assert.deepStrictEqual(yield* batches("pad"), [[1, 2, 3], [4, 5, 6], [7, 7, 7], 0])
        assert.deepStrictEqual(yield* batches("drop"), [[1, 2, 3], [4, 5, 6], 1])
      }))
  })

  describe("for sessions", () => {
    it.effect("restored elements come first, in order, over-full, and wake a waiting take", () =>
      Effect.gen(function*() {
        const queue = yield* filled(2, [3, 4])
        yield* queue.restore([1, 2])
        assert.strictEqual(yield* queue.size, 4)
        const offer = yield* start(queue.offer(5))
        assert.deepStrictEqual(yield* queue.takeMany(2), [1, 2])
        yield* settle
        assert.isTrue(isWaiting(offer))
        assert.deepStrictEqual(yield* queue.takeMany(3), [3, 4, 5])
        const take = yield* start(queue.take)
        queue.restoreUnsafe([6])
        assert.strictEqual(yield* Fiber.join(take), 6)
      }))

    it.effect("restore works on a queue that is closed and drained", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        yield* queue.close()
        assert.deepStrictEqual(yield* Effect.flip(queue.take), ended(1, 0))
        yield* queue.restore([1, 2, 3])
        assert.deepStrictEqual(yield* Stream.runCollect(queue.elements), [1, 2, 3])
      }))

    it.effect("admitUnsafe goes beyond the capacity, but not into a closed queue", () =>
      Effect.gen(function*() {
        const queue = yield* filled(1, [1])
        assert.isTrue(queue.admitUnsafe([2, 3]))
        yield* queue.close()
        assert.isFalse(queue.admitUnsafe([4]))
        assert.deepStrictEqual(yield* queue.takeUpTo(9), [1, 2, 3])
      }))

    it.effect("removeWhereUnsafe takes out stored and half-collected elements and makes room", () =>
      Effect.gen(function*() {
        const queue = yield* filled(2, [1, 2])
        const offer = yield* start(queue.offer(3))
        assert.deepStrictEqual(queue.removeWhereUnsafe((n) => n % 2 === 1), [1])
        yield* Fiber.join(offer)
        const batch = yield* start(queue.takeMany(3))
        yield* settle
        assert.deepStrictEqual(queue.removeWhereUnsafe((n) => n === 2), [2])
        yield* queue.offerAll([4, 5])
        assert.deepStrictEqual(yield* Fiber.join(batch), [3, 4, 5])
      }))

    it.effect("flushUnsafe lets takeUpTo go with what there is, and takeMany wait on", () =>
      Effect.gen(function*() {
        const queue = yield* filled(10, [1, 2])
        const rest = yield* start(queue.takeUpTo(3))
        yield* settle
        assert.isTrue(isWaiting(rest))
        queue.flushUnsafe(true)
        assert.deepStrictEqual(yield* Fiber.join(rest), [1, 2])
        const many = yield* start(queue.takeMany(2))
        yield* queue.offer(3)
        yield* settle
        assert.isTrue(isWaiting(many))
        queue.flushUnsafe(false)
        yield* queue.offer(4)
        assert.deepStrictEqual(yield* Fiber.join(many), [3, 4])
      }))

    it.effect("onCollect is told when a take of several waits, not of one, and after the step that let it wait", () =>
      Effect.gen(function*() {
        let told = 0
        let taker: Running | undefined
        const queue = yield* FeedQueue.make<number>({
          capacity: 2,
          onCollect() {
            told++
            taker?.interruptUnsafe()
          }
        })
        const one = yield* start(queue.take)
        yield* start(queue.takeAvailable(3))
        yield* settle
        assert.strictEqual(told, 0)
        taker = one
        yield* start(queue.takeMany(3))
        yield* queue.offerAll([1, 2])
        yield* settle
        assert.strictEqual(told, 1)
        assert.strictEqual(yield* Fiber.join(one), 1)
      }))

    it.effect("missingUnsafe: what a waiting take of several still needs", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 2 })
        assert.strictEqual(queue.missingUnsafe(), 0)
        const batch = yield* start(queue.takeMany(3))
        yield* queue.offer(1)
        assert.strictEqual(queue.missingUnsafe(), 2)
        yield* queue.offerAll([2, 3, 4])
        assert.strictEqual(queue.missingUnsafe(), 0)
        yield* Fiber.join(batch)
      }))

    it.effect("onShort is told before a take waits, and knows what it misses: with that the take goes on at once", () =>
      Effect.gen(function*() {
        const missing: Array<number> = []
        let next = 1
        const queue: FeedQueue.FeedQueue<number> = yield* FeedQueue.make<number>({
          capacity: 2,
          onShort() {
            missing.push(queue.missingUnsafe())
            queue.admitUnsafe(range(next, next + 4))
            next += 5
          }
        })
        const five = yield* start(queue.takeMany(5))
        const one = yield* start(queue.take)
        const three = yield* start(queue.takeUpTo(3))
        assert.isFalse([five, one, three].some(isWaiting))
        const takes = [yield* Fiber.join(five), yield* Fiber.join(one), yield* Fiber.join(three)]
        assert.deepStrictEqual(takes, [range(1, 5), 6, [7, 8, 9]])
        assert.deepStrictEqual(missing, [5, 0])
        assert.strictEqual(queue.missingUnsafe(), 0)
      }))

    it.effect("isCurrent discards at the moment of handing out, and the take goes on", () =>
      Effect.gen(function*() {
        const stale = new Set<number>()
        const log: Array<ReadonlyArray<number>> = []
        const queue = yield* FeedQueue.make<number>({
          capacity: 3,
          isCurrent: (n) => !stale.has(n),
          onHandOut: (batch) => log.push(batch)
        })
        yield* queue.offerAll([1, 2, 3])
        const offer = yield* start(queue.offerAll([4, 5]))
        stale.add(1).add(2)
        assert.strictEqual(yield* queue.take, 3)
        yield* Fiber.join(offer)
        stale.add(4)
        const batch = yield* start(queue.takeMany(2))
        yield* settle
        assert.isTrue(isWaiting(batch))
        assert.strictEqual(queue.heldUnsafe(), 1)
        stale.add(5)
        yield* queue.offerAll([6, 7])
        assert.deepStrictEqual(yield* Fiber.join(batch), [6, 7])
        assert.deepStrictEqual(log, [[3], [6, 7]])
      }))

    it.effect("isCurrent: a take that has only stale elements to take ends with a closed queue", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 3, isCurrent: () => false })
        yield* queue.offerAll([1, 2])
        yield* queue.close()
        assert.deepStrictEqual(yield* Effect.flip(queue.takeUpTo(2)), ended(2, 0))
      }))

    it.effect("isAlone: an element is handed out in a batch of its own, in its turn", () =>
      Effect.gen(function*() {
        const log: Array<readonly [batch: ReadonlyArray<number>, isCut: boolean]> = []
        const queue = yield* FeedQueue.make<number>({
          capacity: 20,
          isAlone: (n) => n < 0,
          onHandOut: (batch, isCut) => log.push([batch, isCut])
        })
        yield* queue.offerAll([1, 2, -3, -4, 5, 6, 7, -8, 9, -10])
        yield* queue.takeMany(3)
        yield* queue.takeUpTo(3)
        yield* queue.takeWithin(3, "1 second")
        yield* queue.takeAvailable(3)
        assert.strictEqual(yield* queue.take, -8)
        yield* queue.close()
        yield* queue.takeUpTo(3)
        yield* queue.takeUpTo(3)
        assert.deepStrictEqual(log, [
          [[1, 2], true],
          [[-3], true],
          [[-4], true],
          [[5, 6, 7], false],
          [[-8], false],
          [[9], true],
          [[-10], true]
        ])
      }))

    it.effect("isAlone: a batch that is not cut still waits until it is full", () =>
      Effect.gen(function*() {
        const queue = yield* FeedQueue.make<number>({ capacity: 4, isAlone: (n) => n < 0 })
        yield* queue.offerAll([1, 2])
        const batch = yield* start(queue.takeMany(4))
        yield* queue.offer(-3)
        yield* settle
        assert.isTrue(isWaiting(batch))
        yield* queue.offer(4)
        assert.deepStrictEqual(yield* Fiber.join(batch), [1, 2])
        assert.strictEqual(yield* queue.take, -3)
      }))
  })

  describe("what it relies on", () => {
    it.effect("Effect's Queue: offers go by the capacity it has now", () =>
      Effect.gen(function*() {
        const queue = yield* Queue.bounded<number>(1)
        assert.deepStrictEqual(Queue.offerAllUnsafe(queue, [1, 2]), [2])
        queue.capacity = 3
        assert.isTrue(Queue.offerUnsafe(queue, 2))
        assert.deepStrictEqual(Queue.offerAllUnsafe(queue, [3, 4]), [4])
        queue.capacity = 1
        assert.isFalse(Queue.offerUnsafe(queue, 4))
        assert.deepStrictEqual(Queue.offerAllUnsafe(queue, [4]), [4])
      }))

    it.effect("Effect's Queue: its messages are a MutableList, front first, and may be changed from outside", () =>
      Effect.gen(function*() {
        const queue = yield* Queue.bounded<number>(4)
        Queue.offerAllUnsafe(queue, [3, 4])
        MutableList.prependAll(queue.messages, [1, 2])
        assert.deepStrictEqual(MutableList.toArray(queue.messages), [1, 2, 3, 4])
        assert.isFalse(Queue.offerUnsafe(queue, 5))
        assert.deepStrictEqual(MutableList.takeN(queue.messages, 3), [1, 2, 3])
        assert.isTrue(Queue.offerUnsafe(queue, 5))
        assert.deepStrictEqual(yield* Queue.takeN(queue, 2), [4, 5])
      }))

    it.effect("Effect's Queue: a small take overtakes a waiting batch (why nobody waits in it)", () =>
      Effect.gen(function*() {
        const queue = yield* Queue.bounded<number>(4)
        const batch = yield* start(Queue.takeN(queue, 2))
        const small = yield* start(Queue.take(queue))
        yield* Queue.offer(queue, 1)
        assert.strictEqual(yield* Fiber.join(small), 1)
        assert.isTrue(isWaiting(batch))
      }))

    it.effect("Effect's fibers: the success of a sync passes catchCause and a callback without a further step", () =>
      Effect.gen(function*() {
        let steps = 0
        const counting = new (class extends Scheduler.MixedScheduler {
          override shouldYield() {
            steps++
            return false
          }
        })()
        let from = NaN
        const mark = Effect.catchCause(Effect.sync(() => from = steps), Effect.failCause)
        const inLine = Effect.callback<number>((resume) => {
          const timer = setImmediate(() => resume(mark))
          return Effect.sync(() => clearImmediate(timer))
        })
        for (const effect of [mark, inLine]) {
          const passed = yield* Effect.map(effect, () => steps - from).pipe(
            Effect.provideService(Scheduler.Scheduler, counting)
          )
          assert.strictEqual(passed, 0)
        }
      }))

    it.effect("Effect's fibers: a resumed callback runs its finalizer when interrupted before its next step", () =>
      Effect.gen(function*() {
        let isCleaned = false
        let resume: (effect: Effect.Effect<void>) => void = () => {}
        const fiber = yield* start(Effect.callback<void>((resume_) => {
          resume = resume_
          return Effect.sync(() => {
            isCleaned = true
          })
        }))
        resume(Effect.andThen(Effect.yieldNow, Effect.die("not interrupted")))
        yield* Fiber.interrupt(fiber)
        assert.isTrue(isCleaned)
      }))
  })
})
