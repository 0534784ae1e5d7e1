/**
 * The scenarios at a small scale, and what judges them.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { atLeast, atMost, exactly, growth, isKept, peak } from "./judge.ts"
import { plot } from "./plot.ts"
import { brokenOf, plotOf, tableOf } from "./report.ts"
import { type Name, scenarios } from "./scenarios.ts"

describe("judge", () => {
  it("a flat series with spikes has not grown, and one that grows has", () => {
    const flat = Array.from({ length: 60 }, (_, i) => i < 12 ? 100 + 10 * i : i % 7 === 0 ? 300 : 200)
    assert.strictEqual(growth(flat), 0)
    assert.strictEqual(growth(Array.from({ length: 60 }, (_, i) => i)), 32)
  })

  it("too few samples, or a figure that is none, keep no bound", () => {
    assert.isNaN(growth([1, 1, 1, 1, 1]))
    assert.isFalse(isKept(atMost("growth", growth([]), 10)))
    assert.isFalse(isKept(atMost("peak", peak([]), 10)))
    assert.isFalse(isKept(atLeast("share", Number.NaN, 0)))
    assert.deepStrictEqual([exactly("lost", 0, 0), exactly("lost", 1, 0)].map(isKept), [true, false])
  })
})

describe("plot", () => {
  it("draws a line for each series within its frame", () => {
    const svg = plot("a < b", [{ name: "one", points: [[0, 0], [10, 50]] }, { name: "two", points: [[5, 25]] }])
    assert.include(svg, "a &lt; b")
    assert.include(svg, "<polyline points=\"56.0,280.0 744.0,36.0\"")
    assert.strictEqual(svg.match(/<polyline/g)?.length, 2)
  })
})

describe("bounded", () => {
  const names: ReadonlyArray<Name> = ["stopped", "many", "cycles", "feeders", "devices"]
  for (const name of names) {
    it.live(name, () =>
      Effect.gen(function*() {
        const outcome = yield* scenarios[name](0.01)
        assert.deepStrictEqual(brokenOf(outcome), [], tableOf(outcome))
        assert.include(plotOf(outcome), "<polyline")
      }), 120_000)
  }
})
