/**
 * The budget of failures of a device, as a `Schedule`.
 *
 * A device that fails now and then is tried again, a little later each time; one that fails too often within a while
 * has failed for good. `make` gives the reference's budget. Any other `Schedule` may take its place, for what a feeder
 * needs of it is no more than "again, after this delay" or "no more".
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { format } from "effect/Formatter"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"

/**
 * What a failure budget is made of. See `make` for what each means together with the others.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** How many remembered failures are too many: an integer, at least 0. Default 5, which tolerates 4. */
  readonly limit?: number | undefined
  /** The delay after the first failure. Default 5 seconds. */
  readonly initDelay?: Duration.Input | undefined
  /** By what the delay is multiplied with each further remembered failure: a positive number. Default 2. */
  readonly backoffFactor?: number | undefined
  /** How old a failure is when it is forgotten; time slept in delays does not count. Default 6000 seconds. */
  readonly forgiveAfter?: Duration.Input | undefined
  /** Which failures are tolerated at all. Default `isConnectionFailure`. */
  readonly handles?: ((failure: unknown) => boolean) | undefined
}

/**
 * Whether a failure is a lost device or link, of which trying again may be the cure: it is tagged `DeviceLost`.
 *
 * **Details**
 *
 * The reference tolerates by default only what it calls *aborted*, so that a consumer that died was fatal at once; this
 * is its *unavailable* too.
 *
 * @category guards
 * @since 0.1.0
 */
export const isConnectionFailure = (failure: unknown): boolean => Predicate.isTagged(failure, "DeviceLost")

/**
 * Makes a failure budget: a schedule that is stepped with each failure, and gives the number of failures it remembers.
 *
 * **Details**
 *
 * A failure that `handles` refuses ends the schedule at once and is not counted, so `Effect.retry` fails with it. Any
 * other failure is remembered until it is `forgiveAfter` old. If now `limit` or more are remembered, this one included,
 * the schedule ends and the failure is fatal. Otherwise, with n remembered, the delay before the next attempt is
 * `initDelay * backoffFactor^(n - 1)`. So `limit` is the failure that is fatal, not how many are tolerated: the default
 * of 5 tolerates 4, followed by delays of 5, 10, 20 and 40 seconds, and limits of 0 and 1 tolerate none. There is no
 * delay before the first attempt, nor after the fatal failure.
 *
 * Time spent in delays does not age failures: with any back-off, failures in a row are never forgotten. A success
 * forgets nothing either; only time does. Each `retry`, and each device of a feeder, has a budget of its own; with
 * `supervision: "all"` the devices of a run share one.
 *
 * Unlike the reference, which resumes first and sleeps before it looks at the outcome, the delay comes before the next
 * attempt, can be interrupted, and comes once per failure, not before each attempt while a failure is remembered.
 *
 * Throws a `RangeError` when `limit` is not a non-negative integer, `initDelay` not a finite non-negative duration,
 * `backoffFactor` not a positive number, or `forgiveAfter` a negative duration.
 *
 * **Gotchas**
 *
 * The delay is not capped: with a high `limit`, cap it with `Schedule.modifyDelay`. There is no jitter:
 * `Schedule.jittered` adds it.
 *
 * **Example** (Failing for good)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { FailureTolerator, RemoteDevices } from "effect-feeder"
 *
 * let attempts = 0
 * const open = Effect.suspend(() => {
 *   attempts++
 *   return Effect.fail(new RemoteDevices.DeviceLost({ device: "/job:consumer", fate: "unknown" }))
 * })
 * const error = await Effect.runPromise(
 *   open.pipe(Effect.retry(FailureTolerator.make({ limit: 3, initDelay: 0 })), Effect.flip)
 * )
 *
 * error._tag // => "DeviceLost"
 * attempts // => 3
 * ```
 *
 * **Example** (Asking for the delays)
 *
 * ```ts import.meta.vitest
 * import { Duration, Effect, Pull, Schedule } from "effect"
 * import { FailureTolerator } from "effect-feeder"
 *
 * const delays = Effect.gen(function*() {
 *   const step = yield* Schedule.toStep(FailureTolerator.make({ limit: 3, handles: () => true }))
 *   const fail = (now: number) =>
 *     step(now, "lost").pipe(
 *       Effect.map(([, delay]) => Duration.toSeconds(delay)),
 *       Pull.catchDone((remembered) => Effect.succeed(`the end after ${remembered}`))
 *     )
 *   return [yield* fail(0), yield* fail(5_000), yield* fail(15_000)]
 * })
 *
 * await Effect.runPromise(delays) // => [5, 10, "the end after 3"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Schedule.Schedule<number, unknown> => {
  const { backoffFactor = 2, handles = isConnectionFailure, limit = 5 } = options
  if (!Number.isSafeInteger(limit) || limit < 0) {
    throw new RangeError(`FailureTolerator.make: limit must be a non-negative integer, got ${limit}`)
  }
  if (!Number.isFinite(backoffFactor) || backoffFactor <= 0) {
    throw new RangeError(`FailureTolerator.make: backoffFactor must be a positive number, got ${backoffFactor}`)
  }
  const initDelay = millisOf("initDelay", options.initDelay ?? "5 seconds")
  if (initDelay === Infinity) {
    throw new RangeError("FailureTolerator.make: initDelay must be finite, or the first failure would never be retried")
  }
  const forgiveAfter = millisOf("forgiveAfter", options.forgiveAfter ?? "6000 seconds")

  return Schedule.fromStep(Effect.sync(() => {
    /** When the remembered failures were, on a clock that stands still during delays. */
    let failures: ReadonlyArray<number> = []
    let awake = 0
    let resumedAt: number | undefined
    return (now: number, failure: unknown) =>
      Effect.suspend(() => {
        // The delay is over when the next failure comes, unless the driver cut it short.
        awake += Math.max(0, now - (resumedAt ?? now))
        resumedAt = now
        failures = failures.filter((at) => awake - at < forgiveAfter)
        if (!handles(failure)) return Cause.done(failures.length)
        failures = [...failures, awake]
        const count = failures.length
        if (count >= limit) return Cause.done(count)
        const delay = initDelay === 0 ? 0 : initDelay * backoffFactor ** (count - 1)
        resumedAt = now + delay
        return Effect.succeed<[number, Duration.Duration]>([count, Duration.millis(delay)])
      })
  }))
}

const millisOf = (option: string, input: Duration.Input): number => {
  const duration = Number.isNaN(input) ? Option.none() : Duration.fromInput(input)
  if (Option.isSome(duration) && !Duration.isNegative(duration.value)) return Duration.toMillis(duration.value)
  throw new RangeError(`FailureTolerator.make: ${option} must be a non-negative duration, got ${format(input)}`)
}
