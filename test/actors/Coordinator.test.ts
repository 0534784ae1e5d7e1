import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Deferred,
  type Duration,
  Effect,
  Exit,
  Fiber,
  Latch,
  Logger,
  Option,
  Queue,
  References,
  Schema,
  Scope
} from "effect"
import * as Coordinator from "effect-feeder/actors/Coordinator"
import { TestClock } from "effect/testing"

/** Forks and returns when the effect has begun and waits. */
const begin = Effect.fnUntraced(function*<A, E>(
  coordinator: Coordinator.Coordinator<E>,
  name: string,
  effect: Effect.Effect<A, E>
) {
  const begun = yield* Deferred.make<void>()
  const fiber = yield* coordinator.fork(name, Effect.andThen(Deferred.succeed(begun, undefined), effect))
  yield* Deferred.await(begun)
  yield* Effect.yieldNow
  return fiber
})

/** Sleeps in a fiber of its own, because the first sleep of a TestClock lets an interruption through a finalizer. */
const linger = (duration: Duration.Input) => Effect.flatMap(Effect.forkDetach(Effect.sleep(duration)), Fiber.join)

/** Never ends by itself and takes this long to be interrupted. */
const slowToStop = (duration: Duration.Input) => Effect.onInterrupt(Effect.never, () => linger(duration))

const hasEnded = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.pollUnsafe() !== undefined

const wasInterrupted = (fiber: Fiber.Fiber<unknown, unknown>) => {
  const exit = fiber.pollUnsafe()
  return exit !== undefined && Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
}

const capture = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    lines.push(
      `${logLevel} ${(Array.isArray(message) ? message : [message]).filter((m) => !Cause.isCause(m)).join(" ")}`
    )
  })
  const record = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    effect.pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "Debug")
    )
  return { lines, record }
}

describe("Coordinator", () => {
  describe("stopping", () => {
    it.effect("a new coordinator is not stopping, and is after a request", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        const waiting = yield* Effect.forkChild(coordinator.awaitStop, { startImmediately: true })
        assert.isFalse(yield* coordinator.isStopping)
        assert.isFalse(hasEnded(waiting))
        yield* coordinator.requestStop()
        assert.isTrue(yield* coordinator.isStopping)
        assert.deepStrictEqual(yield* Fiber.join(waiting), Option.none())
      }))

    it.effect("a fiber under it may ask for the stop, and those who wait hear of it at once", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        const signal = yield* Deferred.make<void>()
        const asking = yield* coordinator.fork(
          "asking",
          Effect.andThen(Deferred.await(signal), coordinator.requestStop())
        )
        const waiting = yield* Effect.forkChild(coordinator.awaitStop)
        yield* Effect.yieldNow
        assert.isFalse(yield* coordinator.isStopping)
        assert.isFalse(hasEnded(waiting))
        yield* Deferred.succeed(signal, undefined)
        assert.isTrue(yield* coordinator.isStopping)
        assert.isTrue(hasEnded(waiting))
        yield* coordinator.join()
        assert.isTrue(wasInterrupted(asking))
      }))

    it.effect("stopping twice is stopping once", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        assert.isTrue(yield* coordinator.requestStop(Cause.fail("first")))
        assert.isFalse(yield* coordinator.requestStop(Cause.fail("too late")))
        assert.isFalse(yield* coordinator.requestStop())
        assert.deepStrictEqual(yield* coordinator.awaitStop, Option.some(Cause.fail("first")))
        assert.deepStrictEqual(yield* Effect.exit(coordinator.join()), Exit.fail("first"))
      }))

    it.effect("a clean first stop wins over a later failure", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        yield* coordinator.requestStop()
        assert.isFalse(yield* coordinator.requestStop(Cause.fail("too late")))
        yield* coordinator.join()
      }))

    it.effect("a request with interruptions only is a clean stop", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        yield* coordinator.requestStop(Cause.interrupt(1))
        assert.deepStrictEqual(yield* coordinator.awaitStop, Option.none())
        yield* coordinator.join()
      }))

    it.effect("Stoppable: a blocked offer, a sleep and a wait have ended when the request returns", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        const queue = yield* Queue.bounded<number>(1)
        yield* Queue.offer(queue, 1)
        const fibers = [
          yield* coordinator.fork("offer", Queue.offer(queue, 2)),
          yield* coordinator.fork("sleep", Effect.sleep("1 hour")),
          yield* coordinator.fork("never", Effect.never),
          yield* coordinator.fork("take", Effect.flatMap(Queue.make<never>(), Queue.take))
        ]
        yield* Effect.yieldNow
        assert.isFalse(fibers.some(hasEnded))
        yield* coordinator.requestStop()
        assert.isTrue(fibers.every(wasInterrupted))
        assert.deepStrictEqual(yield* Queue.clear(queue), [1])
      }))

    it.effect("a busy loop ends within a scheduler turn", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        const busy = yield* coordinator.fork("busy", Effect.forever(Effect.void))
        yield* Effect.yieldNow
        yield* coordinator.requestStop()
        yield* Effect.yieldNow
        assert.isTrue(wasInterrupted(busy))
      }))

    it.effect("a fiber that has not begun never runs", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        let ran = false
        const fiber = yield* coordinator.fork("late", Effect.sync(() => (ran = true)))
        yield* coordinator.requestStop()
        yield* Effect.yieldNow
        assert.isTrue(wasInterrupted(fiber))
        assert.isFalse(ran)
      }))

    it.effect("forking on a stopping coordinator hands back an interrupted fiber and runs nothing", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        yield* coordinator.requestStop()
        let ran = false
        const fiber = yield* coordinator.fork("late", Effect.sync(() => (ran = true)))
        assert.isTrue(wasInterrupted(fiber))
        yield* coordinator.join()
        assert.isFalse(ran)
        assert.deepStrictEqual(yield* coordinator.running, [])
      }))

    it.effect("a loop runs until it asks for the stop", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        let left = 3
        yield* coordinator.fork(
          "loop",
          Effect.forever(Effect.suspend(() => --left === 0 ? coordinator.requestStop() : Effect.void))
        )
        yield* coordinator.join()
        assert.strictEqual(left, 0)
      }))
  })

  describe("failures", () => {
    it.effect("the first failure stops the others and is what the join fails with", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        const idle = yield* coordinator.fork("idle", Effect.never)
        yield* coordinator.fork("first", Effect.delay(Effect.fail("First"), "1 second"))
        yield* coordinator.fork("second", Effect.delay(Effect.fail("Too late"), "2 seconds"))
        yield* TestClock.adjust("1 second")
        assert.isTrue(wasInterrupted(idle))
        assert.deepStrictEqual(yield* Effect.exit(coordinator.join()), Exit.fail("First"))
      }))

    it.effect("a failure reported by request is what the join fails with", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        const report = (message: string, after: Duration.Input) =>
          Effect.uninterruptible(Effect.delay(coordinator.requestStop(Cause.fail(message)), after))
        const first = yield* coordinator.fork("first", report("First", "1 second"))
        const second = yield* coordinator.fork("second", report("Too late", "2 seconds"))
        const join = yield* Effect.forkChild(Effect.exit(coordinator.join()))
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* Fiber.join(join), Exit.fail("First"))
        assert.isTrue(hasEnded(first) && hasEnded(second))
      }))

    it.effect("the whole cause is kept", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        const whole = Cause.combine(Cause.fail("typed"), Cause.die("defect"))
        yield* coordinator.fork("both", Effect.failCause(whole))
        const exit = yield* Effect.exit(coordinator.join())
        assert.isTrue(Exit.isFailure(exit))
        if (Exit.isFailure(exit)) {
          assert.deepStrictEqual(exit.cause.reasons.map((reason) => reason._tag), ["Fail", "Die"])
        }
      }))

    it.effect("a defect counts as a failure", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        yield* coordinator.fork("broken", Effect.die("boom"))
        assert.deepStrictEqual(yield* Effect.exit(coordinator.join()), Exit.die("boom"))
      }))

    it.effect("a failure is seen in the step in which it happens", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        const idle = yield* begin(coordinator, "idle", Effect.never)
        const gate = yield* Deferred.make<never, string>()
        yield* begin(coordinator, "failing", Deferred.await(gate))
        yield* Deferred.fail(gate, "lost")
        assert.isTrue(wasInterrupted(idle))
        assert.isTrue(yield* coordinator.isStopping)
      }))

    it.effect("an end that the fiber handles is no failure", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        const queue = yield* Queue.bounded<number, Cause.Done>(1)
        yield* coordinator.fork("reader", Effect.ignore(Queue.take(queue)))
        yield* Queue.end(queue)
        yield* coordinator.join()
        assert.isFalse(yield* coordinator.isStopping)
      }))

    it.effect("neither the end nor the interruption of a fiber stops the others", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        const idle = yield* coordinator.fork("idle", Effect.never)
        yield* coordinator.fork("done", Effect.void)
        yield* coordinator.fork("interrupted", Effect.interrupt)
        yield* Fiber.interrupt(yield* coordinator.fork("interrupted from outside", Effect.never))
        yield* Effect.yieldNow
        assert.isFalse(yield* coordinator.isStopping)
        assert.isFalse(hasEnded(idle))
        assert.deepStrictEqual(yield* coordinator.running, ["idle"])
      }))

    it.effect("a failure after the stop is kept and logged", () => {
      const { lines, record } = capture()
      return record(Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        yield* begin(coordinator, "leaky", Effect.onInterrupt(Effect.never, () => Effect.die("finalizer")))
        yield* coordinator.requestStop(Cause.fail("first"))
        const late = yield* coordinator.lateFailures
        assert.deepStrictEqual(late.map(({ cause, fiber }) => [fiber, Cause.squash(cause)]), [["leaky", "finalizer"]])
        assert.deepStrictEqual(yield* Effect.flip(coordinator.join()), "first")
        assert.deepStrictEqual(lines, ["Debug fiber leaky failed after the stop"])
      }))
    })
  })

  describe("joining", () => {
    it.effect("waits for every fiber when nobody asks for a stop", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        const fibers = yield* Effect.forEach([1, 2, 3], (n) => coordinator.fork(`${n}`, Effect.sleep(n * 1000)))
        const join = yield* Effect.forkChild(coordinator.join())
        yield* TestClock.adjust("2999 millis")
        assert.isFalse(hasEnded(join))
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* Fiber.await(join), Exit.void)
        assert.isTrue(fibers.every(hasEnded))
        assert.isFalse(yield* coordinator.isStopping)
      }))

    it.effect("waits for a fiber that was forked after it began, or by another", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        yield* coordinator.fork(
          "parent",
          Effect.andThen(Effect.sleep("1 second"), coordinator.fork("child", Effect.sleep("2 seconds")))
        )
        const join = yield* Effect.forkChild(coordinator.join())
        yield* TestClock.adjust("2 seconds")
        assert.isFalse(hasEnded(join))
        yield* TestClock.adjust("1 second")
        assert.isTrue(hasEnded(join))
      }))

    it.effect("with nothing under it returns at once and leaves it open", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        yield* coordinator.join()
        yield* coordinator.join()
        yield* coordinator.fork("failing", Effect.fail("lost"))
        assert.deepStrictEqual(yield* Effect.flip(coordinator.join()), "lost")
      }))

    it.effect("waits for finalizers that end within the grace period", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        yield* begin(coordinator, "slow", slowToStop("5 seconds"))
        yield* coordinator.requestStop()
        const join = yield* Effect.forkChild(coordinator.join({ gracePeriod: "6 seconds" }))
        yield* TestClock.adjust("4 seconds")
        assert.isFalse(hasEnded(join))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.await(join), Exit.void)
      }))

    it.effect("names the fibers whose finalizers are longer than the grace period", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        yield* begin(coordinator, "quick", slowToStop("1 second"))
        const slow = yield* begin(coordinator, "slow", slowToStop("10 seconds"))
        yield* begin(coordinator, "stuck", Effect.uninterruptible(Effect.sleep("20 seconds")))
        yield* coordinator.requestStop()
        const join = yield* Effect.forkChild(Effect.flip(coordinator.join({ gracePeriod: "5 seconds" })))
        yield* TestClock.adjust("5 seconds")
        const error = yield* Fiber.join(join)
        assert.deepStrictEqual(
          error,
          new Coordinator.StragglersLeft({ coordinator: "outer", names: ["slow", "stuck"] })
        )
        assert.strictEqual(
          error.message,
          "coordinator outer stopped, but 2 fibers did not end in time and went on in the background: slow, stuck; " +
            "shorten what they do when interrupted, or give a longer gracePeriod"
        )
        yield* TestClock.adjust("5 seconds")
        assert.isTrue(hasEnded(slow), "a straggler goes on")
        assert.deepStrictEqual(yield* coordinator.running, ["stuck"])
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* coordinator.running, [])
      }))

    it.effect("the grace period begins with the stop", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        yield* begin(coordinator, "slow", slowToStop("2 seconds"))
        const join = yield* Effect.forkChild(coordinator.join({ gracePeriod: "3 seconds" }))
        yield* TestClock.adjust("1 minute")
        yield* coordinator.requestStop()
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* Fiber.await(join), Exit.void)
      }))

    it.effect("stragglers can be left to themselves", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        yield* begin(coordinator, "slow", slowToStop("10 seconds"))
        yield* coordinator.requestStop()
        const join = yield* coordinator.join({ gracePeriod: "1 second" }).pipe(
          Effect.catchTag("StragglersLeft", () => Effect.void),
          Effect.forkChild
        )
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.await(join), Exit.void)
        yield* TestClock.adjust("9 seconds")
      }))

    it.effect("a recorded failure comes before stragglers, which are still named", () => {
      const { lines, record } = capture()
      return record(Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        yield* begin(coordinator, "slow", slowToStop("10 seconds"))
        yield* coordinator.fork("failing", Effect.fail("lost"))
        const join = yield* Effect.forkChild(Effect.exit(coordinator.join({ gracePeriod: "1 second" })))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.join(join), Exit.fail("lost"))
        assert.deepStrictEqual(yield* coordinator.running, ["slow"])
        assert.deepStrictEqual(lines, ["Warn fibers did not end in time and went on in the background: slow"])
        yield* TestClock.adjust("9 seconds")
      }))
    })

    it.effect("a failure waits for the finalizers of the others", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        const slow = yield* begin(coordinator, "slow", slowToStop("10 seconds"))
        yield* coordinator.fork("failing", Effect.fail("lost"))
        const join = yield* Effect.forkChild(Effect.exit(coordinator.join()))
        yield* TestClock.adjust("9 seconds")
        assert.isFalse(hasEnded(join))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.join(join), Exit.fail("lost"))
        assert.isTrue(hasEnded(slow))
      }))

    it.effect("joining again gives the same answer, though the stragglers have ended", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        yield* begin(coordinator, "slow", slowToStop("10 seconds"))
        yield* coordinator.requestStop()
        const long = yield* Effect.forkChild(Effect.exit(coordinator.join({ gracePeriod: "1 minute" })))
        const short = yield* Effect.forkChild(Effect.exit(coordinator.join({ gracePeriod: "1 second" })))
        yield* TestClock.adjust("1 second")
        const answers = [yield* Fiber.join(short), yield* Fiber.join(long)]
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* coordinator.running, [])
        answers.push(yield* Effect.exit(coordinator.join()))
        const expected = Exit.fail(new Coordinator.StragglersLeft({ coordinator: "outer", names: ["slow"] }))
        assert.deepStrictEqual(answers, [expected, expected, expected])
      }))

    it.effect("a join that is interrupted changes nothing", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer" })
        yield* begin(coordinator, "slow", slowToStop("2 seconds"))
        yield* Fiber.interrupt(yield* Effect.forkChild(coordinator.join(), { startImmediately: true }))
        assert.isFalse(yield* coordinator.isStopping)
        yield* coordinator.requestStop()
        const impatient = coordinator.join({ gracePeriod: "1 second" })
        yield* Fiber.interrupt(yield* Effect.forkChild(impatient, { startImmediately: true }))
        const join = yield* Effect.forkChild(coordinator.join())
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* Fiber.await(join), Exit.void)
      }))

    it.effect("a grace period of zero gives only the turn", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer", gracePeriod: 0 })
        yield* begin(coordinator, "prompt", Effect.onInterrupt(Effect.never, () => Effect.void))
        yield* begin(coordinator, "slow", slowToStop("1 millis"))
        yield* coordinator.requestStop()
        assert.deepStrictEqual((yield* Effect.flip(coordinator.join())).names, ["slow"])
        yield* TestClock.adjust("1 millis")
      }))

    it.effect("a straggler's failure is not lost", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "outer", gracePeriod: 0 })
        const dying = Effect.onInterrupt(Effect.never, () => Effect.andThen(linger("1 second"), Effect.die("boom")))
        yield* begin(coordinator, "dying", dying)
        yield* coordinator.requestStop()
        yield* Effect.flip(coordinator.join())
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual((yield* coordinator.lateFailures).map(({ cause }) => Cause.squash(cause)), ["boom"])
      }))
  })

  describe("scope", () => {
    it.effect("closing the scope stops it, and nothing outlives the scope", () =>
      Effect.gen(function*() {
        const [coordinator, fiber] = yield* Effect.scoped(Effect.gen(function*() {
          const coordinator = yield* Coordinator.make({ name: "outer" })
          return [coordinator, yield* begin(coordinator, "idle", Effect.never)] as const
        }))
        assert.isTrue(wasInterrupted(fiber))
        assert.isTrue(yield* coordinator.isStopping)
        assert.isTrue(wasInterrupted(yield* coordinator.fork("late", Effect.void)))
      }))

    it.effect("closing the scope waits for finalizers 30 seconds at most", () => {
      const { lines, record } = capture()
      return record(Effect.gen(function*() {
        const scope = yield* Scope.make()
        const coordinator = yield* Scope.provide(Coordinator.make({ name: "outer" }), scope)
        const quick = yield* begin(coordinator, "quick", slowToStop("29 seconds"))
        const slow = yield* begin(coordinator, "slow", slowToStop("31 seconds"))
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("29 seconds")
        assert.isTrue(hasEnded(quick))
        assert.isFalse(hasEnded(closing))
        yield* TestClock.adjust("1 second")
        assert.isTrue(hasEnded(closing))
        assert.isFalse(hasEnded(slow))
        assert.deepStrictEqual(lines, ["Warn fibers did not end in time and went on in the background: slow"])
        yield* TestClock.adjust("1 second")
        assert.isTrue(hasEnded(slow))
      }))
    })

    it.effect("closing by interruption bounds the finalizers as well", () =>
      Effect.gen(function*() {
        const user = yield* Effect.forkChild(Effect.scoped(Effect.gen(function*() {
          const coordinator = yield* Coordinator.make({ name: "outer", gracePeriod: "5 seconds" })
          yield* begin(coordinator, "slow", slowToStop("10 seconds"))
          return yield* coordinator.join()
        })))
        yield* TestClock.adjust("1 second")
        const interrupting = yield* Effect.forkChild(Fiber.interrupt(user))
        yield* TestClock.adjust("4 seconds")
        assert.isFalse(hasEnded(interrupting))
        yield* TestClock.adjust("1 second")
        assert.isTrue(hasEnded(interrupting))
        yield* TestClock.adjust("5 seconds")
      }))

    it.effect("closing does not wait again for a straggler that was named", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const coordinator = yield* Scope.provide(Coordinator.make({ name: "outer" }), scope)
        const slow = yield* begin(coordinator, "slow", slowToStop("1 hour"))
        yield* coordinator.requestStop()
        yield* Effect.flip(coordinator.join({ gracePeriod: 0 }))
        yield* Scope.close(scope, Exit.void)
        assert.isFalse(hasEnded(slow))
        yield* TestClock.adjust("1 hour")
        assert.isTrue(hasEnded(slow))
      }))

    it.effect("a failure that nobody joined is named in a warning when the scope closes", () => {
      const { lines, record } = capture()
      const failing = Effect.gen(function*() {
        const coordinator = yield* Coordinator.make<string>({ name: "outer" })
        yield* Fiber.await(yield* coordinator.fork("failing", Effect.fail("lost")))
        return coordinator
      })
      return record(Effect.gen(function*() {
        yield* Effect.scoped(Effect.tap(failing, (coordinator) => Effect.flip(coordinator.join())))
        yield* Effect.scoped(Effect.tap(failing, (coordinator) => coordinator.awaitStop))
        assert.deepStrictEqual(lines, [])
        yield* Effect.scoped(failing)
        assert.deepStrictEqual(lines, ["Warn coordinator outer stopped on a failure that nobody joined"])
      }))
    })
  })

  describe("children", () => {
    it.effect("a parent's failure stops its children at once, with its cause", () =>
      Effect.gen(function*() {
        const outer = yield* Coordinator.make<string>({ name: "outer" })
        const inner = yield* outer.child<number>({ name: "inner" })
        const innermost = yield* inner.child({ name: "innermost" })
        const fibers = [
          yield* begin(outer, "a", Effect.never),
          yield* begin(inner, "b", Effect.never),
          yield* begin(innermost, "c", Effect.never)
        ]
        yield* outer.requestStop(Cause.fail("lost"))
        assert.isTrue(fibers.every(wasInterrupted))
        assert.deepStrictEqual(yield* inner.awaitStop, Option.some(Cause.fail("lost")))
        assert.deepStrictEqual(yield* Effect.exit(inner.join()), Exit.fail("lost"))
        assert.deepStrictEqual(yield* Effect.exit(innermost.join()), Exit.fail("lost"))
      }))

    it.effect("who hears of the stop finds the whole tree interrupted", () =>
      Effect.gen(function*() {
        const outer = yield* Coordinator.make({ name: "outer" })
        const inner = yield* outer.child({ name: "inner" })
        const fibers = [yield* begin(outer, "a", Effect.never), yield* begin(inner, "b", Effect.never)]
        const look = Effect.sync(() => fibers.map(wasInterrupted))
        const watching = yield* Effect.forEach(
          [outer.awaitStop, outer.join(), inner.awaitStop, inner.join()],
          (hearing: Effect.Effect<unknown, Coordinator.StragglersLeft>) =>
            Effect.forkChild(Effect.andThen(hearing, look), { startImmediately: true })
        )
        yield* outer.requestStop()
        assert.deepStrictEqual(yield* Fiber.joinAll(watching), watching.map(() => [true, true]))
      }))

    it.effect("a parent's clean stop stops its children cleanly", () =>
      Effect.gen(function*() {
        const outer = yield* Coordinator.make({ name: "outer" })
        const inner = yield* outer.child({ name: "inner" })
        const idle = yield* inner.fork("idle", Effect.never)
        yield* outer.requestStop()
        assert.isTrue(wasInterrupted(idle))
        yield* inner.join()
      }))

    it.effect("a child's stop or failure leaves its parent alone", () =>
      Effect.gen(function*() {
        const outer = yield* Coordinator.make({ name: "outer" })
        const idle = yield* outer.fork("idle", Effect.never)
        const failed = yield* outer.child<string>({ name: "failed" })
        yield* failed.fork("failing", Effect.fail("lost"))
        assert.deepStrictEqual(yield* Effect.flip(failed.join()), "lost")
        const stopped = yield* outer.child({ name: "stopped" })
        yield* stopped.requestStop()
        yield* Effect.scoped(outer.child({ name: "closed" }))
        assert.isFalse(yield* outer.isStopping)
        assert.isFalse(hasEnded(idle))
        yield* outer.requestStop(Cause.die("too late for the children"))
        assert.deepStrictEqual(yield* Effect.flip(failed.join()), "lost")
        yield* stopped.join()
      }))

    it.effect("a failure that the parent's stop provokes in a child is not taken for its cause", () =>
      Effect.gen(function*() {
        const outer = yield* Coordinator.make<string>({ name: "outer" })
        const inner = yield* outer.child<string>({ name: "inner" })
        const connection = yield* Deferred.make<never, string>()
        yield* begin(outer, "server", Effect.onInterrupt(Effect.never, () => Deferred.fail(connection, "reset")))
        yield* begin(inner, "client", Effect.uninterruptible(Deferred.await(connection)))
        yield* outer.requestStop(Cause.fail("disk full"))
        assert.deepStrictEqual(yield* Effect.flip(inner.join()), "disk full")
        const late = yield* inner.lateFailures
        assert.deepStrictEqual(late.map(({ cause, fiber }) => [fiber, Cause.squash(cause)]), [["client", "reset"]])
      }))

    it.effect("a child of a stopping parent is stopping, for the same reason", () =>
      Effect.gen(function*() {
        const outer = yield* Coordinator.make<string>({ name: "outer" })
        yield* outer.requestStop(Cause.fail("lost"))
        const inner = yield* outer.child({ name: "inner" })
        assert.isTrue(wasInterrupted(yield* inner.fork("late", Effect.void)))
        assert.deepStrictEqual(yield* Effect.flip(inner.join()), "lost")
      }))

    it.effect("a parent's join does not wait for its children's fibers", () =>
      Effect.gen(function*() {
        const outer = yield* Coordinator.make({ name: "outer" })
        const inner = yield* outer.child({ name: "inner" })
        const idle = yield* inner.fork("idle", Effect.never)
        yield* outer.join()
        assert.isFalse(hasEnded(idle))
      }))
  })

  // ---------------------------------------------------------------------------
  // random scripts
  // ---------------------------------------------------------------------------

  const Index = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 }))
  const Seconds = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 4 }))
  const Kind = Schema.Literals(["ends", "fails", "dies", "waits", "offers", "slow", "stuck", "failsLate"])
  const Step = Schema.Union([
    Schema.TaggedStruct("Fork", { on: Index, kind: Kind, after: Seconds }),
    Schema.TaggedStruct("Fork", { on: Index, kind: Kind, after: Seconds }),
    Schema.TaggedStruct("Stop", { on: Index, isClean: Schema.Boolean }),
    Schema.TaggedStruct("Child", { on: Index }),
    Schema.TaggedStruct("Join", { on: Index, grace: Seconds }),
    Schema.TaggedStruct("Pass", { seconds: Seconds })
  ])
  const Script = Schema.Array(Step).check(Schema.isMaxLength(24))

  interface Node {
    readonly name: string
    readonly coordinator: Coordinator.Coordinator<string>
    readonly children: Array<Node>
    readonly fibers: Array<{
      readonly name: string
      readonly kind: typeof Kind.Type
      readonly fiber: Fiber.Fiber<unknown, string>
    }>
    readonly answers: Array<Exit.Exit<void, string | Coordinator.StragglersLeft>>
    /** What the model says the coordinator stopped for: a failure's name, or "" for a clean stop. */
    first: string | undefined
  }

  const stopModel = (node: Node, why: string) => {
    if (node.first !== undefined) return
    node.first = why
    for (const child of node.children) stopModel(child, why)
  }

  /** Without preemption the model knows which stop is first; with it, fibers may need some turns to unwind. */
  const runScript = Effect.fnUntraced(function*(script: typeof Script.Type, isPreempted: boolean) {
    const gate = yield* Latch.make()
    const full = yield* Queue.bounded<number>(1)
    yield* Queue.offer(full, 0)
    const node = (name: string, coordinator: Coordinator.Coordinator<string>, first?: string): Node => ({
      name,
      coordinator,
      first,
      children: [],
      fibers: [],
      answers: []
    })
    const nodes = [node("root", yield* Coordinator.make<string>({ name: "root" }))]
    let reasons = 0

    const behaviour = (
      on: Node,
      kind: typeof Kind.Type,
      name: string,
      after: number
    ): Effect.Effect<unknown, string> => {
      const blamed = <E>(effect: Effect.Effect<never, E>) =>
        Effect.delay(
          Effect.suspend(() => {
            stopModel(on, name)
            return effect
          }),
          after * 1000
        )
      const stopping = (finalizer: Effect.Effect<unknown>) => Effect.onInterrupt(Effect.never, () => finalizer)
      switch (kind) {
        case "ends":
          return Effect.sleep(after * 1000)
        case "fails":
          return blamed(Effect.fail(name))
        case "dies":
          return blamed(Effect.die(name))
        case "waits":
          return Effect.never
        case "offers":
          return Queue.offer(full, 1)
        case "slow":
          return stopping(linger(after * 1000 + 500))
        case "stuck":
          return Effect.uninterruptible(gate.await)
        case "failsLate":
          return stopping(Effect.die(name))
      }
    }

    for (const step of script) {
      const on = nodes[("on" in step ? step.on : 0) % nodes.length]!
      switch (step._tag) {
        case "Fork": {
          const name = `${step.kind} ${reasons++}`
          const fiber = yield* on.coordinator.fork(name, behaviour(on, step.kind, name, step.after))
          on.fibers.push({ name, kind: step.kind, fiber })
          break
        }
        case "Stop": {
          const why = step.isClean ? "" : `stop ${reasons++}`
          const isFirst = on.first === undefined
          stopModel(on, why)
          const won = yield* on.coordinator.requestStop(step.isClean ? Cause.empty : Cause.fail(why))
          assert.isTrue(isPreempted || won === isFirst)
          break
        }
        case "Child": {
          const name = `node ${nodes.length}`
          const child = node(name, yield* on.coordinator.child({ name }), on.first)
          on.children.push(child)
          nodes.push(child)
          break
        }
        case "Join": {
          yield* on.coordinator.join({ gracePeriod: step.grace * 1000 }).pipe(
            Effect.exit,
            Effect.tap((answer) => Effect.sync(() => on.answers.push(answer))),
            Effect.forkChild
          )
          break
        }
        case "Pass":
          yield* TestClock.adjust(step.seconds * 1000)
      }
    }
    stopModel(nodes[0]!, "")
    yield* nodes[0]!.coordinator.requestStop()
    yield* Effect.repeat(Effect.yieldNow, { times: isPreempted ? 50 : 0 })

    for (const { coordinator, fibers } of nodes) {
      assert.isTrue(yield* coordinator.isStopping)
      const left = fibers.filter(({ fiber }) => !hasEnded(fiber))
      assert.deepStrictEqual(left.filter(({ kind }) => kind !== "slow" && kind !== "stuck"), [], "ended at the stop")
      assert.deepStrictEqual([...(yield* coordinator.running)], left.map(({ name }) => name), "or is named")
    }
    return { gate, isPreempted, nodes }
  })

  const checkEnd = Effect.fnUntraced(function*({ gate, isPreempted, nodes }: {
    readonly gate: Latch.Latch
    readonly isPreempted: boolean
    readonly nodes: ReadonlyArray<Node>
  }) {
    for (const { answers, coordinator, fibers, first } of nodes) {
      const why = Option.match(yield* coordinator.awaitStop, { onNone: () => "", onSome: Cause.squash })
      assert.isTrue(isPreempted || why === first, "the first stop wins")
      const join = yield* Effect.forkChild(Effect.exit(coordinator.join({ gracePeriod: "2 seconds" })))
      yield* TestClock.adjust("2 seconds")
      const answer = yield* Fiber.join(join)
      const left = fibers.filter(({ fiber }) => !hasEnded(fiber)).map(({ name }) => name)
      if (Exit.isSuccess(answer)) {
        assert.strictEqual(why, "")
        assert.deepStrictEqual(left, [])
      } else {
        const reason = Cause.squash(answer.cause)
        if (reason instanceof Coordinator.StragglersLeft) {
          assert.strictEqual(why, "")
          assert.isTrue(left.every((name) => reason.names.includes(name)), "whoever is left is named")
          assert.isTrue(isPreempted || reason.names.every((name) => /^(slow|stuck)/.test(name)), "and no other")
        } else {
          assert.strictEqual(reason, why)
        }
      }
      answers.push(yield* Effect.exit(coordinator.join()))
      for (const earlier of answers) {
        if (Exit.isFailure(earlier)) assert.deepStrictEqual(earlier, answer, "every join gives the same answer")
      }
    }
    yield* gate.open
    yield* TestClock.adjust("1 minute")
    for (const { coordinator, fibers } of nodes) {
      assert.deepStrictEqual(yield* coordinator.running, [])
      const kept = (yield* coordinator.lateFailures).map(({ cause }) => Cause.squash(cause))
      kept.push(Option.match(yield* coordinator.awaitStop, { onNone: () => "", onSome: Cause.squash }))
      for (const { fiber, name } of fibers) {
        const exit = fiber.pollUnsafe()
        assert.isDefined(exit)
        if (exit !== undefined && Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) {
          assert.include(kept, name, `the failure of ${name} is not lost`)
        }
      }
    }
  })

  it.effect.prop(
    "First stop wins: in any script every fiber has ended or is named, and no failure is lost",
    {
      script: Script
    },
    ({ script }) => Effect.scoped(Effect.flatMap(runScript(script, false), checkEnd)),
    { arbitrary: { runs: 300 } }
  )

  it.effect.prop("First stop wins: also where fibers are preempted after a few steps", {
    script: Script,
    budget: Schema.Int.check(Schema.isBetween({ minimum: 3, maximum: 40 }))
  }, ({ budget, script }) =>
    runScript(script, true).pipe(
      Effect.provideService(References.MaxOpsBeforeYield, budget),
      Effect.flatMap(checkEnd),
      Effect.scoped
    ), { arbitrary: { runs: 300 } })
})
