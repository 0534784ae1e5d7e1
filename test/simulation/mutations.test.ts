/**
 * The simulator is worth what it finds: bugs planted in the source, one at a time, must each break a law soon.
 */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { runMutations, runUnmutated } from "./mutate.ts"
import { mutations } from "./mutations.ts"

it.live("the simulator finds each planted bug", () =>
  Effect.gen(function*() {
    const { caught, planted, results } = yield* runMutations()
    const missed = results.filter(({ isCaught }) => !isCaught).map(({ message, name }) => `${name}: ${message}`)
    assert.deepStrictEqual(missed, [])
    assert.strictEqual(planted, mutations.length)
    assert.strictEqual(caught, planted)
    // What is caught in a history that fails anyway is not caught.
    assert.isUndefined(yield* runUnmutated(results.flatMap(({ caughtAt }) => caughtAt ?? [])))
  }), 180_000)
