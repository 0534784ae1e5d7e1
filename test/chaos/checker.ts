/**
 * Judges what was recorded: each element is in one class, and each promise that was broken is told. It is pure.
 *
 * What was in the hands of a process that was killed, or in the air, may or may not have happened. That is *unknown*: it
 * is counted, and neither passed over nor held against anyone. A promise is broken only where no order of events that
 * fits the record keeps it.
 */
import type { RemoteDevices } from "effect-feeder"
import * as History from "./history.ts"

/** What happened to a process of a consumer at a moment, in milliseconds since the epoch. */
export interface Fault {
  readonly kind: "kill" | "stop"
  /** Whether it is proven at once that the process is gone. */
  readonly isProven: boolean
  readonly device: number
  readonly launch: number
  readonly at: number
}

/** What a life of the feeder began with. */
export interface Checkpoint {
  readonly life: number
  readonly isAcknowledged: (n: number) => boolean
}

/** A time, in milliseconds since the epoch. */
export interface Interval {
  readonly from: number
  readonly to: number
}

export interface Recorded {
  /** Elements are numbered from 0 up to here. */
  readonly generated: number
  readonly delivery: RemoteDevices.DeliveryMode
  readonly leaseMillis: number
  /** Whether the feeder ended by itself, so that nothing is left to be done. */
  readonly isComplete: boolean
  readonly logs: ReadonlyArray<History.Log>
  readonly faults: ReadonlyArray<Fault>
  /** What lives of the feeder went on from. */
  readonly checkpoints: ReadonlyArray<Checkpoint>
  /** Whether the last checkpoint of a feeder that has ended says that an element is acknowledged. */
  readonly isAcknowledged?: ((n: number) => boolean) | undefined
  /** When no feeder was there, or it was stopped. */
  readonly unfed: ReadonlyArray<Interval>
  /** The elements that are dead letters because they were refused. */
  readonly refused: ReadonlyArray<number>
  /** How often the effect of an element is in the consumers' store; for `effectivelyOnce`. */
  readonly effects?: ((n: number) => number) | undefined
}

export interface Verdict {
  /** Elements that a consumer has finished; for `effectivelyOnce`, those whose effect is in the store. */
  readonly acknowledged: number
  readonly dead: number
  /** Elements that nobody finished or refused though they should have. */
  readonly lost: number
  /** Hand-outs beyond the first without a mark, and effects beyond the first. */
  readonly duplicated: number
  /** Hand-outs with a mark. */
  readonly redelivered: number
  /** Hand-outs of the third attempt or a later one, and the most attempts of one element. */
  readonly thirdOrLater: number
  readonly mostAttempts: number
  /** Elements that a later life of the feeder handed out again. */
  readonly again: number
  /** Elements finished when another consumer had them already. */
  readonly late: number
  readonly corrupt: number
  /** First hand-outs of a process that came before an earlier element. */
  readonly disordered: number
  /** What was in the air: hand-outs of which nothing more is known, and elements of which no more is known than that. */
  readonly unknown: { readonly handOuts: number; readonly elements: number }
  readonly handOuts: number
  readonly longestStallMillis: number
  /** When the longest stall began. */
  readonly stalledAt: number
  /** The longest while a feeder was there. */
  readonly longestFedStallMillis: number
  /** How long it took until what a process had in hand when it was killed or lapsed was handed out again. */
  readonly refeedMillis: ReadonlyArray<number>
  /** Those of `refeedMillis` that count from a death which was proven at once. */
  readonly provenRefeedMillis: ReadonlyArray<number>
  /** The first broken promises, in words. */
  readonly violations: ReadonlyArray<string>
}

/** An event and whose it is. */
interface Told extends History.Event {
  readonly log: History.Log
}

/** How many broken promises are told in words. */
const tellAtMost = 20

const nameOf = ({ device, launch }: History.Log): string => `device ${device}, start ${launch}`

/** In the order of time; what is written with the same millisecond is read in the consumers' favour. */
const byTime = (one: Told, other: Told): number =>
  one.at - other.at || Number(one.kind !== "Handed") - Number(other.kind !== "Handed") || one.attempt - other.attempt

/** The events of each element, by its number. */
const makeIndex = (logs: ReadonlyArray<History.Log>, generated: number) => {
  const starts = new Uint32Array(generated + 2)
  const each = (visit: (log: number, index: number, n: number) => void) => {
    logs.forEach((log, at) => {
      for (let i = 0; i < History.length(log); i++) {
        const n = History.nOf(log, i)
        if (n < generated) visit(at, i, n)
      }
    })
  }
  each((_, __, n) => starts[n + 2]!++)
  for (let n = 2; n < starts.length; n++) starts[n]! += starts[n - 1]!
  const total = starts[generated + 1]!
  const places = { log: new Uint16Array(total), index: new Uint32Array(total) }
  each((log, index, n) => {
    const place = starts[n + 1]!++
    places.log[place] = log
    places.index[place] = index
  })
  return (n: number): ReadonlyArray<Told> => {
    const events: Array<Told> = []
    for (let place = starts[n]!; place < starts[n + 1]!; place++) {
      const log = logs[places.log[place]!]!
      events.push({ ...History.read(log, places.index[place]!), log })
    }
    return events.toSorted(byTime)
  }
}

/** Hand-outs beyond the first that nobody marked: those that certainly are, and those that may only seem so. */
const unmarkedBeyondFirst = (handed: ReadonlyArray<Told>): { certain: number; unknown: number } => {
  const unmarked = handed.filter(({ redelivered }) => !redelivered)
  const last = unmarked.at(-1)
  if (unmarked.length > 1) return { certain: unmarked.length - 1, unknown: 0 }
  const before = last === undefined ? [] : handed.filter(({ at }) => at < last.at)
  if (last === undefined || before.length === 0) return { certain: 0, unknown: 0 }
  // It stands after marked ones. One that was stopped between being handed the element and writing so may stand there;
  // and a device hands out what it has from a former life of the feeder until its lease has run out, or it hears of the next.
  return last.isLate || before.every(({ life }) => life > last.life)
    ? { certain: 0, unknown: 1 }
    : { certain: 1, unknown: 0 }
}

/** For each hand-out of an element, how the same process was rid of it, if it was. */
const pair = (events: ReadonlyArray<Told>): ReadonlyMap<Told, Told | undefined> => {
  const open: Array<Told> = []
  const ends = new Map<Told, Told | undefined>()
  for (const event of events) {
    if (event.kind === "Handed") {
      open.push(event)
      ends.set(event, undefined)
      continue
    }
    const at = open.findIndex(({ attempt, life, log }) =>
      log === event.log && life === event.life && attempt === event.attempt
    )
    if (at >= 0) ends.set(open.splice(at, 1)[0]!, event)
  }
  return ends
}

/** When something was finished, in order, and each millisecond once. */
const finishedAt = (logs: ReadonlyArray<History.Log>): ReadonlyArray<number> => {
  const times = new Set<number>()
  for (const log of logs) {
    for (let i = 0; i < History.length(log); i++) {
      const { at, kind } = History.read(log, i)
      if (kind !== "Handed") times.add(Math.floor(at))
    }
  }
  return [...times].toSorted((one, other) => one - other)
}

/** The longest time in which nothing was finished, and the longest part of such a time in which a feeder was there. */
const longestStall = (logs: ReadonlyArray<History.Log>, unfed: ReadonlyArray<Interval>) => {
  const times = finishedAt(logs)
  let longest = { millis: 0, from: times[0] ?? 0 }
  let fed = 0
  for (let i = 1; i < times.length; i++) {
    const [from, to] = [times[i - 1]!, times[i]!]
    if (to - from > longest.millis) longest = { millis: to - from, from }
    if (to - from <= fed) continue
    let start = from
    for (const gap of unfed) {
      if (gap.to <= start || gap.from >= to) continue
      fed = Math.max(fed, gap.from - start)
      start = Math.min(gap.to, to)
    }
    fed = Math.max(fed, to - start)
  }
  return { ...longest, fed }
}

export const check = (recorded: Recorded): Verdict => {
  const { delivery, effects, generated, leaseMillis, logs } = recorded
  const violations: Array<string> = []
  const broken = (text: () => string) => {
    if (violations.length < tellAtMost) violations.push(text())
  }
  const count = {
    acknowledged: 0,
    dead: 0,
    lost: 0,
    duplicated: 0,
    redelivered: 0,
    thirdOrLater: 0,
    mostAttempts: 0,
    again: 0,
    late: 0,
    corrupt: 0,
    disordered: 0,
    handOuts: 0
  }
  const unknown = { handOuts: 0, elements: 0 }
  const letters = new Set(recorded.refused)
  const checkpoints = new Map(recorded.checkpoints.map(({ isAcknowledged, life }) => [life, isAcknowledged]))
  const refeedMillis: Array<number> = []
  const provenRefeedMillis: Array<number> = []

  for (const log of logs) {
    const highest = new Map<number, number>()
    for (let i = 0; i < History.length(log); i++) {
      const { isCorrupt, kind, life, n, ordinal, redelivered } = History.read(log, i)
      if (isCorrupt || n >= generated) {
        count.corrupt++
        broken(() => `${nameOf(log)} had an element ${n} that is not what was generated`)
      }
      if (kind !== "Handed" || redelivered) continue
      const before = highest.get(life) ?? -1
      if (ordinal <= before) {
        count.disordered++
        broken(() => `${nameOf(log)} was first handed ordinal ${ordinal} of life ${life} after ${before}`)
      }
      highest.set(life, Math.max(before, ordinal))
    }
  }

  const faults = new Map<string, ReadonlyArray<Fault>>()
  for (const fault of recorded.faults) {
    const key = `${fault.device} ${fault.launch}`
    faults.set(key, [...(faults.get(key) ?? []), fault])
  }

  const measure = (events: ReadonlyArray<Told>, handed: Told, end: Told | undefined) => {
    for (const { at, isProven, kind } of faults.get(`${handed.log.device} ${handed.log.launch}`) ?? []) {
      if (handed.at > at || (end !== undefined && end.at <= at)) continue
      // What a later life of the feeder does tells nothing of how fast this one was.
      const next = events.find((event) =>
        event.kind === "Handed" && event.life === handed.life && event.at > at && event.log !== handed.log
      )
      if (next === undefined) return
      const millis = Math.max(0, next.at - at - (kind === "kill" ? 0 : leaseMillis))
      refeedMillis.push(millis)
      if (isProven) provenRefeedMillis.push(millis)
      return
    }
  }

  const eventsOf = makeIndex(logs, generated)
  for (let n = 0; n < generated; n++) {
    const events = eventsOf(n)
    const ends = pair(events)
    const handed = [...ends.keys()]
    const lives = [...new Set(handed.map(({ life }) => life))]
    count.handOuts += handed.length
    count.redelivered += handed.filter(({ redelivered }) => redelivered).length
    for (const { attempt } of handed) {
      if (attempt > 2) count.thirdOrLater++
      count.mostAttempts = Math.max(count.mostAttempts, attempt)
    }
    if (lives.length > 1) count.again++
    unknown.handOuts += handed.filter((one) => ends.get(one) === undefined).length
    for (const [one, end] of ends) {
      measure(events, one, end)
      const wasTaken = handed.some((other) =>
        other.life === one.life && other.attempt > one.attempt && other.at < (end?.at ?? 0)
      )
      if (wasTaken) count.late++
    }

    const doubles = delivery === "atMostOnce"
      ? { certain: Math.max(0, handed.length - 1), unknown: 0 }
      : unmarkedBeyondFirst(handed)
    unknown.handOuts += doubles.unknown
    if (doubles.certain > 0) {
      count.duplicated += doubles.certain
      broken(() => `element ${n} was handed out ${doubles.certain} times too often without a mark: ${tell(events)}`)
    }
    const again = handed.filter(({ life }) => checkpoints.get(life)?.(n) === true)
    if (again.length > 0) {
      count.duplicated += again.length
      broken(() => `element ${n} was fed again by a life that knew it to be acknowledged: ${tell(events)}`)
    }
    if (recorded.isAcknowledged?.(n) === false) {
      broken(() => `element ${n} is not acknowledged by the last checkpoint: ${tell(events)}`)
    }
    if (letters.has(n) && !events.some(({ kind }) => kind === "Refused")) {
      broken(() => `element ${n} is a dead letter that nobody refused: ${tell(events)}`)
    }
    const took = effects?.(n)
    if (took !== undefined && took > 1) {
      count.duplicated += took - 1
      broken(() => `the effect of element ${n} took place ${took} times: ${tell(events)}`)
    }

    const isRefused = events.some(({ kind }) => kind === "Refused")
    if (took === undefined ? events.some(({ kind }) => kind === "Done") : took > 0) {
      count.acknowledged++
    } else if (isRefused && (letters.has(n) || !recorded.isComplete)) {
      count.dead++
    } else if (recorded.isComplete && delivery !== "atMostOnce") {
      count.lost++
      broken(() =>
        `element ${n} was ${isRefused ? "refused and is no dead letter" : "never finished"}: ${tell(events)}`
      )
    } else {
      unknown.elements++
    }
  }

  const { fed, from, millis } = longestStall(logs, recorded.unfed)
  return {
    ...count,
    unknown,
    longestStallMillis: millis,
    stalledAt: from,
    longestFedStallMillis: fed,
    refeedMillis,
    provenRefeedMillis,
    violations
  }
}

const tell = (events: ReadonlyArray<Told>): string =>
  events.map(({ at, attempt, isLate, kind, life, log, ordinal, redelivered }) =>
    `${kind} at ${Math.round(at)} by ${nameOf(log)} (life ${life}, ordinal ${ordinal}, attempt ${attempt}` +
    `${redelivered ? ", marked" : ""}${isLate ? ", late" : ""})`
  ).join("; ") || "it was never handed out"
