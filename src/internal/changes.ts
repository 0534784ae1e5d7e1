/**
 * Who waits for the changes of something.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"

/** Those who wait: see the module. */
export interface Changes {
  /** Something has changed. Resumes fibers, which run at once: only to be called when all is in order. */
  readonly tellUnsafe: () => void
  /** A latch that opens at every change, while the scope is open. It is open at first. */
  readonly watch: Effect.Effect<Latch.Latch, never, Scope.Scope>
  /** Waits for the change after which something is so. */
  readonly until: (isSo: () => boolean) => Effect.Effect<void>
}

/** Nobody waits yet. */
export const make = (): Changes => {
  const watchers = new Set<Latch.Latch>()

  const watch = Effect.acquireRelease(
    Effect.sync(() => {
      const latch = Latch.makeUnsafe(true)
      watchers.add(latch)
      return latch
    }),
    (latch) => Effect.sync(() => watchers.delete(latch))
  )

  return {
    tellUnsafe: () => {
      for (const latch of watchers) latch.openUnsafe()
    },
    watch,
    until: (isSo) =>
      Effect.scoped(Effect.gen(function*() {
        const changed = yield* watch
        while (!isSo()) {
          yield* changed.await
          changed.closeUnsafe()
        }
      }))
  }
}
