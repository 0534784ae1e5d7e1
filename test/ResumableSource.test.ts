import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { ResumableSource } from "effect-feeder"

const read = <A>(source: ResumableSource.ResumableSource<A>, after?: number, split = "0") =>
  Stream.runCollect(source.read(split, after))

describe("ResumableSource", () => {
  it.effect("an iterable's elements stand at their indices, and go on behind a position", () =>
    Effect.gen(function*() {
      const array = ResumableSource.fromIterable("letters", ["a", "b", "c"])
      const set = ResumableSource.fromIterable("letters", new Set(["a", "b", "c"]))
      for (const source of [array, set]) {
        assert.deepStrictEqual(yield* read(source), [[0, "a"], [1, "b"], [2, "c"]])
        assert.deepStrictEqual(yield* read(source, 1), [[2, "c"]])
        assert.deepStrictEqual(yield* read(source, 2), [])
        assert.deepStrictEqual(yield* read(source, 9), [])
      }
    }))

  it("has one split unless it names others", () => {
    assert.deepStrictEqual(ResumableSource.fromIterable("letters", []).splits, ["0"])
    assert.isTrue(ResumableSource.isResumableSource(ResumableSource.fromIterable("letters", [])))
    assert.isFalse(ResumableSource.isResumableSource([]))
  })

  it("refuses names that a checkpoint could not tell apart", () => {
    const read = () => Stream.empty
    assert.throws(() => ResumableSource.make("", { read }), "the name of a source must not be empty")
    assert.throws(() => ResumableSource.make("log", { splits: [], read }), "(\"log\"): a source has at least one split")
    assert.throws(() => ResumableSource.make("log", { splits: ["0", "1", "0"], read }), "two splits are named \"0\"")
  })

  it("says what is wrong with a position", () => {
    const where = { source: "log", split: "3" }
    assert.strictEqual(
      new ResumableSource.PositionInvalid({ ...where, position: 5, after: 7 }).message,
      "source \"log\", split \"3\": position 5 does not come after 7; give its elements safe integers that grow, and " +
        "begin with the first one after the position that `read` is given"
    )
    assert.strictEqual(
      new ResumableSource.PositionInvalid({ ...where, position: 1.5 }).message,
      "source \"log\", split \"3\": position 1.5 is no safe integer; number its elements with integers that grow"
    )
  })
})
