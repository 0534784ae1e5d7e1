import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Option, Schema } from "effect"
import { Feed, Feeder, MemoryDevices, Settlements } from "effect-feeder"
import { TestClock } from "effect/testing"
import { hasEnded, pass, passUntil, range, settled } from "./network.ts"

const device = "/job:consumer/replica:0"

const Orders = Feed.make("orders", {
  element: Schema.Int,
  capacity: 4,
  delivery: "effectivelyOnce",
  identify: (n) => `order-${n}`
})

class Broken extends Schema.TaggedError<Broken>()("Broken", { at: Schema.Int }) {}

const layer = Layer.merge(MemoryDevices.layer({ feeds: [Orders] }), Settlements.layerMemory)
const inMemory = Effect.provide(layer)

/** A feeder of these numbers, and its run. */
const feeding = (source: ReadonlyArray<number>, options: Feeder.Options = {}) =>
  Effect.gen(function*() {
    const made = yield* Feeder.make(Orders, { id: "f", ...options })
    const feeder = yield* made.set(source)
    yield* feeder.addRemoteDevice(device)
    return { feeder, run: yield* Effect.forkChild(feeder.run) }
  })

const settling = (ids: ReadonlyArray<string>, feed = "orders") => ({ feed, ids })
const note = (seen: Array<number>, n: number) => Effect.sync(() => seen.push(n))

describe("layerMemory", () => {
  it.effect("runs an effect for the ids that are not settled, by their indices, and settles them", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      assert.deepStrictEqual(yield* settle(settling(["a", "b"]), Effect.succeed), Option.some([0, 1]))
      assert.deepStrictEqual(yield* settle(settling(["b", "c", "a", "d"]), Effect.succeed), Option.some([1, 3]))
      assert.deepStrictEqual(yield* settle(settling(["d", "c"]), () => Effect.die("it runs")), Option.none())
      assert.deepStrictEqual(yield* settle(settling([]), () => Effect.die("it runs")), Option.none())
      assert.deepStrictEqual(yield* settle(settling(["a"], "another feed"), Effect.succeed), Option.some([0]))
    }).pipe(Effect.provide(Settlements.layerMemory)))

  it.effect("an id that is there twice is settled with the first", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      assert.deepStrictEqual(yield* settle(settling(["a", "b", "a"]), Effect.succeed), Option.some([0, 1]))
    }).pipe(Effect.provide(Settlements.layerMemory)))

  it.effect("settles nothing when the effect fails, dies or is interrupted", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      assert.strictEqual(
        (yield* Effect.flip(settle(settling(["a"]), () => Effect.fail(new Broken({ at: 1 })))))._tag,
        "Broken"
      )
      assert.isTrue(Exit.isFailure(
        yield* Effect.exit(settle(settling(["a"]), (): Effect.Effect<void> => {
          throw new Error("boom")
        }))
      ))
      const waiting = yield* Effect.forkChild(settle(settling(["a"]), () => Effect.never), { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      assert.deepStrictEqual(yield* settle(settling(["a"]), Effect.succeed), Option.some([0]))
    }).pipe(Effect.provide(Settlements.layerMemory)))

  it.effect("who settles the same id at once waits, and runs only if the other did not commit", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      for (const commits of [true, false]) {
        const gate = yield* Deferred.make<void, Broken>()
        const [a, b, c] = [`a ${commits}`, `b ${commits}`, `c ${commits}`]
        const first = yield* Effect.forkChild(
          Effect.exit(settle(settling([a, b]), () => Deferred.await(gate))),
          { startImmediately: true }
        )
        const second = yield* Effect.forkChild(settle(settling([c, b]), Effect.succeed), { startImmediately: true })
        yield* settled
        assert.isFalse(hasEnded(second))
        assert.deepStrictEqual(
          yield* settle(settling(["others"]), Effect.succeed),
          commits ? Option.some([0]) : Option.none()
        )
        yield* Deferred.done(gate, commits ? Exit.void : Exit.fail(new Broken({ at: 1 })))
        assert.deepStrictEqual(yield* Fiber.join(second), Option.some(commits ? [0] : [0, 1]))
        assert.strictEqual(Exit.isSuccess(yield* Fiber.join(first)), commits)
      }
    }).pipe(Effect.provide(Settlements.layerMemory)))

  it.effect("two that hold each other's ids do not wait for each other", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      const seen: Array<number> = []
      yield* Effect.forEach(range(20), (i) =>
        settle(settling(i % 2 === 0 ? ["a", "b", "c"] : ["c", "b", "a"]), (fresh) =>
          Effect.andThen(Effect.yieldNow, note(seen, fresh.length))), { concurrency: "unbounded" })
      assert.deepStrictEqual(seen, [3])
    }).pipe(Effect.provide(Settlements.layerMemory)))

  it.effect("prune forgets what was settled long ago, of one feed", () =>
    Effect.gen(function*() {
      const { prune, settle } = yield* Settlements.Settlements
      yield* settle(settling(["a", "b"]), Effect.succeed)
      yield* settle(settling(["a"], "another feed"), Effect.succeed)
      yield* TestClock.adjust("1 hour")
      yield* settle(settling(["c"]), Effect.succeed)
      assert.strictEqual(yield* prune({ feed: "orders", olderThan: "1 hour" }), 0)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* prune({ feed: "orders", olderThan: "1 hour" }), 2)
      assert.deepStrictEqual(yield* settle(settling(["a", "b", "c"]), Effect.succeed), Option.some([0, 1]))
      assert.deepStrictEqual(yield* settle(settling(["a"], "another feed"), Effect.succeed), Option.none())
    }).pipe(Effect.provide(Settlements.layerMemory)))
})

describe("an effectivelyOnce feed", () => {
  it.effect("what was settled is acknowledged without running", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      yield* settle(settling(["order-1", "order-4"]), Effect.succeed)
      const seen: Array<number> = []
      const { run } = yield* feeding([0, 1, 2, 3, 4, 2, 0])
      const consumed = yield* Orders.forEach((n, { id }) => {
        assert.strictEqual(id, `order-${n}`)
        return note(seen, n)
      })
      assert.deepStrictEqual(seen, [0, 2, 3])
      assert.deepStrictEqual(consumed, { done: 7, retried: 0, rejected: 0, fenced: 0, timedOut: 0 })
      assert.strictEqual((yield* Fiber.join(run)).delivered, 7)
    }).pipe(inMemory))

  it.effect("a batch is of those that are not settled, whatever becomes of remainders", () =>
    Effect.gen(function*() {
      const expected = {
        emit: [[[0, 2, 3], 3, [0, 2, 3]]],
        drop: [[[0, 2, 3], 3, [0, 2, 3]]],
        pad: [[[0, 2, 3, 3], 3, [0, 2, 3]]]
      }
      for (const remainder of ["emit", "drop", "pad"] as const) {
        yield* Effect.gen(function*() {
          const { settle } = yield* Settlements.Settlements
          yield* settle(settling([1, 4, 5, 6, 7].map((n) => `order-${n}`)), Effect.succeed)
          const seen: Array<unknown> = []
          const { run } = yield* feeding(range(8))
          const consumed = yield* Orders.forEachBatch(
            4,
            (batch, { deliveries, size }) =>
              Effect.sync(() => seen.push([batch, size, deliveries.map(({ ordinal }) => ordinal)])),
            { remainder }
          )
          assert.deepStrictEqual<unknown>(seen, expected[remainder])
          assert.deepStrictEqual([consumed.done, (yield* Fiber.join(run)).delivered], [8, 8])
        }).pipe(Effect.provide(layer, { local: true }))
      }
    }))

  it.effect("an outcome is told as on any other feed, and settles nothing", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const { run } = yield* feeding(range(4))
      const loop = yield* Effect.forkChild(Orders.forEach((n, { attempt }) =>
        Effect.gen(function*() {
          yield* note(seen, n)
          if (n === 1 && attempt === 1) return yield* Feed.retry()
          if (n === 2) return yield* Feed.reject("no")
        })
      ))
      const consumed = yield* passUntil(loop)
      assert.deepStrictEqual([seen.toSorted(), consumed.done, consumed.retried, consumed.rejected], [
        [0, 1, 1, 2, 3],
        3,
        1,
        1
      ])
      assert.deepStrictEqual([(yield* Fiber.join(run)).delivered], [3])
      const { settle } = yield* Settlements.Settlements
      assert.deepStrictEqual(
        yield* settle(settling(range(4).map((n) => `order-${n}`)), Effect.succeed),
        Option.some([2])
      )
    }).pipe(inMemory))

  it.effect("a batch whose outcomes are not all done runs again, for those that were", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      yield* settle(settling(["order-0"]), Effect.succeed)
      const seen: Array<ReadonlyArray<number>> = []
      const { run } = yield* feeding(range(4))
      const loop = yield* Effect.forkChild(
        Orders.forEachBatch(4, (batch, { deliveries }) =>
          Effect.andThen(
            Effect.sync(() => seen.push(batch)),
            Effect.fail(
              Feed.outcomes(batch.map((n, i) => n === 2 && deliveries[i]!.attempt === 1 ? Feed.retry() : Feed.done))
            )
          ))
      )
      const consumed = yield* passUntil(loop)
      assert.deepStrictEqual(seen, [[1, 2, 3], [1, 3], [2]])
      assert.deepStrictEqual([consumed.done, consumed.retried, consumed.rejected], [4, 1, 0])
      assert.strictEqual((yield* Fiber.join(run)).delivered, 4)
    }).pipe(inMemory))

  it.effect("any other failure settles nothing, gives back, and ends the loop with it", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const { run } = yield* feeding(range(2))
      const error: Broken | Feed.FeedsItself = yield* Effect.flip(
        Orders.forEach((n) => n === 0 ? Effect.fail(new Broken({ at: n })) : Effect.void)
      )
      assert.strictEqual(error._tag, "Broken")
      const loop = yield* Effect.forkChild(Orders.forEach((n) => note(seen, n)))
      assert.strictEqual((yield* passUntil(loop)).done, 2)
      assert.deepStrictEqual(seen.toSorted(), [0, 1])
      yield* Fiber.join(run)
    }).pipe(inMemory))

  it.effect("an element without an id is rejected, and the cause says what to do", () =>
    Effect.gen(function*() {
      const Nameless = Feed.make("nameless", { element: Schema.Int, delivery: "effectivelyOnce", identify: () => "" })
      yield* Effect.gen(function*() {
        const made = yield* Feeder.make(Nameless, { id: "f" })
        const feeder = yield* made.set([1])
        yield* feeder.addRemoteDevice(device)
        const run = yield* Effect.forkChild(feeder.run)
        const consumed = yield* Nameless.forEach(() => Effect.die("it runs"))
        assert.strictEqual(consumed.rejected, 1)
        yield* Fiber.join(run)
        assert.strictEqual(
          (yield* feeder.status).dead[0]?.cause,
          "it came without an id, and feed \"nameless\" is effectivelyOnce: give the feed `identify`, " +
            "or feed it from a resumable source"
        )
      }).pipe(Effect.provide([MemoryDevices.layer({ feeds: [Nameless] }), Settlements.layerMemory]))
    }))

  it.effect("when the store fails, elements are given back with patience, and the loop goes on", () =>
    Effect.gen(function*() {
      let isUp = false
      const failed = new Settlements.SettlementsFailed({
        operation: "settle",
        where: "table \"t\"",
        feed: "orders",
        detail: "no connection"
      })
      assert.strictEqual(
        failed.message,
        "cannot settle settlements of feed \"orders\" in table \"t\": no connection; see that the store answers; " +
          "the elements are fed again, and those that did commit will be known by their ids"
      )
      const store = Layer.effect(
        Settlements.Settlements,
        Effect.map(Settlements.Settlements, (memory) =>
          Settlements.Settlements.of({
            ...memory,
            settle: (what, effect) => isUp ? memory.settle(what, effect) : Effect.fail(failed)
          }))
      ).pipe(Layer.provide(Settlements.layerMemory))
      const seen: Array<number> = []
      yield* Effect.gen(function*() {
        const { run } = yield* feeding(range(3))
        const loop = yield* Effect.forkChild(Orders.forEach((n) => note(seen, n)))
        for (let i = 0; i < 25; i++) yield* pass(100)
        assert.deepStrictEqual([seen, hasEnded(run)], [[], false])
        isUp = true
        const consumed = yield* passUntil(loop)
        assert.deepStrictEqual([consumed.done, consumed.retried], [3, 6])
        assert.deepStrictEqual(seen.toSorted(), [0, 1, 2])
        assert.strictEqual((yield* Fiber.join(run)).delivered, 3)
      }).pipe(Effect.provide(Layer.merge(MemoryDevices.layer({ feeds: [Orders] }), store)))
    }))

  it.effect("a defect of the store ends the loop with it", () =>
    Effect.gen(function*() {
      const store = Layer.succeed(Settlements.Settlements, {
        settle: () => Effect.die(new Error("broken store")),
        prune: () => Effect.succeed(0)
      })
      yield* feeding([1])
      const exit = yield* Effect.exit(Orders.forEach(() => Effect.void).pipe(Effect.provide(store)))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    }).pipe(inMemory))
})
