/**
 * A row is one comparison: the best of some cases of ours against the best of some of a peer's, with a goal for the ratio.
 * A group is what is measured together, in a process of its own.
 */
import { type Case, measure, type Measured, type Options, type Setting, type Spread, spread } from "./harness.ts"

/** One side of a row, as it was measured. */
export interface Side extends Setting, Spread {
  readonly name: string
  readonly lost: number
}

/** What is told of a row; with `--json` it is a line. */
export interface Row {
  readonly row: string
  /** Medians, in `unit`. */
  readonly ours: number | null
  readonly peer: number | null
  /** Ours to the peer's: the median of the ratios of the rounds. */
  readonly ratio: number | null
  readonly goal: number | null
  readonly reached: boolean | null
  /** Whether a ratio above the goal reaches it, or one below it. */
  readonly better: "more" | "less"
  readonly unit: string
  /** Of the ratio, and how many pairs it is from. */
  readonly min: number | null
  readonly max: number | null
  readonly pairs: number
  readonly clock: Case["clock"]
  readonly lost: number
  /** What stands beside `ours` and `peer`. */
  readonly sides: { readonly ours: Side | null; readonly peer: Side | null }
  /** Why there is no ratio. */
  readonly skipped: string | null
}

/** What a row compares: keys of cases, of which the fastest stands for its side. */
export interface Comparison {
  readonly row: string
  readonly ours: ReadonlyArray<string>
  readonly peer: ReadonlyArray<string>
  readonly goal: number | null
}

/** What a group gives while it runs. */
export interface Report {
  readonly row: (row: Row) => void
  /** A case, for the plots. */
  readonly measured: (side: Side, isOurs: boolean) => void
  readonly progress: (text: string) => void
}

export interface Group {
  readonly name: string
  readonly title: string
  readonly unit: string
  /** The rows it can measure, in order. */
  readonly rows: ReadonlyArray<string>
  /** What it has for a round, where that differs from the others. */
  readonly options?: Partial<Options>
  /** Measures some of its rows. */
  readonly run: (rows: ReadonlyArray<string>, options: Options, report: Report) => Promise<void>
}

/** Whether a goal is reached. A row without a goal, or without a ratio, has nothing to reach. */
export const isReached = (ratio: number | null, goal: number | null, better: Row["better"]): boolean | null =>
  ratio === null || goal === null ? null : better === "more" ? ratio >= goal : ratio <= goal

/** Numbers of one side, one for each round, with what stands beside them. */
export interface Numbers extends Setting {
  readonly name: string
  readonly values: ReadonlyArray<number>
  readonly lost: number
}

export const sideOf = ({ acknowledged, batch, lost, name, payload, values, window }: Numbers): Side => ({
  name,
  payload,
  batch,
  window,
  acknowledged,
  lost,
  ...spread(values)
})

/** The row of two sides whose numbers were measured in the same rounds. */
export const rowOf = (
  row: string,
  ours: Numbers,
  peer: Numbers,
  { better = "more", clock = "wall", goal, unit = "elements/s" }: {
    readonly goal: number | null
    readonly better?: Row["better"]
    readonly unit?: string
    readonly clock?: Case["clock"]
  }
): Row => {
  const pairs = Math.min(ours.values.length, peer.values.length)
  if (pairs === 0) return skippedRow(row, goal, "nothing was measured")
  const ratio = spread(Array.from({ length: pairs }, (_, i) => ours.values[i]! / peer.values[i]!))
  const [left, right] = [sideOf(ours), sideOf(peer)]
  return {
    row,
    ours: left.median,
    peer: right.median,
    ratio: ratio.median,
    goal,
    reached: isReached(ratio.median, goal, better),
    better,
    unit,
    min: ratio.min,
    max: ratio.max,
    pairs,
    clock,
    lost: ours.lost + peer.lost,
    sides: { ours: left, peer: right },
    skipped: null
  }
}

/** A row that could not be measured. */
export const skippedRow = (row: string, goal: number | null, skipped: string): Row => ({
  row,
  ours: null,
  peer: null,
  ratio: null,
  goal,
  reached: null,
  better: "more",
  unit: "elements/s",
  min: null,
  max: null,
  pairs: 0,
  clock: "wall",
  lost: 0,
  sides: { ours: null, peer: null },
  skipped
})

export const numbersOf = (measured: Measured): Numbers => ({ ...measured, values: measured.perSecond })

/** The fastest, among those that did not fail. */
const best = (measured: ReadonlyArray<Measured>): Measured | undefined =>
  measured
    .filter(({ failed, perSecond }) => failed === undefined && perSecond.length > 0)
    .toSorted((a, b) => spread(b.perSecond).median - spread(a.perSecond).median)[0]

/** How a case is made, or why it cannot be. */
export type Maker = () => Case | Missing | Promise<Case | Missing>

export interface Missing {
  readonly missing: string
}

const isMissing = (made: Case | Missing): made is Missing => "missing" in made

/** A group whose rows compare cases that are measured together. Only the cases that its rows need are. */
export const comparing = (group: {
  readonly name: string
  readonly title: string
  readonly cases: Readonly<Record<string, Maker>>
  readonly rows: ReadonlyArray<Comparison>
  readonly options?: Partial<Options>
}): Group => ({
  name: group.name,
  title: group.title,
  unit: "elements/s",
  rows: group.rows.map(({ row }) => row),
  ...(group.options === undefined ? {} : { options: group.options }),
  run: async (rows, options, report) => {
    const wanted = group.rows.filter(({ row }) => rows.includes(row))
    const keys = [...new Set(wanted.flatMap(({ ours, peer }) => [...ours, ...peer]))]
    const reasons = new Map<string, string>()
    const made: Array<readonly [key: string, one: Case]> = []
    for (const key of keys) {
      // oxlint-disable-next-line no-await-in-loop -- what a case starts may be what the next one uses
      const one = await group.cases[key]!()
      if (isMissing(one)) reasons.set(key, one.missing)
      else made.push([key, one])
    }
    const results = await measure(made.map(([, one]) => one), options, report.progress)
    const measured = new Map<string, Measured>(made.map(([key], i) => [key, results[i]!]))
    const own = new Set(wanted.flatMap(({ ours }) => ours))
    made.forEach(([key], i) => {
      const one = results[i]!
      if (one.perSecond.length > 0) report.measured(sideOf(numbersOf(one)), own.has(key))
    })
    const pick = (keys: ReadonlyArray<string>) => {
      const known = keys.flatMap((key) => measured.get(key) ?? [])
      const why = keys.map((key) => reasons.get(key)).find((reason) => reason !== undefined) ??
        known.map(({ failed, name }) => `${name}: ${failed}`)[0] ?? "nothing was measured"
      return best(known) ?? why
    }
    for (const { goal, ours, peer, row } of wanted) {
      const [left, right] = [pick(ours), pick(peer)]
      report.row(
        typeof left === "string"
          ? skippedRow(row, goal, left)
          : typeof right === "string"
          ? skippedRow(row, goal, right)
          : rowOf(row, numbersOf(left), numbersOf(right), { goal, clock: left.clock })
      )
    }
  }
})
