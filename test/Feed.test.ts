import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { Feed, Feeder, MemoryDevices, Tensor } from "effect-feeder"
import { ManualSource } from "effect-feeder/testing"
import { TestClock } from "effect/testing"
import { range, settled } from "./network.ts"

const element = Schema.Int
const Numbers = Feed.make("numbers", { element, capacity: 4 })
const Accepted = Feed.make("accepted", { element, capacity: 4, acknowledge: "accepted" })
const Digits = Feed.make("digits", {
  element: Schema.Struct({ image: Tensor.float32([2]), label: Tensor.int32([]) }),
  capacity: 4
})

class Broken extends Schema.TaggedError<Broken>()("Broken", { at: Schema.Int }) {}

const device = "/job:consumer/replica:0"

const devices = MemoryDevices.layer({ feeds: [Numbers, Accepted, Digits] })
const inMemory = Effect.provide(devices)

/** A feeder of 0, 1, … to the one device, and its run. */
const feeding = <Name extends string, Ack extends "accepted" | "processed">(
  feed: Feed.Feed<Name, typeof element, Ack>,
  count: number,
  options: Feeder.Options = {}
) =>
  Effect.gen(function*() {
    const made = yield* Feeder.make(feed, { id: "f", backOff: { initial: 0 }, ...options })
    const feeder = yield* made.set(range(count))
    yield* feeder.addRemoteDevice(device)
    const run = yield* Effect.forkChild(feeder.run)
    return { feeder, run }
  })

const notes = () => {
  const seen: Array<readonly [n: number, attempt: number, redelivered: boolean]> = []
  return {
    seen,
    note: (n: number, { attempt, redelivered }: Feed.Delivery) =>
      Effect.sync(() => {
        seen.push([n, attempt, redelivered])
      })
  }
}

const firsts = (count: number) => range(count).map((n) => [n, 1, false] as const)

describe("make", () => {
  it("gives defaults, and refuses what is no feed", () => {
    const feed = Feed.make("x", { element })
    assert.deepStrictEqual([feed.capacity, feed.acknowledge, feed.validate], [10, "processed", "always"])
    assert.strictEqual(feed.info.name, "x")
    assert.throws(
      () => Feed.make("x", { element, capacity: 0 }),
      "Feed.make(\"x\"): capacity must be a positive integer, got 0"
    )
    assert.throws(() => Feed.make("", { element }), "Feed.make: the name of a feed must not be empty")
    assert.throws(() => feed.batches(1.5), "a batch has a positive number of elements, got 1.5")
  })

  it.effect("a loop over no batch, or with no concurrency, is a defect", () =>
    Effect.gen(function*() {
      const exits = [
        yield* Effect.exit(Numbers.forEachBatch(0, () => Effect.void)),
        yield* Effect.exit(Numbers.forEach(() => Effect.void, { concurrency: 0 }))
      ]
      assert.deepStrictEqual(exits.map((exit) => Exit.isFailure(exit) && String(Cause.squash(exit.cause))), [
        "RangeError: a batch has a positive number of elements, got 0",
        "RangeError: concurrency must be a positive integer, got 0"
      ])
    }).pipe(inMemory))

  it("outcomes say what they mean", () => {
    assert.strictEqual(
      Feed.retry({ after: "1.5 millis", cause: "busy" }).message,
      "given back, to be fed again after 2 ms: busy"
    )
    assert.strictEqual(Feed.reject("bad").message, "rejected: bad")
    assert.strictEqual(Feed.outcomes([Feed.done, Feed.retry()]).message, "2 outcomes of a batch")
  })
})

describe("forEach", () => {
  it.effect("accepted: runs for each element in order, and ends with the feed", () =>
    Effect.gen(function*() {
      const { note, seen } = notes()
      const { run } = yield* feeding(Accepted, 20)
      const consumed = yield* Accepted.forEach(note)
      assert.deepStrictEqual(seen, firsts(20))
      assert.deepStrictEqual(consumed, { done: 20, retried: 0, rejected: 0, fenced: 0, timedOut: 0 })
      // Accepted was the last of them when it was queued: whether it was handed out may be told later.
      const { delivered, held } = yield* Fiber.join(run)
      assert.strictEqual(delivered + held, 20)
    }).pipe(inMemory))

  it.effect("accepted: an outcome is a failure like any other, and ends the loop", () =>
    Effect.gen(function*() {
      yield* feeding(Accepted, 5)
      const error = yield* Effect.flip(Accepted.forEach((n) => n === 2 ? Effect.fail(Feed.retry()) : Effect.void))
      assert.strictEqual(error._tag, "Retry")
    }).pipe(inMemory))

  it.effect("processed: retry gives back, marked, after its time", () =>
    Effect.gen(function*() {
      const { note, seen } = notes()
      const { feeder, run } = yield* feeding(Numbers, 6)
      const loop = yield* Effect.forkChild(
        Numbers.forEach((n, delivery) =>
          Effect.andThen(
            note(n, delivery),
            n === 2 && delivery.attempt < 3 ? Effect.fail(Feed.retry({ after: "10 seconds" })) : Effect.void
          )
        )
      )
      yield* settled
      assert.deepStrictEqual(seen, firsts(6))
      assert.deepStrictEqual((yield* feeder.ledger).queued, 1)
      yield* TestClock.adjust(9_999)
      yield* settled
      assert.strictEqual(seen.length, 6)
      yield* TestClock.adjust(1)
      yield* settled
      assert.deepStrictEqual(seen[6], [2, 2, true])
      yield* TestClock.adjust(10_000)
      const ledger = yield* Fiber.join(run)
      assert.deepStrictEqual(seen.slice(6), [[2, 2, true], [2, 3, true]])
      assert.deepStrictEqual([ledger.delivered, ledger.redelivered, ledger.dead], [6, 1, 0])
      assert.deepStrictEqual(yield* Fiber.join(loop), { done: 6, retried: 2, rejected: 0, fenced: 0, timedOut: 0 })
    }).pipe(inMemory))

  it.effect("processed: reject counts the element as dead, and says why", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* feeding(Numbers, 6)
      const consumed = yield* Numbers.forEach((n) => n % 3 === 1 ? Effect.fail(Feed.reject(`no ${n}`)) : Effect.void)
      const ledger = yield* Fiber.join(run)
      assert.deepStrictEqual(consumed, { done: 4, retried: 0, rejected: 2, fenced: 0, timedOut: 0 })
      assert.deepStrictEqual([ledger.delivered, ledger.dead, ledger.lost], [4, 2, 0])
      assert.deepStrictEqual((yield* feeder.status).dead, [
        { device, ordinal: 1, reason: "rejected", attempts: 1, cause: "no 1" },
        { device, ordinal: 4, reason: "rejected", attempts: 1, cause: "no 4" }
      ])
    }).pipe(inMemory))

  it.effect("any other failure gives the element back and ends the loop with it", () =>
    Effect.gen(function*() {
      const { note, seen } = notes()
      const { run } = yield* feeding(Numbers, 6)
      const error: Broken | Feed.FeedsItself = yield* Effect.flip(
        Numbers.forEach((n) => n === 2 ? Effect.fail(new Broken({ at: n })) : Effect.void)
      )
      assert.deepStrictEqual(error, new Broken({ at: 2 }))
      yield* Numbers.forEach(note)
      assert.deepStrictEqual(seen.toSorted(([a], [b]) => a - b), [[2, 2, true], ...firsts(6).slice(3)])
      assert.strictEqual((yield* Fiber.join(run)).delivered, 6)
    }).pipe(inMemory))

  it.effect("a defect gives the element back and ends the loop with it", () =>
    Effect.gen(function*() {
      const { note, seen } = notes()
      const { run } = yield* feeding(Numbers, 3)
      const exit = yield* Effect.exit(Numbers.forEach((n) => {
        if (n === 1) throw new Error("boom")
        return Effect.void
      }))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      yield* Numbers.forEach(note)
      assert.deepStrictEqual(seen.toSorted(([a], [b]) => a - b), [[1, 2, true], [2, 1, false]])
      assert.strictEqual((yield* Fiber.join(run)).delivered, 3)
    }).pipe(inMemory))

  it.effect("interrupted in the middle of an element it gives it back", () =>
    Effect.gen(function*() {
      const { note, seen } = notes()
      const { feeder, run } = yield* feeding(Numbers, 3)
      const log: Array<string> = []
      const loop = yield* Effect.forkChild(
        Numbers.forEach(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => log.push("interrupted"))))
      )
      yield* settled
      yield* Fiber.interrupt(loop)
      assert.deepStrictEqual(log, ["interrupted"])
      yield* settled
      assert.strictEqual((yield* feeder.ledger).lost, 0)
      yield* Numbers.forEach(note)
      assert.deepStrictEqual(seen.toSorted(([a], [b]) => a - b), [[0, 2, true], [1, 1, false], [2, 1, false]])
      assert.strictEqual((yield* Fiber.join(run)).delivered, 3)
    }).pipe(inMemory))

  it.effect("one that interrupts itself says so, and names no fiber", () =>
    Effect.gen(function*() {
      const { feeder } = yield* feeding(Numbers, 1, { maxAttempts: 1 })
      yield* Effect.exit(Numbers.forEach(() => Effect.interrupt))
      yield* settled
      assert.deepStrictEqual((yield* feeder.status).dead.map(({ cause, reason }) => [reason, cause]), [
        ["attempts", "its loop was interrupted"]
      ])
    }).pipe(inMemory))

  it.effect("interrupted while it waits it has taken nothing", () =>
    Effect.gen(function*() {
      const { note, seen } = notes()
      const manual = yield* ManualSource.make<number>()
      const run = yield* Effect.forkChild(Feeder.run(Numbers, { source: manual.source, devices: [device] }))
      const loop = yield* Effect.forkChild(Numbers.forEachBatch(3, () => Effect.void))
      yield* manual.push(0, 1)
      yield* settled
      yield* Fiber.interrupt(loop)
      yield* manual.push(2)
      yield* manual.end
      yield* Numbers.forEach(note)
      assert.deepStrictEqual(seen, firsts(3))
      assert.strictEqual((yield* Fiber.join(run)).redelivered, 0)
    }).pipe(inMemory))

  it.effect("runs up to `concurrency` elements at once", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      const gate = yield* Deferred.make<void>()
      const { run } = yield* feeding(Numbers, 20)
      const loop = yield* Effect.forkChild(
        Numbers.forEach(() =>
          Effect.andThen(
            Effect.sync(() => {
              most = Math.max(most, ++running)
            }),
            Effect.ensuring(
              Deferred.await(gate),
              Effect.sync(() => {
                running--
              })
            )
          ), { concurrency: 7 })
      )
      yield* settled
      // More at once than the capacity of the queue.
      assert.strictEqual(running, 7)
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual((yield* Fiber.join(loop)).done, 20)
      assert.strictEqual(most, 7)
      assert.strictEqual((yield* Fiber.join(run)).delivered, 20)
    }).pipe(inMemory))

  it.effect("a failure of one of several gives back what the others had in hand", () =>
    Effect.gen(function*() {
      const { note, seen } = notes()
      const { run } = yield* feeding(Numbers, 8)
      const error = yield* Effect.flip(
        Numbers.forEach((n) => n === 3 ? Effect.fail(new Broken({ at: n })) : Effect.never, { concurrency: 4 })
      )
      assert.strictEqual(error._tag, "Broken")
      yield* Numbers.forEach(note)
      assert.deepStrictEqual(
        seen.toSorted(([a], [b]) => a - b),
        range(8).map((n) => n < 4 ? [n, 2, true] as const : [n, 1, false] as const)
      )
      assert.strictEqual((yield* Fiber.join(run)).delivered, 8)
    }).pipe(inMemory))

  it.effect("an element that comes back too often becomes a dead letter, and the feed goes on", () =>
    Effect.gen(function*() {
      const { note, seen } = notes()
      const { feeder, run } = yield* feeding(Numbers, 3, { maxAttempts: 3 })
      yield* Effect.forkChild(
        Numbers.forEach((n, delivery) =>
          Effect.andThen(note(n, delivery), n === 1 ? Effect.fail(Feed.retry({ cause: "too hot" })) : Effect.void)
        )
      )
      const { dead, delivered, lost, queued } = yield* Fiber.join(run)
      assert.deepStrictEqual(seen.filter(([n]) => n === 1).map(([, attempt]) => attempt), [1, 2, 3])
      assert.deepStrictEqual([delivered, queued, dead, lost], [2, 0, 1, 0])
      assert.deepStrictEqual((yield* feeder.status).dead, [
        { device, ordinal: 1, reason: "attempts", attempts: 3, cause: "too hot" }
      ])
    }).pipe(inMemory))

  it.effect("a long cause is cut, so that a report stays small", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* feeding(Numbers, 1)
      yield* Numbers.forEach(() => Effect.fail(Feed.reject("x".repeat(10_000))))
      yield* Fiber.join(run)
      assert.strictEqual((yield* feeder.status).dead[0]!.cause, `${"x".repeat(500)} …`)
    }).pipe(inMemory))
})

describe("forEachBatch", () => {
  it.effect("gives stacked batches, contiguous and of n, and a short one at the end", () =>
    Effect.gen(function*() {
      const source = range(11).map((i) => ({ image: Float32Array.of(i, -i), label: i }))
      const run = yield* Effect.forkChild(Feeder.run(Digits, { source, devices: [device] }))
      const batches: Array<{ readonly image: ReadonlyArray<number>; readonly label: ReadonlyArray<number> }> = []
      const sizes: Array<number> = []
      yield* Digits.forEachBatch(5, ({ image, label }, { deliveries, size }) =>
        Effect.sync(() => {
          batches.push({ image: [...image], label: [...label] })
          sizes.push(size)
          assert.deepStrictEqual(deliveries.map(({ ordinal }) => ordinal), [...label])
        }))
      assert.deepStrictEqual(batches.map(({ label }) => label), [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10]])
      assert.deepStrictEqual(batches[2]!.image, [10, -10])
      assert.deepStrictEqual(sizes, [5, 5, 1])
      assert.strictEqual((yield* Fiber.join(run)).delivered, 11)
    }).pipe(inMemory))

  it.effect("a failure that is an outcome settles the whole batch", () =>
    Effect.gen(function*() {
      const seen: Array<ReadonlyArray<number>> = []
      const { run } = yield* feeding(Numbers, 8)
      const consumed = yield* Numbers.forEachBatch(4, (batch, { deliveries }) =>
        Effect.suspend((): Effect.Effect<void, Feed.Retry | Feed.Reject> => {
          seen.push(batch)
          if (deliveries[0]!.attempt === 1 && batch[0] === 0) {
            return Effect.fail(Feed.retry())
          }
          return batch[0] === 4 ? Effect.fail(Feed.reject("all of it")) : Effect.void
        }))
      assert.deepStrictEqual(
        seen.flat().toSorted((a, b) =>
          a - b
        ),
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7]
      )
      assert.deepStrictEqual(consumed, { done: 4, retried: 4, rejected: 4, fenced: 0, timedOut: 0 })
      const ledger = yield* Fiber.join(run)
      assert.deepStrictEqual([ledger.delivered, ledger.dead, ledger.redelivered], [4, 4, 4])
    }).pipe(inMemory))

  it.effect("outcomes settle each element by itself: a bad one is given again alone", () =>
    Effect.gen(function*() {
      const seen: Array<ReadonlyArray<number>> = []
      const { feeder, run } = yield* feeding(Numbers, 8)
      const consumed = yield* Numbers.forEachBatch(4, (batch, { deliveries }) =>
        Effect.andThen(
          Effect.sync(() => seen.push(batch)),
          Effect.fail(Feed.outcomes(batch.map((n, i) =>
            n === 2 && deliveries[i]!.attempt === 1
              ? Feed.retry()
              : n === 5
              ? Feed.reject("five")
              : Feed.done
          )))
        ))
      assert.deepStrictEqual(seen[0], [0, 1, 2, 3])
      assert.deepStrictEqual(seen.flat().toSorted((a, b) => a - b), [0, 1, 2, 2, 3, 4, 5, 6, 7])
      assert.deepStrictEqual(consumed, { done: 7, retried: 1, rejected: 1, fenced: 0, timedOut: 0 })
      const ledger = yield* Fiber.join(run)
      assert.deepStrictEqual([ledger.delivered, ledger.dead, ledger.redelivered], [7, 1, 1])
      assert.deepStrictEqual((yield* feeder.status).dead.map(({ ordinal }) => ordinal), [5])
    }).pipe(inMemory))

  it.effect("elements that the outcomes do not cover are given back", () =>
    Effect.gen(function*() {
      const seen: Array<ReadonlyArray<number>> = []
      const { run } = yield* feeding(Numbers, 4)
      yield* Numbers.forEachBatch(4, (batch) =>
        Effect.suspend(() =>
          seen.push(batch) === 1
            ? Effect.fail(Feed.outcomes(batch.slice(0, 3).map(() => Feed.done)))
            : Effect.void
        ))
      assert.deepStrictEqual(seen, [[0, 1, 2, 3], [3]])
      assert.strictEqual((yield* Fiber.join(run)).delivered, 4)
    }).pipe(inMemory))

  it.effect("within: a batch is cut when the time since its first element has passed", () =>
    Effect.gen(function*() {
      const seen: Array<ReadonlyArray<number>> = []
      const manual = yield* ManualSource.make<number>()
      const run = yield* Effect.forkChild(Feeder.run(Numbers, { source: manual.source, devices: [device] }))
      yield* Effect.forkChild(
        Numbers.forEachBatch(3, (batch) => Effect.sync(() => seen.push(batch)), { within: "1 second" })
      )
      yield* settled
      yield* TestClock.adjust("5 seconds")
      yield* manual.push(0, 1)
      yield* settled
      yield* TestClock.adjust(999)
      yield* settled
      assert.deepStrictEqual(seen, [])
      yield* TestClock.adjust(1)
      yield* settled
      assert.deepStrictEqual(seen, [[0, 1]])
      yield* manual.push(2, 3, 4, 5)
      yield* settled
      assert.deepStrictEqual(seen, [[0, 1], [2, 3, 4]])
      yield* manual.end
      yield* settled
      yield* TestClock.adjust(1000)
      assert.strictEqual((yield* Fiber.join(run)).delivered, 6)
      assert.deepStrictEqual(seen, [[0, 1], [2, 3, 4], [5]])
    }).pipe(inMemory))

  it.effect("remainder \"drop\" refuses the last, short batch for good", () =>
    Effect.gen(function*() {
      const seen: Array<ReadonlyArray<number>> = []
      const { feeder, run } = yield* feeding(Numbers, 7)
      const consumed = yield* Numbers.forEachBatch(3, (batch) => Effect.sync(() => seen.push(batch)), {
        remainder: "drop"
      })
      assert.deepStrictEqual(seen, [[0, 1, 2], [3, 4, 5]])
      assert.deepStrictEqual(consumed, { done: 6, retried: 0, rejected: 1, fenced: 0, timedOut: 0 })
      const ledger = yield* Fiber.join(run)
      assert.deepStrictEqual([ledger.delivered, ledger.dead], [6, 1])
      assert.deepStrictEqual((yield* feeder.status).dead.map(({ cause, ordinal }) => [ordinal, cause]), [
        [6, "the last batch was short, and remainders are dropped"]
      ])
    }).pipe(inMemory))

  it.effect("remainder \"pad\" repeats the last element, and says how many are real", () =>
    Effect.gen(function*() {
      const seen: Array<readonly [ReadonlyArray<number>, number, number]> = []
      const { run } = yield* feeding(Numbers, 4)
      yield* Numbers.forEachBatch(
        3,
        (batch, { deliveries, size }) => Effect.sync(() => seen.push([batch, size, deliveries.length])),
        { remainder: "pad" }
      )
      assert.deepStrictEqual(seen, [[[0, 1, 2], 3, 3], [[3, 3, 3], 1, 1]])
      assert.strictEqual((yield* Fiber.join(run)).delivered, 4)
    }).pipe(inMemory))

  it.effect("concurrency: several batches at once, larger together than the capacity", () =>
    Effect.gen(function*() {
      const sizes: Array<number> = []
      const gate = yield* Deferred.make<void>()
      const { run } = yield* feeding(Numbers, 40)
      const loop = yield* Effect.forkChild(
        Numbers.forEachBatch(8, (batch) =>
          Effect.andThen(Effect.sync(() => sizes.push(batch.length)), Deferred.await(gate)), { concurrency: 3 })
      )
      for (let i = 0; i < 5; i++) {
        yield* settled
      }
      assert.deepStrictEqual(sizes, [8, 8, 8])
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual((yield* Fiber.join(loop)).done, 40)
      assert.strictEqual((yield* Fiber.join(run)).delivered, 40)
    }).pipe(inMemory))
})

describe("elements and batches", () => {
  it.effect("accepted: plain values", () =>
    Effect.gen(function*() {
      yield* feeding(Accepted, 10)
      assert.deepStrictEqual(yield* Stream.runCollect(Accepted.elements), range(10))
    }).pipe(inMemory))

  it.effect("accepted: batches with each remainder", () =>
    Effect.gen(function*() {
      const expected = {
        emit: [[0, 1, 2], [3, 4, 5], [6]],
        drop: [[0, 1, 2], [3, 4, 5]],
        pad: [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
      }
      for (const remainder of ["emit", "drop", "pad"] as const) {
        const batches = yield* Effect.gen(function*() {
          yield* feeding(Accepted, 7)
          return yield* Stream.runCollect(Accepted.batches(3, { remainder }))
        }).pipe(Effect.provide(devices, { local: true }))
        assert.deepStrictEqual<unknown>(batches, expected[remainder])
      }
    }))

  it.effect("processed: leased values, to be acknowledged", () =>
    Effect.gen(function*() {
      const { run } = yield* feeding(Numbers, 10)
      const seen: Array<number> = []
      yield* Stream.runForEach(Numbers.elements, ({ acknowledge, value }) =>
        Effect.andThen(Effect.sync(() => seen.push(value)), acknowledge))
      assert.deepStrictEqual(seen, range(10))
      assert.strictEqual((yield* Fiber.join(run)).delivered, 10)
    }).pipe(inMemory))

  it.effect("processed: each lease is settled once, the first time counts", () =>
    Effect.gen(function*() {
      const { run } = yield* feeding(Numbers, 6)
      yield* Stream.runForEach(Numbers.batches(3), ({ acknowledge, deliveries, settle, value }) =>
        deliveries[0]!.attempt > 1 || value[0] === 3
          ? Effect.andThen(acknowledge, settle(Feed.reject("too late")))
          : Effect.andThen(settle(Feed.outcomes([Feed.done, Feed.retry(), Feed.reject("no")])), acknowledge))
      const ledger = yield* Fiber.join(run)
      assert.deepStrictEqual([ledger.delivered, ledger.dead, ledger.redelivered], [5, 1, 1])
    }).pipe(inMemory))

  it.effect("what is not settled when the stream ends is given back", () =>
    Effect.gen(function*() {
      const { note, seen } = notes()
      const { run } = yield* feeding(Numbers, 6)
      yield* Stream.runForEach(
        Stream.take(Numbers.elements, 3),
        ({ acknowledge, value }) => value === 1 ? acknowledge : Effect.void
      )
      yield* Numbers.forEach(note)
      assert.deepStrictEqual(
        seen.toSorted(([a], [b]) => a - b),
        [[0, 2, true], [2, 2, true], [3, 1, false], [4, 1, false], [5, 1, false]]
      )
      assert.strictEqual((yield* Fiber.join(run)).delivered, 6)
    }).pipe(inMemory))

  it.effect("a lease that was given back cannot be settled any more, and does not count twice", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* feeding(Numbers, 1)
      const kept: Array<Feed.Leased<number>> = []
      yield* Stream.runForEach(Stream.take(Numbers.elements, 1), (leased) => Effect.sync(() => kept.push(leased)))
      yield* kept[0]!.acknowledge
      yield* settled
      assert.strictEqual((yield* feeder.ledger).delivered, 0)
      yield* Numbers.forEach(() => Effect.void)
      assert.strictEqual((yield* Fiber.join(run)).delivered, 1)
    }).pipe(inMemory))

  it.effect("an interrupted stream loses nothing, at any moment", () =>
    Effect.gen(function*() {
      for (let turns = 0; turns < 60; turns++) {
        yield* Effect.gen(function*() {
          const { run } = yield* feeding(Numbers, 12)
          const seen = new Set<number>()
          const stream = yield* Effect.forkChild(
            Stream.runForEach(Numbers.batches(2), ({ acknowledge, value }) =>
              Effect.andThen(
                Effect.sync(() => value.forEach((n) => seen.add(n))),
                acknowledge
              ))
          )
          for (let i = 0; i < turns; i++) yield* Effect.yieldNow
          yield* Fiber.interrupt(stream)
          yield* Numbers.forEach((n) => Effect.sync(() => seen.add(n)))
          assert.strictEqual((yield* Fiber.join(run)).delivered, 12, `interrupted after ${turns} turns`)
          assert.strictEqual(seen.size, 12, `interrupted after ${turns} turns`)
        }).pipe(Effect.scoped, Effect.provide(devices, { local: true }))
      }
    }))

  it.effect("an interrupted loop loses nothing, at any moment", () =>
    Effect.gen(function*() {
      for (let turns = 0; turns < 80; turns++) {
        yield* Effect.gen(function*() {
          const { run } = yield* feeding(Numbers, 12)
          const seen = new Map<number, number>()
          const count = (n: number) => Effect.sync(() => seen.set(n, (seen.get(n) ?? 0) + 1))
          const loop = yield* Effect.forkChild(
            Numbers.forEachBatch(2, (batch) => Effect.forEach(batch, count), { concurrency: 2 })
          )
          for (let i = 0; i < turns; i++) yield* Effect.yieldNow
          yield* Fiber.interrupt(loop)
          const unmarked = new Set<number>()
          yield* Numbers.forEach((n, { redelivered }) =>
            Effect.andThen(
              count(n),
              Effect.sync(() => {
                if (!redelivered) unmarked.add(n)
                assert.isTrue(redelivered || seen.get(n) === 1, `#${n} came twice, unmarked, after ${turns} turns`)
              })
            )
          )
          assert.strictEqual((yield* Fiber.join(run)).delivered, 12, `interrupted after ${turns} turns`)
          assert.strictEqual(seen.size, 12, `interrupted after ${turns} turns`)
        }).pipe(Effect.scoped, Effect.provide(devices, { local: true }))
      }
    }))
})
