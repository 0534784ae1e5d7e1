/**
 * A connection of bytes that carries frames: over a socket of Node, or over any `Socket` of Effect.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import { CloseEvent } from "effect/socket/Socket"
import type { Limits, RawFrame } from "./frameCutter.ts"
import * as FrameCutter from "./frameCutter.ts"
import type { MalformedFrame } from "./malformedFrame.ts"

/** What a frame is written as, one after the other. */
export type Segments = readonly [Uint8Array, ...Array<Uint8Array>]

/** Frames both ways. A wire has one reader. */
export interface FrameWire {
  /**
   * Writes a frame; succeeds when more can be taken. The segments must not change until the peer has acknowledged them.
   */
  readonly send: (segments: Segments) => Effect.Effect<void, unknown>
  /** The next frame. Fails with a `MalformedFrame`, or with what has broken the connection. */
  readonly receive: Effect.Effect<RawFrame, unknown>
  /** From now on a reader is told instead, if it can be. */
  readonly tellUnsafe?: (reader: WireReader) => void
}

/** Who is told what comes, instead of asking for it. Neither may throw. */
export interface WireReader {
  readonly cameUnsafe: (frame: RawFrame) => void
  /** Nothing more comes, for what `receive` would fail with. */
  readonly endedUnsafe: (cause: unknown) => void
}

/** Opens a wire. It reads frames as long as `limits` allows, when they begin. */
export type Open = (limits: Limits) => Effect.Effect<FrameWire, unknown, Scope.Scope>

/** Most bytes of a message, where there are messages. Frames are bytes of a stream: a long one is several messages. */
export const messageBytes = 256 * 1024

/** A frame in messages: what is small goes together, what is large in pieces. */
export const messagesOf = (segments: Segments): Segments => {
  const [first, ...others] = segments
  const length = segments.reduce((sum, segment) => sum + segment.length, 0)
  if (length <= messageBytes) {
    if (others.length === 0) return segments
    const all = new Uint8Array(length)
    let at = 0
    for (const segment of segments) {
      all.set(segment, at)
      at += segment.length
    }
    return [all]
  }
  const rest: Array<Uint8Array> = []
  for (const segment of segments) {
    for (let at = segment === first ? messageBytes : 0; at < segment.length; at += messageBytes) {
      rest.push(segment.subarray(at, at + messageBytes))
    }
  }
  return [first.subarray(0, messageBytes), ...rest]
}

/** A wire over a socket of Effect: each chunk is copied once. */
export const fromSocket = (socket: Socket.Socket): Open => (limits) =>
  Effect.gen(function*() {
    const { pull } = yield* socket.reader
    const writer = yield* socket.writer
    const cutter = FrameCutter.make(limits)
    const encoder = new TextEncoder()
    let malformed: MalformedFrame | undefined
    let isBlocked = false
    // A socket is closed when everything is sent: one whose peer takes nothing more would stay for ever.
    yield* Effect.addFinalizer(() => isBlocked ? Effect.ignore(writer.write(new CloseEvent())) : Effect.void)
    const receive: Effect.Effect<RawFrame, unknown> = Effect.suspend(() => {
      const frame = cutter.frames.shift()
      if (frame !== undefined) return Effect.succeed(frame)
      if (malformed !== undefined) return Effect.fail(malformed)
      return Effect.flatMap(pull, (chunks) => {
        for (const chunk of chunks) {
          malformed ??= cutter.take(typeof chunk === "string" ? encoder.encode(chunk) : chunk, true)
        }
        return receive
      })
    })
    return {
      receive,
      send: (segments) =>
        Effect.suspend(() => {
          isBlocked = true
          return Effect.map(writer.writeAll(messagesOf(segments)), () => {
            isBlocked = false
          })
        })
    }
  })
