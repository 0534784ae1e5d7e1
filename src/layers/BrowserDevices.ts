/**
 * A consumer in a browser, or anywhere else that has WebSockets: it dials a feeder that listens at a `ws://` or `wss://`
 * address with `SocketDevices.layerListen`. It needs nothing of Node.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Schedule from "effect/Schedule"
import * as Socket from "effect/socket/Socket"
import * as Device from "../actors/Device.ts"
import * as DeviceSpec from "../DeviceSpec.ts"
import type { Any, HostsOf } from "../Feed.ts"
import { isLocal, parse } from "../internal/socketAddress.ts"
import { dialIn, reconnect } from "../internal/socketDialIn.ts"
import { AddressInvalid, Unprotected } from "../internal/socketErrors.ts"
import { fromSocket } from "../internal/socketWire.ts"
import { DeviceLinks } from "../RemoteDevices.ts"

export { AddressInvalid, Unprotected } from "../internal/socketErrors.ts"

/**
 * What a page dials with, beside what every device is.
 *
 * @category models
 * @since 0.1.0
 */
export interface DialOptions<Feeds extends ReadonlyArray<Any>>
  extends Omit<Device.Options<Feeds>, "credentials" | "device">
{
  /** Where the feeder listens: `wss://feeder.example/feed`. */
  readonly url: string
  /** Its name, which no other may have. Default: a replica of `browser` with a random number. */
  readonly device?: string | undefined
  /** What the feeder's `Credentials` ask for. It is sent by `wss://`, or within this machine. Everyone sees it in a page. */
  readonly credential?: Redacted.Redacted<string> | undefined
  /** As in `SocketDevices.DialOptions`. */
  readonly reconnect?: Schedule.Schedule<unknown, unknown> | undefined
}

/** Most bytes of a frame: a page has less memory to spare than a process. */
const mostFrameBytes = 16 * 1024 * 1024

/**
 * Hosts feeds in this page, for a feeder that listens: it dials it, says what it hosts, and dials again whenever the link
 * is broken.
 *
 * **Gotchas**
 *
 * A page that is hidden is slowed down by its browser: give the feed a lease of a minute or more, or what is out there is
 * given to others meanwhile. A feeder without `Credentials` must list the page's origin in `origins`.
 *
 * **Example** (Frames of a camera on a canvas)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { Feed, Tensor } from "effect-feeder"
 * import * as BrowserDevices from "effect-feeder/layers/BrowserDevices"
 *
 * const Frames = Feed.make("frames", { element: Tensor.uint8([48, 64, 4]) })
 * const draw = (pixels: Uint8Array) => Effect.log(`${pixels.length} bytes are on the canvas`)
 * const page = Frames.forEach(draw).pipe(
 *   Effect.provide(BrowserDevices.layerDial({ feeds: [Frames], url: "wss://feeder.example/frames" }))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerDial = <const Feeds extends ReadonlyArray<Any>>(
  options: DialOptions<Feeds>
): Layer.Layer<HostsOf<Feeds>, AddressInvalid | Unprotected | Device.FeedNameTaken> =>
  Layer.effectContext(Effect.gen(function*() {
    const { credential, feeds, limits = {}, url } = options
    const name = options.device ?? `/job:browser/replica:${yield* Random.nextIntBetween(0, 2 ** 48)}`
    const invalid = (issue: string) => new AddressInvalid({ device: name, address: url, issue })
    const spec = DeviceSpec.fromString(name)
    if (Result.isFailure(spec)) return yield* invalid(spec.failure.issue)
    const parsed = parse(url)
    if (Result.isFailure(parsed)) return yield* invalid(parsed.failure)
    const address = parsed.success
    if (address._tag !== "Web") return yield* invalid("a page can only open WebSockets")
    if (credential !== undefined && !address.isSecure && !isLocal(address)) {
      const issue = "the credential could be read on its way; use wss://"
      return yield* new Unprotected({ address: address.text, issue })
    }
    // A socket of Effect's writes to where it was opened last, so that each link has its own.
    const socket = Effect.provide(
      Socket.makeWebSocket(address.text, { protocols: "effect-feeder" }),
      Socket.layerWebSocketConstructorGlobal
    )
    const frameBytes = limits.frameBytes ?? mostFrameBytes
    const device = DeviceSpec.canonicalName(spec.success)
    const links = yield* dialIn({
      device,
      feeds,
      credential,
      places: [{ text: address.text, open: (limits) => Effect.flatMap(socket, (own) => fromSocket(own)(limits)) }],
      reconnect: options.reconnect ?? reconnect,
      limits: {
        frameBytes,
        controlBytes: 1024 * 1024,
        elements: limits.elements ?? 1024 * 1024,
        stringBytes: mostFrameBytes
      },
      handshake: Duration.fromInputUnsafe(limits.handshake ?? "10 seconds")
    })
    const [, hosts] = yield* Effect.provideService(
      Device.make({
        feeds,
        device,
        feeders: options.feeders,
        windowBytes: options.windowBytes ?? mostFrameBytes,
        limits: { ...limits, frameBytes }
      }),
      DeviceLinks,
      links
    )
    return hosts
  }))
