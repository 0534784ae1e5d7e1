/**
 * Says whether a series of samples is flat, and whether a figure is within its bound.
 */

/** A figure and the bound it must keep, both of one unit. */
export interface Check {
  readonly what: string
  readonly value: number
  readonly bound: number
  readonly rule: "at most" | "at least" | "exactly"
  readonly unit: "" | "MB"
}

export const atMost = (what: string, value: number, bound: number, unit: Check["unit"] = ""): Check => ({
  what,
  value,
  bound,
  rule: "at most",
  unit
})

export const atLeast = (what: string, value: number, bound: number): Check => ({
  what,
  value,
  bound,
  rule: "at least",
  unit: ""
})

export const exactly = (what: string, value: number, bound: number): Check => ({
  what,
  value,
  bound,
  rule: "exactly",
  unit: ""
})

/** A figure that is no number keeps no bound. */
export const isKept = ({ bound, rule, value }: Check): boolean =>
  rule === "at most" ? value <= bound : rule === "at least" ? value >= bound : value === bound

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Most of some values; of none it is NaN. */
export const peak = (values: ReadonlyArray<number>): number =>
  values.reduce((most, value) => Math.max(most, value), values[0] ?? Number.NaN)

/**
 * How much a series has grown: the median of its last third less that of its first, after the first fifth, in which
 * caches fill and code is compiled. Of fewer than six samples it is NaN.
 */
export const growth = (values: ReadonlyArray<number>): number => {
  const warm = values.slice(Math.floor(values.length / 5))
  const third = Math.floor(warm.length / 3)
  return values.length < 6 ? Number.NaN : median(warm.slice(-third)) - median(warm.slice(0, third))
}
