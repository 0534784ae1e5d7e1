/**
 * Links that fail when a test says so, around any transport.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import { DeviceLost, RemoteDevices } from "../RemoteDevices.ts"

/**
 * What a test can do to the links of a layer.
 *
 * @category services
 * @since 0.1.0
 */
export class FaultyDevices extends Context.Service<FaultyDevices, {
  /** Breaks the links that are open now, to one device or to all. They can be opened again. */
  readonly cut: (device?: string) => Effect.Effect<void>
  /** Refuses the next `count` links to a device, as if its network were down. */
  readonly refuse: (device: string, count: number) => Effect.Effect<void>
  /** Lets nothing through, either way, while links stay open; `release` lets everything go on. */
  readonly hold: (device: string) => Effect.Effect<void>
  readonly release: (device: string) => Effect.Effect<void>
  /** How many links are open to a device. */
  readonly open: (device: string) => Effect.Effect<number>
}>()("effect-feeder/testing/FaultyDevices") {}

interface Fault {
  readonly links: Set<Deferred.Deferred<void>>
  readonly passing: Latch.Latch
  refusals: number
}

/**
 * Wraps the `RemoteDevices` of a layer, and provides control over its links beside everything the layer provides.
 *
 * **Example** (A link that breaks is not a failure)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { Feed, Feeder, MemoryDevices } from "effect-feeder"
 * import { FaultyDevices } from "effect-feeder/testing"
 *
 * const Numbers = Feed.make("numbers", { element: Schema.Int, capacity: 2 })
 * const program = Effect.gen(function*() {
 *   const faulty = yield* FaultyDevices.FaultyDevices
 *   const consume = Numbers.forEach((n) => n === 4 ? faulty.cut() : Effect.void)
 *   const feed = Feeder.run(Numbers, { source: [1, 2, 3, 4, 5, 6], devices: ["/job:consumer/replica:0"] })
 *   const [ledger] = yield* Effect.all([feed, consume], { concurrency: 2 })
 *   return [ledger.delivered, ledger.redelivered]
 * })
 * const layer = FaultyDevices.layer(MemoryDevices.layer({ feeds: [Numbers] }))
 *
 * await Effect.runPromise(program.pipe(Effect.provide(layer))) // => [6, 0]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <A, E, R>(
  devices: Layer.Layer<A | RemoteDevices, E, R>
): Layer.Layer<A | RemoteDevices | FaultyDevices, E, R> =>
  Layer.effectContext(Effect.gen(function*() {
    const inner = yield* RemoteDevices
    const faults = new Map<string, Fault>()
    const faultOf = (device: string): Fault => {
      const known = faults.get(device)
      if (known !== undefined) return known
      const fault: Fault = { links: new Set(), passing: Latch.makeUnsafe(true), refusals: 0 }
      faults.set(device, fault)
      return fault
    }
    const open: RemoteDevices["Service"]["open"] = (device, feed) =>
      Effect.gen(function*() {
        const fault = faultOf(device)
        const lost = (why: string) => Effect.fail(new DeviceLost({ device, fate: "unknown", cause: new Error(why) }))
        if (fault.refusals > 0) {
          fault.refusals--
          return yield* lost("refused by the test")
        }
        const link = yield* inner.open(device, feed)
        const cut = Deferred.makeUnsafe<void>()
        yield* Effect.acquireRelease(
          Effect.sync(() => fault.links.add(cut)),
          () => Effect.sync(() => fault.links.delete(cut))
        )
        const broken = Effect.andThen(Deferred.await(cut), lost("cut by the test"))
        const passing = <B, E2>(effect: Effect.Effect<B, E2>) =>
          Effect.raceFirst(Effect.andThen(fault.passing.await, effect), broken)
        return {
          send: (frame) => passing(link.send(frame)),
          // What arrives while the link is held is given once it is released.
          receive: passing(Effect.tap(link.receive, () => fault.passing.await))
        }
      })
    const cutOne = (fault: Fault) =>
      Effect.forEach(fault.links, (cut) => Deferred.succeed(cut, undefined), { discard: true })
    return Context.make(RemoteDevices, { open }).pipe(Context.add(FaultyDevices, {
      cut: (device) =>
        Effect.suspend(() =>
          Effect.forEach(device === undefined ? faults.values() : [faultOf(device)], cutOne, { discard: true })
        ),
      refuse: (device, count) =>
        Effect.sync(() => {
          faultOf(device).refusals = count
        }),
      hold: (device) => Effect.asVoid(Effect.suspend(() => faultOf(device).passing.close)),
      release: (device) => Effect.asVoid(Effect.suspend(() => faultOf(device).passing.open)),
      open: (device) => Effect.sync(() => faultOf(device).links.size)
    }))
  })).pipe(Layer.provideMerge(devices))
