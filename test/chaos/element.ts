/**
 * What is fed: numbered elements of different sizes that can be checked, some of which their consumers refuse.
 */
import { Schema } from "effect"
import { Feed, type RemoteDevices } from "effect-feeder"
import { crc32 } from "node:zlib"

/** `n` is the element's number in the run, `life` the start of the feeder that generated it. */
const Element = Schema.Struct({ n: Schema.Int, life: Schema.Int, payload: Schema.String, checksum: Schema.Int })

export type Element = typeof Element.Type

/** Elements that may wait at the feeder, and at each device. */
export const capacity = 512

/** Elements of a batch. */
export const batch = 128

/** The elements are dealt out to so many splits of the source, whose positions are the elements' numbers. */
export const splits = 2

export const splitOf = (n: number): string => String(n % splits)

export const source = "numbers"

/** The id of the feeder, in all its lives. */
export const feeder = "chaos"

/** The name of the feed. */
export const feed = "chaos"

/** The feed, for each delivery; an element's id is its number. */
export const feedOf = (delivery: RemoteDevices.DeliveryMode) =>
  Feed.make(feed, { element: Element, capacity, delivery, identify: ({ n }) => String(n) })

const text = "The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. ".repeat(4)

const checksumOf = (n: number, payload: string): number => crc32(payload, n) | 0

/** An element of up to 300 characters. */
export const make = (n: number, life: number): Element => {
  const payload = text.slice(n % 41, n % 41 + (n * 7919) % 300)
  return { n, life, payload, checksum: checksumOf(n, payload) }
}

export const isIntact = ({ checksum, n, payload }: Omit<Element, "life">): boolean =>
  checksumOf(n, payload) === checksum

/** Whether consumers refuse it for good. */
export const isRefused = (n: number): boolean => n % 10_007 === 5003

/** Whether consumers give it back when they first have it. */
export const isGivenBack = (n: number): boolean => n % 997 === 501
