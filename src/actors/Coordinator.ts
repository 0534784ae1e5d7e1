/**
 * A supervised scope of fibers that stop together.
 *
 * The first failure under a coordinator, or the first request, stops everything under it at once: every fiber is
 * interrupted before the request returns, and so is every fiber of its children, the coordinators linked below it.
 * Who joins learns the recorded failure, or else the names of the fibers that did not end in time.
 *
 * Two things make the order of events certain. A stop is marked on the whole tree before anything is interrupted, so
 * a failure that the stop provokes somewhere in the tree cannot be taken for its reason. And a fiber's exit is seen
 * in the step in which it ends, so there is no moment in which a failure has happened and its siblings are not yet
 * interrupted.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import type * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

const TypeId = "~effect-feeder/actors/Coordinator"

/**
 * Fibers did not end within the grace period after a clean stop. They go on in the background, and nobody waits for
 * them any more.
 *
 * @category errors
 * @since 0.1.0
 */
export class StragglersLeft extends Schema.Error<StragglersLeft>(`${TypeId}/StragglersLeft`)({
  _tag: Schema.tag("StragglersLeft"),
  coordinator: Schema.String,
  names: Schema.Array(Schema.String)
}) {
  override get message(): string {
    const fibers = this.names.length === 1 ? "1 fiber" : `${this.names.length} fibers`
    return `coordinator ${this.coordinator} stopped, but ${fibers} did not end in time and went on in the background: ` +
      `${this.names.join(", ")}; shorten what they do when interrupted, or give a longer gracePeriod`
  }
}

/**
 * A failure that came after the first stop and so is not the coordinator's own.
 *
 * @category models
 * @since 0.1.0
 */
export interface LateFailure<out E> {
  readonly fiber: string
  readonly cause: Cause.Cause<E>
}

/**
 * Options of a coordinator.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The name in errors and logs. */
  readonly name: string
  /** How long to wait for interrupted fibers, in `join` and when the scope closes. Default: 30 seconds. */
  readonly gracePeriod?: Duration.Input | undefined
}

/**
 * A supervised scope of fibers that stop together.
 *
 * **Gotchas**
 *
 * A fiber under a coordinator must not join it, nor close the scope it was made in: it would wait for itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface Coordinator<in out E = never> {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  /**
   * Runs an effect as a fiber under the coordinator, from the next scheduler turn on.
   *
   * Its failure or defect requests a stop with that cause. Its success does not stop the coordinator, and neither
   * does its interruption alone. When the coordinator is stopping, the effect does not run and the fiber is handed
   * back interrupted.
   */
  readonly fork: <A, E1 extends E, R>(
    name: string,
    effect: Effect.Effect<A, E1, R>
  ) => Effect.Effect<Fiber.Fiber<A, E1>, never, R>
  /**
   * Stops everything under the coordinator, for the given cause or cleanly, and says whether this was the first stop.
   *
   * Every fiber has been interrupted when it returns; their finalizers may still run. Later stops change nothing,
   * also when the first one was clean. A cause of interruptions only is a clean stop.
   */
  readonly requestStop: (cause?: Cause.Cause<E>) => Effect.Effect<boolean>
  /** Waits for the first stop: the cause it was requested with, or none if it was clean. */
  readonly awaitStop: Effect.Effect<Option.Option<Cause.Cause<E>>>
  /** Whether a stop was requested. Once true, it stays so. */
  readonly isStopping: Effect.Effect<boolean>
  /**
   * Waits until no fiber is left or a stop is requested. A stop leaves the fibers `gracePeriod` to end, counted from
   * when the join has noticed it.
   *
   * Then it fails with the recorded failure, its whole cause; else with `StragglersLeft`, if fibers are left. Once
   * stopped, every join gives the same answer, and the first whose grace period ends decides it for all. A join that
   * finds no fiber and no stop leaves the coordinator as it is.
   */
  readonly join: (options?: {
    readonly gracePeriod?: Duration.Input | undefined
  }) => Effect.Effect<void, E | StragglersLeft>
  /** The names of the fibers that have not ended, stragglers included. */
  readonly running: Effect.Effect<ReadonlyArray<string>>
  /** The failures of fibers after the first stop. They are also logged, at debug level. */
  readonly lateFailures: Effect.Effect<ReadonlyArray<LateFailure<E>>>
  /**
   * Makes a coordinator that is linked below this one: stopping this one stops the child at once, with this one's
   * cause. A stop or a failure of the child does not stop this one, and `join` does not wait for the child's fibers.
   */
  readonly child: <E2 = never>(options: Options) => Effect.Effect<Coordinator<E | E2>, never, Scope.Scope>
}

/**
 * Makes a coordinator. Closing the scope stops it and waits for its fibers, at most for `gracePeriod`.
 *
 * **Gotchas**
 *
 * Closing the scope cannot fail. Fibers that are left then are named in a warning, and so is a failure that nobody
 * has learned from `join` or `awaitStop`.
 *
 * **Example** (The first failure stops the rest)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { Coordinator } from "effect-feeder"
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const coordinator = yield* Coordinator.make<string>({ name: "doc", gracePeriod: "5 seconds" })
 *   const idle = yield* coordinator.fork("idle", Effect.never)
 *   yield* coordinator.fork("reader", Effect.fail("disk full"))
 *   const error = yield* Effect.flip(coordinator.join())
 *   return [error, idle.pollUnsafe()?._tag]
 * }))
 *
 * await Effect.runPromise(program) // => ["disk full", "Failure"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E = never>(options: Options): Effect.Effect<Coordinator<E>, never, Scope.Scope> =>
  open<E>(options, () => ({ stop: undefined, unlink: () => {} }))

// -----------------------------------------------------------------------------
// internals
// -----------------------------------------------------------------------------

type Stop<E> = Option.Option<Cause.Cause<E>>

/** What a parent knows of a child: the three steps of a stop, each taken by the whole tree before the next. */
interface Branch<in E> {
  readonly mark: (stop: Stop<E>, tree: Array<Branch<never>>) => void
  readonly interrupt: () => void
  readonly announce: () => void
}

/** What a child knows of its parent. */
interface Link<out E> {
  readonly stop: Stop<E> | undefined
  readonly unlink: () => void
}

/** A scheduler's turn of who forks: a fiber that waits for what is outside needs no turns of its own. */
const nextTurn = (dispatcher: Scheduler.SchedulerDispatcher): Effect.Effect<void> =>
  Effect.callback((resume) => dispatcher.scheduleTask(() => resume(Effect.void), 0))

const open = <E>(
  options: Options,
  link: (branch: Branch<E>) => Link<E>
): Effect.Effect<Coordinator<E>, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.map(Effect.context<never>(), (context) => makeUnsafe(options, link, context)),
    ({ close }) => close
  ).pipe(Effect.map(({ coordinator }) => coordinator))

const makeUnsafe = <E>(
  { gracePeriod: grace = "30 seconds", name }: Options,
  link: (branch: Branch<E>) => Link<E>,
  context: Context.Context<never>
): { readonly coordinator: Coordinator<E>; readonly close: Effect.Effect<void> } => {
  const gracePeriod = Duration.fromInputUnsafe(grace)
  const fibers = new Map<Fiber.Fiber<unknown, unknown>, string>()
  const children = new Set<Branch<E>>()
  const late: Array<LateFailure<E>> = []
  const resting = Latch.makeUnsafe(true) // open while no fiber runs, and for good once stopped
  const stopped = Deferred.makeUnsafe<Stop<E>>()
  const answer = Deferred.makeUnsafe<void, E | StragglersLeft>()
  let stop: Stop<E> | undefined
  let unheard = false // a fiber's failure stopped this coordinator and nobody has learned of it

  const log = (entry: Effect.Effect<void>) =>
    Effect.runForkWith(context)(Effect.annotateLogs(entry, { coordinator: name }))

  const settle = () => {
    const names = Array.from(fibers.values())
    const failed = stop !== undefined && Option.isSome(stop) ? stop.value : undefined
    const outcome: Exit.Exit<void, E | StragglersLeft> = failed !== undefined
      ? Exit.failCause(failed)
      : names.length > 0
      ? Exit.fail(new StragglersLeft({ coordinator: name, names }))
      : Exit.void
    if (Deferred.doneUnsafe(answer, outcome) && names.length > 0) {
      log(Effect.logWarning(`fibers did not end in time and went on in the background: ${names.join(", ")}`))
    }
  }

  const rest = () => {
    if (fibers.size > 0) return
    if (stop === undefined) resting.openUnsafe()
    else settle()
  }

  const branch: Branch<E> = {
    mark(why, tree) {
      if (stop !== undefined) return
      stop = why
      tree.push(branch)
      for (const child of children) child.mark(why, tree)
      children.clear()
    },
    interrupt() {
      for (const fiber of fibers.keys()) fiber.interruptUnsafe()
    },
    announce() {
      unlink()
      Deferred.doneUnsafe(stopped, Effect.succeed(stop!))
      resting.openUnsafe()
      rest()
    }
  }

  const halt = (why: Stop<E>): boolean => {
    if (stop !== undefined) return false
    const tree: Array<Branch<never>> = []
    branch.mark(why, tree)
    for (const each of tree) each.interrupt()
    for (const each of tree) each.announce()
    return true
  }

  const ended = (fiber: Fiber.Fiber<unknown, unknown>, fiberName: string, exit: Exit.Exit<unknown, E>) => {
    fibers.delete(fiber)
    if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) {
      unheard ||= stop === undefined
      if (!halt(Option.some(exit.cause))) {
        late.push({ fiber: fiberName, cause: exit.cause })
        log(Effect.logDebug(`fiber ${fiberName} failed after the stop`, exit.cause))
      }
    }
    rest()
  }

  /** Here, since it is kept as long as the fiber runs, and would keep with it what that was made of. */
  const observe = (fiber: Fiber.Fiber<unknown, E>, fiberName: string) => {
    fiber.addObserver((exit) => ended(fiber, fiberName, exit))
  }

  const settled = Effect.fnUntraced(function*(period: Duration.Duration) {
    yield* resting.await
    if (stop === undefined) return
    if (Deferred.isDoneUnsafe(answer)) return yield* Deferred.await(answer)
    // a fiber of its own, because a finalizer of a scope waits uninterruptibly
    const timer = yield* Effect.forkChild(Effect.andThen(Effect.sleep(period), Effect.sync(settle)))
    return yield* Effect.ensuring(Deferred.await(answer), Fiber.interrupt(timer))
  })

  const heard = Effect.sync(() => {
    unheard = false
  })

  const coordinator: Coordinator<E> = {
    [TypeId]: TypeId,
    name,
    fork: (fiberName, effect) =>
      Effect.contextWith((services) =>
        Effect.withFiber(({ currentDispatcher: dispatcher }) => {
          if (stop !== undefined) return Effect.forkDetach(Effect.interrupt, { startImmediately: true })
          // One step from start to registration: no stop can come in between and miss the fiber.
          const fiber = Effect.runForkWith(services)(Effect.flatMap(nextTurn(dispatcher), () => effect))
          fibers.set(fiber, fiberName)
          resting.closeUnsafe()
          observe(fiber, fiberName)
          return Effect.succeed(fiber)
        })
      ),
    requestStop: (cause = Cause.empty) =>
      Effect.suspend(() => {
        const clean = cause.reasons.every(Cause.isInterruptReason)
        if (halt(clean ? Option.none() : Option.some(cause))) return Effect.succeed(true)
        if (clean) return Effect.succeed(false)
        return Effect.as(Effect.logDebug(`coordinator ${name} was asked again to stop`, cause), false)
      }),
    awaitStop: Effect.tap(Deferred.await(stopped), heard),
    isStopping: Effect.sync(() => stop !== undefined),
    join: (options) =>
      Effect.suspend(() =>
        settled(
          options?.gracePeriod === undefined ? gracePeriod : Duration.fromInputUnsafe(options.gracePeriod)
        )
      ).pipe(Effect.tapCause(() => heard)),
    running: Effect.sync(() => Array.from(fibers.values())),
    lateFailures: Effect.sync(() => late.slice()),
    child: <E2 = never>(options: Options) =>
      open<E | E2>(options, (child) => {
        if (stop === undefined) children.add(child)
        return { stop, unlink: () => children.delete(child) }
      })
  }

  const close = Effect.suspend(() => {
    halt(Option.none())
    return Effect.exit(settled(gracePeriod))
  }).pipe(Effect.flatMap((exit) =>
    unheard && Exit.isFailure(exit)
      ? Effect.logWarning(`coordinator ${name} stopped on a failure that nobody joined`, exit.cause)
      : Effect.void
  ))

  const { stop: inherited, unlink } = link(branch)
  if (inherited !== undefined) halt(inherited)
  return { coordinator, close }
}
