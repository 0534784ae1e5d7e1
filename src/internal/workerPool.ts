/**
 * One place for a worker: it is started, looked after, started again when it ends, and ended with the scope.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { fileURLToPath } from "node:url"
import { DeviceLost, FeedRefused } from "../RemoteDevices.ts"
import { WorkerEnded } from "./workerErrors.ts"
import type { Start, Started } from "./workerStart.ts"
import { start } from "./workerStart.ts"
import type { Pipe } from "./workerWire.ts"
import { FromWorker } from "./workerWire.ts"

/** How a worker is looked after. */
export interface Care {
  readonly restart: Schedule.Schedule<unknown, DeviceLost>
  readonly unresponsiveAfter: Duration.Duration
  readonly startWithin: Duration.Duration
  readonly gracePeriod: Duration.Duration
}

/** What a place says of itself. */
export interface PlaceStatus {
  readonly device: string
  /** `idle`: its feeds have ended, and it is started when it is needed again. `failed`: it is not started again. */
  readonly state: "starting" | "running" | "waiting" | "idle" | "failed"
  /** What it runs as, such as `thread 3` or `process 4711`. */
  readonly ran: string | undefined
  /** How often it was started. */
  readonly starts: number
  /** How it last ended before its feed had. */
  readonly last: WorkerEnded | undefined
}

/** A link to a worker. */
export interface WorkerLink {
  readonly pipe: Pipe
  /** Why the link has ended: waits a little for the end of a worker whose wire is closed, to know that it is gone. */
  readonly lost: Effect.Effect<DeviceLost>
}

/** A place: see the module. */
export interface Place {
  /** Lives of workers, one after the other, until it is interrupted or there is to be none. */
  readonly run: Effect.Effect<void>
  readonly status: () => PlaceStatus
  /** A link to its worker, which may still have to start. */
  readonly open: Effect.Effect<WorkerLink, DeviceLost | FeedRefused, Scope.Scope>
}

/** One life of a worker. */
interface Life {
  readonly started: Started
  readonly ready: Deferred.Deferred<void>
  /** It hosts nothing any more, and may still have something to do before it ends. */
  readonly left: Deferred.Deferred<void>
  readonly closed: Deferred.Deferred<void>
  readonly ended: Deferred.Deferred<Ended>
}

interface Ended {
  readonly error: WorkerEnded
  /** It ended by itself, without an error, and had closed its host before. */
  readonly isWell: boolean
}

/** In how many parts the time is counted in which a worker must answer. A parent that was blocked has missed only one. */
const turns = 4

/** How long the end of a worker is waited for when its wire has closed. */
const endTime = "1 second"

const isWord = Schema.is(FromWorker)

/** Starts a worker, waits until it has ended, and says how. The scope ends it: gently at first. */
const live = (options: Start, care: Care, begun: (life: Life) => void): Effect.Effect<Ended, never, Scope.Scope> =>
  Effect.gen(function*() {
    const [ready, left, closed] = [
      Deferred.makeUnsafe<void>(),
      Deferred.makeUnsafe<void>(),
      Deferred.makeUnsafe<void>()
    ]
    const ended = Deferred.makeUnsafe<Ended>()
    let hasAnswered = true
    /** Why the place has ended it. */
    let reason: Pick<WorkerEnded, "how" | "millis"> | undefined
    const about = { device: options.device, worker: fileURLToPath(options.url) }
    let ran: string = options.kind
    const begin = Effect.try({
      try: () =>
        start(options, {
          said: (word) => {
            hasAnswered = true
            if (!isWord(word) || word._tag === "Pong") return
            Deferred.doneUnsafe(word._tag === "Ready" ? ready : left, Effect.void)
          },
          opened: (pipe) => pipe.closeUnsafe(),
          closed: () => Deferred.doneUnsafe(closed, Effect.void)
        }, (how) => {
          const isWell = reason === undefined && how.how === "exit" && how.code === 0 && Deferred.isDoneUnsafe(left)
          const error = new WorkerEnded({ ...about, ran, ...how, ...reason })
          Deferred.doneUnsafe(ended, Effect.succeed({ error, isWell }))
        }),
      catch: (cause) => new WorkerEnded({ ...about, ran, how: "start", cause })
    })
    const finish = ({ killUnsafe, wire }: Started): Effect.Effect<void> =>
      Effect.gen(function*() {
        wire.say({ _tag: "Leave", byMillis: Math.ceil(Duration.toMillis(care.gracePeriod)) })
        // One that hosts nothing yet holds nothing.
        const grace = Deferred.isDoneUnsafe(ready) ? care.gracePeriod : Duration.zero
        const isIn = yield* Effect.timeoutOption(Deferred.await(ended), grace)
        if (Option.isSome(isIn)) return
        killUnsafe()
        yield* Deferred.await(ended)
      }).pipe(Effect.ensuring(Effect.sync(() => wire.closeUnsafe())))
    const result = yield* Effect.acquireRelease(
      Effect.result(begin),
      (started) => Result.isSuccess(started) ? finish(started.success) : Effect.void
    )
    if (Result.isFailure(result)) return { error: result.failure, isWell: false }
    const started = result.success
    const { killUnsafe, wire } = started
    ran = started.ran
    const end = (why: typeof reason) =>
      Effect.sync(() => {
        reason = why
        killUnsafe()
      })
    begun({ started, ready, left, closed, ended })
    const millis = Duration.toMillis(care.unresponsiveAfter)
    let missed = 0
    const turn: Effect.Effect<void> = Effect.suspend(() => {
      missed = hasAnswered ? 0 : missed + 1
      if (missed === turns) return end({ how: "blocked", millis })
      if (missed === 0) {
        hasAnswered = false
        wire.say({ _tag: "Ping" })
      }
      return Effect.andThen(Effect.sleep(millis / turns), turn)
    })
    yield* Deferred.await(ready).pipe(
      Effect.timeoutOption(care.startWithin),
      Effect.flatMap(Option.match({
        onNone: () => end({ how: "silent", millis: Duration.toMillis(care.startWithin) }),
        // One that hosts nothing any more answers nothing either.
        onSome: () =>
          Duration.isFinite(care.unresponsiveAfter) ? Effect.raceFirst(turn, Deferred.await(left)) : Effect.void
      })),
      Effect.forkScoped
    )
    return yield* Deferred.await(ended)
  })

/** Makes a place. */
export const make = (options: Start, care: Care): Effect.Effect<Place> =>
  Effect.map(Schedule.toStep(care.restart), (step): Place => {
    const { device } = options
    let life: Life | undefined
    let state: PlaceStatus["state"] = "starting"
    let starts = 0
    let last: WorkerEnded | undefined
    /** Opens when there is another life, or there will be none. */
    let changed = Latch.makeUnsafe(false)
    const wanted = Latch.makeUnsafe(true)
    const lost = (cause: WorkerEnded) => new DeviceLost({ device, fate: "gone", cause })
    const change = (to: PlaceStatus["state"], next: Life | undefined) => {
      state = to
      life = next
      const former = changed
      changed = Latch.makeUnsafe(false)
      former.openUnsafe()
    }

    const run: Effect.Effect<void> = Effect.gen(function*() {
      for (;;) {
        yield* wanted.await
        change("starting", undefined)
        starts++
        const { error, isWell } = yield* Effect.scoped(live(options, care, (life) => change("starting", life)))
        if (isWell) {
          wanted.closeUnsafe()
          change("idle", undefined)
          continue
        }
        last = error
        const now = yield* Clock.currentTimeMillis
        const next = yield* Effect.exit(step(now, lost(error)))
        if (Exit.isFailure(next)) break
        const delay = Duration.toMillis(next.value[1])
        change("waiting", undefined)
        yield* Effect.logWarning(`device ${device}: ${error.message}; it is started again in ${delay} ms`)
        yield* Effect.sleep(delay)
      }
      change("failed", undefined)
      yield* Effect.logError(`device ${device}: ${last?.message}; it is not started again`)
    })

    /** The life there is once it hosts its feeds. One that ends before is not waited for again. */
    const ready: Effect.Effect<Life, DeviceLost | FeedRefused> = Effect.suspend(() => {
      const now = life
      if (state === "failed") {
        const detail = `${
          last?.message ?? "its worker ended"
        }; its \`restart\` schedule allows no more than ${starts} starts`
        return Effect.fail(new FeedRefused({ device, reason: "ended", detail }))
      }
      if (now === undefined) {
        // Before the worker is asked for, which may start it in this very step.
        const next = changed.await
        wanted.openUnsafe()
        return Effect.andThen(next, ready)
      }
      return Effect.raceFirst(
        Deferred.isDoneUnsafe(now.left) ? Effect.never : Effect.as(Deferred.await(now.ready), now),
        Effect.flatMap(Deferred.await(now.ended), ({ error, isWell }) => {
          if (!isWell) return Effect.fail(lost(error))
          return life === now ? Effect.andThen(changed.await, ready) : ready
        })
      )
    })
    return {
      run,
      status: () => ({
        device,
        state: life !== undefined && Deferred.isDoneUnsafe(life.ready) ? "running" : state,
        ran: life?.started.ran,
        starts,
        last
      }),
      open: Effect.flatMap(ready, ({ closed, ended, started }) =>
        Effect.map(
          Effect.acquireRelease(
            Effect.sync(started.wire.openUnsafe),
            (pipe) => Effect.sync(pipe.closeUnsafe)
          ),
          (pipe) => ({
            pipe,
            // The ports of a thread that ends close in no order.
            lost: Effect.timeoutOption(Deferred.await(closed), "20 millis").pipe(
              Effect.flatMap((isClosed) =>
                Option.isSome(isClosed)
                  ? Effect.timeoutOption(Deferred.await(ended), endTime)
                  : Effect.succeedNone
              ),
              Effect.map(Option.match({
                onSome: ({ error }) => lost(error),
                onNone: () =>
                  new DeviceLost({ device, fate: "unknown", cause: new Error("its worker has closed the link") })
              }))
            )
          })
        ))
    }
  })
