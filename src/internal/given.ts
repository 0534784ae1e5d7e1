/**
 * What a consumer's loops and streams are given, and what they did.
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Acknowledge } from "../RemoteDevices.ts"
import type { Delivery } from "./hosted.ts"
import type { Outcomes, Reject, Retry } from "./outcomes.ts"

/**
 * An element, or a batch, of a `processed` feed, in the hands of a consumer of a stream. It is to be settled once;
 * what is not settled when the stream ends is given back.
 *
 * @category models
 * @since 0.1.0
 */
export interface Leased<out A> {
  readonly value: A
  readonly deliveries: ReadonlyArray<Delivery>
  /** It was processed. */
  readonly acknowledge: Effect.Effect<void>
  /** It was not: it is fed again, or refused for good, or each element of the batch has its own outcome. */
  readonly settle: (outcome: Retry | Reject | Outcomes) => Effect.Effect<void>
}

/**
 * What the streams of a feed give: plain values when `accepted`, leased ones when `processed`.
 *
 * @category type-level
 * @since 0.1.0
 */
export type Given<Ack extends Acknowledge, A> = Ack extends "processed" ? Leased<A> : A

/**
 * What a consumer's loop did: elements it finished, gave back and refused, and settlements that came after the feeder
 * had taken the element back. `timedOut` are those it gave back because they were not processed within their time.
 *
 * @category models
 * @since 0.1.0
 */
export interface Consumed {
  readonly done: number
  readonly retried: number
  readonly rejected: number
  readonly fenced: number
  readonly timedOut: number
}

/**
 * What a consumer is told of a batch, beside its values: how many of its elements are real (a padded batch has fewer),
 * and what is known of each.
 *
 * @category models
 * @since 0.1.0
 */
export interface BatchDelivery {
  readonly size: number
  readonly deliveries: ReadonlyArray<Delivery>
}

/**
 * What to do with a last batch that is short: hand it out as it is, refuse its elements for good, or repeat its last
 * element up to the full size.
 *
 * @category models
 * @since 0.1.0
 */
export type Remainder = "emit" | "drop" | "pad"

/**
 * How a consumer's loop runs: how many effects at once (default 1), and how long each may take. An effect that has not
 * ended `processWithin` its time is interrupted, and its elements are given back at once: also when it cannot be
 * interrupted, and then what it still does is no longer waited for. Only an effect that keeps the thread to itself is
 * not caught. By default there is no limit.
 *
 * `transient`: nothing of an element, or batch, is used when its effect has ended, so that the memory it lies in can be used
 * for others at once. That saves a consumer of large elements most of its garbage. A view that was kept has no bytes then:
 * `slice()` what is kept. By default elements stay as long as they are referred to.
 *
 * @category models
 * @since 0.1.0
 */
export interface LoopOptions {
  readonly concurrency?: number | undefined
  readonly processWithin?: Duration.Input | undefined
  readonly transient?: boolean | undefined
}

/**
 * How batches are cut: when some time has passed since their first element, and what becomes of a last, short one
 * (default `"emit"`).
 *
 * @category models
 * @since 0.1.0
 */
export interface BatchOptions {
  readonly within?: Duration.Input | undefined
  readonly remainder?: Remainder | undefined
}
