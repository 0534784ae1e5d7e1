/**
 * The gentle end of a run: nothing more is fed, what is out is waited for, then the run is stopped.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Ledger from "../Ledger.ts"
import type { Books } from "./feederBooks.ts"

/**
 * What became of the elements that were queued or out when a drain began. The three add up to their number.
 *
 * @category models
 * @since 0.1.0
 */
export interface Drained {
  /** Acknowledged as declared meanwhile, become dead letters, or taken in the feeder's own process. */
  readonly acknowledged: number
  /** In the feeder's hands: queued, given back or waiting to be fed again. The next run feeds them. */
  readonly returned: number
  /** Still out when the deadline came, or the run was stopped: whether they were processed is in doubt. */
  readonly abandoned: number
}

/** What has left the queue and the devices for good. */
const settled = ({ dead, delivered, dropped, held, heldByDead }: Ledger.Ledger): number =>
  delivered + held + heldByDead + dead + dropped

/** Drains the run that goes on: see the module. `isOver` knows of the present run, also later, whether it has ended. */
export const drain = <A>(options: {
  readonly books: Books<A>
  readonly isFinished: () => boolean
  readonly isOver: () => boolean
  readonly within: Duration.Input
}): Effect.Effect<Drained> =>
  Effect.suspend(() => {
    const { books, isFinished, isOver } = options
    const { run } = books
    const settledBefore = settled(books.ledger())
    const account = (): Drained => {
      const ledger = books.ledger()
      return { acknowledged: settled(ledger) - settledBefore, returned: ledger.queued, abandoned: ledger.leased }
    }
    /** Nothing is out, and what was refused is written down. */
    const isSettled = () => books.isAllAcknowledged() && books.box.pending() === 0
    if (run === undefined) return Effect.sync(account)
    // In one step: nothing is admitted or sent any more.
    books.isDraining = true
    for (const fiber of run.runners.values()) fiber.interruptUnsafe()
    const stop = run.outer.requestStop()
    return Effect.scoped(Effect.gen(function*() {
      const changed = yield* books.watch
      let isLate = false
      // A fiber of its own, because a drain in a finalizer cannot be timed out.
      const timer = yield* Effect.forkChild(Effect.andThen(
        Effect.sleep(Duration.fromInputUnsafe(options.within)),
        Effect.sync(() => {
          isLate = true
          changed.openUnsafe()
        })
      ))
      while (true) {
        yield* changed.await
        changed.closeUnsafe()
        // A feed of which all is acknowledged is ending, and its consumers are to hear of it.
        if (isLate || books.run !== run || (isSettled() && !isFinished())) break
        for (const { feed } of books.remotes.values()) feed.flushUnsafe()
      }
      yield* Fiber.interrupt(timer)
      yield* stop
      const drained = account()
      yield* books.until(isOver)
      return drained
    })).pipe(Effect.onInterrupt(() => stop))
  })
