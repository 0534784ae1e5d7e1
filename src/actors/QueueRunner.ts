/**
 * Runs one source into a queue: pulls what the source gives, checks it, and offers it.
 *
 * What a runner has pulled and not yet seen admitted stays in its hand when it is interrupted, so that the next run
 * goes on with it. A pull is not interrupted with a run, since a source cannot take back what it was about to give: it
 * ends in the scope of the source, and what it gives is in the runner's hand when the next run begins.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ElementInvalid } from "../BatchCodec.ts"
import { CurrentFeeder } from "../Feed.ts"
import type { QueueClosed } from "../FeedQueue.ts"
import * as Spans from "../internal/spans.ts"
import type { PositionInvalid, ResumableSource } from "../ResumableSource.ts"

/**
 * Where elements come from: an effect that is run again and again and ends the source by failing with `Cause.Done`, a
 * Stream, an Iterable or an AsyncIterable. A rejection of an AsyncIterable is a `Cause.UnknownError`.
 *
 * @category models
 * @since 0.1.0
 */
export type Source<A, E = never, R = never> =
  | Effect.Effect<A, E, R>
  | Stream.Stream<A, E, R>
  | Iterable<A>
  | AsyncIterable<A>

/**
 * How a source fails.
 *
 * @category type-level
 * @since 0.1.0
 */
export type SourceError<S> = S extends ResumableSource<infer _A, infer E, infer _R> ? E
  : S extends Effect.Effect<infer _A, infer E, infer _R> ? Pull.ExcludeDone<E>
  : S extends Stream.Stream<infer _A, infer E, infer _R> ? E
  : S extends AsyncIterable<infer _A> ? Cause.UnknownError
  : never

/**
 * What a source requires.
 *
 * @category type-level
 * @since 0.1.0
 */
export type SourceServices<S> = S extends ResumableSource<infer _A, infer _E, infer R> ? R
  : S extends Effect.Effect<infer _A, infer _E, infer R> ? R
  : S extends Stream.Stream<infer _A, infer _E, infer R> ? R
  : never

/**
 * A source on its way into a queue.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueueRunner<out E> {
  readonly name: string
  /** Runs until the source ends or fails, or is interrupted; then it can run again. Not to be run twice at once. */
  readonly run: Effect.Effect<void, E | Cause.UnknownError | ElementInvalid | PositionInvalid | QueueClosed>
  readonly isDone: () => boolean
}

/**
 * Makes a runner. The source is opened at the first run, in `scope`, and closed with it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Given, A, E, R>(options: {
  readonly name: string
  readonly source: Source<Given, E, R>
  /** Elements pulled at once from an Iterable, if they are not more than fit well into the caches of a processor: 1024. */
  readonly pullSize: number
  /** The elements in what the source gives, checked. */
  readonly read: (given: Given) => Result.Result<ReadonlyArray<A>, ElementInvalid | PositionInvalid>
  /**
   * The elements in all that was pulled at once, where they can be read without regard to where one begins. `undefined`
   * when one of them is invalid; it must have changed nothing then, as `read` is asked about each to find it.
   */
  readonly readAll?: ((given: ReadonlyArray<Given>) => ReadonlyArray<A> | undefined) | undefined
  readonly offer: (elements: ReadonlyArray<A>, onAdmit: (count: number) => void) => Effect.Effect<void, QueueClosed>
  /** How what was read is counted and cut, if it may come in spans. */
  readonly spans?: Spans.Spans<A> | undefined
  readonly feeder: string
  readonly scope: Scope.Scope
  readonly context: Context.Context<R>
}): QueueRunner<E> => {
  /** Pulled and not read yet; read, of which the first `admitted` elements are in the queue. */
  let pulled: ReadonlyArray<Given> = []
  let hand: ReadonlyArray<A> = []
  let admitted = 0
  let isDone = false
  let opened: Chunks<Given, E, R> | undefined
  /** The fiber that works, and, after a run was interrupted, may still pull. */
  let worker: Fiber.Fiber<void, E | Cause.UnknownError | ElementInvalid | PositionInvalid | QueueClosed> | undefined
  let isPulling = false
  let isPaused = false

  const open = Effect.suspend(() =>
    opened !== undefined
      ? Effect.succeed(opened)
      : Effect.map(toPull(options.source, options.pullSize), (pull) => opened = pull)
  ).pipe(Scope.provide(options.scope))

  const offerHand = (): Effect.Effect<void, QueueClosed> => {
    const count = Spans.size(options.spans, hand)
    const rest = admitted === 0 ? hand : Spans.slice(options.spans, hand, admitted, count)
    return options.offer(rest, (more) => {
      admitted += more
      if (admitted < count) return
      hand = []
      admitted = 0
    })
  }

  /** Reads what was pulled, up to an invalid element: the ones before it are fed first, the ones after it next time. */
  const readPulled = (): Result.Result<void, ElementInvalid | PositionInvalid> => {
    const all = options.readAll?.(pulled)
    if (all !== undefined) {
      pulled = []
      hand = all
      return Result.void
    }
    const parts: Array<ReadonlyArray<A>> = []
    const elements = () => parts.length === 1 ? parts[0]! : parts.flat()
    for (let i = 0; i < pulled.length; i++) {
      const read = options.read(pulled[i]!)
      if (Result.isFailure(read)) {
        if (parts.every((part) => part.length === 0)) {
          pulled = pulled.slice(i + 1)
          return Result.fail(read.failure)
        }
        pulled = pulled.slice(i)
        hand = elements()
        return Result.void
      }
      parts.push(read.success)
    }
    pulled = []
    hand = elements()
    return Result.void
  }

  const pullNext = (pull: Chunks<Given, E, R>) => {
    isPulling = true
    return Effect.map(pull, (given) => {
      pulled = given
    })
  }

  const work = Effect.flatMap(open, (pull) =>
    Effect.forever(
      Effect.suspend((): Effect.Effect<
        void,
        E | Cause.Done<unknown> | Cause.UnknownError | ElementInvalid | PositionInvalid | QueueClosed,
        R
      > => {
        isPulling = false
        if (isPaused) {
          worker = undefined
          return Effect.interrupt
        }
        if (hand.length === 0 && pulled.length > 0) {
          const read = readPulled()
          if (Result.isFailure(read)) return Effect.fail(read.failure)
        }
        return hand.length > 0 ? offerHand() : pullNext(pull)
      }),
      { disableYield: true }
    )).pipe(
      Pull.catchDone(() =>
        Effect.sync(() => {
          isDone = true
        })
      ),
      Effect.provideService(CurrentFeeder, options.feeder),
      Effect.provideContext(options.context)
    )

  const start = Effect.suspend(() => {
    isPaused = false
    // Opening a source is a pull too.
    if (worker === undefined) isPulling = true
    return worker === undefined ? Effect.forkIn(work, options.scope) : Effect.succeed(worker)
  })

  const pause = Effect.suspend(() => {
    isPaused = true
    if (isPulling || worker === undefined) return Effect.void
    const interrupted = worker
    worker = undefined
    return Fiber.interrupt(interrupted)
  })

  const run = Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(start, (fiber) => {
      worker = fiber
      return restore(Fiber.join(fiber)).pipe(Effect.onExit(() => {
        if (fiber.pollUnsafe() === undefined) return pause
        worker = undefined
        return Effect.void
      }))
    })
  )

  return { name: options.name, run, isDone: () => isDone }
}

/** What a source gives, until it fails with `Cause.Done`. */
type Chunks<A, E, R> = Effect.Effect<ReadonlyArray<A>, E | Cause.UnknownError | Cause.Done<unknown>, R>

const mostPulled = 1024

const toPull = <A, E, R>(
  source: Source<A, E, R>,
  pullSize: number
): Effect.Effect<Chunks<A, E, R>, never, R | Scope.Scope> => {
  if (Effect.isEffect(source)) return Effect.succeed(Effect.map(source, (element) => [element]))
  if (Stream.isStream(source)) return Stream.toPull(source)
  if (Predicate.hasProperty(source, Symbol.asyncIterator)) {
    return Stream.toPull(
      Stream.fromAsyncIterable(source, (cause) => new Cause.UnknownError(cause, "the source's iterator failed"))
    )
  }
  return Effect.gen(function*() {
    const iterator = source[Symbol.iterator]()
    const size = Math.min(pullSize, mostPulled)
    let end: Effect.Effect<never, Cause.Done> | undefined
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        if (end === undefined) iterator.return?.()
      })
    )
    return Effect.suspend((): Effect.Effect<ReadonlyArray<A>, Cause.Done> => {
      const elements: Array<A> = []
      // What it gave before it threw is fed first.
      try {
        while (end === undefined && elements.length < size) {
          const next = iterator.next()
          if (next.done === true) end = Cause.done()
          else elements.push(next.value)
        }
      } catch (defect) {
        end = Effect.die(defect)
      }
      return end === undefined || elements.length > 0 ? Effect.succeed(elements) : end
    })
  })
}
