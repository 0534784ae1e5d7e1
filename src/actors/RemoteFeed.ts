/**
 * Moves elements from a feeder's queue to one device.
 *
 * What it knows of the device is a `FeedSession`; this module gives that state machine links, a clock, the queue and
 * the retry budget. It is a supervised fiber: `run` lasts until the feed has ended at the device, or the device has
 * failed.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Chunk } from "../BatchCodec.ts"
import type { FeedQueue } from "../FeedQueue.ts"
import * as FeedSession from "../FeedSession.ts"
import { DeviceFailed, ElementTooLarge } from "../internal/deviceErrors.ts"
import * as Items from "../internal/items.ts"
import * as Restarts from "../internal/restarts.ts"
import * as Window from "../internal/window.ts"
import type { FeederFrame, FeedInfo, Link, RemoteDevices } from "../RemoteDevices.ts"
import { DeviceLost, FeedRefused } from "../RemoteDevices.ts"

export { DeviceFailed, ElementTooLarge } from "../internal/deviceErrors.ts"

/**
 * What a remote feed needs of its feeder. The members that end in `Unsafe` act at once.
 *
 * @category models
 * @since 0.1.0
 */
export interface Owner<A> {
  readonly queue: FeedQueue<FeedSession.Item<A>>
  /** Elements that left the queue are at the device now, or back at the front of the queue, which `changedUnsafe` tells. */
  readonly pushedUnsafe: (items: ReadonlyArray<FeedSession.Item<A>>) => void
  readonly putBackUnsafe: (items: ReadonlyArray<FeedSession.Item<A>>) => void
  /** Elements are acknowledged as declared. */
  readonly acknowledgedUnsafe: (items: ReadonlyArray<FeedSession.Item<A>>) => void
  /** Elements a device was given and did not finish: its consumer gave them back, or they were taken back from it. */
  readonly givenBackUnsafe: (device: string, items: ReadonlyArray<FeedSession.Item<A>>, afterMillis: number) => void
  readonly takenBackUnsafe: (device: string, items: ReadonlyArray<FeedSession.Item<A>>, afterMillis: number) => void
  /** `invalid`: by the Schema of the device, else by its consumer. */
  readonly rejectedUnsafe: (device: string, item: FeedSession.Item<A>, cause: string, invalid: boolean) => void
  /** Whether elements may be taken; not once the feeder cannot go on, though it has not stopped yet. */
  readonly canFeed: () => boolean
  /** Whether other devices are fed from the queue too. */
  readonly isShared: () => boolean
  /** The feeder cannot go on. */
  readonly failUnsafe: (error: ElementTooLarge) => void
  readonly changedUnsafe: () => void
  readonly now: () => number
}

/**
 * A remote feed: see the module.
 *
 * @category models
 * @since 0.1.0
 */
export interface RemoteFeed<A> {
  readonly device: string
  readonly state: () => FeedSession.State<A>
  /** The last failure and how many there were in this run. */
  readonly failures: () => { readonly count: number; readonly last: DeviceLost | FeedRefused | undefined }
  readonly run: Effect.Effect<void, DeviceFailed>
  /** The queue may have elements again, after it was closed and drained. */
  readonly wakeUnsafe: () => void
  /** The device need not wait for more to fill a batch. */
  readonly flushUnsafe: () => void
  /** The feed ends when everything out is acknowledged. */
  readonly drainUnsafe: () => void
  /**
   * The device is fed no more; `run` has been interrupted. What is out is given back when the lease has ended: until
   * then the device may hand it out.
   */
  readonly removeUnsafe: () => void
}

/**
 * The retry budget: any Schedule. It is stepped with each failure.
 *
 * @category models
 * @since 0.1.0
 */
export type Tolerator = Restarts.Tolerator

/** Most bytes sent in one frame: enough to amortise a write, little enough to share a socket. */
const frameBytes = 1024 * 1024

/** In so many frames goes what may be out: while one is worked on, others are on their way. */
const framesOut = 4

/** Elements that a frame may have, however little may be out. */
const fewest = 64

/** Most elements of a frame where other devices are fed too: each is served often, so that all get as much. */
const fairShare = 512

/** The first of some items, as many as may be sent in one frame. */
interface Fitting<A> {
  readonly count: number
  readonly chunk: Chunk<A> | undefined
}

const nothing: Fitting<never> = { count: 0, chunk: undefined }

/** How long the last frames of a link may take to leave. */
const flushTime = "1 second"

/**
 * Makes the remote feed of one device.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(options: {
  readonly config: FeedSession.Config<A>
  readonly info: FeedInfo
  readonly devices: RemoteDevices["Service"]
  readonly tolerate: Tolerator
  readonly owner: Owner<A>
  /** What the remote feeds of a run share that restart together. By default each has a budget of its own. */
  readonly restarts?: (() => Restarts.Restarts | undefined) | undefined
  /** What was known of the device when it was removed, if it was. */
  readonly state?: FeedSession.State<A> | undefined
}): RemoteFeed<A> => {
  const { config, owner } = options
  const device = config.device
  let state = options.state === undefined
    ? FeedSession.make(config)
    : FeedSession.step(options.state, { _tag: "Begin" })[0]
  let isRemoved = false
  /** The link in use: frames to be sent in order, and what wakes its fibers. */
  const frames: Array<FeederFrame> = []
  const work = Latch.makeUnsafe(false)
  const free = Latch.makeUnsafe(false)
  const closing = Latch.makeUnsafe(false)
  let isClosing = false
  /** Taken from the queue, to be sent as soon as the link is free. */
  let gathered: Array<FeedSession.Item<A>> = []
  /** How many elements they are. */
  let gatheredCount = 0
  /** The link is taking a frame: what it is too slow for is for others. */
  let isSending = false
  /** The next of them does not fit into what was granted. */
  let isStuck = false
  /** The queue was, or is about to be, found closed and drained. */
  let mayFindEnd = false
  let lost: DeviceLost | undefined
  let failure: DeviceLost | FeedRefused | undefined
  let last: DeviceLost | FeedRefused | undefined
  let failures = 0
  let window = Window.make(0)
  /** As many elements as may fit into the next frame, going by the last: more are not taken only to be put back. */
  let likely = 64
  /** What an element of the last frame took, once there was one. */
  let elementBytes: number | undefined
  /** Links tried since the device was last heard of. */
  let resumes = 0

  const apply = (input: FeedSession.Input<A>): void => {
    const [next, outputs] = FeedSession.step(state, input)
    const leaseEnds = FeedSession.leaseEnds(state)
    state = next
    if (state.phase === "Live") resumes = 0
    for (const output of outputs) {
      switch (output._tag) {
        case "Send":
          frames.push(output.frame)
          break
        case "CloseLink":
          isClosing = true
          closing.openUnsafe()
          break
        case "Acknowledged":
          owner.acknowledgedUnsafe(output.items)
          break
        case "GiveBack":
          if (!output.taken) {
            owner.givenBackUnsafe(device, output.items, output.afterMillis)
          } else {
            const afterMillis = isRemoved ? Math.max(0, Math.ceil(leaseEnds - owner.now())) : 0
            owner.takenBackUnsafe(device, output.items, afterMillis)
          }
          break
        case "Rejected":
          owner.rejectedUnsafe(device, output.item, output.cause, output.invalid)
          break
        case "Reclaimed":
          failure = lost ?? new DeviceLost({ device, fate: output.fate, cause: new Error(output.why) })
          break
        case "Failed":
          failure = new FeedRefused({ device, reason: output.reason, detail: output.detail })
          break
      }
    }
    isStuck = false
    work.openUnsafe()
    free.openUnsafe()
    owner.changedUnsafe()
  }

  /** How many elements of the session the device is done with. */
  const finished = () => config.acknowledge === "accepted" ? state.progress.delivered : state.base + state.resolved.size

  // --- one link ------------------------------------------------------------------------------------------------------

  /** Sends what is to be sent, and ends once the link is to be closed. */
  const write = (link: Link): Effect.Effect<void, DeviceLost> => {
    const turn: Effect.Effect<void, DeviceLost> = Effect.suspend(() => {
      // Before it looks: what is to be sent meanwhile must not be missed.
      work.closeUnsafe()
      if (!isClosing) pushGathered()
      const frame = frames.shift()
      isSending = frame !== undefined
      if (frame !== undefined) return Effect.flatMap(link.send(frame), () => turn)
      if (isClosing) return Effect.void
      free.openUnsafe()
      return Effect.flatMap(work.await, () => turn)
    })
    return turn
  }

  const read = (link: Link): Effect.Effect<never, DeviceLost> =>
    Effect.forever(
      Effect.map(link.receive, (frame) => {
        const now = owner.now()
        apply({ _tag: "Received", frame, now })
        if (frame._tag !== "Progress") return
        const { accepted, received = accepted } = frame.progress
        window.heard(received, finished(), now)
      }),
      { disableYield: true }
    )

  /** In the step that takes, so that what goes back meanwhile goes in order. */
  const gather = (items: ReadonlyArray<FeedSession.Item<A>>): void => {
    let last = gathered.at(-1)?.ordinal ?? -1
    let isInOrder = true
    for (const { ordinal } of items) {
      if (ordinal < last) isInOrder = false
      last = ordinal
    }
    // Most often all at once; a source of single elements brings them one by one.
    if (gathered.length === 0) gathered = items.slice()
    else for (const item of items) gathered.push(item)
    gatheredCount += Items.size(items)
    // What other remote feeds took before, and gave back unsent, may follow those behind it.
    if (!isInOrder) gathered.sort((a, b) => a.ordinal - b.ordinal)
  }

  const putBackGathered = (): void => {
    const items = gathered
    gathered = []
    gatheredCount = 0
    if (items.length === 0) return
    owner.putBackUnsafe(items)
    owner.changedUnsafe()
  }

  /** How many elements may be sent now, in however many frames, going by what those of the last one took. */
  const granted = (): number => {
    const bytes = state.progress.creditBytesTo - state.sentBytes
    return Math.min(FeedSession.credit(state, window.size()).elements, Math.floor(bytes / (elementBytes ?? 1)))
  }

  /** How many elements may be taken now, for the next frame. */
  const room = (): number => {
    const { bytes, elements } = FeedSession.credit(state, window.size())
    const part = Math.max(fewest, Math.ceil((FeedSession.leased(state) + elements) / framesOut))
    const most = Math.min(likely, part, owner.isShared() ? fairShare : Infinity)
    const fit = Math.max(1, Math.floor(Math.min(bytes, frameBytes) / (elementBytes ?? 1)))
    return Math.min(elements, most, fit) - gatheredCount
  }

  /** Takes what is there as long as there is credit: it goes out in one frame once the link is free. */
  const pump: Effect.Effect<never> = Effect.withFiber(({ currentDispatcher }) =>
    Effect.uninterruptibleMask((restore) => {
      // Within a turn of the scheduler, so that a source and this take turns until the frame is full or the source is slow.
      let isScheduled = false
      const sendSoon = () => {
        if (isScheduled) return
        isScheduled = true
        currentDispatcher.scheduleTask(() => {
          isScheduled = false
          work.openUnsafe()
        }, 0)
      }
      const untilChanged: Effect.Effect<never> = Effect.suspend(() => Effect.flatMap(restore(free.await), () => turn))
      const turn: Effect.Effect<never> = Effect.suspend(() => {
        // Before it looks: what changes while it does must not be missed.
        free.closeUnsafe()
        mayFindEnd = !isStuck
        const { elements, largest } = FeedSession.credit(state, window.size())
        if (elements <= 0) window.limited()
        const isBusy = isSending || frames.length > 0
        const hasNone = owner.queue.isClosedUnsafe() && owner.queue.heldUnsafe() === 0
        if (isBusy || room() <= 0 || isStuck || largest <= 0 || hasNone || !owner.canFeed()) return untilChanged
        // When the queue is closed and drained, what is given back may still come.
        const taken = Effect.catchTag(
          restore(owner.queue.takeThrough(room, gather)),
          "QueueEnded",
          () => Effect.succeed([])
        )
        return Effect.flatMap(taken, (items) => {
          if (items.length === 0) return untilChanged
          mayFindEnd = false
          // What came when the link had become busy meanwhile is its own, behind what it is taking; and what may not fit
          // is tried before others take its room in the queue.
          const { bytes } = FeedSession.credit(state)
          if (isSending || elementBytes === undefined || bytes < elementBytes) pushGathered()
          // An idle link need not wait for company.
          else if (FeedSession.leased(state) === 0) work.openUnsafe()
          else sendSoon()
          return turn
        })
      })
      return turn
    })
  )

  /** Sends of what was taken as much as may be sent in one frame now. What does not fit goes back. */
  const pushGathered = (): void => {
    if (gathered.length === 0) return
    // A drain may have begun since it was taken.
    const { chunk, count } = owner.canFeed() ? fitting() : nothing
    if (count === likely || (count > 0 && count < gatheredCount)) likely = Math.min(2 * count, 1_048_576)
    const isAll = count === gatheredCount
    const items = isAll ? gathered : Items.between(gathered, 0, count)
    gathered = isAll ? [] : Items.between(gathered, count, gatheredCount)
    gatheredCount -= count
    // It must not take again at once what goes back.
    isStuck = count === 0
    if (isStuck) {
      mayFindEnd = false
      return putBackGathered()
    }
    elementBytes = (chunk?.byteLength ?? 1) / count
    owner.pushedUnsafe(items)
    window.sent(state.sent + count, owner.now())
    apply({ _tag: "Push", items, chunk })
    // Not before: a take that waits may take it at once, and reckons with what is sent.
    putBackGathered()
  }

  /** How many elements may be sent in one frame now, and these as the chunk that was measured. */
  const fitting = (): Fitting<A> => {
    // What was taken within the window is not put back because that became smaller.
    const { bytes, elements, largest } = FeedSession.credit(state, Infinity)
    let count = Math.min(gatheredCount, elements)
    // Where more may follow at once: batches of the size of what came together then lie in one frame each. Not where another
    // device might be sent what is behind before this takes the rest again, which then would be out of order, and marked.
    if (!owner.isShared() && count < granted()) count = Items.wholeTo(gathered, count)
    // Only one element alone may go beyond the bytes that were granted.
    const most = Math.min(Math.max(0, bytes), frameBytes)
    while (count > 0) {
      const some = count === gatheredCount ? gathered : Items.between(gathered, 0, count)
      const chunk = Items.gather(config.codec, some)
      const { byteLength } = chunk
      // As the frame says what an element takes: a whole number of bytes.
      const each = Math.ceil(byteLength / count)
      if (each * count <= most) return { count, chunk }
      if (count === 1) {
        const limit = state.limits.frameBytes
        if (byteLength > limit) {
          const { ordinal } = gathered[0]!
          owner.failUnsafe(new ElementTooLarge({ device, ordinal, bytes: byteLength, limit }))
        }
        return byteLength <= largest ? { count, chunk } : nothing
      }
      count = Math.max(1, Math.min(count - 1, Math.floor(most / each)))
    }
    return nothing
  }

  const tick = Effect.sync(() => apply({ _tag: "Tick", now: owner.now() }))
  const interval = config.leaseMillis / 4
  const ticks = Effect.forever(Effect.andThen(Effect.sleep(interval), tick))

  /** A peer that takes nothing more does not keep a link that is to be closed. */
  const closed = Effect.andThen(closing.await, Effect.sleep(flushTime))

  const isLinked = () => state.phase === "Opening" || state.phase === "Live" || state.phase === "Draining"

  const use = (link: Link): Effect.Effect<void, DeviceLost> =>
    Effect.suspend(() => {
      apply({ _tag: "Opened", now: owner.now() })
      return Effect.raceAllFirst([write(link), read(link), pump, ticks, closed])
    }).pipe(
      Effect.ensuring(Effect.sync(() => putBackGathered())),
      Effect.onInterrupt(() => {
        apply({ _tag: "Stop" })
        // As far as the link takes it now: a close says the same, and a stop waits for no peer.
        return isClosing ? Effect.ignore(Effect.raceFirst(write(link), Effect.yieldNow)) : Effect.void
      })
    )

  const attempt: Effect.Effect<void, never> = Effect.suspend(() => {
    frames.length = 0
    isSending = false
    isClosing = false
    closing.closeUnsafe()
    lost = undefined
    failure = undefined
    window = Window.make(finished())
    return options.devices.open(device, options.info).pipe(
      Effect.timeoutOrElse({
        duration: config.leaseMillis,
        orElse: () => Effect.fail(new DeviceLost({ device, fate: "unknown", cause: new Error("opening it timed out") }))
      }),
      Effect.flatMap(use),
      Effect.scoped,
      Effect.catch((error) =>
        Effect.sync(() => {
          if (error._tag === "FeedRefused") {
            apply({ _tag: "Refused", reason: error.reason, detail: error.detail })
          } else {
            lost = error
            apply({ _tag: "Lost", fate: error.fate, now: owner.now() })
          }
        })
      ),
      Effect.andThen(Effect.sync(() => {
        if (isLinked()) apply({ _tag: "Lost", fate: "unknown", now: owner.now() })
      }))
    )
  })

  // --- links, one after the other ------------------------------------------------------------------------------------

  /** Waits for a time, and keeps looking at the clock: a lease, or a drain, may end meanwhile. */
  const pauseUntil = (time: () => number, isOver: () => boolean): Effect.Effect<void> => {
    const turn: Effect.Effect<void> = Effect.suspend(() => {
      const left = time() - owner.now()
      if (left <= 0 || isOver()) return Effect.void
      return Effect.andThen(Effect.sleep(Math.ceil(Math.min(left, interval))), Effect.andThen(tick, turn))
    })
    return turn
  }

  const pause = (millis: number): Effect.Effect<void> => {
    const until = owner.now() + millis
    const { phase } = state
    return pauseUntil(() => until, () => state.phase !== phase)
  }

  /** An attempt, until all restart together. A link closed before the device ever answered leaves nothing to resume. */
  const attemptWithin = (restarts: Restarts.Restarts, round: number): Effect.Effect<void> =>
    Effect.andThen(
      Effect.raceFirst(restarts.ended(round), attempt),
      Effect.sync(() => {
        const isUnheard = state.heardAt === undefined && state.drainingSince === undefined
        if (restarts.round() !== round && state.phase === "Resuming" && isUnheard) apply({ _tag: "Stop" })
      })
    )

  const run: Effect.Effect<void, DeviceFailed> = Effect.gen(function*() {
    const shared = options.restarts?.()
    const restarts = shared ?? (yield* Restarts.make(options.tolerate))
    failures = 0
    failure = undefined
    apply({ _tag: "Begin" })
    while (state.phase !== "Ended") {
      const round = restarts.round()
      if (restarts.opensAt() > owner.now()) {
        yield* pauseUntil(restarts.opensAt, () => state.phase === "Ended")
        // A lease that ran out because all had closed their links is taken back, and no failure of the device.
        failure = undefined
        continue
      }
      yield* shared === undefined ? attempt : attemptWithin(restarts, round)
      if (failure === undefined && restarts.round() === round) {
        if (state.phase === "Resuming") yield* pause(Math.min(1000, 20 * 2 ** resumes++))
        else if (state.phase === "Idle") yield* pause(250)
      }
      if (failure === undefined) continue
      const cause: DeviceLost | FeedRefused = failure
      last = cause
      failures++
      if (state.phase === "Failed" || !(yield* restarts.failed(cause, round, owner.now()))) {
        apply({ _tag: "GiveUp" })
        return yield* new DeviceFailed({ device, failures: shared?.failures() ?? failures, cause })
      }
      failure = undefined
    }
  })

  return {
    device,
    state: () => state,
    failures: () => ({ count: failures, last }),
    wakeUnsafe: () => {
      // Not one that waits for credit: two whose elements do not fit would wake each other for ever.
      if (!mayFindEnd) return
      isStuck = false
      free.openUnsafe()
    },
    run,
    flushUnsafe: () => {
      if (state.phase === "Live" && state.flushedAt !== state.sent) apply({ _tag: "Flush" })
    },
    drainUnsafe: () => {
      if (state.drainingSince === undefined && state.phase !== "Failed") apply({ _tag: "Drain", now: owner.now() })
    },
    removeUnsafe: () => {
      isRemoved = true
      apply({ _tag: "GiveUp" })
    }
  }
}
