/**
 * The runs of a feeder, one after the other: what supervises its sources and remote feeds, and knows the end.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Coordinator from "../actors/Coordinator.ts"
import type * as QueueRunner from "../actors/QueueRunner.ts"
import type { Tolerator } from "../actors/RemoteFeed.ts"
import { ElementInvalid } from "../BatchCodec.ts"
import type * as Ledger from "../Ledger.ts"
import { PositionInvalid } from "../ResumableSource.ts"
import type { Books, Run } from "./feederBooks.ts"
import type { Devices } from "./feederDevices.ts"
import * as Drain from "./feederDrain.ts"
import type { FeedError } from "./feedError.ts"
import { NoDeviceLeft, NotRunnable } from "./feedError.ts"
import * as Restarts from "./restarts.ts"
import * as Ticks from "./ticks.ts"

/** The runs: see the module. What a source fails with is `unknown` in here. */
export interface Runs {
  readonly run: Effect.Effect<Ledger.Ledger, unknown>
  readonly stop: Effect.Effect<void>
  /** Stops a run gently: see `Drain`. */
  readonly drain: (within: Duration.Input) => Effect.Effect<Drain.Drained>
  /** Waits until a run has fed anything, or the feed has ended; fails with the run. */
  readonly feeding: Effect.Effect<void, unknown>
  /** Runs a source that was added meanwhile, if a run goes on; else the next one does. */
  readonly join: (runner: QueueRunner.QueueRunner<unknown>) => Effect.Effect<void>
  /** No run comes any more: interrupts who waits for the feeding. */
  readonly close: Effect.Effect<void>
}

const isInvalid = (failure: unknown): failure is ElementInvalid | PositionInvalid =>
  failure instanceof ElementInvalid || failure instanceof PositionInvalid

/** The runs of a new feeder. */
export const make = <A>(options: {
  readonly feeder: string
  readonly books: Books<A>
  readonly devices: Devices
  readonly runners: ReadonlyArray<QueueRunner.QueueRunner<unknown>>
  readonly tolerate: Tolerator
  readonly isTogether: boolean
  readonly gracePeriod: Duration.Input
  readonly leaseMillis: number
  /** What is done when a run is over, however it ended. */
  readonly onEnd: Effect.Effect<void>
}): Runs => {
  const { books, devices, feeder, gracePeriod, runners } = options
  const { changedUnsafe, error, queue, remotes } = books
  /** A run has begun, or begins; and is to stop as soon as it can. */
  let isClaimed = false
  let claims = 0
  let isStopAsked = false
  /** How the feeding ended, or this run if it failed. */
  let over = Deferred.makeUnsafe<void, unknown>()

  /** Also what is taken of a feeder that does not run was fed. */
  const fed = books.until(books.hasFed)

  const areSourcesDone = () => runners.every((runner) => runner.isDone())
  const isAllOut = () => areSourcesDone() && books.isAllOut()
  const isFinished = () => isAllOut() && books.isAllAcknowledged()

  const hasFailed = (): boolean => {
    for (const { failed } of remotes.values()) if (failed !== undefined) return true
    return false
  }

  /** Watches over a run: says when the feeding has begun, drains when all is acknowledged, and knows the end. */
  const monitor: Effect.Effect<void, FeedError> = Effect.scoped(Effect.gen(function*() {
    const changed = yield* books.watch
    while (true) {
      yield* changed.await
      changed.closeUnsafe()
      if (books.fatal !== undefined) return yield* books.fatal
      // Most changes are none to look at every device for.
      const isOut = isAllOut()
      if (!isOut && !hasFailed()) continue
      const all = [...remotes.values()]
      const isFed = isOut && books.isAllAcknowledged()
      if (isOut) { for (const { feed } of all) feed.flushUnsafe() }
      if (isFed) { for (const { feed } of all) feed.drainUnsafe() }
      const failed = all.flatMap((remote) => remote.failed ?? [])
      // With nothing left to feed it is no failure that the devices are gone, unless none of them ever fitted.
      const isUnfit = failed.every(({ cause }) => cause._tag === "FeedRefused")
      if (failed.length > 0 && failed.length === all.length && (!isFed || isUnfit)) {
        // When one failure is enough, it is the reason, even if it came to be known only while this looked around.
        return yield* books.fatal ?? error(new NoDeviceLeft({ devices: failed }))
      }
      if (isFed && all.every(({ failed, feed }) => failed !== undefined || feed.state().phase === "Ended")) {
        books.hasEnded = true
        // The source that ended last closes it too, unless it is stopped before it gets there.
        queue.closeNowUnsafe()
        return
      }
    }
  }))

  // The last source that ends closes the queue.
  const closeIfDone = Effect.suspend(() => areSourcesDone() ? Effect.ignore(queue.close()) : Effect.void)

  /** Runs a source in a run, unless it does already. */
  const start = ({ outer, runners }: Run, runner: QueueRunner.QueueRunner<unknown>): Effect.Effect<void> => {
    const source = runner.run.pipe(
      Effect.catchIf(isInvalid, (invalid) => Effect.fail(error(invalid))),
      Effect.andThen(closeIfDone),
      Effect.andThen(Effect.sync(changedUnsafe)),
      Effect.ensuring(Effect.sync(() => runners.delete(runner)))
    )
    return Effect.suspend(() => {
      if (runners.has(runner) || books.isDraining) return Effect.void
      return Effect.map(outer.fork(runner.name, source), (fiber) => {
        runners.set(runner, fiber)
      })
    })
  }

  const runOnce: Effect.Effect<Ledger.Ledger, unknown> = Effect.scoped(Effect.gen(function*() {
    const ticks = yield* Ticks.make({ interval: options.leaseMillis / 4, now: books.owner.now })
    const outer = yield* Coordinator.make<unknown>({ name: `feeder ${feeder}`, gracePeriod })
    const links = yield* outer.child<unknown>({ name: `links of feeder ${feeder}`, gracePeriod })
    const restarts = options.isTogether ? Restarts.make(options.tolerate) : undefined
    books.fatal = undefined
    if (Deferred.isDoneUnsafe(over)) over = Deferred.makeUnsafe()
    const run = yield* Effect.acquireRelease(
      Effect.sync((): Run => books.run = { outer, links, shared: { restarts, ticks }, runners: new Map() }),
      () =>
        Effect.sync(() => {
          books.run = undefined
          changedUnsafe()
        })
    )
    yield* outer.fork("monitor", monitor)
    if (isStopAsked) yield* outer.requestStop()
    yield* devices.start
    for (const runner of runners) yield* start(run, runner)
    yield* closeIfDone
    yield* outer.join({ gracePeriod })
    yield* links.join({ gracePeriod })
    // What was fed again and is acknowledged is a dead letter no more.
    yield* Effect.timeoutOption(books.box.flushed, gracePeriod)
    return books.ledger()
  })).pipe(
    Effect.catchIf((failure) => failure instanceof Coordinator.StragglersLeft, (left) => Effect.fail(error(left))),
    Effect.onExit((exit) => {
      if (Exit.isFailure(exit)) {
        // An interruption is a stop, and another run may come.
        return Cause.hasInterruptsOnly(exit.cause) ? Effect.void : Deferred.failCause(over, exit.cause)
      }
      return books.hasEnded ? Deferred.succeed(over, undefined) : Effect.void
    })
  )

  const claim = Effect.suspend(() => {
    if (isClaimed) return Effect.fail(error(new NotRunnable({ why: "running" })))
    if (books.hasEnded) return Effect.fail(error(new NotRunnable({ why: "ended" })))
    isClaimed = true
    claims++
    isStopAsked = false
    books.isDraining = false
    return Effect.void
  })

  return {
    run: Effect.acquireUseRelease(claim, () => runOnce, () =>
      Effect.andThen(
        options.onEnd,
        Effect.sync(() => {
          isClaimed = false
          changedUnsafe()
        })
      )),
    stop: Effect.suspend(() => {
      isStopAsked = true
      return books.run === undefined ? Effect.void : Effect.asVoid(books.run.outer.requestStop())
    }),
    drain: (within) =>
      Effect.suspend(() => {
        // One that has not begun has nothing to wait for.
        if (books.run === undefined) isStopAsked = true
        const claim = claims
        return Drain.drain({ books, within, isFinished, isOver: () => !isClaimed || claims !== claim })
      }),
    feeding: Effect.suspend(() => books.hasFed() ? Effect.void : Effect.raceFirst(Deferred.await(over), fed)),
    join: (runner) => Effect.suspend(() => books.run === undefined ? Effect.void : start(books.run, runner)),
    close: Effect.suspend(() => Deferred.interrupt(over))
  }
}
