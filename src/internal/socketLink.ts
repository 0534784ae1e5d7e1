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
  lost(cause: unknown): DeviceLost
  /** The same when nothing more comes; by default it is `lost`. */
  ended?(cause: unknown): DeviceLost
  decode(raw: RawFrame): Result.Result<F, MalformedFrame>
  refusal(malformed: MalformedFrame): Segments | undefined
}

/** A wire as a link of frames. Bytes that are not a frame are told to the peer, if it can be, and end it. */
export class FrameLink<F> {
  readonly receive: Effect.Effect<F, DeviceLost>
  readonly #config: LinkConfig<F>
  readonly #wire: FrameWire

  constructor(config: LinkConfig<F>, wire: FrameWire) {
    this.#config = config
    this.#wire = wire
    this.receive = Effect.matchEffect(wire.receive, {
      onFailure: (cause) => cause instanceof MalformedFrame ? this.#refuse(cause) : Effect.fail(this.#ended(cause)),
      onSuccess: (raw) => {
        const frame = config.decode(raw)
        return Result.isSuccess(frame) ? Effect.succeed(frame.success) : this.#refuse(frame.failure)
      }
    })
  }

  send(segments: Segments): Effect.Effect<void, DeviceLost> {
    return Effect.mapError(this.#wire.send(segments), (cause) => this.#config.lost(cause))
  }

  #ended(cause: unknown): DeviceLost {
    return this.#config.ended?.(cause) ?? this.#config.lost(cause)
  }

  #refuse(malformed: MalformedFrame): Effect.Effect<never, DeviceLost> {
    const segments = this.#config.refusal(malformed)
    const told = segments === undefined ? Effect.void : this.send(segments)
    return Effect.andThen(told, Effect.fail(this.#ended(malformed)))
  }
}

/** The same, as what has only functions. */
export const linkOf = <F>(options: LinkConfig<F> & { readonly wire: FrameWire }): Connection<F> => {
  const link = new FrameLink(options, options.wire)
  return { send: (segments) => link.send(segments), receive: link.receive }
}

/** Opens a wire as a link of frames. */
export const connect = <F>(
  options: LinkConfig<F> & { readonly open: Open; readonly limits: Limits }
): Effect.Effect<Connection<F>, DeviceLost, Scope.Scope> =>
  Effect.map(
    Effect.mapError(options.open(options.limits), options.lost),
    (wire) => linkOf({ ...options, wire })
  )
