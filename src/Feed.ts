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
import type * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import * as BatchCodec from "./BatchCodec.ts"
import * as Consumer from "./internal/consumer.ts"
import type { BatchDelivery, BatchOptions, Consumed, Given, LoopOptions } from "./internal/given.ts"
import type { Delivery, FeedsItself, Host, Hosted } from "./internal/hosted.ts"
import type { OutcomeOf } from "./internal/outcomes.ts"
import type { Acknowledge, DeliveryMode, FeedInfo } from "./RemoteDevices.ts"
import type { SettlementsOf } from "./Settlements.ts"

export type { BatchDelivery, BatchOptions, Consumed, Given, Leased, LoopOptions, Remainder } from "./internal/given.ts"
export { CurrentFeeder, FeedsItself } from "./internal/hosted.ts"
export type { Delivery, Handed, Host, Hosted, TakeOptions } from "./internal/hosted.ts"
export { done, Outcomes, outcomes, Reject, reject, Retry, retry } from "./internal/outcomes.ts"
export type { Done, Outcome, OutcomeOf } from "./internal/outcomes.ts"

const TypeId = "~effect-feeder/Feed"

/**
 * A Schema that can be the element of a feed: any Schema that needs no services.
 *
 * @category models
 * @since 0.1.0
 */
export type ElementSchema = Schema.ConstraintCodec<unknown, unknown>

/**
 * A feed: see the module.
 *
 * @category models
 * @since 0.1.0
 */
export interface Feed<
  in out Name extends string,
  in out S extends ElementSchema,
  out Ack extends Acknowledge,
  out Del extends DeliveryMode = "atLeastOnce"
> {
  readonly [TypeId]: typeof TypeId
  readonly name: Name
  readonly element: S
  /** Elements that may wait in a queue: the feeder's, and each device's. */
  readonly capacity: number
  readonly acknowledge: Ack
  readonly delivery: Del
  /** The stable id of an element, taken from its value. */
  readonly identify: ((element: S["Type"]) => string) | undefined
  /** Whether elements of typed sources in the feeder's own process are checked too. */
  readonly validate: "always" | "edges"
  readonly codec: BatchCodec.BatchCodec<S["Type"], BatchCodec.Stacked<S>>
  /** What a transport must know of it. */
  readonly info: FeedInfo
  /** The service that hosts this feed in a consumer's process. */
  readonly host: Context.Key<Host<Name>, Hosted<S["Type"]>>

  /**
   * Runs an effect for each element until the feeders have ended.
   *
   * Success settles the element. On a `processed` feed, failing with `Feed.retry` or `Feed.reject` settles it so, and
   * the loop goes on; any other failure gives the element back and ends the loop with it.
   *
   * On an `effectivelyOnce` feed the effect runs in a transaction of `Settlements`, which commits the element's id with
   * it; an element whose id is settled already is acknowledged without running. When the settlements cannot be reached,
   * the element is given back, and the loop goes on.
   */
  readonly forEach: <E, R>(
    f: (element: S["Type"], delivery: Delivery) => Effect.Effect<unknown, E, R>,
    options?: LoopOptions
  ) => Effect.Effect<Consumed, Exclude<E, OutcomeOf<Ack>> | FeedsItself, R | Host<Name> | SettlementsOf<Del>>

  /**
   * Runs an effect for each batch of `n` elements, stacked, until the feeders have ended. With `within`, a batch is cut
   * when that time has passed since its first element. `remainder` says what becomes of a last, short batch. Settles as
   * `forEach`; `Feed.outcomes` settles each element by itself.
   *
   * On a `processed` feed, an element that has come back twice is handed out alone from then on, in a batch of one, so
   * that it takes no others with it; the batch before it is short, too. These are never dropped as remainders.
   *
   * On an `effectivelyOnce` feed a batch is one transaction, of those of its elements that are not settled yet. When it
   * fails with `Feed.outcomes` that are not all done, it is rolled back, and the effect runs again at once, for those
   * that were done.
   */
  readonly forEachBatch: <E, R>(
    n: number,
    f: (batch: BatchCodec.Stacked<S>, delivery: BatchDelivery) => Effect.Effect<unknown, E, R>,
    options?: LoopOptions & BatchOptions
  ) => Effect.Effect<Consumed, Exclude<E, OutcomeOf<Ack>> | FeedsItself, R | Host<Name> | SettlementsOf<Del>>

  /**
   * The elements, until the feeders have ended. Those of an `effectivelyOnce` feed are to be settled by the consumer, with
   * `Settlements` and the ids of their deliveries, before they are acknowledged.
   */
  readonly elements: Stream.Stream<Given<Ack, S["Type"]>, FeedsItself, Host<Name>>

  /** Batches of `n` elements, stacked, until the feeders have ended. */
  readonly batches: (
    n: number,
    options?: BatchOptions
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
  readonly delivery: DeliveryMode
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
 * `capacity` (default 10) is a positive integer. `acknowledge` is `"processed"` by default, `delivery` is
 * `"atLeastOnce"`; `docs/delivery.md` has what each of them promises. `identify` gives the stable id of an element from
 * its value: the same for every delivery, also by another life of the feeder. With `validate: "edges"`
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
export const make = <
  const Name extends string,
  S extends ElementSchema,
  const Ack extends Acknowledge = "processed",
  const Del extends DeliveryMode = "atLeastOnce"
>(
  name: Name,
  options: {
    readonly element: S
    readonly capacity?: number | undefined
    readonly acknowledge?: Ack | undefined
    readonly delivery?: Del | undefined
    readonly identify?: ((element: S["Type"]) => string) | undefined
    readonly validate?: "always" | "edges" | undefined
  }
): Feed<Name, S, Ack, Del> => {
  const capacity = options.capacity ?? 10
  if (!Number.isSafeInteger(capacity) || capacity < 1) {
    throw new RangeError(`Feed.make("${name}"): capacity must be a positive integer, got ${capacity}`)
  }
  if (name.length === 0) throw new RangeError("Feed.make: the name of a feed must not be empty")
  const codec = BatchCodec.make(options.element)
  // Ack and Del are inferred from these options alone, and have these defaults where they are absent.
  const acknowledge = (options.acknowledge ?? "processed") as Ack
  const delivery = (options.delivery ?? "atLeastOnce") as Del
  if (delivery === "effectivelyOnce" && acknowledge === "accepted") {
    throw new RangeError(
      `Feed.make("${name}"): effectivelyOnce needs acknowledge: "processed"; what a device has only accepted dies with it`
    )
  }
  const host = Context.Service<Host<Name>, Hosted<S["Type"]>>(`effect-feeder/Feed/Host/${name}`)
  const consumer = Consumer.make(host, { name, acknowledge, delivery }, codec)
  return {
    [TypeId]: TypeId,
    name,
    element: options.element,
    capacity,
    acknowledge,
    delivery,
    identify: options.identify,
    validate: options.validate ?? "always",
    codec,
    info: {
      name,
      fingerprint: codec.fingerprint,
      codec,
      ...(options.identify === undefined ? {} : { identify: options.identify })
    },
    host,
    ...consumer
  }
}
