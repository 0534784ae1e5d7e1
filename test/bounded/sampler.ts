/**
 * Samples the memory of the process it runs in and prints what it finds.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { readdirSync } from "node:fs"
import type { Line } from "./messages.ts"

export const print = (line: Line): void => console.log(JSON.stringify(line))

interface Counts {
  readonly leased: number
  readonly queued: number
  readonly consumed: number
}

const fds = (): number => {
  try {
    return readdirSync("/proc/self/fd").length
  } catch {
    return 0 // only Linux tells
  }
}

/** RSS is what it was before the collection, so that a peak shows; the rest is what the collection left. */
const sample = (counts: Counts): void => {
  const rss = process.memoryUsage.rss()
  globalThis.gc?.()
  const { external, heapUsed } = process.memoryUsage()
  print({
    _tag: "Sample",
    at: Date.now(),
    rss,
    heap: heapUsed,
    external,
    live: heapUsed + external,
    fds: fds(),
    resources: process.getActiveResourcesInfo().length,
    ...counts
  })
}

/** Prints a sample now and after every such time, while the scope is open. */
export const start = (millis: number, counts: () => Counts): Effect.Effect<void, never, Scope.Scope> =>
  Effect.sync(() => sample(counts())).pipe(Effect.repeat(Schedule.spaced(millis)), Effect.forkScoped, Effect.asVoid)
