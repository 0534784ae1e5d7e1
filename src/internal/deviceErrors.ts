/**
 * Why a device cannot be fed.
 */
import * as Schema from "effect/Schema"
import { DeviceLost, FeedRefused } from "../RemoteDevices.ts"

const TypeId = "~effect-feeder/actors/RemoteFeed"

/**
 * A device cannot be fed any more: it refused the feed, or the budget of failures is spent. `cause` is the last
 * failure; `failures` counts those of this device, or of all devices if they share a budget.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeviceFailed extends Schema.Error<DeviceFailed>(`${TypeId}/DeviceFailed`)({
  _tag: Schema.tag("DeviceFailed"),
  device: Schema.String,
  failures: Schema.Natural,
  cause: Schema.Union([DeviceLost, FeedRefused])
}) {
  override get message(): string {
    return `device ${this.device} has failed after ${this.failures} failure(s): ${this.cause.message}`
  }
}

/**
 * An element does not fit into a frame of a device.
 *
 * @category errors
 * @since 0.1.0
 */
export class ElementTooLarge extends Schema.Error<ElementTooLarge>(`${TypeId}/ElementTooLarge`)({
  _tag: Schema.tag("ElementTooLarge"),
  device: Schema.String,
  ordinal: Schema.Natural,
  bytes: Schema.Natural,
  limit: Schema.Natural
}) {
  override get message(): string {
    return `element #${this.ordinal} takes ${this.bytes} bytes, device ${this.device} accepts ${this.limit} in a frame; ` +
      `feed smaller elements, or raise the host's limit`
  }
}
