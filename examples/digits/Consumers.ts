/**
 * The consumers of the digits, wherever they run: who watches over them, and starts another when one dies.
 */
import { type Cause, Context, Deferred, Effect, Fiber, Latch, Queue, Schema, type Scope, Stream } from "effect"
import { devices } from "./feeds.ts"
import type { Report } from "./reports.ts"

/** A consumer ended before its feed had. */
export class ConsumerDied extends Schema.TaggedError<ConsumerDied>()("ConsumerDied", {
  device: Schema.String,
  cause: Schema.String
}) {
  override get message(): string {
    return `the consumer at ${this.device} died: ${this.cause}`
  }
}

/** The consumers, ready to be fed: see the module. */
export class Consumers extends Context.Service<Consumers, {
  /** What they tell, until all have ended. */
  readonly reports: Stream.Stream<Report, ConsumerDied>
  /** Ends a consumer at once; another takes its place. */
  readonly kill: (device: string) => Effect.Effect<void>
}>()("digits/Consumers") {}

/** What one life of a consumer is made of. */
export interface Life {
  readonly device: string
  readonly seed: number
  readonly report: (report: Report) => Effect.Effect<void>
  /** Succeeds when it is to be killed. */
  readonly killed: Effect.Effect<void>
}

/** How often a consumer may die. */
const deaths = 5

/** Starts one consumer for each device and waits until all are ready. They end with the scope. */
export const make = Effect.fnUntraced(function*<R>(options: {
  readonly seed: number
  readonly live: (life: Life) => Effect.Effect<void, ConsumerDied, R>
}): Effect.fn.Return<Consumers["Service"], ConsumerDied, R | Scope.Scope> {
  const reports = yield* Queue.unbounded<Report, ConsumerDied | Cause.Done>()
  const kills = new Map<string, Deferred.Deferred<void>>()
  const ready = new Map(devices.map((device) => [device, Latch.makeUnsafe(false)]))

  const report = (report: Report): Effect.Effect<void> => {
    if (report._tag === "Ready") ready.get(report.device)?.openUnsafe()
    return Effect.asVoid(Queue.offer(reports, report))
  }

  const supervise = (device: string, index: number) =>
    Effect.suspend(() => {
      const killed = Deferred.makeUnsafe<void>()
      kills.set(device, killed)
      return options.live({ device, seed: options.seed + index, report, killed: Deferred.await(killed) })
    }).pipe(
      Effect.tapError(({ cause }) => report({ _tag: "Died", device, cause })),
      Effect.retry({ times: deaths })
    )

  const all = yield* Effect.forEach(devices, supervise, { concurrency: "unbounded", discard: true }).pipe(
    Effect.onExit((exit) => exit._tag === "Success" ? Queue.end(reports) : Queue.failCause(reports, exit.cause)),
    Effect.forkScoped
  )
  yield* Effect.raceFirst(Effect.forEach(ready.values(), (latch) => latch.await, { discard: true }), Fiber.join(all))

  return {
    reports: Stream.fromQueue(reports),
    kill: (device) => {
      const killed = kills.get(device)
      return killed === undefined ? Effect.void : Effect.asVoid(Deferred.succeed(killed, undefined))
    }
  }
})
