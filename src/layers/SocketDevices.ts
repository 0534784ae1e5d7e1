/**
 * Devices on other processes and machines, over TCP, TLS, Unix sockets and WebSockets.
 *
 * Either the consumer's process listens (`layerHost`) and the feeder dials the addresses it is given (`layer`), or the
 * feeder listens (`layerListen`) and consumers dial it (`layerDial`): those may be behind a NAT, and need no address.
 *
 * **Gotchas**
 *
 * Without `Credentials` and without certificates of those who come, what listens does so on the loopback interface only.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Schedule from "effect/Schedule"
import * as Device from "../actors/Device.ts"
import { Credentials } from "../Credentials.ts"
import * as DeviceSpec from "../DeviceSpec.ts"
import type { Any, HostsOf } from "../Feed.ts"
import { onSigterm } from "../internal/processSignals.ts"
import type { Address } from "../internal/socketAddress.ts"
import { net, parse } from "../internal/socketAddress.ts"
import * as SocketDial from "../internal/socketDial.ts"
import { dialIn, reconnect } from "../internal/socketDialIn.ts"
import * as SocketDirectory from "../internal/socketDirectory.ts"
import * as SocketDns from "../internal/socketDns.ts"
import type { PackageMissing } from "../internal/socketErrors.ts"
import { AddressInvalid, ListenFailed, type Unprotected } from "../internal/socketErrors.ts"
import * as SocketHost from "../internal/socketHost.ts"
import { rootOf } from "../internal/socketLink.ts"
import type { HostTls, Limits, Options } from "../internal/socketOptions.ts"
import * as SocketOptions from "../internal/socketOptions.ts"
import * as SocketRegistry from "../internal/socketRegistry.ts"
import * as SocketRemote from "../internal/socketRemote.ts"
import type { TlsInvalid } from "../internal/socketTls.ts"
import * as SocketTls from "../internal/socketTls.ts"
import { makeUpgrade } from "../internal/socketWeb.ts"
import { DeviceLinks, RemoteDevices } from "../RemoteDevices.ts"

export { AddressInvalid, ListenFailed, PackageMissing, Unprotected } from "../internal/socketErrors.ts"
export type { ClientTls, HostTls, Limits, Options } from "../internal/socketOptions.ts"
export { TlsFailed, TlsInvalid } from "../internal/socketTls.ts"

const DnsTypeId = "~effect-feeder/layers/SocketDevices/Dns"

/** Why sockets cannot be used at all. */
type Invalid = AddressInvalid | Unprotected | TlsInvalid | PackageMissing

// -----------------------------------------------------------------------------
// the feeder dials
// -----------------------------------------------------------------------------

/**
 * Devices by the DNS, see `dns`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Dns extends SocketDns.DnsConfig {
  readonly [DnsTypeId]: typeof DnsTypeId
}

const isDns = (u: unknown): u is Dns => Predicate.hasProperty(u, DnsTypeId)

/**
 * Devices by the DNS, looked up `every` so often (default 30 seconds), and when one cannot be reached: the records of
 * `srv`, or all addresses of `host`, such as of a headless service, with a `port`. They are the replicas of `job`, from 0
 * on. One whose record is gone leaves; a new one takes the lowest number whose record is gone and that has no link left.
 *
 * **Details**
 *
 * `secure` dials them by TLS. `servers` are asked instead of those of the system. When the DNS does not answer, the
 * devices that are known stay. With `Feeder.run({ devices: "all" })` devices are fed as their records come.
 *
 * **Example** (All pods of a headless service)
 *
 * ```ts import.meta.vitest
 * import * as SocketDevices from "effect-feeder/layers/SocketDevices"
 *
 * const pods = SocketDevices.layer(SocketDevices.dns({ srv: "_feed._tcp.consumers.default.svc.cluster.local", job: "consumer" }))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const dns = (
  options: SocketDns.Query & {
    readonly job: string
    readonly every?: Duration.Input | undefined
    readonly secure?: boolean | undefined
    readonly servers?: ReadonlyArray<string> | undefined
  }
): Dns => ({
  [DnsTypeId]: DnsTypeId,
  query: options.srv === undefined ? { host: options.host, port: options.port } : { srv: options.srv },
  job: options.job,
  isSecure: options.secure ?? false,
  every: Duration.fromInputUnsafe(options.every ?? "30 seconds"),
  servers: options.servers
})

const remote = (
  addresses: Readonly<Record<string, string>> | Dns,
  options: Options
): Layer.Layer<RemoteDevices, Invalid> =>
  Layer.effect(
    RemoteDevices,
    Effect.gen(function*() {
      const { credential, tls = {} } = options
      if (isDns(addresses)) {
        const job = Result.try({
          try: () => DeviceSpec.make({ job: addresses.job }),
          catch: (thrown) => thrown instanceof DeviceSpec.DeviceSpecError ? thrown.issue : String(thrown)
        })
        const { query } = addresses
        const name = query.srv ?? query.host
        if (Result.isFailure(job)) {
          return yield* new AddressInvalid({ device: addresses.job, address: name, issue: job.failure })
        }
        yield* SocketOptions.protectCredential(net(name, query.port ?? 0, addresses.isSecure), options)
        const dial = yield* SocketDial.make([], tls)
        return SocketRemote.make({ directory: yield* SocketDns.look(addresses), dial, credential })
      }
      const known = yield* SocketDirectory.read(addresses)
      for (const address of known.values()) yield* SocketOptions.protectCredential(address, options)
      const dial = yield* SocketDial.make(known.values(), tls)
      return SocketRemote.make({ directory: SocketDirectory.fixed(known), dial, credential })
    })
  )

/**
 * `RemoteDevices` that the feeder dials, at addresses by device name: `{ "/job:consumer/replica:0": "tcp://127.0.0.1:4001" }`.
 * An address begins with `tcp://`, `tls://` for hosts that have a certificate, `unix://`, `ws://` or `wss://`. They may
 * come from a `Config`, or from the `dns`.
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
export const layer: {
  (
    addresses: Readonly<Record<string, string>> | Dns,
    options?: Options
  ): Layer.Layer<RemoteDevices, AddressInvalid | Unprotected | TlsInvalid | PackageMissing>
  (
    addresses: Config.Config<Readonly<Record<string, string>>>,
    options?: Options
  ): Layer.Layer<RemoteDevices, AddressInvalid | Unprotected | TlsInvalid | PackageMissing | Config.ConfigError>
} = (
  addresses: Readonly<Record<string, string>> | Dns | Config.Config<Readonly<Record<string, string>>>,
  options: Options = {}
): Layer.Layer<RemoteDevices, Invalid> =>
  // What a Config may fail with is told by the overload that takes one.
  Config.isConfig(addresses)
    ? Layer.unwrap(Effect.map(addresses, (read) => remote(read, options))) as Layer.Layer<RemoteDevices, Invalid>
    : remote(addresses, options)

// -----------------------------------------------------------------------------
// the consumer listens
// -----------------------------------------------------------------------------

/**
 * What a host is made with, but for where it listens.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostSettings<Feeds extends ReadonlyArray<Any>> extends Omit<Device.Options<Feeds>, "credentials"> {
  readonly tls?: HostTls | undefined
  readonly limits?: Limits | undefined
  /**
   * On SIGTERM the host says that it is leaving, and its consumers finish what is held for at most this long. A second
   * signal ends them at once. Default 30 seconds.
   */
  readonly gracePeriod?: Duration.Input | undefined
}

/**
 * Where to listen: at a port, or at a URL: `unix:///run/consumer.sock`, `tcp://127.0.0.1:4001`, `tls://0.0.0.0:4001`,
 * `ws://127.0.0.1:8080` or `wss://0.0.0.0:8443`. Those that are secure need `tls`.
 *
 * @category models
 * @since 0.1.0
 */
export type Place = {
  readonly port: number
  /** Default `"127.0.0.1"`. Any other than a loopback address needs `Credentials`, or certificates of those who come. */
  readonly host?: string | undefined
  readonly url?: undefined
} | {
  readonly url: string
  readonly port?: undefined
  readonly host?: undefined
  /**
   * The pages that may open a WebSocket here, such as `["https://app.example"]`. By default any if there are
   * `Credentials`, else none. What is no page of a browser has no origin, and is not asked for one.
   */
  readonly origins?: ReadonlyArray<string> | undefined
}

/**
 * What a host is made with, beside what every device is.
 *
 * @category models
 * @since 0.1.0
 */
export type HostOptions<Feeds extends ReadonlyArray<Any>> = HostSettings<Feeds> & Place

/** What listens needs an address, and what it takes to be safe there. */
const listener = (
  options: Place & { readonly tls?: HostTls | undefined; readonly limits?: Limits | undefined },
  peers: "feeders" | "devices"
) =>
  Effect.gen(function*() {
    const { limits = {}, tls, url } = options
    const credentials = Option.getOrUndefined(yield* Effect.serviceOption(Credentials))
    const hasCredentials = credentials !== undefined
    const invalid = (issue: string) => new AddressInvalid({ device: "here", address: url ?? "", issue })
    const parsed = url === undefined
      ? Result.succeed(net(options.host ?? "127.0.0.1", options.port, tls !== undefined))
      : parse(url)
    if (Result.isFailure(parsed)) return yield* invalid(parsed.failure)
    const address: Address = parsed.success
    if (address.isSecure !== (tls !== undefined)) {
      return yield* invalid(tls === undefined ? "it needs `tls`" : "`tls` is for addresses that are secure")
    }
    const name = address._tag === "Net" && url === undefined ? `${address.host}:${address.port}` : address.text
    const announce = yield* SocketOptions.protectListener({ address, name, peers, tls, hasCredentials })
    const origins = url === undefined ? undefined : options.origins
    return {
      announce,
      credentials,
      failed: (error: unknown) => new ListenFailed({ address: name, cause: rootOf(error) }),
      config: {
        address,
        secure: tls === undefined ? undefined : yield* SocketTls.makeSecure(tls),
        upgrade: address._tag === "Web" ? yield* makeUpgrade({ origins, hasCredentials }) : undefined,
        ...SocketOptions.listenerLimits(limits)
      }
    }
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
  options: Pick<HostSettings<Feeds>, "feeds" | "tls" | "limits"> & Place
): Layer.Layer<DeviceLinks, AddressInvalid | ListenFailed | Unprotected | TlsInvalid | PackageMissing> =>
  Layer.effect(
    DeviceLinks,
    Effect.gen(function*() {
      const { announce, config, failed } = yield* listener(options, "feeders")
      const limits = SocketOptions.frameLimits(options.limits ?? {})
      const links = yield* Effect.mapError(SocketHost.listen({ ...config, feeds: options.feeds, limits }), failed)
      yield* announce
      return links
    })
  )

/**
 * Hosts feeds in this process, for feeders that dial it. If there are `Credentials`, feeders are checked with them
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
): Layer.Layer<
  HostsOf<Feeds>,
  AddressInvalid | ListenFailed | Unprotected | TlsInvalid | PackageMissing | Device.FeedNameTaken
> =>
  Layer.effectContext(Effect.gen(function*() {
    const { announce, config, credentials, failed } = yield* listener(options, "feeders")
    const limits = SocketOptions.frameLimits(options.limits ?? {})
    const links = yield* Effect.mapError(SocketHost.listen({ ...config, feeds: options.feeds, limits }), failed)
    yield* announce
    const [device, hosts] = yield* Effect.provideService(
      Device.make({ ...options, credentials, limits: { ...options.limits, frameBytes: limits.frameBytes } }),
      DeviceLinks,
      links
    )
    yield* onSigterm({ gently: device.leave(options.gracePeriod ?? "30 seconds"), atOnce: device.abandon })
    return hosts
  }))

// -----------------------------------------------------------------------------
// the consumer dials
// -----------------------------------------------------------------------------

/**
 * What a feeder listens with.
 *
 * @category models
 * @since 0.1.0
 */
export type ListenOptions = Place & {
  readonly tls?: HostTls | undefined
  readonly limits?: Limits | undefined
}

/**
 * `RemoteDevices` that dial this feeder: consumers with `layerDial`. If there are `Credentials`, they are checked with
 * them, for each of their feeds, before they are told anything.
 *
 * **Details**
 *
 * With `Feeder.run({ devices: "all" })` they are fed as they appear. One whose links have all ended for longer than a
 * lease is removed from the feeder: what is out there goes elsewhere. Devices may also be named, and are waited for.
 *
 * **Gotchas**
 *
 * That a device is gone is never known for certain, so that what was out at one that died waits for its lease to end, or
 * for another process of that name.
 *
 * **Example** (Consumers that come and go)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { Feed, Feeder } from "effect-feeder"
 * import * as SocketDevices from "effect-feeder/layers/SocketDevices"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int })
 * const seen: Array<number> = []
 * const feed = Feeder.run(Numbers, { source: [1, 2, 3], devices: "all" }).pipe(
 *   Effect.provide(SocketDevices.layerListen({ url: "unix:///tmp/effect-feeder-example.sock" }))
 * )
 * const consume = Numbers.forEach((n) => Effect.sync(() => seen.push(n))).pipe(
 *   Effect.provide(SocketDevices.layerDial({ feeds: [Numbers], url: "unix:///tmp/effect-feeder-example.sock" }))
 * )
 * await Effect.runPromise(Effect.all([feed, consume], { concurrency: "unbounded" }))
 *
 * seen // => [1, 2, 3]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerListen = (
  options: ListenOptions
): Layer.Layer<RemoteDevices, AddressInvalid | ListenFailed | Unprotected | TlsInvalid | PackageMissing> =>
  Layer.effect(
    RemoteDevices,
    Effect.gen(function*() {
      const { announce, config, credentials, failed } = yield* listener(options, "devices")
      const { controlBytes, frameBytes } = SocketOptions.frameLimits(options.limits ?? {})
      const devices = yield* Effect.mapError(
        SocketRegistry.listen({ ...config, credentials, controlBytes, frameBytes }),
        failed
      )
      yield* announce
      return devices
    })
  )

/**
 * What a consumer dials with, beside what every device is.
 *
 * @category models
 * @since 0.1.0
 */
export interface DialOptions<Feeds extends ReadonlyArray<Any>>
  extends Omit<Device.Options<Feeds>, "credentials" | "device">, Options
{
  /** Where the feeder listens, or the feeders do: `tcp://feeder:4001`, or with any other protocol of an address. */
  readonly url: string | ReadonlyArray<string>
  /** Its name, which no other may have. Default: a replica of `consumer` with a random number. */
  readonly device?: string | undefined
  /**
   * When to dial again after a failure; it begins anew when a feeder has accepted the device. Default: after 0.1 seconds,
   * then twice as long each time, up to 10 seconds, all give or take a fifth.
   */
  readonly reconnect?: Schedule.Schedule<unknown, unknown> | undefined
  readonly limits?: Limits | undefined
  /** See `HostSettings`. */
  readonly gracePeriod?: Duration.Input | undefined
}

/**
 * Hosts feeds in this process, for feeders that listen: it dials them, says what it hosts, and keeps a link ready with
 * each of them, for as long as it lives.
 *
 * **Gotchas**
 *
 * A feeder that cannot be reached, or that refuses the device, is tried again and again, with a warning at the first of
 * several failures: nothing fails when a feeder is started later. Whoever answers at the address feeds this consumer: use
 * TLS where that could be another.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerDial = <const Feeds extends ReadonlyArray<Any>>(
  options: DialOptions<Feeds>
): Layer.Layer<HostsOf<Feeds>, AddressInvalid | Unprotected | TlsInvalid | PackageMissing | Device.FeedNameTaken> =>
  Layer.effectContext(Effect.gen(function*() {
    const { credential, feeds, tls = {}, url } = options
    const name = options.device ?? `/job:consumer/replica:${yield* Random.nextIntBetween(0, 2 ** 48)}`
    const spec = DeviceSpec.fromString(name)
    const addresses: Array<Address> = []
    for (const text of typeof url === "string" ? [url] : url) {
      const parsed = Result.flatMap(Result.mapError(spec, ({ issue }) => issue), () => parse(text))
      if (Result.isFailure(parsed)) {
        return yield* new AddressInvalid({ device: name, address: text, issue: parsed.failure })
      }
      yield* SocketOptions.protectCredential(parsed.success, options)
      addresses.push(parsed.success)
    }
    const device = Result.isSuccess(spec) ? DeviceSpec.canonicalName(spec.success) : name
    const dial = yield* SocketDial.make(addresses, tls)
    const limits = SocketOptions.frameLimits(options.limits ?? {})
    const links = yield* dialIn({
      device,
      feeds,
      credential,
      places: addresses.map((address) => ({
        text: address.text,
        open: dial(address),
        explain: (cause) => SocketTls.failureOf(address.text, cause) ?? cause
      })),
      reconnect: options.reconnect ?? reconnect,
      limits,
      handshake: SocketOptions.listenerLimits(options.limits ?? {}).handshake
    })
    const [made, hosts] = yield* Effect.provideService(
      Device.make({
        feeds,
        device,
        feeders: options.feeders,
        windowBytes: options.windowBytes,
        limits: { ...options.limits, frameBytes: limits.frameBytes }
      }),
      DeviceLinks,
      links
    )
    yield* onSigterm({ gently: made.leave(options.gracePeriod ?? "30 seconds"), atOnce: made.abandon })
    return hosts
  }))
