/**
 * A source that a test pushes by hand, one element after the other.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"

/**
 * A source whose elements, end and failure come when the test says so.
 *
 * @category models
 * @since 0.1.0
 */
export interface ManualSource<in out A, in out E = never> {
  /** Give this to `Feeder.run`, or to `feeder.set`: it gives one element each time it is run, and waits for it. */
  readonly source: Effect.Effect<A, E | Cause.Done>
  /** Adds elements at the end. Never waits; after `end` or `fail` it is a defect, since nobody would see them. */
  readonly push: (...elements: ReadonlyArray<A>) => Effect.Effect<void>
  /** Ends the source, behind what was pushed. */
  readonly end: Effect.Effect<void>
  /** Fails the source, behind what was pushed. */
  readonly fail: (error: E) => Effect.Effect<void>
  /** How many elements were pushed and not yet taken by a feeder. */
  readonly pending: Effect.Effect<number>
}

/**
 * Makes a source.
 *
 * **Example** (A feed that ends when the test says so)
 *
 * ```ts import.meta.vitest
 * import { Effect, Fiber, Schema } from "effect"
 * import { Feed, Feeder } from "effect-feeder"
 * import { ManualSource } from "effect-feeder/testing"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int })
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const manual = yield* ManualSource.make<number>()
 *   const made = yield* Feeder.make(Numbers)
 *   const feeder = yield* made.set(manual.source)
 *   const run = yield* Effect.forkChild(feeder.run)
 *   yield* manual.push(1, 2)
 *   const taken = [yield* feeder.take, yield* feeder.take]
 *   yield* manual.end
 *   const ledger = yield* Fiber.join(run)
 *   return [taken, ledger.delivered]
 * }))
 *
 * await Effect.runPromise(program) // => [[1, 2], 2]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E = never>(): Effect.Effect<ManualSource<A, E>> =>
  Effect.map(Queue.unbounded<A, E | Cause.Done>(), (queue) => ({
    source: Queue.take(queue),
    push: (...elements) =>
      Effect.flatMap(Queue.offerAll(queue, elements), (refused) =>
        refused.length === 0
          ? Effect.void
          : Effect.die(new Error(`a manual source that has ended was pushed ${refused.length} element(s)`))),
    end: Effect.asVoid(Queue.end(queue)),
    fail: (error) => Effect.asVoid(Queue.fail(queue, error)),
    pending: Queue.size(queue)
  }))
