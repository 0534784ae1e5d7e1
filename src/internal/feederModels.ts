/**
 * What a feeder is made with and fed from, and how it stands.
 */
import type * as Duration from "effect/Duration"
import type * as KeyValueStore from "effect/persistence/KeyValueStore"
import type { Source } from "../actors/QueueRunner.ts"
import type { Tolerator } from "../actors/RemoteFeed.ts"
import type * as DeviceSpec from "../DeviceSpec.ts"
import type * as Ledger from "../Ledger.ts"
import type { ResumableSource } from "../ResumableSource.ts"
import type { DeviceStatus } from "./feederAccount.ts"
import type { Dead } from "./feederBooks.ts"
import type { CheckpointStatus } from "./resuming.ts"

/**
 * What a feeder is made with.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Its id, which must be its alone. Default: random. With a fixed id, a restarted feeder replaces itself. */
  readonly id?: string | undefined
  /** How long a device may be silent before what is out at it is taken back. Default 10 seconds. */
  readonly lease?: Duration.Input | undefined
  /**
   * How often an element may be handed to a consumer; one that comes back after the last is a dead letter. What was taken
   * back from a device where it only waited does not count. Default 5.
   */
  readonly maxAttempts?: number | undefined
  /**
   * How long an element that a consumer gave back waits at least before it is given again: `initial` after the first
   * time, twice as long after each further one, never longer than `most`. Default 50 milliseconds, 30 seconds. Elements
   * that were taken back from a device which is gone do not wait.
   */
  readonly backOff?: { readonly initial?: Duration.Input; readonly most?: Duration.Input } | undefined
  /**
   * What becomes of elements that the full local queue has no room for. `"suspend"`, the default: their source waits.
   * `"dropping"`: they are dropped. `"sliding"`: the oldest in the queue are dropped in their place. What is dropped is a
   * dead letter, of which the last `maxDeadLetters` are kept.
   */
  readonly overflow?: "suspend" | "dropping" | "sliding" | undefined
  /**
   * Where it keeps what its next life needs, which finds it if the feeder has a fixed `id`: its dead letters, which are
   * in memory by default, and the checkpoints of `ResumableSource`s, which go on from there then.
   */
  readonly store?: KeyValueStore.KeyValueStore | undefined
  /** How often a checkpoint is taken while anything changes, at least. Default 1 second. */
  readonly checkpointEvery?: Duration.Input | undefined
  /**
   * How many dead letters are kept; a run fails when one more does not fit. Default 10,000 in memory, and any number in
   * a `store`.
   */
  readonly maxDeadLetters?: number | undefined
  /** Whether the ledger says by ordinal which element is where. Its memory grows with the gaps. Default false. */
  readonly ordinals?: boolean | undefined
  /** The budget of failures: any Schedule. Default `FailureTolerator.make()`. */
  readonly tolerate?: Tolerator | undefined
  /**
   * What a failure of one device does to the others.
   *
   * `"each"`, the default: nothing. Each device has a budget of its own, and the run goes on while one is left.
   *
   * `"all"`: they restart together, as the reference's do. All devices of a run share one budget. At a failure every
   * link is closed, all wait the one delay, and open again; one that is still well resumes where it was, so that nothing
   * is lost or given twice. Failures that come while the links are being closed belong to the same restart. Once the
   * budget is spent, or at a failure that is not tolerated, the run fails with that device's `DeviceFailed`. A delay
   * longer than the lease takes back what is out, also at the devices that were well, to be given again and marked.
   */
  readonly supervision?: "each" | "all" | undefined
  /** How long a stop waits for finalizers. Default 30 seconds. */
  readonly gracePeriod?: Duration.Input | undefined
}

/**
 * Which devices are fed: those that are named, or, of a transport that tells which devices there are, `"all"` of them that
 * host the feed, or those of them that pass, as they come.
 *
 * One that comes is added to the feeder. One that leaves, and is not back when a lease is over, is removed from it; one
 * that has failed and comes again is fed again.
 *
 * @category models
 * @since 0.1.0
 */
export type Devices = Iterable<DeviceSpec.Input> | "all" | ((device: DeviceSpec.DeviceSpec) => boolean)

/**
 * What a feeder can be fed from, element by element.
 *
 * @category models
 * @since 0.1.0
 */
export type ElementSource<A, E = never, R = never> = Source<A, E, R> | ResumableSource<A, E, R>

/**
 * A feeder, as it stands.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  readonly feed: string
  readonly feeder: string
  readonly isRunning: boolean
  readonly hasEnded: boolean
  /** The elements that became dead letters in this life of the feeder, the last hundred of them. */
  readonly dead: ReadonlyArray<Dead>
  /** How many are not in the store yet, and why, if it cannot be written. */
  readonly deadLetters: { readonly pending: number; readonly lastError: string | undefined }
  readonly ledger: Ledger.Ledger
  readonly devices: ReadonlyArray<DeviceStatus>
  /** Absent unless it has a store and a ResumableSource. */
  readonly checkpoint: CheckpointStatus | undefined
}
