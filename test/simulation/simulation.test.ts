import { describe, expect, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { run } from "./history.ts"
import { Regressions } from "./regressions.ts"

const traceOf = (seed: number) => {
  const lines: Array<string> = []
  const told = run(seed, (line) => lines.push(line))
  return { lines, told }
}

const runAll = (seeds: Iterable<number>) => {
  for (const seed of seeds) {
    try {
      run(seed)
    } catch (error) {
      throw new Error(`history ${seed}: see it with npm run simulate -- --trace ${seed}`, { cause: error })
    }
  }
}

const range = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i)

const regressions = Schema.decodeUnknownSync(Regressions)(
  Fs.readFileSync(Path.join(import.meta.dirname, "regressions.json"), "utf8")
)

describe("histories", () => {
  it("one seed is one history, the same every time", () => {
    const traces = range(1, 20).map(traceOf)
    expect(range(1, 20).map(traceOf)).toEqual(traces)
    expect(traces.flatMap(({ lines }) => lines).length).toBeGreaterThan(1000)
    expect(new Set(traces.map(({ lines }) => lines.slice(1).join("\n"))).size).toBe(20)
  })

  it("break no law: 400 that are always the same", { timeout: 120_000 }, () => runAll(range(1, 400)))

  const fresh = 1_000_000 + Math.floor(Math.random() * 1_000_000_000)
  it(`break no law: 200 that are new, from ${fresh} on`, { timeout: 120_000 }, () => runAll(range(fresh, 200)))

  it("break no law again that once did", () => runAll(regressions.map(({ seed }) => seed)))
})
