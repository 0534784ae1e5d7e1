/**
 * Measures cases against each other: interleaved round-robin, each round starting with another case, after a warm-up. A
 * ratio is taken inside a round, so that noise that lasts longer than a round hits both sides of it.
 */
/* oxlint-disable no-await-in-loop -- measurements stand in line */
import { setTimeout } from "node:timers/promises"

/** What stands beside every number. */
export interface Setting {
  readonly payload: string
  /** Elements that are sent, or handed over, at once. */
  readonly batch: number | string
  /** Elements that may be on their way at once. */
  readonly window: number | string
  /** When an element counts as done. */
  readonly acknowledged: string
}

/** One thing to measure. It sums up what arrived, and throws when the sum is wrong. */
export interface Case extends Setting {
  readonly name: string
  /**
   * `"cpu"`: the CPU time of the main thread, for cases that wait for nothing outside of it; other programs on the machine
   * disturb it less. `"wall"`: the time on the wall, for cases that do.
   */
  readonly clock: "cpu" | "wall"
  /** What a run of `n` elements gives: per second of the clock. */
  readonly run: (n: number) => void | Promise<void>
  /** What is not timed: made ready before a run of `n` elements, checked after it, which says how many were lost. */
  readonly before?: (n: number) => Promise<void>
  readonly after?: () => Promise<number>
  /** Ends what the case started. */
  readonly end?: () => Promise<void>
  /** Elements of the first run; every other has a multiple of that. Default 64. */
  readonly start?: number
}

export interface Options {
  /** Measured rounds. At least 5 but for trials. */
  readonly rounds: number
  /** How long one run of one case should take. */
  readonly millis: number
}

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** What was measured of one case: a number for each round, or why there is none. */
export interface Measured extends Setting {
  readonly name: string
  readonly clock: Case["clock"]
  /** Handled in each round. */
  readonly elements: number
  readonly perSecond: ReadonlyArray<number>
  readonly lost: number
  readonly failed: string | undefined
}

/** Rounds that are not counted. */
const warmUps = 2

/** A run that takes longer than this has lost something, or hangs. */
const deadline = 20_000

/** In milliseconds. The time of a thread may tick no finer than the scheduler, every 4 ms. */
const clocks = {
  cpu: () => {
    const { system, user } = process.threadCpuUsage()
    return (user + system) / 1000
  },
  wall: () => performance.now()
}

const inTime = async <A>(what: string, running: Promise<A>): Promise<A> => {
  const over = new AbortController()
  try {
    return await Promise.race([
      running,
      setTimeout(deadline, undefined, { signal: over.signal }).then(() => {
        throw new Error(`${what} took longer than ${deadline / 1000} s`)
      })
    ])
  } finally {
    over.abort()
  }
}

interface Run {
  readonly millis: number
  readonly lost: number
}

const time = async ({ after, before, clock, name, run }: Case, n: number): Promise<Run> => {
  if (before !== undefined) await inTime(`${name}, before a run`, before(n))
  globalThis.gc?.()
  await setTimeout(1)
  const now = clocks[clock]
  const start = now()
  const running = run(n)
  if (running !== undefined) await inTime(name, running)
  const millis = now() - start
  const lost = after === undefined ? 0 : await inTime(`${name}, after a run`, after())
  return { millis, lost }
}

const startOf = ({ start = 64 }: Case): number => start

const rounded = (one: Case, n: number): number => Math.max(1, Math.round(n / startOf(one))) * startOf(one)

/**
 * How many elements a case handles in the time that a run should take. Doubling up to it warms the case up as well; most of
 * the way, since a run may have an end that takes a while for any number of elements.
 */
const calibrate = async (one: Case, millis: number): Promise<number> => {
  let n = startOf(one)
  let taken = (await time(one, n)).millis
  while (taken < millis * 0.75) {
    n *= taken < millis / 16 ? 4 : 2
    taken = (await time(one, n)).millis
  }
  return rounded(one, n * millis / taken)
}

/** Measures cases against each other. One that fails is left out of the rounds that follow, and says why. */
export const measure = async (
  cases: ReadonlyArray<Case>,
  { millis, rounds }: Options,
  progress: (text: string) => void = () => {}
): Promise<ReadonlyArray<Measured>> => {
  const counts: Array<number> = cases.map(() => 0)
  const rates: Array<Array<number>> = cases.map(() => [])
  const losses: Array<number> = cases.map(() => 0)
  const failures: Array<string | undefined> = cases.map(() => undefined)

  const attempt = async (i: number, f: (one: Case) => Promise<void>): Promise<void> => {
    if (failures[i] !== undefined) return
    try {
      await f(cases[i]!)
    } catch (error) {
      failures[i] = error instanceof Error ? error.message : String(error)
      progress(`${cases[i]!.name} failed: ${error instanceof Error ? error.stack ?? error.message : failures[i]}`)
    }
  }

  for (let i = 0; i < cases.length; i++) {
    await attempt(i, async (one) => {
      counts[i] = await calibrate(one, millis)
    })
  }
  // The compiled code may have got better, or worse, with the other cases; and the first rounds of all are not counted.
  for (let turn = 0; turn < warmUps * cases.length; turn++) {
    const i = turn % cases.length
    await attempt(i, async (one) => {
      // A clock that ticks coarsely, or not at all, changes no number by more than this.
      const taken = Math.max((await time(one, counts[i]!)).millis, millis / 8)
      counts[i] = rounded(one, counts[i]! * millis / taken)
    })
  }
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < cases.length; turn++) {
      const i = (round + turn) % cases.length
      await attempt(i, async (one) => {
        const { lost, millis } = await time(one, counts[i]!)
        if (millis === 0) throw new Error(`${one.name}: a run of ${counts[i]} took no time that its clock can tell`)
        rates[i]!.push(counts[i]! / millis * 1000)
        losses[i]! += lost
      })
    }
  }
  for (const one of cases) await one.end?.()
  return cases.map(({ acknowledged, batch, clock, name, payload, window }, i) => ({
    name,
    payload,
    batch,
    window,
    acknowledged,
    clock,
    elements: counts[i]!,
    perSecond: rates[i]!,
    lost: losses[i]!,
    failed: failures[i]
  }))
}

export const spread = (values: ReadonlyArray<number>): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)! }
}

/** Throws when a case did not do its work. */
export const expect = (what: string, actual: number, expected: number): void => {
  if (actual !== expected) throw new Error(`${what}: expected ${expected}, got ${actual}`)
}
