/**
 * A bounded first-in, first-out queue with the semantics of the reference's queue: waiters are served in order,
 * batches are contiguous and may exceed the capacity, closing keeps what is stored.
 *
 * The elements lie in an Effect `Queue.bounded`, whose `messages` and `capacity` this module works on. Nobody waits in
 * that queue: its takers overtake each other, its `offerAll` hides how much of it was admitted, and each take from it
 * resumes a producer in the middle of its own step. Instead there are two lines here, one of takers and one of offers,
 * and one rule: **a fiber is woken, never served.** The first in a line is woken when it can go on, and then does its
 * work itself, in one synchronous step that also hands over the result. Nothing has moved before that step, no other
 * fiber runs during it, and after it the result is the caller's: an interruption loses nothing, whenever it comes.
 *
 * Deviations from TensorFlow's FIFOQueue: an interrupted or half-collected batch take leaves its
 * elements at the front, where the reference drops them; an interrupted `offerAll` reports its admitted prefix; a
 * second plain close succeeds; a waiting plain close can be interrupted, and has then not closed; the capacity is a
 * positive integer, never 0 or unbounded; a waiting fiber goes on within a scheduler turn, not at once.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as MutableList from "effect/MutableList"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

const TypeId = "~effect-feeder/FeedQueue"

/**
 * The queue is closed, so nothing more is admitted. The elements that are stored can still be taken.
 *
 * @category errors
 * @since 0.1.0
 */
export class QueueClosed extends Schema.Error<QueueClosed>(`${TypeId}/QueueClosed`)({
  _tag: Schema.tag("QueueClosed"),
  queue: Schema.String
}) {
  override get message(): string {
    return `FeedQueue '${this.queue}' is closed.`
  }
}

/**
 * The queue is closed and holds fewer elements than the take needs. The `left` ones stay in it, in order.
 *
 * @category errors
 * @since 0.1.0
 */
export class QueueEnded extends Schema.Error<QueueEnded>(`${TypeId}/QueueEnded`)({
  _tag: Schema.tag("QueueEnded"),
  queue: Schema.String,
  requested: Schema.Number,
  left: Schema.Number
}) {
  override get message(): string {
    return `FeedQueue '${this.queue}' is closed and has insufficient elements ` +
      `(requested ${this.requested}, current size ${this.left})`
  }
}

/**
 * A bounded queue of elements.
 *
 * **Details**
 *
 * Offers are served in the order in which they came, and so are takes: a small take never overtakes a waiting batch,
 * a newcomer never a waiter. Every operation can be interrupted. A take that ends with an interruption has taken
 * nothing, an `offer` or `close` has done nothing.
 *
 * Counts are integers from 0. A take of 0 gives `[]` at once, on a closed queue too; any other number is a defect.
 *
 * The members that end in `Unsafe` act at once, outside of any effect. They are for the sessions that drive a queue.
 *
 * @category models
 * @since 0.1.0
 */
export interface FeedQueue<in out A> {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  /** Elements stored before offers wait. A waiting take of n may collect n - 1 more. */
  readonly capacity: number

  /** Adds an element at the back, waiting for room. */
  offer(element: A): Effect.Effect<void, QueueClosed>
  /**
   * Adds elements at the back, contiguously, waiting for room as often as needed: they may exceed the capacity. None
   * is a success at once, on a closed queue too.
   *
   * It admits in chunks. `onAdmit` is called with the size of each in the very step that admits it, so after a failure
   * or an interruption the sum of its calls is the prefix that is in the queue. It must not throw.
   */
  offerAll(elements: ReadonlyArray<A>, onAdmit?: (count: number) => void): Effect.Effect<void, QueueClosed>

  /** Takes the first element. */
  readonly take: Effect.Effect<A, QueueEnded>
  /** Takes exactly n, or fewer where `isAlone` cuts. On a closed queue with fewer than n it fails, and they stay. */
  takeMany(n: number, onTake?: OnTake<A>): Effect.Effect<ReadonlyArray<A>, QueueEnded>
  /** Takes exactly n while the queue is open, what is left (1 to n) once it is closed. */
  takeUpTo(n: number, onTake?: OnTake<A>): Effect.Effect<ReadonlyArray<A>, QueueEnded>
  /** Takes n, or what there is (1 to n) when `duration` has passed since this take saw its first element. */
  takeWithin(n: number, duration: Duration.Input, onTake?: OnTake<A>): Effect.Effect<ReadonlyArray<A>, QueueEnded>
  /** Takes what there is now, at most n, waiting only while there is nothing. */
  takeAvailable(n: number, onTake?: OnTake<A>): Effect.Effect<ReadonlyArray<A>, QueueEnded>

  /**
   * Closes the queue behind the offers that wait: they are admitted first, later ones fail with `QueueClosed`. With
   * `cancelPending` it closes at once: waiting offers and closes fail with `QueueClosed`. What is stored stays, and can
   * be taken. Closing a closed queue succeeds.
   */
  close(options?: { readonly cancelPending?: boolean | undefined }): Effect.Effect<void, QueueClosed>
  readonly isClosed: Effect.Effect<boolean>
  /** Stored elements, without those in waiting offers and those that a waiting take collects. */
  readonly size: Effect.Effect<number>

  /**
   * The elements, until the queue is closed and drained. Elements pulled in one chunk (at most `capacity`) belong to
   * the stream: interrupting it gives them up.
   */
  readonly elements: Stream.Stream<A>
  /**
   * Batches of n. When the queue is closed (or flushed) with fewer left, `"emit"` (the default) gives a short batch,
   * `"pad"` repeats the last one up to n, and `"drop"` leaves them in the queue, where `takeUpTo` finds them.
   */
  batches(n: number, options?: { readonly remainder?: "emit" | "drop" | "pad" }): Stream.Stream<ReadonlyArray<A>>

  /**
   * Puts elements back at the front, in order. Never waits: the queue may hold more than its capacity then, and admits
   * nothing until it holds less. Works on a closed queue too.
   */
  restore(elements: ReadonlyArray<A>): Effect.Effect<void>
  /** `restore`, at once. */
  restoreUnsafe(elements: ReadonlyArray<A>): void
  /**
   * Adds elements at the back without regard to capacity and to waiting offers, for callers that are bound by a credit.
   * Gives `false` on a closed queue.
   */
  admitUnsafe(elements: ReadonlyArray<A>): boolean
  /** Removes and gives the elements that match, those that a waiting take collects included. */
  removeWhereUnsafe(predicate: (element: A) => boolean): ReadonlyArray<A>
  /** While true, a `takeUpTo` does not wait to fill its batch: it takes what there is, as on a closed queue. */
  flushUnsafe(isFlushing: boolean): void
  /** `close({ cancelPending: true })`, at once. */
  closeNowUnsafe(): void
  isClosedUnsafe(): boolean
  /** `size`, at once. */
  sizeUnsafe(): number
  /** Everything the queue answers for: `size` and what a waiting take collects. */
  heldUnsafe(): number
  /** Whether all that is stored is being collected by a take that waits for more. */
  isCollectingUnsafe(): boolean
}

/**
 * Told what a take takes, in the very step that does, so that the caller has it even when its fiber is interrupted
 * before the next one. It must not throw, not touch the queue, and not resume a fiber.
 *
 * @category models
 * @since 0.1.0
 */
export type OnTake<A> = (elements: ReadonlyArray<A>) => void

/**
 * What a queue is made with.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<in out A> {
  /** A positive integer. */
  readonly capacity: number
  /** Named in errors. Default `"feed-queue"`. */
  readonly name?: string
  /**
   * Told that a take would have to wait, before it does: more may be admitted now. Comes outside of any step, so it may use
   * the queue and resume fibers. Must not throw.
   */
  readonly onShort?: () => void
  /** Told that a take looks for elements, in the step that hands them out, before anything is asked about them. */
  readonly onLook?: () => void
  /**
   * Asked about each element in the step that hands it out. One that is refused is discarded, and the take goes on to
   * the next or waits on. May be asked again about an element it kept, when others of the batch were refused.
   *
   * It runs in the middle of that step: it must not throw, not touch the queue, and not resume a fiber (as
   * `Latch.openUnsafe` and `Deferred.doneUnsafe` do), which could interrupt the taker and so lose what it is given.
   */
  readonly isCurrent?: (element: A) => boolean
  /**
   * Asked about each element, as `isCurrent` is. One for which it is true is handed out in a batch of its own: a take of
   * several ends before it, or with it when it is the first, and gives fewer than it asked for.
   */
  readonly isAlone?: (element: A) => boolean
  /**
   * Told what a take hands out, in the step that does, and whether an element that is handed out alone has cut it short.
   * The same is forbidden to it as to `isCurrent`.
   */
  readonly onHandOut?: (elements: ReadonlyArray<A>, isCut: boolean) => void
  /**
   * Told when a take of several has begun to collect: what it collects does not fill the queue. Comes within a
   * scheduler turn, outside of any step, so it may use the queue and resume fibers. Must not throw.
   */
  readonly onCollect?: () => void
}

/**
 * Creates a queue.
 *
 * **Details**
 *
 * A `capacity` that is not a positive integer is a defect.
 *
 * **Example** (A batch larger than the queue)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { FeedQueue } from "effect-feeder"
 *
 * const program = Effect.gen(function*() {
 *   const queue = yield* FeedQueue.make<number>({ capacity: 2 })
 *   yield* Effect.forkChild(queue.offerAll([1, 2, 3, 4, 5]).pipe(Effect.andThen(queue.close())))
 *   const batch = yield* queue.takeMany(4)
 *   yield* queue.restore([4])
 *   return [batch, yield* queue.takeUpTo(4)]
 * })
 *
 * await Effect.runPromise(program) // => [[1, 2, 3, 4], [4, 5]]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(options: Options<A>): Effect.Effect<FeedQueue<A>> =>
  isCount(options.capacity) && options.capacity > 0
    ? Effect.map(Queue.bounded<A>(options.capacity), (store) => fromStore(store, options))
    : Effect.die(new RangeError(`FeedQueue.make: capacity must be a positive integer, got ${options.capacity}`))

// -----------------------------------------------------------------------------
// internals
// -----------------------------------------------------------------------------

const isCount = (n: number): boolean => Number.isSafeInteger(n) && n >= 0

/** Thrown by an attempt that cannot be made yet. It never leaves this module. */
const Wait: unique symbol = Symbol("Wait")

/** What one operation does when its turn comes. */
interface Turn<X, E> {
  /** Elements that a take collects. All but the last are held beyond the capacity while it is first in line. */
  readonly need: number
  readonly refusal: new(...args: never) => E
  /** Whether an attempt would change anything now. */
  readonly isDue: () => boolean
  /** Does all of it and gives the result, or throws `Wait` or a refusal. */
  readonly attempt: (inTurn: boolean) => X
  /** What to do between two attempts. By default only wait. */
  readonly sleep?: (untilWoken: Effect.Effect<void>) => Effect.Effect<void>
}

/** A fiber in line; `wake` is there while it sleeps. */
interface Place extends Pick<Turn<unknown, unknown>, "need" | "isDue"> {
  wake: (() => void) | undefined
}

const fromStore = <A>(store: Queue.Queue<A>, options: Options<A>): FeedQueue<A> => {
  const { capacity, isAlone, isCurrent, name = "feed-queue", onCollect, onHandOut, onLook, onShort } = options
  const stored: MutableList.MutableList<A> = store.messages
  const takers = new Set<Place>()
  const offers = new Set<Place>()
  let isClosed = false
  let isAbandoned = false // closed at once
  let isWaking = false
  let isScheduled = false
  let isFlushing = false
  let collecting = 1 // what the first take in line needs
  let hasToTell = false // of the collecting, not in the step that begins it: `onCollect` may run other fibers

  // --- the two lines ---------------------------------------------------------

  const first = (line: Set<Place>): Place | undefined => line.size === 0 ? undefined : line.values().next().value

  const isWakeable = (line: Set<Place>): boolean => {
    const place = first(line)
    return place?.wake !== undefined && place.isDue()
  }

  /** To be called after every change: who is first in line and can go on is woken within a scheduler turn. */
  const changed = (): void => {
    const need = first(takers)?.need ?? 1
    if (need !== collecting) {
      collecting = need
      hasToTell = need > 1 && onCollect !== undefined
    }
    if (isScheduled || !(hasToTell || isWakeable(offers) || isWakeable(takers))) return
    isScheduled = true
    store.dispatcher.scheduleTask(() => {
      isScheduled = false
      if (hasToTell) {
        hasToTell = false
        onCollect!()
      }
      wakeLine(offers)
      wakeLine(takers)
    }, 0)
  }

  /** Wakes from the front of a line, each place at most once: two fibers cannot keep the thread to themselves. */
  const wakeLine = (line: Set<Place>): void => {
    isWaking = true
    for (let left = line.size; left > 0 && isWakeable(line); left--) {
      const place = first(line)!
      const resume = place.wake!
      place.wake = undefined
      resume()
    }
    isWaking = false
  }

  /**
   * Makes an attempt: at once when nobody is in line and it can be made, else in turn.
   *
   * An attempt is one `Effect.sync` under frames that a success passes without a further step (of `catchDefect` and of
   * `callback`), so that no interruption comes between the attempt and the caller's continuation. That is also why it
   * throws what it cannot return: to choose a next effect would be such a step.
   *
   * Before it has to wait, it lets the other line go on. Nothing of it has moved yet, so this is a safe place to run
   * other fibers; a producer and a consumer then take turns per `capacity` elements, not per element.
   */
  const enter = <X, E>(line: Set<Place>, turn: Turn<X, E>): Effect.Effect<X, E> =>
    Effect.suspend(() => {
      let isFree = line.size === 0 && turn.isDue()
      if (!isFree && !isWaking && line.size === 0) {
        if (line === takers) onShort?.()
        wakeLine(line === takers ? offers : takers)
        isFree = line.size === 0 && turn.isDue()
      }
      return isFree
        ? Effect.catchDefect(
          Effect.sync(() => {
            if (line.size > 0) throw Wait
            return turn.attempt(false)
          }),
          (thrown) => thrown === Wait ? stand(line, turn) : refuse(turn, thrown)
        )
        : stand(line, turn)
    })

  const refuse = <X, E>(turn: Turn<X, E>, thrown: unknown): Effect.Effect<never, E> =>
    thrown instanceof turn.refusal ? Effect.fail(thrown) : Effect.die(thrown)

  /** Stands in line until an attempt succeeds or is refused. The place is kept from one attempt to the next. */
  const stand = <X, E>(line: Set<Place>, turn: Turn<X, E>): Effect.Effect<X, E> =>
    Effect.callback<X, E>((resume) => {
      const place: Place = { need: turn.need, isDue: turn.isDue, wake: undefined }
      const sleep = (wake: () => void) => {
        place.wake = wake
        changed()
      }
      const leave = () => {
        line.delete(place)
        changed()
      }
      const untilWoken = Effect.callback<void>((resume) => sleep(() => resume(Effect.void)))
      const serve: Effect.Effect<X, E> = Effect.catchDefect(
        Effect.sync(() => {
          const result = turn.attempt(true)
          leave()
          return result
        }),
        (thrown) => {
          if (thrown === Wait) return Effect.flatMap(turn.sleep?.(untilWoken) ?? untilWoken, () => serve)
          leave()
          return refuse(turn, thrown)
        }
      )
      line.add(place)
      sleep(() => resume(serve))
      return Effect.sync(leave) // runs on an interruption, also of one between two attempts
    })

  // --- offers ----------------------------------------------------------------

  const room = (): number => {
    store.capacity = capacity + (first(takers)?.need ?? 1) - 1
    return store.capacity - stored.length
  }

  const closed = () => new QueueClosed({ queue: name })

  const offering = (isDue: () => boolean, attempt: (inTurn: boolean) => void): Effect.Effect<void, QueueClosed> =>
    enter(offers, { need: 0, refusal: QueueClosed, isDue, attempt })

  const isRoomOrClosed = () => isClosed || room() > 0

  const offer = (element: A): Effect.Effect<void, QueueClosed> =>
    offering(isRoomOrClosed, () => {
      if (isClosed) throw closed()
      if (room() <= 0 || !Queue.offerUnsafe(store, element)) throw Wait
      changed()
    })

  const offerAll = (elements: ReadonlyArray<A>, onAdmit?: (count: number) => void): Effect.Effect<void, QueueClosed> =>
    elements.length === 0 ? Effect.void : Effect.suspend(() => {
      let next = 0
      return offering(isRoomOrClosed, (inTurn) => {
        if (isClosed) throw closed()
        const rest = elements.length - next
        const count = Math.min(rest, room())
        // A part is admitted only from a place in line, or another offer could come between the parts.
        if (count <= 0 || (count < rest && !inTurn)) throw Wait
        Queue.offerAllUnsafe(store, elements.slice(next, next + count))
        next += count
        onAdmit?.(count)
        changed()
        if (count < rest) throw Wait
      })
    })

  const closeInTurn: Effect.Effect<void, QueueClosed> = Effect.suspend(() =>
    isClosed ? Effect.void : offering(() => true, (inTurn) => {
      if (isAbandoned && inTurn) throw closed()
      isClosed = true
      changed()
    })
  )

  const closeNowUnsafe = (): void => {
    if (isClosed) return
    isClosed = true
    isAbandoned = true
    changed()
  }

  // --- takes -----------------------------------------------------------------

  /** Up to `most` that are current, and whether one that is to be alone has ended them. */
  const nextOnes = (most: number): readonly [batch: Array<A>, isCut: boolean] => {
    if (isCurrent === undefined && isAlone === undefined) return [MutableList.takeN(stored, most), false]
    const kept: Array<A> = []
    while (kept.length < most && stored.length > 0) {
      const element = MutableList.take(stored) as A
      if (isCurrent?.(element) === false) continue
      if (isAlone?.(element) === true) {
        if (kept.length > 0) MutableList.prepend(stored, element)
        else kept.push(element)
        return [kept, kept.length < most]
      }
      kept.push(element)
    }
    return [kept, false]
  }

  const extract = (least: number, most: number, onTake: OnTake<A> | undefined): Arr.NonEmptyArray<A> => {
    if (stored.length >= least) {
      onLook?.()
      const [batch, isCut] = nextOnes(most)
      if (Arr.isArrayNonEmpty(batch) && (isCut || batch.length >= least)) {
        onHandOut?.(batch, isCut)
        onTake?.(batch)
        changed()
        return batch
      }
      MutableList.prependAll(stored, batch)
      changed()
    }
    throw isClosed ? new QueueEnded({ queue: name, requested: most, left: stored.length }) : Wait
  }

  const taking = <X>(need: number, least: () => number, attempt: () => X): Effect.Effect<X, QueueEnded> =>
    enter(takers, { need, refusal: QueueEnded, isDue: () => isClosed || stored.length >= least(), attempt })

  const one = () => 1

  const take: Effect.Effect<A, QueueEnded> = taking(1, one, () => {
    if (stored.length === 0 || isCurrent !== undefined || onHandOut !== undefined) return extract(1, 1, undefined)[0]
    const element = MutableList.take(stored) as A
    changed()
    return element
  })

  const takeMany = (n: number, onTake?: OnTake<A>) => taking(n, () => n, () => extract(n, n, onTake))
  const takeAvailable = (n: number, onTake?: OnTake<A>) => taking(1, one, () => extract(1, n, onTake))
  const takeUpTo = (n: number, onTake?: OnTake<A>) =>
    taking(n, () => isFlushing ? 1 : n, () => extract(isClosed || isFlushing ? 1 : n, n, onTake))

  const takeWithin = (
    n: number,
    duration: Duration.Input,
    onTake?: OnTake<A>
  ): Effect.Effect<Arr.NonEmptyArray<A>, QueueEnded> =>
    Effect.suspend(() => {
      const millis = Duration.toMillis(Duration.fromInputUnsafe(duration))
      if (millis <= 0) return takeAvailable(n, onTake)
      let deadline: number | undefined
      let isOver = false
      const over = Effect.sync(() => {
        isOver = true
      })
      return enter(takers, {
        need: n,
        refusal: QueueEnded,
        isDue: () => isClosed || stored.length >= (isOver || deadline === undefined ? 1 : n),
        attempt: () => extract(isOver || isClosed ? 1 : n, n, onTake),
        sleep(untilWoken) {
          if (stored.length === 0) {
            deadline = undefined
            isOver = false
            return untilWoken
          }
          return Effect.flatMap(Clock.currentTimeMillis, (now) => {
            deadline ??= now + millis
            return Effect.raceFirst(untilWoken, Effect.andThen(Effect.sleep(deadline - now), over))
          })
        }
      })
    })

  const counted = <B>(
    what: string,
    n: number,
    take: () => Effect.Effect<ReadonlyArray<B>, QueueEnded>
  ): Effect.Effect<ReadonlyArray<B>, QueueEnded> =>
    n === 0
      ? Effect.succeed([])
      : isCount(n)
      ? take()
      : Effect.die(new RangeError(`FeedQueue '${name}': ${what} needs an integer from 0, got ${n}`))

  const pulled = <B>(take: Effect.Effect<Arr.NonEmptyReadonlyArray<B>, QueueEnded>): Stream.Stream<B> =>
    Stream.fromPull(Effect.succeed(Effect.catchTag(take, "QueueEnded", () => Cause.done())))

  // --- the rest --------------------------------------------------------------

  const restoreUnsafe = (elements: ReadonlyArray<A>): void => {
    MutableList.prependAll(stored, elements)
    changed()
  }

  const sizeUnsafe = (): number => Math.max(0, stored.length - (first(takers)?.need ?? 0))

  return {
    [TypeId]: TypeId,
    name,
    capacity,
    offer,
    offerAll,
    take,
    takeMany: (n, onTake) => counted("takeMany", n, () => takeMany(n, onTake)),
    takeUpTo: (n, onTake) => counted("takeUpTo", n, () => takeUpTo(n, onTake)),
    takeWithin: (n, duration, onTake) => counted("takeWithin", n, () => takeWithin(n, duration, onTake)),
    takeAvailable: (n, onTake) => counted("takeAvailable", n, () => takeAvailable(n, onTake)),
    close: (options) => options?.cancelPending === true ? Effect.sync(closeNowUnsafe) : closeInTurn,
    isClosed: Effect.sync(() => isClosed),
    size: Effect.sync(sizeUnsafe),
    elements: pulled(takeAvailable(capacity)),
    batches: (n, { remainder = "emit" } = {}) =>
      !isCount(n) || n === 0
        ? Stream.die(new RangeError(`FeedQueue '${name}': batches needs a positive integer, got ${n}`))
        : pulled(Effect.map(
          remainder === "drop" ? takeMany(n) : takeUpTo(n),
          (batch) => Arr.of(remainder === "pad" ? padTo(n, batch) : batch)
        )),
    restore: (elements) => Effect.sync(() => restoreUnsafe(elements)),
    restoreUnsafe,
    admitUnsafe(elements) {
      if (isClosed) return false
      MutableList.appendAll(stored, elements)
      changed()
      return true
    },
    removeWhereUnsafe(predicate) {
      const removed: Array<A> = []
      MutableList.filter(stored, (element) => {
        if (!predicate(element)) return true
        removed.push(element)
        return false
      })
      changed()
      return removed
    },
    flushUnsafe(flush) {
      isFlushing = flush
      changed()
    },
    closeNowUnsafe,
    isClosedUnsafe: () => isClosed,
    sizeUnsafe,
    heldUnsafe: () => stored.length,
    isCollectingUnsafe: () => (first(takers)?.need ?? 0) > stored.length
  }
}

const padTo = <A>(n: number, batch: Arr.NonEmptyArray<A>): ReadonlyArray<A> => [
  ...batch,
  ...Array.from({ length: n - batch.length }, () => Arr.lastNonEmpty(batch))
]
