/**
 * What a seed decides before its history begins: how large everything is, how the network is, and what may go wrong.
 */
import { Schema } from "effect"
import { Feed, type RemoteDevices } from "effect-feeder"
import { chance } from "../chance.ts"

/** The lease of every feeder, in milliseconds. */
export const lease = 1000

/** The delay after a failure, in milliseconds. */
export const failureDelay = 20

/** An element says where it comes from, so that a delivery can be checked by itself. */
export const Element = Schema.Struct({ feeder: Schema.Int, life: Schema.Int, n: Schema.Int, text: Schema.String })

/** What may go wrong, each once or more, at any moment. */
export const faultKinds = [
  "reset",
  "half-open",
  "partition",
  "freeze device",
  "kill device",
  "close device",
  "leave",
  "replace device",
  "interrupt loop",
  "freeze feeder",
  "kill feeder",
  "stop feeder",
  "interrupt feeder",
  "replace feeder",
  "remove device",
  "intrude"
] as const

export type FaultKind = typeof faultKinds[number]

/** No history has the store that `effectivelyOnce` needs; for its feeder it is `atLeastOnce`. */
export type Delivery = Exclude<RemoteDevices.DeliveryMode, "effectivelyOnce">

const makeFeed = (capacity: number, acknowledge: RemoteDevices.Acknowledge, delivery: Delivery) =>
  Feed.make("elements", { element: Element, capacity, acknowledge, delivery })

const feeds = new Map<string, ReturnType<typeof makeFeed>>()

/** Feeds are declarations: those of one kind are made once for all histories. */
export const feedOf = (capacity: number, acknowledge: RemoteDevices.Acknowledge, delivery: Delivery) => {
  const key = `${delivery} ${acknowledge} ${capacity}`
  const known = feeds.get(key) ?? makeFeed(capacity, acknowledge, delivery)
  feeds.set(key, known)
  return known
}

export const make = (seed: number) => {
  const random = chance(seed)
  const yes = (probability: number) => random.next() < probability
  return {
    acknowledge: yes(0.6) ? "processed" as const : "accepted" as const,
    capacity: 1 + random.below(8),
    devices: 1 + random.below(3),
    feeders: yes(0.75) ? 1 : 2,
    /** Elements of each life of a feeder. */
    total: 5 + random.below(30),
    /** How often its source gives something that is no element. */
    invalid: yes(0.1) ? 0.1 : 0,
    operations: random.pick([5, 20, 100, 2048]),
    delay: random.pick([0, 1, 10, 60]),
    frames: 1 + random.below(12),
    asBytes: yes(0.5),
    isExitProven: yes(0.3),
    silence: random.pick([0, 0.5, 1]),
    windowBytes: yes(0.3) ? 40 + random.below(200) : 1_000_000,
    /** Elements of a batch, and fibers that take them, at each device. */
    size: yes(0.5) ? 1 : 1 + random.below(8),
    concurrency: yes(0.6) ? 1 : 2 + random.below(2),
    work: random.pick([0, 20, 300]),
    isPatient: yes(0.5),
    expectsAll: yes(0.5),
    /** How many failures a device may have; in most histories more than it will. */
    limit: yes(0.1) ? 1 + random.below(4) : 1_000_000,
    supervision: yes(0.15) ? "all" as const : "each" as const,
    faults: yes(0.1) ? 0 : 1 + random.below(12),
    faultMillis: 200 + random.below(6000),
    /** Which faults a history knows: a few of them let it go far with each. */
    kinds: faultKinds.filter(() => yes(0.5)),
    delivery: yes(0.15) ? "atMostOnce" as const : "atLeastOnce" as const,
    /** Elements that may be on their way beyond the room of a device's queue. */
    window: random.pick([0, 0, 3, 1000]),
    /** Elements that a source gives at once. */
    together: yes(0.5) ? 1 : 2 + random.below(7)
  }
}

export type Plan = ReturnType<typeof make>
