/**
 * Counts what a program costs, where a clock would tell how busy the machine is.
 */
/* oxlint-disable no-await-in-loop -- measurements stand in line */
import { Effect, Scheduler } from "effect"
import { type HeapProfiler, Session } from "node:inspector/promises"

/** What a program cost, per element. */
export interface Cost {
  /** Steps of fibers: primitives that the run loop of a fiber evaluated. The same every time. */
  readonly steps: number
  /** Tasks given to a scheduler: fibers that gave way or were woken later, each a trip around the event loop. */
  readonly tasks: number
  /** Bytes allocated on the heap, collected or not. Sampled: good to a few percent. */
  readonly bytes: number
}

/** Counts the steps and tasks of the fibers that run on it. It is no other than the usual one. */
class CountingScheduler extends Scheduler.MixedScheduler {
  steps = 0
  tasks = 0

  override shouldYield(fiber: Parameters<Scheduler.MixedScheduler["shouldYield"]>[0]): boolean {
    this.steps++
    return super.shouldYield(fiber)
  }

  override makeDispatcher(): ReturnType<Scheduler.MixedScheduler["makeDispatcher"]> {
    const dispatcher = super.makeDispatcher()
    const schedule = dispatcher.scheduleTask.bind(dispatcher)
    dispatcher.scheduleTask = (task, priority) => {
      this.tasks++
      schedule(task, priority)
    }
    return dispatcher
  }
}

const sizeOf = ({ children, selfSize }: HeapProfiler.SamplingHeapProfileNode): number =>
  children.reduce((sum, child) => sum + sizeOf(child), selfSize)

/** The bytes that `f` allocates. */
export const allocated = async (f: () => Promise<unknown>): Promise<number> => {
  const session = new Session()
  session.connect()
  await session.post("HeapProfiler.startSampling", {
    samplingInterval: 512,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true
  })
  await f()
  const { profile } = await session.post("HeapProfiler.stopSampling")
  session.disconnect()
  return sizeOf(profile.head)
}

/**
 * What `program` costs per element when it handles `n` of them. It makes all that it uses itself, and is run several
 * times: compiled code allocates less, and only what comes after the first runs is counted.
 */
export const cost = async <E>(n: number, program: (n: number) => Effect.Effect<unknown, E>): Promise<Cost> => {
  for (let i = 0; i < 8; i++) await Effect.runPromise(program(n))
  const scheduler = new CountingScheduler()
  await Effect.runPromise(Effect.provideService(program(n), Scheduler.Scheduler, scheduler))
  let bytes = Infinity
  for (let i = 0; i < 5; i++) bytes = Math.min(bytes, await allocated(() => Effect.runPromise(program(n))))
  return { steps: scheduler.steps / n, tasks: scheduler.tasks / n, bytes: bytes / n }
}
