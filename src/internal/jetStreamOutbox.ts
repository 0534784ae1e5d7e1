/**
 * What a feeder sends to one device at the broker in one session: one message for each batch, and what of it is stored.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Batch, FeederFrame, FeedInfo, Hello } from "../RemoteDevices.ts"
import { align } from "./batchBuffers.ts"
import * as Frames from "./frames.ts"
import type { Client, Publication } from "./jetStreamClient.ts"
import { partOf } from "./jetStreamParts.ts"
import { token } from "./jetStreamRecords.ts"
import { nodeMemory } from "./nodeMemory.ts"

/** A batch on its way. */
interface Stored {
  readonly last: number
  readonly bytes: number
  isStored: boolean
}

/** What was stored and is not handed out yet counts against the bytes. */
interface Parcel {
  readonly last: number
  readonly bytes: number
}

/** Most that is on its way to the broker: messages and bytes. A sender waits beyond that. */
const mostOnWay = 128
const mostBytesOnWay = 8 * 1024 * 1024

/** What a message may take beside the columns of its batch: its headers, an id, and where its runs are. */
const besideBytes = 16 * 1024

/** Most that the columns of a batch may take in one message. */
export const columnBytes = (maxPayload: number): number => maxPayload - Math.min(besideBytes, maxPayload >> 1)

/** Says of a message which session it is of. */
export const sessionHeader = "Feeder-Session"

/** The messages of a session: see the module. */
export interface Outbox {
  /** Up to which sequence all is published, and stored. */
  readonly sent: () => number
  readonly accepted: () => number
  readonly acceptedBytes: () => number
  /** The bytes of what was handed out, up to a sequence. */
  readonly deliveredBytes: (to: number) => number
  /** Waits until there is room on the way. */
  readonly room: Effect.Effect<void>
  /** Publishes what is new of a batch as one message; as several, if it is too large for one. */
  readonly store: (frame: Batch, confirmed: number) => void
  /** Publishes another frame under an id of its own. */
  readonly tell: (frame: Exclude<FeederFrame, Batch | Hello>, id: string, onStored?: () => void) => void
  /** Waits until what is on its way is stored. */
  readonly untilStored: Effect.Effect<void>
  /** A consumer has what was not known to be stored. */
  readonly acceptUnsafe: (to: number) => void
}

const join = (segments: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> => {
  const payload = nodeMemory.allocate(segments.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const segment of segments) {
    payload.set(segment, at)
    at += segment.length
  }
  return payload
}

/** The messages of the session that a Hello begins. */
export const make = (options: {
  readonly client: Client
  readonly subject: string
  readonly device: string
  readonly feed: FeedInfo
  readonly hello: Hello
  readonly onStored: () => void
}): Outbox => {
  const { client, device, feed, hello, onStored, subject } = options
  const { feeder, incarnation, session } = hello
  const free = Latch.makeUnsafe(true)
  const onWay: Array<Stored> = []
  let bytesOnWay = 0
  const parcels: Array<Parcel> = []
  let sent = 0
  let accepted = 0
  let acceptedBytes = 0
  let deliveredBytes = 0

  const publish = (payload: Uint8Array, id: string, whenStored: Publication["onStored"]) => {
    const headers = client.headers({
      "Nats-Msg-Id": `${token(feeder)}#${incarnation}/${token(device)}#${session}/${id}`,
      [sessionHeader]: `${incarnation}.${session}`
    })
    // The client reads headers and payload as one, and columns are read in place where they are aligned.
    const { length } = headers.toString()
    headers.set(sessionHeader, `${"0".repeat(align(length) - length)}${incarnation}.${session}`)
    client.publishUnsafe({ subject, payload, headers, onStored: whenStored })
  }

  const store = (frame: Batch, confirmed: number): void => {
    const { length } = frame.chunk
    const known = sent - frame.first + 1
    if (known > 0) return known >= length ? undefined : store(partOf(frame, feed, known, length), confirmed)
    const payload = join(Frames.encodeFeederFrame({ ...frame, heard: confirmed }, feed))
    if (payload.length > columnBytes(client.maxPayload()) && length > 1) {
      const half = length >> 1
      store(partOf(frame, feed, 0, half), confirmed)
      store(partOf(frame, feed, half, length), confirmed)
      return
    }
    const part: Stored = { last: frame.first + length - 1, bytes: payload.length, isStored: false }
    const { attempt, ordinal } = frame.runs[0]!
    onWay.push(part)
    bytesOnWay += part.bytes
    sent = part.last
    parcels.push({ last: part.last, bytes: length * frame.elementBytes })
    acceptedBytes += length * frame.elementBytes
    publish(payload, `${ordinal}/${attempt}`, (times) => {
      // What was published again may still be on its way.
      if (times === 1) nodeMemory.giveBack(payload)
      part.isStored = true
      while (onWay[0]?.isStored === true) {
        const { bytes, last } = onWay.shift()!
        bytesOnWay -= bytes
        accepted = Math.max(accepted, last)
      }
      free.openUnsafe()
      onStored()
    })
  }

  const wait = (isSo: () => boolean): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (isSo()) return Effect.void
      free.closeUnsafe()
      return Effect.andThen(free.await, wait(isSo))
    })

  return {
    sent: () => sent,
    accepted: () => accepted,
    acceptedBytes: () => acceptedBytes,
    deliveredBytes: (to) => {
      while (parcels[0] !== undefined && parcels[0].last <= to) deliveredBytes += parcels.shift()!.bytes
      return deliveredBytes
    },
    room: wait(() => onWay.length < mostOnWay && bytesOnWay < mostBytesOnWay),
    store,
    tell: (frame, id, whenStored = () => {}) => publish(join(Frames.encodeFeederFrame(frame, feed)), id, whenStored),
    untilStored: wait(() => onWay.length === 0),
    acceptUnsafe: (to) => {
      accepted = Math.max(accepted, Math.min(sent, to))
    }
  }
}
