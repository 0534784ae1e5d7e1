/**
 * Devices in the processes of a `Simulation`, over a simulated network: links that take their time, split what they
 * carry, break, hang and half-open.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { FeedNameTaken, Options as DeviceOptions } from "../actors/Device.ts"
import * as Device from "../actors/Device.ts"
import type { Any, HostsOf } from "../Feed.ts"
import * as Frames from "../internal/frames.ts"
import type { DeviceFrame, FeederFrame, FeedInfo, HostLink, Link } from "../RemoteDevices.ts"
import { DeviceLinks, DeviceLost, RemoteDevices } from "../RemoteDevices.ts"
import type { Process, Simulation } from "./Simulation.ts"
import { CurrentProcess } from "./Simulation.ts"

/**
 * What a network is made with.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly simulation: Simulation
  /** How long a frame, or a piece of one, is on its way, in milliseconds. Default: up to 10, by chance. */
  readonly delay?: (() => number) | undefined
  /** Frames that may be on their way in one direction of a link before its sender waits. Default 16. */
  readonly frames?: number | undefined
  /** Whether frames travel as bytes, in pieces of any size, or as they are. Default `true`. */
  readonly asBytes?: boolean | undefined
  /** Whether a process that was killed is known to be: its links end with the fate `gone`. Default `false`. */
  readonly isExitProven?: boolean | undefined
  /** Whether a machine dies with a killed process, so that nobody tells its peers. Default `false`. */
  readonly isSilent?: (() => boolean) | undefined
  /** Told of every frame that is sent and received, in that step. */
  readonly watch?: ((seen: Seen) => void) | undefined
}

/**
 * A frame that was given to the network, or taken from it.
 *
 * @category models
 * @since 0.1.0
 */
export type Seen =
  & { readonly connection: Connection; readonly what: "sent" | "received" }
  & ({ readonly from: "feeder"; readonly frame: FeederFrame } | {
    readonly from: "device"
    readonly frame: DeviceFrame
  })

/**
 * One connection between two processes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection {
  readonly id: number
  readonly device: string
  readonly feeder: Process
  readonly host: Process
  /** Ends it: both sides learn of it, each after a while. What is on its way is lost. */
  readonly reset: () => void
  /** Loses everything from now on, in both directions, and tells nobody. */
  readonly halfOpen: () => void
  /** Whether a sender would have to wait. */
  readonly isFull: (from: "feeder" | "device") => boolean
  /** Whether a side has neither closed it nor learned that it ended. */
  readonly isOpen: (at: "feeder" | "device") => boolean
}

/**
 * A simulated network.
 *
 * @category services
 * @since 0.1.0
 */
export class Network extends Context.Service<Network, {
  /** The connections that are open on at least one side. */
  readonly connections: () => ReadonlyArray<Connection>
  /** Holds back everything to and from a device; `heal` lets it go on. */
  readonly partition: (device: string) => void
  readonly heal: (device: string) => void
  readonly isPartitioned: (device: string) => boolean
  /** The process that answers for a device now. */
  readonly hostOf: (device: string) => Process | undefined
  readonly connect: (device: string, feeder: Process, feed: FeedInfo) => Effect.Effect<Link, DeviceLost, Scope.Scope>
  readonly listen: (device: string, host: Process, feeds: ReadonlyArray<Any>) => Effect.Effect<
    DeviceLinks["Service"],
    never,
    Scope.Scope
  >
}>()("effect-feeder/testing/SimulatedDevices/Network") {}

/** One side of a connection: its process, why it cannot go on, and who waits there. */
class Endpoint {
  readonly process: Process
  readonly waiting = new Set<() => void>()
  error: DeviceLost | undefined

  constructor(process: Process) {
    this.process = process
  }

  wake(): void {
    const all = [...this.waiting]
    this.waiting.clear()
    for (const wake of all) wake()
  }

  /** Waits to be woken, unless it can go on already: nothing may happen between the two. */
  until(canGoOn: () => boolean): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (canGoOn()) return resume(Effect.void)
      const wake = () => resume(Effect.void)
      this.waiting.add(wake)
      return Effect.sync(() => this.waiting.delete(wake))
    })
  }
}

/** How frames of one direction become bytes and back. */
interface Wire<F> {
  readonly encode: (frame: F) => ReadonlyArray<Uint8Array>
  readonly decode: (raw: Frames.RawFrame) => Result.Result<F, Frames.MalformedFrame>
}

interface Listener {
  readonly process: Process
  readonly feeds: ReadonlyMap<string, FeedInfo>
  readonly accepted: Array<HostLink & { readonly close: () => void }>
  /** Ends the links that came in and are open, at the device. */
  readonly open: Set<() => void>
  readonly endpoint: Endpoint
}

/**
 * Makes a network.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Network["Service"] => {
  const { simulation } = options
  const delay = options.delay ?? (() => simulation.random() * 10)
  const most = options.frames ?? 16
  const asBytes = options.asBytes ?? true
  const listeners = new Map<string, Listener>()
  const partitioned = new Map<string, Array<() => void>>()
  const connections = new Set<Connection>()
  let count = 0

  const lost = (device: string, fate: "gone" | "unknown", what: string) =>
    new DeviceLost({ device, fate, cause: new Error(what) })

  const whenHealed = (device: string, task: () => void) => {
    const waiting = partitioned.get(device)
    if (waiting === undefined) task()
    else waiting.push(task)
  }

  /** Any cut of the bytes into pieces is one that a network may make. */
  const pieces = (bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
    const all: Array<Uint8Array> = []
    for (let at = 0; at < bytes.length;) {
      const size = simulation.random() < 0.7 ? bytes.length : 1 + Math.floor(simulation.random() * bytes.length)
      all.push(bytes.subarray(at, at + size))
      at += size
    }
    return all
  }

  /** One direction of a connection. */
  const makePipe = <F>(
    device: string,
    from: Endpoint,
    to: Endpoint,
    wire: Wire<F>,
    watch: (what: Seen["what"], frame: F) => void
  ) => {
    const inbox: Array<F> = []
    const onTheWay: Array<() => void> = []
    const cut = Frames.makeCutter({ frameBytes: 2 ** 26 })
    let unread = 0
    let lastArrival = 0
    let isDead = false

    /** What is sent arrives in order, each part after a delay. */
    const carry = (arrive: () => void): void => {
      if (isDead) return
      onTheWay.push(arrive)
      lastArrival = Math.max(lastArrival, simulation.now() + delay())
      simulation.after(lastArrival - simulation.now(), () =>
        whenHealed(device, () => {
          // Tasks of a process may overtake each other, what arrives on a link may not.
          to.process.post(() => {
            const next = onTheWay.shift()
            if (!isDead) next?.()
          })
        }))
    }
    const deliver = (frame: F): void => {
      inbox.push(frame)
      to.wake()
    }
    const deliverBytes = (bytes: Uint8Array): void => {
      const raws = cut(bytes)
      for (const raw of Result.isSuccess(raws) ? raws.success : []) {
        const frame = wire.decode(raw)
        if (Result.isFailure(frame)) to.error ??= lost(device, "unknown", frame.failure.message)
        else deliver(frame.success)
      }
      if (Result.isFailure(raws)) to.error ??= lost(device, "unknown", raws.failure.message)
      to.wake()
    }
    const send = (frame: F): Effect.Effect<void, DeviceLost> =>
      Effect.suspend(() => {
        if (from.error !== undefined) return Effect.fail(from.error)
        if (unread >= most) {
          return Effect.andThen(from.until(() => unread < most || from.error !== undefined), send(frame))
        }
        unread++
        watch("sent", frame)
        if (asBytes) {
          for (const piece of pieces(Buffer.concat(wire.encode(frame)))) carry(() => deliverBytes(piece))
        } else {
          carry(() => deliver(frame))
        }
        return Effect.void
      })
    const receive: Effect.Effect<F, DeviceLost> = Effect.suspend(() => {
      const frame = inbox.shift()
      if (frame === undefined) {
        if (to.error !== undefined) return Effect.fail(to.error)
        return Effect.andThen(to.until(() => inbox.length > 0 || to.error !== undefined), receive)
      }
      unread--
      from.process.post(() => from.wake())
      watch("received", frame)
      return Effect.succeed(frame)
    })
    return {
      send,
      receive,
      carry,
      isFull: () => unread >= most,
      kill: () => {
        isDead = true
      },
      /** What has arrived and was not read is lost too. */
      clear: () => {
        inbox.length = 0
      }
    }
  }

  const establish = (device: string, listener: Listener, feederProcess: Process, feed: FeedInfo) => {
    const feeder = new Endpoint(feederProcess)
    const host = new Endpoint(listener.process)
    let info: FeedInfo | undefined
    const toDevice = makePipe<FeederFrame>(device, feeder, host, {
      encode: (frame) => Frames.encodeFeederFrame(frame, feed),
      decode: (raw) =>
        Result.map(Frames.decodeFeederFrame(raw, info, { elements: 2 ** 20 }), (frame) => {
          if (frame._tag === "Hello") info = listener.feeds.get(frame.feed)
          return frame
        })
    }, (what, frame) => options.watch?.({ connection, what, from: "feeder", frame }))
    const toFeeder = makePipe<DeviceFrame>(device, host, feeder, {
      encode: Frames.encodeDeviceFrame,
      decode: Frames.decodeDeviceFrame
    }, (what, frame) => options.watch?.({ connection, what, from: "device", frame }))

    const breakOff = () => {
      toDevice.kill()
      toFeeder.kill()
    }
    const end = (endpoint: Endpoint, error: DeviceLost) => {
      endpoint.error ??= error
      endpoint.wake()
      if (feeder.error !== undefined && host.error !== undefined) connections.delete(connection)
    }
    const connection: Connection = {
      id: ++count,
      device,
      feeder: feederProcess,
      host: listener.process,
      reset: () => {
        breakOff()
        for (const endpoint of [feeder, host]) {
          const tell = () => {
            if (simulation.random() < 0.5) (endpoint === host ? toDevice : toFeeder).clear()
            end(endpoint, lost(device, "unknown", "the connection was reset"))
          }
          simulation.after(delay(), () => endpoint.process.post(tell))
        }
      },
      halfOpen: breakOff,
      isFull: (from) => (from === "feeder" ? toDevice : toFeeder).isFull(),
      isOpen: (at) => (at === "feeder" ? feeder : host).error === undefined
    }
    const killed = (dead: Endpoint, other: Endpoint) => () => {
      if (dead.error !== undefined) return
      breakOff()
      end(dead, lost(device, "unknown", "this process was killed"))
      if (options.isSilent?.() === true) return
      const fate = options.isExitProven === true && dead === host ? "gone" : "unknown"
      const tell = () => end(other, lost(device, fate, "the process of its peer was killed"))
      simulation.after(delay(), () => whenHealed(device, () => other.process.post(tell)))
    }
    feederProcess.onKill(killed(feeder, host))
    listener.process.onKill(killed(host, feeder))

    /** The orderly end: what was sent before still arrives. */
    const close = (own: Endpoint) => () => {
      if (own.error !== undefined) return
      const [out, into, peer] = own === feeder ? [toDevice, toFeeder, host] : [toFeeder, toDevice, feeder]
      into.kill()
      out.carry(() => end(peer, lost(device, "unknown", "the peer closed the connection")))
      end(own, lost(device, "unknown", "the connection was closed"))
    }

    connections.add(connection)
    const closeAtDevice = () => {
      listener.open.delete(closeAtDevice)
      close(host)()
    }
    listener.process.post(() => {
      if (listeners.get(device) !== listener) return closeAtDevice()
      listener.open.add(closeAtDevice)
      listener.accepted.push({ send: toFeeder.send, receive: toDevice.receive, close: closeAtDevice })
      listener.endpoint.wake()
    })
    return { send: toDevice.send, receive: toFeeder.receive, close: close(feeder) }
  }

  return {
    connections: () => [...connections],
    partition: (device) => {
      if (!partitioned.has(device)) partitioned.set(device, [])
    },
    heal: (device) => {
      const waiting = partitioned.get(device) ?? []
      partitioned.delete(device)
      for (const task of waiting) task()
    },
    isPartitioned: (device) => partitioned.has(device),
    hostOf: (device) => listeners.get(device)?.process,
    connect: (device, process, feed) =>
      Effect.gen(function*() {
        yield* Effect.sleep(delay())
        const endpoint = new Endpoint(process)
        whenHealed(device, () => process.post(() => endpoint.wake()))
        yield* endpoint.until(() => !partitioned.has(device))
        const listener = listeners.get(device)
        // Whoever listened there has ended, if nobody does: only an address that is its alone proves it.
        if (listener === undefined) return yield* lost(device, "gone", "nobody listens there")
        return yield* Effect.acquireRelease(
          Effect.sync(() => establish(device, listener, process, feed)),
          ({ close }) => Effect.sync(close)
        )
      }),
    listen: (device, process, feeds) =>
      Effect.gen(function*() {
        const endpoint = new Endpoint(process)
        const listener: Listener = {
          process,
          endpoint,
          feeds: new Map(feeds.map((feed) => [feed.name, feed.info])),
          accepted: [],
          open: new Set()
        }
        const stop = () => {
          if (listeners.get(device) === listener) listeners.delete(device)
          // Also one that a fiber took and was interrupted before it could look after it.
          for (const close of listener.open) close()
        }
        process.onKill(stop)
        yield* Effect.acquireRelease(Effect.sync(() => listeners.set(device, listener)), () => Effect.sync(stop))
        const next: Effect.Effect<HostLink & { readonly close: () => void }> = Effect.suspend(() => {
          const link = listener.accepted.shift()
          return link === undefined
            ? Effect.andThen(endpoint.until(() => listener.accepted.length > 0), next)
            : Effect.succeed(link)
        })
        return {
          accept: Effect.acquireRelease(next, ({ close }) => Effect.sync(close), { interruptible: true })
        }
      })
  }
}

/**
 * `RemoteDevices` for a simulated process.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<RemoteDevices, never, Network | CurrentProcess> = Layer.effect(
  RemoteDevices,
  Effect.gen(function*() {
    const network = yield* Network
    const process = yield* CurrentProcess
    return { open: (device, feed) => network.connect(device, process, feed) }
  })
)

/**
 * The links of a device in a simulated process.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerLinks = (
  device: string,
  feeds: ReadonlyArray<Any>
): Layer.Layer<DeviceLinks, never, Network | CurrentProcess> =>
  Layer.effect(
    DeviceLinks,
    Effect.gen(function*() {
      const network = yield* Network
      const process = yield* CurrentProcess
      return yield* network.listen(device, process, feeds)
    })
  )

/**
 * Hosts feeds in a simulated process.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHost = <const Feeds extends ReadonlyArray<Any>>(
  options: DeviceOptions<Feeds> & { readonly device: string }
): Layer.Layer<HostsOf<Feeds>, FeedNameTaken, Network | CurrentProcess> =>
  Layer.provide(Device.layer(options), layerLinks(options.device, options.feeds))
