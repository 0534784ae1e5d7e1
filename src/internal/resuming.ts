/**
 * The resumable sources of a feeder: reads their splits, knows what of them is acknowledged, and keeps that in a store.
 *
 * What a checkpoint does not say to be acknowledged comes again in the next life, and is marked if it may have left this
 * one. So each checkpoint *reserves*, per split, more elements than were read, and no element beyond what the last
 * checkpoint has reserved enters the local queue. The next one is written in time, in the background; a feeder waits only
 * for a store that is slower than its consumers.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as QueueRunner from "../actors/QueueRunner.ts"
import type { ElementInvalid } from "../BatchCodec.ts"
import type { QueueClosed } from "../FeedQueue.ts"
import type { ResumableSource } from "../ResumableSource.ts"
import { PositionInvalid } from "../ResumableSource.ts"
import type { Checkpoint, Split as Kept } from "./checkpoints.ts"
import { CheckpointFailed, keyOf } from "./checkpoints.ts"
import * as CheckpointStore from "./checkpointStore.ts"
import type { Books, Slot } from "./feederBooks.ts"
import type { FeedError } from "./feedError.ts"
import { NotResumable } from "./feedError.ts"
import type { FormerDevices } from "./formerDevices.ts"
import * as Former from "./formerDevices.ts"
import type { Open, SplitProgress } from "./splitProgress.ts"
import * as Progress from "./splitProgress.ts"

/**
 * The checkpoints of a feeder, as they stand. `sequence` and `at` (in milliseconds since 1970) are of the last one that
 * this feeder has written. `isWaiting`: the sources wait for one to be written. `lastError` is why the last could not be.
 *
 * @category models
 * @since 0.1.0
 */
export interface CheckpointStatus {
  readonly sequence: number | undefined
  readonly at: number | undefined
  readonly isWaiting: boolean
  readonly lastError: string | undefined
}

/** The resumable sources of a feeder: see the module. */
export interface Resuming<A> {
  readonly add: <E, R>(source: ResumableSource<A, E, R>) => Effect.Effect<void, FeedError, R>
  /** Waits until a checkpoint says that the device is fed, if there are to be checkpoints. */
  readonly untilKnown: (device: string) => Effect.Effect<void>
  /** Takes a checkpoint now. */
  readonly checkpoint: Effect.Effect<Checkpoint, CheckpointFailed>
  /** Takes one that reserves nothing that was not fed, if it can be within the grace period. */
  readonly finish: Effect.Effect<void>
  readonly status: () => CheckpointStatus | undefined
}

/** An element of a resumable source on its way. */
interface ResumableSlot<A> extends Slot<A> {
  readonly origin: Open
}

interface Split {
  /** `<source>/<split>`. */
  readonly name: string
  readonly progress: SplitProgress
  readonly isDone: () => boolean
  /** Up to which element, by index, former lives may have fed it. */
  readonly fedBefore: number
  /** Up to which element it was offered to the local queue; up to which it may be. */
  offered: number
  limit: number
  /** From which element on the next checkpoint is to be written. */
  renewAt: number
  /** How much was read when the last checkpoint was written. */
  readThen: number
}

/** Elements that a checkpoint reserves beyond those that were read, at least. Tests have fewer. */
export const LeastMargin = Context.Reference<number>("effect-feeder/internal/resuming/LeastMargin", {
  defaultValue: () => 10_000
})

/** The resumable sources of a new feeder, which has none. */
export const make = <A>(options: {
  readonly books: Books<A>
  readonly runners: Array<QueueRunner.QueueRunner<unknown>>
  readonly feed: string
  readonly capacity: number
  readonly feeder: string
  readonly hasFixedId: boolean
  readonly isAtMostOnce: boolean
  /** Whether the elements' ids are their positions. */
  readonly areIdsPositions: boolean
  readonly incarnation: number
  readonly leaseMillis: number
  readonly store: KeyValueStore.KeyValueStore | undefined
  readonly every: Duration.Input
  readonly leastMargin: number
  readonly gracePeriod: Duration.Input
  readonly validate: (element: A) => Result.Result<A, ElementInvalid>
  /** Into the local queue. */
  readonly admit: (
    slots: ReadonlyArray<Slot<A>>,
    onAdmit: (count: number) => void
  ) => Effect.Effect<void, QueueClosed>
  readonly scope: Scope.Scope
}): Resuming<A> => {
  const { books, capacity, feed, feeder, gracePeriod, runners, scope } = options
  const leaseMillis = Math.ceil(options.leaseMillis)
  const splits = new Map<string, Split>()
  const sources = new Set<string>()
  const opening = Semaphore.makeUnsafe(1)
  const writing = Semaphore.makeUnsafe(1)
  /** A checkpoint is wanted now; one was written. */
  const wanted = Latch.makeUnsafe(false)
  const reserved = Latch.makeUnsafe(false)
  const everyMillis = Duration.toMillis(Duration.fromInputUnsafe(options.every))
  let checkpoints: CheckpointStore.CheckpointStore | undefined
  let former: FormerDevices | undefined
  let at: number | undefined
  let lastError: string | undefined
  let waiting = 0
  /** What was last written. */
  let lastWritten = ""

  // --- checkpoints ---------------------------------------------------------------------------------------------------

  /** What is to be written, and up to where each split may be fed once it is. */
  const snapshot = (inherited: Checkpoint | undefined) => {
    const kept: Record<string, Kept> = { ...inherited?.splits }
    const limits: Array<readonly [Split, number]> = []
    for (const split of splits.values()) {
      const { above, to } = split.progress.snapshot()
      const ended = split.isDone()
      const read = split.progress.read()
      const fed = ended ? split.offered : Math.max(split.offered, split.fedBefore)
      const margin = Math.max(options.leastMargin, 4 * capacity, 4 * (read - split.readThen))
      const limit = ended || books.run === undefined ? fed : Math.max(fed, read + margin)
      limits.push([split, limit])
      kept[split.name] = {
        ...(to === undefined ? {} : { to }),
        above,
        reserved: Math.max(0, limit - split.progress.passed()),
        ended
      }
    }
    const before = former?.names() ?? []
    const content: CheckpointStore.Content = {
      leaseMillis: before.length > 0 && inherited !== undefined
        ? Math.max(leaseMillis, inherited.leaseMillis)
        : leaseMillis,
      devices: [...new Set([...books.remotes.keys(), ...books.removed.keys(), ...before])],
      splits: kept
    }
    return { content, limits, text: JSON.stringify(content) }
  }

  /** Takes a checkpoint, unless nothing has changed since the last one. */
  const write = (always: boolean): Effect.Effect<Checkpoint, CheckpointFailed> =>
    writing.withPermits(1)(Effect.suspend(() => {
      wanted.closeUnsafe()
      if (checkpoints === undefined) return Effect.fail(nothingToKeep())
      const { content, limits, text } = snapshot(checkpoints.inherited)
      const last = checkpoints.written()
      if (!always && text === lastWritten && last !== undefined) return Effect.succeed(last)
      // Whether a write that fails was done nobody knows: until it succeeds the lower reservation counts.
      for (const [split, limit] of limits) split.limit = Math.min(split.limit, limit)
      return Effect.matchEffect(checkpoints.write(content), {
        onSuccess: (checkpoint) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            for (const [split, limit] of limits) {
              split.limit = limit
              split.readThen = split.progress.read()
              split.renewAt = limit - (limit - split.readThen) / 2
            }
            at = now
            lastError = undefined
            lastWritten = text
            reserved.openUnsafe()
            books.changedUnsafe()
            return checkpoint
          }),
        onFailure: (failed) =>
          Effect.suspend(() => {
            const isNew = lastError !== failed.message
            lastWritten = ""
            lastError = failed.message
            if (failed.why === "taken over") books.failUnsafe(failed)
            else books.changedUnsafe()
            return Effect.andThen(isNew ? Effect.logWarning(failed.message) : Effect.void, Effect.fail(failed))
          })
      })
    }))

  const nothingToKeep = () =>
    new CheckpointFailed({
      key: keyOf({ feed, feeder }),
      why: "nothing to keep",
      detail: options.store === undefined ? "the feeder has no store" : "the feeder has no ResumableSource"
    })

  /** Takes checkpoints for as long as the feeder's scope is open. */
  const keepWriting: Effect.Effect<never> = Effect.scoped(Effect.gen(function*() {
    const changed = yield* books.watch
    while (true) {
      yield* Effect.raceFirst(changed.await, wanted.await)
      changed.closeUnsafe()
      yield* Effect.raceFirst(Effect.sleep(everyMillis), wanted.await)
      while (yield* Effect.isFailure(write(false))) yield* Effect.sleep(Math.max(everyMillis, 100))
    }
  }))

  /** The store as it is used, once a source needs it. */
  const opened = (store: KeyValueStore.KeyValueStore) =>
    opening.withPermits(1)(Effect.gen(function*() {
      if (checkpoints !== undefined) return checkpoints
      const { incarnation } = options
      checkpoints = yield* Effect.mapError(CheckpointStore.open({ store, feed, feeder, incarnation }), books.error)
      const { inherited } = checkpoints
      if (inherited !== undefined) former = Former.make<A>({ books, ...inherited })
      if (checkpoints.written() !== undefined) at = yield* Clock.currentTimeMillis
      yield* Effect.forkIn(keepWriting, scope)
      return checkpoints
    }))

  // --- splits --------------------------------------------------------------------------------------------------------

  /** Waits for a checkpoint after which something is so. Says so if that takes longer than it does as a rule. */
  const untilWritten = (who: string, isSo: () => boolean): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (isSo()) return Effect.void
      reserved.closeUnsafe()
      waiting++
      wanted.openUnsafe()
      const told = Effect.andThen(
        Effect.sleep(Math.max(everyMillis, 1000)),
        Effect.suspend(() =>
          Effect.logWarning(`${who} waits for a checkpoint to be written: ${lastError ?? "the store is slow"}`)
        )
      )
      return Effect.raceFirst(reserved.await, Effect.andThen(told, reserved.await)).pipe(
        Effect.ensuring(Effect.sync(() => {
          waiting--
        })),
        Effect.andThen(untilWritten(who, isSo))
      )
    })

  const untilKnown = (device: string): Effect.Effect<void> =>
    untilWritten(
      `device ${device}`,
      () => checkpoints === undefined || checkpoints.written()?.devices.includes(device) === true
    )

  /** Offers what is reserved, and comes back for the rest. */
  const offer = (
    split: Split,
    slots: ReadonlyArray<ResumableSlot<A>>,
    onAdmit: (count: number) => void
  ): Effect.Effect<void, QueueClosed> =>
    Effect.suspend(() => {
      const first = slots[0]!.origin.index
      // What a former life may have fed is not to overtake what its devices have.
      if (first <= split.fedBefore && former !== undefined && former.names().length > 0) return former.untilNone
      const allowed = slots.at(-1)!.origin.index <= split.limit
        ? slots
        : slots.filter(({ origin }) => origin.index <= split.limit)
      if (allowed.length === 0) {
        return untilWritten(`split "${split.name}"`, () => first <= split.limit)
      }
      let admitted = 0
      split.offered = allowed.at(-1)!.origin.index
      return options.admit(allowed, (count) => {
        onAdmit(count)
        admitted += count
        books.changedUnsafe()
      }).pipe(Effect.onExit(() =>
        Effect.sync(() => {
          // What was not admitted stays in the runner's hand.
          if (admitted < allowed.length) split.offered = allowed[admitted]!.origin.index - 1
          if (split.offered > split.renewAt) wanted.openUnsafe()
        })
      ))
    })

  const addSplit = <E, R>(
    source: ResumableSource<A, E, R>,
    splitName: string,
    store: CheckpointStore.CheckpointStore | undefined,
    context: Context.Context<R>
  ) => {
    const name = `${source.name}/${splitName}`
    const kept = store?.inherited?.splits[name]
    const progress = Progress.make({ to: kept?.to, above: kept?.above ?? [] })
    const fedBefore = kept?.reserved ?? 0
    const runner = QueueRunner.make<readonly [position: number, element: A], ResumableSlot<A>, E, R>({
      name: `source ${runners.length + 1} "${name}"`,
      source: source.read(splitName, kept?.to),
      pullSize: capacity,
      read: ([position, given]) => {
        const after = progress.last()
        if (!Number.isSafeInteger(position) || (after !== undefined && position <= after)) {
          return Result.fail(
            new PositionInvalid({
              source: source.name,
              split: splitName,
              position,
              ...(Number.isSafeInteger(position) && after !== undefined ? { after } : {})
            })
          )
        }
        // One that is invalid stays open: it comes again in the next life, and may be mended by then.
        const origin = progress.admit(position)
        if (origin === undefined) return Result.succeed([])
        return Result.map(options.validate(given), (element) => {
          const attempt = origin.index <= fedBefore ? 2 : 1
          return [{
            ordinal: -1,
            attempt,
            since: attempt,
            element,
            origin,
            ...(options.areIdsPositions ? { id: `${feeder}/${name}@${position}` } : {})
          }]
        })
      },
      offer: (slots, onAdmit) => offer(split, slots, onAdmit),
      feeder,
      scope,
      context
    })
    const isKept = store !== undefined
    const split: Split = {
      name,
      progress,
      isDone: runner.isDone,
      fedBefore,
      offered: 0,
      // What the life before reserved counts once this one has written it again.
      limit: !isKept ? Number.POSITIVE_INFINITY : store.written() === undefined ? 0 : fedBefore,
      renewAt: isKept ? 0 : Number.POSITIVE_INFINITY,
      readThen: 0
    }
    splits.set(name, split)
    runners.push(runner)
  }

  const refuse = (source: string, why: NotResumable["why"]) =>
    Effect.fail(books.error(new NotResumable({ source, why })))

  const add = <E, R>(source: ResumableSource<A, E, R>): Effect.Effect<void, FeedError, R> =>
    Effect.gen(function*() {
      const { store } = options
      if (store !== undefined && options.isAtMostOnce) return yield* refuse(source.name, "at most once")
      if (store !== undefined && !options.hasFixedId) return yield* refuse(source.name, "no id")
      const kept = store === undefined ? undefined : yield* opened(store)
      const isTaken = source.splits.some((split) => splits.has(`${source.name}/${split}`))
      if (isTaken || sources.has(source.name)) return yield* refuse(source.name, "name taken")
      sources.add(source.name)
      const context = yield* Effect.context<R>()
      for (const split of source.splits) addSplit(source, split, kept, context)
    })

  return {
    add,
    untilKnown,
    checkpoint: Effect.suspend(() => write(true)),
    finish: Effect.suspend(() => {
      if (checkpoints === undefined) return Effect.void
      return Effect.ignore(Effect.timeoutOption(Effect.interruptible(write(false)), gracePeriod))
    }),
    status: () =>
      checkpoints === undefined
        ? undefined
        : { sequence: checkpoints.written()?.sequence, at, isWaiting: waiting > 0, lastError }
  }
}
