/**
 * Devices in the feeder's own process: the same frames and the same sessions as over a network, with elements passed
 * by reference.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { FeedNameTaken, Options } from "../actors/Device.ts"
import * as Device from "../actors/Device.ts"
import type { Any, HostsOf } from "../Feed.ts"
import { randomId } from "../internal/randomId.ts"
import type { DeviceFrame, FeederFrame, HostLink, Link } from "../RemoteDevices.ts"
import { DeviceLinks, DeviceLost, RemoteDevices } from "../RemoteDevices.ts"

const TypeId = "~effect-feeder/layers/MemoryDevices"

/** Frames that wait in a link; a sender waits beyond that. */
const frames = 16

/**
 * Two hosts of this process have one name.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeviceNameTaken extends Schema.Error<DeviceNameTaken>(`${TypeId}/DeviceNameTaken`)({
  _tag: Schema.tag("DeviceNameTaken"),
  device: Schema.String,
  hosts: Schema.Tuple([Schema.String, Schema.String])
}) {
  override get message(): string {
    return `two hosts are named ${this.device}: ${this.hosts[0]} and ${this.hosts[1]}; give each its own name`
  }
}

interface Host {
  readonly id: string
  readonly connections: Queue.Queue<HostLink & { readonly close: Effect.Effect<void> }>
}

/**
 * The hosts of this process by name. A host without a name answers to all that no other has.
 *
 * @category services
 * @since 0.1.0
 */
export class Network extends Context.Service<Network, {
  readonly hosts: Map<string, Host>
}>()("effect-feeder/layers/MemoryDevices/Network") {}

const anyName = ""

/**
 * `RemoteDevices` for hosts in this process, which `layerHost` adds.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNetwork: Layer.Layer<Network | RemoteDevices> = Layer.effectContext(Effect.sync(() => {
  const hosts = new Map<string, Host>()
  const lost = (device: string, fate: "gone" | "unknown", cause: string) =>
    new DeviceLost({ device, fate, cause: new Error(cause) })
  const open = (device: string): Effect.Effect<Link, DeviceLost, Scope.Scope> =>
    Effect.gen(function*() {
      const host = hosts.get(device) ?? hosts.get(anyName)
      if (host === undefined) return yield* lost(device, "gone", "no host of this process has that name")
      const closed = lost(device, "unknown", "the link was closed")
      const toDevice = yield* Queue.bounded<FeederFrame, DeviceLost>(frames)
      const toFeeder = yield* Queue.bounded<DeviceFrame, DeviceLost>(frames)
      // What was sent before the close still arrives.
      const close = Effect.andThen(Queue.fail(toDevice, closed), Queue.fail(toFeeder, closed))
      const send = <F>(queue: Queue.Queue<F, DeviceLost>) => (frame: F) =>
        Effect.flatMap(Queue.offer(queue, frame), (isSent) => isSent ? Effect.void : Effect.fail(closed))
      yield* Effect.addFinalizer(() => close)
      const link = { send: send(toFeeder), receive: Queue.take(toDevice), close: Effect.asVoid(close) }
      if (!(yield* Queue.offer(host.connections, link))) return yield* lost(device, "gone", "its host has ended")
      return { send: send(toDevice), receive: Queue.take(toFeeder) }
    })
  return Context.make(Network, { hosts }).pipe(Context.add(RemoteDevices, { open }))
}))

const layerLinks = (device: string): Layer.Layer<DeviceLinks, DeviceNameTaken, Network> =>
  Layer.effect(
    DeviceLinks,
    Effect.gen(function*() {
      const { hosts } = yield* Network
      const id = yield* randomId
      const connections = yield* Queue.unbounded<HostLink & { readonly close: Effect.Effect<void> }>()
      const other = hosts.get(device)
      if (other !== undefined) return yield* new DeviceNameTaken({ device, hosts: [other.id, id] })
      yield* Effect.acquireRelease(
        Effect.sync(() => hosts.set(device, { id, connections })),
        () =>
          Effect.flatMap(Queue.clear(connections), (waiting) => {
            hosts.delete(device)
            return Effect.andThen(Effect.forEach(waiting, (link) => link.close), Queue.shutdown(connections))
          })
      )
      return { accept: Effect.acquireRelease(Queue.take(connections), (link) => link.close, { interruptible: true }) }
    })
  )

/**
 * Hosts feeds under a name in this process, for feeders that have the same `layerNetwork`. Without `device` it answers
 * to every name that no other host has.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHost = <const Feeds extends ReadonlyArray<Any>>(
  options: Omit<Options<Feeds>, "credentials">
): Layer.Layer<HostsOf<Feeds>, DeviceNameTaken | FeedNameTaken, Network> =>
  Layer.provide(Device.layer(options), layerLinks(options.device ?? anyName))

/**
 * One host in this process that answers to every device name: a feeder and its consumers, in one program.
 *
 * **Example** (A feeder and its consumer in one process)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { DeviceSpec, Feed, Feeder, MemoryDevices } from "effect-feeder"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int })
 * const seen: Array<number> = []
 * const consume = Numbers.forEach((n) => Effect.sync(() => seen.push(n)))
 * const feed = Feeder.run(Numbers, { source: [1, 2, 3], devices: DeviceSpec.replicas("consumer", 1) })
 * const program = Effect.all([feed, consume], { concurrency: "unbounded" })
 * const [ledger] = await Effect.runPromise(program.pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }))))
 *
 * ledger.delivered // => 3
 * seen // => [1, 2, 3]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const Feeds extends ReadonlyArray<Any>>(
  options: Omit<Options<Feeds>, "credentials" | "device">
): Layer.Layer<RemoteDevices | HostsOf<Feeds>, FeedNameTaken> =>
  Device.layer({ ...options, device: undefined }).pipe(
    // A network of its own has no other host to clash with.
    Layer.provide(Layer.orDie(layerLinks(anyName))),
    Layer.provideMerge(layerNetwork)
  )
