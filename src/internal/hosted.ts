/**
 * What hosts a feed for the consumers of a process, and what it hands to them.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Chunk } from "../BatchCodec.ts"
import type { OnTake, QueueEnded } from "../FeedQueue.ts"
import type { Result } from "../RemoteDevices.ts"

const TypeId = "~effect-feeder/Feed"

/**
 * Stands in an effect's requirements for "a consumer of the feed called Name runs here". It is provided by the Layer
 * that hosts the feed, such as `SocketDevices.layerHost({ feeds })`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Host<in out Name extends string> {
  readonly [TypeId]: { readonly _Name: (_: Name) => Name }
}

/**
 * What is known of one element that was handed to a consumer, beside its value.
 *
 * `ordinal` is its number in the feed, from 0; `attempt` counts from 1. `redelivered` says that it may have been
 * handed out before. `feeder` is the id of the feeder it came from. `id` is the element's own, the same for every
 * delivery of it, on feeds that have one: those with `identify`, and `effectivelyOnce` feeds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delivery {
  readonly feeder: string
  readonly ordinal: number
  readonly attempt: number
  readonly redelivered: boolean
  readonly id: string | undefined
}

/**
 * Elements in the hands of a consumer, as a device hands them out: `count` that follow each other in the chunk in which
 * they came, the first of them with `index` there. `isCut` says that a batch was ended behind the last of them before it
 * was full, though that is not the last one: of it and the element behind it, one is handed out alone.
 *
 * @category models
 * @since 0.1.0
 */
export interface Handed<out A> {
  readonly chunk: Chunk<A>
  readonly index: number
  readonly count: number
  /** The first of them. */
  readonly element: A
  readonly isCut: boolean
  /** What is known of one of them, by its number, from 0. */
  readonly deliveryOf: (nth: number) => Delivery
  /** Those between two such numbers. */
  readonly slice: (from: number, to: number) => Handed<A>
  /** Nobody uses them any more, and nobody calls this again: the memory that they lie in may be used for others. */
  readonly release: () => void
}

/**
 * What became of elements that were handed out: the same of all of them, or each by its number among all, from 0.
 *
 * @category models
 * @since 0.1.0
 */
export type Results = Result | ((index: number) => Result)

/**
 * How a take collects: exactly `n` (fewer at the end, and where an element is handed out alone), or what has come when `within` has passed since the first.
 *
 * @category models
 * @since 0.1.0
 */
export interface TakeOptions {
  readonly n: number
  readonly within: Duration.Input | undefined
}

/**
 * Hands out up to `n` elements; fails at the end of the feed. Interrupting it gives back what it had collected. `onTake`
 * is told of what is handed out in the very step that does.
 *
 * @category models
 * @since 0.1.0
 */
export type Take<A> = (
  options: TakeOptions,
  onTake?: OnTake<Handed<A>>
) => Effect.Effect<ReadonlyArray<Handed<A>>, QueueEnded | FeedsItself>

/**
 * What hosts one feed for the consumers of a process; a `Device` implements it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hosted<A> {
  /**
   * Begins a consumer, which is to have up to `n` elements in its hands at once while the scope is open, and gives what
   * it takes with. At the end of the feed that ends for good: what is fed after it is for consumers that begin then.
   */
  readonly begin: (n: number) => Effect.Effect<Take<A>, never, Scope.Scope>
  /**
   * Settles elements, in the order in which they were handed out, and asks at most once for the result of each. Says how
   * many settlements came too late to count.
   */
  readonly settle: (handed: ReadonlyArray<Handed<A>>, results: Results) => Effect.Effect<number>
  /** Whether the process is leaving: what is held is finished, nothing more is taken. */
  readonly isLeaving: Effect.Effect<boolean>
  /** Waits until the process must end now, held elements or not. */
  readonly awaitAbandoned: Effect.Effect<void>
}

/**
 * A feeder's own source takes from the device that the feeder feeds: its elements would go round for ever.
 *
 * @category errors
 * @since 0.1.0
 */
export class FeedsItself extends Schema.Error<FeedsItself>(`${TypeId}/FeedsItself`)({
  _tag: Schema.tag("FeedsItself"),
  feed: Schema.String,
  feeder: Schema.String,
  device: Schema.String
}) {
  override get message(): string {
    return `feeder ${this.feeder} feeds itself: its source takes from feed "${this.feed}" at device ${this.device}, ` +
      `which it feeds; feed another device, or another feed`
  }
}

/**
 * The id of the feeder whose source runs in this fiber, if any.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentFeeder = Context.Reference<string | undefined>("effect-feeder/Feed/CurrentFeeder", {
  defaultValue: () => undefined
})
