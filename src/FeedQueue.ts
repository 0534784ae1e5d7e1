/**
 * A bounded first-in, first-out queue with the semantics of the reference's queue: waiters are served in order,
 * batches are contiguous and may exceed the capacity, closing keeps what is stored.
 *
 * The elements lie in an Effect `Queue.bounded`, whose `messages` and `capacity` this module works on: it stores and
 * bounds. Nobody waits in that queue, as its takers overtake each other, its `offerAll` hides how much of it was
 * admitted, and each take from it resumes a producer in the middle of its own step. Instead there are two lines here,
 * one of takers and one of offers (`internal/waitingLines.ts`).
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
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { LineTaker, type Through } from "./internal/lineTaker.ts"
import * as Spans from "./internal/spans.ts"
import * as Stored from "./internal/stored.ts"
import { type Turn, Wait } from "./internal/waitingLines.ts"
import * as WaitingLines from "./internal/waitingLines.ts"

export type { Spans } from "./internal/spans.ts"

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
  /** Takes without a fiber, again and again. */
  taker(options: TakerOptions<A>): Taker

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
  /**
   * Removes and gives the elements that match, those that a waiting take collects included. Of a span each is asked
   * about, by its index there, and what matches in it is cut out.
   */
  removeWhereUnsafe(predicate: (element: A, index: number) => boolean): ReadonlyArray<A>
  /** While true, a `takeUpTo` does not wait to fill its batch: it takes what there is, as on a closed queue. */
  flushUnsafe(isFlushing: boolean): void
  /** `close({ cancelPending: true })`, at once. */
  closeNowUnsafe(): void
  isClosedUnsafe(): boolean
  /** `size`, at once. */
  sizeUnsafe(): number
  /** Everything the queue answers for: `size` and what a waiting take collects. */
  heldUnsafe(): number
  /**
   * How many elements a take of several that waits, or is about to (see `onShort`), still misses: while it does, it collects
   * all that is stored. Else 0.
   */
  missingUnsafe(): number
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
 * Who takes without a fiber: see `FeedQueue.taker`.
 *
 * @category models
 * @since 0.1.0
 */
export interface TakerOptions<A> {
  /**
   * How many elements are wanted, asked in the step that takes; less than 1 counts as 1. While an offer that found no room
   * lets takes go on, its turn does not come for less than that, and less than half of the capacity: the offer may add to it
   * first.
   */
  most(): number
  /** See `OnTake`. */
  onTake(elements: ReadonlyArray<A>): void
  /** It is its turn: it has to take, or to leave the line. Comes outside of any step. Must not throw. */
  onTurn(): void
}

/**
 * Takes without a fiber what there is, and in the same step what the first offer in line has for the room that this leaves,
 * but for its last element: fewer steps where a queue is smaller than what is offered and taken at once. An offer's `onAdmit`
 * is told in the middle of that step, so that the same is forbidden to it as to `onTake`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Taker {
  /**
   * Takes what there is, if nobody stands in line before it, and gives whether it did. If there is nothing it comes into line,
   * unless the queue is closed. Resumes fibers that offer, so it must not be called in a step.
   */
  takeUnsafe(): boolean
  /** Leaves the line, and has taken nothing there. */
  leaveUnsafe(): void
}

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
   * How entries of several elements are counted and cut. With it, what is offered, taken and asked about are entries, while
   * all counts are of elements: a take of n gives entries of n elements, the last of them cut where it has more. By default
   * every entry is one element.
   */
  readonly spans?: Spans.Spans<A>
  /**
   * Told that a take would have to wait, before it does: more may be admitted now, so many as it misses. Comes outside of any
   * step, so it may use the queue and resume fibers. Must not throw.
   */
  readonly onShort?: () => void
  /** Told that a take looks for elements, in the step that hands them out, before anything is asked about them. */
  readonly onLook?: () => void
  /**
   * Asked about each element in the step that hands it out. One that is refused is discarded, and the take goes on to
   * the next or waits on. May be asked again about an element it kept, when the batch has become too short, or was cut
   * before it.
   *
   * It runs in the middle of that step: it must not throw, not touch the queue, and not resume a fiber (as
   * `Latch.openUnsafe` and `Deferred.doneUnsafe` do), which could interrupt the taker and so lose what it is given.
   */
  readonly isCurrent?: (element: A) => boolean
  /**
   * Asked about each element, as `isCurrent` is. One for which it is true is handed out in a batch of its own: a take of
   * several ends before it, or with it when it is the first, and gives fewer than it asked for. It must be no span of
   * several.
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

const fromStore = <A>(store: Queue.Queue<A>, options: Options<A>): FeedQueue<A> => {
  const { capacity, isAlone, isCurrent, name = "feed-queue", onCollect, onHandOut, onLook, onShort, spans } = options
  const { append, count: held, putBack, removeWhere, sizeOf, takeFirst, takeOne } = Stored.make(store.messages, spans)
  let isClosed = false
  let isAbandoned = false // closed at once
  let isFlushing = false

  const lines = WaitingLines.make({
    dispatcher: store.dispatcher,
    onNeed(need) {
      store.capacity = capacity + need - 1
    },
    onCollect,
    onShort
  })
  const { admitPart, attempt, changed, enter, offers, takers } = lines

  const one = () => 1

  // --- offers ----------------------------------------------------------------

  const room = (): number => store.capacity - held()

  const closed = () => new QueueClosed({ queue: name })

  const isRoomOrClosed = () => isClosed || room() > 0

  const offering = (isDue: () => boolean, attempt: () => void): Turn<void, QueueClosed> => ({
    need: 0,
    refusal: QueueClosed,
    isDue,
    attempt
  })

  const isFree = (count: number): boolean => offers.first === undefined && (isClosed || room() >= count)

  const admitOne = (element: A): void => {
    if (isClosed) throw closed()
    if (!Queue.offerUnsafe(store, element)) throw Wait
    changed()
  }

  const offer = (element: A): Effect.Effect<void, QueueClosed> => {
    if (spans !== undefined) return offerAll([element])
    const now = () => admitOne(element)
    const begin = () => offering(isRoomOrClosed, now)
    return isFree(1) ? attempt(offers, now, begin) : enter(offers, now, begin)
  }

  const admit = (entries: Array<A>, count: number, onAdmit: ((count: number) => void) | undefined): void => {
    if (isClosed) throw closed()
    if (count > room()) throw Wait
    append(entries, count)
    onAdmit?.(count)
    changed()
  }

  const offerAll = (
    entries: ReadonlyArray<A>,
    onAdmit?: (count: number) => void
  ): Effect.Effect<void, QueueClosed> => {
    if (entries.length === 0) return Effect.void
    const count = sizeOf(entries)
    const now = () => admit(entries.slice(), count, onAdmit)
    const begin = () => {
      let left = count
      const read = Spans.reader(spans, entries)
      const isDue = () => isClosed || room() >= left
      return {
        ...offering(isDue, () => {
          // What is read is admitted.
          if (!isDue()) throw Wait
          admit(read(left), left, onAdmit)
        }),
        // Only in line, or another offer could come between the parts; and the last one is the fiber's.
        part: {
          isDue: () => room() > 0,
          run(taken: number, take: () => void) {
            const size = Math.min(room() + taken, left - 1)
            left -= size
            append(read(size), size)
            take()
            onAdmit?.(size)
            changed()
          }
        }
      }
    }
    return isFree(count) ? attempt(offers, now, begin) : enter(offers, now, begin)
  }

  const closeOne = (): void => {
    if (isAbandoned) throw closed()
    isClosed = true
    changed()
  }

  const closeInTurn: Effect.Effect<void, QueueClosed> = Effect.suspend(() =>
    isClosed ? Effect.void : enter(offers, closeOne, () => offering(() => true, closeOne))
  )

  const closeNowUnsafe = (): void => {
    if (isClosed) return
    isClosed = true
    isAbandoned = true
    changed()
  }

  // --- takes -----------------------------------------------------------------

  /**
   * Entries of up to `most` elements that are current, after those that were taken `before`, how many elements they are, and
   * whether one that is to be alone has ended them.
   */
  const nextOnes = (most: number, before?: Taken<A>): Taken<A> => {
    let kept = before?.entries ?? []
    let count = before?.count ?? 0
    const keep = (next: Array<A>) => {
      kept = kept.length === 0 ? next : kept.concat(next)
      count += sizeOf(next)
    }
    while (count < most && held() > 0) {
      const first = takeFirst(most - count)
      const current = isCurrent === undefined ? first : first.filter(isCurrent)
      const alone = isAlone === undefined ? -1 : current.findIndex(isAlone)
      if (alone < 0) {
        keep(current)
        continue
      }
      const end = alone === 0 && kept.length === 0 ? 1 : alone
      putBack(current.slice(end))
      keep(current.slice(0, end))
      return { entries: kept, count, isCut: count < most }
    }
    return { entries: kept, count, isCut: false }
  }

  /** The same, and what the first offer in line has for the room that this leaves. */
  const nextThrough = (most: number): Taken<A> => {
    let taken = nextOnes(most)
    const takeMore = () => {
      taken = nextOnes(most, taken)
    }
    while (!taken.isCut && taken.count < most && admitPart(most - taken.count, takeMore));
    return taken
  }

  const extract = (
    least: number,
    most: number,
    onTake: OnTake<A> | undefined,
    next: (most: number) => Taken<A> = nextOnes
  ): Arr.NonEmptyArray<A> => {
    if (held() >= least) {
      onLook?.()
      const { count, entries, isCut } = next(most)
      if (Arr.isArrayNonEmpty(entries) && (isCut || count >= least)) {
        onHandOut?.(entries, isCut)
        onTake?.(entries)
        changed()
        return entries
      }
      putBack(entries)
      changed()
    }
    throw isClosed ? new QueueEnded({ queue: name, requested: most, left: held() }) : Wait
  }

  const taking = <X>(need: number, least: () => number, attempt: () => X): Effect.Effect<X, QueueEnded> => {
    const turn = { need, refusal: QueueEnded, isDue: () => isClosed || held() >= least(), attempt }
    return enter(takers, attempt, () => turn)
  }

  const isPlain = isCurrent === undefined && onHandOut === undefined && spans === undefined

  const take: Effect.Effect<A, QueueEnded> = taking(1, one, () => {
    if (held() === 0 || !isPlain) return extract(1, 1, undefined)[0]
    const element = takeOne()
    changed()
    return element
  })

  const takeMany = (n: number, onTake?: OnTake<A>) => taking(n, () => n, () => extract(n, n, onTake))
  const takeAvailable = (n: number, onTake?: OnTake<A>) => taking(1, one, () => extract(1, n, onTake))
  const isAnyOrClosed = () => isClosed || held() > 0

  const through: Through<A, QueueEnded> = {
    lines,
    refusal: QueueEnded,
    isDue: isAnyOrClosed,
    isWorth: (most: number) => held() >= Math.min(most, capacity / 2),
    take: (options: TakerOptions<A>) =>
      extract(1, Math.max(1, options.most()), (entries) => options.onTake(entries), nextThrough)
  }
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
      return enter(takers, () => extract(isClosed ? 1 : n, n, onTake), () => {
        let deadline: number | undefined
        let isOver = false
        const over = Effect.sync(() => {
          isOver = true
        })
        return {
          need: n,
          refusal: QueueEnded,
          isDue: () => isClosed || held() >= (isOver || deadline === undefined ? 1 : n),
          attempt: () => extract(isOver || isClosed ? 1 : n, n, onTake),
          sleep(untilWoken) {
            if (held() === 0) {
              deadline = undefined
              isOver = false
              return untilWoken
            }
            return Effect.flatMap(Clock.currentTimeMillis, (now) => {
              deadline ??= now + millis
              return Effect.raceFirst(untilWoken, Effect.andThen(Effect.sleep(deadline - now), over))
            })
          }
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
    putBack(elements)
    changed()
  }

  const sizeUnsafe = (): number => Math.max(0, held() - (takers.first?.turn.need ?? 0))

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
    taker: (options) => new LineTaker(through, options),
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
      append(elements.slice(), sizeOf(elements))
      changed()
      return true
    },
    removeWhereUnsafe(predicate) {
      const removed = removeWhere(predicate)
      changed()
      return removed
    },
    flushUnsafe(flush) {
      if (isFlushing === flush) return
      isFlushing = flush
      changed()
    },
    closeNowUnsafe,
    isClosedUnsafe: () => isClosed,
    sizeUnsafe,
    heldUnsafe: held,
    missingUnsafe: () => {
      const need = store.capacity - capacity + 1
      return need > 1 ? Math.max(0, need - held()) : 0
    }
  }
}

/** What a take takes: entries of `count` elements, and whether one that is to be alone has ended them. */
interface Taken<A> {
  readonly entries: Array<A>
  readonly count: number
  readonly isCut: boolean
}

const padTo = <A>(n: number, batch: Arr.NonEmptyArray<A>): ReadonlyArray<A> => [
  ...batch,
  ...Array.from({ length: n - batch.length }, () => Arr.lastNonEmpty(batch))
]
