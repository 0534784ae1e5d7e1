/**
 * Elements that follow each other as one entry of a list, a *span*: what is done to all of them is done once. It is
 * cut where fewer are wanted.
 */

/**
 * How many elements an entry stands for, at least one, and those between two of their indices as an entry of its own.
 *
 * @category models
 * @since 0.1.0
 */
export interface Spans<in out A> {
  readonly lengthOf: (entry: A) => number
  readonly slice: (entry: A, from: number, to: number) => A
}

/** How many elements there are in some entries. Each is one without `spans`. */
export const size = <A>(spans: Spans<A> | undefined, entries: ReadonlyArray<A>): number => {
  if (spans === undefined) return entries.length
  let count = 0
  for (const entry of entries) count += spans.lengthOf(entry)
  return count
}

/** Reads entries from the front: each call gives those of the next `count` elements, or of what is left. */
export const reader = <A>(
  spans: Spans<A> | undefined,
  entries: ReadonlyArray<A>
): (count: number) => Array<A> => {
  let next = 0
  let offset = 0 // in the next one
  return (count) => {
    if (spans === undefined) {
      const start = next
      next = Math.min(entries.length, start + count)
      return entries.slice(start, next)
    }
    const some: Array<A> = []
    for (let left = count; left > 0 && next < entries.length;) {
      const entry = entries[next]!
      const length = spans.lengthOf(entry)
      const end = Math.min(length, offset + left)
      some.push(offset === 0 && end === length ? entry : spans.slice(entry, offset, end))
      left -= end - offset
      offset = end === length ? 0 : end
      if (offset === 0) next++
    }
    return some
  }
}

/** The entries of the elements between two indices. */
export const slice = <A>(
  spans: Spans<A> | undefined,
  entries: ReadonlyArray<A>,
  from: number,
  to: number
): Array<A> => {
  if (spans === undefined) return entries.slice(from, to)
  const some: Array<A> = []
  let start = 0
  for (const entry of entries) {
    if (start >= to) break
    const length = spans.lengthOf(entry)
    const first = Math.max(0, from - start)
    const end = Math.min(length, to - start)
    if (first < end) some.push(first === 0 && end === length ? entry : spans.slice(entry, first, end))
    start += length
  }
  return some
}
