/**
 * A simulator of whole systems: processes whose fibers share one virtual clock and one run queue, in which a seed
 * decides who goes on, who is preempted and when. One seed is one history, the same every time.
 *
 * Nothing in it takes real time: when no fiber can go on, the clock moves to the next thing that is due. A process may
 * be frozen, as by SIGSTOP, or killed, as by SIGKILL: then no finalizer of it runs.
 *
 * **Gotchas**
 *
 * Fibers that wait for something outside of the simulation (a Promise, a socket, a timer of the host) break it: nobody
 * waits for them.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Scheduler from "effect/Scheduler"
import { chance } from "../internal/chance.ts"

/**
 * What a simulation is made with.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Decides the history. */
  readonly seed: number
  /**
   * How many operations a fiber makes before another may go on, on average. Default 50: often enough to come between
   * any two steps sooner or later. The runtime's own is 2048.
   */
  readonly operations?: number | undefined
}

/**
 * One process of a simulation.
 *
 * @category models
 * @since 0.1.0
 */
export interface Process {
  readonly name: string
  /** Runs an effect in the process. It has the process's clock, chance and scheduler, and logs nothing. */
  readonly run: <A, E>(effect: Effect.Effect<A, E, CurrentProcess>) => Fiber.Fiber<A, E>
  /** Does something in the process as soon as it is its turn; never, when the process is dead by then. */
  readonly post: (task: () => void) => void
  /** Stops every fiber of the process where it is. Its timers become due, its clock goes on. */
  readonly freeze: () => void
  readonly thaw: () => void
  /** Ends the process. None of its fibers goes on, not even to finalize. */
  readonly kill: () => void
  readonly isFrozen: () => boolean
  readonly isAlive: () => boolean
  /** How many of its tasks have had their turn: nothing in it changes between two of them. */
  readonly turns: () => number
  /** How many of its fibers have not ended, and how many timers it has. */
  readonly fibers: () => number
  readonly timers: () => number
  /** Called when it is killed. */
  readonly onKill: (listener: () => void) => void
}

/**
 * A simulated world.
 *
 * @category models
 * @since 0.1.0
 */
export interface Simulation {
  /** Milliseconds since it began. */
  readonly now: () => number
  /** A number from 0 to below 1, decided by the seed. */
  readonly random: () => number
  readonly process: (name: string) => Process
  /** Does something after some milliseconds, outside of all processes. Gives what forgets it. */
  readonly after: (millis: number, task: () => void) => () => void
  /** Lets one task of one process go on; or else the time. False when nothing is left to happen. */
  readonly step: () => boolean
  /** How many steps were made. */
  readonly steps: () => number
  /** Whether a task can go on now, without the time. */
  readonly isBusy: () => boolean
}

/**
 * The process that runs the present fiber.
 *
 * @category services
 * @since 0.1.0
 */
export class CurrentProcess
  extends Context.Service<CurrentProcess, Process>()("effect-feeder/testing/Simulation/CurrentProcess")
{}

interface Timer {
  readonly at: number
  readonly order: number
  /** None once it is forgotten. */
  task: (() => void) | undefined
}

/** Timers by time: a binary heap. */
const makeTimers = () => {
  const heap: Array<Timer> = []
  const isBefore = (a: Timer, b: Timer) => a.at < b.at || (a.at === b.at && a.order < b.order)
  const swap = (i: number, j: number) => {
    const timer = heap[i]!
    heap[i] = heap[j]!
    heap[j] = timer
  }
  return {
    size: () => heap.length,
    add: (timer: Timer) => {
      let i = heap.push(timer) - 1
      while (i > 0 && isBefore(heap[i]!, heap[(i - 1) >> 1]!)) {
        swap(i, (i - 1) >> 1)
        i = (i - 1) >> 1
      }
    },
    next: (): Timer | undefined => {
      const first = heap[0]
      const last = heap.pop()
      if (first === undefined || last === undefined || heap.length === 0) return first
      heap[0] = last
      for (let i = 0;;) {
        let least = i
        if (2 * i + 1 < heap.length && isBefore(heap[2 * i + 1]!, heap[least]!)) least = 2 * i + 1
        if (2 * i + 2 < heap.length && isBefore(heap[2 * i + 2]!, heap[least]!)) least = 2 * i + 2
        if (least === i) return first
        swap(i, least)
        i = least
      }
    }
  }
}

/**
 * Makes a world without processes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Simulation => {
  const random = chance(options.seed)
  const operations = options.operations ?? 50
  const timers = makeTimers()
  /** Processes that have something to do and may do it. */
  const ready: Array<{ readonly turn: () => void }> = []
  let now = 0
  let order = 0
  let steps = 0

  const after = (millis: number, task: () => void): () => void => {
    const timer: Timer = { at: now + Math.max(0, millis), order: order++, task }
    timers.add(timer)
    return () => {
      timer.task = undefined
    }
  }

  const makeProcess = (name: string): Process => {
    const tasks: Array<() => void> = []
    const listeners: Array<() => void> = []
    let isFrozen = false
    let isAlive = true
    let fibers = 0
    let sleeping = 0
    let turnsHad = 0
    let left = 1 + random.below(2 * operations)

    const turns = {
      turn: () => {
        // Mostly in order, as in life; any order is allowed between fibers.
        const index = tasks.length === 1 || random.next() < 0.5 ? 0 : random.below(tasks.length)
        const [task] = tasks.splice(index, 1)
        turnsHad++
        offerTurn()
        task?.()
      }
    }
    const offerTurn = () => {
      const index = ready.indexOf(turns)
      const isReady = isAlive && !isFrozen && tasks.length > 0
      if (isReady && index < 0) ready.push(turns)
      else if (!isReady && index >= 0) ready.splice(index, 1)
    }
    const post = (task: () => void) => {
      if (!isAlive) return
      tasks.push(task)
      if (tasks.length === 1) offerTurn()
    }

    const scheduler: Scheduler.Scheduler = {
      executionMode: "async",
      // A fiber is not preempted at its first operation: it may have been interrupted before it began.
      shouldYield: (fiber) => {
        if (--left > 0 || fiber.currentOpCount < 2) return false
        left = 1 + random.below(2 * operations)
        return true
      },
      makeDispatcher: () => ({ scheduleTask: post, flush: () => {} })
    }

    const nanos = () => BigInt(Math.round(now * 1e6))
    const clock: Clock.Clock = {
      currentTimeMillisUnsafe: () => Math.floor(now),
      currentTimeMillis: Effect.sync(() => Math.floor(now)),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanosUnsafe: nanos,
      monotonicTimeNanos: Effect.sync(nanos),
      sleep: (duration) =>
        Effect.callback<void>((resume) => {
          const millis = Duration.toMillis(duration)
          if (millis === Infinity) return
          let isDone = false
          sleeping++
          const forget = after(millis, () =>
            post(() => {
              if (isDone) return
              sleeping--
              isDone = true
              resume(Effect.void)
            }))
          return Effect.sync(() => {
            if (isDone) return
            isDone = true
            sleeping--
            forget()
          })
        })
    }

    const context = Context.make(Scheduler.Scheduler, scheduler).pipe(
      Context.add(Clock.Clock, clock),
      Context.add(Random.Random, {
        nextIntUnsafe: () => Math.floor((random.next() - 0.5) * 2 * Number.MAX_SAFE_INTEGER),
        nextDoubleUnsafe: random.next
      }),
      Context.add(References.MinimumLogLevel, "None"),
      Context.add(Metric.FiberRuntimeMetrics, {
        recordFiberStart: () => {
          fibers++
        },
        recordFiberEnd: () => {
          fibers--
        }
      })
    )

    const process: Process = {
      name,
      // It begins when it is the process's turn, which is not now if it is frozen.
      run: (effect) =>
        Effect.runForkWith(Context.add(context, CurrentProcess, process))(Effect.andThen(Effect.yieldNow, effect)),
      post,
      freeze: () => {
        isFrozen = true
        offerTurn()
      },
      thaw: () => {
        isFrozen = false
        offerTurn()
      },
      kill: () => {
        isAlive = false
        tasks.length = 0
        offerTurn()
        for (const listener of listeners) listener()
      },
      isFrozen: () => isFrozen,
      isAlive: () => isAlive,
      turns: () => turnsHad,
      fibers: () => fibers,
      timers: () => sleeping,
      onKill: (listener) => {
        listeners.push(listener)
      }
    }
    return process
  }

  return {
    now: () => now,
    random: random.next,
    process: makeProcess,
    after,
    step: () => {
      if (ready.length > 0) {
        steps++
        ready[ready.length === 1 ? 0 : random.below(ready.length)]!.turn()
        return true
      }
      while (true) {
        const timer = timers.next()
        if (timer === undefined) return false
        if (timer.task === undefined) continue
        now = timer.at
        timer.task()
        return true
      }
    },
    steps: () => steps,
    isBusy: () => ready.length > 0
  }
}

/**
 * Runs an effect as the only process of a world, until it ends or nothing is left to happen, and gives its exit:
 * none when it waits for what never comes.
 *
 * **Example** (A day in no time, the same every time)
 *
 * ```ts import.meta.vitest
 * import { Clock, Effect } from "effect"
 * import { Simulation } from "effect-feeder/testing"
 *
 * const program = Effect.andThen(Effect.sleep("1 day"), Clock.currentTimeMillis)
 *
 * Simulation.run(program, { seed: 1 })?._tag // => "Success"
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const run = <A, E>(
  effect: Effect.Effect<A, E, CurrentProcess>,
  options: Options
): Exit.Exit<A, E> | undefined => {
  const simulation = make(options)
  const fiber = simulation.process("main").run(effect)
  while (fiber.pollUnsafe() === undefined && simulation.step()) { /* on */ }
  return fiber.pollUnsafe()
}
