/**
 * What scenarios of a feeder are played with: a network in memory whose devices fail on demand, consumers that
 * note what they see, and a virtual clock.
 */
import { assert } from "@effect/vitest"
import { Effect, type Exit, Fiber, Layer, Schema } from "effect"
import { FailureTolerator, Feed, MemoryDevices, RemoteDevices } from "effect-feeder"
import { FaultyDevices } from "effect-feeder/testing"
import { TestClock } from "effect/testing"

export const Numbers = Feed.make("numbers", { element: Schema.Int, capacity: 4 })

/** The reference's own tests feed pairs of strings through a queue of one. */
export const Pairs = Feed.make("pairs", { element: Schema.Struct({ a: Schema.String, b: Schema.String }), capacity: 1 })

export const range = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i)
export const replica = (index: number) => `/job:consumer/replica:${index}`

/** Gives every other fiber enough turns to come to rest. */
export const settled = Effect.forEach(range(200), () => Effect.yieldNow, { discard: true })

export const pass = (millis: number) => Effect.andThen(TestClock.adjust(millis), settled)

/** Lets time pass in small steps until the fiber has ended, and gives what it ended with. */
export const passUntil = <A, E>(fiber: Fiber.Fiber<A, E>, steps = 400, millis = 50) =>
  Effect.gen(function*() {
    for (let i = 0; i < steps && fiber.pollUnsafe() === undefined; i++) {
      yield* settled
      yield* TestClock.adjust(millis)
    }
    assert.isDefined(fiber.pollUnsafe(), "it does not end")
    return yield* Fiber.join(fiber)
  })

export const hasEnded = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.pollUnsafe() !== undefined

/** A fiber that has ended without any time passing. */
export const endedNow = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.andThen(
    settled,
    Effect.suspend(() => {
      assert.isTrue(hasEnded(fiber), "it has not ended yet")
      return Fiber.await(fiber)
    })
  )

/** A budget with the same delay, in milliseconds, after each tolerated failure. */
export const tolerate = (limit: number, millis = 100) =>
  FailureTolerator.make({ limit, initDelay: millis, backoffFactor: 1 })

export const network = FaultyDevices.layer.pipe(Layer.provideMerge(MemoryDevices.layerNetwork))
export const onNetwork = Effect.provide(network)

/** Hosts `Numbers` under one name, as a process of its own would. */
export const host = (device: string, options: { readonly feeders?: number | "forever" } = {}) =>
  Effect.provide(MemoryDevices.layerHost({ feeds: [Numbers], device, ...options }))

/** The first frame of a feeder's link to a device. */
export const greeting = (device: string, feed: Feed.Any = Numbers): RemoteDevices.Hello => ({
  _tag: "Hello",
  versions: [1, 1],
  feed: feed.name,
  fingerprint: feed.info.fingerprint,
  feeder: "f",
  incarnation: 1,
  device,
  session: 1,
  keepTo: 0,
  acknowledge: "processed",
  leaseMillis: 1000
})

/** Notes what consumers see, in one order. */
export const recorder = () => {
  const seen: Array<number> = []
  const deliveries: Array<Feed.Delivery> = []
  return {
    seen,
    deliveries,
    marked: () => deliveries.filter((delivery) => delivery.redelivered).map((delivery) => delivery.ordinal),
    note: (n: number, delivery: Feed.Delivery) =>
      Effect.sync(() => {
        seen.push(n)
        deliveries.push(delivery)
      })
  }
}

/** Watches the links of another `RemoteDevices`: when each was asked for, and how many were open then. */
export const watched = (asked: Array<{ readonly at: number; readonly device: string; readonly open: number }>) =>
  Layer.effect(
    RemoteDevices.RemoteDevices,
    Effect.gen(function*() {
      const devices = yield* RemoteDevices.RemoteDevices
      const open = new Map<string, number>()
      const change = (device: string, by: number) => open.set(device, (open.get(device) ?? 0) + by)
      return {
        open: (device, feed) =>
          Effect.clockWith((clock) =>
            Effect.suspend(() => {
              asked.push({ at: clock.currentTimeMillisUnsafe(), device, open: open.get(device) ?? 0 })
              return Effect.tap(devices.open(device, feed), () =>
                Effect.acquireRelease(
                  Effect.sync(() => change(device, 1)),
                  () => Effect.sync(() => change(device, -1))
                ))
            })
          )
      }
    })
  )
