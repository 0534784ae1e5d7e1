import * as Effect from "effect/Effect"
import type { OnTake } from "../FeedQueue.ts"

/**
 * Runs a take in a masked region, with interruption allowed while it waits: `back` is given what was taken when an
 * interruption comes between the step that takes and the region. Of a take that fails otherwise, nothing was taken.
 */
export const received = <A, B, E>(
  restore: <X, XE>(effect: Effect.Effect<X, XE>) => Effect.Effect<X, XE>,
  take: (onTake: OnTake<A>) => Effect.Effect<B, E>,
  back: (elements: ReadonlyArray<A>) => Effect.Effect<void>
): Effect.Effect<B, E> =>
  Effect.suspend(() => {
    let taken: ReadonlyArray<A> | undefined
    const taking = take((elements) => {
      taken = elements
    })
    return Effect.catchCause(restore(taking), (cause) =>
      taken === undefined ? Effect.failCause(cause) : Effect.andThen(back(taken), Effect.failCause(cause)))
  })
