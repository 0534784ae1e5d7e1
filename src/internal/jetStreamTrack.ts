/**
 * What a device knows of one session of a feeder whose elements it reads from a stream: which have come, which are handed
 * out and settled, in the feeder's own sequence numbers.
 */
import type { Batch, Result } from "../RemoteDevices.ts"
import { done } from "../RemoteDevices.ts"
import type { Told } from "./jetStreamRecords.ts"
import { textBytes } from "./jetStreamRecords.ts"
import * as Settled from "./settled.ts"

/** A session: see the module. */
export interface Track<M> {
  readonly incarnation: number
  readonly session: number
  /** The next sequence that is to come; unknown for a life of the feeder of which nothing is kept. */
  expected: number | undefined
  /** What came before its turn. */
  readonly ahead: Map<number, { readonly batch: Batch; readonly message: M }>
  delivered: number
  settled: number
  above: Map<number, Settled.Settled extends ReadonlyMap<number, infer One> ? One : never>
  /** Up to where the feeder has sent everything: for now, and for good. */
  flushedTo: number | undefined
  last: number | undefined
}

/** A session as it was told of by this device or by a process before it. */
export const make = <M>(
  at: { readonly incarnation: number; readonly session: number },
  told: Told | undefined,
  isForeign: boolean
): Track<M> => {
  const isSame = told?.incarnation === at.incarnation && told.session === at.session
  const delivered = told?.incarnation === at.incarnation
    ? told.delivered.find(([session]) => session === at.session)?.[1] ?? 0
    : 0
  const track: Track<M> = {
    ...at,
    expected: isForeign ? undefined : 1,
    ahead: new Map(),
    delivered,
    settled: isSame ? told.settled : 0,
    above: new Map(),
    flushedTo: undefined,
    last: undefined
  }
  if (isSame) {
    for (const { count, from, result } of told.above) {
      for (let i = 0; i < count; i++) track.above.set(from + i, { result, report: told.number, refusedBytes: 0 })
    }
  }
  return track
}

/** Whether an element needs not be handed out: it is settled, or, if that is all there is to it, was handed out. */
export const isFinished = <M>(
  { above, delivered, settled }: Track<M>,
  sequence: number,
  isProcessed: boolean
): boolean => isProcessed ? sequence <= settled || above.has(sequence) : sequence <= delivered

/** Moves on over what was finished before, so that what is expected is what can still come. */
export const advance = <M>(track: Track<M>, isProcessed: boolean): void => {
  while (track.expected !== undefined && isFinished(track, track.expected, isProcessed)) track.expected++
}

/** An element is settled. */
export const settle = <M>(track: Track<M>, sequence: number, result: Result): void => {
  if (sequence > track.settled && !track.above.has(sequence)) {
    track.above.set(sequence, { result, report: 0, refusedBytes: 0 })
  }
}

/** All of some elements in a row are done. */
export const settleDone = <M>(track: Track<M>, from: number, to: number): void => {
  // As it mostly is, with nothing to remember.
  const isNext = track.above.size === 0 && from <= track.settled + 1
  if (isNext && track.expected !== undefined && to < track.expected) {
    track.settled = Math.max(track.settled, to)
    track.delivered = Math.max(track.delivered, to)
    return
  }
  for (let sequence = from; sequence <= to; sequence++) settle(track, sequence, done)
}

/** Moves the watermark, as far as the feeder has heard of what is not done. */
export const hear = <M>(track: Track<M>, confirmed: number): void => {
  const accepted = track.expected === undefined ? track.settled : track.expected - 1
  track.settled = Settled.advance({ accepted, settled: track.settled }, track.above, confirmed)
  track.delivered = Math.max(track.delivered, track.settled)
}

/** What is told of it under a number, in a record of at most so many bytes. */
export const tell = <M>(track: Track<M>, number: number, maxBytes: number): Told["above"] => {
  const accepted = track.expected === undefined ? track.settled : track.expected - 1
  const [told, above] = Settled.tell(
    { above: track.above, accepted },
    number,
    // As JSON a range takes up to some 110 bytes.
    { ranges: Math.min(4096, maxBytes >> 8), text: (3 * maxBytes) >> 3, sizeOf: textBytes }
  )
  track.above = new Map(above)
  return told
}
