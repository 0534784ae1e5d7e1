/**
 * The elements that a device holds, and the session they came in.
 */
import type { Chunk } from "../BatchCodec.ts"
import type * as HostSession from "../HostSession.ts"
import type { Delivery, Handed } from "./hosted.ts"

/** A feeder's session, with the effects of its outputs. */
export interface Session {
  state: HostSession.State
  lostAt: number
  readonly apply: (input: HostSession.Input) => void
  /** Admits of what is on its way what there is room for. */
  readonly refill: () => void
  /** Does that, and reports if it is due or asked for. */
  readonly report: (isAsked: boolean) => void
}

/** Elements of one chunk that came together: all that they share. The one with index `from` has `place` and `ordinal`. */
export interface Parcel {
  readonly session: Session
  readonly chunk: Chunk
  readonly from: number
  readonly place: HostSession.Place
  readonly ordinal: number
  readonly attempt: number
  /** It came back twice with others: from now on each comes back by itself, and takes none of them to the dead letters. */
  readonly isAlone: boolean
  readonly idOf: (index: number) => string | undefined
}

/** An element in a device's queue, and later in the hands of a consumer: one of a parcel, by its index in the chunk. */
export class Entry implements Handed<unknown> {
  readonly parcel: Parcel
  readonly index: number
  isMarked: boolean
  isCut = false

  constructor(parcel: Parcel, index: number) {
    this.parcel = parcel
    this.index = index
    this.isMarked = parcel.attempt > 1
  }

  get chunk(): Chunk {
    return this.parcel.chunk
  }

  get element(): unknown {
    return this.parcel.chunk.elements[this.index]
  }

  get sequence(): number {
    return this.parcel.place.sequence + this.index - this.parcel.from
  }

  get place(): HostSession.Place {
    const { place } = this.parcel
    return { ...place, sequence: this.sequence }
  }

  get delivery(): Delivery {
    const { attempt, from, idOf, ordinal, session } = this.parcel
    return {
      feeder: session.state.feeder,
      ordinal: ordinal + this.index - from,
      attempt,
      redelivered: this.isMarked,
      id: idOf(this.index)
    }
  }
}

/** How many entries, from one on, follow each other in one parcel. */
export const together = (entries: ReadonlyArray<Entry>, start: number): number => {
  const { index, parcel } = entries[start]!
  let count = 1
  for (; start + count < entries.length; count++) {
    const next = entries[start + count]!
    if (next.parcel !== parcel || next.index !== index + count) break
  }
  return count
}
