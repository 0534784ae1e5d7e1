/**
 * Devices whose links break, are refused or fall silent when a test says so, over any Layer of `RemoteDevices`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as DeviceSpec from "../DeviceSpec.ts"
import { DeviceLost, RemoteDevices } from "../RemoteDevices.ts"

/**
 * What a failure tells the feeder: `gone` says that the device's memory is certainly lost, so that it takes back at
 * once what is out there. Default `unknown`: it resumes within its lease.
 *
 * @category models
 * @since 0.1.0
 */
export type Fate = DeviceLost["fate"]

/**
 * What a test does to the links of a feeder.
 *
 * @category services
 * @since 0.1.0
 */
export class FaultyDevices extends Context.Service<FaultyDevices, {
  /** Breaks the links that are open now, to one device or to all. They can be opened again at once. */
  readonly cut: (device?: DeviceSpec.Input, fate?: Fate) => Effect.Effect<void>
  /** The next `count` links to a device fail to open, instead of what was to be refused before; `0` ends that. */
  readonly refuse: (device: DeviceSpec.Input, count: number, fate?: Fate) => Effect.Effect<void>
  /** Lets no frame pass to or from a device any more, while its links stay open, as when a cable is pulled. */
  readonly hold: (device: DeviceSpec.Input) => Effect.Effect<void>
  /** Lets frames pass again, those first that were held. */
  readonly release: (device: DeviceSpec.Input) => Effect.Effect<void>
  /** How many links are open to a device. */
  readonly open: (device: DeviceSpec.Input) => Effect.Effect<number>
  /** How many links to a device were asked for so far, refused ones included. */
  readonly attempts: (device: DeviceSpec.Input) => Effect.Effect<number>
}>()("effect-feeder/testing/FaultyDevices") {}

interface Faults {
  readonly links: Map<Deferred.Deferred<never, DeviceLost>, string>
  readonly passing: Latch.Latch
  refusal: { count: number; readonly fate: Fate } | undefined
  attempts: number
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
  Effect.map(RemoteDevices, (real) => {
    const devices = new Map<string, Faults>()
    const faultsOf = (input: DeviceSpec.Input): Faults => {
      const device = DeviceSpec.canonicalName(typeof input === "string" ? DeviceSpec.fromStringUnsafe(input) : input)
      const known = devices.get(device)
      if (known !== undefined) return known
      const faults: Faults = { links: new Map(), passing: Latch.makeUnsafe(true), refusal: undefined, attempts: 0 }
      devices.set(device, faults)
      return faults
    }
    const lost = (device: string, fate: Fate, what: string) =>
      new DeviceLost({ device, fate, cause: new Error(`the test ${what}`) })

    const open: RemoteDevices["Service"]["open"] = (device, feed) =>
      Effect.gen(function*() {
        const faults = faultsOf(device)
        faults.attempts++
        if (faults.refusal !== undefined && faults.refusal.count > 0) {
          faults.refusal.count--
          return yield* lost(device, faults.refusal.fate, "refused the link")
        }
        const link = yield* real.open(device, feed)
        const broken = yield* Deferred.make<never, DeviceLost>()
        yield* Effect.acquireRelease(
          Effect.sync(() => faults.links.set(broken, device)),
          () => Effect.sync(() => faults.links.delete(broken))
        )
        const untilBroken = Deferred.await(broken)
        return {
          send: (frame) => Effect.raceFirst(untilBroken, Effect.andThen(faults.passing.await, link.send(frame))),
          // A frame that arrives while frames are held waits here, and is lost if the link breaks meanwhile.
          receive: Effect.raceFirst(untilBroken, Effect.tap(link.receive, () => faults.passing.await))
        }
      })

    const service: FaultyDevices["Service"] = {
      cut: (device, fate = "unknown") =>
        Effect.sync(() => {
          const chosen = device === undefined ? devices.values() : [faultsOf(device)]
          for (const { links } of chosen) {
            for (const [broken, name] of links) Deferred.doneUnsafe(broken, lost(name, fate, "cut the link"))
            links.clear()
          }
        }),
      refuse: (device, count, fate = "unknown") =>
        Effect.sync(() => {
          faultsOf(device).refusal = { count, fate }
        }),
      hold: (device) => Effect.sync(() => faultsOf(device).passing.closeUnsafe()),
      release: (device) => Effect.sync(() => faultsOf(device).passing.openUnsafe()),
      open: (device) => Effect.sync(() => faultsOf(device).links.size),
      attempts: (device) => Effect.sync(() => faultsOf(device).attempts)
    }
    return Context.make(RemoteDevices, { open }).pipe(Context.add(FaultyDevices, service))
  })
)
