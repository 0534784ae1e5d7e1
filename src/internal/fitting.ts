/**
 * How much goes into one frame to a device.
 */
import type { BatchCodec, Chunk } from "../BatchCodec.ts"
import type { Item } from "./items.ts"
import * as Items from "./items.ts"

/** Most bytes sent in one frame: enough to amortise a write, little enough to share a socket. */
export const frameBytes = 1024 * 1024

/** The first of some items, as many as may be sent in one frame, as the chunk that was measured. */
export interface Fitting<A> {
  readonly count: number
  readonly chunk: Chunk<A> | undefined
  /** It is one element, and alone goes beyond the bytes that were granted. */
  readonly isBeyond: boolean
}

export const nothing: Fitting<never> = { count: 0, chunk: undefined, isBeyond: false }

/** As many of the first `count` elements of some items as fit into so many bytes, at least one. */
export const of = <A>(
  codec: Pick<BatchCodec<A, unknown>, "fromElements" | "slice" | "concat">,
  items: ReadonlyArray<Item<A>>,
  count: number,
  bytes: number
): Fitting<A> => {
  const most = Math.min(Math.max(0, bytes), frameBytes)
  const size = Items.size(items)
  while (count > 0) {
    const chunk = Items.gather(codec, count === size ? items : Items.between(items, 0, count))
    // As the frame says what an element takes: a whole number of bytes.
    const each = Math.ceil(chunk.byteLength / count)
    const isBeyond = each * count > most
    if (!isBeyond || count === 1) return { count, chunk, isBeyond }
    count = Math.max(1, Math.min(count - 1, Math.floor(most / each)))
  }
  return nothing
}
