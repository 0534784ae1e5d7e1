/**
 * Links over whatever carries bytes both ways, in order: what a Layer for a transport of one's own is made of.
 *
 * A `Wire` is all that the transport has to bring. `link` makes of it what `RemoteDevices.open` gives, `hostLink` what
 * `DeviceLinks.accept` gives: frames are written, cut, validated and limited there. `docs/own-layer.md` has a whole Layer.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Any } from "./Feed.ts"
import * as FrameCutter from "./internal/frameCutter.ts"
import type { RawFrame } from "./internal/frames.ts"
import * as Frames from "./internal/frames.ts"
import { linkOf } from "./internal/socketLink.ts"
import { makeReader } from "./internal/socketReader.ts"
import type { FrameWire } from "./internal/socketWire.ts"
import type { DeviceFrame, FeedInfo, HostLink, Link, Peer } from "./RemoteDevices.ts"
import { DeviceLost } from "./RemoteDevices.ts"

/**
 * One end of a connection that carries bytes both ways: they arrive in the order in which they were sent, none is left
 * out, none comes twice. In how many pieces they arrive does not matter.
 *
 * Both fail once the connection has ended; `DeviceLost` says with `fate` whether the device has certainly ended too. What
 * was sent before the end is received before the failure, as far as the transport still has it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Wire {
  /**
   * Sends the bytes of a frame, segment after segment, with nothing in between; succeeds when the transport can take more.
   * An interruption sends all of them or none. The segments must not be changed: they may be what a feeder keeps.
   */
  readonly send: (segments: ReadonlyArray<Uint8Array>) => Effect.Effect<void, DeviceLost>
  /** The next bytes, which nobody writes to any more: elements may be views of them. It has one reader. */
  readonly receive: Effect.Effect<Uint8Array, DeviceLost>
}

/**
 * How much a link takes. What is longer ends it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Most bytes of a batch's columns. Give `Device.Options` the same, which tells feeders of it. Default 64 MiB. */
  readonly frameBytes?: number | undefined
  /** Most bytes of any other frame. Default 1 MiB; 64 MiB on the feeder's side, where reports are that long. */
  readonly controlBytes?: number | undefined
  /** Most elements of a batch. Default 1,048,576. */
  readonly elements?: number | undefined
  /** Most bytes of one string of an element. Default 16 MiB. */
  readonly stringBytes?: number | undefined
}

const mebibyte = 1024 * 1024

/** The frames that a wire brings. */
const framesOf = (wire: Wire, limits: FrameCutter.Limits): FrameWire => {
  const cutter = FrameCutter.make(limits)
  const receive: Effect.Effect<RawFrame, unknown> = Effect.suspend(() => {
    const frame = cutter.frames.shift()
    if (frame !== undefined) return Effect.succeed(frame)
    return Effect.flatMap(wire.receive, (bytes) => {
      const malformed = cutter.take(bytes, true)
      return malformed === undefined ? receive : Effect.fail(malformed)
    })
  })
  return { send: wire.send, receive }
}

const lostAs = (device: string) => (cause: unknown): DeviceLost =>
  cause instanceof DeviceLost ? cause : new DeviceLost({ device, fate: "unknown", cause })

/**
 * The feeder's end of a wire as a link, for `RemoteDevices.open`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const link = (
  wire: Wire,
  options: { readonly device: string; readonly feed: FeedInfo; readonly limits?: Pick<Limits, "controlBytes"> }
): Link => {
  const { device, feed, limits = {} } = options
  const { receive, send } = linkOf({
    // A device sends no batches.
    wire: framesOf(wire, { frameBytes: 0, controlBytes: limits.controlBytes ?? 64 * mebibyte }),
    lost: lostAs(device),
    decode: Frames.decodeDeviceFrame,
    refusal: () => undefined
  })
  return { send: (frame) => send(Frames.encodeFeederFrame(frame, feed)), receive }
}

/**
 * The device's end of a wire as a link, for `DeviceLinks.accept`. `feeds` are those that the device hosts: what a feeder
 * sends is validated by them, and bytes that are not a frame of theirs are answered with `Refused`.
 *
 * **Details**
 *
 * Before it is admitted, a feeder may send no more at once than `controlBytes`. `peer` is what `Credentials` are told.
 *
 * **Example** (Two links over two queues of bytes)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer, Queue, Schema } from "effect"
 * import { Device, Feed, Feeder, RemoteDevices, Wire } from "effect-feeder"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int })
 *
 * const program = Effect.gen(function*() {
 *   const there = yield* Queue.bounded<Uint8Array, RemoteDevices.DeviceLost>(16)
 *   const back = yield* Queue.bounded<Uint8Array, RemoteDevices.DeviceLost>(16)
 *   const near = { send: (bytes: ReadonlyArray<Uint8Array>) => Queue.offerAll(there, bytes), receive: Queue.take(back) }
 *   const far = { send: (bytes: ReadonlyArray<Uint8Array>) => Queue.offerAll(back, bytes), receive: Queue.take(there) }
 *   const accepted = yield* Queue.make<RemoteDevices.HostLink>()
 *   yield* Queue.offer(accepted, Wire.hostLink(far, { feeds: [Numbers] }))
 *   const seen: Array<number> = []
 *   const consume = Numbers.forEach((n) => Effect.sync(() => seen.push(n))).pipe(
 *     Effect.provide(Device.layer({ feeds: [Numbers] })),
 *     Effect.provideService(RemoteDevices.DeviceLinks, { accept: Queue.take(accepted) })
 *   )
 *   const feed = Feeder.run(Numbers, { source: [1, 2, 3], devices: ["/job:consumer"] }).pipe(
 *     Effect.provideService(RemoteDevices.RemoteDevices, {
 *       open: (device, feed) => Effect.succeed(Wire.link(near, { device, feed }))
 *     })
 *   )
 *   yield* Effect.all([feed, consume], { concurrency: "unbounded" })
 *   return seen
 * })
 *
 * await Effect.runPromise(program) // => [1, 2, 3]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const hostLink = (
  wire: Wire,
  options: {
    readonly feeds: ReadonlyArray<Any>
    /** The name of the device, in what it fails with. */
    readonly device?: string | undefined
    readonly limits?: Limits | undefined
    readonly peer?: Peer | undefined
  }
): HostLink => {
  const { device = "here", feeds, limits = {}, peer } = options
  const reader = makeReader(feeds, {
    frameBytes: limits.frameBytes ?? 64 * mebibyte,
    controlBytes: limits.controlBytes ?? mebibyte,
    elements: limits.elements ?? mebibyte,
    stringBytes: limits.stringBytes ?? 16 * mebibyte
  })
  const { receive, send } = linkOf({
    wire: framesOf(wire, reader.limits),
    lost: lostAs(device),
    decode: reader.decode,
    refusal: ({ message }) =>
      Frames.encodeDeviceFrame({ _tag: "Refused", reason: "invalid", detail: message, retry: false })
  })
  return {
    peer,
    send: (frame: DeviceFrame) => {
      if (frame._tag === "Welcome") reader.welcomed()
      return send(Frames.encodeDeviceFrame(frame))
    },
    receive
  }
}
