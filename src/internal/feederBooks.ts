/**
 * The books of a feeder: its queue, where each element stands, and what its remote feeds know of their devices.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type * as Coordinator from "../actors/Coordinator.ts"
import type * as RemoteFeed from "../actors/RemoteFeed.ts"
import * as FeedQueue from "../FeedQueue.ts"
import * as FeedSession from "../FeedSession.ts"
import * as Ledger from "../Ledger.ts"
import type { FeedErrorReason } from "./feedError.ts"
import { FeedError, TooManyAttempts } from "./feedError.ts"
import type { Restarts } from "./restarts.ts"

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

/** An element in the local queue. Its ordinal is -1 until it first leaves. */
export interface Slot<A> {
  ordinal: number
  readonly attempt: number
  readonly element: A
}

/** A device that is fed, the run it was last started in, its fiber there, and how it failed in this run. */
export interface Remote<A> {
  readonly feed: RemoteFeed.RemoteFeed<A>
  startedIn: Run | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  failed: RemoteFeed.DeviceFailed | undefined
}

/** A run that goes on. */
export interface Run {
  readonly outer: Coordinator.Coordinator<unknown>
  readonly links: Coordinator.Coordinator<unknown>
  /** What runs the sources. */
  readonly runners: Array<Fiber.Fiber<unknown, unknown>>
  /** What all remote feeds share, if they restart together. */
  readonly restarts: Restarts | undefined
}

/** An element that a consumer refused for good. */
export interface Rejected {
  readonly device: string
  readonly ordinal: number
  readonly cause: string
}

/** The books: see the module. The members that end in `Unsafe` act at once. */
export interface Books<A> {
  readonly queue: FeedQueue.FeedQueue<Slot<A>>
  readonly remotes: Map<string, Remote<A>>
  /** Devices that were removed: their counts stay, and their sessions' numbers go on if they are added again. */
  readonly removed: Map<string, RemoteFeed.RemoteFeed<A>>
  readonly owner: RemoteFeed.Owner<A>
  /** The run that goes on, if one does. */
  run: Run | undefined
  /** The run is being drained: nothing more is fed. */
  isDraining: boolean
  /** Why the run cannot go on. */
  fatal: FeedError | undefined
  /** The sources have ended, and everything is acknowledged as declared: nothing is to be fed any more. */
  hasEnded: boolean
  readonly error: (reason: typeof FeedErrorReason.Type) => FeedError
  /** The run cannot go on; the first reason counts. */
  readonly failUnsafe: (reason: typeof FeedErrorReason.Type) => void
  /** Elements were taken in the feeder's own process. */
  readonly takenUnsafe: (count: number) => void
  /** Whether nothing is queued, in the feeder's hands, or waiting to be fed again. */
  readonly isAllOut: () => boolean
  /** Whether nothing is out at a device, removed ones included. */
  readonly isAllAcknowledged: () => boolean
  /** Whether an element was ever accepted by a device, or taken here. */
  readonly hasFed: () => boolean
  readonly ledger: () => Ledger.Ledger
  readonly devices: () => ReadonlyArray<DeviceStatus>
  /** The last hundred. */
  readonly rejected: () => ReadonlyArray<Rejected>
  /** Resumes fibers, which run at once: only to be called when the books are in order. */
  readonly changedUnsafe: () => void
  /** A latch that opens at every change, while the scope is open. */
  readonly watch: Effect.Effect<Latch.Latch, never, Scope.Scope>
}

/** The books of a new feeder. */
export const make = <A>(options: {
  readonly feed: string
  readonly capacity: number
  readonly feeder: string
  readonly maxAttempts: number
}): Effect.Effect<Books<A>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const scope = yield* Effect.scope
    const context = yield* Effect.context<never>()
    let nextOrdinal = 0
    /** Elements with an ordinal that are in the queue again; that left it and are in the hands of this feeder. */
    let returned = 0
    let inHand = 0
    let taken = 0
    /** Given back, waiting for their time. */
    let delayed = 0
    /** Elements came back, and the remote feeds do not know yet. */
    let hasReturned = false
    const rejected: Array<Rejected> = []
    const watchers = new Set<Latch.Latch>()
    const remotes = new Map<string, Remote<A>>()
    const removed = new Map<string, RemoteFeed.RemoteFeed<A>>()

    const error = (reason: typeof FeedErrorReason.Type) =>
      new FeedError({ feed: options.feed, feeder: options.feeder, reason })

    const changedUnsafe = () => {
      if (hasReturned) {
        hasReturned = false
        for (const { feed } of remotes.values()) feed.wakeUnsafe()
      }
      for (const latch of watchers) latch.openUnsafe()
    }

    const queue = yield* FeedQueue.make<Slot<A>>({
      capacity: options.capacity,
      name: options.feed,
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
      now: () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6,
      changedUnsafe,
      canFeed: () => books.fatal === undefined && !books.isDraining,
      failUnsafe: (reason) => books.failUnsafe(reason),
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
        const spent = items.find((item) => item.attempt > options.maxAttempts)
        if (spent !== undefined) {
          const { attempt, ordinal } = spent
          books.fatal ??= error(new TooManyAttempts({ ordinal, attempts: attempt - 1, device, cause }))
        }
        if (afterMillis === 0) return putBackUnsafe(items)
        delayed += items.length
        inHand -= items.length
        Effect.runForkWith(context)(
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

    const books: Books<A> = {
      queue,
      remotes,
      removed,
      owner,
      run: undefined,
      isDraining: false,
      fatal: undefined,
      hasEnded: false,
      error,
      failUnsafe: (reason) => {
        books.fatal ??= error(reason)
        changedUnsafe()
      },
      takenUnsafe: (count) => {
        inHand -= count
        taken += count
        changedUnsafe()
      },
      isAllOut: () => queue.heldUnsafe() + inHand + delayed === 0,
      isAllAcknowledged: () => everyFeed().every((feed) => FeedSession.leased(feed.state()) === 0),
      hasFed: () => taken > 0 || everyFeed().some((feed) => feed.state().accepted > 0),
      ledger: () =>
        Ledger.make({
          generated: nextOrdinal + queue.heldUnsafe() - returned,
          queued: queue.heldUnsafe() + inHand + delayed,
          taken,
          devices: everyFeed().map((feed) => deviceLedger(feed.device, feed.state()))
        }),
      devices: () =>
        [...remotes].map(([device, { feed }]) => {
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
        }),
      rejected: () => [...rejected],
      changedUnsafe,
      watch: Effect.acquireRelease(
        Effect.sync(() => {
          const latch = Latch.makeUnsafe(true)
          watchers.add(latch)
          return latch
        }),
        (latch) => Effect.sync(() => watchers.delete(latch))
      )
    }
    return books
  })
