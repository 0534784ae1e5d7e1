/**
 * Devices on other processes and machines, over TCP.
 *
 * The consumer's process listens (`layerHost`); the feeder dials the addresses it is given (`layer`).
 *
 * **Gotchas**
 *
 * Without `Credentials` and without certificates of feeders, a host listens on the loopback interface only.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import * as Device from "../actors/Device.ts"
import { Credentials } from "../Credentials.ts"
import * as DeviceSpec from "../DeviceSpec.ts"
import type { Any, HostsOf } from "../Feed.ts"
import * as Frames from "../internal/frames.ts"
import { onSigterm } from "../internal/processSignals.ts"
import * as SocketHost from "../internal/socketHost.ts"
import { connect, rootOf } from "../internal/socketLink.ts"
import * as SocketNet from "../internal/socketNet.ts"
import * as SocketTls from "../internal/socketTls.ts"
import { TlsFailed, type TlsInvalid } from "../internal/socketTls.ts"
import type { FeedInfo, Link } from "../RemoteDevices.ts"
import { DeviceLinks, DeviceLost, FeedRefused, RemoteDevices } from "../RemoteDevices.ts"

const TypeId = "~effect-feeder/layers/SocketDevices"

/**
 * An address, or the name of a device, that makes no sense.
 *
 * @category errors
 * @since 0.1.0
 */
export class AddressInvalid extends Schema.Error<AddressInvalid>(`${TypeId}/AddressInvalid`)({
  _tag: Schema.tag("AddressInvalid"),
  device: Schema.String,
  address: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `the address "${this.address}" of device "${this.device}" is not usable: ${this.issue}; ` +
      `write it as "tcp://host:port" or "tls://host:port", and each device and address once`
  }
}

/**
 * A host cannot listen where it is told to.
 *
 * @category errors
 * @since 0.1.0
 */
export class ListenFailed extends Schema.Error<ListenFailed>(`${TypeId}/ListenFailed`)({
  _tag: Schema.tag("ListenFailed"),
  address: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    const why = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `cannot listen at ${this.address}: ${why}; is another host running there?`
  }
}

/**
 * A device would be open to anyone, or a credential readable on its way.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unprotected extends Schema.Error<Unprotected>(`${TypeId}/Unprotected`)({
  _tag: Schema.tag("Unprotected"),
  address: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `${this.address} would be unprotected: ${this.issue}`
  }
}

export { TlsFailed, TlsInvalid } from "../internal/socketTls.ts"

/** Most bytes of one frame, either way, unless a host says otherwise: 64 MiB. */
const frameBytes = 64 * 1024 * 1024

/** Whether only this machine can reach it. */
const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || (Net.isIPv4(host) && host.startsWith("127."))

// -----------------------------------------------------------------------------
// the feeder's side
// -----------------------------------------------------------------------------

/**
 * How a feeder proves who it is, and which hosts it trusts.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What the devices' `Credentials` ask for. It is sent to each device, and only over TLS or within this machine. */
  readonly credential?: Redacted.Redacted<string> | undefined
  /** Sends the credential also where others may read it. */
  readonly allowPlaintextCredential?: boolean | undefined
  /** For addresses that begin with `tls://`. */
  readonly tls?: ClientTls | undefined
}

/**
 * TLS on the feeder's side. All texts are PEM.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClientTls {
  /** The authorities that may have signed the host's certificate. By default those that Node trusts. */
  readonly ca?: string | ReadonlyArray<string> | undefined
  /** The feeder's own certificate and key, for hosts that ask for one. */
  readonly cert?: string | undefined
  readonly key?: string | Redacted.Redacted<string> | undefined
  readonly passphrase?: Redacted.Redacted<string> | undefined
  /** The name that the host's certificate must have. By default that of its address. */
  readonly servername?: string | undefined
  /** Default `"TLSv1.3"`. */
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined
}

interface Address {
  readonly isSecure: boolean
  readonly host: string
  readonly port: number
}

const parse = (device: string, address: string): Effect.Effect<Address, AddressInvalid> =>
  Effect.suspend(() => {
    const issue = (issue: string) => Effect.fail(new AddressInvalid({ device, address, issue }))
    if (!URL.canParse(address)) return issue("it is not a URL")
    const url = new URL(address)
    if (url.protocol !== "tcp:" && url.protocol !== "tls:") return issue(`its protocol is ${url.protocol}`)
    if (url.port === "" || url.hostname === "") return issue("it needs a host and a port")
    const host = url.hostname.replace(/^\[|\]$/g, "")
    return Effect.succeed({ isSecure: url.protocol === "tls:", host, port: Number(url.port) })
  })

/**
 * `RemoteDevices` at fixed addresses, by device name: `{ "/job:consumer/replica:0": "tcp://127.0.0.1:4001" }`, or with
 * `tls://` for hosts that have a certificate.
 *
 * **Gotchas**
 *
 * A host whose certificate is not good counts as a failure of its device, since it may be renewed: the budget decides how
 * often it is tried. Each try is logged as a warning. A refused credential, or a refused certificate of the feeder, is
 * not tried again.
 *
 * **Example** (With a credential, over TLS)
 *
 * ```ts import.meta.vitest
 * import { Config, Effect, FileSystem, Layer } from "effect"
 * import * as SocketDevices from "effect-feeder/layers/SocketDevices"
 *
 * const devices = Layer.unwrap(Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   const credential = yield* Config.Redacted("FEED_SECRET")
 *   const tls = { ca: yield* fs.readFileString("authority.crt") }
 *   return SocketDevices.layer({ "/job:consumer/replica:0": "tls://consumer.example:4001" }, { credential, tls })
 * }))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  addresses: Readonly<Record<string, string>>,
  options: Options = {}
): Layer.Layer<RemoteDevices, AddressInvalid | Unprotected | TlsInvalid> =>
  Layer.effect(
    RemoteDevices,
    Effect.gen(function*() {
      const { allowPlaintextCredential = false, credential, tls = {} } = options
      const known = new Map<string, Address>()
      const used = new Map<string, string>()
      for (const [name, address] of Object.entries(addresses)) {
        const spec = DeviceSpec.fromString(name)
        if (Result.isFailure(spec)) {
          return yield* new AddressInvalid({ device: name, address, issue: spec.failure.issue })
        }
        const device = DeviceSpec.canonicalName(spec.success)
        const parsed = yield* parse(device, address)
        const place = `${parsed.host}:${parsed.port}`
        const other = used.get(place) ?? (known.has(device) ? device : undefined)
        if (other !== undefined) return yield* new AddressInvalid({ device, address, issue: `${other} has it too` })
        if (credential !== undefined && !parsed.isSecure && !isLoopback(parsed.host) && !allowPlaintextCredential) {
          const issue = "the credential could be read on its way; " +
            `use "tls://${place}", or set \`allowPlaintextCredential\` if the network is your own`
          return yield* new Unprotected({ address, issue })
        }
        known.set(device, parsed)
        used.set(place, device)
      }
      const context = yield* SocketTls.clientContext(tls)
      const open = (device: string, feed: FeedInfo): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> =>
        Effect.gen(function*() {
          const address = known.get(device)
          if (address === undefined) {
            // The addresses are fixed, so to try again would not help.
            const detail = `it has no address; known are ${[...known.keys()].join(", ") || "none"}`
            return yield* new FeedRefused({ device, reason: "invalid", detail })
          }
          const { host, isSecure, port } = address
          const place = `${isSecure ? "tls" : "tcp"}://${host}:${port}`
          const dialled = isSecure
            ? SocketTls.dial({ host, port, context, servername: tls.servername })
            : SocketNet.dial({ host, port })
          const lost = (error: unknown) => {
            const cause = rootOf(error)
            const fate = fateOf(cause)
            return new DeviceLost({ device, fate, cause: SocketTls.failureOf(place, cause) ?? cause })
          }
          const { receive, send } = yield* connect({
            open: dialled,
            lost,
            decode: Frames.decodeDeviceFrame,
            refusal: () => undefined,
            limits: { frameBytes: 0, controlBytes: frameBytes }
          }).pipe(
            Effect.tapError((error) =>
              error.cause instanceof TlsFailed ? Effect.logWarning(error.message) : Effect.void
            )
          )
          let hasAnswered = false
          const heard = Effect.sync(() => {
            hasAnswered = true
          })
          /** A host that expects TLS does not say so to one that speaks plain frames. */
          const unanswered = (error: DeviceLost) => {
            const { cause } = error
            if (hasAnswered || cause instanceof TlsFailed || cause instanceof Frames.MalformedFrame) return error
            const why = codeOf(cause) === undefined ? "" : ` (${codeOf(cause)})`
            const advice = isSecure ? "" : "; if it has a certificate, write its address as tls://"
            const early = new Error(`${place} ended the link before it answered${why}${advice}`)
            return new DeviceLost({ device, fate: error.fate, cause: early })
          }
          return {
            send: (frame) =>
              send(Frames.encodeFeederFrame(
                frame._tag === "Hello" && credential !== undefined
                  ? { ...frame, credential: Redacted.value(credential) }
                  : frame,
                feed
              )),
            receive: Effect.mapError(Effect.tap(receive, heard), unanswered)
          }
        })
      return { open }
    })
  )

/** The name of an error of the system. */
const codeOf = (root: unknown): string | undefined =>
  typeof root === "object" && root !== null && "code" in root && typeof root.code === "string" ? root.code : undefined

/** Nobody listens at a refused address, so whoever did has ended, and its memory with it. */
const fateOf = (root: unknown): "gone" | "unknown" => codeOf(root) === "ECONNREFUSED" ? "gone" : "unknown"

// -----------------------------------------------------------------------------
// the consumer's side
// -----------------------------------------------------------------------------

/**
 * How much a host takes, and from how many.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits extends Device.Limits {
  /** Most bytes of a control frame of a feeder, and of any frame before it is admitted. Default 1 MiB. */
  readonly controlBytes?: number | undefined
  /** Most bytes of one string of an element. Default 16 MiB. */
  readonly stringBytes?: number | undefined
  /** Most connections at once. One more is told that the host is busy, and may try again. Default 1024. */
  readonly connections?: number | undefined
  /**
   * Most connections at once that were not admitted yet. When there is one more, one of the address that has the most of
   * them is closed: the one that has been there the longest. Default a quarter of `connections`.
   */
  readonly strangers?: number | undefined
  /**
   * How many connections may come from one address in a second, for long; four times as many may come at once. One more
   * is told that the host is busy, and may try again. Default 100.
   */
  readonly connectionsPerSecond?: number | undefined
}

/**
 * TLS on the host's side. All texts are PEM.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostTls {
  readonly cert: string
  readonly key: string | Redacted.Redacted<string>
  readonly passphrase?: Redacted.Redacted<string> | undefined
  /**
   * The authorities that must have signed the certificate of a feeder. With it every feeder must present one; which may
   * feed what, `Credentials.layer` can say by the subject. By default feeders are asked for none.
   */
  readonly ca?: string | ReadonlyArray<string> | undefined
  /** Default `"TLSv1.3"`. */
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined
}

/**
 * What a host is made with, beside what every device is.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostOptions<Feeds extends ReadonlyArray<Any>> extends Omit<Device.Options<Feeds>, "credentials"> {
  readonly port: number
  /** Default `"127.0.0.1"`. Any other than a loopback address needs `Credentials`, or feeders' certificates. */
  readonly host?: string | undefined
  readonly tls?: HostTls | undefined
  readonly limits?: Limits | undefined
  /**
   * On SIGTERM the host says that it is leaving, and its consumers finish what is held for at most this long. A second
   * signal ends them at once. Default 30 seconds.
   */
  readonly gracePeriod?: Duration.Input | undefined
}

/** A host that anyone could feed is for this machine only. What there is to say of one is said once it listens. */
const protect = (options: {
  readonly host: string
  readonly address: string
  readonly tls: HostTls | undefined
  readonly hasCredentials: boolean
}): Effect.Effect<Effect.Effect<void>, Unprotected> => {
  const { address, hasCredentials, host, tls } = options
  const isLocal = isLoopback(host)
  if (hasCredentials || tls?.ca !== undefined) {
    return Effect.succeed(
      tls === undefined && !isLocal
        ? Effect.logWarning(
          `${address} has no certificate: credentials and elements can be read on their way; give \`tls\``
        )
        : Effect.void
    )
  }
  const issue = "whoever reaches it could feed it; provide `Credentials`, such as `Credentials.layerSecret`, " +
    "or give `tls.ca` to ask feeders for certificates, or listen on 127.0.0.1"
  return isLocal
    ? Effect.succeed(
      Effect.logInfo(`${address} is for feeders of this machine only, since it asks them for no credentials`)
    )
    : Effect.fail(new Unprotected({ address, issue }))
}

const listen = <const Feeds extends ReadonlyArray<Any>>(
  options: Pick<HostOptions<Feeds>, "feeds" | "host" | "port" | "tls" | "limits">
): Effect.Effect<DeviceLinks["Service"], ListenFailed | Unprotected | TlsInvalid, Scope.Scope> =>
  Effect.gen(function*() {
    const { host = "127.0.0.1", limits = {}, port, tls } = options
    const { connections = 1024 } = limits
    const credentials = yield* Effect.serviceOption(Credentials)
    const address = `${host}:${port}`
    const announce = yield* protect({ host, address, tls, hasCredentials: Option.isSome(credentials) })
    const links = yield* Effect.mapError(
      SocketHost.listen({
        feeds: options.feeds,
        host,
        port,
        secure: tls === undefined ? undefined : yield* SocketTls.makeSecure(tls),
        door: {
          connections,
          strangers: limits.strangers ?? Math.ceil(connections / 4),
          perSecond: limits.connectionsPerSecond ?? 100
        },
        handshake: Duration.fromInputUnsafe(limits.handshake ?? "10 seconds"),
        frameBytes: limits.frameBytes ?? frameBytes,
        controlBytes: limits.controlBytes ?? 1024 * 1024,
        elements: limits.elements ?? 1024 * 1024,
        stringBytes: limits.stringBytes ?? 16 * 1024 * 1024
      }),
      (error) => new ListenFailed({ address, cause: rootOf(error) })
    )
    yield* announce
    return links
  })

/**
 * The links of the feeders that dial `port`, for a Layer that hosts devices itself: `Device.make` takes them, and checks
 * credentials. `layerHost` is this and one device.
 *
 * **Example** (What `layerHost` does, but for signals)
 *
 * ```ts import.meta.vitest
 * import { Layer, Schema } from "effect"
 * import { Feed } from "effect-feeder"
 * import * as Device from "effect-feeder/actors/Device"
 * import * as SocketDevices from "effect-feeder/layers/SocketDevices"
 *
 * const feeds = [Feed.make("pages", { element: Schema.String })] as const
 *
 * const host = Layer.provide(Device.layer({ feeds }), SocketDevices.layerLinks({ feeds, port: 4001 }))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerLinks = <const Feeds extends ReadonlyArray<Any>>(
  options: Pick<HostOptions<Feeds>, "feeds" | "host" | "port" | "tls" | "limits">
): Layer.Layer<DeviceLinks, ListenFailed | Unprotected | TlsInvalid> => Layer.effect(DeviceLinks, listen(options))

/**
 * Hosts feeds in this process, for feeders that dial `port`. If there are `Credentials`, feeders are checked with them
 * before they are told anything.
 *
 * **Example** (A host that the network may reach)
 *
 * ```ts import.meta.vitest
 * import { Config, Effect, FileSystem, Layer, Schema } from "effect"
 * import { Credentials, Feed } from "effect-feeder"
 * import * as SocketDevices from "effect-feeder/layers/SocketDevices"
 *
 * const Pages = Feed.make("pages", { element: Schema.String })
 *
 * const secret = Layer.unwrap(Effect.map(Config.Redacted("FEED_SECRET"), Credentials.layerSecret))
 * const host = Layer.unwrap(Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   const tls = { cert: yield* fs.readFileString("host.crt"), key: yield* fs.readFileString("host.key") }
 *   return SocketDevices.layerHost({ feeds: [Pages], host: "0.0.0.0", port: 4001, tls })
 * })).pipe(Layer.provide(secret))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHost = <const Feeds extends ReadonlyArray<Any>>(
  options: HostOptions<Feeds>
): Layer.Layer<HostsOf<Feeds>, ListenFailed | Unprotected | TlsInvalid | Device.FeedNameTaken> =>
  Layer.effectContext(Effect.gen(function*() {
    const links = yield* listen(options)
    const credentials = Option.getOrUndefined(yield* Effect.serviceOption(Credentials))
    const [device, hosts] = yield* Effect.provideService(
      Device.make({
        ...options,
        credentials,
        limits: { ...options.limits, frameBytes: options.limits?.frameBytes ?? frameBytes }
      }),
      DeviceLinks,
      links
    )
    yield* onSigterm({ gently: device.leave(options.gracePeriod ?? "30 seconds"), atOnce: device.abandon })
    return hosts
  }))
