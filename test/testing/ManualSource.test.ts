import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { Feed, Feeder, type Ledger } from "effect-feeder"
import { ManualSource } from "effect-feeder/testing"
import { settled } from "../network.ts"

const Numbers = Feed.make("numbers", { element: Schema.Int, capacity: 2 })

describe("ManualSource", () => {
  it.effect("gives what was pushed, before a feeder came and after, and ends behind it", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number>()
      yield* manual.push(1, 2)
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(manual.source)
      const run: Fiber.Fiber<Ledger.Ledger, Feeder.FeedError> = yield* Effect.forkChild(feeder.run)
      assert.strictEqual(yield* feeder.take, 1)
      yield* manual.push(3)
      yield* manual.end
      assert.deepStrictEqual(yield* feeder.takeUpTo(5), [2, 3])
      assert.strictEqual((yield* Fiber.join(run)).delivered, 3)
    }))

  it.effect("never makes the test wait, and says how much is not taken yet", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number>()
      yield* manual.push(...Array.from({ length: 10 }, (_, i) => i))
      assert.strictEqual(yield* manual.pending, 10)
      const made = yield* Feeder.make(Numbers)
      yield* Effect.forkChild((yield* made.set(manual.source)).run)
      yield* settled
      // 2 in the queue and one in the runner's hand.
      assert.strictEqual(yield* manual.pending, 7)
    }))

  it.effect("fails behind what was pushed", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number, "broken">()
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(manual.source)
      yield* manual.push(1)
      yield* manual.fail("broken")
      const error: Feeder.FeedError | "broken" = yield* Effect.flip(feeder.run)
      assert.strictEqual(error, "broken")
      assert.strictEqual(yield* feeder.take, 1)
    }))

  it.effect("two feeders share what is pushed, each element once", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number>()
      const one = yield* (yield* Feeder.make(Numbers)).set(manual.source)
      const two = yield* (yield* Feeder.make(Numbers)).set(manual.source)
      yield* Effect.forkChild(one.run)
      yield* Effect.forkChild(two.run)
      yield* settled
      yield* manual.push(1, 2, 3, 4)
      yield* manual.end
      const all = yield* Effect.forEach([one, two], (feeder) => Stream.runCollect(feeder.elements), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(all.flat().toSorted(), [1, 2, 3, 4])
    }))

  it.effect("to push after the end is a mistake of the test", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number>()
      yield* manual.end
      const exit = yield* Effect.exit(manual.push(1, 2))
      assert.strictEqual(
        Exit.isFailure(exit) && String(Cause.squash(exit.cause)),
        "Error: a manual source that has ended was pushed 2 element(s)"
      )
    }))
})
