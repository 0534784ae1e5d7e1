/**
 * Measures cases against each other: interleaved round-robin, each round starting with another case, medians of at
 * least five rounds after a warm-up. A ratio is taken inside a round, so that noise that lasts longer than a round
 * hits both sides of it.
 *
 * With `--json` every row is a line of JSON instead of a line of a table.
 */
/* oxlint-disable no-await-in-loop -- measurements stand in line */
import { setTimeout } from "node:timers/promises"

/** What stands beside every number. */
export interface Setting {
  readonly payload: string
  readonly batch: number | string
  readonly capacity: number | string
  /** When an element counts as done. */
  readonly acknowledge: string
}

/** One thing to measure. It checks its own result, and throws when it is wrong. */
export interface Case extends Partial<Setting> {
  readonly name: string
  /** Handles `n` elements. The first case's `n` need not be the others'. */
  readonly run: (n: number) => void | Promise<void>
  /** What is not timed: made ready before a run of `n` elements, checked after it. */
  readonly before?: (n: number) => Promise<void>
  readonly after?: () => Promise<void>
}

export interface Table extends Setting {
  readonly title: string
  /** The first one is what the others are compared with. */
  readonly cases: readonly [Case, ...Array<Case>]
  /**
   * `"cpu"`: the CPU time of the main thread, for cases that wait for nothing outside of it; other programs on the
   * machine disturb it less. `"wall"`: the time on the wall, for cases that do.
   */
  readonly clock: "cpu" | "wall"
  /** Default 7. */
  readonly rounds?: number
  /** How long one run of one case should take. Default 100. */
  readonly millis?: number
}

interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** `n` is always a multiple of this. */
export const multiple = 64

const isJson = process.argv.includes("--json")

/** In milliseconds. */
const clocks = {
  cpu: () => {
    const { system, user } = process.threadCpuUsage()
    return (user + system) / 1000
  },
  wall: () => performance.now()
}

const time = async ({ after, before, run }: Case, clock: Table["clock"], n: number): Promise<number> => {
  await before?.(n)
  globalThis.gc?.()
  await setTimeout(1)
  const now = clocks[clock]
  const start = now()
  const running = run(n)
  if (running !== undefined) await running
  const millis = now() - start
  await after?.()
  return millis
}

/** How many elements a case handles in the time that a run should take. Doubling up to it warms the case up as well. */
const calibrate = async (one: Case, clock: Table["clock"], millis: number): Promise<number> => {
  let n = multiple
  let taken = await time(one, clock, n)
  while (taken < millis / 2) {
    n *= 2
    taken = await time(one, clock, n)
  }
  return Math.max(1, Math.round(n * millis / taken / multiple)) * multiple
}

const spread = (values: ReadonlyArray<number>): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)! }
}

/** Measures a table and prints it. */
export const measure = async (table: Table): Promise<void> => {
  const { cases, clock, millis = 100, rounds = 7 } = table
  const counts: Array<number> = []
  for (const one of cases) counts.push(await calibrate(one, clock, millis))
  // The compiled code may have got better, or worse, with the other cases; and a first round of all is not counted.
  for (let i = 0; i < cases.length; i++) {
    const taken = await time(cases[i]!, clock, counts[i]!)
    counts[i] = Math.max(1, Math.round(counts[i]! * millis / taken / multiple)) * multiple
  }
  const rates: Array<Array<number>> = cases.map(() => [])
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < cases.length; turn++) {
      const i = (round + turn) % cases.length
      rates[i]!.push(counts[i]! / await time(cases[i]!, clock, counts[i]!) * 1000)
    }
  }
  const rows = cases.map((one, i): Row => ({
    bench: table.title,
    case: one.name,
    payload: one.payload ?? table.payload,
    batch: one.batch ?? table.batch,
    capacity: one.capacity ?? table.capacity,
    acknowledge: one.acknowledge ?? table.acknowledge,
    elements: counts[i]!,
    rounds,
    clock,
    perSecond: spread(rates[i]!),
    ratio: spread(rates[i]!.map((rate, round) => rate / rates[0]![round]!)),
    ratioTo: cases[0].name
  }))
  if (isJson) {
    for (const row of rows) console.log(JSON.stringify(row))
  } else {
    print(table.title, rows)
  }
}

interface Row extends Setting {
  readonly bench: string
  readonly case: string
  /** Handled in each round. */
  readonly elements: number
  readonly rounds: number
  readonly clock: Table["clock"]
  readonly perSecond: Spread
  readonly ratio: Spread
  readonly ratioTo: string
}

const rateOf = (n: number): string =>
  n >= 1e6 ? `${(n / 1e6).toPrecision(3)} M` : n >= 1e3 ? `${(n / 1e3).toPrecision(3)} k` : n.toPrecision(3)

const ratioOf = (n: number): string => n >= 10 ? n.toFixed(0) : n >= 1 ? n.toFixed(1) : n.toFixed(2)

const print = (title: string, rows: ReadonlyArray<Row>): void => {
  const head = ["case", "payload", "batch", "capacity", "acknowledged", "elements/s", "min..max", "ratio", "min..max"]
  const lines = rows.map((row) => [
    row.case,
    row.payload,
    String(row.batch),
    String(row.capacity),
    row.acknowledge,
    rateOf(row.perSecond.median),
    `${rateOf(row.perSecond.min)}..${rateOf(row.perSecond.max)}`,
    ratioOf(row.ratio.median),
    `${ratioOf(row.ratio.min)}..${ratioOf(row.ratio.max)}`
  ])
  const widths = head.map((text, i) => Math.max(text.length, ...lines.map((line) => line[i]!.length)))
  const printLine = (line: ReadonlyArray<string>) =>
    console.log(`| ${line.map((text, i) => text.padEnd(widths[i]!)).join(" | ")} |`)
  console.log(`\n## ${title} (${rows[0]!.rounds} rounds, ${rows[0]!.clock} time)\n`)
  printLine(head)
  printLine(widths.map((width) => "-".repeat(width)))
  for (const line of lines) printLine(line)
}

/** Throws when a case did not do its work. */
export const expect = (what: string, actual: number, expected: number): void => {
  if (actual !== expected) throw new Error(`${what}: expected ${expected}, got ${actual}`)
}
