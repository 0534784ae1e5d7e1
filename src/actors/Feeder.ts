/**
 * The actor that owns a feed on the producer's side: its local queue, the runners that fill it from sources, and the
 * remote feeds that move elements to devices.
 *
 * `Feeder.run` is the whole of it as one effect. The long form, `Feeder.make`, has the same words and can be stopped and
 * run again.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Stacked } from "../BatchCodec.ts"
import { ElementInvalid } from "../BatchCodec.ts"
import * as DeviceSpec from "../DeviceSpec.ts"
import * as FailureTolerator from "../FailureTolerator.ts"
import type { ElementSchema, Feed } from "../Feed.ts"
import type { QueueEnded } from "../FeedQueue.ts"
import * as FeedQueue from "../FeedQueue.ts"
import * as FeedSession from "../FeedSession.ts"
import { randomId } from "../internal/randomId.ts"
import * as Restarts from "../internal/restarts.ts"
import * as Ledger from "../Ledger.ts"
import type { Acknowledge } from "../RemoteDevices.ts"
import { RemoteDevices } from "../RemoteDevices.ts"
import * as Coordinator from "./Coordinator.ts"
import type { Source, SourceError, SourceServices } from "./QueueRunner.ts"
import * as QueueRunner from "./QueueRunner.ts"
import type { Tolerator } from "./RemoteFeed.ts"
import * as RemoteFeed from "./RemoteFeed.ts"

const TypeId = "~effect-feeder/actors/Feeder"

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

/**
 * Every device of the feeder has failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoDeviceLeft extends Schema.Error<NoDeviceLeft>(`${TypeId}/NoDeviceLeft`)({
  _tag: Schema.tag("NoDeviceLeft"),
  devices: Schema.Array(RemoteFeed.DeviceFailed)
}) {
  override get message(): string {
    return `no device is left: ${this.devices.map((failed) => failed.message).join("; ")}`
  }
}

/**
 * An element came back as often as the feeder allows.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyAttempts extends Schema.Error<TooManyAttempts>(`${TypeId}/TooManyAttempts`)({
  _tag: Schema.tag("TooManyAttempts"),
  ordinal: Schema.Natural,
  attempts: Schema.Natural,
  device: Schema.String,
  cause: Schema.String
}) {
  override get message(): string {
    return `element #${this.ordinal} came back ${this.attempts} times, last from ${this.device}: ${this.cause}; ` +
      `mend its consumer, reject the element there, or raise maxAttempts`
  }
}

/**
 * The feeder is running already, or its feed has ended.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotRunnable extends Schema.Error<NotRunnable>(`${TypeId}/NotRunnable`)({
  _tag: Schema.tag("NotRunnable"),
  why: Schema.Literals(["running", "ended"])
}) {
  override get message(): string {
    return this.why === "running"
      ? "the feeder is running already; stop it, or wait for it, before it runs again"
      : "the feed has ended; make another feeder for another input"
  }
}

/**
 * A device cannot be added, or removed: its name is not a device spec, it was added before, or it is not fed.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeviceInvalid extends Schema.Error<DeviceInvalid>(`${TypeId}/DeviceInvalid`)({
  _tag: Schema.tag("DeviceInvalid"),
  device: Schema.String,
  issue: Schema.String,
  change: Schema.optionalKey(Schema.Literals(["added", "removed"]))
}) {
  override get message(): string {
    return `device "${this.device}" cannot be ${this.change ?? "added"}: ${this.issue}`
  }
}

/**
 * Why a feeder failed. A source's own errors are not among them: they stand beside `FeedError`.
 *
 * @category errors
 * @since 0.1.0
 */
export const FeedErrorReason = Schema.Union([
  NoDeviceLeft,
  RemoteFeed.DeviceFailed,
  TooManyAttempts,
  RemoteFeed.ElementTooLarge,
  ElementInvalid,
  NotRunnable,
  DeviceInvalid,
  Coordinator.StragglersLeft
])

/**
 * A feeder failed; `reason` says why.
 *
 * @category errors
 * @since 0.1.0
 */
export class FeedError extends Schema.TaggedError<FeedError>(`${TypeId}/FeedError`)("FeedError", {
  feed: Schema.String,
  feeder: Schema.String,
  reason: FeedErrorReason
}) {
  override get message(): string {
    return `feeder ${this.feeder} of feed "${this.feed}": ${this.reason.message}`
  }
}

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * What a feeder is made with.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Its id, which must be its alone. Default: random. With a fixed id, a restarted feeder replaces itself. */
  readonly id?: string | undefined
  /** How long a device may be silent before what is out at it is taken back. Default 10 seconds. */
  readonly lease?: Duration.Input | undefined
  /** How often an element may be given; the run fails when it comes back after the last. Default 5. */
  readonly maxAttempts?: number | undefined
  /** The budget of failures: any Schedule. Default `FailureTolerator.make()`. */
  readonly tolerate?: Tolerator | undefined
  /**
   * What a failure of one device does to the others.
   *
   * `"each"`, the default: nothing. Each device has a budget of its own, and the run goes on while one is left.
   *
   * `"all"`: they restart together, as the reference's do. All devices of a run share one budget. At a failure every
   * link is closed, all wait the one delay, and open again; one that is still well resumes where it was, so that nothing
   * is lost or given twice. Failures that come while the links are being closed belong to the same restart. Once the
   * budget is spent, or at a failure that is not tolerated, the run fails with that device's `DeviceFailed`. A delay
   * longer than the lease takes back what is out, also at the devices that were well, to be given again and marked.
   */
  readonly supervision?: "each" | "all" | undefined
  /** How long a stop waits for finalizers. Default 30 seconds. */
  readonly gracePeriod?: Duration.Input | undefined
}

/**
 * One device, as its feeder sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeviceStatus extends Ledger.DeviceLedger {
  readonly phase: FeedSession.Phase
  /** The device's incarnation, once it has answered. */
  readonly incarnation: string | undefined
  readonly session: number
  readonly failures: number
  readonly lastFailure: string | undefined
}

/**
 * A feeder, as it stands.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  readonly feed: string
  readonly feeder: string
  readonly isRunning: boolean
  readonly hasEnded: boolean
  /** The elements that consumers refused for good, the last hundred of them. */
  readonly rejected: ReadonlyArray<{ readonly device: string; readonly ordinal: number; readonly cause: string }>
  readonly ledger: Ledger.Ledger
  readonly devices: ReadonlyArray<DeviceStatus>
}

/**
 * A feeder of elements of the Schema `S`, whose sources fail with `E`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Feeder<in out S extends ElementSchema, in out E = never> {
  readonly [TypeId]: typeof TypeId
  readonly id: string

  /**
   * Adds a source of elements. Gives the same feeder, with the source's errors in its type: use that one to run it.
   * `concurrency` (default 1) is how many runners an Effect is run by; other sources have one.
   */
  readonly set: <Src extends Source<S["Type"], unknown, unknown>>(
    source: Src,
    options?: { readonly concurrency?: number | undefined }
  ) => Effect.Effect<Feeder<S, E | SourceError<Src>>, never, SourceServices<Src>>

  /** Adds a source of stacked batches, which are taken apart. */
  readonly setMany: <Src extends Source<Stacked<S>, unknown, unknown>>(
    source: Src,
    options?: { readonly concurrency?: number | undefined }
  ) => Effect.Effect<Feeder<S, E | SourceError<Src>>, never, SourceServices<Src>>

  /** Adds a device to feed. It may be added while the feeder runs. */
  readonly addRemoteDevice: (device: DeviceSpec.Input) => Effect.Effect<void, FeedError, RemoteDevices>
  readonly addRemoteDevices: (devices: Iterable<DeviceSpec.Input>) => Effect.Effect<void, FeedError, RemoteDevices>
  /** Adds the devices of `DeviceSpec.replicas`. */
  readonly addRemoteReplicas: (
    ...args: Parameters<typeof DeviceSpec.replicas>
  ) => Effect.Effect<void, FeedError, RemoteDevices>
  /**
   * Feeds a device no more, and closes its link. It may be removed while the feeder runs, and added again later. A run
   * whose last device was removed waits for another.
   *
   * What is out at the device is fed again, marked, once its lease has ended: until then the device may hand it out.
   * What it had accepted for good on an `accepted` feed stays there, and counts as held. The device's counts stay in the
   * ledger. Its consumers' loops go on: a feeder that may come back has not ended.
   */
  readonly removeRemoteDevice: (device: DeviceSpec.Input) => Effect.Effect<void, FeedError>

  /**
   * Feeds until the sources have ended and everything is acknowledged as declared, or until it is stopped, and gives
   * the account. Fails with the first failure of a source, or a `FeedError`. Interrupting it stops it.
   */
  readonly run: Effect.Effect<Ledger.Ledger, FeedError | E>
  /**
   * Stops a run. What is out stays out, what is queued stays queued: the feeder can run again.
   *
   * A source that is about to give an element is not interrupted, or the element would be lost: it goes on to that one
   * while the feeder's scope is open, and the next run feeds it.
   */
  readonly stop: Effect.Effect<void>
  /** Waits until an element was first accepted by a device, or taken here; fails with the run. */
  readonly feeding: Effect.Effect<void, FeedError | E>
  readonly status: Effect.Effect<Status>
  /** The status now and after every change, as fast as it is read. */
  readonly changes: Stream.Stream<Status>
  readonly ledger: Effect.Effect<Ledger.Ledger>

  /** Takes the next element in the feeder's own process, instead of a device. */
  readonly take: Effect.Effect<S["Type"], QueueEnded>
  /** Takes exactly `n` elements, stacked. */
  readonly takeMany: (n: number) => Effect.Effect<Stacked<S>, QueueEnded>
  /** Takes `n` elements, or what is left at the end, stacked. */
  readonly takeUpTo: (n: number) => Effect.Effect<Stacked<S>, QueueEnded>
  /** The elements, until the sources have ended. */
  readonly elements: Stream.Stream<S["Type"]>
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * Makes a feeder in a scope. It needs no devices: adding one does.
 *
 * **Example** (A feeder used in its own process)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { Feed, Feeder } from "effect-feeder"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int, capacity: 2 })
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const made = yield* Feeder.make(Numbers)
 *   const feeder = yield* made.set([1, 2, 3, 4, 5])
 *   yield* Effect.forkChild(feeder.run)
 *   return [yield* feeder.take, yield* feeder.takeMany(3), yield* feeder.takeUpTo(9)]
 * }))
 *
 * await Effect.runPromise(program) // => [1, [2, 3, 4], [5]]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Name extends string, S extends ElementSchema, Ack extends Acknowledge>(
  feed: Feed<Name, S, Ack>,
  options: Options = {}
): Effect.Effect<Feeder<S>, never, Scope.Scope> =>
  Effect.gen(function*() {
    type A = S["Type"]
    const clock = yield* Clock.Clock
    const scope = yield* Effect.scope
    const id = options.id ?? `${feed.name}-${yield* randomId}`
    // Grows from one start of a feeder to the next, and differs between two that start in the same millisecond.
    const incarnation = clock.currentTimeMillisUnsafe() * 1000 + (yield* Random.nextIntBetween(0, 1000))
    const leaseMillis = Duration.toMillis(Duration.fromInputUnsafe(options.lease ?? "10 seconds"))
    const maxAttempts = options.maxAttempts ?? 5
    const tolerate = options.tolerate ?? FailureTolerator.make()
    const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    const error = (reason: typeof FeedErrorReason.Type) => new FeedError({ feed: feed.name, feeder: id, reason })

    // --- the books ---------------------------------------------------------------------------------------------------

    let nextOrdinal = 0
    /** Elements with an ordinal that are in the queue again; that left it and are in the hands of this feeder. */
    let returned = 0
    let inHand = 0
    let taken = 0
    /** Given back, waiting for their time. */
    let delayed = 0
    /** Elements came back, and the remote feeds do not know yet. */
    let hasReturned = false
    const runners: Array<QueueRunner.QueueRunner<unknown>> = []
    const remotes = new Map<string, Remote<A>>()
    /** Devices that were removed: their counts stay, and their sessions' numbers go on if they are added again. */
    const removed = new Map<string, RemoteFeed.RemoteFeed<A>>()
    /** One device is added or removed at a time. */
    const changing = Semaphore.makeUnsafe(1)
    const rejected: Array<{ readonly device: string; readonly ordinal: number; readonly cause: string }> = []
    let fatal: FeedError | undefined
    let current:
      | {
        readonly outer: Coordinator.Coordinator<unknown>
        readonly links: Coordinator.Coordinator<unknown>
        /** What all remote feeds share, if they restart together. */
        readonly restarts: Restarts.Restarts | undefined
      }
      | undefined
    /** A run has begun, or begins; and is to stop as soon as it can. */
    let isClaimed = false
    let isStopAsked = false
    let hasEnded = false
    /** Of this run, or of the first that fed anything. */
    let feeding = Deferred.makeUnsafe<void, unknown>()
    let hasFed = false
    const watchers = new Set<Latch.Latch>()

    /** Resumes fibers, which run at once: only to be called when the books are in order. */
    const changedUnsafe = () => {
      if (hasReturned) {
        hasReturned = false
        for (const { feed } of remotes.values()) feed.wakeUnsafe()
      }
      for (const latch of watchers) latch.openUnsafe()
    }

    const queue = yield* FeedQueue.make<Slot<A>>({
      capacity: feed.capacity,
      name: feed.name,
      onHandOut: (slots) => {
        for (const slot of slots) {
          if (slot.ordinal < 0) slot.ordinal = nextOrdinal++
          else returned--
        }
        inHand += slots.length
      }
    })

    const putBackUnsafe = (items: ReadonlyArray<FeedSession.Item<A>>) => {
      inHand -= items.length
      returned += items.length
      queue.restoreUnsafe(items.map((item) => ({ ...item })))
      hasReturned = true
    }

    const owner: RemoteFeed.Owner<A> = {
      queue,
      now,
      changedUnsafe,
      canFeed: () => fatal === undefined,
      failUnsafe: (reason) => {
        fatal ??= error(reason)
        changedUnsafe()
      },
      putBackUnsafe,
      pushedUnsafe: (count) => {
        inHand -= count
      },
      rejectedUnsafe: (device, item, cause) => {
        rejected.push({ device, ordinal: item.ordinal, cause })
        if (rejected.length > 100) rejected.shift()
      },
      givenBackUnsafe: (device, items, afterMillis, cause) => {
        inHand += items.length
        const spent = items.find((item) => item.attempt > maxAttempts)
        if (spent !== undefined) {
          fatal ??= error(new TooManyAttempts({ ordinal: spent.ordinal, attempts: spent.attempt - 1, device, cause }))
        }
        if (afterMillis === 0) return putBackUnsafe(items)
        delayed += items.length
        inHand -= items.length
        Effect.runForkWith(Context.make(Clock.Clock, clock))(
          Effect.andThen(
            Effect.sleep(afterMillis),
            Effect.sync(() => {
              delayed -= items.length
              inHand += items.length
              putBackUnsafe(items)
              changedUnsafe()
            })
          ).pipe(Effect.forkIn(scope))
        )
      }
    }

    const deviceLedger = (device: string, state: FeedSession.State<A>): Ledger.DeviceLedger => ({
      device,
      leased: FeedSession.leased(state),
      inDoubt: FeedSession.inDoubt(state),
      held: FeedSession.held(state),
      heldByDead: state.heldByDead,
      accepted: state.accepted,
      delivered: state.delivered,
      redelivered: state.redelivered,
      dead: state.dead
    })

    const everyFeed = () => [...[...remotes.values()].map(({ feed }) => feed), ...removed.values()]

    const ledger = (): Ledger.Ledger =>
      Ledger.make({
        generated: nextOrdinal + queue.heldUnsafe() - returned,
        queued: queue.heldUnsafe() + inHand + delayed,
        taken,
        devices: everyFeed().map((feed) => deviceLedger(feed.device, feed.state()))
      })

    const status = (): Status => ({
      feed: feed.name,
      feeder: id,
      isRunning: current !== undefined,
      hasEnded,
      rejected: [...rejected],
      ledger: ledger(),
      devices: [...remotes].map(([device, { feed }]) => {
        const state = feed.state()
        const { count, last } = feed.failures()
        return {
          ...deviceLedger(device, state),
          phase: state.phase,
          incarnation: state.device,
          session: state.session,
          failures: count,
          lastFailure: last?.message
        }
      })
    })

    // --- sources -----------------------------------------------------------------------------------------------------

    const offer = (elements: ReadonlyArray<A>, onAdmit: (count: number) => void) =>
      queue.offerAll(elements.map((element) => ({ ordinal: -1, attempt: 1, element })), (count) => {
        onAdmit(count)
        changedUnsafe()
      })

    const add = <Given, E, R>(
      source: Source<Given, E, R>,
      read: (given: Given) => Result.Result<ReadonlyArray<A>, ElementInvalid>,
      concurrency: number
    ): Effect.Effect<void, never, R> =>
      Effect.contextWith((context: Context.Context<R>) =>
        Effect.sync(() => {
          for (let i = 0; i < (Effect.isEffect(source) ? concurrency : 1); i++) {
            runners.push(QueueRunner.make({
              name: `source ${runners.length + 1}`,
              source,
              pullSize: feed.capacity,
              read,
              offer,
              feeder: id,
              scope,
              context
            }))
          }
        })
      )

    const readElement = (given: A): Result.Result<ReadonlyArray<A>, ElementInvalid> =>
      feed.validate === "edges"
        ? Result.succeed([given])
        : Result.map(feed.codec.validate(given), (element) => [element])

    const readBatch = (given: Stacked<S>) => feed.codec.unstack(given)

    // --- devices -----------------------------------------------------------------------------------------------------

    const startRemote = (device: string, remote: Remote<A>): Effect.Effect<void> => {
      const running = current
      if (running === undefined || remote.startedIn === running) return Effect.void
      remote.startedIn = running
      remote.failed = undefined
      const registered = Effect.withFiber<void, RemoteFeed.DeviceFailed>((fiber) => {
        if (remotes.get(device) !== remote) return Effect.void // it was removed meanwhile
        remote.fiber = fiber
        return remote.feed.run
      })
      const supervised = registered.pipe(
        Effect.catch((failed) => {
          remote.failed = failed
          if (options.supervision === "all") fatal ??= error(failed)
          changedUnsafe()
          return Effect.logWarning(failed.message)
        }),
        // A device that fails is its own affair; a defect is the feeder's.
        Effect.onError((cause) => Cause.hasInterruptsOnly(cause) ? Effect.void : running.outer.requestStop(cause))
      )
      return Effect.asVoid(running.links.fork(device, supervised))
    }

    const nameOf = (input: DeviceSpec.Input, change: "added" | "removed"): Effect.Effect<string, FeedError> => {
      const parsed = typeof input === "string" ? DeviceSpec.fromString(input) : Result.succeed(input)
      return Result.isFailure(parsed)
        ? Effect.fail(error(new DeviceInvalid({ device: String(input), issue: parsed.failure.issue, change })))
        : Effect.succeed(DeviceSpec.canonicalName(parsed.success))
    }

    const addRemoteDevice = (input: DeviceSpec.Input): Effect.Effect<void, FeedError, RemoteDevices> =>
      changing.withPermits(1)(Effect.gen(function*() {
        const device = yield* nameOf(input, "added")
        if (remotes.has(device)) {
          const issue = `feeder ${id} feeds it already`
          return yield* error(new DeviceInvalid({ device, issue, change: "added" }))
        }
        const devices = yield* RemoteDevices
        const remote: Remote<A> = {
          feed: RemoteFeed.make<A>({
            config: {
              feed: feed.name,
              fingerprint: feed.info.fingerprint,
              feeder: id,
              incarnation,
              device,
              acknowledge: feed.acknowledge,
              leaseMillis,
              chunk: (elements) => feed.codec.fromElements(elements)
            },
            info: feed.info,
            devices,
            tolerate,
            owner,
            restarts: () => current?.restarts,
            state: removed.get(device)?.state()
          }),
          startedIn: undefined,
          fiber: undefined,
          failed: undefined
        }
        removed.delete(device)
        remotes.set(device, remote)
        yield* startRemote(device, remote)
      }))

    const removeRemoteDevice = (input: DeviceSpec.Input): Effect.Effect<void, FeedError> =>
      changing.withPermits(1)(Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const device = yield* nameOf(input, "removed")
          const remote = remotes.get(device)
          if (remote === undefined) {
            const issue = `feeder ${id} does not feed it`
            return yield* error(new DeviceInvalid({ device, issue, change: "removed" }))
          }
          remotes.delete(device)
          removed.set(device, remote.feed)
          const interrupted = remote.fiber === undefined
            ? Effect.void
            : Effect.timeoutOption(Fiber.interrupt(remote.fiber), options.gracePeriod ?? "30 seconds")
          yield* Effect.ensuring(restore(interrupted), Effect.sync(remote.feed.removeUnsafe))
        })
      ))

    const addRemoteDevices = (devices: Iterable<DeviceSpec.Input>) =>
      Effect.forEach(devices, addRemoteDevice, { discard: true })

    // --- running -----------------------------------------------------------------------------------------------------

    const areSourcesDone = () => runners.every((runner) => runner.isDone())

    const watch: Effect.Effect<Latch.Latch, never, Scope.Scope> = Effect.acquireRelease(
      Effect.sync(() => {
        const latch = Latch.makeUnsafe(true)
        watchers.add(latch)
        return latch
      }),
      (latch) => Effect.sync(() => watchers.delete(latch))
    )

    /** Watches over a run: says when the feeding has begun, drains when all is acknowledged, and knows the end. */
    const monitor: Effect.Effect<void, FeedError> = Effect.scoped(Effect.gen(function*() {
      const changed = yield* watch
      while (true) {
        yield* changed.await
        changed.closeUnsafe()
        if (fatal !== undefined) return yield* fatal
        const all = [...remotes.values()]
        const states = everyFeed().map((feed) => feed.state())
        if (taken > 0 || states.some((state) => state.accepted > 0)) {
          hasFed = true
          yield* Deferred.succeed(feeding, undefined)
        }
        const isAllOut = areSourcesDone() && queue.heldUnsafe() + inHand + delayed === 0
        const isFinished = isAllOut && states.every((state) => FeedSession.leased(state) === 0)
        if (isAllOut) { for (const { feed } of all) feed.flushUnsafe() }
        if (isFinished) { for (const { feed } of all) feed.drainUnsafe() }
        const failed = all.flatMap((remote) => remote.failed ?? [])
        // With nothing left to feed it is no failure that the devices are gone, unless none of them ever fitted.
        const isUnfit = failed.every(({ cause }) => cause._tag === "FeedRefused")
        if (failed.length > 0 && failed.length === all.length && (!isFinished || isUnfit)) {
          return yield* error(new NoDeviceLeft({ devices: failed }))
        }
        if (isFinished && all.every(({ failed, feed }) => failed !== undefined || feed.state().phase === "Ended")) {
          hasEnded = true
          // The source that ended last closes it too, unless it is stopped before it gets there.
          queue.closeNowUnsafe()
          return
        }
      }
    }))

    const runOnce: Effect.Effect<Ledger.Ledger, unknown> = Effect.scoped(Effect.gen(function*() {
      const gracePeriod = options.gracePeriod ?? "30 seconds"
      const outer = yield* Coordinator.make<unknown>({ name: `feeder ${id}`, gracePeriod })
      const links = yield* outer.child<unknown>({ name: `links of feeder ${id}`, gracePeriod })
      const restarts = options.supervision === "all" ? yield* Restarts.make(tolerate) : undefined
      fatal = undefined
      if (!hasFed && Deferred.isDoneUnsafe(feeding)) feeding = Deferred.makeUnsafe()
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          current = { outer, links, restarts }
        }),
        () =>
          Effect.sync(() => {
            current = undefined
            changedUnsafe()
          })
      )
      yield* outer.fork("monitor", monitor)
      if (isStopAsked) yield* outer.requestStop()
      for (const [device, remote] of remotes) yield* startRemote(device, remote)
      // The last source that ends closes the queue.
      const closeIfDone = Effect.suspend(() => areSourcesDone() ? Effect.ignore(queue.close()) : Effect.void)
      for (const runner of runners) {
        yield* outer.fork(
          runner.name,
          runner.run.pipe(
            Effect.catchIf((failure) => failure instanceof ElementInvalid, (invalid) => Effect.fail(error(invalid))),
            Effect.andThen(closeIfDone),
            Effect.andThen(Effect.sync(changedUnsafe))
          )
        )
      }
      yield* closeIfDone
      yield* outer.join({ gracePeriod })
      yield* links.join({ gracePeriod })
      return ledger()
    })).pipe(
      Effect.catchIf((failure) => failure instanceof Coordinator.StragglersLeft, (left) => Effect.fail(error(left))),
      Effect.onExit((exit) =>
        Exit.isFailure(exit)
          ? Deferred.failCause(feeding, exit.cause)
          : Deferred.succeed(feeding, undefined)
      )
    )

    const claim = Effect.suspend(() => {
      if (isClaimed) return Effect.fail(error(new NotRunnable({ why: "running" })))
      if (hasEnded) return Effect.fail(error(new NotRunnable({ why: "ended" })))
      isClaimed = true
      isStopAsked = false
      return Effect.void
    })

    const run = Effect.acquireUseRelease(claim, () => runOnce, () =>
      Effect.sync(() => {
        isClaimed = false
      }))

    const stop = Effect.suspend(() => {
      isStopAsked = true
      return current === undefined ? Effect.void : Effect.asVoid(current.outer.requestStop())
    })

    const local = <B>(count: (b: B) => number, take: Effect.Effect<B, QueueEnded>): Effect.Effect<B, QueueEnded> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.map(restore(take), (b) => {
          inHand -= count(b)
          taken += count(b)
          changedUnsafe()
          return b
        })
      )

    const stacked = (take: Effect.Effect<ReadonlyArray<Slot<A>>, QueueEnded>) =>
      Effect.map(local((slots) => slots.length, take), (slots) => feed.codec.stack(slots.map((slot) => slot.element)))

    const takeOne: Effect.Effect<A, QueueEnded> = Effect.map(local(() => 1, queue.take), (slot) => slot.element)

    yield* Effect.addFinalizer(() => Effect.andThen(stop, Effect.sync(() => queue.closeNowUnsafe())))

    const feeder = {
      [TypeId]: TypeId,
      id,
      set: <Src extends Source<A, unknown, unknown>>(source: Src, o?: { readonly concurrency?: number | undefined }) =>
        Effect.as(add(source, readElement, o?.concurrency ?? 1), feeder),
      setMany: <Src extends Source<Stacked<S>, unknown, unknown>>(
        source: Src,
        o?: { readonly concurrency?: number | undefined }
      ) => Effect.as(add(source, readBatch, o?.concurrency ?? 1), feeder),
      addRemoteDevice,
      addRemoteDevices,
      removeRemoteDevice,
      addRemoteReplicas: (...args: Parameters<typeof DeviceSpec.replicas>) =>
        Effect.try({
          try: () => DeviceSpec.replicas(...args),
          catch: (thrown) => error(new DeviceInvalid({ device: `/job:${args[0]}`, issue: issueOf(thrown) }))
        }).pipe(Effect.flatMap(addRemoteDevices)),
      run,
      stop,
      feeding: Effect.suspend(() => Deferred.await(feeding)),
      status: Effect.sync(status),
      changes: Stream.unwrap(Effect.map(watch, (changed) =>
        Stream.fromEffectRepeat(Effect.map(changed.await, () => {
          changed.closeUnsafe()
          return status()
        })))),
      ledger: Effect.sync(ledger),
      take: takeOne,
      takeMany: (n: number) => stacked(queue.takeMany(n)),
      takeUpTo: (n: number) => stacked(queue.takeUpTo(n)),
      elements: Stream.fromPull(Effect.succeed(
        Effect.map(takeOne, (element): readonly [A] => [element]).pipe(
          Effect.catchTag("QueueEnded", () => Cause.done())
        )
      ))
    }
    // What a source fails with is `unknown` in here; `set` and `setMany` tell it in the type of what they give.
    return feeder as Feeder<S>
  })

const issueOf = (thrown: unknown): string =>
  thrown instanceof DeviceSpec.DeviceSpecError ? thrown.issue : String(thrown)

/** A device that is fed, the run it was last started in, its fiber there, and how it failed in this run. */
interface Remote<A> {
  readonly feed: RemoteFeed.RemoteFeed<A>
  startedIn: unknown
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  failed: RemoteFeed.DeviceFailed | undefined
}

/** An element in the local queue. Its ordinal is -1 until it first leaves. */
interface Slot<A> {
  ordinal: number
  readonly attempt: number
  readonly element: A
}

/**
 * Feeds a source to devices until it has ended and everything is acknowledged as declared, and gives the account.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = <
  Name extends string,
  S extends ElementSchema,
  Ack extends Acknowledge,
  Src extends Source<S["Type"], unknown, unknown>
>(
  feed: Feed<Name, S, Ack>,
  options: Options & {
    readonly source: Src
    readonly devices: Iterable<DeviceSpec.Input>
    /** How many runners run the source, if it is an Effect. Default 1. */
    readonly concurrency?: number | undefined
  }
): Effect.Effect<Ledger.Ledger, FeedError | SourceError<Src>, RemoteDevices | SourceServices<Src>> =>
  Effect.scoped(Effect.gen(function*() {
    const made = yield* make(feed, options)
    const feeder = yield* made.set(options.source, { concurrency: options.concurrency })
    yield* feeder.addRemoteDevices(options.devices)
    return yield* feeder.run
  }))
