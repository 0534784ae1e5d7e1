/**
 * Devices on other processes and machines, over TCP.
 *
 * The consumer's process listens (`layerHost`); the feeder dials the addresses it is given (`layer`).
 *
 * **Gotchas**
 *
 * There is no authentication yet. A host listens on the loopback interface unless it is told otherwise.
 *
 * @since 0.1.0
 */
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Socket from "effect/socket/Socket"
import * as Device from "../actors/Device.ts"
import * as DeviceSpec from "../DeviceSpec.ts"
import type { Any, HostsOf } from "../Feed.ts"
import type { MalformedFrame, RawFrame } from "../internal/frames.ts"
import * as Frames from "../internal/frames.ts"
import { listen } from "../internal/processSignals.ts"
import type { FeedInfo, HostLink, Link } from "../RemoteDevices.ts"
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
      `write it as "tcp://host:port", and each device and address once`
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

/** Most bytes of one frame, either way, unless a host says otherwise: 64 MiB. */
const frameBytes = 64 * 1024 * 1024

/** What a batch may take beside its elements. */
const headBytes = 1024 * 1024

/** Most elements of one frame. */
const maxElements = 1024 * 1024

// -----------------------------------------------------------------------------
// the feeder's side
// -----------------------------------------------------------------------------

const parse = (device: string, address: string): Effect.Effect<{ host: string; port: number }, AddressInvalid> =>
  Effect.suspend(() => {
    const issue = (issue: string) => Effect.fail(new AddressInvalid({ device, address, issue }))
    if (!URL.canParse(address)) return issue("it is not a URL")
    const url = new URL(address)
    if (url.protocol !== "tcp:") return issue(`its protocol is ${url.protocol}`)
    if (url.port === "" || url.hostname === "") return issue("it needs a host and a port")
    return Effect.succeed({ host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port) })
  })

/**
 * `RemoteDevices` at fixed addresses, by device name: `{ "/job:consumer/replica:0": "tcp://127.0.0.1:4001" }`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  addresses: Readonly<Record<string, string>>
): Layer.Layer<RemoteDevices, AddressInvalid> =>
  Layer.effect(
    RemoteDevices,
    Effect.gen(function*() {
      const known = new Map<string, { host: string; port: number }>()
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
        known.set(device, parsed)
        used.set(place, device)
      }
      const open = (device: string, feed: FeedInfo): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> =>
        Effect.gen(function*() {
          const address = known.get(device)
          if (address === undefined) {
            // The addresses are fixed, so to try again would not help.
            const detail = `it has no address; known are ${[...known.keys()].join(", ") || "none"}`
            return yield* new FeedRefused({ device, reason: "invalid", detail })
          }
          const socket = yield* NodeSocket.makeNet({ ...address, noDelay: true })
          const lost = (cause: unknown) => new DeviceLost({ device, fate: fateOf(cause), cause: rootOf(cause) })
          const { receive, send } = yield* connect({
            socket,
            lost,
            decode: Frames.decodeDeviceFrame,
            refusal: () => undefined,
            frameBytes
          })
          return { send: (frame) => send(Frames.encodeFeederFrame(frame, feed)), receive }
        })
      return { open }
    })
  )

const rootOf = (cause: unknown): unknown => {
  let root = cause
  while (typeof root === "object" && root !== null) {
    const inner = "reason" in root ? root.reason : "cause" in root ? root.cause : undefined
    if (typeof inner !== "object" || inner === null) break
    root = inner
  }
  return root
}

/** Nobody listens at a refused address, so whoever did has ended, and its memory with it. */
const fateOf = (cause: unknown): "gone" | "unknown" => {
  const root = rootOf(cause)
  return typeof root === "object" && root !== null && "code" in root && root.code === "ECONNREFUSED"
    ? "gone"
    : "unknown"
}

// -----------------------------------------------------------------------------
// both sides
// -----------------------------------------------------------------------------

type Segments = readonly [Uint8Array, ...Array<Uint8Array>]

interface Connection<F> {
  readonly send: (segments: Segments) => Effect.Effect<void, DeviceLost>
  readonly receive: Effect.Effect<F, DeviceLost>
}

/** Opens a socket as a link of frames. Bytes that are not a frame are told to the peer, if it can be, and end it. */
const connect = <F>(options: {
  readonly socket: Socket.Socket
  readonly lost: (cause: unknown) => DeviceLost
  readonly decode: (raw: RawFrame) => Result.Result<F, MalformedFrame>
  readonly refusal: (malformed: MalformedFrame) => Segments | undefined
  readonly frameBytes: number
}): Effect.Effect<Connection<F>, DeviceLost, Scope.Scope> =>
  Effect.gen(function*() {
    const { lost } = options
    const { pull } = yield* Effect.mapError(options.socket.reader, lost)
    const writer = yield* options.socket.writer
    const cut = Frames.makeCutter({ frameBytes: options.frameBytes })
    const ready: Array<RawFrame> = []
    const send = (segments: Segments) => Effect.mapError(writer.writeAll(segments), lost)
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

// -----------------------------------------------------------------------------
// the consumer's side
// -----------------------------------------------------------------------------

/**
 * What a host is made with, beside what every device is.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostOptions<Feeds extends ReadonlyArray<Any>> extends Device.Options<Feeds> {
  readonly port: number
  /** Default `"127.0.0.1"`. */
  readonly host?: string | undefined
  /** Most bytes of one frame, told to feeders. Default 64 MiB. */
  readonly frameBytes?: number | undefined
  /**
   * On SIGTERM the host says that it is leaving, and its consumers finish what is held for at most this long. A second
   * signal ends them at once. Default 30 seconds.
   */
  readonly gracePeriod?: Duration.Input | undefined
}

const layerLinks = (options: {
  readonly feeds: ReadonlyArray<Any>
  readonly host: string
  readonly port: number
  readonly frameBytes: number
}): Layer.Layer<DeviceLinks, ListenFailed> =>
  Layer.effect(
    DeviceLinks,
    Effect.gen(function*() {
      const address = `${options.host}:${options.port}`
      const server = yield* Effect.mapError(
        NodeSocketServer.make({ host: options.host, port: options.port, noDelay: true }),
        (error) => new ListenFailed({ address, cause: rootOf(error) })
      )
      const feeds = new Map(options.feeds.map((feed) => [feed.name, feed.info]))
      const accepted = yield* Queue.bounded<{ readonly socket: Socket.Socket; readonly end: Deferred.Deferred<void> }>(
        16
      )
      yield* Effect.forkScoped(server.run((socket) =>
        Effect.flatMap(Effect.serviceOption(NodeSocket.NetSocket), (connection) => {
          const end = Deferred.makeUnsafe<void>()
          return Effect.andThen(Queue.offer(accepted, { socket, end }), Deferred.await(end)).pipe(
            // One that nobody opened is closed here, or the server would wait for it when it closes.
            Effect.ensuring(Effect.sync(() => Option.getOrUndefined(connection)?.destroySoon()))
          )
        })
      ))
      const lost = (cause: unknown) =>
        new DeviceLost({ device: address, fate: "unknown", cause: rootOf(cause) })
      const open = (socket: Socket.Socket): Effect.Effect<HostLink, DeviceLost, Scope.Scope> => {
        let feed: FeedInfo | undefined
        return Effect.map(
          connect({
            socket,
            lost,
            decode: (raw) =>
              Result.map(Frames.decodeFeederFrame(raw, feed, { elements: maxElements }), (frame) => {
                if (frame._tag === "Hello") feed = feeds.get(frame.feed)
                return frame
              }),
            refusal: ({ message }) =>
              Frames.encodeDeviceFrame({ _tag: "Refused", reason: "invalid", detail: message, retry: false }),
            frameBytes: options.frameBytes + headBytes
          }),
          ({ receive, send }) => ({ send: (frame) => send(Frames.encodeDeviceFrame(frame)), receive })
        )
      }
      const accept: Effect.Effect<HostLink, never, Scope.Scope> = Effect.suspend(() =>
        Effect.flatMap(
          Effect.acquireRelease(Queue.take(accepted), ({ end }) => Deferred.succeed(end, undefined), {
            interruptible: true
          }),
          // A connection that broke before it was looked at is nobody's concern.
          ({ socket }) => Effect.catch(open(socket), () => accept)
        )
      )
      return { accept }
    })
  )

/**
 * Hosts feeds in this process, for feeders that dial `port`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHost = <const Feeds extends ReadonlyArray<Any>>(
  options: HostOptions<Feeds>
): Layer.Layer<HostsOf<Feeds>, ListenFailed | Device.FeedNameTaken> =>
  Layer.effectContext(Effect.gen(function*() {
    const [device, hosts] = yield* Device.make({ ...options, frameBytes: options.frameBytes ?? frameBytes })
    yield* leaveOnSigterm(device, options.gracePeriod ?? "30 seconds")
    return hosts
  })).pipe(
    Layer.provide(layerLinks({
      feeds: options.feeds,
      host: options.host ?? "127.0.0.1",
      port: options.port,
      frameBytes: options.frameBytes ?? frameBytes
    }))
  )

/** Ahead of the listeners of the program's runtime, so that the loops it interrupts know that the process is leaving. */
const leaveOnSigterm = (device: Device.Device, gracePeriod: Duration.Input): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<Scope.Scope>()
    const runFork = Effect.runForkWith(context)
    let isLeaving = false
    const onSignal = (signal: NodeJS.Signals) => {
      if (isLeaving) {
        runFork(device.abandon)
      } else if (signal === "SIGTERM") {
        isLeaving = true
        runFork(device.leave(gracePeriod))
      }
    }
    yield* listen(onSignal)
  })
