/**
 * What a consumer's loop does with what it has taken, up to the result of each element.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Result } from "../RemoteDevices.ts"
import { done } from "../RemoteDevices.ts"
import type { Settlements } from "../Settlements.ts"
import { SettlementsFailed } from "../Settlements.ts"
import { deliveriesOf, singles } from "./handed.ts"
import type { Handed, Results } from "./hosted.ts"
import * as Items from "./items.ts"
import type { Outcomes, Reject, Retry } from "./outcomes.ts"

/** A consumer's failure that says what became of what it was given. */
export type Told = Retry | Reject | Outcomes

/** Whether a failure is such. */
export const isTold = (u: unknown): u is Told =>
  typeof u === "object" && u !== null && "_tag" in u &&
  (u._tag === "Retry" || u._tag === "Reject" || u._tag === "Outcomes")

/** The outcome in a cause, or the cause to end the loop with. */
export type Read<E, E2> = (cause: Cause.Cause<E>) => Told | Cause.Cause<E2>

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Processes elements in a masked region and gives their results, or fails with what the loop ends with. */
export type Process<A, E, R> = (handed: ReadonlyArray<Handed<A>>, restore: Restore) => Effect.Effect<Results, E, R>

/** Runs the consumer's effect. */
export type Run<A, E, R> = (handed: ReadonlyArray<Handed<A>>) => Effect.Effect<unknown, E, R>

/** The result of what is to be fed again. */
export const givenBack = (cause: string, afterMillis = 0): Result => ({ _tag: "Retry", afterMillis, cause })

const toResult = (outcome: { readonly _tag: "Done" } | Retry | Reject): Result => {
  switch (outcome._tag) {
    case "Done":
      return done
    case "Retry":
      return { _tag: "Retry", afterMillis: outcome.afterMillis, cause: outcome.cause }
    case "Reject":
      return { _tag: "Reject", cause: outcome.cause }
  }
}

/** The results that a consumer has told. */
export const resultsOf = (told: Told): Results => {
  if (told._tag !== "Outcomes") return toResult(told)
  return (index) => {
    const one = told.outcomes[index]
    return one === undefined ? givenBack("the batch's outcomes do not cover it") : toResult(one)
  }
}

/** Runs the effect and takes the results from how it ends. */
export const directly = <A, E, R, E2>(run: Run<A, E, R>, read: Read<E, E2>): Process<A, E2, R> => (handed, restore) =>
  Effect.flatMap(Effect.exit(restore(Effect.suspend(() => run(handed)))), (exit): Effect.Effect<Results, E2> => {
    if (Exit.isSuccess(exit)) return Effect.succeed(done)
    const told = read(exit.cause)
    return Cause.isCause(told) ? Effect.failCause(told) : Effect.succeed(resultsOf(told))
  })

const isAllDone = (error: unknown, count: number): boolean =>
  isTold(error) && error._tag === "Outcomes" && error.outcomes.length >= count &&
  error.outcomes.every(({ _tag }) => _tag === "Done")

/** How long an element waits for a store that fails, in milliseconds: longer each time, up to a minute. */
const patience = (attempt: number): number => Math.min(60_000, 1000 * 2 ** (attempt - 1))

/**
 * Runs the effect for those elements that are not settled yet, and settles them with it, in one transaction. One that
 * is settled is done. Where a batch's outcomes are not all done, the transaction is rolled back, and the effect run
 * again for those that were.
 */
export const settling = <A, E, R, E2>(
  settlements: Settlements["Service"],
  feed: string,
  run: Run<A, E, R>,
  read: Read<E, E2>
): Process<A, E2, R> =>
(parts, restore) => {
  const handed = singles(parts)
  const noId: Result = {
    _tag: "Reject",
    cause: `it came without an id, and feed "${feed}" is effectivelyOnce: ` +
      `give the feed \`identify\`, or feed it from a resumable source`
  }
  const deliveries = deliveriesOf(handed)
  const results = deliveries.map(({ id }) => (id ?? "") === "" ? noId : done)
  const attempt = (indices: ReadonlyArray<number>): Effect.Effect<void, E2, R> => {
    let fresh = indices
    /** Of the consumer's effect: whatever became of the transaction, this is what it was rolled back for. */
    let failure: Cause.Cause<E> | undefined
    const settle = settlements.settle({ feed, ids: indices.map((i) => deliveries[i]!.id!) }, (some) => {
      fresh = some.map((k) => indices[k]!)
      return Effect.suspend(() => run(fresh.map((i) => handed[i]!))).pipe(
        Effect.catch((error) => isAllDone(error, fresh.length) ? Effect.void : Effect.fail(error)),
        Effect.onError((cause) =>
          Effect.sync(() => {
            failure = cause
          })
        )
      )
    })
    return Effect.flatMap(Effect.exit(restore(settle)), (exit): Effect.Effect<void, E2, R> => {
      if (Exit.isSuccess(exit)) return Effect.void
      if (failure === undefined) {
        const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
        if (!(error instanceof SettlementsFailed)) {
          return Effect.failCause(
            Cause.fromReasons<never>(exit.cause.reasons.filter((one) => !Cause.isFailReason(one)))
          )
        }
        for (const i of indices) results[i] = givenBack(error.message, patience(deliveries[i]!.attempt))
        return Effect.void
      }
      const outcome = read(failure)
      if (Cause.isCause(outcome)) return Effect.failCause(outcome)
      const told = resultsOf(outcome)
      fresh.forEach((i, k) => {
        results[i] = typeof told === "function" ? told(k) : told
      })
      const good = outcome._tag === "Outcomes" ? fresh.filter((i) => results[i] === done) : []
      return good.length === 0 ? Effect.void : attempt(good)
    })
  }
  const known = handed.flatMap((_, i) => results[i] === done ? [i] : [])
  return Effect.as(known.length === 0 ? Effect.void : attempt(known), (index) => results[index]!)
}

/**
 * Gives elements back when they are not processed within a time, in the moment that it has passed. Their effect is
 * interrupted, and not waited for until the scope closes, and then no longer than that time again.
 */
export const within = <A, E, R>(
  process: Process<A, E, R>,
  limit: Duration.Duration,
  onTimeout: (count: number) => void
): Effect.Effect<Process<A, E, R>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const inTime = <X, XE, XR>(effect: Effect.Effect<X, XE, XR>) => Effect.timeoutOption(effect, limit)
    const late = new Set<Fiber.Fiber<unknown, unknown>>()
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => late.size === 0 ? Effect.void : Effect.asVoid(inTime(Fiber.awaitAll(late)))).pipe(
        Effect.andThen(Effect.suspend(() =>
          late.size === 0
            ? Effect.void
            : Effect.logWarning(
              `${late.size} that were not processed within ${
                Duration.format(limit)
              } cannot be interrupted, and still run`
            )
        ))
      )
    )
    const cause = `not processed within ${Duration.format(limit)}`
    return (handed, restore) =>
      Effect.flatMap(
        Effect.forkDetach(Effect.uninterruptibleMask((restore) => process(handed, restore)), {
          startImmediately: true
        }),
        (fiber) =>
          restore(inTime(Fiber.await(fiber))).pipe(
            // Interrupted itself, it waits for the effect's end as it would without a time, for that time at most.
            Effect.onInterrupt(() => {
              fiber.interruptUnsafe()
              return Effect.void
            }),
            Effect.catchCause(() => inTime(Fiber.await(fiber))),
            Effect.flatMap((ended): Effect.Effect<Results, E> => {
              if (Option.isSome(ended)) return ended.value
              fiber.interruptUnsafe()
              late.add(fiber)
              fiber.addObserver(() => late.delete(fiber))
              onTimeout(Items.size(handed))
              return Effect.succeed(givenBack(cause))
            })
          )
      )
  })
