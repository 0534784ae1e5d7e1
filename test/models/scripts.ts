/**
 * Scripts: what the property tests on models run, on the model and on the real thing.
 *
 * A failure prints the shortest script that was found and a token. To run that script again:
 * `MODEL_REPLAY='the token' npx vitest run test/models/FeedQueue.test.ts -t 'the name of the test'`. `MODEL_RUNS=20` runs
 * each property twenty times as often, `MODEL_RUNS=0.2` a fifth of it, and `MODEL_SEED` gives the seed.
 */
import { assert } from "@effect/vitest"
import { type Cause, Effect, Schema, Scope } from "effect"
import * as Arbitrary from "effect/Arbitrary"
import { TestClock } from "effect/testing"

/** One step of a script. What `n` and `pick` mean, if anything, is the operation's affair. */
export interface Command<Op extends string> {
  readonly op: Op
  readonly n: number
  readonly pick: number
}

/** A script of operations that come as often as their weights say. */
export type Script<Op extends string> = ReadonlyArray<Command<Op>>

export const between = (minimum: number, maximum: number) =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

/** Random scripts. A failing one is shrunk by leaving out steps, and to smaller numbers. */
export const scripts = <Op extends string>(
  weights: ReadonlyArray<readonly [op: Op, weight: number]>,
  maxLength = 40
): Arbitrary.Arbitrary<Script<Op>> => {
  const ops = weights.flatMap(([op, weight]) => Array.from({ length: weight }, () => op))
  const command = Arbitrary.all({ op: between(0, ops.length - 1), n: between(0, 6), pick: between(0, 9) })
  return Arbitrary.array(Arbitrary.map(command, ({ n, op, pick }) => ({ op: ops[op]!, n, pick })), { maxLength })
}

/** Gives every woken fiber its turn: enough of them for any step here. */
export const settle = Effect.gen(function*() {
  for (let turn = 0; turn < 80; turn++) yield* Effect.yieldNow
})

/**
 * `Effect.scoped`, for what may have gone wrong: time passes while the scope closes, and what hangs then is left behind.
 */
export const scopedInTime = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Scope.Scope>> =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const exit = yield* Effect.exit(Scope.provide(effect, scope))
    yield* Effect.forkDetach(Scope.close(scope, exit))
    yield* settle
    yield* TestClock.adjust("1 minute")
    yield* settle
    return yield* exit
  })

const { MODEL_REPLAY: replay, MODEL_RUNS: times = "1", MODEL_SEED: seed } = process.env

/** How a property is checked. */
export const checks = (runs: number): { readonly arbitrary: Arbitrary.CheckOptions; readonly timeout: number } => ({
  arbitrary: { runs: Math.ceil(runs * Number(times)), size: 100, maxShrinks: 2000, seed, replay },
  timeout: 30_000 * Math.max(1, Number(times))
})

/**
 * Checks a property that does not hold. Asserts that what is printed has the shrunk input and a token, and that the
 * token leads to the same input again; gives what was printed, and the input.
 */
export const falsified = <A, E>(
  arbitrary: Arbitrary.Arbitrary<A>,
  property: (input: A) => Effect.Effect<void, E>
): Effect.Effect<{ readonly printed: string; readonly input: A }> =>
  Effect.gen(function*() {
    // As `it.effect.prop` does it: a clock for each run, and a defect is a failure.
    const holds = (input: A): Effect.Effect<boolean, Cause.Cause<E>> =>
      property(input).pipe(
        Effect.provide(TestClock.layer()),
        Effect.as(true),
        Effect.catchCause(Effect.fail)
      )
    const result = yield* Arbitrary.checkEffect(arbitrary, holds, { runs: 2000, size: 100, maxShrinks: 2000, seed: 1 })
    if (result._tag !== "Falsified") return assert.fail(`it holds: ${result._tag}`)
    const again = yield* Arbitrary.checkEffect(arbitrary, holds, { replay: result.replay })
    if (again._tag !== "Falsified") return assert.fail(`the token leads to nothing: ${again._tag}`)
    assert.deepStrictEqual(again.shrunkInput, result.shrunkInput)
    const printed = Arbitrary.formatCheckFailure(result) ?? ""
    assert.include(printed, "Shrunk input: ")
    assert.include(printed, `Replay: ${result.replay}`)
    return { printed, input: result.shrunkInput }
  })
