/**
 * Devices whose links break, are refused or fall silent, and whose processes crash, when a test says so, over any Layer
 * of `RemoteDevices`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as DeviceSpec from "../DeviceSpec.ts"
import * as MemoryDevices from "../layers/MemoryDevices.ts"
import type { Batch, FeederFrame, FeedInfo } from "../RemoteDevices.ts"
import { DeviceLost, RemoteDevices } from "../RemoteDevices.ts"

const TypeId = "~effect-feeder/testing/FaultyDevices"

/**
 * What a failure tells the feeder: `gone` says that the device's memory is certainly lost, so that it takes back at
 * once what is out there. Default `unknown`: it resumes within its lease.
 *
 * @category models
 * @since 0.1.0
 */
export type Fate = DeviceLost["fate"]

/**
 * The test has crashed a device. Retry what ran it to start the device again.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeviceCrashed extends Schema.Error<DeviceCrashed>(`${TypeId}/DeviceCrashed`)({
  _tag: Schema.tag("DeviceCrashed"),
  device: Schema.String
}) {
  override get message(): string {
    return `the test crashed device ${this.device}; retry its effect to start it again`
  }
}

/**
 * What a test does to the devices of a feeder. A device is named as a feeder names it. What one script began, the next
 * for the same device takes over: a freeze replaces a stall, a `failAfter` the one before.
 *
 * @category services
 * @since 0.1.0
 */
export class FaultyDevices extends Context.Service<FaultyDevices, {
  /** Breaks the links that are open now, to one device or to all. They can be opened again at once. */
  readonly cut: (device?: DeviceSpec.Input, fate?: Fate) => Effect.Effect<void>
  /** Breaks the links to a device once, when `n` more elements have passed to it, even within one frame. */
  readonly failAfter: (device: DeviceSpec.Input, n: number, fate?: Fate) => Effect.Effect<void>
  /** The next `count` links to a device fail to open, instead of what was to be refused before; `0` ends that. */
  readonly refuse: (device: DeviceSpec.Input, count: number, fate?: Fate) => Effect.Effect<void>
  /** Lets no frame pass to or from a device any more, while its links stay open, as when a cable is pulled. */
  readonly freeze: (device: DeviceSpec.Input) => Effect.Effect<void>
  /** Lets frames pass again, those first that were held. */
  readonly thaw: (device: DeviceSpec.Input) => Effect.Effect<void>
  /** Freezes a device now, and thaws it after a time on the caller's clock. Does not wait for that. */
  readonly stallFor: (device: DeviceSpec.Input, duration: Duration.Input) => Effect.Effect<void>
  /**
   * Ends a device that `run` runs, as `kill -9` would: first its links break, with the fate `gone`, so that nobody
   * hears of it any more; then its effect is interrupted, and its host, queue and sessions with it. Waits until it is
   * down, and so never returns to an effect of the device itself. Does nothing to a device that has ended or crashed; for
   * one that never ran it is a defect, since its memory would not be lost.
   */
  readonly crash: (device: DeviceSpec.Input) => Effect.Effect<void>
  /** How many links are open to a device. */
  readonly open: (device: DeviceSpec.Input) => Effect.Effect<number>
  /** How many links to a device were asked for so far, refused ones included. */
  readonly attempts: (device: DeviceSpec.Input) => Effect.Effect<number>
  /**
   * Runs an effect as the process of a device: a consumer's loop with the host it needs. `crash` ends it with
   * `DeviceCrashed`; retry it to start the device again, with nothing of before in its memory. One effect runs as a
   * device at a time; another is a defect.
   *
   * Finalizers of the effect run when it crashes, which a real crash does not let them. What they send reaches no feeder.
   */
  readonly run: <A, E, R>(
    device: DeviceSpec.Input,
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | DeviceCrashed, R>
}>()("effect-feeder/testing/FaultyDevices") {}

interface Running {
  readonly crashed: Deferred.Deferred<never, DeviceCrashed>
  readonly down: Deferred.Deferred<void>
}

interface Faults {
  readonly device: string
  readonly links: Set<Deferred.Deferred<never, DeviceLost>>
  readonly passing: Latch.Latch
  /** Grows with each freeze and thaw, so that a stall knows whether it is still the last. */
  freezes: number
  refusal: { count: number; readonly fate: Fate } | undefined
  failure: { left: number; readonly fate: Fate } | undefined
  /** What runs as the device; none before it ran, and a past one after that. */
  running: Running | undefined
  hasRun: boolean
  isCrashed: boolean
  attempts: number
}

/** The first elements of a batch, as a batch. */
const firstOf = (batch: Batch, n: number, feed: FeedInfo): Batch => {
  let left = n
  const runs = batch.runs.flatMap((run) => {
    const count = Math.min(left, run.count)
    left -= count
    return count === 0 ? [] : [{ ...run, count }]
  })
  return { ...batch, runs, chunk: feed.codec.fromElements(batch.chunk.elements.slice(0, n)) }
}

/**
 * Takes the place of the `RemoteDevices` it is given, and of nothing else: hosts stay as they are.
 *
 * **Example** (A link that breaks loses nothing)
 *
 * ```ts import.meta.vitest
 * import { Effect, Layer, Schema } from "effect"
 * import { Feed, Feeder, MemoryDevices } from "effect-feeder"
 * import { FaultyDevices } from "effect-feeder/testing"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int })
 * const program = Effect.gen(function*() {
 *   const faults = yield* FaultyDevices.FaultyDevices
 *   const seen: Array<number> = []
 *   const consume = Numbers.forEach((n) => Effect.andThen(faults.cut("/job:consumer"), Effect.sync(() => seen.push(n))))
 *   const feed = Feeder.run(Numbers, { source: [1, 2, 3], devices: ["/job:consumer"] })
 *   const [ledger] = yield* Effect.all([feed, consume], { concurrency: "unbounded" })
 *   return [seen, ledger.redelivered]
 * })
 * const devices = FaultyDevices.layer.pipe(Layer.provideMerge(MemoryDevices.layer({ feeds: [Numbers] })))
 *
 * await Effect.runPromise(Effect.provide(program, devices)) // => [[1, 2, 3], 0]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<RemoteDevices | FaultyDevices, never, RemoteDevices> = Layer.effectContext(
  Effect.gen(function*() {
    const real = yield* RemoteDevices
    const scope = yield* Effect.scope
    const devices = new Map<string, Faults>()
    const faultsOf = (input: DeviceSpec.Input): Faults => {
      const device = DeviceSpec.canonicalName(typeof input === "string" ? DeviceSpec.fromStringUnsafe(input) : input)
      const known = devices.get(device)
      if (known !== undefined) return known
      const faults: Faults = {
        device,
        links: new Set(),
        passing: Latch.makeUnsafe(true),
        freezes: 0,
        refusal: undefined,
        failure: undefined,
        running: undefined,
        hasRun: false,
        isCrashed: false,
        attempts: 0
      }
      devices.set(device, faults)
      return faults
    }
    const lost = (device: string, fate: Fate, what: string) =>
      new DeviceLost({ device, fate, cause: new Error(`the test ${what}`) })

    const breakUnsafe = (faults: Faults, fate: Fate, what: string) => {
      const links = [...faults.links]
      faults.links.clear()
      for (const broken of links) Deferred.doneUnsafe(broken, lost(faults.device, fate, what))
    }

    const open: RemoteDevices["Service"]["open"] = (device, feed) =>
      Effect.gen(function*() {
        const faults = faultsOf(device)
        faults.attempts++
        if (faults.isCrashed) return yield* lost(device, "gone", "crashed the device")
        if (faults.refusal !== undefined && faults.refusal.count > 0) {
          faults.refusal.count--
          return yield* lost(device, faults.refusal.fate, "refused the link")
        }
        const broken = Deferred.makeUnsafe<never, DeviceLost>()
        yield* Effect.acquireRelease(
          Effect.sync(() => faults.links.add(broken)),
          () => Effect.sync(() => faults.links.delete(broken))
        )
        const untilBroken = Deferred.await(broken)
        const link = yield* Effect.raceFirst(untilBroken, real.open(device, feed))
        const pass = (frame: FeederFrame): Effect.Effect<void, DeviceLost> => {
          const { failure } = faults
          if (failure === undefined || frame._tag !== "Batch") return link.send(frame)
          const { length } = frame.chunk
          if (length < failure.left) {
            failure.left -= length
            return link.send(frame)
          }
          faults.failure = undefined
          const fail = Effect.suspend(() => {
            breakUnsafe(faults, failure.fate, "broke the link")
            return untilBroken
          })
          return failure.left === 0 ? fail : Effect.andThen(link.send(firstOf(frame, failure.left, feed)), fail)
        }
        return {
          send: (frame) =>
            Effect.raceFirst(untilBroken, Effect.andThen(faults.passing.await, Effect.suspend(() => pass(frame)))),
          // A frame that arrives while frames are held waits here, and is lost if the link breaks meanwhile.
          receive: Effect.raceFirst(untilBroken, Effect.tap(link.receive, () => faults.passing.await))
        }
      })

    const freeze = (device: DeviceSpec.Input) =>
      Effect.sync(() => {
        const faults = faultsOf(device)
        faults.passing.closeUnsafe()
        return ++faults.freezes
      })

    const thaw = (device: DeviceSpec.Input) =>
      Effect.sync(() => {
        const faults = faultsOf(device)
        faults.freezes++
        faults.passing.openUnsafe()
      })

    const run: FaultyDevices["Service"]["run"] = (device, effect) =>
      Effect.suspend(() => {
        const faults = faultsOf(device)
        if (faults.running !== undefined) {
          return Effect.die(new Error(`device ${faults.device} runs already; a test runs one effect as a device`))
        }
        const running: Running = { crashed: Deferred.makeUnsafe(), down: Deferred.makeUnsafe() }
        faults.running = running
        faults.hasRun = true
        return Effect.raceFirst(Deferred.await(running.crashed), effect).pipe(
          Effect.ensuring(Effect.sync(() => {
            faults.running = undefined
            faults.isCrashed = false
            Deferred.doneUnsafe(running.down, Effect.void)
          }))
        )
      })

    const service: FaultyDevices["Service"] = {
      cut: (device, fate = "unknown") =>
        Effect.sync(() => {
          const chosen = device === undefined ? devices.values() : [faultsOf(device)]
          for (const faults of chosen) breakUnsafe(faults, fate, "cut the link")
        }),
      failAfter: (device, n, fate = "unknown") =>
        Effect.sync(() => {
          faultsOf(device).failure = { left: n, fate }
        }),
      refuse: (device, count, fate = "unknown") =>
        Effect.sync(() => {
          faultsOf(device).refusal = { count, fate }
        }),
      freeze: (device) => Effect.asVoid(freeze(device)),
      thaw,
      stallFor: (device, duration) =>
        Effect.flatMap(
          freeze(device),
          (freezes) =>
            Effect.suspend(() => faultsOf(device).freezes === freezes ? thaw(device) : Effect.void).pipe(
              Effect.delay(duration),
              Effect.forkIn(scope, { startImmediately: true }),
              Effect.asVoid
            )
        ),
      crash: (device) =>
        Effect.suspend(() => {
          const faults = faultsOf(device)
          const { running } = faults
          if (running === undefined) {
            return faults.hasRun
              ? Effect.void
              : Effect.die(new Error(`device ${faults.device} cannot crash: run its effect with faults.run`))
          }
          faults.isCrashed = true
          breakUnsafe(faults, "gone", "crashed the device")
          Deferred.doneUnsafe(running.crashed, new DeviceCrashed({ device: faults.device }))
          return Deferred.await(running.down)
        }),
      open: (device) => Effect.sync(() => faultsOf(device).links.size),
      attempts: (device) => Effect.sync(() => faultsOf(device).attempts),
      run
    }
    return Context.make(RemoteDevices, { open, changes: real.changes }).pipe(Context.add(FaultyDevices, service))
  })
)

/**
 * A network in memory whose devices fail when a test says so: no ports, no processes. `MemoryDevices.layerHost` adds
 * hosts to it.
 *
 * **Example** (A crash is made up for)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { FailureTolerator, Feed, Feeder, MemoryDevices } from "effect-feeder"
 * import { FaultyDevices } from "effect-feeder/testing"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int })
 * const device = "/job:consumer/replica:0"
 * const program = Effect.gen(function*() {
 *   const faults = yield* FaultyDevices.FaultyDevices
 *   const seen = new Set<number>()
 *   const consume = Numbers.forEach((n, { redelivered }) =>
 *     n === 2 && !redelivered ? faults.crash(device) : Effect.sync(() => seen.add(n))
 *   ).pipe(Effect.provide(MemoryDevices.layerHost({ feeds: [Numbers], device })))
 *   const feed = Feeder.run(Numbers, {
 *     source: [1, 2, 3],
 *     devices: [device],
 *     tolerate: FailureTolerator.make({ initDelay: 1 })
 *   })
 *   yield* Effect.all([feed, Effect.retry(faults.run(device, consume), { times: 1 })], {
 *     concurrency: "unbounded"
 *   })
 *   return [...seen]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, FaultyDevices.layerMemory)) // => [1, 2, 3]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<RemoteDevices | FaultyDevices | MemoryDevices.Network> = Layer.provideMerge(
  layer,
  MemoryDevices.layerNetwork
)
