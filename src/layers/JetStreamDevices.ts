/**
 * Devices behind NATS JetStream: a feed is a stream, a device a durable consumer of it, and neither needs the other to be
 * there. `docs/jetstream.md` has the design.
 *
 * Needs the packages `@nats-io/transport-node` and `@nats-io/jetstream`, and a `nats-server` with JetStream. Tested with
 * nats-server 2.9.10 and the packages in version 3.4.0.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Device from "../actors/Device.ts"
import * as DeviceSpec from "../DeviceSpec.ts"
import type { Any, HostsOf } from "../Feed.ts"
import type { BrokerUnusable, Connection, PackageMissing } from "../internal/jetStreamClient.ts"
import * as Client from "../internal/jetStreamClient.ts"
import * as Host from "../internal/jetStreamHost.ts"
import { names } from "../internal/jetStreamRecords.ts"
import type { Store } from "../internal/jetStreamStore.ts"
import * as Stores from "../internal/jetStreamStore.ts"
import type { View } from "../internal/jetStreamView.ts"
import * as Views from "../internal/jetStreamView.ts"
import { onSigterm } from "../internal/processSignals.ts"
import type { FeedInfo, Link } from "../RemoteDevices.ts"
import { DeviceLinks, DeviceLost, FeedRefused, RemoteDevices } from "../RemoteDevices.ts"
import type { DeviceNameTaken } from "./MemoryDevices.ts"

export { BrokerUnusable, PackageMissing } from "../internal/jetStreamClient.ts"
export type { Connection } from "../internal/jetStreamClient.ts"

/**
 * Where the broker is, and under which name the feeds are kept there.
 *
 * @category models
 * @since 0.1.0
 */
export interface Broker {
  /** The options of `connect` of `@nats-io/transport-node`: `servers`, TLS, who it is. Default: `127.0.0.1:4222`. */
  readonly connection?: Connection | undefined
  /** What all streams and subjects begin with: letters, digits, `_` and `-`. Default `"feeder"`. */
  readonly prefix?: string | undefined
}

/**
 * What a feeder needs to know of the broker.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Broker {
  /**
   * How long a device of a `processed` feed may be without a consumer and still be fed, before its link counts as lost
   * and its elements are given to others. Elements of an `accepted` feed are stored however long that takes. Default 0.
   */
  readonly away?: Duration.Input | undefined
}

/** How long a link that is to be opened waits for a consumer. */
const patience = "1 second"

/** How long a link waits for its Hello. */
const handshake = "3 seconds"

const prefixOf = ({ prefix = "feeder" }: Broker): string => prefix

/**
 * `RemoteDevices` whose elements are stored at the broker. A device is known there once a consumer has hosted it.
 *
 * **Example** (A feeder whose consumers may be away)
 *
 * ```ts import.meta.vitest
 * import { Schema } from "effect"
 * import { Feed, Feeder } from "effect-feeder"
 * import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
 *
 * const Pages = Feed.make("pages", { element: Schema.String, capacity: 1000, acknowledge: "accepted" })
 * const devices = JetStreamDevices.layer({ connection: { servers: "nats://broker.example:4222" } })
 * const feed = Feeder.run(Pages, { source: ["one", "two"], devices: ["/job:indexer"] })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<RemoteDevices, PackageMissing | BrokerUnusable> =>
  Layer.effect(
    RemoteDevices,
    Effect.gen(function*() {
      const client = yield* Client.connect(options.connection ?? {})
      const scope = yield* Effect.scope
      const all = names(prefixOf(options))
      const awayMillis = Duration.toMillis(Duration.fromInputUnsafe(options.away ?? 0))
      const views = new Map<string, View>()
      const stores = new Map<string, Store>()

      const viewOf = (device: string): Effect.Effect<View> =>
        Effect.suspend(() => {
          const known = views.get(device)
          if (known !== undefined) return Effect.succeed(known)
          return Effect.map(Scope.provide(Views.make(client, all, device), scope), (view) => {
            views.set(device, view)
            return view
          })
        })

      const storeOf = (view: View, device: string, feed: FeedInfo, feeder: string): Store => {
        const key = JSON.stringify([device, feed.name, feeder])
        const known = stores.get(key)
        if (known !== undefined) return known
        const isFenced = () =>
          [...stores.values()].every((other) => other === store || other.feeder !== feeder || !other.isUnfenced())
        const untilFenced: Effect.Effect<void> = Effect.suspend(() =>
          isFenced() ? Effect.void : Effect.andThen(Effect.sleep(20), untilFenced)
        )
        const store: Store = Stores.make({ client, names: all, view, device, feed, feeder, untilFenced })
        stores.set(key, store)
        return store
      }

      yield* Effect.forkScoped(Effect.forever(Effect.andThen(
        Effect.sleep(100),
        Effect.suspend(() =>
          Effect.forEach(
            [...stores.values()].flatMap((store) => store.lapse() ?? []),
            (lapse) => Effect.forkIn(lapse, scope),
            {
              discard: true
            }
          )
        )
      )))

      const open = (name: string, feed: FeedInfo): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> =>
        Effect.gen(function*() {
          const device = DeviceSpec.canonicalName(DeviceSpec.fromStringUnsafe(name))
          const lost = (why: string) => new DeviceLost({ device, fate: "unknown", cause: new Error(why) })
          const view = yield* viewOf(device)
          yield* view.ready
          const isAway = () => {
            const since = view.awaySince()
            const isProcessed = view.host()?.feeds[feed.name]?.acknowledge === "processed"
            return isProcessed && since !== undefined && client.now() - since >= awayMillis
          }
          yield* Effect.timeoutOption(view.until(() => view.host() !== undefined && !isAway()), patience)
          const host = view.host()
          if (host === undefined) return yield* lost("no consumer has hosted it at this broker yet")
          const refused = Stores.refusal(host, feed)
          if (refused !== undefined) return yield* new FeedRefused({ device, ...refused })
          const away = () => lost("its consumer is away")
          if (isAway()) return yield* away()
          const link = Stores.makeLink()
          let store: Store | undefined
          yield* Effect.addFinalizer(() =>
            Effect.sync(() => {
              link.isClosed = true
              store?.unlinkUnsafe(link)
            })
          )
          const changed = yield* view.watch
          yield* Effect.forkScoped(Effect.forever(Effect.andThen(
            Effect.raceFirst(changed.await, Effect.sleep(250)),
            Effect.sync(() => {
              if (isAway()) link.isClosed = true
              if (link.isClosed) link.wake.openUnsafe()
              else if (changed.closeUnsafe() || store?.isEnding() === true) store?.changedUnsafe()
            })
          )))
          const hello = Effect.suspend(() =>
            store === undefined ? Effect.fail(lost("it was not greeted")) : Effect.never
          )
          const receive: Link["receive"] = Effect.suspend(() => {
            const frame = link.frames.shift()
            if (frame !== undefined) return Effect.succeed(frame)
            if (link.isClosed) return Effect.fail(isAway() ? away() : lost("the link was closed"))
            const { report } = link
            if (report !== undefined) {
              link.report = undefined
              return Effect.succeed(report())
            }
            link.wake.closeUnsafe()
            const more = Effect.flatMap(link.wake.await, () => receive)
            return store === undefined ? Effect.raceFirst(more, Effect.andThen(Effect.sleep(handshake), hello)) : more
          })
          return {
            receive,
            send: (frame) =>
              Effect.suspend(() => {
                if (frame._tag === "Hello") {
                  store = storeOf(view, device, feed, frame.feeder)
                  return store.hello(frame, link)
                }
                return store === undefined ? Effect.fail(lost("it was not greeted")) : store.send(frame, link)
              })
          }
        })
      return { open }
    })
  )

/**
 * What a host is made with, beside what every device is.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostOptions<Feeds extends ReadonlyArray<Any>>
  extends Omit<Device.Options<Feeds>, "credentials" | "mayHandOut">, Broker
{
  /** The name of the device, which it has at the broker. */
  readonly device: string
  /**
   * Elements of each feeder that may wait at the broker, handed out to no consumer. Default: the capacity of the feed.
   */
  readonly stored?: number | undefined
  /**
   * How long this process is the device after it was last in touch with the broker. One that takes its place when it was
   * killed waits for so long. Default 5 seconds.
   */
  readonly lease?: Duration.Input | undefined
  /** How the streams are made, if they are not there yet. */
  readonly stream?: {
    /** Default `"file"`. */
    readonly storage?: "file" | "memory" | undefined
    /** Default 1. */
    readonly replicas?: number | undefined
    /** Most bytes of the stream of a feed; what does not fit waits at the feeder. By default as the server has it. */
    readonly maxBytes?: number | undefined
  } | undefined
  /** As with `SocketDevices.layerHost`. Default 30 seconds. */
  readonly gracePeriod?: Duration.Input | undefined
}

/**
 * Hosts feeds in this process, as the device of that name at the broker. It takes the place of a process that has ended;
 * one that was killed it waits for, until its lease is over, and with one that lives it fails with `DeviceNameTaken`.
 *
 * **Gotchas**
 *
 * `Credentials` are not asked: who may publish to a device, and host it, is for the broker's accounts to say.
 *
 * **Example** (A consumer whose feeder may be away)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { Feed } from "effect-feeder"
 * import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
 *
 * const Pages = Feed.make("pages", { element: Schema.String, capacity: 1000, acknowledge: "accepted" })
 * const host = JetStreamDevices.layerHost({
 *   connection: { servers: "nats://broker.example:4222" },
 *   device: "/job:indexer",
 *   feeds: [Pages],
 *   stored: 100_000
 * })
 * const consume = Pages.forEach((page) => Effect.log(page)).pipe(Effect.provide(host))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHost = <const Feeds extends ReadonlyArray<Any>>(
  options: HostOptions<Feeds>
): Layer.Layer<HostsOf<Feeds>, PackageMissing | BrokerUnusable | DeviceNameTaken | Device.FeedNameTaken> =>
  Layer.effectContext(Effect.gen(function*() {
    const { stream = {} } = options
    const connection = options.connection ?? {}
    const client = yield* Client.connect(connection)
    const device = DeviceSpec.canonicalName(DeviceSpec.fromStringUnsafe(options.device))
    const host = yield* Effect.mapError(
      Host.open(client, names(prefixOf(options)), {
        device,
        feeds: options.feeds,
        leaseMillis: Duration.toMillis(Duration.fromInputUnsafe(options.lease ?? "5 seconds")),
        stored: options.stored,
        windowBytes: options.windowBytes ?? 64 * 1024 * 1024,
        storage: stream.storage ?? "file",
        replicas: stream.replicas ?? 1,
        maxBytes: stream.maxBytes ?? -1
      }),
      (error) =>
        error._tag === "BrokerFailed"
          ? new Client.BrokerUnusable({
            servers: [connection.servers ?? "127.0.0.1:4222"].flat().join(", "),
            cause: error.cause
          })
          : error
    )
    const [actor, hosts] = yield* Effect.provideService(
      Device.make({ ...options, device, credentials: undefined, mayHandOut: host.isClaimed }),
      DeviceLinks,
      host.links
    )
    yield* onSigterm({ gently: actor.leave(options.gracePeriod ?? "30 seconds"), atOnce: actor.abandon })
    return hosts
  }))
