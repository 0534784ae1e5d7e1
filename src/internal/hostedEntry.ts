/**
 * The elements that a device holds, and the session they came in.
 */
import type { Chunk } from "../BatchCodec.ts"
import type * as HostSession from "../HostSession.ts"
import type { Batch } from "../RemoteDevices.ts"
import type { Delivery, Handed } from "./hosted.ts"
import type { Spans } from "./spans.ts"

/** A feeder's session, with the effects of its outputs. */
export interface Session {
  state: HostSession.State
  lostAt: number
  /** The batch of which elements were admitted last, and more are to be. */
  admitting: { readonly batch: Batch; readonly parcels: ReadonlyArray<Parcel> } | undefined
  readonly apply: (input: HostSession.Input) => void
  /** Admits of what is on its way what there is room for. */
  readonly refill: () => void
  /** Does that, and reports if it is due or asked for. */
  readonly report: (isAsked: boolean) => void
}

/** The memory of a batch, until each of the elements that were admitted of it is released. */
export class Lent {
  /** How many are in use, and one more as long as others may be admitted. */
  #used = 1
  readonly #release: () => void

  constructor(release: () => void) {
    this.#release = release
  }

  add(count: number): void {
    this.#used += count
  }

  remove(count: number): void {
    this.#used -= count
    if (this.#used === 0) this.#release()
  }
}

/**
 * Elements of one chunk that came together, from index `from` up to, not including, `to`: all that they share. The first has
 * `place` and `ordinal`.
 */
export interface Parcel {
  readonly session: Session
  readonly chunk: Chunk
  /** What the chunk lies in, if that can be used again. */
  readonly lent: Lent | undefined
  readonly from: number
  readonly to: number
  readonly place: HostSession.Place
  readonly ordinal: number
  readonly attempt: number
  /** It came back twice with others: from now on each comes back by itself, and takes none of them to the dead letters. */
  readonly isAlone: boolean
  readonly idOf: (index: number) => string | undefined
}

/**
 * Elements in a device's queue, and later in the hands of a consumer: `count` of a parcel that follow each other, by the
 * index of the first in the chunk.
 */
export class Entry implements Handed<unknown> {
  readonly parcel: Parcel
  readonly index: number
  readonly count: number
  /** The index in the chunk from which on they may have been handed out before. */
  markedFrom: number
  isCut = false

  constructor(parcel: Parcel, index: number, count: number) {
    this.parcel = parcel
    this.index = index
    this.count = count
    this.markedFrom = parcel.attempt > 1 ? 0 : parcel.chunk.length
  }

  get chunk(): Chunk {
    return this.parcel.chunk
  }

  get element(): unknown {
    return this.parcel.chunk.elements[this.index]
  }

  /** Of the first. */
  get sequence(): number {
    return this.parcel.place.sequence + this.index - this.parcel.from
  }

  /** Of the first. */
  get place(): HostSession.Place {
    const { place } = this.parcel
    return { ...place, sequence: this.sequence }
  }

  deliveryOf(nth: number): Delivery {
    const { attempt, from, idOf, ordinal, session } = this.parcel
    const index = this.index + nth
    return {
      feeder: session.state.feeder,
      ordinal: ordinal + index - from,
      attempt,
      redelivered: index >= this.markedFrom,
      id: idOf(index)
    }
  }

  slice(from: number, to: number): Entry {
    const some = new Entry(this.parcel, this.index + from, to - from)
    some.markedFrom = this.markedFrom
    some.isCut = this.isCut && to === this.count
    return some
  }

  release(): void {
    this.parcel.lent?.remove(this.count)
  }

  /** Those beyond a sequence may have been handed out before. */
  markBeyond(sequence: number): void {
    const { from, place } = this.parcel
    this.markedFrom = Math.min(this.markedFrom, from + sequence + 1 - place.sequence)
  }
}

/** How a queue counts and cuts entries. */
export const spans: Spans<Entry> = {
  lengthOf: ({ count }) => count,
  slice: (entry, from, to) => entry.slice(from, to)
}

/**
 * The elements that a parcel has between two indices, as few entries as there can be, or one each if they are to be alone. Of
 * those that are invalid it tells instead.
 */
export const entriesOf = (
  parcel: Parcel,
  start: number,
  end: number,
  onInvalid: (index: number, issue: string) => void
): ReadonlyArray<Entry> => {
  const { chunk: { invalid }, isAlone } = parcel
  const from = Math.max(parcel.from, start)
  const to = Math.min(parcel.to, end)
  const entries: Array<Entry> = []
  const add = (start: number, end: number) => {
    const count = isAlone ? 1 : end - start
    for (let index = start; index < end; index += count) entries.push(new Entry(parcel, index, count))
  }
  let next = from
  for (let index = from; invalid !== undefined && index < to; index++) {
    const issue = invalid.get(index)
    if (issue === undefined) continue
    add(next, index)
    onInvalid(index, issue)
    next = index + 1
  }
  if (next < to) add(next, to)
  return entries
}

/** The entries, from one on, that follow each other in one parcel, as one; and where they end. */
export const together = (entries: ReadonlyArray<Entry>, start: number): readonly [whole: Entry, end: number] => {
  const first = entries[start]!
  const { index, parcel } = first
  let { count } = first
  let end = start + 1
  for (; end < entries.length; end++) {
    const next = entries[end]!
    if (next.parcel !== parcel || next.index !== index + count) break
    count += next.count
  }
  return [end === start + 1 ? first : new Entry(parcel, index, count), end]
}
