/**
 * Elements on their way from a feeder to a device: one, or a span of several that came in one chunk and are out for the
 * same time, whose ordinals follow each other.
 */
import type { BatchCodec, Chunk } from "../BatchCodec.ts"
import type { Reason } from "../DeadLetters.ts"
import * as Spans from "./spans.ts"

/**
 * Who is told when an element is acknowledged, or is a dead letter that is kept, which it is then told of: it will not come
 * again. In the middle of a step, in which no fiber may be resumed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Origin {
  readonly settledUnsafe: (letter?: Ended) => void
  /** The dead letter it was, by its key. */
  readonly letter?: string | undefined
}

/**
 * How an element became a dead letter: why, how often it was given, and why it came back each time.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ended {
  readonly reason: Reason
  readonly attempts: number
  readonly causes: ReadonlyArray<string>
}

/** `count` elements of a chunk, from `index` on, by default one; or one element that came in no chunk. */
export interface Part<out A> {
  /** The first of them. */
  readonly element: A
  readonly chunk?: Chunk<A> | undefined
  readonly index?: number | undefined
  readonly count?: number | undefined
}

/**
 * Elements on their way: their identity in the feed, which is the `ordinal` of the first, which attempt to deliver them
 * this is (from 1), and the elements. Of several none has an `id`, an `origin` or `causes`.
 *
 * `id` is its stable id, if the feeder gives it one; `causes` say why it came back, each time; `since` is the attempt from
 * which on they count: 1, unless it was fed before this feeder had it, or came back without having been handed out.
 *
 * @category models
 * @since 0.1.0
 */
export interface Item<out A> extends Part<A> {
  readonly ordinal: number
  readonly attempt: number
  readonly id?: string | undefined
  readonly origin?: Origin | undefined
  readonly causes?: ReadonlyArray<string> | undefined
  readonly since?: number | undefined
}

/** Elements of a chunk. They have an ordinal once they have left their feeder's queue. */
export class ChunkItem<A> implements Item<A> {
  ordinal = -1
  attempt = 1
  since: number | undefined = undefined
  readonly chunk: Chunk<A>
  readonly index: number
  readonly count: number
  constructor(chunk: Chunk<A>, index: number, count: number) {
    this.chunk = chunk
    this.index = index
    this.count = count
  }
  get element(): A {
    return this.chunk.elements[this.index]!
  }
}

/** How many elements it is. */
export const countOf = ({ count = 1 }: Pick<Part<unknown>, "count">): number => count

/** Those of an item of several between two indices. */
const slice = <A>(item: Item<A>, from: number, to: number): Item<A> & ChunkItem<A> => {
  const { attempt, chunk, index = 0, ordinal, since } = item
  if (chunk === undefined) throw new RangeError("an item of several elements has them in a chunk")
  const part = new ChunkItem(chunk, index + from, to - from)
  part.ordinal = ordinal < 0 ? ordinal : ordinal + from
  part.attempt = attempt
  part.since = since
  return part
}

/** An item as entry of a list. */
export const spans = { lengthOf: countOf, slice }

/** How many elements there are. */
export const size = (items: ReadonlyArray<Pick<Part<unknown>, "count">>): number => {
  let count = 0
  for (const item of items) count += countOf(item)
  return count
}

/** Of up to `most` elements as many as end where their chunk does; all of them where those are less than half. */
export const wholeTo = (items: ReadonlyArray<Item<unknown>>, most: number): number => {
  let whole = 0
  let at = 0
  for (const { chunk, count = 1, index = 0 } of items) {
    at += count
    if (at > most) break
    if (chunk === undefined || index + count === chunk.length) whole = at
  }
  return 2 * whole < most ? most : whole
}

/** The items of the elements between two indices. */
export const between = <A>(items: ReadonlyArray<Item<A>>, from: number, to: number): Array<Item<A>> =>
  Spans.slice<Item<A>>(spans, items, from, to)

/** The element of an item with an index, as an item of its own. */
export const single = <A>(item: Item<A>, index: number): Item<A> =>
  countOf(item) === 1 ? item : slice(item, index, index + 1)

/** The same items with each element by itself. */
export const singles = <A>(items: ReadonlyArray<Item<A>>): ReadonlyArray<Item<A>> =>
  items.every((item) => countOf(item) === 1)
    ? items
    : items.flatMap((item) => Array.from({ length: countOf(item) }, (_, i) => single(item, i)))

/** One chunk of the elements of some parts: what came together is not taken apart. */
export const gather = <A>(
  codec: Pick<BatchCodec<A, unknown>, "fromElements" | "slice" | "concat">,
  parts: ReadonlyArray<Part<A>>
): Chunk<A> => {
  const chunks: Array<Chunk<A>> = []
  for (let i = 0; i < parts.length;) {
    const { chunk, index = 0 } = parts[i]!
    if (chunk === undefined) {
      const start = i
      while (i < parts.length && parts[i]!.chunk === undefined) i++
      chunks.push(codec.fromElements(parts.slice(start, i).map((part) => part.element)))
      continue
    }
    let end = index
    for (; i < parts.length; i++) {
      const next = parts[i]!
      if (next.chunk !== chunk || next.index !== end) break
      end += next.count ?? 1
    }
    chunks.push(index === 0 && end === chunk.length ? chunk : codec.slice(chunk, index, end))
  }
  return codec.concat(chunks)
}
