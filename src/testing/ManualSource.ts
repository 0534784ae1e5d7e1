/**
 * A source that a test pushes by hand.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"

/**
 * A source and the test's hands on it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ManualSource<in out A, in out E = never> {
  /** For `Feeder.run` or `feeder.set`. */
  readonly source: Stream.Stream<A, E>
  /** Gives elements to the feeder, as soon as it pulls them. */
  readonly push: (...elements: ReadonlyArray<A>) => Effect.Effect<void>
  /** Ends the source, after what was pushed. */
  readonly end: Effect.Effect<void>
  /** Fails the source, after what was pushed. */
  readonly fail: (error: E) => Effect.Effect<void>
}

/**
 * Makes a source that gives what is pushed, until it is ended or failed.
 *
 * **Example** (Feeding by hand)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { Feed, Feeder } from "effect-feeder"
 * import { ManualSource } from "effect-feeder/testing"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int })
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const manual = yield* ManualSource.make<number>()
 *   const made = yield* Feeder.make(Numbers)
 *   const feeder = yield* made.set(manual.source)
 *   yield* Effect.forkChild(feeder.run)
 *   yield* manual.push(1, 2)
 *   const two = yield* feeder.takeMany(2)
 *   yield* manual.end
 *   return [two, (yield* Effect.flip(feeder.take))._tag]
 * }))
 *
 * await Effect.runPromise(program) // => [[1, 2], "QueueEnded"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E = never>(): Effect.Effect<ManualSource<A, E>> =>
  Effect.map(Queue.unbounded<A, E | Cause.Done>(), (queue) => ({
    source: Stream.fromQueue(queue),
    push: (...elements) => Effect.asVoid(Queue.offerAll(queue, elements)),
    end: Effect.asVoid(Queue.end(queue)),
    fail: (error) => Effect.asVoid(Queue.fail(queue, error))
  }))
