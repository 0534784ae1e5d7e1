/**
 * How a device reads what a feeder sends.
 */
import * as Result from "effect/Result"
import type { Any } from "../Feed.ts"
import type { FeedInfo } from "../RemoteDevices.ts"
import * as Frames from "./frames.ts"

/** How much a device takes. */
export interface FrameLimits {
  readonly frameBytes: number
  readonly controlBytes: number
  readonly elements: number
  readonly stringBytes: number
}

/** What a batch may take beside its elements. */
const headBytes = 1024 * 1024

/** How what a feeder sends is read, by its Hello and by what it was welcomed with. */
export const makeReader = (feeds: ReadonlyArray<Any>, most: FrameLimits) => {
  const infos = new Map(feeds.map((feed): [string, FeedInfo] => [feed.name, feed.info]))
  let feed: FeedInfo | undefined
  // Only one that was admitted may send more than a Hello takes.
  const limits = { frameBytes: most.controlBytes, controlBytes: most.controlBytes }
  return {
    limits,
    decode: (raw: Frames.RawFrame) =>
      Result.map(Frames.decodeFeederFrame(raw, feed, most), (frame) => {
        if (frame._tag === "Hello") feed = infos.get(frame.feed)
        return frame
      }),
    welcomed: () => {
      limits.frameBytes = most.frameBytes + headBytes
    }
  }
}
