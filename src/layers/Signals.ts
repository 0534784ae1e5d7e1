/**
 * A feeder's program that goes gently when it is told to: SIGTERM drains the feeder, and a second signal, or SIGINT,
 * stops it at once. For Node.
 *
 * A consumer's program does so by itself: see `gracePeriod` of `SocketDevices.layerHost`.
 *
 * **Gotchas**
 *
 * `NodeRuntime.runMain` interrupts the whole program at a signal. The feeder holds that up until it has drained, but what
 * comes after it in the program does not run any more, and the process ends with the code 130. So the account is logged
 * here; `onDrained` is told it too.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Feeder from "../actors/Feeder.ts"
import type { SourceError, SourceServices } from "../actors/QueueRunner.ts"
import type { ElementSchema, Feed } from "../Feed.ts"
import { onSigterm } from "../internal/processSignals.ts"
import type * as Ledger from "../Ledger.ts"
import type { Acknowledge, DeliveryMode, RemoteDevices } from "../RemoteDevices.ts"

/**
 * How a feeder goes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** How long a SIGTERM waits for what is out. Default: the feeder's `gracePeriod`, 30 seconds. */
  readonly deadline?: Duration.Input | undefined
  /** Told what became of the elements that were queued and out when the signal came. */
  readonly onDrained?: ((drained: Feeder.Drained) => Effect.Effect<unknown>) | undefined
}

/**
 * Runs a feeder like its `run`, and drains it on SIGTERM: the sources are paused, what is out is waited for until the
 * deadline, and the run completes with its account. A second signal stops it at once, as SIGINT does.
 *
 * **Example** (The long form)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { Feed, Feeder, MemoryDevices } from "effect-feeder"
 * import * as Signals from "effect-feeder/layers/Signals"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int })
 * const feed = Effect.scoped(Effect.gen(function*() {
 *   const made = yield* Feeder.make(Numbers)
 *   const feeder = yield* made.set([1, 2, 3])
 *   yield* feeder.addRemoteDevice("/job:consumer")
 *   return yield* Signals.untilSigterm(feeder, { deadline: "20 seconds" })
 * }))
 * const program = Effect.all([feed, Numbers.forEach(() => Effect.void)], { concurrency: "unbounded" })
 * const [ledger] = await Effect.runPromise(program.pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }))))
 *
 * ledger.delivered // => 3
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const untilSigterm = <S extends ElementSchema, E>(
  feeder: Feeder.Feeder<S, E>,
  options: Options = {}
): Effect.Effect<Ledger.Ledger, Feeder.FeedError | E> =>
  Effect.scoped(Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const told = Deferred.makeUnsafe<void>()
      let isTold = false
      const drain = Effect.gen(function*() {
        const drained = yield* feeder.drain({ deadline: options.deadline })
        const { abandoned, acknowledged, returned } = drained
        yield* Effect.logInfo(
          `feeder ${feeder.id} was told to go: ${acknowledged} acknowledged, ${returned} returned, ${abandoned} abandoned`
        )
        if (options.onDrained !== undefined) yield* options.onDrained(drained)
      })
      yield* onSigterm({
        gently: Effect.suspend(() => {
          isTold = true
          return Effect.ensuring(Effect.andThen(Effect.yieldNow, drain), Deferred.succeed(told, undefined))
        }),
        // After the runtime has heard of the signal, so that it makes no difference who was quicker.
        atOnce: Effect.andThen(Effect.yieldNow, feeder.stop)
      })
      const run = yield* Effect.forkChild(feeder.run, { startImmediately: true })
      // The runtime interrupts its program at the first signal already.
      const stop = Effect.suspend(() => isTold ? Effect.void : Fiber.interrupt(run))
      const finished = Effect.suspend(() => isTold ? Deferred.await(told) : Effect.void)
      return yield* restore(Fiber.join(run)).pipe(Effect.onInterrupt(() => stop), Effect.ensuring(finished))
    })
  ))

/**
 * `Feeder.run` for a whole program: on SIGTERM it drains, see `untilSigterm`.
 *
 * **Example** (The short form)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { Feed, MemoryDevices } from "effect-feeder"
 * import * as Signals from "effect-feeder/layers/Signals"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int })
 * const feed = Signals.run(Numbers, { source: [1, 2, 3], devices: ["/job:consumer"], deadline: "20 seconds" })
 * const program = Effect.all([feed, Numbers.forEach(() => Effect.void)], { concurrency: "unbounded" })
 * const [ledger] = await Effect.runPromise(program.pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }))))
 *
 * ledger.delivered // => 3
 * ```
 *
 * @category running
 * @since 0.1.0
 */
export const run = <
  Name extends string,
  S extends ElementSchema,
  Ack extends Acknowledge,
  Src extends Feeder.ElementSource<S["Type"], unknown, unknown>
>(
  feed: Feed<Name, S, Ack, DeliveryMode>,
  options: Options & Feeder.Options & {
    readonly source: Src
    readonly devices: Feeder.Devices
    /** How many runners run the source, if it is an Effect. Default 1. */
    readonly concurrency?: number | undefined
  }
): Effect.Effect<Ledger.Ledger, Feeder.FeedError | SourceError<Src>, RemoteDevices | SourceServices<Src>> =>
  Effect.scoped(Effect.gen(function*() {
    const made = yield* Feeder.make(feed, options)
    const feeder = yield* made.set(options.source, { concurrency: options.concurrency })
    yield* feeder.addRemoteDevices(options.devices)
    return yield* untilSigterm(feeder, options)
  }))
