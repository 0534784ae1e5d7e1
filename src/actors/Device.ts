/**
 * The consumer's side of a feed: an actor that hosts one queue for each of its feeds, admits feeders on the links it is
 * given, hands elements to consumers and reports what became of them.
 *
 * What it knows of each feeder is a `HostSession`, a state machine that is given a queue, a clock and links here. A
 * device is made by a transport's Layer, which provides the links.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { Credentials } from "../Credentials.ts"
import type { Any, HostsOf } from "../Feed.ts"
import * as HostedFeed from "../internal/hostedFeed.ts"
import { serve } from "../internal/hostLink.ts"
import { randomId } from "../internal/randomId.ts"
import { DeviceLinks } from "../RemoteDevices.ts"

export type { FeederStatus, FeedStatus } from "../internal/hostedFeed.ts"

const TypeId = "~effect-feeder/actors/Device"

/**
 * What a device is made with.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Feeds extends ReadonlyArray<Any>> {
  /** The feeds it hosts; their names must differ. */
  readonly feeds: Feeds
  /** The name feeders must know it by, such as `/job:consumer/replica:0`. By default it answers to any. */
  readonly device?: string | undefined
  /** How many feeders must have ended before a consumer's loop ends. Default 1. */
  readonly feeders?: number | "forever" | undefined
  /** Bytes that may wait in each feed's queue, shared among its feeders. Default 64 MiB. */
  readonly windowBytes?: number | undefined
  readonly limits?: Limits | undefined
  /** What feeders are checked with before they are told anything. By default anyone is admitted. */
  readonly credentials?: Credentials["Service"] | undefined
  /**
   * Asked whenever something is handed out: whether this process is the device still. When it is not, what is queued is
   * let go, and not handed out. By default it always is; for transports whose devices may be taken over by another process.
   */
  readonly mayHandOut?: (() => boolean) | undefined
}

/**
 * How much a device takes from one feeder, and how many feeders it knows.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Most bytes of one frame, told to feeders. By default no limit; 64 MiB over sockets. */
  readonly frameBytes?: number | undefined
  /** Most elements of one frame, told to feeders. Default 1,048,576. */
  readonly elements?: number | undefined
  /** How many feeders each feed knows at once, linked or away for less than three leases. Default 1024. */
  readonly feeders?: number | undefined
  /** The longest lease a feeder may ask for. Default 10 minutes. */
  readonly lease?: Duration.Input | undefined
  /** How long a link may take to be admitted. Default 10 seconds. */
  readonly handshake?: Duration.Input | undefined
}

/**
 * A device: see the module.
 *
 * @category models
 * @since 0.1.0
 */
export interface Device {
  readonly [TypeId]: typeof TypeId
  /** Its incarnation: random, so that no two processes have the same. */
  readonly id: string
  readonly status: Effect.Effect<ReadonlyArray<HostedFeed.FeedStatus>>
  /**
   * Says that the process is leaving: feeders send nothing more, what is held is finished, then the loops end. Loops
   * that have not finished `within` that time are interrupted.
   */
  readonly leave: (within: Duration.Input) => Effect.Effect<void>
  /** Ends a leave at once. */
  readonly abandon: Effect.Effect<void>
}

/**
 * Two feeds of one device have the same name.
 *
 * @category errors
 * @since 0.1.0
 */
export class FeedNameTaken extends Schema.Error<FeedNameTaken>(`${TypeId}/FeedNameTaken`)({
  _tag: Schema.tag("FeedNameTaken"),
  feed: Schema.String
}) {
  override get message(): string {
    return `a device cannot host two feeds named "${this.feed}"; rename one of them`
  }
}

/**
 * Makes a device in a scope. It admits feeders until the scope closes; then it flushes what it has to report, at most
 * for a second.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const Feeds extends ReadonlyArray<Any>>(
  options: Options<Feeds>
): Effect.Effect<
  readonly [device: Device, hosts: Context.Context<HostsOf<Feeds>>],
  FeedNameTaken,
  Scope.Scope | DeviceLinks
> =>
  Effect.gen(function*() {
    const { limits = {} } = options
    const clock = yield* Clock.Clock
    const links = yield* DeviceLinks
    const id = yield* randomId
    const shared: HostedFeed.Shared = {
      id,
      name: options.device,
      feeders: options.feeders ?? 1,
      windowBytes: options.windowBytes ?? 64 * 1024 * 1024,
      frameBytes: limits.frameBytes ?? Number.MAX_SAFE_INTEGER,
      elements: limits.elements ?? 1024 * 1024,
      knownFeeders: limits.feeders ?? 1024,
      leaseMillis: Duration.toMillis(Duration.fromInputUnsafe(limits.lease ?? "10 minutes")),
      handshake: Duration.fromInputUnsafe(limits.handshake ?? "10 seconds"),
      credentials: options.credentials,
      mayHandOut: options.mayHandOut ?? (() => true),
      now: () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6,
      abandoned: Deferred.makeUnsafe(),
      isLeaving: false,
      leaveBy: 0,
      writers: new Map()
    }
    const hosts = new Map<string, HostedFeed.HostedFeed>()
    let context = Context.empty() as Context.Context<unknown>
    for (const feed of options.feeds) {
      if (hosts.has(feed.name)) return yield* new FeedNameTaken({ feed: feed.name })
      const host = yield* HostedFeed.open(shared, feed)
      hosts.set(feed.name, host)
      context = Context.add(context, feed.host, host.hosted)
    }
    const closeIfFinished = Effect.sync(() => {
      for (const host of hosts.values()) host.closeIfFinished()
    })
    /** Once it leaves, the loops go on for a feeder that was cut off, and end without it when its lease has run out. */
    const closeInTime: Effect.Effect<void> = Effect.suspend(() => {
      const until = Math.max(...[...hosts.values()].map((host) => host.awaitedUntil()))
      return until > 0
        ? Effect.andThen(Effect.sleep(Math.max(1, until - shared.now())), closeInTime)
        : closeIfFinished
    })
    // Everything that runs does so in a scope of its own, so that it can be flushed before it is closed.
    const outer = yield* Effect.scope
    const scope = yield* Scope.fork(outer)
    yield* Effect.forever(
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const own = yield* Scope.fork(scope)
          const link = yield* restore(Scope.provide(links.accept, own)).pipe(
            Effect.onExit((exit) => Exit.isFailure(exit) ? Scope.close(own, exit) : Effect.void)
          )
          yield* restore(serve(shared, hosts, link)).pipe(
            Effect.onExit((exit) => Scope.close(own, exit)),
            Effect.andThen(restore(Effect.suspend(() => shared.isLeaving ? closeInTime : Effect.void))),
            Effect.forkIn(scope)
          )
        })
      ),
      { disableYield: true }
    ).pipe(Effect.forkIn(scope))
    // What was settled last is still reported, and a feeder that has ended still told so.
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        // What a newcomer sent now, nobody would take; and a loop that outlives its device has nothing to finish.
        shared.isLeaving = true
        Deferred.doneUnsafe(shared.abandoned, Effect.void)
        return Effect.timeoutOption(
          Effect.forEach([...shared.writers.values()], (writer) => writer.finished, { discard: true }),
          "1 second"
        )
      })
    )
    const abandon = Effect.andThen(Deferred.succeed(shared.abandoned, undefined), closeIfFinished)
    const device: Device = {
      [TypeId]: TypeId,
      id,
      status: Effect.sync(() => [...hosts.values()].map((host) => host.status())),
      leave: (within) =>
        Effect.suspend(() => {
          const millis = Math.ceil(Duration.toMillis(Duration.fromInputUnsafe(within)))
          shared.isLeaving = true
          shared.leaveBy = shared.now() + millis
          for (const writer of shared.writers.values()) writer.send({ _tag: "Leaving", byMillis: millis })
          return closeInTime.pipe(
            Effect.forkIn(scope, { startImmediately: true }),
            Effect.andThen(Effect.forkIn(Effect.andThen(Effect.sleep(millis), abandon), scope)),
            Effect.asVoid
          )
        }),
      abandon
    }
    // Each feed's own key was added above, which is what HostsOf says.
    return [device, context as Context.Context<HostsOf<Feeds>>] as const
  })

/**
 * A device that hosts `feeds` on the links of a transport.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const Feeds extends ReadonlyArray<Any>>(
  options: Options<Feeds>
): Layer.Layer<HostsOf<Feeds>, FeedNameTaken, DeviceLinks> =>
  Layer.effectContext(Effect.map(make(options), ([, hosts]) => hosts))
