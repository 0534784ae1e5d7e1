/**
 * What a consumer says became of an element, or of a batch.
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type { Acknowledge } from "../RemoteDevices.ts"

const TypeId = "~effect-feeder/Feed"

/**
 * The consumer gives an element, or a batch, back: it is fed again, here or elsewhere, no sooner than `after`.
 *
 * @category outcomes
 * @since 0.1.0
 */
export class Retry extends Schema.Error<Retry>(`${TypeId}/Retry`)({
  _tag: Schema.tag("Retry"),
  afterMillis: Schema.Natural,
  cause: Schema.String
}) {
  override get message(): string {
    return `given back, to be fed again after ${this.afterMillis} ms: ${this.cause}`
  }
}

/**
 * The consumer refuses an element, or a batch, for good.
 *
 * @category outcomes
 * @since 0.1.0
 */
export class Reject extends Schema.Error<Reject>(`${TypeId}/Reject`)({
  _tag: Schema.tag("Reject"),
  cause: Schema.String
}) {
  override get message(): string {
    return `rejected: ${this.cause}`
  }
}

/**
 * The element was processed. For `outcomes`.
 *
 * @category outcomes
 * @since 0.1.0
 */
export interface Done {
  readonly _tag: "Done"
}

/**
 * What became of one element of a batch.
 *
 * @category outcomes
 * @since 0.1.0
 */
export type Outcome = Done | Retry | Reject

/**
 * One outcome for each element of a batch, in order. Elements without one are given back.
 *
 * @category outcomes
 * @since 0.1.0
 */
export class Outcomes extends Schema.Error<Outcomes>(`${TypeId}/Outcomes`)({
  _tag: Schema.tag("Outcomes"),
  outcomes: Schema.Array(Schema.Union([Schema.TaggedStruct("Done", {}), Retry, Reject]))
}) {
  override get message(): string {
    return `${this.outcomes.length} outcomes of a batch`
  }
}

/**
 * The outcome of an element that was processed.
 *
 * @category outcomes
 * @since 0.1.0
 */
export const done: Done = { _tag: "Done" }

/**
 * Gives back: an effect that fails with `Retry`, and an outcome. `after` is 0 by default.
 *
 * @category outcomes
 * @since 0.1.0
 */
export const retry = (options?: { readonly after?: Duration.Input; readonly cause?: string }): Retry =>
  new Retry({
    afterMillis: Math.ceil(Duration.toMillis(Duration.fromInputUnsafe(options?.after ?? 0))),
    cause: options?.cause ?? "given back by the consumer"
  })

/**
 * Refuses for good: an effect that fails with `Reject`, and an outcome.
 *
 * @category outcomes
 * @since 0.1.0
 */
export const reject = (cause: string): Reject => new Reject({ cause })

/**
 * Settles each element of a batch by itself: an effect that fails with `Outcomes`.
 *
 * @category outcomes
 * @since 0.1.0
 */
export const outcomes = (all: ReadonlyArray<Outcome>): Outcomes => new Outcomes({ outcomes: all })

/**
 * The failures of a consumer's effect that are outcomes, when the feed is acknowledged as `Ack`.
 *
 * @category type-level
 * @since 0.1.0
 */
export type OutcomeOf<Ack extends Acknowledge> = Ack extends "processed" ? Retry | Reject | Outcomes : never
