import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { TestClock } from "effect/testing"
import * as Ticks from "../../src/internal/ticks.ts"

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const ticks = yield* Ticks.make({ interval: 100, now })
  const told: Array<string> = []
  const ticking = (name: string): Ticks.Ticking => ({
    tickAt: 0,
    tickUnsafe: () => told.push(`${name} ${now()}`)
  })
  const passed = (millis: number) => Effect.map(TestClock.adjust(millis), () => told.splice(0))
  return { ...ticks, passed, ticking }
})

describe("ticks", () => {
  it.effect("each is told every interval, counted from when it was added", () =>
    Effect.gen(function*() {
      const { addUnsafe, passed, ticking } = yield* make
      assert.deepStrictEqual(yield* passed(1000), [])
      addUnsafe(ticking("a"))
      assert.deepStrictEqual(yield* passed(30), [])
      addUnsafe(ticking("b"))
      assert.deepStrictEqual(yield* passed(69), [])
      assert.deepStrictEqual(yield* passed(1), ["a 1100"])
      assert.deepStrictEqual(yield* passed(30), ["b 1130"])
      assert.deepStrictEqual(yield* passed(200), ["a 1200", "b 1230", "a 1300", "b 1330"])
    }))

  it.effect("one that was removed is told no more, and others still are, also when there were none meanwhile", () =>
    Effect.gen(function*() {
      const { addUnsafe, passed, removeUnsafe, ticking } = yield* make
      const [a, b] = [ticking("a"), ticking("b")]
      addUnsafe(a)
      yield* passed(50)
      addUnsafe(b)
      removeUnsafe(a)
      assert.deepStrictEqual(yield* passed(100), ["b 150"])
      removeUnsafe(b)
      assert.deepStrictEqual(yield* passed(500), [])
      addUnsafe(a)
      assert.deepStrictEqual(yield* passed(100), ["a 750"])
    }))

  it.effect("one may be removed, and another added, by being told", () =>
    Effect.gen(function*() {
      const { addUnsafe, passed, removeUnsafe, ticking } = yield* make
      const b = ticking("b")
      const a: Ticks.Ticking = {
        tickAt: 0,
        tickUnsafe: () => {
          removeUnsafe(a)
          addUnsafe(b)
        }
      }
      addUnsafe(a)
      assert.deepStrictEqual(yield* passed(350), ["b 200", "b 300"])
    }))
})
