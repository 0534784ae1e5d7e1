/**
 * Cases of the reference's Coordinator, LooperThread and link, by number, where test/actors/Coordinator.test.ts has none
 * that says the same.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Effect, Exit, Fiber, Schedule } from "effect"
import { Coordinator } from "effect-feeder"
import { TestClock } from "effect/testing"
import { endedNow, hasEnded, pass, settled } from "../network.ts"

/** What a looper runs: it counts down and stops its coordinator at zero. */
const countdown = <E>(coordinator: Coordinator.Coordinator<E>, counter: { left: number }) =>
  Effect.suspend(() => {
    counter.left--
    return counter.left === 0 ? Effect.asVoid(coordinator.requestStop()) : Effect.void
  })

describe("the reference's cases", () => {
  it.effect("11, 12: it is not stopping, and a wait for it times out, until someone asks", () =>
    Effect.gen(function*() {
      const coordinator = yield* Coordinator.make({ name: "c" })
      assert.isFalse(yield* coordinator.isStopping)
      const waiting = yield* Effect.forkChild(Effect.timeoutOption(coordinator.awaitStop, "10 millis"))
      yield* pass(10)
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "None")
      const signal = yield* Deferred.make<void>()
      yield* Effect.forkChild(Effect.andThen(Deferred.await(signal), coordinator.requestStop()))
      yield* settled
      assert.isFalse(yield* coordinator.isStopping)
      yield* Deferred.succeed(signal, undefined)
      assert.strictEqual((yield* coordinator.awaitStop)._tag, "None")
      assert.isTrue(yield* coordinator.isStopping)
    }).pipe(Effect.scoped))

  it.effect("13, 14, 15: a join waits for all that was forked under it, and asks nobody to stop", () =>
    Effect.gen(function*() {
      const coordinator = yield* Coordinator.make({ name: "c" })
      const fibers = yield* Effect.forEach(
        [1, 2, 3],
        (n) => coordinator.fork(`sleeper ${n}`, Effect.sleep(n * 10))
      )
      const join = yield* Effect.forkChild(coordinator.join())
      yield* pass(29)
      assert.isFalse(hasEnded(join))
      yield* pass(1)
      assert.deepStrictEqual(yield* endedNow(join), Exit.void)
      assert.isTrue(fibers.every(hasEnded))
      assert.isFalse(yield* coordinator.isStopping)
    }).pipe(Effect.scoped))

  it.effect("18, 19: of two failures the join raises the first, whichever way they are reported", () =>
    Effect.gen(function*() {
      const thrown = yield* Coordinator.make<string>({ name: "thrown" })
      yield* thrown.fork("one", Effect.delay(Effect.fail("First"), 10))
      yield* thrown.fork("two", Effect.delay(Effect.fail("Too late"), 50))
      const reported = yield* Coordinator.make<string>({ name: "reported" })
      yield* reported.fork("one", Effect.delay(reported.requestStop(Cause.fail("First")), 10))
      const second = yield* Effect.forkChild(Effect.delay(reported.requestStop(Cause.fail("Too late")), 50))
      yield* pass(50)
      assert.strictEqual(yield* Effect.flip(thrown.join()), "First")
      assert.strictEqual(yield* Effect.flip(reported.join()), "First")
      assert.isFalse(yield* Fiber.join(second), "it was not the first stop")
    }).pipe(Effect.scoped))

  it.effect("20, 21: what is a clean end is said where the fiber is forked, and nothing else is one", () =>
    Effect.gen(function*() {
      const coordinator = yield* Coordinator.make<"mine" | "other">({ name: "c" })
      const reached: Array<string> = []
      const failing = (error: "mine" | "other") =>
        Effect.suspend(() => {
          reached.push(error)
          return Effect.fail(error)
        }).pipe(Effect.catchIf((e) => e === "mine", () => Effect.void))
      yield* coordinator.fork("clean", failing("mine"))
      yield* coordinator.join()
      assert.isFalse(yield* coordinator.isStopping)
      yield* coordinator.fork("failing", failing("other"))
      assert.strictEqual(yield* Effect.flip(coordinator.join()), "other")
      assert.deepStrictEqual(reached, ["mine", "other"])
    }).pipe(Effect.scoped))

  it.effect("25: the cause of a failure arrives whole, with its defects", () =>
    Effect.gen(function*() {
      const coordinator = yield* Coordinator.make<Error>({ name: "c" })
      const error = new Error("the one")
      const cause = Cause.combine(Cause.fail(error), Cause.die("and this"))
      yield* coordinator.fork("one", Effect.failCause(cause))
      const exit = yield* Effect.exit(coordinator.join())
      assert.isTrue(Exit.isFailure(exit))
      if (Exit.isFailure(exit)) {
        assert.strictEqual(exit.cause.reasons.length, 2)
        assert.strictEqual(Cause.squash(exit.cause), error)
      }
    }).pipe(Effect.scoped))

  it.effect("26, 27, 28: a loop back to back runs until it asks for the stop", () =>
    Effect.gen(function*() {
      const coordinator = yield* Coordinator.make({ name: "c" })
      const counter = { left: 3 }
      yield* coordinator.fork("looper", Effect.forever(countdown(coordinator, counter)))
      yield* coordinator.join()
      assert.strictEqual(counter.left, 0)
    }).pipe(Effect.scoped))
})

describe("what is mended", () => {
  it.effect("a loop on an interval begins at once, and does not run missed ticks in a burst", () =>
    Effect.gen(function*() {
      const coordinator = yield* Coordinator.make({ name: "c" })
      const ticks: Array<number> = []
      const tick = Effect.gen(function*() {
        ticks.push(yield* Clock.currentTimeMillis)
        if (ticks.length === 1) yield* Effect.sleep(350)
      })
      yield* coordinator.fork("looper", Effect.repeat(tick, Schedule.fixed(100)))
      for (let i = 0; i < 60; i++) yield* pass(10)
      yield* coordinator.requestStop()
      assert.strictEqual(ticks[0], 0)
      assert.isAtLeast(ticks.length, 3)
      // The reference runs the three missed ones at 350, one directly after the other.
      assert.deepStrictEqual([...new Set(ticks)], ticks)
    }).pipe(Effect.scoped))

  it.effect("a report after the join is no error of the reporter, and is told apart by its answer", () =>
    Effect.gen(function*() {
      const coordinator = yield* Coordinator.make<string>({ name: "c" })
      yield* coordinator.fork("one", Effect.void)
      yield* coordinator.join()
      // Nothing had asked for a stop, so this is the first, and it counts.
      assert.isTrue(yield* coordinator.requestStop(Cause.fail("late")))
      assert.isFalse(yield* coordinator.requestStop(Cause.fail("later")))
      assert.strictEqual(yield* Effect.flip(coordinator.join()), "late")
      assert.strictEqual(yield* Effect.flip(coordinator.join()), "late")
    }).pipe(Effect.scoped))

  it.effect("a fiber forked while others are being joined is joined too", () =>
    Effect.gen(function*() {
      const coordinator = yield* Coordinator.make({ name: "c" })
      yield* coordinator.fork("first", Effect.sleep(10))
      const join = yield* Effect.forkChild(coordinator.join())
      yield* settled
      yield* coordinator.fork("second", Effect.sleep(20))
      yield* pass(10)
      assert.isFalse(hasEnded(join))
      yield* pass(10)
      assert.deepStrictEqual(yield* endedNow(join), Exit.void)
    }).pipe(Effect.scoped))

  it.effect("the grace period counts from the join when the stop came before it", () =>
    Effect.gen(function*() {
      const coordinator = yield* Coordinator.make({ name: "c" })
      const release = yield* Deferred.make<void>()
      yield* coordinator.fork("slow", Effect.onInterrupt(Effect.never, () => Deferred.await(release)))
      yield* settled
      yield* coordinator.requestStop()
      yield* TestClock.adjust("1 minute")
      const join = yield* Effect.forkChild(coordinator.join({ gracePeriod: 500 }))
      yield* pass(499)
      assert.isFalse(hasEnded(join))
      yield* pass(1)
      const error = yield* Effect.flip(Fiber.join(join))
      assert.strictEqual(error._tag, "StragglersLeft")
      yield* Deferred.succeed(release, undefined)
    }).pipe(Effect.scoped))

  it.effect("the outer coordinator's failure reaches the inner one at once, as the same cause", () =>
    Effect.gen(function*() {
      const outer = yield* Coordinator.make<string>({ name: "outer" })
      const inner = yield* outer.child<string>({ name: "inner" })
      const works = yield* inner.fork("works", Effect.never)
      yield* outer.fork("producer", Effect.delay(Effect.fail("disk full"), 10))
      yield* pass(10)
      assert.isTrue(hasEnded(works))
      assert.strictEqual(yield* Effect.flip(inner.join()), "disk full")
    }).pipe(Effect.scoped))
})
