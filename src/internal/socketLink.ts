/**
 * A wire as a link of frames, on either side.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { DeviceLost } from "../RemoteDevices.ts"
import type { Limits } from "./frameCutter.ts"
import type { RawFrame } from "./frames.ts"
import { MalformedFrame } from "./frames.ts"
import type { FrameWire, Open, Segments } from "./socketWire.ts"

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

/** What a wire is made a link with. */
export interface LinkConfig<F> {
  readonly lost: (cause: unknown) => DeviceLost
  readonly decode: (raw: RawFrame) => Result.Result<F, MalformedFrame>
  readonly refusal: (malformed: MalformedFrame) => Segments | undefined
}

/** A wire as a link of frames. Bytes that are not a frame are told to the peer, if it can be, and end it. */
export const linkOf = <F>(options: LinkConfig<F> & { readonly wire: FrameWire }): Connection<F> => {
  const { lost, wire } = options
  const send = (segments: Segments) => Effect.mapError(wire.send(segments), lost)
  const refuse = (malformed: MalformedFrame): Effect.Effect<never, DeviceLost> => {
    const segments = options.refusal(malformed)
    return Effect.andThen(segments === undefined ? Effect.void : send(segments), Effect.fail(lost(malformed)))
  }
  const receive: Effect.Effect<F, DeviceLost> = Effect.matchEffect(wire.receive, {
    onFailure: (cause) => cause instanceof MalformedFrame ? refuse(cause) : Effect.fail(lost(cause)),
    onSuccess: (raw) => {
      const frame = options.decode(raw)
      return Result.isSuccess(frame) ? Effect.succeed(frame.success) : refuse(frame.failure)
    }
  })
  return { send, receive }
}

/** Opens a wire as a link of frames. */
export const connect = <F>(
  options: LinkConfig<F> & { readonly open: Open; readonly limits: Limits }
): Effect.Effect<Connection<F>, DeviceLost, Scope.Scope> =>
  Effect.map(
    Effect.mapError(options.open(options.limits), options.lost),
    (wire) => linkOf({ ...options, wire })
  )
