/**
 * What the laws of feeding are tried on: the feeds, a Layer's devices, and the words to say that a law is broken.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Feeder from "../../actors/Feeder.ts"
import * as FailureTolerator from "../../FailureTolerator.ts"
import type { Consumed, Delivery, FeedsItself, Host, HostsOf } from "../../Feed.ts"
import * as Feed from "../../Feed.ts"
import type { Acknowledge } from "../../RemoteDevices.ts"
import { RemoteDevices } from "../../RemoteDevices.ts"
import * as Tensor from "../../Tensor.ts"
import * as FaultyDevices from "../FaultyDevices.ts"

/** A law of feeding does not hold. */
export class LawBroken extends Error {
  override readonly name = "LawBroken"
}

/** Says what is so, if it is not what the law says. */
export const check = (holds: boolean, broken: () => string): void => {
  if (!holds) throw new LawBroken(broken())
}

export const show = (values: Iterable<unknown>): string => {
  const all = [...values]
  return `[${all.slice(0, 40).join(", ")}${all.length > 40 ? `, … ${all.length} in all` : ""}]`
}

export const checkSame = (what: string, actual: ReadonlyArray<unknown>, expected: ReadonlyArray<unknown>): void =>
  check(
    actual.length === expected.length && actual.every((value, i) => value === expected[i]),
    () => `${what}: ${show(actual)} instead of ${show(expected)}`
  )

export const range = (count: number): Array<number> => Array.from({ length: count }, (_, i) => i)

// -----------------------------------------------------------------------------
// feeds
// -----------------------------------------------------------------------------

export const capacity = 4

export const Processed = Feed.make("laws/processed", { element: Schema.Int, capacity, acknowledge: "processed" })

export const Accepted = Feed.make("laws/accepted", { element: Schema.Int, capacity, acknowledge: "accepted" })

export const Tensors = Feed.make("laws/tensors", {
  element: Schema.Struct({
    id: Schema.Int,
    image: Tensor.float32([2, 3]),
    mask: Tensor.bool([5]),
    words: Schema.Array(Schema.String)
  }),
  capacity
})

export const feeds = [Processed, Accepted, Tensors] as const

export type Hosts = HostsOf<typeof feeds>

/** One of the two feeds of numbers. */
export interface Kind<out R = Hosts> {
  readonly name: string
  readonly acknowledge: Acknowledge
  readonly consume: (
    f: (n: number, delivery: Delivery) => Effect.Effect<unknown>
  ) => Effect.Effect<Consumed, FeedsItself, R>
  readonly batches: (
    n: number,
    f: (batch: ReadonlyArray<number>, deliveries: ReadonlyArray<Delivery>) => Effect.Effect<unknown>
  ) => Effect.Effect<Consumed, FeedsItself, R>
  readonly make: (
    options?: Feeder.Options
  ) => Effect.Effect<Feeder.Feeder<typeof Schema.Int>, Feeder.FeedError, Scope.Scope>
}

const kindOf = <Name extends string, Ack extends Acknowledge>(
  feed: Feed.Feed<Name, typeof Schema.Int, Ack>
): Kind<Host<Name>> => ({
  name: feed.name,
  acknowledge: feed.acknowledge,
  consume: (f) => feed.forEach(f),
  batches: (n, f) => feed.forEachBatch(n, (batch, { deliveries }) => f([...batch], deliveries)),
  make: (options) => Feeder.make(feed, { tolerate: patient, ...options })
})

/** Failures are no law's matter unless it says so. */
export const patient = FailureTolerator.make({ limit: 1000, initDelay: 10, backoffFactor: 1 })

export const kinds: ReadonlyArray<Kind> = [kindOf(Processed), kindOf(Accepted)]

// -----------------------------------------------------------------------------
// devices
// -----------------------------------------------------------------------------

/** The devices of a Layer, whose links a law may break. */
export interface Bench {
  readonly device: string
  readonly other: string
  readonly faults: FaultyDevices.FaultyDevices["Service"]
  readonly remote: RemoteDevices["Service"]
  /** Runs a consumer on a host of its own. */
  readonly host: <A, E>(device: string, consumer: Effect.Effect<A, E, Hosts>) => Effect.Effect<A, E>
}

export const makeBench = <R, E, E2>(options: {
  readonly devices: readonly [string, string, ...ReadonlyArray<string>]
  readonly layer: Layer.Layer<RemoteDevices | R, E>
  readonly host: (device: string) => Layer.Layer<Hosts, E2, R>
}): Effect.Effect<Bench, E, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const context = yield* Layer.buildWithScope(options.layer, scope)
    const real = Context.get(context, RemoteDevices)
    const faulty = yield* Layer.buildWithScope(
      Layer.provide(FaultyDevices.layer, Layer.succeed(RemoteDevices, real)),
      scope
    )
    const build = (device: string): Effect.Effect<Context.Context<Hosts>, E2, Scope.Scope> =>
      Effect.flatMap(Effect.scope, (own) =>
        Effect.updateContext(
          Layer.buildWithScope(options.host(device), own),
          (outer: Context.Context<never>) => Context.merge(outer, context)
        ))
    return {
      device: options.devices[0],
      other: options.devices[1],
      faults: Context.get(faulty, FaultyDevices.FaultyDevices),
      remote: Context.get(faulty, RemoteDevices),
      host: (device, consumer) =>
        // A host that does not come up is no law's matter: it ends the test.
        Effect.scoped(Effect.flatMap(Effect.orDie(build(device)), (hosts) => Effect.provideContext(consumer, hosts)))
    }
  })

/** Waits until something is so, at most for five seconds. */
export const until = (what: string, holds: Effect.Effect<boolean>): Effect.Effect<void> => {
  const turn = (left: number): Effect.Effect<void> =>
    Effect.flatMap(holds, (isSo) => {
      if (isSo) return Effect.void
      check(left > 0, () => `in 5 seconds it did not happen that ${what}`)
      return Effect.andThen(Effect.sleep(5), turn(left - 1))
    })
  return turn(1000)
}

/** The value once it has not changed for a fifth of a second, looked at for at most five seconds. */
export const settled = (value: Effect.Effect<number>): Effect.Effect<number> => {
  const turn = (last: number, calm: number, left: number): Effect.Effect<number> =>
    Effect.flatMap(Effect.andThen(Effect.sleep(10), value), (now) => {
      if (now === last && calm === 20) return Effect.succeed(now)
      check(left > 0, () => `in 5 seconds it did not come to rest, and is at ${now}`)
      return turn(now, now === last ? calm + 1 : 0, left - 1)
    })
  return turn(Number.NaN, 0, 500)
}

/** Ends within some time, or the law is broken. */
export const within = <A, E, R>(
  seconds: number,
  what: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.timeoutOrElse(effect, {
    duration: seconds * 1000,
    orElse: () => Effect.die(new LawBroken(`${what} took more than ${seconds} seconds`))
  })
