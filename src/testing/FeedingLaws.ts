/**
 * The laws of feeding as a suite of tests, which every Layer of `RemoteDevices` must pass.
 *
 * What each law says stands in its name. The suite breaks links, stalls them and ends hosts itself; a Layer brings its
 * two sides only. It needs no test runner of its own: it takes the `it` of `@effect/vitest`, or anything that looks like it.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { HostsOf } from "../Feed.ts"
import type { Acknowledge, RemoteDevices } from "../RemoteDevices.ts"
import type { Bench } from "./internal/lawBench.ts"
import * as Laws from "./internal/lawBench.ts"
import * as trials from "./internal/laws.ts"

/**
 * The feeds of the suite, to be hosted by the Layer: one of numbers that is `processed`, one of numbers that is
 * `accepted`, one of tensors and text.
 *
 * @category feeds
 * @since 0.1.0
 */
export const feeds = Laws.feeds

/**
 * What hosts all feeds of the suite.
 *
 * @category feeds
 * @since 0.1.0
 */
export type Hosts = HostsOf<typeof feeds>

/**
 * What a Layer claims, where Layers differ. What is not claimed is not skipped: it must be refused, with a typed error.
 *
 * @category models
 * @since 0.1.0
 */
export interface Claims {
  /** The acknowledgements it can give; feeds with another must be refused with `FeedRefused`. Default: both. */
  readonly acknowledge?: ReadonlyArray<Acknowledge> | undefined
  /**
   * Whether it knows that a device has ended, and says so with the fate `gone`. One that does not know must never say
   * so: its fate is `unknown`. Default true.
   */
  readonly gone?: boolean | undefined
}

/**
 * A Layer that is put to the test.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<R, E, E2> {
  /** The names of two devices or more. */
  readonly devices: readonly [string, string, ...ReadonlyArray<string>]
  /** The feeder's side, with whatever the hosts need of it. It is built anew for each law. */
  readonly layer: Layer.Layer<RemoteDevices | R, E>
  /**
   * The consumer's side: what hosts `FeedingLaws.feeds` as the device of that name, alone. It is built when a device
   * starts, and its scope closed when the device ends; a name is hosted again after that.
   */
  readonly host: (device: string) => Layer.Layer<Hosts, E2, R>
  /** Default: everything. */
  readonly claims?: Claims | undefined
  /** How long one law may take. Default 20 seconds. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * One law for one kind of feed, as a test that dies with an error that says what was found instead.
 *
 * @category models
 * @since 0.1.0
 */
export interface Law {
  readonly name: string
  readonly test: Effect.Effect<void, unknown, Scope.Scope>
}

/**
 * The part of `@effect/vitest`'s `it` that a suite uses.
 *
 * @category models
 * @since 0.1.0
 */
export interface Runner {
  readonly live: (name: string, test: () => Effect.Effect<void, unknown, Scope.Scope>, timeout: number) => void
}

const defaultTimeout = "20 seconds"

type Trial = Effect.Effect<void, unknown, Scope.Scope>

/**
 * The laws for a Layer, for runners other than `suite`'s.
 *
 * **Example** (What the laws are)
 *
 * ```ts import.meta.vitest
 * import { MemoryDevices } from "effect-feeder"
 * import { FeedingLaws } from "effect-feeder/testing"
 *
 * const laws = FeedingLaws.laws({
 *   devices: ["/job:consumer/replica:0", "/job:consumer/replica:1"],
 *   layer: MemoryDevices.layerNetwork,
 *   host: (device) => MemoryDevices.layerHost({ feeds: FeedingLaws.feeds, device })
 * })
 *
 * laws[0]?.name // => "bounded: no more is out than a device has granted (processed)"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const laws = <R, E, E2>(options: Options<R, E, E2>): ReadonlyArray<Law> => {
  const claims = { acknowledge: options.claims?.acknowledge ?? ["processed", "accepted"], ...options.claims }
  const claimed = Laws.kinds.filter(({ acknowledge }) => claims.acknowledge?.includes(acknowledge))
  const others = Laws.kinds.filter((kind) => !claimed.includes(kind))
  const limit = options.timeout ?? defaultTimeout
  const law = (name: string, trial: (bench: Bench) => Trial): Law => ({
    name,
    test: Effect.flatMap(Laws.makeBench(options), trial).pipe(
      Effect.scoped,
      Effect.timeoutOrElse({
        duration: limit,
        orElse: () => Effect.die(new Laws.LawBroken(`it does not come to an end: ${name}`))
      })
    )
  })
  const each = (name: string, trial: (bench: Bench, kind: Laws.Kind) => Trial): ReadonlyArray<Law> =>
    claimed.map((kind) => law(`${name} (${kind.acknowledge})`, (bench) => trial(bench, kind)))
  const isProcessed = claimed.some(({ acknowledge }) => acknowledge === "processed")
  const processed = (name: string, trial: (bench: Bench) => Trial) => isProcessed ? [law(name, trial)] : []
  const doesKnow = claims.gone ?? true
  return [
    ...each("bounded: no more is out than a device has granted", trials.bounded),
    ...each("first in, first out", trials.fifo),
    ...processed("intact: tensors and text arrive as they were sent, in batches", trials.intact),
    ...each("once, and conserved: links that break or stall neither lose nor double", trials.once),
    ...each("acknowledged as declared: what a device that crashes had is given again, or counted", trials.acknowledged),
    ...processed(
      "acknowledged as declared: what is given back comes again, what is refused does not",
      trials.settledAs
    ),
    ...each("isolated: a device that is stuck, and then fails, stops no other", trials.isolated),
    ...each("tolerated by budget: a device that never comes fails, one that comes late is found", trials.tolerated),
    ...each("stoppable: feeders and consumers end when they are told to", trials.stoppable),
    ...each("ending: feeders and consumers end with the source", trials.ending),
    ...processed("typed at the door: another feed is refused, with both sides named", trials.typed),
    ...each("restored: a take that is interrupted gives back, in order", trials.restored),
    ...each("a feeder that was stopped runs again where it was", trials.again),
    ...others.map((kind) =>
      law(`not claimed: ${kind.acknowledge} feeds are refused`, (bench) => trials.unclaimed(bench, kind))
    ),
    law(
      doesKnow ? "knows that a device is gone" : "not claimed: never says that a device is gone",
      (bench) => trials.gone(bench, doesKnow)
    )
  ]
}

/**
 * Registers a live test for each law.
 *
 * **Example** (The suite for a Layer)
 *
 * ```ts import.meta.vitest
 * import { it } from "@effect/vitest"
 * import { MemoryDevices } from "effect-feeder"
 * import { FeedingLaws } from "effect-feeder/testing"
 *
 * FeedingLaws.suite("MemoryDevices", it, {
 *   devices: ["/job:consumer/replica:0", "/job:consumer/replica:1"],
 *   layer: MemoryDevices.layerNetwork,
 *   host: (device) => MemoryDevices.layerHost({ feeds: FeedingLaws.feeds, device })
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const suite = <R, E, E2>(name: string, it: Runner, options: Options<R, E, E2>): void => {
  // The law's own limit comes first, since it says what it is that takes so long.
  const limit = Duration.toMillis(Duration.fromInputUnsafe(options.timeout ?? defaultTimeout)) + 10_000
  for (const law of laws(options)) it.live(`${name}: ${law.name}`, () => law.test, limit)
}
