/**
 * The two lines of fibers that wait at a queue: takers, and offers.
 *
 * A fiber is woken, never served. The first in a line is woken when it can go on, and then does its work itself, in one
 * step that also hands over the result. Nothing has moved before that step, no other fiber runs during it, and after it
 * the result is the caller's: an interruption loses nothing, whenever it comes. Only the parts of an offer that are not
 * its last are admitted without its fiber, as they have no result.
 *
 * Such a step is one `Effect.sync` under frames that a success passes without a further step (of `catchCause` and of
 * `callback`). That is why it throws what it cannot return: to choose a next effect would be such a step. To throw costs
 * as much as twenty steps, so it is asked first whether an attempt is due, and throws only if that has changed since.
 *
 * Who waits is woken once in a scheduler turn, or earlier by who has to wait at the other end: a producer and a consumer
 * take turns per `capacity` elements, not per element.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Scheduler from "effect/Scheduler"

/** Thrown by an attempt that cannot be made yet. It never leaves the queue. */
export const Wait: unique symbol = Symbol("Wait")

/** What one operation does when its turn comes. */
export interface Turn<X, E> {
  /** Elements that a take collects. All but the last are held beyond the capacity while it is first in line. */
  readonly need: number
  readonly refusal: new(...args: never) => E
  /** Whether an attempt is to be made now. Tells it before one is made, since to throw costs much. */
  readonly isDue: () => boolean
  /** Does all of it and gives the result, or throws `Wait` or a refusal. */
  readonly attempt: () => X
  /**
   * Whether it is worth going on while the other end gives way, which may do more first. By default it is. It goes on within
   * a scheduler turn anyhow.
   */
  readonly isWorth?: () => boolean
  /** What can be done of it before its attempt is due, without the fiber. */
  readonly part?: Part
  /** What to do between two attempts. By default only wait. */
  readonly sleep?: (untilWoken: Effect.Effect<void>) => Effect.Effect<void>
}

interface Part {
  readonly isDue: () => boolean
  /**
   * Admits what there is room for, but not all that is left. With it come so many elements more as `take` is to take before
   * anybody is told.
   */
  readonly run: (taken: number, take: () => void) => void
}

/** A fiber in line; it is woken only while it sleeps. */
export interface Place {
  readonly turn: Pick<Turn<unknown, unknown>, "need" | "isDue" | "isWorth" | "part">
  isAsleep: boolean
  wake: () => void
  before: Place | undefined
  behind: Place | undefined
}

/** Fibers, in the order in which they came. */
export interface Line {
  first: Place | undefined
  last: Place | undefined
  length: number
}

const emptyLine = (): Line => ({ first: undefined, last: undefined, length: 0 })

const append = (line: Line, place: Place): void => {
  place.before = line.last
  if (line.last === undefined) line.first = place
  else line.last.behind = place
  line.last = place
  line.length++
}

/** Does nothing for a place that has left: who was refused has, and may still be interrupted. */
const remove = (line: Line, place: Place): void => {
  const { before, behind } = place
  if (before === undefined ? line.first !== place : before.behind !== place) return
  if (before === undefined) line.first = behind
  else before.behind = behind
  if (behind === undefined) line.last = before
  else behind.before = before
  place.before = place.behind = undefined
  line.length--
}

const canGoOn = ({ first }: Line): boolean =>
  first?.isAsleep === true && (first.turn.isDue() || first.turn.part?.isDue() === true)

const isWorth = ({ first }: Line): boolean => first?.turn.isWorth?.() !== false

const hasLeft = ({ stage }: Standing<unknown, unknown>): boolean => stage === "out"

const nothing = (): void => {}

/** Lets a place go on as far as it can: its fiber, if it can do all. */
const advance = (place: Place): void => {
  const { turn } = place
  const { part } = turn
  if (turn.isDue()) {
    place.isAsleep = false
    place.wake()
  } else if (part?.isDue() === true) part.run(0, nothing)
}

export interface WaitingLines {
  readonly takers: Line
  readonly offers: Line
  /**
   * Admits a part of the first offer in line, if there is room for one that is not its last, and with it so many elements
   * more as `take` is to take at once; gives whether it did.
   */
  readonly admitPart: (taken: number, take: () => void) => boolean
  /** To be called after every change: who is first in line and can go on is woken within a scheduler turn. */
  readonly changed: () => void
  /** Makes an attempt: `now`, when nobody is in line and it is due, else as a turn in line. */
  readonly enter: <X, E>(line: Line, now: () => X, begin: () => Turn<X, E>) => Effect.Effect<X, E>
  /** The same for who has just seen that it is due, in fewer steps. */
  readonly attempt: <X, E>(line: Line, now: () => X, begin: () => Turn<X, E>) => Effect.Effect<X, E>
  /**
   * The same for who is no fiber: makes an attempt, when nobody is in line or when it is its turn, and gives whether it
   * succeeded. If it is not due it comes into line, or stays there; after a refusal it is out of it.
   */
  readonly attemptUnsafe: <X, E>(line: Line, place: Standing<X, E>) => boolean
  readonly leaveUnsafe: <X, E>(line: Line, place: Standing<X, E>) => void
}

/** The place of who is no fiber, and makes its attempts by itself. It comes into line again and again. */
export interface Standing<X, E> extends Place {
  readonly turn: Turn<X, E>
  stage: "out" | "asking" | "in"
  /** Called when it is its turn: it has to attempt it, or to leave. Must not throw. */
  readonly wake: () => void
}

export const make = (options: {
  readonly dispatcher: Scheduler.SchedulerDispatcher
  /** Told what the first take in line collects, when that changes; 1 when there is none. */
  readonly onNeed: (need: number) => void
  /** Told within a scheduler turn that a take of several has begun to collect. May use the queue and resume fibers. */
  readonly onCollect: (() => void) | undefined
  /** Told that a take is about to wait. May use the queue and resume fibers. */
  readonly onShort: (() => void) | undefined
}): WaitingLines => {
  const { dispatcher, onCollect, onNeed, onShort } = options
  const takers = emptyLine()
  const offers = emptyLine()
  let isGivingWay = false
  let isScheduled = false
  let collecting = 1
  let hasToTell = false // of the collecting, not in the step that begins it: `onCollect` may run other fibers

  const lineChanged = (line: Line): void => {
    if (line !== takers) return
    const need = takers.first?.turn.need ?? 1
    onNeed(need)
    if (need !== collecting) hasToTell = need > 1 && onCollect !== undefined
    collecting = need
  }

  const changed = (): void => {
    if (isScheduled || !(hasToTell || canGoOn(offers) || canGoOn(takers))) return
    isScheduled = true
    dispatcher.scheduleTask(turn, 0)
  }

  const admitPart = (taken: number, take: () => void): boolean => {
    const turn = offers.first?.turn
    if (turn?.part === undefined || turn.isDue() || !turn.part.isDue()) return false
    turn.part.run(taken, take)
    return true
  }

  const turn = (): void => {
    isScheduled = false
    if (hasToTell) {
      hasToTell = false
      onCollect!()
    }
    wake(offers)
    wake(takers)
  }

  /** Wakes from the front of a line, each place at most once: two fibers cannot keep the thread to themselves. */
  const wake = (line: Line, may: (line: Line) => boolean = () => true): void => {
    for (let left = line.length; left > 0 && canGoOn(line) && may(line); left--) advance(line.first!)
  }

  /**
   * Lets the other line go on, before a fiber has to wait. Nothing of it has moved yet, so this is a safe place to run
   * other fibers. What a take would collect in line it collects here, without a place in it.
   */
  const giveWay = (line: Line, need: number): void => {
    isGivingWay = true
    if (line === offers) wake(takers, isWorth)
    else {
      onNeed(need)
      onShort?.()
      wake(offers)
      onNeed(collecting)
    }
    isGivingWay = false
  }

  const isFree = (line: Line, turn: Turn<unknown, unknown>): boolean => line.first === undefined && turn.isDue()

  const enter = <X, E>(line: Line, now: () => X, begin: () => Turn<X, E>): Effect.Effect<X, E> => {
    const atOnce = attempt(line, now, begin)
    return Effect.suspend(() => {
      const turn = begin()
      return isFree(line, turn) ? atOnce : wait(line, turn, atOnce)
    })
  }

  const attempt = <X, E>(line: Line, now: () => X, begin: () => Turn<X, E>): Effect.Effect<X, E> => {
    const atOnce: Effect.Effect<X, E> = Effect.catchCause(
      Effect.sync(() => {
        if (line.first !== undefined) throw Wait
        return now()
      }),
      (cause) => isWait(cause) ? wait(line, begin(), atOnce) : refuse(begin(), cause)
    )
    return atOnce
  }

  const wait = <X, E>(line: Line, turn: Turn<X, E>, atOnce: Effect.Effect<X, E>): Effect.Effect<X, E> => {
    if (!isGivingWay && line.first === undefined && !turn.isDue()) {
      giveWay(line, turn.need)
      if (isFree(line, turn)) return atOnce
    }
    return stand(line, turn)
  }

  /** Stands in line until an attempt succeeds or is refused. The place is kept from one attempt to the next. */
  const stand = <X, E>(line: Line, turn: Turn<X, E>): Effect.Effect<X, E> =>
    Effect.callback<X, E>((resume) => {
      const place: Place = { turn, isAsleep: false, wake: nothing, before: undefined, behind: undefined }
      const sleep = (wake: () => void) => {
        // Not woken by what that may run: a callback that is resumed while it is made has no finalizer.
        if (line.first === place && !turn.isDue() && turn.part?.isDue() === true) turn.part.run(0, nothing)
        place.isAsleep = true
        place.wake = wake
        changed()
      }
      const leave = () => {
        remove(line, place)
        lineChanged(line)
        changed()
      }
      const untilWoken = () => Effect.callback<void>((resume) => sleep(() => resume(Effect.void)))
      const serve: Effect.Effect<X, E> = Effect.catchCause(
        Effect.sync(() => {
          const result = turn.attempt()
          leave()
          return result
        }),
        (cause) => {
          if (isWait(cause)) return Effect.flatMap(turn.sleep?.(untilWoken()) ?? untilWoken(), () => serve)
          leave()
          return refuse(turn, cause)
        }
      )
      append(line, place)
      lineChanged(line)
      sleep(() => resume(serve))
      return Effect.sync(leave) // runs on an interruption, also of one between two attempts
    })

  const sleepUnsafe = <X, E>(line: Line, place: Standing<X, E>): void => {
    if (place.stage !== "in") {
      place.stage = "in"
      append(line, place)
      lineChanged(line)
    }
    place.isAsleep = true
    changed()
  }

  const leaveUnsafe = <X, E>(line: Line, place: Standing<X, E>): void => {
    const wasIn = place.stage === "in"
    place.stage = "out"
    place.isAsleep = false
    if (!wasIn) return
    remove(line, place)
    lineChanged(line)
    changed()
  }

  /** Whether it is its turn; if not, and it has not left meanwhile, it is in line then. */
  const isTurn = <X, E>(line: Line, place: Standing<X, E>): boolean => {
    const { turn } = place
    if (place.stage !== "out") return place.stage === "in" && !place.isAsleep
    if (isFree(line, turn)) return true
    if (!isGivingWay && line.first === undefined) {
      place.stage = "asking"
      giveWay(line, turn.need)
      if (hasLeft(place)) return false
      place.stage = "out"
      if (isFree(line, turn)) return true
    }
    sleepUnsafe(line, place)
    return false
  }

  const attemptUnsafe = <X, E>(line: Line, place: Standing<X, E>): boolean => {
    if (!isTurn(line, place)) return false
    try {
      place.turn.attempt()
    } catch (thrown) {
      if (thrown === Wait) {
        sleepUnsafe(line, place)
        return false
      }
      leaveUnsafe(line, place)
      if (thrown instanceof place.turn.refusal) return false
      throw thrown
    }
    leaveUnsafe(line, place)
    return true
  }

  return { takers, offers, admitPart, changed, enter, attempt, attemptUnsafe, leaveUnsafe }
}

const thrownIn = ({ reasons: [reason] }: Cause.Cause<never>): unknown =>
  reason !== undefined && Cause.isDieReason(reason) ? reason.defect : undefined

const isWait = (cause: Cause.Cause<never>): boolean => thrownIn(cause) === Wait

const refuse = <X, E>(turn: Turn<X, E>, cause: Cause.Cause<never>): Effect.Effect<never, E> => {
  const thrown = thrownIn(cause)
  return thrown instanceof turn.refusal ? Effect.fail(thrown) : Effect.failCause(cause)
}
