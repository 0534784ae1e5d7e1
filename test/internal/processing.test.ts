import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Logger, Schema } from "effect"
import { Feed, Feeder, MemoryDevices } from "effect-feeder"
import { hasEnded, pass, passUntil, range, settled } from "../network.ts"

const device = "/job:consumer/replica:0"
const Numbers = Feed.make("numbers", { element: Schema.Int, capacity: 4 })
const inMemory = Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }))

class Broken extends Schema.TaggedError<Broken>()("Broken", { at: Schema.Int }) {}

/** A feeder of 0, 1, …, and its run. */
const feeding = (count: number, options: Feeder.Options = {}) =>
  Effect.gen(function*() {
    const made = yield* Feeder.make(Numbers, { id: "f", ...options })
    const feeder = yield* made.set(range(count))
    yield* feeder.addRemoteDevice(device)
    return { feeder, run: yield* Effect.forkChild(feeder.run) }
  })

describe("processWithin", () => {
  it.effect("must be a positive duration", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Numbers.forEach(() => Effect.void, { processWithin: 0 }))
      assert.strictEqual(
        Exit.isFailure(exit) && String(Cause.squash(exit.cause)),
        "RangeError: processWithin must be a positive duration, got 0"
      )
    }).pipe(inMemory))

  it.effect("interrupts a handler that waits for ever, gives its element back, and goes on", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const { feeder, run } = yield* feeding(3)
      const loop = yield* Effect.forkChild(
        Numbers.forEach((n, { attempt }) =>
          n === 0 && attempt === 1
            ? Effect.onInterrupt(Effect.never, () => Effect.sync(() => log.push("interrupted")))
            : Effect.sync(() => log.push(`${n} at attempt ${attempt}`)), { processWithin: "30 seconds" })
      )
      yield* settled
      yield* pass(29_999)
      assert.deepStrictEqual(log, [])
      yield* pass(1)
      assert.deepStrictEqual(log.slice(0, 3), ["interrupted", "1 at attempt 1", "2 at attempt 1"])
      const consumed = yield* passUntil(loop)
      assert.deepStrictEqual(log.slice(3), ["0 at attempt 2"])
      assert.deepStrictEqual(consumed, { done: 3, retried: 1, rejected: 0, fenced: 0, timedOut: 1 })
      yield* Fiber.join(run)
      assert.strictEqual((yield* feeder.ledger).delivered, 3)
    }).pipe(inMemory))

  it.effect("does not wait for a handler that cannot be interrupted, and ignores what it still does", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const gate = yield* Deferred.make<void>()
      const { run } = yield* feeding(4)
      const loop = yield* Effect.forkChild(
        Numbers.forEachBatch(2, (batch, { deliveries }) =>
          deliveries[0]!.attempt === 1 && batch[0] === 0
            ? Effect.uninterruptible(Deferred.await(gate))
            : Effect.sync(() => seen.push(...batch)), { processWithin: "1 second" })
      )
      yield* settled
      yield* pass(1000)
      assert.deepStrictEqual(seen.slice(0, 2), [2, 3])
      yield* pass(10_000)
      assert.deepStrictEqual(seen, [2, 3, 0, 1])
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* Fiber.join(loop), { done: 4, retried: 2, rejected: 0, fenced: 0, timedOut: 2 })
      assert.strictEqual((yield* Fiber.join(run)).delivered, 4)
    }).pipe(inMemory))

  it.effect("at the end of the loop it waits for such a handler as long again, and says that it is left", () =>
    Effect.gen(function*() {
      const said: Array<unknown> = []
      const gate = yield* Deferred.make<void>()
      yield* feeding(1)
      const loop = yield* Effect.forkChild(
        Numbers.forEach(
          (_, { attempt }) => attempt === 1 ? Effect.uninterruptible(Deferred.await(gate)) : Effect.void,
          { processWithin: "1 minute" }
        )
          .pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => said.push(message))])))
      )
      yield* settled
      yield* pass(60_000)
      yield* pass(40_000)
      assert.isFalse(hasEnded(loop))
      yield* pass(60_000)
      assert.strictEqual((yield* Fiber.join(loop)).timedOut, 1)
      assert.deepStrictEqual(said, [["1 that were not processed within 1m cannot be interrupted, and still run"]])
      yield* Deferred.succeed(gate, undefined)
      yield* settled
    }).pipe(inMemory))

  it.effect("tells the feeder why", () =>
    Effect.gen(function*() {
      const { feeder } = yield* feeding(1, { maxAttempts: 1 })
      const loop = yield* Effect.forkChild(Numbers.forEach(() => Effect.never, { processWithin: "1.5 seconds" }))
      yield* settled
      yield* pass(1500)
      yield* Fiber.interrupt(loop)
      assert.deepStrictEqual((yield* feeder.status).dead.map(({ cause }) => cause), ["not processed within 1s 500ms"])
    }).pipe(inMemory))

  it.effect("an outcome, a failure and an interruption are told as without it", () =>
    Effect.gen(function*() {
      const { run } = yield* feeding(3)
      const options = { processWithin: "1 second" } as const
      const rejecting = yield* Effect.forkChild(
        Numbers.forEach((n) => Effect.fail(n === 0 ? Feed.reject("no") : new Broken({ at: n })), options)
      )
      assert.deepStrictEqual(yield* Effect.flip(Fiber.join(rejecting)), new Broken({ at: 1 }))
      const waiting = yield* Effect.forkChild(Numbers.forEach(() => Effect.never, options))
      yield* settled
      yield* Fiber.interrupt(waiting)
      const rest = yield* Effect.forkChild(Numbers.forEach(() => Effect.sleep(900), options))
      assert.deepStrictEqual(yield* passUntil(rest), { done: 2, retried: 0, rejected: 0, fenced: 0, timedOut: 0 })
      const { dead, delivered } = yield* Fiber.join(run)
      assert.deepStrictEqual([dead, delivered], [1, 2])
    }).pipe(inMemory))

  it.effect("an interrupted loop waits for a handler that cannot be interrupted, but for its time only", () =>
    Effect.gen(function*() {
      for (const finishes of [true, false]) {
        yield* Effect.gen(function*() {
          const gate = yield* Deferred.make<void>()
          const { run } = yield* feeding(1)
          const loop = yield* Effect.forkChild(
            Numbers.forEach(() => Effect.uninterruptible(Deferred.await(gate)), { processWithin: "1 second" })
          )
          yield* settled
          yield* pass(500)
          const interrupting = yield* Effect.forkChild(Fiber.interrupt(loop))
          yield* settled
          assert.isFalse(hasEnded(interrupting))
          if (finishes) {
            yield* Deferred.succeed(gate, undefined)
            yield* settled
          } else {
            yield* pass(1000)
            assert.isFalse(hasEnded(interrupting))
            yield* pass(1000)
          }
          assert.isTrue(hasEnded(interrupting))
          yield* Deferred.succeed(gate, undefined)
          const rest = yield* Effect.forkChild(Numbers.forEach(() => Effect.void))
          yield* pass(60_000)
          assert.strictEqual((yield* Fiber.join(run)).delivered, 1)
          yield* Fiber.interrupt(rest)
        }).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }), { local: true }))
      }
    }))
})

describe("a poison element", () => {
  it.effect("that the outcomes name is retried alone, and the others are acknowledged", () =>
    Effect.gen(function*() {
      const seen: Array<readonly [n: number, attempt: number]> = []
      const { run } = yield* feeding(4)
      const loop = yield* Effect.forkChild(
        Numbers.forEachBatch(4, (batch, { deliveries }) => {
          seen.push(...batch.map((n, i) => [n, deliveries[i]!.attempt] as const))
          return Effect.fail(
            Feed.outcomes(batch.map((n, i) => n === 2 && deliveries[i]!.attempt < 3 ? Feed.retry() : Feed.done))
          )
        })
      )
      assert.deepStrictEqual(yield* passUntil(loop), { done: 4, retried: 2, rejected: 0, fenced: 0, timedOut: 0 })
      assert.deepStrictEqual(seen, [[0, 1], [1, 1], [2, 1], [3, 1], [2, 2], [2, 3]])
      assert.deepStrictEqual([(yield* Fiber.join(run)).delivered], [4])
    }).pipe(inMemory))

  for (const remainder of ["emit", "drop"] as const) {
    it.effect(`in a batch that fails as a whole takes no others with it, with remainder "${remainder}"`, () =>
      Effect.gen(function*() {
        const seen: Array<ReadonlyArray<number>> = []
        const attempts = new Map<number, number>()
        const { run } = yield* feeding(8)
        const loop = yield* Effect.forkChild(
          Numbers.forEachBatch(
            4,
            (batch, { deliveries }) =>
              Effect.suspend((): Effect.Effect<void, Feed.Retry | Feed.Reject> => {
                seen.push(batch)
                batch.forEach((n, i) => attempts.set(n, deliveries[i]!.attempt))
                if (!batch.includes(2)) return Effect.void
                return deliveries[0]!.attempt < 4 ? Effect.fail(Feed.retry()) : Effect.fail(Feed.reject("poison"))
              }),
            { remainder }
          )
        )
        assert.deepStrictEqual(yield* passUntil(loop), { done: 7, retried: 9, rejected: 1, fenced: 0, timedOut: 0 })
        const { dead, delivered } = yield* Fiber.join(run)
        assert.deepStrictEqual([dead, delivered], [1, 7])
        // Twice with others, then by itself.
        assert.deepStrictEqual(seen.filter((batch) => batch.includes(2)).map((batch) => batch.length), [4, 4, 1, 1])
        assert.deepStrictEqual(
          range(8).map((n) => attempts.get(n)),
          [3, 3, 4, 3, 1, 1, 1, 1]
        )
      }).pipe(inMemory))
  }
})
