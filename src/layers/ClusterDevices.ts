/**
 * Devices that Effect's cluster places on its runners, finds there, and moves when a runner dies, leaves or joins.
 *
 * A device is an entity of the cluster, and its name is the entity's id. The cluster only says where it lives: elements go
 * there over sockets, as with `SocketDevices`. `docs/cluster.md` has a program, and why it is so.
 *
 * **Gotchas**
 *
 * A device that has moved is another incarnation: what it had in memory is gone, and what it had not settled is fed again,
 * marked.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Entity from "effect/cluster/Entity"
import { Sharding } from "effect/cluster/Sharding"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Device from "../actors/Device.ts"
import { Credentials } from "../Credentials.ts"
import * as DeviceSpec from "../DeviceSpec.ts"
import type { Any, HostsOf } from "../Feed.ts"
import { devicesOf } from "../internal/clusterEntity.ts"
import * as ClusterLife from "../internal/clusterLife.ts"
import * as ClusterRoutes from "../internal/clusterRoutes.ts"
import { onSigterm } from "../internal/processSignals.ts"
import type { FeedInfo, Link } from "../RemoteDevices.ts"
import { DeviceLinks, DeviceLost, FeedRefused, RemoteDevices } from "../RemoteDevices.ts"
import * as SocketDevices from "./SocketDevices.ts"

/** The job of devices whose job is not told. */
const defaultJob = "consumer"

/** Most bytes of one frame, unless a host says otherwise: 64 MiB. */
const frameBytes = 64 * 1024 * 1024

/** The group of shards that every runner of a cluster has, unless it is told otherwise. */
const defaultGroup = "default"

// -----------------------------------------------------------------------------
// the feeder's side
// -----------------------------------------------------------------------------

/**
 * How a feeder finds devices, and what it shows to them and asks of them.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends SocketDevices.Options {
  /** The group of shards that the devices of a job are in, by the job. Default `"default"`. */
  readonly shardGroups?: Readonly<Record<string, string>> | undefined
  /**
   * How long the cluster may take to say where a device lives, and so to place it if it lives nowhere. After that the
   * attempt counts as a failure of the device. Default 10 seconds.
   */
  readonly locateWithin?: Duration.Input | undefined
}

/** How long the cluster may take to say where a device lives before its last address is tried. */
const patience = Duration.seconds(1)

/**
 * `RemoteDevices` that the cluster finds: each time a device is dialled, it is asked for first, so that one that has
 * moved is found where it lives now. A device that lives nowhere is started on the runner that its name falls to.
 *
 * **Details**
 *
 * A device needs a job, since its job says which runners host it. While the cluster has no answer, a device is dialled
 * where it was last: it may still be there. If nothing listens there any more, it is known to be gone.
 *
 * **Example** (A feeder that is no runner)
 *
 * ```ts import.meta.vitest
 * import { NodeClusterSocket } from "@effect/platform-node"
 * import { PgClient } from "@effect/sql-pg"
 * import { Config, Effect, Layer, Schema } from "effect"
 * import { DeviceSpec, Feed, Feeder } from "effect-feeder"
 * import * as ClusterDevices from "effect-feeder/layers/ClusterDevices"
 *
 * const Pages = Feed.make("pages", { element: Schema.String })
 *
 * const database = PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL") })
 * const cluster = Layer.provide(NodeClusterSocket.layer({ clientOnly: true, storage: "sql" }), database)
 * const feed = Feeder.run(Pages, { source: ["a", "b"], devices: DeviceSpec.replicas("consumer", 8) }).pipe(
 *   Effect.provide(Layer.provide(ClusterDevices.layer(), cluster))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<
  RemoteDevices,
  | SocketDevices.AddressInvalid
  | SocketDevices.PackageMissing
  | SocketDevices.TlsInvalid
  | SocketDevices.Unprotected,
  Sharding
> =>
  Layer.effect(
    RemoteDevices,
    Effect.gen(function*() {
      const { shardGroups = {} } = options
      const locateWithin = Duration.fromInputUnsafe(options.locateWithin ?? "10 seconds")
      const sharding = yield* Sharding
      const own = yield* Effect.scope
      // What is wrong whatever the address, is wrong now.
      yield* Layer.build(SocketDevices.layer({}, options))
      const jobs = new Map<string, Effect.Success<ReturnType<typeof clientOf>>>()
      const clientOf = (job: string) => sharding.makeClient(devicesOf(job, shardGroups[job] ?? defaultGroup))
      /** Where each device was found last, if it may still be there. */
      const places = new Map<string, string>()

      const locate = (device: string, job: string, within: Duration.Duration): Effect.Effect<string, DeviceLost> => {
        const lost = (why: string) => new DeviceLost({ device, fate: "unknown", cause: new Error(why) })
        return Effect.gen(function*() {
          const client = jobs.get(job) ?? (yield* clientOf(job))
          jobs.set(job, client)
          // Nobody waits for the cluster to hear that the question is taken back.
          const asked = yield* Effect.forkIn(client(device).Locate(), own, { startImmediately: true })
          return yield* Effect.ensuring(Fiber.join(asked), Effect.sync(() => asked.interruptUnsafe()))
        }).pipe(
          Effect.catchCause((cause) =>
            Effect.fail(lost(`the cluster does not find it: ${String(Cause.squash(cause))}`))
          ),
          Effect.timeoutOrElse({
            duration: within,
            orElse: () =>
              Effect.fail(
                lost(`the cluster has not placed it within ${Duration.format(within)}; is there a runner for it?`)
              )
          })
        )
      }

      const dial = (
        device: string,
        feed: FeedInfo,
        place: string
      ): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> =>
        Effect.gen(function*() {
          const scope = yield* Effect.scope
          const sockets = yield* Effect.mapError(
            Layer.buildWithScope(SocketDevices.layer({ [device]: place }, options), scope),
            ({ message }) => new FeedRefused({ device, reason: "invalid", detail: message })
          )
          return yield* Context.get(sockets, RemoteDevices).open(device, feed)
        })

      const open = (device: string, feed: FeedInfo): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> =>
        Effect.gen(function*() {
          const job = Result.getOrUndefined(DeviceSpec.fromString(device))?.job
          if (job === undefined) {
            const detail =
              `the cluster finds devices by their jobs; name it "/job:${defaultJob}${device}", or as its host does`
            return yield* new FeedRefused({ device, reason: "invalid", detail })
          }
          const last = places.get(device)
          const forget = Effect.sync(() => places.delete(device))
          const place = yield* locate(device, job, last === undefined ? locateWithin : patience).pipe(
            Effect.catch((lost) => last === undefined ? Effect.fail(lost) : Effect.succeed(last))
          )
          places.set(device, place)
          const { receive, send } = yield* Effect.tapError(
            dial(device, feed, place),
            (error) => error._tag === "DeviceLost" && error.fate === "gone" ? forget : Effect.void
          )
          // What has said farewell there, or was not let in, is not looked for there again.
          return {
            send: (frame) => frame._tag === "Bye" ? Effect.andThen(forget, send(frame)) : send(frame),
            receive: Effect.tap(receive, (frame) => frame._tag === "Refused" ? forget : Effect.void)
          }
        })
      return { open }
    })
  )

// -----------------------------------------------------------------------------
// the consumer's side
// -----------------------------------------------------------------------------

/**
 * What a runner hosts devices with, beside what every device is.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostOptions<Feeds extends ReadonlyArray<Any>, E, R>
  extends Omit<Device.Options<Feeds>, "credentials" | "device">
{
  /**
   * What a device does while it lives here, given its name. When that ends, so does this life of the device: the next
   * feeder to ask for the device starts it again. When it fails, it is logged, and ends as well.
   */
  readonly consume: (device: string) => Effect.Effect<unknown, E, R>
  /** The job of the devices, in their names. Default `"consumer"`. */
  readonly job?: string | undefined
  /** The group of shards that the devices are in. Default `"default"`. */
  readonly shardGroup?: string | undefined
  /** Where feeders dial: one port for all devices of the runner, beside the one that runners talk at. */
  readonly port: number
  /** Default `"127.0.0.1"`. Any other than a loopback address needs `Credentials`, or feeders' certificates. */
  readonly host?: string | undefined
  /** The name or address that feeders dial. Default: `host`, which must be one that they reach. */
  readonly address?: string | undefined
  readonly tls?: SocketDevices.HostTls | undefined
  readonly limits?: SocketDevices.Limits | undefined
  /**
   * How many feeders must have ended before a consumer's loop ends. Default `"forever"`: it ends when the device moves, or
   * its runner ends.
   */
  readonly feeders?: number | "forever" | undefined
  /**
   * When a device moves, or its runner ends, its consumer finishes what is held for at most this long. Should be shorter
   * than two thirds of the cluster's `shardLockExpiration`. Default 10 seconds.
   */
  readonly gracePeriod?: Duration.Input | undefined
}

/**
 * Hosts devices in this runner: those that the cluster places here, each from when a feeder asks for it. All runners of a
 * job's shard group must host the job, with the same feeds.
 *
 * **Example** (A runner)
 *
 * ```ts import.meta.vitest
 * import { NodeClusterSocket } from "@effect/platform-node"
 * import { PgClient } from "@effect/sql-pg"
 * import { Config, Effect, Layer, Option, Schema } from "effect"
 * import { RunnerAddress } from "effect/cluster"
 * import { Feed } from "effect-feeder"
 * import * as ClusterDevices from "effect-feeder/layers/ClusterDevices"
 *
 * const Pages = Feed.make("pages", { element: Schema.String })
 *
 * const database = PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL") })
 * const runnerAddress = Option.some(RunnerAddress.make("127.0.0.1", 34431))
 * const cluster = Layer.provide(NodeClusterSocket.layer({ storage: "sql", shardingConfig: { runnerAddress } }), database)
 * const host = ClusterDevices.layerHost({
 *   feeds: [Pages],
 *   port: 4001,
 *   consume: () => Pages.forEach((page) => Effect.logInfo(page))
 * }).pipe(Layer.provide(cluster))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHost = <const Feeds extends ReadonlyArray<Any>, E, R>(
  options: HostOptions<Feeds, E, R>
): Layer.Layer<
  never,
  | SocketDevices.AddressInvalid
  | SocketDevices.ListenFailed
  | SocketDevices.PackageMissing
  | SocketDevices.TlsInvalid
  | SocketDevices.Unprotected
  | Device.FeedNameTaken,
  Sharding | Exclude<R, HostsOf<Feeds>>
> =>
  Layer.effectDiscard(Effect.gen(function*() {
    const { consume, feeds, host = "127.0.0.1", job = defaultJob, port, shardGroup = defaultGroup } = options
    const limits = { ...options.limits, frameBytes: options.limits?.frameBytes ?? frameBytes }
    const names = feeds.map(({ name }) => name)
    const twice = names.find((name, i) => names.indexOf(name) !== i)
    if (twice !== undefined) return yield* new Device.FeedNameTaken({ feed: twice })
    const sharding = yield* Sharding
    const services = yield* Effect.context<Exclude<R, HostsOf<Feeds>>>()
    const credentials = Option.getOrUndefined(yield* Effect.serviceOption(Credentials))
    const links = Context.get(yield* Layer.build(SocketDevices.layerLinks({ ...options, limits })), DeviceLinks)
    const settings: ClusterLife.Settings<Feeds> = {
      device: { ...options, limits, feeders: options.feeders ?? "forever", credentials },
      consume: (device, hosts) => Effect.provideContext(Effect.provideContext(consume(device), hosts), services),
      routes: yield* ClusterRoutes.make(links, limits.handshake ?? "10 seconds"),
      gracePeriod: Duration.fromInputUnsafe(options.gracePeriod ?? "10 seconds"),
      living: new Set()
    }
    yield* onSigterm({
      // The program's runtime closes this Layer then, which lets the devices leave.
      gently: Effect.void,
      atOnce: Effect.suspend(() => Effect.forEach(settings.living, ({ abandon }) => abandon, { discard: true }))
    })
    const name = options.address ?? host
    const place = `${options.tls === undefined ? "tcp" : "tls"}://${name.includes(":") ? `[${name}]` : name}:${port}`
    const devices = devicesOf(job, shardGroup)
    const live = Effect.gen(function*() {
      const { entityId } = yield* Entity.CurrentAddress
      const alive = yield* ClusterLife.make(entityId, settings)
      return devices.of({ Locate: () => Effect.as(alive, place) })
    })
    yield* sharding.registerEntity(devices, live, { maxIdleTime: Duration.infinity })
  }))
