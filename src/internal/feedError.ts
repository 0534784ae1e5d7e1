/**
 * Why a feeder fails.
 */
import * as Schema from "effect/Schema"
import * as Coordinator from "../actors/Coordinator.ts"
import { ElementInvalid } from "../BatchCodec.ts"
import { DeadLettersFull } from "../DeadLetters.ts"
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
