/**
 * Elements that came back and wait for their time, before they are fed again.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Item } from "../FeedSession.ts"

/** How long an element that a consumer gave back waits at least: so long the first time, twice as long each time. */
export interface Millis {
  readonly initial: number
  readonly most: number
}

/** Elements that wait together. */
interface Group<A> {
  readonly due: number
  readonly items: ReadonlyArray<Item<A>>
}

/** What waits: see the module. */
export interface BackOff<A> {
  /** How many elements wait. */
  readonly waiting: () => number
  /** How long one that a consumer gave back waits at least. */
  readonly millisOf: (item: Item<A>) => number
  readonly waitUnsafe: (items: ReadonlyArray<Item<A>>, millis: number) => void
}

/** Nothing waits yet; `onDue` is given what has waited for long enough, in order. Nothing comes once the scope is closed. */
export const make = <A>(options: {
  readonly millis: Millis
  /** In milliseconds of a monotonic clock. */
  readonly now: () => number
  readonly onDue: (items: ReadonlyArray<Item<A>>) => void
}): Effect.Effect<BackOff<A>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { millis: { initial, most }, now, onDue } = options
    const scope = yield* Effect.scope
    const context = yield* Effect.context<never>()
    const groups = new Set<Group<A>>()
    let waiting = 0

    /** This group is due, and all others whose time has come. */
    const releaseUnsafe = (ripe: Group<A>) => {
      if (!groups.has(ripe)) return
      const time = now()
      const items: Array<Item<A>> = []
      for (const group of groups) {
        if (group !== ripe && group.due > time) continue
        groups.delete(group)
        items.push(...group.items)
      }
      waiting -= items.length
      onDue(items.toSorted((a, b) => a.ordinal - b.ordinal))
    }

    return {
      waiting: () => waiting,
      millisOf: ({ attempt, since = 1 }) => Math.min(most, initial * 2 ** (attempt - since - 1)),
      waitUnsafe: (items, millis) => {
        waiting += items.length
        const group: Group<A> = { due: now() + millis, items }
        groups.add(group)
        Effect.runForkWith(context)(
          Effect.andThen(Effect.sleep(millis), Effect.sync(() => releaseUnsafe(group))).pipe(Effect.forkIn(scope))
        )
      }
    }
  })
