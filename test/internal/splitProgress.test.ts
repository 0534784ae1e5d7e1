import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import type { Open, SplitProgress } from "../../src/internal/splitProgress.ts"
import * as Progress from "../../src/internal/splitProgress.ts"

const isAcknowledged = (position: number, { above, to }: Progress.Snapshot) =>
  (to !== undefined && position <= to) || above.some(([after, to]) => after < position && position <= to)

const admitAll = (progress: SplitProgress, positions: ReadonlyArray<number>): ReadonlyArray<Open | undefined> =>
  positions.map((position) => progress.admit(position))

/** Between two positions, so that there are some at which no element is. */
const gap = 3

describe("the progress of a split", () => {
  it("has a watermark and the ranges above it, in reading order", () => {
    const progress = Progress.make({ to: undefined, above: [] })
    assert.deepStrictEqual(progress.snapshot(), { to: undefined, above: [] })
    const [a, b, c, d, e] = admitAll(progress, [10, 25, 26, 40, 70])
    b?.settledUnsafe()
    c?.settledUnsafe()
    e?.settledUnsafe()
    assert.deepStrictEqual(progress.snapshot(), { to: undefined, above: [[10, 26], [40, 70]] })
    a?.settledUnsafe()
    assert.deepStrictEqual(progress.snapshot(), { to: 26, above: [[40, 70]] })
    assert.strictEqual(progress.passed(), 3)
    d?.settledUnsafe()
    d?.settledUnsafe()
    assert.deepStrictEqual(progress.snapshot(), { to: 70, above: [] })
    assert.strictEqual(progress.passed(), 5)
  })

  it("skips what a former life has acknowledged, and keeps it before it is read again", () => {
    const from: Progress.Snapshot = { to: 3, above: [[5, 7], [9, 12]] }
    const progress = Progress.make(from)
    assert.deepStrictEqual(progress.snapshot(), from)
    const [four, five, six] = admitAll(progress, [4, 5, 6])
    assert.isUndefined(six)
    four?.settledUnsafe()
    assert.deepStrictEqual(progress.snapshot(), { to: 4, above: [[5, 7], [9, 12]] })
    five?.settledUnsafe()
    assert.deepStrictEqual(progress.snapshot(), { to: 6, above: [[6, 7], [9, 12]] })
    const rest = admitAll(progress, [7, 8, 9, 10, 11, 12, 13])
    assert.deepStrictEqual(rest.map((open) => open?.position), [undefined, 8, 9, undefined, undefined, undefined, 13])
    for (const open of rest) open?.settledUnsafe()
    assert.deepStrictEqual(progress.snapshot(), { to: 13, above: [] })
  })

  // A life: some elements are read, and of those that are open the chosen ones are acknowledged, in any order.
  const Life = Schema.Struct({
    reads: Schema.Array(Schema.Tuple([Schema.Natural, Schema.Natural])),
    stride: Schema.Literals([1, 2, 7])
  })

  it.prop("agrees with a set of positions, over several lives", { lives: Schema.Array(Life) }, ({ lives }) => {
    const acknowledged = new Set<number>()
    let snapshot: Progress.Snapshot = { to: undefined, above: [] }
    for (const { reads, stride } of lives) {
      const progress = Progress.make(snapshot)
      const start = snapshot.to
      const open: Array<Open> = []
      let position = start === undefined ? 0 : Math.floor(start / gap + 1) * gap
      const seen: Array<number> = []
      for (const [count, chosen] of reads) {
        for (let i = 0; i < count % 6; i++) {
          const element = progress.admit(position)
          seen.push(position)
          assert.strictEqual(element === undefined, acknowledged.has(position), `position ${position}`)
          if (element !== undefined) open.push(element)
          position += gap
        }
        for (let i = chosen % 4; i < open.length; i += stride + 1) {
          const [one] = open.splice(i, 1)
          one!.settledUnsafe()
          acknowledged.add(one!.position)
        }
        snapshot = progress.snapshot()
        for (let p = 0; p < position + 60; p += gap) {
          assert.strictEqual(
            isAcknowledged(p, snapshot),
            acknowledged.has(p),
            `position ${p}, ${JSON.stringify(snapshot)}`
          )
        }
        const { to } = snapshot
        assert.strictEqual(progress.passed(), seen.filter((p) => to !== undefined && p <= to).length)
        assert.isAtMost(snapshot.above.length, runsOf(acknowledged))
        assert.strictEqual(progress.read(), seen.length)
      }
    }
  }, { arbitrary: { runs: 200 } })
})

/** In how many runs of neighbours the positions lie. */
const runsOf = (positions: ReadonlySet<number>) => [...positions].filter((p) => !positions.has(p + gap)).length
