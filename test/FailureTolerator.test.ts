/**
 * The cases of the reference's `failure_tolerator_test`, what this project does otherwise, and the budget against a
 * small model of it, all on the TestClock.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Data, Duration, Effect, Fiber, Pull, Result, Schedule, Schema } from "effect"
import * as FailureTolerator from "effect-feeder/FailureTolerator"
import { DeviceLost, FeedRefused } from "effect-feeder/RemoteDevices"
import { TestClock } from "effect/testing"

class A extends Data.TaggedError("A") {}
class B extends Data.TaggedError("B") {}

const lost = new DeviceLost({ device: "/job:consumer/replica:0", fate: "unknown" })
const always = () => true

/** When attempts begin, in seconds from the first, if each takes a time and then fails; whether the retry gave up. */
const attempts = (policy: Schedule.Schedule<unknown, unknown>, seconds: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const began: Array<number> = []
    const start = yield* Clock.currentTimeMillis
    const attempt = Effect.gen(function*() {
      const lasts = seconds[began.length]
      began.push(((yield* Clock.currentTimeMillis) - start) / 1000)
      if (lasts === undefined) return yield* Effect.never
      yield* Effect.sleep(lasts * 1000)
      return yield* Effect.fail(lost)
    })
    const fiber = yield* attempt.pipe(Effect.retry(policy), Effect.flip, Effect.forkChild)
    yield* TestClock.adjust("100 days")
    const ended = fiber.pollUnsafe() !== undefined
    yield* Fiber.interrupt(fiber)
    return { began, ended }
  })

const zeros = (n: number) => Array.from({ length: n }, () => 0)

const refused = (options: FailureTolerator.Options): string => {
  const error = Result.getOrThrow(Result.flip(Result.try(() => FailureTolerator.make(options))))
  return error instanceof RangeError ? error.message : `not a RangeError: ${String(error)}`
}

describe("FailureTolerator", () => {
  it.effect("a failure that is handled is tried again, any other ends with itself at once", () =>
    Effect.gen(function*() {
      const failures: Array<A | B> = [new A(), new B(), new A()]
      const seen: Array<string> = []
      const error = yield* Effect.suspend(() => {
        const failure = failures[seen.length]
        seen.push(failure?._tag ?? "none")
        return failure === undefined ? Effect.succeed("done") : Effect.fail(failure)
      }).pipe(
        Effect.retry(FailureTolerator.make({ initDelay: 0, handles: (failure) => failure instanceof A })),
        Effect.flip
      )
      assert.instanceOf(error, B)
      assert.deepStrictEqual(seen, ["A", "B"])
    }))

  it.effect("a failure that is not handled does not wait", () =>
    Effect.gen(function*() {
      const before = yield* Clock.currentTimeMillis
      const error = yield* Effect.fail(new B()).pipe(Effect.retry(FailureTolerator.make()), Effect.flip)
      assert.instanceOf(error, B)
      assert.strictEqual(yield* Clock.currentTimeMillis, before)
    }))

  it.effect("of a limit of 3, two failures are tolerated and the third is fatal", () =>
    Effect.gen(function*() {
      const policy = FailureTolerator.make({ limit: 3, initDelay: 0 })
      assert.deepStrictEqual(yield* attempts(policy, zeros(9)), { began: [0, 0, 0], ended: true })
      assert.deepStrictEqual((yield* attempts(policy, zeros(2))).ended, false)
    }))

  it.effect("limits of 0 and 1 tolerate nothing", () =>
    Effect.gen(function*() {
      for (const limit of [0, 1]) {
        const { began, ended } = yield* attempts(FailureTolerator.make({ limit }), zeros(9))
        assert.deepStrictEqual([began.length, ended], [1, true])
      }
    }))

  it.effect("delays grow exponentially, with none before the first attempt", () =>
    Effect.gen(function*() {
      const policy = FailureTolerator.make({ initDelay: "1 second", backoffFactor: 1.5 })
      const { began } = yield* attempts(policy, zeros(3))
      assert.deepStrictEqual(began, [0, 1, 2.5, 4.75])
    }))

  it.effect("by default attempts come 5, 10, 20 and 40 seconds after failures, and nothing after the fifth", () =>
    Effect.gen(function*() {
      const policy = FailureTolerator.make()
      assert.deepStrictEqual(yield* attempts(policy, zeros(9)), { began: [0, 5, 15, 35, 75], ended: true })
    }))

  it.effect("there is no delay after the fatal failure", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fail(lost).pipe(
        Effect.retry(FailureTolerator.make({ limit: 2 })),
        Effect.flip,
        Effect.forkChild
      )
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 milli")
      assert.strictEqual(yield* Fiber.join(fiber), lost)
      assert.strictEqual(yield* Clock.currentTimeMillis, 5000)
    }))

  it.effect("a stop during a delay takes effect at once", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fail(lost).pipe(Effect.retry(FailureTolerator.make()), Effect.forkChild)
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* Clock.currentTimeMillis, 1000)
    }))

  it.effect("a failure is forgotten when it is exactly as old as forgiveAfter, and not before", () =>
    Effect.gen(function*() {
      const policy = FailureTolerator.make({ limit: 3, initDelay: "1 second", forgiveAfter: "60 seconds" })
      // The first failure is forgotten at the second: the delay is the first again.
      assert.deepStrictEqual((yield* attempts(policy, [10, 60])).began, [0, 11, 72])
      assert.deepStrictEqual((yield* attempts(policy, [10, 59.999])).began, [0, 11, 72.999])
      // Of three failures at most two are young enough, so none is fatal.
      assert.deepStrictEqual((yield* attempts(policy, [0, 30, 30, 30, 30, 30])).ended, false)
      assert.deepStrictEqual((yield* attempts(policy, [0, 30, 29.999])).ended, true)
    }))

  it.effect("time slept does not age failures", () =>
    Effect.gen(function*() {
      const policy = FailureTolerator.make({ limit: 4, initDelay: "100 seconds", forgiveAfter: "10 seconds" })
      assert.deepStrictEqual(yield* attempts(policy, zeros(9)), { began: [0, 100, 300, 700], ended: true })
    }))

  it.effect("the delay follows from the failures still remembered, not from those in a row", () =>
    Effect.gen(function*() {
      const policy = FailureTolerator.make({ limit: 9, initDelay: "1 second", forgiveAfter: "60 seconds" })
      const { began } = yield* attempts(policy, [0, 30, 40])
      // Failures at 0, 30 and 70 seconds awake: at the last, the first is forgotten, the second is not.
      assert.deepStrictEqual(began, [0, 1, 33, 75])
    }))

  it.effect("a success clears nothing, and costs nothing", () =>
    Effect.gen(function*() {
      const step = yield* Schedule.toStep(FailureTolerator.make({ limit: 3, initDelay: "1 second" }))
      assert.deepStrictEqual(yield* step(0, lost), [1, Duration.seconds(1)])
      // A long successful attempt lies between the two failures.
      assert.deepStrictEqual(yield* step(5_000_000, lost), [2, Duration.seconds(2)])
      assert.strictEqual((yield* Effect.flip(step(5_900_000, lost))).value, 3)
    }))

  it.effect("each retry has a budget of its own", () =>
    Effect.gen(function*() {
      const policy = FailureTolerator.make({ limit: 2, initDelay: 0 })
      for (let i = 0; i < 3; i++) assert.deepStrictEqual((yield* attempts(policy, zeros(9))).began.length, 2)
    }))

  it.effect("driven by hand: a failure that is not handled ends the schedule and is not counted", () =>
    Effect.gen(function*() {
      const step = yield* Schedule.toStep(FailureTolerator.make({ limit: 2 }))
      const handled = (now: number, failure: unknown) =>
        Pull.matchEffect(step(now, failure), {
          onSuccess: ([count]) => Effect.succeed(`again, ${count}`),
          onDone: (count) => Effect.succeed(`no more, ${count}`),
          onFailure: Effect.failCause
        })
      assert.strictEqual(yield* handled(0, new A()), "no more, 0")
      assert.strictEqual(yield* handled(1, lost), "again, 1")
      assert.strictEqual(yield* handled(5001, new A()), "no more, 1")
      assert.strictEqual(yield* handled(5002, lost), "no more, 2")
    }))

  it.effect("driven by hand: time passes once, whether or not failures are handled", () =>
    Effect.gen(function*() {
      const step = yield* Schedule.toStep(FailureTolerator.make({ limit: 9, forgiveAfter: "10 seconds" }))
      assert.strictEqual((yield* step(0, lost))[0], 1)
      assert.strictEqual((yield* Effect.flip(step(9_000, new A()))).value, 1)
      assert.strictEqual((yield* step(14_999, lost))[0], 2)
      assert.strictEqual((yield* Effect.flip(step(25_000, new A()))).value, 1)
    }))

  it.effect("driven by hand: a delay that was cut short counts as long as it was", () =>
    Effect.gen(function*() {
      const options = { limit: 9, initDelay: "60 seconds", forgiveAfter: "10 seconds", handles: always } as const
      const step = yield* Schedule.toStep(FailureTolerator.make(options))
      assert.strictEqual((yield* step(0, lost))[0], 1)
      assert.strictEqual((yield* step(20_000, lost))[0], 2)
      assert.strictEqual((yield* step(20_000 + 120_000 + 9_999, lost))[0], 3)
      // A clock that goes back ages nothing.
      assert.strictEqual((yield* step(0, lost))[0], 4)
    }))

  it.effect("more failures than the factor can be raised to still count, without a delay as with one", () =>
    Effect.gen(function*() {
      for (const initDelay of [0, 1]) {
        const step = yield* Schedule.toStep(FailureTolerator.make({ limit: 1100, initDelay }))
        for (let n = 1; n < 1100; n++) {
          assert.deepStrictEqual(yield* step(n, lost), [n, Duration.millis(initDelay && 2 ** (n - 1))])
        }
        assert.strictEqual((yield* Effect.flip(step(1100, lost))).value, 1100)
      }
    }))

  it.effect("other schedules shape it: a cap on its delays", () =>
    Effect.gen(function*() {
      const policy = FailureTolerator.make({ limit: 6 }).pipe(
        Schedule.modifyDelay(({ duration }) => Effect.succeed(Duration.min(duration, Duration.seconds(15))))
      )
      assert.deepStrictEqual((yield* attempts(policy, zeros(9))).began, [0, 5, 15, 30, 45, 60])
    }))

  it("by default only what is tagged DeviceLost is tolerated", () => {
    const refusal = new FeedRefused({ device: "d", reason: "version", detail: "1 to 1 here" })
    assert.isTrue(FailureTolerator.isConnectionFailure(lost))
    assert.isTrue(FailureTolerator.isConnectionFailure({ _tag: "DeviceLost" }))
    for (const other of [refusal, new Error("DeviceLost"), "DeviceLost", undefined, null]) {
      assert.isFalse(FailureTolerator.isConnectionFailure(other))
    }
  })

  it("refuses options out of bounds, and says which", () => {
    for (const limit of [-1, 1.5, NaN, Infinity]) {
      assert.strictEqual(
        refused({ limit }),
        `FailureTolerator.make: limit must be a non-negative integer, got ${limit}`
      )
    }
    for (const backoffFactor of [-1, 0, NaN, Infinity]) {
      assert.strictEqual(
        refused({ backoffFactor }),
        `FailureTolerator.make: backoffFactor must be a positive number, got ${backoffFactor}`
      )
    }
    const duration = "must be a non-negative duration, got"
    assert.strictEqual(refused({ initDelay: -1 }), `FailureTolerator.make: initDelay ${duration} -1`)
    assert.strictEqual(refused({ initDelay: NaN }), `FailureTolerator.make: initDelay ${duration} NaN`)
    assert.strictEqual(refused({ initDelay: -1n }), `FailureTolerator.make: initDelay ${duration} -1n`)
    assert.strictEqual(
      refused({ forgiveAfter: "-1 seconds" }),
      `FailureTolerator.make: forgiveAfter ${duration} "-1 seconds"`
    )
    assert.strictEqual(
      refused({ initDelay: "Infinity" }),
      "FailureTolerator.make: initDelay must be finite, or the first failure would never be retried"
    )
    FailureTolerator.make({ limit: 0, initDelay: 0, backoffFactor: 0.5, forgiveAfter: Duration.infinity })
  })

  const Factor = Schema.Literals([0.5, 1, 1.5, 2, 3])
  const seconds = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

  it.effect.prop("tolerated by budget: attempts begin when the model says, and end when it says", {
    limit: seconds(5),
    initDelay: seconds(8),
    factor: Factor,
    forgiveAfter: seconds(30),
    lasts: Schema.Array(seconds(20)).check(Schema.isMaxLength(12))
  }, ({ factor, forgiveAfter, initDelay, lasts, limit }) =>
    Effect.gen(function*() {
      // The reference's rules in its own words: adjusted now = now - time in delays.
      const began = [0]
      let now = 0
      let slept = 0
      let ended = false
      let failures: Array<number> = []
      for (const last of lasts) {
        now += last
        failures = failures.filter((at) => now - slept - at < forgiveAfter)
        failures.push(now - slept)
        ended = failures.length >= limit
        if (ended) break
        const delay = initDelay * factor ** (failures.length - 1)
        slept += delay
        now += delay
        began.push(now)
      }
      const policy = FailureTolerator.make({
        limit,
        initDelay: Duration.seconds(initDelay),
        backoffFactor: factor,
        forgiveAfter: Duration.seconds(forgiveAfter)
      })
      assert.deepStrictEqual(yield* attempts(policy, lasts), { began, ended })
    }), { arbitrary: { runs: 300 } })
})
