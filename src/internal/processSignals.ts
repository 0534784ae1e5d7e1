/**
 * The signals that end a process: who listens, and what is done when it is told to go.
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

/**
 * What is done when the process is told to go, while the scope is open: at the first signal `gently` if it is SIGTERM, at
 * SIGINT and at any signal after the first `atOnce`. What the program's runtime then interrupts may look whether it is to
 * go gently, since `gently` has begun by then.
 */
export const onSigterm = (options: {
  readonly gently: Effect.Effect<unknown>
  readonly atOnce: Effect.Effect<unknown>
}): Effect.Effect<void, never, Scope.Scope> =>
  Effect.contextWith((context) => {
    const runFork = Effect.runForkWith(context)
    let isTold = false
    return listen((signal) => {
      const isFirst = !isTold && signal === "SIGTERM"
      isTold = true
      runFork(isFirst ? options.gently : options.atOnce)
    })
  })
