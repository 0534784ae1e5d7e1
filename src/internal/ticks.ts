/**
 * Ticks for many at the same interval, each counted from when it was added, by one fiber.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"

/** Who is told. */
export interface Ticking {
  /** In milliseconds of a monotonic clock; kept by who tells. */
  tickAt: number
  /** Must not throw. */
  readonly tickUnsafe: () => void
}

/** Those who are told: see the module. */
export interface Ticks {
  readonly addUnsafe: (ticking: Ticking) => void
  readonly removeUnsafe: (ticking: Ticking) => void
}

/** Nobody yet. All are told every `interval` milliseconds, as long as the scope is open. */
export const make = (options: {
  readonly interval: number
  readonly now: () => number
}): Effect.Effect<Ticks, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { interval, now } = options
    /** Who is told next comes first, as the interval is the same for all. */
    const all = new Set<Ticking>()
    const some = Latch.makeUnsafe(false)

    const addUnsafe = (ticking: Ticking) => {
      ticking.tickAt = now() + interval
      all.add(ticking)
      some.openUnsafe()
    }
    const removeUnsafe = (ticking: Ticking) => {
      all.delete(ticking)
    }

    const turn: Effect.Effect<never> = Effect.suspend(() => {
      const [first] = all
      if (first === undefined) {
        some.closeUnsafe()
        return Effect.flatMap(some.await, () => turn)
      }
      const left = first.tickAt - now()
      if (left > 0) return Effect.flatMap(Effect.sleep(Math.ceil(left)), () => turn)
      removeUnsafe(first)
      addUnsafe(first)
      first.tickUnsafe()
      return turn
    })
    yield* Effect.forkScoped(turn)
    return { addUnsafe, removeUnsafe }
  })
