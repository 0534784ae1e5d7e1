/**
 * Sets of natural numbers as ranges: small where the numbers stand close together.
 */

/** A range of numbers, both ends included. */
export type Range = readonly [from: number, to: number]

/** A set that grows. Adding a number near the end is quick, whatever the set holds. */
export interface Ranges {
  readonly addUnsafe: (n: number) => void
  readonly has: (n: number) => boolean
  /** In ascending order, no two of them adjacent. */
  readonly toArray: () => ReadonlyArray<Range>
}

/** The empty set. */
export const make = (): Ranges => {
  const all: Array<[from: number, to: number]> = []

  /** The index of the first range that ends at `n - 1` or later. */
  const find = (n: number): number => {
    let low = 0
    let high = all.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (all[middle]![1] < n - 1) low = middle + 1
      else high = middle
    }
    return low
  }

  return {
    addUnsafe: (n) => {
      const last = all.at(-1)
      if (last !== undefined && last[1] === n - 1) {
        last[1] = n
        return
      }
      const at = find(n)
      const range = all[at]
      if (range === undefined || n < range[0] - 1) {
        all.splice(at, 0, [n, n])
      } else if (n === range[0] - 1) {
        range[0] = n
      } else if (n === range[1] + 1) {
        range[1] = n
        const next = all[at + 1]
        if (next !== undefined && next[0] === n + 1) {
          range[1] = next[1]
          all.splice(at + 1, 1)
        }
      }
    },
    has: (n) => {
      const range = all[find(n)]
      return range !== undefined && range[0] <= n && n <= range[1]
    },
    toArray: () => all.map(([from, to]): Range => [from, to])
  }
}

/** The ranges of some numbers. */
export const of = (numbers: Iterable<number>): ReadonlyArray<Range> => {
  const ranges = make()
  for (const n of numbers) ranges.addUnsafe(n)
  return ranges.toArray()
}

/** What is below `end` and in none of these ranges. */
export const between = (end: number, ranges: ReadonlyArray<Range>): ReadonlyArray<Range> => {
  const gaps: Array<Range> = []
  let next = 0
  for (const [from, to] of ranges.toSorted((a, b) => a[0] - b[0])) {
    if (from >= end) break
    if (from > next) gaps.push([next, from - 1])
    next = Math.max(next, to + 1)
  }
  if (next < end) gaps.push([next, end - 1])
  return gaps
}
