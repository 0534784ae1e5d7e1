/**
 * A wire as a link of frames, on either side.
 */
import * as Cause from "effect/Cause"
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
export abstract class FrameLink<F> {
  readonly wire: FrameWire

  constructor(wire: FrameWire) {
    this.wire = wire
  }

  /** What is run for each frame. */
  receiving(): Effect.Effect<F, DeviceLost> {
    return Effect.matchCauseEffect(this.wire.receive, {
      onFailure: (cause) => this.#ended(cause),
      onSuccess: (raw) => {
        const frame = this.decode(raw)
        return Result.isSuccess(frame) ? Effect.succeed(frame.success) : this.#refuse(frame.failure)
      }
    })
  }

  abstract lost(cause: unknown): DeviceLost

  /** The same where nothing more comes. */
  ended(cause: unknown): DeviceLost {
    return this.lost(cause)
  }

  abstract decode(raw: RawFrame): Result.Result<F, MalformedFrame>

  abstract refusal(malformed: MalformedFrame): Segments | undefined

  write(segments: Segments): Effect.Effect<void, DeviceLost> {
    return Effect.mapError(this.wire.send(segments), (cause) => this.lost(cause))
  }

  #ended(cause: Cause.Cause<unknown>): Effect.Effect<never, DeviceLost> {
    const failed = Cause.findFail(cause)
    if (Result.isFailure(failed)) return Effect.failCause(failed.failure)
    const { error } = failed.success
    return error instanceof MalformedFrame ? this.#refuse(error) : Effect.fail(this.ended(error))
  }

  #refuse(malformed: MalformedFrame): Effect.Effect<never, DeviceLost> {
    const segments = this.refusal(malformed)
    const told = segments === undefined ? Effect.void : this.write(segments)
    return Effect.andThen(told, Effect.fail(this.ended(malformed)))
  }
}

class ConfiguredLink<F> extends FrameLink<F> {
  readonly #config: LinkConfig<F>

  constructor(config: LinkConfig<F>, wire: FrameWire) {
    super(wire)
    this.#config = config
  }

  lost(cause: unknown): DeviceLost {
    return this.#config.lost(cause)
  }

  decode(raw: RawFrame): Result.Result<F, MalformedFrame> {
    return this.#config.decode(raw)
  }

  refusal(malformed: MalformedFrame): Segments | undefined {
    return this.#config.refusal(malformed)
  }
}

/** The same, by functions. */
export const linkOf = <F>(options: LinkConfig<F> & { readonly wire: FrameWire }): Connection<F> => {
  const link = new ConfiguredLink(options, options.wire)
  return { send: (segments) => link.write(segments), receive: link.receiving() }
}

/** Opens a wire as a link of frames. */
export const connect = <F>(
  options: LinkConfig<F> & { readonly open: Open; readonly limits: Limits }
): Effect.Effect<Connection<F>, DeviceLost, Scope.Scope> =>
  Effect.map(
    Effect.mapError(options.open(options.limits), options.lost),
    (wire) => linkOf({ ...options, wire })
  )
