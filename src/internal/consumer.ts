/**
 * The consumer's loops and streams over a hosted feed.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { QueueEnded } from "../FeedQueue.ts"
import type { Acknowledge, Result } from "../RemoteDevices.ts"
import { done } from "../RemoteDevices.ts"
import type { BatchDelivery, Consumed, Given, Leased, Remainder } from "./given.ts"
import type { Delivery, FeedsItself, Handed, Host, Hosted, Take, TakeOptions } from "./hosted.ts"
import type { OutcomeOf, Outcomes, Reject, Retry } from "./outcomes.ts"
import { received } from "./received.ts"

type Outcome = Retry | Reject | Outcomes

const isOutcome = (u: unknown): u is Outcome =>
  typeof u === "object" && u !== null && "_tag" in u &&
  (u._tag === "Retry" || u._tag === "Reject" || u._tag === "Outcomes")

const whyInterrupted = "its loop was interrupted"

/** A cause as the feeder is told it: which fiber interrupted another says nothing in another process. */
const why = <E>(cause: Cause.Cause<E>): string => Cause.hasInterruptsOnly(cause) ? whyInterrupted : Cause.pretty(cause)

const givenBack = (cause: string): Result => ({ _tag: "Retry", afterMillis: 0, cause })

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

const resultsOf = (outcome: Outcome): (index: number) => Result => {
  if (outcome._tag !== "Outcomes") {
    const result = toResult(outcome)
    return () => result
  }
  return (index) => {
    const one = outcome.outcomes[index]
    return one === undefined ? givenBack("the batch's outcomes do not cover it") : toResult(one)
  }
}

/** What a loop is made of: what it takes, how it presents it, and what it runs for it. */
interface Loop<A, B> {
  readonly take: TakeOptions
  readonly concurrency: number
  readonly remainder: Remainder
  readonly present: (elements: ReadonlyArray<A>) => B
}

/** The values and the real size of what was taken; none when a short remainder is dropped. */
const shape = <A, B>(loop: Loop<A, B>, handed: ReadonlyArray<Handed<A>>): B | undefined => {
  const elements = handed.map((one) => one.element)
  const isShort = loop.take.within === undefined && elements.length < loop.take.n
  if (isShort && loop.remainder === "drop") return undefined
  if (isShort && loop.remainder === "pad") {
    const last = elements.at(-1)
    while (last !== undefined && elements.length < loop.take.n) elements.push(last)
  }
  return loop.present(elements)
}

/** How long a loop may keep the thread to itself, in nanoseconds. */
const breath = 5_000_000n

const dropped: Result = { _tag: "Reject", cause: "the last batch was short, and remainders are dropped" }

const runLoop = <A, B, E, R, E2>(
  hosted: Hosted<A>,
  loop: Loop<A, B>,
  f: (value: B, handed: ReadonlyArray<Handed<A>>) => Effect.Effect<unknown, E, R>,
  /** The outcome in a cause, or the cause to end the loop with. */
  read: (cause: Cause.Cause<E>) => Outcome | Cause.Cause<E2>
): Effect.Effect<Consumed, E2 | FeedsItself, R> => {
  const counts = { done: 0, retried: 0, rejected: 0, fenced: 0 }
  const settle = (handed: ReadonlyArray<Handed<A>>, resultOf: (index: number) => Result) =>
    Effect.map(
      hosted.settle(handed, (index) => {
        const result = resultOf(index)
        if (result._tag === "Done") counts.done++
        else if (result._tag === "Retry") counts.retried++
        else counts.rejected++
        return result
      }),
      (fenced) => {
        counts.fenced += fenced
      }
    )
  const interrupted = (handed: ReadonlyArray<Handed<A>>) => settle(handed, () => givenBack(whyInterrupted))
  const turn = (take: Take<A>) =>
    Effect.uninterruptibleMask((restore) => {
      const taken = received(restore, (onTake) => take(loop.take, onTake), interrupted)
      return Effect.flatMap(taken, (handed): Effect.Effect<void, E2, R> => {
        const value = shape(loop, handed)
        if (value === undefined) return settle(handed, () => dropped)
        return Effect.flatMap(Effect.exit(restore(Effect.suspend(() => f(value, handed)))), (exit) => {
          if (Exit.isSuccess(exit)) return settle(handed, () => done)
          const outcome = read(exit.cause)
          return Cause.isCause(outcome)
            ? Effect.andThen(settle(handed, () => givenBack(why(outcome))), Effect.failCause(outcome))
            : settle(handed, resultsOf(outcome))
        })
      })
    })
  const worker = (take: Take<A>): Effect.Effect<void, E2 | FeedsItself, R> =>
    Effect.clockWith((clock) => {
      let yielded = clock.monotonicTimeNanosUnsafe()
      // Reports, and with them the lease, are sent between turns: a consumer that computes must let them.
      const breathe = Effect.suspend(() => {
        if (clock.monotonicTimeNanosUnsafe() - yielded < breath) return Effect.void
        return Effect.andThen(
          Effect.yieldNow,
          Effect.sync(() => {
            yielded = clock.monotonicTimeNanosUnsafe()
          })
        )
      })
      return Effect.catchTag(
        Effect.forever(Effect.andThen(turn(take), breathe), { disableYield: true }),
        "QueueEnded",
        () => Effect.void
      )
    })
  const workers = (take: Take<A>) =>
    loop.concurrency === 1
      ? worker(take)
      : Effect.forEach(Array.from({ length: loop.concurrency }), () => worker(take), {
        concurrency: "unbounded",
        discard: true
      })
  return Effect.scoped(Effect.flatMap(
    hosted.begin(loop.take.n * loop.concurrency),
    (take) => Effect.as(finishIfLeaving(hosted, workers(take)), counts)
  ))
}

/** Lets an interrupted loop finish what the process holds, when the process is leaving and not told to end at once. */
const finishIfLeaving = <A, E, R>(
  hosted: Hosted<A>,
  loop: Effect.Effect<void, E, R>
): Effect.Effect<void, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkChild(Effect.interruptible(loop), { startImmediately: true }),
      (fiber) =>
        restore(Fiber.join(fiber)).pipe(
          Effect.onInterrupt(() =>
            Effect.flatMap(hosted.isLeaving, (isLeaving) =>
              (isLeaving ? Effect.raceFirst(Fiber.await(fiber), hosted.awaitAbandoned) : Effect.void).pipe(
                Effect.andThen(Fiber.interrupt(fiber))
              ))
          )
        )
    )
  )

const leasedStream = <A, B, B2>(
  hosted: Hosted<A>,
  loop: Loop<A, B>,
  give: (value: B, leased: Leased<B>) => B2
): Effect.Effect<Stream.Stream<B2, FeedsItself>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const open = new Set<ReadonlyArray<Handed<A>>>()
    const begun = yield* hosted.begin(loop.take.n)
    yield* Effect.addFinalizer(() =>
      Effect.forEach(open, (handed) => hosted.settle(handed, () => givenBack("the stream ended")), { discard: true })
    )
    const settle = (handed: ReadonlyArray<Handed<A>>, result: (index: number) => Result) =>
      Effect.suspend(() => open.delete(handed) ? Effect.asVoid(hosted.settle(handed, result)) : Effect.void)
    // In the step that takes: what a stream does not live to see is given back, too.
    const take = begun(loop.take, (handed) => open.add(handed))
    const next: Effect.Effect<B2, QueueEnded | FeedsItself> = Effect.flatMap(take, (handed) => {
      const value = shape(loop, handed)
      if (value === undefined) return Effect.andThen(settle(handed, () => dropped), next)
      return Effect.succeed(give(value, {
        value,
        deliveries: handed.map((one) => one.delivery),
        acknowledge: settle(handed, () => done),
        settle: (outcome) => settle(handed, resultsOf(outcome))
      }))
    })
    return Stream.fromPull(Effect.succeed(next.pipe(
      Effect.map((value): readonly [B2] => [value]),
      Effect.catchTag("QueueEnded", () => Cause.done())
    )))
  })

/** The consumer's members of a feed. */
export const make = <Name extends string, A, Ack extends Acknowledge, B>(
  host: Context.Key<Host<Name>, Hosted<A>>,
  acknowledge: Ack,
  stack: (elements: ReadonlyArray<A>) => B
): Members<Name, A, Ack, B> => {
  const read = <E>(cause: Cause.Cause<E>): Outcome | Cause.Cause<Exclude<E, OutcomeOf<Ack>>> => {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause))
    if (acknowledge === "processed" && isOutcome(error)) return error
    // No outcome of a processed feed is left in it, which is all that OutcomeOf takes away.
    return cause as Cause.Cause<Exclude<E, OutcomeOf<Ack>>>
  }
  const one = (elements: ReadonlyArray<A>): A => elements[0]!
  // Ack decides which of the two a consumer is given; the branch below is that decision.
  const given = <V>(value: V, leased: Leased<V>): Given<Ack, V> =>
    (acknowledge === "processed" ? leased : value) as Given<Ack, V>
  const stream = <V>(loop: Loop<A, V>): Stream.Stream<Given<Ack, V>, FeedsItself, Host<Name>> =>
    Stream.unwrap(Effect.flatMap(Effect.service(host), (hosted) => leasedStream(hosted, loop, given<V>)))
  return {
    forEach: (f, options) =>
      Effect.flatMap(Effect.service(host), (hosted) =>
        runLoop(
          hosted,
          loopOf(1, one, options),
          (element, handed) => f(element, handed[0]!.delivery),
          read
        )),
    forEachBatch: (n, f, options) =>
      Effect.flatMap(Effect.service(host), (hosted) =>
        runLoop(
          hosted,
          loopOf(n, stack, options),
          (batch, handed) => f(batch, { size: handed.length, deliveries: handed.map((one) => one.delivery) }),
          read
        )),
    elements: stream(loopOf(1, one)),
    batches: (n, options) => stream(loopOf(n, stack, options))
  }
}

/** What `make` gives, as `Feed` declares it. */
export type Members<Name extends string, A, Ack extends Acknowledge, B> = {
  readonly forEach: <E, R>(
    f: (element: A, delivery: Delivery) => Effect.Effect<unknown, E, R>,
    options?: { readonly concurrency?: number | undefined }
  ) => Effect.Effect<Consumed, Exclude<E, OutcomeOf<Ack>> | FeedsItself, R | Host<Name>>
  readonly forEachBatch: <E, R>(
    n: number,
    f: (batch: B, delivery: BatchDelivery) => Effect.Effect<unknown, E, R>,
    options?: LoopOptions
  ) => Effect.Effect<Consumed, Exclude<E, OutcomeOf<Ack>> | FeedsItself, R | Host<Name>>
  readonly elements: Stream.Stream<Given<Ack, A>, FeedsItself, Host<Name>>
  readonly batches: (
    n: number,
    options?: LoopOptions
  ) => Stream.Stream<Given<Ack, B>, FeedsItself, Host<Name>>
}

interface LoopOptions {
  readonly concurrency?: number | undefined
  readonly within?: Duration.Input | undefined
  readonly remainder?: Remainder | undefined
}

const loopOf = <A, B>(
  n: number,
  present: (elements: ReadonlyArray<A>) => B,
  options?: LoopOptions
): Loop<A, B> => {
  const concurrency = options?.concurrency ?? 1
  if (!Number.isSafeInteger(n) || n < 1) throw new RangeError(`a batch has a positive number of elements, got ${n}`)
  if (!Number.isSafeInteger(concurrency) || concurrency < 1) {
    throw new RangeError(`concurrency must be a positive integer, got ${concurrency}`)
  }
  return { take: { n, within: options?.within }, concurrency, remainder: options?.remainder ?? "emit", present }
}
