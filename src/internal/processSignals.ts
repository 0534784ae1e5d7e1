/**
 * The signals that end a process, as all of it that listens is told of them.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

type Listener = (signal: NodeJS.Signals) => void

const listeners = new Set<Listener>()

const tell: Listener = (signal) => {
  for (const listener of listeners) listener(signal)
}

/**
 * Listens for SIGTERM and SIGINT while the scope is open, ahead of the listeners of the program's runtime. However many
 * listen, Node sees one: of more than ten it warns.
 */
export const listen = (listener: Listener): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.sync(() => {
      listeners.add(listener)
      if (listeners.size > 1) return
      process.prependListener("SIGTERM", tell)
      process.prependListener("SIGINT", tell)
    }),
    () =>
      Effect.sync(() => {
        listeners.delete(listener)
        if (listeners.size > 0) return
        process.off("SIGTERM", tell)
        process.off("SIGINT", tell)
      })
  ))
