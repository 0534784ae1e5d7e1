import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import type { Range } from "../../src/internal/ranges.ts"
import * as Ranges from "../../src/internal/ranges.ts"

/** Small, so that numbers meet, touch and repeat. */
const Numbers = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 40 })))

const numbersOf = (ranges: ReadonlyArray<Range>): ReadonlyArray<number> =>
  ranges.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i))

const ascending = (numbers: Iterable<number>): ReadonlyArray<number> => [...numbers].toSorted((a, b) => a - b)

/** In order, each of at least one number, and no two that could be one. */
const assertWellFormed = (ranges: ReadonlyArray<Range>): void => {
  for (const [i, [from, to]] of ranges.entries()) {
    assert.isAtMost(from, to)
    if (i > 0) assert.isAbove(from, ranges[i - 1]![1] + 1)
  }
}

describe("ranges", () => {
  it("are as few as can be", () => {
    assert.deepStrictEqual(Ranges.of([]), [])
    assert.deepStrictEqual(Ranges.of([0, 1, 2, 5, 4, 9]), [[0, 2], [4, 5], [9, 9]])
    assert.deepStrictEqual(Ranges.of([0, 2, 1]), [[0, 2]])
    assert.deepStrictEqual(Ranges.of([3, 3, 2, 4, 3]), [[2, 4]])
  })

  it.prop("agree with a set, in whatever order numbers are added", { numbers: Numbers }, ({ numbers }) => {
    const ranges = Ranges.make()
    const model = new Set<number>()
    for (const n of numbers) {
      ranges.addUnsafe(n)
      model.add(n)
      assertWellFormed(ranges.toArray())
      assert.deepStrictEqual(numbersOf(ranges.toArray()), ascending(model))
    }
    for (let n = -1; n <= 42; n++) assert.strictEqual(ranges.has(n), model.has(n), `${n}`)
  })

  it.prop("between them is what they have not", { one: Numbers, two: Numbers, end: Schema.Natural }, (given) => {
    const end = given.end % 50
    const model = new Set([...given.one, ...given.two])
    // Of several sets, in no order, and overlapping.
    const gaps = Ranges.between(end, [...Ranges.of(given.two), ...Ranges.of(given.one)])
    assertWellFormed(gaps)
    const missing = Array.from({ length: end }, (_, n) => n).filter((n) => !model.has(n))
    assert.deepStrictEqual(numbersOf(gaps), missing)
  })
})
