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
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ElementInvalid, Stacked } from "../BatchCodec.ts"
import type { DeadLetters } from "../DeadLetters.ts"
import type * as DeviceSpec from "../DeviceSpec.ts"
import * as FailureTolerator from "../FailureTolerator.ts"
import type { ElementSchema, Feed } from "../Feed.ts"
import type { OnTake, QueueEnded } from "../FeedQueue.ts"
import type { Checkpoint, CheckpointFailed } from "../internal/checkpoints.ts"
import type { Slot } from "../internal/feederBooks.ts"
import * as Books from "../internal/feederBooks.ts"
import * as FeederDevices from "../internal/feederDevices.ts"
import type { Drained } from "../internal/feederDrain.ts"
import type { Devices, ElementSource, Options, Status } from "../internal/feederModels.ts"
import { FeedError, IdsNotStable } from "../internal/feedError.ts"
import * as Runs from "../internal/feederRuns.ts"
import * as Items from "../internal/items.ts"
import * as Overflow from "../internal/overflow.ts"
import type { Producer } from "../internal/producers.ts"
import * as Producers from "../internal/producers.ts"
import { randomId } from "../internal/randomId.ts"
import { received } from "../internal/received.ts"
import * as Resuming from "../internal/resuming.ts"
import { reader } from "../internal/slots.ts"
import { prefixOf } from "../internal/storeKeys.ts"
import type * as Ledger from "../Ledger.ts"
import type { Acknowledge, DeliveryMode, RemoteDevices } from "../RemoteDevices.ts"
import * as ResumableSource from "../ResumableSource.ts"
import type { Source, SourceError, SourceServices } from "./QueueRunner.ts"
import * as QueueRunner from "./QueueRunner.ts"

export type { DeviceStatus } from "../internal/feederAccount.ts"
export type { Dead } from "../internal/feederBooks.ts"
export type { Drained } from "../internal/feederDrain.ts"
export type { Devices, ElementSource, Options, Status } from "../internal/feederModels.ts"
export {
  DeviceInvalid,
  FeedError,
  FeedErrorReason,
  IdsNotStable,
  NoDeviceLeft,
  NotResumable,
  NotRunnable
} from "../internal/feedError.ts"
export { Undelivered } from "../internal/producers.ts"
export type { Producer } from "../internal/producers.ts"
export type { CheckpointStatus } from "../internal/resuming.ts"

const TypeId = "~effect-feeder/actors/Feeder"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

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
   * `concurrency` (default 1) is how many runners an Effect is run by; a ResumableSource has one for each of its splits,
   * other sources have one.
   *
   * A ResumableSource goes on from the checkpoint of the feeder's former life, if the feeder has a `store`. Fails if
   * that checkpoint cannot be read, or the source cannot be fed as the feed demands.
   */
  readonly set: <Src extends ElementSource<S["Type"], unknown, unknown>>(
    source: Src,
    options?: { readonly concurrency?: number | undefined }
  ) => Effect.Effect<Feeder<S, E | SourceError<Src>>, FeedError, SourceServices<Src>>

  /** Adds a source of stacked batches, which are taken apart. */
  readonly setMany: <Src extends Source<Stacked<S>, unknown, unknown>>(
    source: Src,
    options?: { readonly concurrency?: number | undefined }
  ) => Effect.Effect<Feeder<S, E | SourceError<Src>>, FeedError, SourceServices<Src>>

  /**
   * Something to give elements to one by one, from wherever they come, such as a handler of requests. As long as its scope
   * is open the feed does not end. It may be opened while the feeder runs, and there may be many. Fails where a source that
   * is not resumable could not be added.
   *
   * **Example** (Waiting for what becomes of an element)
   *
   * ```ts import.meta.vitest
   * import { Effect, Schema } from "effect"
   * import { Feed, Feeder, MemoryDevices } from "effect-feeder"
   *
   * const Mails = Feed.make("mails", { element: Schema.String, capacity: 8, acknowledge: "processed" })
   * const sent: Array<string> = []
   * const program = Effect.scoped(Effect.gen(function*() {
   *   yield* Effect.forkChild(Mails.forEach((mail) => Effect.sync(() => sent.push(mail))))
   *   const feeder = yield* Feeder.make(Mails)
   *   yield* feeder.addRemoteDevice("/job:consumer/replica:0")
   *   yield* Effect.forkChild(feeder.run)
   *   const producer = yield* feeder.producer
   *   yield* producer.push("hello")
   *   return sent.slice()
   * })).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Mails] })))
   *
   * await Effect.runPromise(program) // => ["hello"]
   * ```
   */
  readonly producer: Effect.Effect<Producer<S["Type"]>, FeedError, Scope.Scope>

  /** Adds a device to feed. It may be added while the feeder runs. */
  readonly addRemoteDevice: (device: DeviceSpec.Input) => Effect.Effect<void, FeedError, RemoteDevices>
  /** Adds devices, by name or as they come: see `Devices`. Those that come are added while the feeder's scope is open. */
  readonly addRemoteDevices: (devices: Devices) => Effect.Effect<void, FeedError, RemoteDevices>
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
  /**
   * Takes a checkpoint of its resumable sources now, without stopping anything. A feeder takes them by itself, too: every
   * `checkpointEvery`, when a run ends, and when its scope is closed.
   */
  readonly checkpoint: Effect.Effect<Checkpoint, CheckpointFailed>
  /**
   * Stops a run gently: the sources are paused and nothing more is sent, what is out is waited for, at most until the
   * deadline, and then the run is stopped, so that it completes with its account. Says what became of the elements that
   * were queued and out.
   *
   * Devices are told to wait for no more to fill a batch. What a consumer gives back, and what was out at a device that
   * dies, is returned: it stays for the next run. A feed that has nothing left to feed ends, and its consumers with it.
   *
   * It returns when the run has ended, at once when none goes on. Interrupting it stops the run at once, and so do
   * `stop` and an interruption of the run. `deadline` is counted from now; default: the feeder's `gracePeriod`.
   */
  readonly drain: (options?: { readonly deadline?: Duration.Input | undefined }) => Effect.Effect<Drained>
  /**
   * Waits until an element was first accepted by a device, or taken here, or the feed has ended. A run that is stopped
   * before that leaves who waits to the next. Fails with the run; is interrupted when the feeder's scope is closed.
   */
  readonly feeding: Effect.Effect<void, FeedError | E>
  readonly status: Effect.Effect<Status>
  /** The status now and after every change, as fast as it is read. */
  readonly changes: Stream.Stream<Status>
  readonly ledger: Effect.Effect<Ledger.Ledger>
  readonly deadLetters: DeadLetters<S["Type"]>

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

/** Numbers that make no sense are a mistake of the program, as in `Feed.make`. */
const check = ({ maxAttempts = 5, maxDeadLetters = Infinity }: Options): void => {
  if (!Number.isSafeInteger(maxAttempts) || maxAttempts < 1) {
    throw new RangeError(`Feeder.make: maxAttempts must be a positive integer, got ${maxAttempts}`)
  }
  if (maxDeadLetters !== Infinity && (!Number.isSafeInteger(maxDeadLetters) || maxDeadLetters < 0)) {
    throw new RangeError(`Feeder.make: maxDeadLetters must be a natural number or Infinity, got ${maxDeadLetters}`)
  }
}

const millisOf = (duration: Duration.Input): number => Duration.toMillis(Duration.fromInputUnsafe(duration))

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
  feed: Feed<Name, S, Ack, DeliveryMode>,
  options: Options = {}
): Effect.Effect<Feeder<S>, FeedError, Scope.Scope> =>
  Effect.gen(function*() {
    type A = S["Type"]
    check(options)
    const clock = yield* Clock.Clock
    const scope = yield* Effect.scope
    const id = options.id ?? `${feed.name}-${yield* randomId}`
    const { store } = options
    const leaseMillis = millisOf(options.lease ?? "10 seconds")
    /** The ids of elements, which an effectivelyOnce feed needs, are their positions in sources. */
    const areIdsPositions = feed.delivery === "effectivelyOnce" && feed.identify === undefined
    if (areIdsPositions && (store === undefined || options.id === undefined)) {
      return yield* new FeedError({ feed: feed.name, feeder: id, reason: new IdsNotStable({}) })
    }
    // Grows from one start of a feeder to the next, and differs between two that start in the same millisecond.
    const incarnation = clock.currentTimeMillisUnsafe() * 1000 + (yield* Random.nextIntBetween(0, 1000))
    const tolerate = options.tolerate ?? FailureTolerator.make()
    const isTogether = options.supervision === "all"
    const gracePeriod = options.gracePeriod ?? "30 seconds"
    const runners: Array<QueueRunner.QueueRunner<unknown>> = []
    const books = yield* Books.make<A>({
      feed: feed.name,
      capacity: feed.capacity,
      feeder: id,
      delivery: feed.delivery,
      maxAttempts: options.maxAttempts ?? 5,
      backOff: {
        initial: millisOf(options.backOff?.initial ?? 50),
        most: millisOf(options.backOff?.most ?? "30 seconds")
      },
      ordinals: options.ordinals ?? false,
      codec: feed.codec,
      store: options.store ?? Context.get(yield* Layer.build(KeyValueStore.layerMemory), KeyValueStore.KeyValueStore),
      // A random id is of one life: what it leaves in a store is the feed's.
      prefix: prefixOf({ feeder: options.id ?? "", feed: feed.name }),
      hasFixedId: options.id !== undefined,
      maxDeadLetters: options.maxDeadLetters ?? (options.store === undefined ? 10_000 : Infinity)
    })
    const devices = FeederDevices.make<A>({
      books,
      config: {
        feed: feed.name,
        fingerprint: feed.info.fingerprint,
        feeder: id,
        incarnation,
        acknowledge: feed.acknowledge,
        delivery: feed.delivery,
        leaseMillis,
        codec: feed.codec
      },
      info: feed.info,
      tolerate,
      isTogether,
      gracePeriod,
      scope,
      untilKnown: (device) => resuming.untilKnown(device)
    })
    const { queue } = books

    const validate = (element: A): Result.Result<A, ElementInvalid> =>
      feed.validate === "edges" ? Result.succeed(element) : feed.codec.validate(element)

    const status = (): Status => ({
      feed: feed.name,
      feeder: id,
      isRunning: books.run !== undefined,
      hasEnded: books.hasEnded,
      dead: books.dead(),
      deadLetters: { pending: books.box.pending(), lastError: books.box.lastError() },
      ledger: books.ledger(),
      devices: books.devices(),
      checkpoint: resuming.status()
    })

    const admit = Overflow.make<A>({ books, policy: options.overflow ?? "suspend" })

    const resuming = Resuming.make<A>({
      books,
      runners,
      feed: feed.name,
      capacity: feed.capacity,
      feeder: id,
      hasFixedId: options.id !== undefined,
      isAtMostOnce: feed.delivery === "atMostOnce",
      areIdsPositions,
      incarnation,
      leaseMillis,
      store,
      every: options.checkpointEvery ?? "1 second",
      leastMargin: yield* Resuming.LeastMargin,
      gracePeriod,
      validate,
      admit,
      scope
    })
    const runs = Runs.make<A>({
      feeder: id,
      books,
      devices,
      runners,
      tolerate,
      isTogether,
      gracePeriod,
      leaseMillis,
      onEnd: resuming.finish
    })

    const offer = (slots: ReadonlyArray<Slot<A>>, onAdmit: (count: number) => void) =>
      admit(slots, (count) => {
        onAdmit(count)
        books.changedSoonUnsafe()
      })

    const add = <Given, E, R>(
      source: Source<Given, E, R>,
      read: (given: Given) => Result.Result<ReadonlyArray<Slot<A>>, ElementInvalid>,
      concurrency: number,
      readAll?: (given: ReadonlyArray<Given>) => ReadonlyArray<Slot<A>> | undefined
    ): Effect.Effect<void, FeedError, R> =>
      Effect.contextWith((context: Context.Context<R>) =>
        Effect.suspend(() => {
          if (areIdsPositions) {
            return Effect.fail(books.error(new IdsNotStable({ source: `source ${runners.length + 1}` })))
          }
          for (let i = 0; i < (Effect.isEffect(source) ? concurrency : 1); i++) {
            runners.push(QueueRunner.make({
              name: `source ${runners.length + 1}`,
              source,
              pullSize: feed.capacity,
              read,
              readAll,
              offer,
              spans: Items.spans,
              feeder: id,
              scope,
              context
            }))
          }
          return Effect.void
        })
      )

    const read = reader(feed.codec, feed.validate)

    const addElements = <E, R>(source: ElementSource<A, E, R>, concurrency: number) =>
      ResumableSource.isResumableSource(source)
        ? resuming.add(source)
        : add(source, read.element, concurrency, read.elements)

    const producers = Producers.make<A>({
      feed: feed.name,
      feeder: id,
      books,
      runners,
      read,
      admit,
      join: runs.join
    })

    const putBack = (slots: ReadonlyArray<Slot<A>>) =>
      Effect.sync(() => {
        books.owner.putBackUnsafe(slots)
        books.changedUnsafe()
      })

    const local = (
      take: (onTake: OnTake<Slot<A>>) => Effect.Effect<ReadonlyArray<Slot<A>>, QueueEnded>
    ): Effect.Effect<ReadonlyArray<Slot<A>>, QueueEnded> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.map(received(restore, take, putBack), (slots) => {
          books.takenUnsafe(slots)
          return slots
        })
      )

    const takeOne: Effect.Effect<A, QueueEnded> = Effect.map(
      local((onTake) => queue.takeMany(1, onTake)),
      (slots) => slots[0]!.element
    )

    const stack = (slots: ReadonlyArray<Slot<A>>) => feed.codec.stackChunk(Items.gather(feed.codec, slots))

    yield* Effect.addFinalizer(() =>
      runs.stop.pipe(
        Effect.andThen(runs.close),
        Effect.andThen(resuming.finish),
        Effect.andThen(Effect.sync(() => {
          queue.closeNowUnsafe()
          producers.closeUnsafe()
        }))
      )
    )

    const feeder = {
      [TypeId]: TypeId,
      id,
      set: <Src extends ElementSource<A, unknown, unknown>>(
        source: Src,
        o?: { readonly concurrency?: number | undefined }
      ) => Effect.as(addElements(source, o?.concurrency ?? 1), feeder),
      setMany: <Src extends Source<Stacked<S>, unknown, unknown>>(
        source: Src,
        o?: { readonly concurrency?: number | undefined }
      ) => Effect.as(add(source, read.batch, o?.concurrency ?? 1), feeder),
      producer: Effect.suspend(() =>
        areIdsPositions ? Effect.fail(books.error(new IdsNotStable({ source: "a producer" }))) : producers.open
      ),
      addRemoteDevice: devices.add,
      addRemoteDevices: devices.addAll,
      addRemoteReplicas: devices.addReplicas,
      removeRemoteDevice: devices.remove,
      run: runs.run,
      stop: runs.stop,
      checkpoint: resuming.checkpoint,
      drain: (options?: { readonly deadline?: Duration.Input | undefined }) =>
        runs.drain(options?.deadline ?? gracePeriod),
      feeding: runs.feeding,
      status: Effect.sync(status),
      changes: Stream.unwrap(Effect.map(books.watch, (changed) =>
        Stream.fromEffectRepeat(Effect.map(changed.await, () => {
          changed.closeUnsafe()
          return status()
        })))),
      ledger: Effect.sync(books.ledger),
      deadLetters: books.box.letters,
      take: takeOne,
      takeMany: (n: number) =>
        Effect.map(local((onTake) => queue.takeMany(n, onTake)), stack),
      takeUpTo: (n: number) => Effect.map(local((onTake) => queue.takeUpTo(n, onTake)), stack),
      elements: Stream.fromPull(Effect.succeed(
        Effect.map(takeOne, (element): readonly [A] => [element]).pipe(
          Effect.catchTag("QueueEnded", () => Cause.done())
        )
      ))
    }
    // What a source fails with is `unknown` in here; `set` and `setMany` tell it in the type of what they give.
    return feeder as Feeder<S>
  })

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
  Src extends ElementSource<S["Type"], unknown, unknown>
>(
  feed: Feed<Name, S, Ack, DeliveryMode>,
  options: Options & {
    readonly source: Src
    readonly devices: Devices
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
