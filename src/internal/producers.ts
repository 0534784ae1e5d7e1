/**
 * Elements that are given to a feeder one by one, from wherever they come, instead of by a source.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { QueueRunner } from "../actors/QueueRunner.ts"
import type { ElementInvalid } from "../BatchCodec.ts"
import { Reason } from "../DeadLetters.ts"
import { QueueClosed } from "../FeedQueue.ts"
import type { Books, Slot } from "./feederBooks.ts"
import type { Origin } from "./items.ts"
import type { Admit } from "./overflow.ts"

const TypeId = "~effect-feeder/actors/Feeder"

/**
 * A pushed element was not acknowledged, and will not be. It became a dead letter for this `reason`, after so many
 * `attempts`; or the feeder was closed before it was: then its `reason` is `feeder closed`, and whether a consumer has it
 * is not known.
 *
 * @category errors
 * @since 0.1.0
 */
export class Undelivered extends Schema.TaggedError<Undelivered>(`${TypeId}/Undelivered`)("Undelivered", {
  feed: Schema.String,
  feeder: Schema.String,
  reason: Schema.Union([Reason, Schema.Literal("feeder closed")]),
  attempts: Schema.Natural,
  /** Why it came back last, if it did. */
  cause: Schema.optionalKey(Schema.String)
}) {
  override get message(): string {
    const what = `an element pushed to feeder ${this.feeder} of feed "${this.feed}"`
    if (this.reason === "feeder closed") {
      return `${what} was not acknowledged when the feeder's scope was closed; keep that open until it is`
    }
    const cause = this.cause === undefined ? "" : `: ${this.cause}`
    return `${what} is a dead letter (${this.reason}, given ${this.attempts} times)${cause}; see feeder.deadLetters`
  }
}

/**
 * Gives elements to a feeder one by one. Each of its members fails with `ElementInvalid` when an element does not pass the
 * feed's Schema, which concerns nobody else, and with `QueueClosed` once the producer's or the feeder's scope is closed, or
 * the feed has ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface Producer<in A> {
  /** Completes when the feeder has the element: its local queue has room. Interrupted before that, it gave nothing. */
  readonly offer: (element: A) => Effect.Effect<void, ElementInvalid | QueueClosed>
  /** The same for several, in order. If one of them is invalid, none is given; interrupted, the first may be. */
  readonly offerAll: (elements: ReadonlyArray<A>) => Effect.Effect<void, ElementInvalid | QueueClosed>
  /**
   * Completes when the element is acknowledged as declared. Fails with `Undelivered` when it never will be. Interrupted
   * after it was admitted it goes on without who pushed it.
   */
  readonly push: (element: A) => Effect.Effect<void, ElementInvalid | QueueClosed | Undelivered>
}

/** The producers of a feeder. */
export interface Producers<in A> {
  /** A producer, until the scope is closed. As long as it is open the feed does not end. */
  readonly open: Effect.Effect<Producer<A>, never, Scope.Scope>
  /** No more is acknowledged: who waits for that is told. */
  readonly closeUnsafe: () => void
}

/** The producers of a new feeder. */
export const make = <A>(options: {
  readonly feed: string
  readonly feeder: string
  readonly books: Pick<Books<A>, "afterUnsafe" | "changedSoonUnsafe">
  /** Among these it keeps the feed from ending. */
  readonly runners: Array<QueueRunner<unknown>>
  readonly read: {
    readonly element: (element: A) => Result.Result<ReadonlyArray<Slot<A>>, ElementInvalid>
    readonly elements: (elements: ReadonlyArray<A>) => ReadonlyArray<Slot<A>> | undefined
  }
  readonly admit: Admit<A>
  /** Runs it in the run that goes on, if one does. */
  readonly join: (runner: QueueRunner<unknown>) => Effect.Effect<void>
}): Producers<A> => {
  const { admit, books, feed, feeder, read, runners } = options
  const waiting = new Set<Deferred.Deferred<void, Undelivered>>()

  const undelivered = (
    reason: Undelivered["reason"],
    attempts: number,
    causes: ReadonlyArray<string>
  ): Exit.Exit<never, Undelivered> => {
    const cause = causes.at(-1)
    return Exit.fail(
      new Undelivered({ feed, feeder, reason, attempts, ...(cause === undefined ? {} : { cause }) })
    )
  }

  /** A slot that tells what became of it once the books are in order. */
  const followed = (slot: Slot<A>, pushed: Deferred.Deferred<void, Undelivered>): Slot<A> => {
    const { attempt, chunk, element, index, ordinal } = slot
    const settledUnsafe: Origin["settledUnsafe"] = (letter) => {
      const exit = letter === undefined ? Exit.void : undelivered(letter.reason, letter.attempts, letter.causes)
      books.afterUnsafe(() => Deferred.doneUnsafe(pushed, exit))
    }
    return { ordinal, attempt, element, chunk, index, origin: { settledUnsafe } }
  }

  const readAll = (elements: ReadonlyArray<A>): Result.Result<ReadonlyArray<Slot<A>>, ElementInvalid> => {
    const all = read.elements(elements)
    return all === undefined
      ? Result.map(Result.all(elements.map(read.element)), (each) => each.flat())
      : Result.succeed(all)
  }

  const admitAll = (slots: ReadonlyArray<Slot<A>>) => admit(slots, books.changedSoonUnsafe)

  const open = Effect.acquireRelease(
    Effect.suspend(() => {
      const closed = Latch.makeUnsafe(false)
      const runner: QueueRunner<never> = { name: "a producer", run: closed.await, isDone: () => closed.isOpen() }
      runners.push(runner)
      const give = <E>(
        slots: () => Result.Result<ReadonlyArray<Slot<A>>, ElementInvalid>,
        use: (slots: ReadonlyArray<Slot<A>>) => Effect.Effect<void, E>
      ): Effect.Effect<void, E | ElementInvalid | QueueClosed> =>
        Effect.suspend((): Effect.Effect<void, E | ElementInvalid | QueueClosed> => {
          if (closed.isOpen()) return Effect.fail(new QueueClosed({ queue: feed }))
          const read = slots()
          return Result.isFailure(read) ? Effect.fail(read.failure) : use(read.success)
        })
      const producer: Producer<A> = {
        offer: (element) => give(() => read.element(element), admitAll),
        offerAll: (elements) => give(() => readAll(elements), admitAll),
        push: (element) =>
          give(() => read.element(element), (slots) => {
            const pushed = Deferred.makeUnsafe<void, Undelivered>()
            waiting.add(pushed)
            return Effect.andThen(
              admitAll(slots.map((slot) => followed(slot, pushed))),
              Deferred.await(pushed)
            ).pipe(Effect.ensuring(Effect.sync(() => waiting.delete(pushed))))
          })
      }
      const close = Effect.suspend(() => {
        runners.splice(runners.indexOf(runner), 1)
        return closed.open
      })
      return Effect.as(options.join(runner), { producer, close })
    }),
    ({ close }) => close
  ).pipe(Effect.map(({ producer }) => producer))

  return {
    open,
    closeUnsafe: () => {
      for (const pushed of waiting) Deferred.doneUnsafe(pushed, undelivered("feeder closed", 0, []))
    }
  }
}
