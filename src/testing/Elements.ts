/**
 * Elements made up from the Schema of a feed, for property tests.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Result from "effect/Result"
import type { ElementSchema, Feed } from "../Feed.ts"
import type { Acknowledge } from "../RemoteDevices.ts"

/**
 * Any element that a feed takes, checks of its Schema and tensors of its shapes included. Give it to `it.prop` and
 * `it.effect.prop` of `@effect/vitest`, or to `Arbitrary.checkEffect`; counterexamples shrink.
 *
 * Throws when the Schema has a part for which nothing can be made up, such as a declaration without an arbitrary.
 *
 * **Example** (Whatever the elements are, they are fed)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import * as Arbitrary from "effect/Arbitrary"
 * import { Feed, Feeder, Tensor } from "effect-feeder"
 * import { Elements } from "effect-feeder/testing"
 *
 * const Digits = Feed.make("digits", {
 *   element: Schema.Struct({ image: Tensor.float32([2, 2]), label: Tensor.uint8([]) })
 * })
 * const isFed = (element: typeof Digits.element.Type) =>
 *   Effect.scoped(Effect.gen(function*() {
 *     const feeder = yield* (yield* Feeder.make(Digits)).set([element])
 *     yield* Effect.forkChild(feeder.run)
 *     return (yield* feeder.take) === element
 *   }))
 * const result = await Effect.runPromise(Arbitrary.checkEffect(Elements.arbitrary(Digits), isFed, { seed: "digits" }))
 *
 * result._tag // => "Passed"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const arbitrary = <Name extends string, S extends ElementSchema, Ack extends Acknowledge>(
  feed: Feed<Name, S, Ack>
): Arbitrary.Arbitrary<S["Type"]> =>
  Arbitrary.filter(Arbitrary.schema(feed.element), (element) => Result.isSuccess(feed.codec.validate(element)))

/**
 * Several elements of a feed, by default any number up to what the check's `size` allows: what a source gives.
 *
 * **Example** (Ten sources)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import * as Arbitrary from "effect/Arbitrary"
 * import { Feed } from "effect-feeder"
 * import { Elements } from "effect-feeder/testing"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int })
 * const sources = Elements.arrays(Numbers, { minLength: 1, maxLength: 4 })
 * const samples = await Effect.runPromise(Arbitrary.sampleEffect(sources, { count: 10, seed: "numbers" }))
 *
 * samples.every((source) => source.length >= 1 && source.length <= 4) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const arrays = <Name extends string, S extends ElementSchema, Ack extends Acknowledge>(
  feed: Feed<Name, S, Ack>,
  options?: Arbitrary.ArrayOptions
): Arbitrary.Arbitrary<Array<S["Type"]>> => Arbitrary.array(arbitrary(feed), options)
