/** Cases of one process: the elements are integers, and their sum is checked. */
import { Effect } from "effect"
import { type Case, expect } from "./harness.ts"

export interface LocalRun {
  readonly n: number
  readonly batch: number
  readonly capacity: number
}

/** Moves the integers below `n`, and checks their sum. */
export type Local = (run: LocalRun) => Promise<void>

export const sumBelow = (n: number): number => n * (n - 1) / 2

export const local = (name: string, move: Local, { batch, capacity }: Omit<LocalRun, "n">): Case => ({
  name,
  payload: "int",
  batch,
  window: capacity,
  acknowledged: "none",
  clock: "cpu",
  start: Math.max(64, batch),
  run: (n) => move({ n, batch, capacity })
})

/** Runs a producer and a consumer as two fibers. The consumer gives the sum of what it got. */
export const together = (
  n: number,
  make: Effect.Effect<readonly [produce: Effect.Effect<void, unknown>, consume: Effect.Effect<number, unknown>]>
): Promise<void> =>
  Effect.runPromise(Effect.gen(function*() {
    const [produce, consume] = yield* make
    const [sum] = yield* Effect.all([consume, produce], { concurrency: "unbounded" })
    expect("sum", sum, sumBelow(n))
  }))

export const offerEach = (n: number, offer: (i: number) => Effect.Effect<unknown, unknown>) =>
  Effect.gen(function*() {
    for (let i = 0; i < n; i++) yield* offer(i)
  })

export const consumeEach = (n: number, take: Effect.Effect<number, unknown>) =>
  Effect.gen(function*() {
    let sum = 0
    for (let i = 0; i < n; i++) sum += yield* take
    return sum
  })

export const offerBatches = (
  n: number,
  size: number,
  offerAll: (batch: ReadonlyArray<number>) => Effect.Effect<unknown, unknown>
) =>
  Effect.gen(function*() {
    for (let i = 0; i < n; i += size) {
      const batch: Array<number> = []
      for (let j = i; j < i + size && j < n; j++) batch.push(j)
      yield* offerAll(batch)
    }
  })

export const consumeBatches = (n: number, take: Effect.Effect<ReadonlyArray<number>, unknown>) =>
  Effect.gen(function*() {
    let sum = 0
    for (let left = n; left > 0;) {
      const batch = yield* take
      for (let j = 0; j < batch.length; j++) sum += batch[j]!
      left -= batch.length
    }
    return sum
  })
