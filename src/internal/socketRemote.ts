/**
 * Devices that a feeder dials, at the addresses of a directory.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { DeviceFrame, FeederFrame, FeedInfo, Link, RemoteDevices } from "../RemoteDevices.ts"
import { DeviceLost, FeedRefused } from "../RemoteDevices.ts"
import * as Frames from "./frames.ts"
import type { Address } from "./socketAddress.ts"
import { codeOf } from "./socketDial.ts"
import type { Directory } from "./socketDirectory.ts"
import { FrameLink, rootOf } from "./socketLink.ts"
import { mostFrameBytes } from "./socketOptions.ts"
import { failureOf, TlsFailed } from "./socketTls.ts"
import type { FrameWire, Open, WireReader } from "./socketWire.ts"
import type { Reader, Sender, Telling } from "./telling.ts"
import { tell } from "./telling.ts"

/** Nobody listens at a refused address, so whoever did has ended, and its memory with it. */
const fateOf = (root: unknown): "gone" | "unknown" => {
  const code = codeOf(root)
  return code === "ECONNREFUSED" || code === "ENOENT" ? "gone" : "unknown"
}

/** What a link to a device that is dialled is made of. Many may be open and idle, so it is one object. */
class DialledFrames extends FrameLink<DeviceFrame> implements Sender, WireReader {
  readonly #device: string
  readonly #feed: FeedInfo
  readonly #address: Address
  readonly #credential: Redacted.Redacted<string> | undefined
  #hasAnswered = false
  /** Who is told. */
  #reader: Reader | undefined

  constructor({ address, credential, device, feed }: Dialled, wire: FrameWire) {
    super(wire)
    this.#device = device
    this.#feed = feed
    this.#address = address
    this.#credential = credential
  }

  send(frame: FeederFrame): Effect.Effect<void, DeviceLost> {
    const credential = this.#credential
    return this.write(Frames.encodeFeederFrame(
      frame._tag === "Hello" && credential !== undefined
        ? { ...frame, credential: Redacted.value(credential) }
        : frame,
      this.#feed
    ))
  }

  tellUnsafe(reader: Reader): Sender | undefined {
    if (this.wire.tellUnsafe === undefined) return undefined
    this.#reader = reader
    this.wire.tellUnsafe(this)
    return this
  }

  cameUnsafe(raw: Frames.RawFrame): void {
    const frame = this.decode(raw)
    if (Result.isSuccess(frame)) this.#reader?.receivedUnsafe(frame.success)
    else this.endedUnsafe(frame.failure)
  }

  endedUnsafe(cause: unknown): void {
    const reader = this.#reader
    this.#reader = undefined
    reader?.lostUnsafe(this.ended(cause))
  }

  lost(error: unknown): DeviceLost {
    return lost(this.#device, this.#address, error)
  }

  /** A host that expects TLS does not say so to one that speaks plain frames. */
  override ended(cause: unknown): DeviceLost {
    const error = this.lost(cause)
    const { cause: known } = error
    if (this.#hasAnswered || known instanceof TlsFailed || known instanceof Frames.MalformedFrame) return error
    const address = this.#address
    const why = codeOf(known) === undefined ? "" : ` (${codeOf(known)})`
    const isPlain = address._tag === "Net" && !address.isSecure
    const advice = isPlain ? "; if it has a certificate, write its address as tls://" : ""
    const early = new Error(`${address.text} ended the link before it answered${why}${advice}`)
    return new DeviceLost({ device: this.#device, fate: error.fate, cause: early })
  }

  decode(raw: Frames.RawFrame): Result.Result<DeviceFrame, Frames.MalformedFrame> {
    const frame = Frames.decodeDeviceFrame(raw)
    if (Result.isSuccess(frame)) this.#hasAnswered = true
    return frame
  }

  refusal(): undefined {
    return undefined
  }
}

/** The same as a link, which who wraps it may take apart. */
class DialledLink implements Telling {
  readonly receive: Effect.Effect<DeviceFrame, DeviceLost>
  readonly send: (frame: FeederFrame) => Effect.Effect<void, DeviceLost>
  readonly #frames: DialledFrames

  constructor(frames: DialledFrames) {
    this.#frames = frames
    this.receive = frames.receiving()
    this.send = (frame) => frames.send(frame)
  }

  [tell](reader: Reader): Sender | undefined {
    return this.#frames.tellUnsafe(reader)
  }
}

/** What a link is to. */
interface Dialled {
  readonly device: string
  readonly feed: FeedInfo
  readonly address: Address
  readonly credential: Redacted.Redacted<string> | undefined
}

const lost = (device: string, { text }: Address, error: unknown): DeviceLost => {
  const cause = rootOf(error)
  return new DeviceLost({ device, fate: fateOf(cause), cause: failureOf(text, cause) ?? cause })
}

/** How much a device may say at once; it sends no batches. */
const limits = { frameBytes: 0, controlBytes: mostFrameBytes }

/** The devices of a directory. */
export const make = (options: {
  readonly directory: Directory
  readonly dial: (address: Address) => Open
  readonly credential: Redacted.Redacted<string> | undefined
}): RemoteDevices["Service"] => {
  const { credential, dial, directory } = options

  const link = (dialled: Dialled): Effect.Effect<Link, DeviceLost, Scope.Scope> => {
    const { address, device } = dialled
    return dial(address)(limits).pipe(
      Effect.mapError((error) => lost(device, address, error)),
      Effect.tapError((error) => error.cause instanceof TlsFailed ? Effect.logWarning(error.message) : Effect.void),
      Effect.map((wire) => new DialledLink(new DialledFrames(dialled, wire)))
    )
  }

  const open = (device: string, feed: FeedInfo): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> =>
    Effect.suspend((): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> => {
      const address = directory.find(device)
      if (address === undefined) {
        const detail = `it has no address; known are ${directory.members.names().join(", ") || "none"}`
        directory.failed(device)
        return Effect.fail(
          directory.mayChange
            ? new DeviceLost({ device, fate: "unknown", cause: new Error(detail) })
            // The addresses are fixed, so to try again would not help.
            : new FeedRefused({ device, reason: "invalid", detail })
        )
      }
      const counted = !directory.mayChange ?
        Effect.void :
        Effect.uninterruptible(Effect.flatMap(Effect.scope, (scope) => {
          directory.linked(device)
          return Scope.addFinalizer(scope, Effect.sync(() => directory.unlinked(device)))
        }))
      return Effect.andThen(counted, link({ device, feed, address, credential })).pipe(
        Effect.tapError(() => Effect.sync(() => directory.failed(device)))
      )
    })

  return { open, changes: directory.members.changes }
}
