/**
 * The books of a feeder: its queue, where each element stands, and what its remote feeds know of their devices.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as KeyValueStore from "effect/persistence/KeyValueStore"
import type * as Scope from "effect/Scope"
import type * as Coordinator from "../actors/Coordinator.ts"
import type { QueueRunner } from "../actors/QueueRunner.ts"
import type * as RemoteFeed from "../actors/RemoteFeed.ts"
import type { BatchCodec } from "../BatchCodec.ts"
import type { Reason } from "../DeadLetters.ts"
import { FeedEnded } from "../DeadLetters.ts"
import * as FeedQueue from "../FeedQueue.ts"
import * as FeedSession from "../FeedSession.ts"
import * as Ledger from "../Ledger.ts"
import type { DeliveryMode } from "../RemoteDevices.ts"
import * as BackOff from "./backOff.ts"
import * as Changes from "./changes.ts"
import type { Box, Burial, Revived } from "./deadLetterBox.ts"
import * as DeadLetterBox from "./deadLetterBox.ts"
import { isDropped } from "./deadLetterBox.ts"
import * as Account from "./feederAccount.ts"
import type { DeviceStatus } from "./feederAccount.ts"
import type { FeedErrorReason } from "./feedError.ts"
import { FeedError } from "./feedError.ts"
import * as Items from "./items.ts"

/** What stands in the local queue: an element, or a span of several. Its ordinal is -1 until it first leaves. */
export interface Slot<A> extends Omit<FeedSession.Item<A>, "ordinal" | "attempt" | "since"> {
  ordinal: number
  attempt: number
  since?: number | undefined
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
  /** The sources that run, and what runs them. */
  readonly runners: Map<QueueRunner<unknown>, Fiber.Fiber<unknown, unknown>>
  readonly shared: RemoteFeed.Shared
}

/**
 * An element that became a dead letter.
 *
 * @category models
 * @since 0.1.0
 */
export interface Dead {
  readonly device: string | undefined
  readonly ordinal: number
  readonly reason: Reason
  readonly attempts: number
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
  readonly takenUnsafe: (slots: ReadonlyArray<Slot<A>>) => void
  /** Elements do not fit: they are dropped before they are fed. Those that were in the queue have left it. */
  readonly overflowUnsafe: (slots: ReadonlyArray<Slot<A>>) => void
  readonly box: Box<A>
  /** Whether nothing is queued, in the feeder's hands, or waiting to be fed again. */
  readonly isAllOut: () => boolean
  /** Whether nothing is out at a device, removed ones included. */
  readonly isAllAcknowledged: () => boolean
  /** Whether an element was ever accepted by a device, or taken here. */
  readonly hasFed: () => boolean
  readonly ledger: () => Ledger.Ledger
  readonly devices: () => ReadonlyArray<DeviceStatus>
  /** The dead letters of this life, the last hundred. */
  readonly dead: () => ReadonlyArray<Dead>
  /** Resumes fibers, which run at once: only to be called when the books are in order. */
  readonly changedUnsafe: () => void
  /** Does something when the books are in order. */
  readonly afterUnsafe: (task: () => void) => void
  /** The same within a turn of the scheduler, once for all that changes until then. */
  readonly changedSoonUnsafe: () => void
  /** A latch that opens at every change, while the scope is open. It is open at first. */
  readonly watch: Changes.Changes["watch"]
  /** Waits for the change after which something is so. */
  readonly until: Changes.Changes["until"]
}

/** The books of a new feeder. */
export const make = <A>(options: {
  readonly feed: string
  readonly capacity: number
  readonly feeder: string
  readonly delivery: DeliveryMode
  readonly maxAttempts: number
  readonly backOff: BackOff.Millis
  readonly ordinals: boolean
  readonly codec: BatchCodec<A, unknown>
  readonly store: KeyValueStore.KeyValueStore
  /** Under which the store keeps what is this feeder's. */
  readonly prefix: string
  /** Whether what is under the prefix is this feeder's alone. */
  readonly hasFixedId: boolean
  readonly maxDeadLetters: number
}): Effect.Effect<Books<A>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const dispatcher = yield* Effect.withFiber((fiber) => Effect.succeed(fiber.currentDispatcher))
    let isChanging = false
    let nextOrdinal = 0
    /** Elements with an ordinal that are in the queue again; that left it and are in the hands of this feeder. */
    let returned = 0
    let inHand = 0
    /** The highest ordinal that was sent to a device. */
    let lastPushed = -1
    let taken = 0
    let dead = 0
    let dropped = 0
    const ordinals = options.ordinals ? Account.settledOrdinals() : undefined
    /** Elements came back, and the remote feeds do not know yet. */
    let hasReturned = false
    let afterwards: Array<() => void> = []
    const lastDead: Array<Dead> = []
    /** So many may wait for their time, or for the store of the dead letters; beyond that no more are fed. */
    const mostWaiting = Math.max(1024, options.capacity * 4)
    const changes = Changes.make()
    const remotes = new Map<string, Remote<A>>()
    const removed = new Map<string, RemoteFeed.RemoteFeed<A>>()

    const error = (reason: typeof FeedErrorReason.Type) =>
      new FeedError({ feed: options.feed, feeder: options.feeder, reason })

    const changedUnsafe = () => {
      if (hasReturned) {
        hasReturned = false
        for (const { feed } of remotes.values()) feed.wakeUnsafe()
      }
      box.wakeUnsafe()
      // One may add others.
      const due = afterwards
      afterwards = []
      for (const task of due) task()
      changes.tellUnsafe()
    }

    /** Elements leave the queue: for the first time, or again. */
    const leavesUnsafe = (slot: Slot<A>) => {
      const count = Items.countOf(slot)
      if (slot.ordinal < 0) {
        slot.ordinal = nextOrdinal
        nextOrdinal += count
        return
      }
      returned -= count
      // It came back before it was sent, and one behind it was sent meanwhile: it comes out of order, and so is marked.
      if (slot.attempt > 1 || slot.ordinal > lastPushed) return
      slot.attempt = 2
      slot.since = (slot.since ?? 1) + 1
    }

    const queue = yield* FeedQueue.make<Slot<A>>({
      capacity: options.capacity,
      name: options.feed,
      spans: Items.spans,
      onHandOut: (slots) => {
        for (const slot of slots) leavesUnsafe(slot)
        inHand += Items.size(slots)
      }
    })

    const putBackUnsafe = (items: ReadonlyArray<FeedSession.Item<A>>) => {
      const count = Items.size(items)
      inHand -= count
      returned += count
      queue.restoreUnsafe(items)
      hasReturned = true
    }

    const acknowledgedUnsafe = (items: ReadonlyArray<FeedSession.Item<A>>) => {
      for (const item of items) {
        item.origin?.settledUnsafe()
        if (ordinals === undefined) continue
        const end = item.ordinal + Items.countOf(item)
        for (let ordinal = item.ordinal; ordinal < end; ordinal++) ordinals.acknowledged.addUnsafe(ordinal)
      }
    }

    const buried = (burial: Burial<A>) => {
      const { attempts, causes, device, item, reason } = burial
      const isDrop = isDropped(reason)
      if (isDrop) dropped++
      else dead++
      ordinals?.[isDrop ? "dropped" : "dead"].addUnsafe(item.ordinal)
      lastDead.push({ device, ordinal: item.ordinal, reason, attempts, cause: causes.at(-1) ?? "" })
      if (lastDead.length > 100) lastDead.shift()
      // One that was a letter before is one again: it is not settled.
      if (item.origin?.letter === undefined) item.origin?.settledUnsafe(burial)
      hasReturned = true
      changedUnsafe()
    }

    /** Waits until the queue has room. */
    const room: Effect.Effect<void, FeedEnded> = Effect.suspend(() =>
      Effect.andThen(
        books.until(() => queue.heldUnsafe() < options.capacity || books.hasEnded),
        Effect.suspend(() =>
          books.hasEnded ? Effect.fail(new FeedEnded({ feed: options.feed, feeder: options.feeder })) : Effect.void
        )
      )
    )

    const revive = ({ attempts, causes, element, id, letter, settledUnsafe }: Revived<A>) =>
      Effect.map(room, () => {
        const origin: FeedSession.Origin = { letter, settledUnsafe }
        queue.restoreUnsafe([{ ordinal: -1, attempt: attempts + 1, since: attempts + 1, element, id, origin, causes }])
        hasReturned = true
        changedUnsafe()
      })

    const box = yield* DeadLetterBox.make<A>({
      feed: options.feed,
      feeder: options.feeder,
      prefix: `${options.prefix}dead/`,
      suffix: options.hasFixedId ? "" : `-${options.feeder}`,
      store: options.store,
      most: options.maxDeadLetters,
      codec: options.codec,
      onBuried: buried,
      onFull: (full) => books.failUnsafe(full),
      revive
    })

    const letGo = (item: FeedSession.Item<A>, reason: Reason, device: string, cause?: string) =>
      box.buryUnsafe({
        item,
        reason,
        // One that came back counts the attempt that would be next.
        attempts: cause === undefined ? item.attempt - 1 : item.attempt,
        causes: cause === undefined ? item.causes ?? [] : [...item.causes ?? [], cause],
        device
      })

    /** Those that may be given again; the others are let go. */
    const givenAgain = (device: string, items: ReadonlyArray<FeedSession.Item<A>>) =>
      items.filter((item) => {
        const isSpent = item.attempt - (item.since ?? 1) >= options.maxAttempts
        if (options.delivery === "atMostOnce") letGo(item, "at most once", device)
        else if (isSpent) letGo(item, "attempts", device)
        else return true
        return false
      })

    const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

    const backOff = yield* BackOff.make<A>({
      millis: options.backOff,
      now,
      onDue: (items) => {
        inHand += items.length
        putBackUnsafe(items)
        changedUnsafe()
      }
    })

    const againAfter = (items: ReadonlyArray<FeedSession.Item<A>>, millis: number) => {
      if (millis === 0) {
        inHand += items.length
        return putBackUnsafe(items)
      }
      backOff.waitUnsafe(items, millis)
    }

    const owner: RemoteFeed.Owner<A> = {
      queue,
      now,
      changedUnsafe,
      soonUnsafe: (task) => dispatcher.scheduleTask(task, 0),
      canFeed: () =>
        books.fatal === undefined && !books.isDraining && backOff.waiting() < mostWaiting &&
        box.pending() < mostWaiting,
      isShared: () => remotes.size > 1,
      failUnsafe: (reason) => books.failUnsafe(reason),
      putBackUnsafe,
      acknowledgedUnsafe,
      pushedUnsafe: (items) => {
        inHand -= Items.size(items)
        const last = items.at(-1)
        if (last !== undefined) lastPushed = Math.max(lastPushed, last.ordinal + Items.countOf(last) - 1)
      },
      rejectedUnsafe: (device, item, cause, invalid) => letGo(item, invalid ? "invalid" : "rejected", device, cause),
      givenBackUnsafe: (device, items, afterMillis) => {
        const byDelay = Map.groupBy(
          givenAgain(device, items),
          (item) => Math.max(afterMillis, backOff.millisOf(item))
        )
        for (const [millis, group] of byDelay) againAfter(group, millis)
      },
      takenBackUnsafe: (device, items, afterMillis) => {
        const again = givenAgain(device, items)
        if (again.length > 0) againAfter(again, afterMillis)
      }
    }

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
      takenUnsafe: (slots) => {
        const count = Items.size(slots)
        inHand -= count
        taken += count
        acknowledgedUnsafe(slots)
        changedUnsafe()
      },
      overflowUnsafe: (slots) => {
        for (const slot of slots) leavesUnsafe(slot)
        for (const item of Items.singles(slots)) {
          const { attempt, causes = [] } = item
          box.buryUnsafe({ item, reason: "overflow", attempts: attempt - 1, causes, device: undefined })
        }
        changedUnsafe()
      },
      box,
      isAllOut: () => queue.heldUnsafe() + inHand + backOff.waiting() + box.pending() === 0,
      isAllAcknowledged: () => {
        for (const { feed } of remotes.values()) if (FeedSession.leased(feed.state()) > 0) return false
        for (const feed of removed.values()) if (FeedSession.leased(feed.state()) > 0) return false
        return true
      },
      hasFed: () => taken > 0 || everyFeed().some((feed) => feed.state().accepted > 0),
      ledger: () =>
        Ledger.make({
          generated: nextOrdinal + queue.heldUnsafe() - returned,
          queued: queue.heldUnsafe() + inHand + backOff.waiting() + box.pending(),
          taken,
          dead,
          dropped,
          ordinals: ordinals === undefined ? undefined : Account.ordinals(nextOrdinal, ordinals, everyFeed()),
          devices: everyFeed().map((feed) => Account.deviceLedger(feed.device, feed.state()))
        }),
      devices: () => [...remotes].map(([device, { feed }]) => Account.deviceStatus(device, feed)),
      dead: () => [...lastDead],
      changedUnsafe,
      afterUnsafe: (task) => {
        afterwards.push(task)
      },
      changedSoonUnsafe: () => {
        if (isChanging) return
        isChanging = true
        dispatcher.scheduleTask(() => {
          isChanging = false
          changedUnsafe()
        }, 0)
      },
      watch: changes.watch,
      until: changes.until
    }
    return books
  })
