/**
 * The consumer's loops and streams over a hosted feed.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { BatchCodec } from "../BatchCodec.ts"
import type { QueueEnded } from "../FeedQueue.ts"
import type { Acknowledge, DeliveryMode, Result } from "../RemoteDevices.ts"
import { done } from "../RemoteDevices.ts"
import { Settlements, type SettlementsOf } from "../Settlements.ts"
import type { BatchDelivery, BatchOptions, Consumed, Given, Leased, LoopOptions, Remainder } from "./given.ts"
import { deliveriesOf } from "./handed.ts"
import type { Delivery, FeedsItself, Handed, Host, Hosted, Results, Take, TakeOptions } from "./hosted.ts"
import * as Items from "./items.ts"
import type { OutcomeOf } from "./outcomes.ts"
import {
  directly,
  givenBack,
  isTold,
  type Process,
  resultsOf,
  type Run,
  settling,
  type Told,
  within
} from "./processing.ts"
import { received } from "./received.ts"

const whyInterrupted = "its loop was interrupted"

/** A cause as the feeder is told it: which fiber interrupted another says nothing in another process. */
const why = <E>(cause: Cause.Cause<E>): string => Cause.hasInterruptsOnly(cause) ? whyInterrupted : Cause.pretty(cause)

/** What a loop is made of: what it takes, how it presents it, and what it runs for it. */
interface Loop<A, B> {
  readonly take: TakeOptions
  readonly concurrency: number
  readonly remainder: Remainder
  readonly present: (handed: ReadonlyArray<Handed<A>>) => B
  readonly processWithin: Duration.Duration | undefined
  readonly transient: boolean
}

/** Whether what was taken is a last batch that is not full, and such are not wanted. */
const isDropped = <A, B>({ remainder, take }: Loop<A, B>, handed: ReadonlyArray<Handed<A>>): boolean =>
  remainder === "drop" && take.within === undefined && Items.size(handed) < take.n && handed.at(-1)?.isCut === false

/** The elements as the consumer wants them. */
const present = <A, B>({ present, remainder, take }: Loop<A, B>, handed: ReadonlyArray<Handed<A>>): B => {
  if (remainder !== "pad" || take.within !== undefined) return present(handed)
  const missing = take.n - Items.size(handed)
  const end = handed.at(-1)
  if (missing === 0 || end === undefined) return present(handed)
  const last = end.slice(end.count - 1, end.count)
  return present([...handed, ...Array.from({ length: missing }, () => last)])
}

/** What is known of what was handed out, looked up when it is asked for. */
class BatchOf<A> implements BatchDelivery {
  readonly #handed: ReadonlyArray<Handed<A>>
  #deliveries: ReadonlyArray<Delivery> | undefined
  constructor(handed: ReadonlyArray<Handed<A>>) {
    this.#handed = handed
  }
  get size(): number {
    return Items.size(this.#handed)
  }
  get deliveries(): ReadonlyArray<Delivery> {
    return this.#deliveries ??= deliveriesOf(this.#handed)
  }
}

/** How long a loop may keep the thread to itself, in nanoseconds. */
const breath = 1_000_000n

/** A take that lasts so long has waited, most likely, and so left the thread to others. */
const wait = breath / 4n

/** It may have computed, though: it is left to them this often in any case. */
const patience = 50n * breath

const dropped: Result = { _tag: "Reject", cause: "the last batch was short, and remainders are dropped" }

const runLoop = <A, B, E, R>(
  hosted: Hosted<A>,
  loop: Loop<A, B>,
  process: Process<A, E, R>
): Effect.Effect<Consumed, E | FeedsItself, R> => {
  const counts = { done: 0, retried: 0, rejected: 0, fenced: 0, timedOut: 0 }
  const count = (result: Result, elements: number): Result => {
    if (result._tag === "Done") counts.done += elements
    else if (result._tag === "Retry") counts.retried += elements
    else counts.rejected += elements
    return result
  }
  const settle = (handed: ReadonlyArray<Handed<A>>, results: Results) =>
    Effect.map(
      hosted.settle(
        handed,
        typeof results === "function" ? (index) => count(results(index), 1) : count(results, Items.size(handed))
      ),
      (fenced) => {
        counts.fenced += fenced
      }
    )
  const interrupted = (handed: ReadonlyArray<Handed<A>>) => settle(handed, givenBack(whyInterrupted))
  const finish = (handed: ReadonlyArray<Handed<A>>, results: Results) => {
    const settled = settle(handed, results)
    // What is given back may still be used by an effect that cannot be interrupted.
    const isOver = typeof results === "function" || results._tag !== "Retry"
    return loop.transient && isOver ? Effect.map(settled, () => handed.forEach((one) => one.release())) : settled
  }
  const turn = (take: Take<A>, process: Process<A, E, R>, onTaken: () => void) =>
    Effect.uninterruptibleMask((restore) => {
      const taken = received(restore, (onTake) => take(loop.take, onTake), interrupted)
      return Effect.flatMap(taken, (handed): Effect.Effect<void, E, R> => {
        onTaken()
        if (isDropped(loop, handed)) return settle(handed, dropped)
        return Effect.flatMap(Effect.exit(process(handed, restore)), (exit) =>
          Exit.isSuccess(exit)
            ? finish(handed, exit.value)
            : Effect.andThen(settle(handed, givenBack(why(exit.cause))), Effect.failCause(exit.cause)))
      })
    })
  const worker = (take: Take<A>, process: Process<A, E, R>): Effect.Effect<void, E | FeedsItself, R> =>
    Effect.clockWith((clock) => {
      let yielded = clock.monotonicTimeNanosUnsafe()
      let since = yielded // when the loop was given the thread
      let asked = yielded
      const onTaken = () => {
        const now = clock.monotonicTimeNanosUnsafe()
        if (now - asked > wait && now - yielded < patience) since = now
      }
      // Reports, and with them the lease, are sent between turns: a consumer that computes must let them.
      const breathe = Effect.suspend(() => {
        asked = clock.monotonicTimeNanosUnsafe()
        if (asked - since < breath) return Effect.void
        return Effect.andThen(
          Effect.yieldNow,
          Effect.sync(() => {
            yielded = since = asked = clock.monotonicTimeNanosUnsafe()
          })
        )
      })
      return Effect.catchTag(
        Effect.forever(Effect.andThen(turn(take, process, onTaken), breathe), { disableYield: true }),
        "QueueEnded",
        () => Effect.void
      )
    })
  const workers = (take: Take<A>, process: Process<A, E, R>) =>
    loop.concurrency === 1
      ? worker(take, process)
      : Effect.forEach(Array.from({ length: loop.concurrency }), () => worker(take, process), {
        concurrency: "unbounded",
        discard: true
      })
  return Effect.scoped(Effect.gen(function*() {
    const take = yield* hosted.begin(loop.take.n * loop.concurrency)
    const timed = loop.processWithin === undefined ? process : yield* within(process, loop.processWithin, (count) => {
      counts.timedOut += count
    })
    yield* finishIfLeaving(hosted, workers(take, timed))
    return counts
  }))
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
      Effect.forEach(open, (handed) => hosted.settle(handed, givenBack("the stream ended")), { discard: true })
    )
    const settle = (handed: ReadonlyArray<Handed<A>>, results: Results) =>
      Effect.suspend(() => open.delete(handed) ? Effect.asVoid(hosted.settle(handed, results)) : Effect.void)
    // In the step that takes: what a stream does not live to see is given back, too.
    const take = begun(loop.take, (handed) => open.add(handed))
    const next: Effect.Effect<B2, QueueEnded | FeedsItself> = Effect.flatMap(take, (handed) => {
      if (isDropped(loop, handed)) return Effect.andThen(settle(handed, dropped), next)
      const value = present(loop, handed)
      const known = new BatchOf(handed)
      return Effect.succeed(give(value, {
        value,
        get deliveries() {
          return known.deliveries
        },
        acknowledge: settle(handed, done),
        settle: (outcome) => settle(handed, resultsOf(outcome))
      }))
    })
    return Stream.fromPull(Effect.succeed(next.pipe(
      Effect.map((value): readonly [B2] => [value]),
      Effect.catchTag("QueueEnded", () => Cause.done())
    )))
  })

/** The consumer's members of a feed. */
export const make = <Name extends string, A, Ack extends Acknowledge, Del extends DeliveryMode, B>(
  host: Context.Key<Host<Name>, Hosted<A>>,
  options: { readonly name: Name; readonly acknowledge: Ack; readonly delivery: Del },
  codec: BatchCodec<A, B>
): Members<Name, A, Ack, Del, B> => {
  const { acknowledge, delivery, name } = options
  const read = <E>(cause: Cause.Cause<E>): Told | Cause.Cause<Exclude<E, OutcomeOf<Ack>>> => {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause))
    if (acknowledge === "processed" && isTold(error)) return error
    // No outcome of a processed feed is left in it, which is all that OutcomeOf takes away.
    return cause as Cause.Cause<Exclude<E, OutcomeOf<Ack>>>
  }
  // Del decides whether they are there, and so whether they are required.
  const settlements = (delivery === "effectivelyOnce"
    ? Effect.service(Settlements)
    : Effect.succeed(undefined)) as Effect.Effect<Settlements["Service"] | undefined, never, SettlementsOf<Del>>
  const run = <V, E, R>(
    loop: Loop<A, V>,
    f: (value: V, handed: ReadonlyArray<Handed<A>>) => Effect.Effect<unknown, E, R>
  ) =>
    Effect.flatMap(Effect.service(host), (hosted) =>
      Effect.flatMap(settlements, (settlements) => {
        const each: Run<A, E, R> = (handed) => f(present(loop, handed), handed)
        return runLoop(
          hosted,
          loop,
          settlements === undefined ? directly(each, read<E>) : settling(settlements, name, each, read<E>)
        )
      }))
  const one = (handed: ReadonlyArray<Handed<A>>): A => handed[0]!.element
  const stack = (handed: ReadonlyArray<Handed<A>>): B => codec.stackChunk(Items.gather(codec, handed))
  // Ack decides which of the two a consumer is given; the branch below is that decision.
  const given = <V>(value: V, leased: Leased<V>): Given<Ack, V> =>
    (acknowledge === "processed" ? leased : value) as Given<Ack, V>
  const stream = <V>(loop: Loop<A, V>): Stream.Stream<Given<Ack, V>, FeedsItself, Host<Name>> =>
    Stream.unwrap(Effect.flatMap(Effect.service(host), (hosted) => leasedStream(hosted, loop, given<V>)))
  return {
    forEach: (f, options) =>
      Effect.suspend(() => run(loopOf(1, one, options), (element, handed) => f(element, handed[0]!.deliveryOf(0)))),
    forEachBatch: (n, f, options) =>
      Effect.suspend(() =>
        run(
          loopOf(n, stack, options),
          (batch, handed) => f(batch, new BatchOf(handed))
        )
      ),
    elements: stream(loopOf(1, one)),
    batches: (n, options) => stream(loopOf(n, stack, options))
  }
}

/** What `make` gives, as `Feed` declares it. */
export type Members<Name extends string, A, Ack extends Acknowledge, Del extends DeliveryMode, B> = {
  readonly forEach: <E, R>(
    f: (element: A, delivery: Delivery) => Effect.Effect<unknown, E, R>,
    options?: LoopOptions
  ) => Effect.Effect<Consumed, Exclude<E, OutcomeOf<Ack>> | FeedsItself, R | Host<Name> | SettlementsOf<Del>>
  readonly forEachBatch: <E, R>(
    n: number,
    f: (batch: B, delivery: BatchDelivery) => Effect.Effect<unknown, E, R>,
    options?: LoopOptions & BatchOptions
  ) => Effect.Effect<Consumed, Exclude<E, OutcomeOf<Ack>> | FeedsItself, R | Host<Name> | SettlementsOf<Del>>
  readonly elements: Stream.Stream<Given<Ack, A>, FeedsItself, Host<Name>>
  readonly batches: (
    n: number,
    options?: BatchOptions
  ) => Stream.Stream<Given<Ack, B>, FeedsItself, Host<Name>>
}

const loopOf = <A, B>(
  n: number,
  present: (handed: ReadonlyArray<Handed<A>>) => B,
  options: LoopOptions & BatchOptions = {}
): Loop<A, B> => {
  const { concurrency = 1, remainder = "emit", transient = false, within } = options
  if (!Number.isSafeInteger(n) || n < 1) throw new RangeError(`a batch has a positive number of elements, got ${n}`)
  if (!Number.isSafeInteger(concurrency) || concurrency < 1) {
    throw new RangeError(`concurrency must be a positive integer, got ${concurrency}`)
  }
  const processWithin = options.processWithin === undefined
    ? undefined
    : Duration.fromInputUnsafe(options.processWithin)
  if (processWithin !== undefined && !Duration.isGreaterThan(processWithin, Duration.zero)) {
    throw new RangeError(`processWithin must be a positive duration, got ${Duration.format(processWithin)}`)
  }
  return { take: { n, within }, concurrency, remainder, present, processWithin, transient }
}
