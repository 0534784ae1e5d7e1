/**
 * Why a feeder fails.
 */
import * as Schema from "effect/Schema"
import * as Coordinator from "../actors/Coordinator.ts"
import { ElementInvalid } from "../BatchCodec.ts"
import { DeadLettersFull } from "../DeadLetters.ts"
import { PositionInvalid } from "../ResumableSource.ts"
import { CheckpointFailed } from "./checkpoints.ts"
import { DeviceFailed, ElementTooLarge } from "./deviceErrors.ts"

const TypeId = "~effect-feeder/actors/Feeder"

/**
 * Every device of the feeder has failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoDeviceLeft extends Schema.Error<NoDeviceLeft>(`${TypeId}/NoDeviceLeft`)({
  _tag: Schema.tag("NoDeviceLeft"),
  devices: Schema.Array(DeviceFailed)
}) {
  override get message(): string {
    return `no device is left: ${this.devices.map((failed) => failed.message).join("; ")}`
  }
}

/**
 * The feeder is running already, or its feed has ended.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotRunnable extends Schema.Error<NotRunnable>(`${TypeId}/NotRunnable`)({
  _tag: Schema.tag("NotRunnable"),
  why: Schema.Literals(["running", "ended"])
}) {
  override get message(): string {
    return this.why === "running"
      ? "the feeder is running already; stop it, or wait for it, before it runs again"
      : "the feed has ended; make another feeder for another input"
  }
}

/**
 * A device cannot be added, or removed: its name is not a device spec, it was added before, or it is not fed.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeviceInvalid extends Schema.Error<DeviceInvalid>(`${TypeId}/DeviceInvalid`)({
  _tag: Schema.tag("DeviceInvalid"),
  device: Schema.String,
  issue: Schema.String,
  change: Schema.optionalKey(Schema.Literals(["added", "removed"]))
}) {
  override get message(): string {
    return `device "${this.device}" cannot be ${this.change ?? "added"}: ${this.issue}`
  }
}

/**
 * An `effectivelyOnce` feed has elements whose ids another life of the feeder would not give them again.
 *
 * @category errors
 * @since 0.1.0
 */
export class IdsNotStable extends Schema.Error<IdsNotStable>(`${TypeId}/IdsNotStable`)({
  _tag: Schema.tag("IdsNotStable"),
  /** The source that has none; absent if no source of this feeder could. */
  source: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    return this.source === undefined
      ? "on an effectivelyOnce feed each element needs an id that outlives the feeder: give the feed `identify`, or the " +
        "feeder an `id` and a `store`, and feed it ResumableSources"
      : `${this.source} gives its elements no ids that outlive the feeder, and the feed is effectivelyOnce: give the feed ` +
        "`identify`, or make it a ResumableSource"
  }
}

/**
 * A ResumableSource cannot be fed by a feeder that has a store.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotResumable extends Schema.Error<NotResumable>(`${TypeId}/NotResumable`)({
  _tag: Schema.tag("NotResumable"),
  source: Schema.String,
  why: Schema.Literals(["no id", "at most once", "name taken"])
}) {
  override get message(): string {
    switch (this.why) {
      case "no id":
        return `source "${this.source}" cannot be resumed: the feeder's id is random, and its next life would not find ` +
          "what this one keeps; give it a fixed `id`, or no `store`"
      case "at most once":
        return `source "${this.source}" cannot be resumed on an atMostOnce feed: a checkpoint would have to be written ` +
          "before each element is sent; give the feed another delivery, or the feeder no `store`"
      case "name taken":
        return `source "${this.source}" has the name of another source of the feeder, or of one of its splits; ` +
          "give each its own"
    }
  }
}

/**
 * Why a feeder failed. A source's own errors are not among them: they stand beside `FeedError`.
 *
 * @category errors
 * @since 0.1.0
 */
export const FeedErrorReason = Schema.Union([
  NoDeviceLeft,
  DeviceFailed,
  DeadLettersFull,
  ElementTooLarge,
  ElementInvalid,
  NotRunnable,
  DeviceInvalid,
  IdsNotStable,
  NotResumable,
  PositionInvalid,
  CheckpointFailed,
  Coordinator.StragglersLeft
])

/**
 * A feeder failed; `reason` says why.
 *
 * @category errors
 * @since 0.1.0
 */
export class FeedError extends Schema.TaggedError<FeedError>(`${TypeId}/FeedError`)("FeedError", {
  feed: Schema.String,
  feeder: Schema.String,
  reason: FeedErrorReason
}) {
  override get message(): string {
    return `feeder ${this.feeder} of feed "${this.feed}": ${this.reason.message}`
  }
}
