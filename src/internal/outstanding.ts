/**
 * What is out at a device in one session and not acknowledged as declared, by sequence: pure functions, which
 * `FeedSession` makes its steps of.
 */
import type { Progress, Result, Run } from "../RemoteDevices.ts"
import type { Item } from "./items.ts"
import * as Items from "./items.ts"

/**
 * Items sent together: `count` elements from sequence `first` on, their ordinals and attempts, and what one of them takes on
 * average.
 */
export interface Parcel<A> {
  readonly first: number
  readonly count: number
  readonly items: ReadonlyArray<Item<A>>
  readonly runs: ReadonlyArray<Run>
  readonly elementBytes: number
}

/** What is out. Sequences `base + 1` to `sent` are, except those in `resolved`, which are settled already. */
export interface Outstanding<A> {
  /** Parcels that are not settled as declared, in order. */
  readonly out: ReadonlyArray<Parcel<A>>
  readonly base: number
  readonly sent: number
  readonly sentBytes: number
  readonly resolved: ReadonlySet<number>
}

/** Items of one element that are to be given again after so long, because of this. */
export interface Back<A> {
  readonly items: ReadonlyArray<Item<A>>
  readonly afterMillis: number
  readonly cause: string
}

/** An item that was refused for good; `invalid`: by the Schema of the device. */
export interface Rejected<A> {
  readonly item: Item<A>
  readonly cause: string
  readonly invalid: boolean
}

/** What a report has settled. */
export interface Settlement<A> {
  /** In order of their sequences. */
  readonly acknowledged: ReadonlyArray<Item<A>>
  readonly redelivered: number
  readonly rejected: ReadonlyArray<Rejected<A>>
  /** In order of their sequences; neighbours with one delay and cause are together. */
  readonly back: ReadonlyArray<Back<A>>
}

/** Nothing was sent. */
export const none: Outstanding<never> = { out: [], base: 0, sent: 0, sentBytes: 0, resolved: new Set() }

export const count = <A>({ base, resolved, sent }: Outstanding<A>): number => sent - base - resolved.size

/** How many causes an element keeps: the last ones. */
const mostCauses = 16

const again = <A>(item: Item<A>, cause: string): Item<A> => ({
  ...item,
  element: item.element,
  attempt: item.attempt + 1,
  causes: [...(item.causes ?? []).slice(1 - mostCauses), cause]
})

/** Adds items that are sent together and take `byteLength` bytes. */
export const send = <A>(
  { base, out, resolved, sent, sentBytes }: Outstanding<A>,
  items: ReadonlyArray<Item<A>>,
  byteLength: number
): readonly [Outstanding<A>, Parcel<A>] => {
  const count = Items.size(items)
  const elementBytes = Math.ceil(byteLength / count)
  const parcel: Parcel<A> = { first: sent + 1, count, items, runs: runsOf(items), elementBytes }
  return [{
    base,
    resolved,
    out: [...out, parcel],
    sent: sent + count,
    sentBytes: sentBytes + elementBytes * count
  }, parcel]
}

/** The ordinals and attempts of items, as a Batch carries them. */
const runsOf = <A>(items: ReadonlyArray<Item<A>>): ReadonlyArray<Run> => {
  const all: Array<Run> = []
  for (let i = 0; i < items.length;) {
    const { attempt, ordinal } = items[i]!
    let count = 0
    for (; i < items.length; i++) {
      const next = items[i]!
      if (next.ordinal !== ordinal + count || next.attempt !== attempt) break
      count += Items.countOf(next)
    }
    all.push({ ordinal, count, attempt })
  }
  return all
}

/** The ids of items, if the feeder gives them: then it gives one to each. */
export const ids = <A>(items: ReadonlyArray<Item<A>>): ReadonlyArray<string> | undefined =>
  items[0]?.id === undefined ? undefined : items.map((item) => item.id ?? "")

/** What a device that has accepted so much is to be sent again. */
export const beyond = <A>({ base, out }: Outstanding<A>, accepted: number): ReadonlyArray<Parcel<A>> =>
  out.flatMap((parcel) => {
    const known = Math.max(accepted, base) - parcel.first + 1
    if (known <= 0) return [parcel]
    if (known >= parcel.count) return []
    const items = Items.between(parcel.items, known, parcel.count)
    return [{ ...parcel, first: parcel.first + known, count: parcel.count - known, items, runs: runsOf(items) }]
  })

/** One that only waited has no part in what befell the device: this attempt does not count. */
const uncounted = <A>(item: Item<A>): Item<A> => ({ ...item, since: (item.since ?? 1) + 1 })

/** The elements of a parcel after sequence `base`: each is that of its item with an index. */
const elementsOf = function*<A>({ first, items }: Parcel<A>, base: number) {
  let start = first
  for (const item of items) {
    const count = Items.countOf(item)
    for (let index = Math.max(0, base - start + 1); index < count; index++) {
      yield { sequence: start + index, item, index }
    }
    start += count
  }
}

/**
 * Everything that is out, each element by itself, with the next attempt: it comes back because of this. The elements up to
 * sequence `handedTo` were handed to a consumer, as far as is known.
 */
export const unsettled = <A>(
  { base, out, resolved }: Outstanding<A>,
  cause: string,
  handedTo: number
): ReadonlyArray<Item<A>> => {
  const items: Array<Item<A>> = []
  for (const parcel of out) {
    for (const { index, item, sequence } of elementsOf(parcel, base)) {
      if (resolved.has(sequence)) continue
      const next = again(Items.single(item, index), cause)
      // The next one may have been handed out and have brought the consumer down before that was told.
      items.push(sequence <= handedTo + 1 ? next : uncounted(next))
    }
  }
  return items
}

const above = <A>(out: ReadonlyArray<Parcel<A>>, base: number): ReadonlyArray<Parcel<A>> =>
  out.length === 0 ? out : out.filter((parcel) => parcel.first + parcel.count - 1 > base)

/** How many of some runs, between two indices of their items, are not given for the first time. */
const countAgain = (runs: ReadonlyArray<Run>, from: number, to: number): number => {
  let start = 0
  let again = 0
  for (const { attempt, count } of runs) {
    if (attempt > 1) again += Math.max(0, Math.min(to, start + count) - Math.max(from, start))
    start += count
  }
  return again
}

/** All up to a sequence is settled, and is acknowledged: what was accepted, or what was processed in order. */
export const accept = <A>(
  outstanding: Outstanding<A>,
  accepted: number
): readonly [Outstanding<A>, Pick<Settlement<A>, "acknowledged" | "redelivered">] => {
  const { base, out, resolved, sent, sentBytes } = outstanding
  const acknowledged: Array<ReadonlyArray<Item<A>>> = []
  let redelivered = 0
  for (const { count, first, items, runs } of out) {
    const from = Math.max(0, base - first + 1)
    const to = Math.min(count, accepted - first + 1)
    if (to <= from) break
    acknowledged.push(from === 0 && to === count ? items : Items.between(items, from, to))
    redelivered += countAgain(runs, from, to)
  }
  const next = Math.max(base, accepted)
  return [
    { base: next, out: above(out, accepted), resolved, sent, sentBytes },
    { acknowledged: acknowledged.length === 1 ? acknowledged[0]! : acknowledged.flat(), redelivered }
  ]
}

/** The item of the element with a sequence, if it is out. */
export const at = <A>({ base, out }: Outstanding<A>, sequence: number): Item<A> | undefined => {
  const parcel = out.find(({ count, first }) => first <= sequence && sequence < first + count)
  if (parcel === undefined || sequence <= base) return undefined
  const index = sequence - parcel.first
  return Items.between(parcel.items, index, index + 1)[0]
}

/** The result of each sequence that a report names. */
const results = (report: Progress): ReadonlyMap<number, Result> => {
  const all = new Map<number, Result>()
  for (const { count, from, result } of report.above) {
    for (let i = 0; i < count; i++) all.set(from + i, result)
  }
  return all
}

/** What is processed is settled, up to the watermark and above it. */
export const settle = <A>(
  outstanding: Outstanding<A>,
  report: Progress
): readonly [Outstanding<A>, Settlement<A>] => {
  const { base, out, resolved, sent, sentBytes } = outstanding
  if (report.above.length === 0 && resolved.size === 0) {
    const [next, settlement] = accept(outstanding, report.settled)
    return [next, { ...settlement, rejected: [], back: [] }]
  }
  const known = results(report)
  const nowResolved = new Set<number>()
  const rejected: Array<Settlement<A>["rejected"][number]> = []
  const back: Array<Back<A> & { readonly items: Array<Item<A>> }> = []
  const acknowledged: Array<Item<A>> = []
  let redelivered = 0
  // Nothing beyond is settled: a report costs what it tells of, not all that is out.
  let last = report.settled
  for (const sequence of known.keys()) last = Math.max(last, sequence)
  for (const sequence of resolved) last = Math.max(last, sequence)
  for (const parcel of out) {
    if (parcel.first > last) break
    for (const { index, item: span, sequence } of elementsOf(parcel, base)) {
      if (sequence > last) break
      const result = known.get(sequence)
      const isSettled = sequence <= report.settled || result !== undefined
      if (!isSettled && !resolved.has(sequence)) continue
      if (sequence > report.settled) nowResolved.add(sequence)
      if (resolved.has(sequence)) continue
      const item = Items.single(span, index)
      if (result?._tag === "Retry") {
        const { afterMillis, cause } = result
        const group = back.at(-1)
        if (group?.afterMillis === afterMillis && group.cause === cause) group.items.push(again(item, cause))
        else back.push({ items: [again(item, cause)], afterMillis, cause })
      } else if (result?._tag === "Reject") {
        rejected.push({ item, cause: result.cause, invalid: result.invalid === true })
      } else {
        acknowledged.push(item)
        if (item.attempt > 1) redelivered++
      }
    }
  }
  const next = Math.max(base, report.settled)
  return [
    { base: next, out: above(out, next), resolved: nowResolved, sent, sentBytes },
    { acknowledged, redelivered, rejected, back }
  ]
}
