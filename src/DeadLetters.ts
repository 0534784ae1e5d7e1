/**
 * What could not be delivered, kept with its payload, why it came back, and how often it was given, until somebody
 * looks: an element that a consumer has refused, that came back too often, that did not pass the Schema at a device, or
 * that was dropped because the feed's own rules say so.
 *
 * A feeder keeps them in an Effect `KeyValueStore` (`Feeder.Options.store`), and gives them as `feeder.deadLetters`.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { ElementInvalid } from "./BatchCodec.ts"

const TypeId = "~effect-feeder/DeadLetters"

/**
 * Why an element is a dead letter.
 *
 * - `rejected`: a consumer refused it for good, with `Feed.reject`
 * - `attempts`: it came back as often as the feeder allows
 * - `invalid`: a device read it, and it did not pass the Schema there
 * - `overflow`: the local queue was full, and the feeder drops what does not fit
 * - `at most once`: it may have been handed out, and is not to be handed out twice
 *
 * The last two count as `dropped` in the ledger, the others as `dead`.
 *
 * @category models
 * @since 0.1.0
 */
export const Reason = Schema.Literals(["rejected", "attempts", "invalid", "overflow", "at most once"])

/**
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * A dead letter, as the store has it: its payload is a batch of one, as `BatchCodec` writes it, in base64.
 *
 * @category models
 * @since 0.1.0
 */
export const Stored = Schema.Struct({
  feed: Schema.String,
  feeder: Schema.String,
  ordinal: Schema.Natural,
  id: Schema.optionalKey(Schema.String),
  reason: Reason,
  /** How often it was given to a device, in all. */
  attempts: Schema.Natural,
  /** Why it came back, each time, the oldest first; at most 17. */
  causes: Schema.Array(Schema.String),
  device: Schema.optionalKey(Schema.String),
  /** When it became one, in milliseconds since 1970. */
  at: Schema.Int,
  fingerprint: Schema.String,
  payload: Schema.Uint8ArrayFromBase64
})

/**
 * A dead letter. `key` is its name in the store. `element` is none when the feed's element has another layout now than
 * when the letter was written, which `issue` then tells. `isRedriven`: it is on its way again.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetter<out A> extends Omit<typeof Stored.Type, "fingerprint" | "payload"> {
  readonly key: string
  readonly element: Option.Option<A>
  readonly issue: string | undefined
  readonly isRedriven: boolean
}

/**
 * The store of the dead letters cannot be read or written.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeadLettersFailed extends Schema.Error<DeadLettersFailed>(`${TypeId}/DeadLettersFailed`)({
  _tag: Schema.tag("DeadLettersFailed"),
  feed: Schema.String,
  key: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    const why = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `the dead letters of feed "${this.feed}" cannot be kept or read (${this.key}): ${why}; ` +
      `look after the store, nothing is lost meanwhile`
  }
}

/**
 * A letter cannot be fed again as it is: nobody has corrected its payload, which has another layout than the feed now.
 *
 * @category errors
 * @since 0.1.0
 */
export class LetterUnreadable extends Schema.Error<LetterUnreadable>(`${TypeId}/LetterUnreadable`)({
  _tag: Schema.tag("LetterUnreadable"),
  key: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `the dead letter ${this.key} cannot be fed again: ${this.issue}; give a corrected element with \`correct\``
  }
}

/**
 * The feed has ended: nothing is fed any more.
 *
 * @category errors
 * @since 0.1.0
 */
export class FeedEnded extends Schema.Error<FeedEnded>(`${TypeId}/FeedEnded`)({
  _tag: Schema.tag("FeedEnded"),
  feed: Schema.String,
  feeder: Schema.String
}) {
  override get message(): string {
    return `feeder ${this.feeder} of feed "${this.feed}" has ended and feeds nothing more; ` +
      `make another with the same id and store, and redrive there`
  }
}

/**
 * More elements have become dead letters than the feeder keeps in memory.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeadLettersFull extends Schema.Error<DeadLettersFull>(`${TypeId}/DeadLettersFull`)({
  _tag: Schema.tag("DeadLettersFull"),
  most: Schema.Natural
}) {
  override get message(): string {
    return `${this.most} dead letters are kept, and no more fit: mend the consumer, redrive or discard them, ` +
      `or give the feeder a store or a higher maxDeadLetters`
  }
}

/**
 * The dead letters of a feeder.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetters<in out A> {
  /** All that are kept, the oldest first; those of former lives of the feeder included, if its store has them. */
  readonly list: Effect.Effect<ReadonlyArray<DeadLetter<A>>, DeadLettersFailed>
  /**
   * Feeds letters again, by their keys or all, and says how many. Each is a new element with a new ordinal, and marked
   * as redelivered if it was ever given to a device. `correct` gives the element to feed instead.
   *
   * A letter stays in the store until its element is acknowledged as declared, so that none is lost; it is then removed,
   * or replaced by another if the element dies again. One that is on its way already is passed over. Waits for room in the local
   * queue.
   */
  readonly redrive: (
    keys: Iterable<string> | "all",
    options?: { readonly correct?: ((letter: DeadLetter<A>) => A) | undefined }
  ) => Effect.Effect<number, DeadLettersFailed | LetterUnreadable | FeedEnded | ElementInvalid>
  /** Removes letters for good, by their keys or all, and says how many. Not those on their way. */
  readonly discard: (keys: Iterable<string> | "all") => Effect.Effect<number, DeadLettersFailed>
}
