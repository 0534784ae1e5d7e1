/**
 * What a process does when it is told to go: the first SIGTERM gently, SIGINT and any signal after that at once.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { listen } from "./processSignals.ts"

/**
 * Listens while the scope is open, ahead of the listeners of the program's runtime: what that interrupts may look whether
 * it is to go gently, since `gently` has begun by then.
 */
export const onSigterm = (options: {
  readonly gently: Effect.Effect<unknown>
  readonly atOnce: Effect.Effect<unknown>
}): Effect.Effect<void, never, Scope.Scope> =>
  Effect.contextWith((context) => {
    const runFork = Effect.runForkWith(context)
    let isTold = false
    const onSignal = (signal: NodeJS.Signals) => {
      const isFirst = !isTold && signal === "SIGTERM"
      isTold = true
      runFork(isFirst ? options.gently : options.atOnce)
    }
    return listen(onSignal)
  })
