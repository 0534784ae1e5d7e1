/**
 * A socket as a link of frames, on either side.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import { CloseEvent } from "effect/socket/Socket"
import type { DeviceLost } from "../RemoteDevices.ts"
import type { MalformedFrame, RawFrame } from "./frames.ts"
import * as Frames from "./frames.ts"

/** What a frame is written as, one after the other. */
export type Segments = readonly [Uint8Array, ...Array<Uint8Array>]

/** A link of frames: `F` are those received. */
export interface Connection<F> {
  readonly send: (segments: Segments) => Effect.Effect<void, DeviceLost>
  readonly receive: Effect.Effect<F, DeviceLost>
}

/** The error at the bottom of what a socket fails with. */
export const rootOf = (cause: unknown): unknown => {
  let root = cause
  while (typeof root === "object" && root !== null) {
    const inner = "reason" in root ? root.reason : "cause" in root ? root.cause : undefined
    if (typeof inner !== "object" || inner === null) break
    root = inner
  }
  return root
}

/** Opens a socket as a link of frames. Bytes that are not a frame are told to the peer, if it can be, and end it. */
export const connect = <F>(options: {
  readonly socket: Socket.Socket
  readonly lost: (cause: unknown) => DeviceLost
  readonly decode: (raw: RawFrame) => Result.Result<F, MalformedFrame>
  readonly refusal: (malformed: MalformedFrame) => Segments | undefined
  /** Looked at for each frame. */
  readonly limits: { readonly frameBytes: number; readonly controlBytes: number }
}): Effect.Effect<Connection<F>, DeviceLost, Scope.Scope> =>
  Effect.gen(function*() {
    const { lost } = options
    const { pull } = yield* Effect.mapError(options.socket.reader, lost)
    const writer = yield* options.socket.writer
    const cut = Frames.makeCutter(options.limits)
    const ready: Array<RawFrame> = []
    let isBlocked = false
    const send = (segments: Segments) =>
      Effect.suspend(() => {
        isBlocked = true
        return Effect.map(Effect.mapError(writer.writeAll(segments), lost), () => {
          isBlocked = false
        })
      })
    // A socket is closed when everything is sent: one whose peer takes nothing more would stay for ever.
    yield* Effect.addFinalizer(() => isBlocked ? Effect.ignore(writer.write(new CloseEvent())) : Effect.void)
    const refuse = (malformed: MalformedFrame): Effect.Effect<never, DeviceLost> => {
      const segments = options.refusal(malformed)
      return Effect.andThen(segments === undefined ? Effect.void : send(segments), Effect.fail(lost(malformed)))
    }
    const receive: Effect.Effect<F, DeviceLost> = Effect.suspend(() => {
      const raw = ready.shift()
      if (raw !== undefined) {
        const frame = options.decode(raw)
        return Result.isSuccess(frame) ? Effect.succeed(frame.success) : refuse(frame.failure)
      }
      return Effect.flatMap(Effect.mapError(pull, lost), (chunks) => {
        for (const chunk of chunks) {
          const frames = cut(typeof chunk === "string" ? Buffer.from(chunk) : chunk)
          if (Result.isFailure(frames)) return refuse(frames.failure)
          ready.push(...frames.success)
        }
        return receive
      })
    })
    return { send, receive }
  })
