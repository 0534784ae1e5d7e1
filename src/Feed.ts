/**
 * The declaration that a feeder and its consumers share: what the elements are, how many may wait, and when an element
 * counts as acknowledged. It is a value that both jobs import, so their arguments match by construction; its
 * fingerprint is checked when they meet.
 *
 * A Feed is also the consumer's handle: `forEach` and `forEachBatch` run an effect for what arrives and settle it by the
 * effect's exit, `elements` and `batches` give streams.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as BatchCodec from "./BatchCodec.ts"
import type { QueueEnded } from "./FeedQueue.ts"
import * as Consumer from "./internal/consumer.ts"
import type { Acknowledge, FeedInfo, Result } from "./RemoteDevices.ts"

const TypeId = "~effect-feeder/Feed"

/**
 * A Schema that can be the element of a feed: any Schema that needs no services.
 *
 * @category models
 * @since 0.1.0
 */
export type ElementSchema = Schema.ConstraintCodec<unknown, unknown>

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
 * handed out before. `feeder` is the id of the feeder it came from.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delivery {
  readonly feeder: string
  readonly ordinal: number
  readonly attempt: number
  readonly redelivered: boolean
}

/**
 * An element in the hands of a consumer, as a device hands it out.
 *
 * @category models
 * @since 0.1.0
 */
export interface Handed<out A> {
  readonly element: A
  readonly delivery: Delivery
}

/**
 * How a take collects: exactly `n` (fewer only at the end), or what has come when `within` has passed since the first.
 *
 * @category models
 * @since 0.1.0
 */
export interface TakeOptions {
  readonly n: number
  readonly within: Duration.Input | undefined
}

/**
 * What hosts one feed for the consumers of a process; a `Device` implements it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hosted<A> {
  /** Hands out up to `n` elements; fails at the end of the feed. Interrupting it gives back what it had collected. */
  readonly take: (options: TakeOptions) => Effect.Effect<ReadonlyArray<Handed<A>>, QueueEnded | FeedsItself>
  /**
   * Settles elements, in the order in which they were handed out, and asks once for the result of each. Says how many
   * settlements came too late to count.
   */
  readonly settle: (handed: ReadonlyArray<Handed<A>>, result: (index: number) => Result) => Effect.Effect<number>
  /** Announces that up to `n` elements will be in consumers' hands at once, while the scope is open. */
  readonly expect: (n: number) => Effect.Effect<void, never, Scope.Scope>
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

// -----------------------------------------------------------------------------
// outcomes
// -----------------------------------------------------------------------------

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

// -----------------------------------------------------------------------------
// the feed
// -----------------------------------------------------------------------------

/**
 * The failures of a consumer's effect that are outcomes, when the feed is acknowledged as `Ack`.
 *
 * @category type-level
 * @since 0.1.0
 */
export type OutcomeOf<Ack extends Acknowledge> = Ack extends "processed" ? Retry | Reject | Outcomes : never

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
 * had taken the element back.
 *
 * @category models
 * @since 0.1.0
 */
export interface Consumed {
  readonly done: number
  readonly retried: number
  readonly rejected: number
  readonly fenced: number
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
 * A feed: see the module.
 *
 * @category models
 * @since 0.1.0
 */
export interface Feed<in out Name extends string, in out S extends ElementSchema, out Ack extends Acknowledge> {
  readonly [TypeId]: typeof TypeId
  readonly name: Name
  readonly element: S
  /** Elements that may wait in a queue: the feeder's, and each device's. */
  readonly capacity: number
  readonly acknowledge: Ack
  /** Whether elements of typed sources in the feeder's own process are checked too. */
  readonly validate: "always" | "edges"
  readonly codec: BatchCodec.BatchCodec<S["Type"], BatchCodec.Stacked<S>>
  /** What a transport must know of it. */
  readonly info: FeedInfo
  /** The service that hosts this feed in a consumer's process. */
  readonly host: Context.Key<Host<Name>, Hosted<S["Type"]>>

  /**
   * Runs an effect for each element until the feeders have ended, up to `concurrency` at once (default 1).
   *
   * Success settles the element. On a `processed` feed, failing with `Feed.retry` or `Feed.reject` settles it so, and
   * the loop goes on; any other failure gives the element back and ends the loop with it.
   */
  readonly forEach: <E, R>(
    f: (element: S["Type"], delivery: Delivery) => Effect.Effect<unknown, E, R>,
    options?: { readonly concurrency?: number | undefined }
  ) => Effect.Effect<Consumed, Exclude<E, OutcomeOf<Ack>> | FeedsItself, R | Host<Name>>

  /**
   * Runs an effect for each batch of `n` elements, stacked, until the feeders have ended. With `within`, a batch is cut
   * when that time has passed since its first element. `remainder` (default `"emit"`) says what becomes of a last,
   * short batch. Settles as `forEach`; `Feed.outcomes` settles each element by itself.
   */
  readonly forEachBatch: <E, R>(
    n: number,
    f: (batch: BatchCodec.Stacked<S>, delivery: BatchDelivery) => Effect.Effect<unknown, E, R>,
    options?: {
      readonly concurrency?: number | undefined
      readonly within?: Duration.Input | undefined
      readonly remainder?: Remainder | undefined
    }
  ) => Effect.Effect<Consumed, Exclude<E, OutcomeOf<Ack>> | FeedsItself, R | Host<Name>>

  /** The elements, until the feeders have ended. */
  readonly elements: Stream.Stream<Given<Ack, S["Type"]>, FeedsItself, Host<Name>>

  /** Batches of `n` elements, stacked, until the feeders have ended. */
  readonly batches: (
    n: number,
    options?: { readonly within?: Duration.Input | undefined; readonly remainder?: Remainder | undefined }
  ) => Stream.Stream<Given<Ack, BatchCodec.Stacked<S>>, FeedsItself, Host<Name>>
}

/**
 * Any feed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Any {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  readonly capacity: number
  readonly acknowledge: Acknowledge
  readonly info: FeedInfo
  readonly host: Context.Key<unknown, unknown>
}

/**
 * The hosts of feeds, as requirements.
 *
 * @category type-level
 * @since 0.1.0
 */
export type HostsOf<Feeds extends ReadonlyArray<Any>> = Feeds[number] extends infer F
  ? F extends { readonly name: infer Name extends string } ? Host<Name> : never
  : never

/**
 * Declares a feed.
 *
 * `capacity` (default 10) is a positive integer. `acknowledge` is `"processed"` by default. With `validate: "edges"`
 * elements of typed sources are not checked in the feeder's own process; what comes over a wire always is.
 *
 * **Example** (A feed of images and labels)
 *
 * ```ts import.meta.vitest
 * import { Schema } from "effect"
 * import { Feed, Tensor } from "effect-feeder"
 *
 * const Digits = Feed.make("digits", {
 *   element: Schema.Struct({ image: Tensor.float32([28, 28]), label: Tensor.int32([]) }),
 *   capacity: 256,
 *   acknowledge: "processed"
 * })
 *
 * Digits.name // => "digits"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const Name extends string, S extends ElementSchema, const Ack extends Acknowledge = "processed">(
  name: Name,
  options: {
    readonly element: S
    readonly capacity?: number | undefined
    readonly acknowledge?: Ack | undefined
    readonly validate?: "always" | "edges" | undefined
  }
): Feed<Name, S, Ack> => {
  const capacity = options.capacity ?? 10
  if (!Number.isSafeInteger(capacity) || capacity < 1) {
    throw new RangeError(`Feed.make("${name}"): capacity must be a positive integer, got ${capacity}`)
  }
  if (name.length === 0) throw new RangeError("Feed.make: the name of a feed must not be empty")
  const codec = BatchCodec.make(options.element)
  // Ack is inferred from this option alone, and defaults to "processed" where it is absent.
  const acknowledge = (options.acknowledge ?? "processed") as Ack
  const host = Context.Service<Host<Name>, Hosted<S["Type"]>>(`effect-feeder/Feed/Host/${name}`)
  const consumer = Consumer.make(host, acknowledge, codec.stack)
  return {
    [TypeId]: TypeId,
    name,
    element: options.element,
    capacity,
    acknowledge,
    validate: options.validate ?? "always",
    codec,
    info: { name, fingerprint: codec.fingerprint, codec },
    host,
    ...consumer
  }
}
