/**
 * What the processes of the bounded scenarios share: the feeds, the settings they are started with and the lines they
 * print.
 */
import { Feed, Tensor } from "effect-feeder"
import * as Schema from "effect/Schema"

export const blobBytes = 1_000_000

/** Elements of 1 MB, of which the window of 64 MiB lets fewer out than the capacity would. */
export const Blobs = Feed.make("blobs", { element: Tensor.uint8([blobBytes]), capacity: 80 })

const row = Schema.Struct({ id: Tensor.int32([]), label: Schema.String })

/** Small elements in large batches. */
export const Rows = Feed.make("rows", { element: row, capacity: 8192 })

/** Small elements in a queue that many feeders share. */
export const Shared = Feed.make("shared", { element: row, capacity: 256 })

/** The label of an element: 16 characters. */
export const labelOf = (id: number): string => `label-${String(id).padStart(10, "0")}`

const FeedName = Schema.Literals(["blobs", "rows", "shared"])

/** How a consumer's process is started: it hosts the feed once at each port. */
export const ConsumerSettings = Schema.Struct({
  feed: FeedName,
  ports: Schema.Array(Schema.Natural),
  feeders: Schema.Union([Schema.Natural, Schema.Literal("forever")]),
  batch: Schema.Natural,
  sampleMillis: Schema.Natural,
  /** How long each batch takes. */
  millis: Schema.Natural,
  /** Whether an account of each feeder is kept, which grows with their number. */
  isCounted: Schema.Boolean,
  /** So many elements are consumed at once; those that follow wait for a SIGUSR2. */
  freely: Schema.optional(Schema.Natural)
})

export type ConsumerSettings = typeof ConsumerSettings.Type

/** How a feeder's process is started: with so many feeders, or so many cycles of one after the other. */
export const FeederSettings = Schema.Struct({
  feed: FeedName,
  devices: Schema.Record(Schema.String, Schema.String),
  feeders: Schema.Natural,
  /** Elements of each feeder. */
  count: Schema.Natural,
  cycles: Schema.Natural,
  leaseMillis: Schema.Natural,
  sampleMillis: Schema.Natural,
  /** Whether the sources wait for a SIGUSR2. */
  isHeld: Schema.Boolean
})

export type FeederSettings = typeof FeederSettings.Type

/** A line of a process. `live` is what is still used after a full collection: the heap and what lies outside of it. */
export const Line = Schema.Union([
  Schema.TaggedStruct("Up", { pid: Schema.Natural }),
  Schema.TaggedStruct("Sample", {
    at: Schema.Number,
    rss: Schema.Natural,
    heap: Schema.Natural,
    external: Schema.Natural,
    live: Schema.Natural,
    fds: Schema.Natural,
    resources: Schema.Natural,
    /** Elements: out at devices and queued here, for a feeder; consumed, for a consumer. */
    leased: Schema.Natural,
    queued: Schema.Natural,
    consumed: Schema.Natural
  }),
  /** The devices that every feeder of the process is linked with are this many. */
  Schema.TaggedStruct("Attached", { links: Schema.Natural }),
  Schema.TaggedStruct("Fed", {
    generated: Schema.Natural,
    delivered: Schema.Natural,
    redelivered: Schema.Natural,
    lost: Schema.Natural,
    cycles: Schema.Natural,
    interrupted: Schema.Natural
  }),
  /** `misplaced`: elements that did not follow the one before of their feeder, or were not what their id says. */
  Schema.TaggedStruct("Ended", {
    consumed: Schema.Natural,
    redelivered: Schema.Natural,
    misplaced: Schema.Natural,
    feeders: Schema.Natural,
    /** Elements of the feeder with the fewest and the most, when half of what came had come. */
    least: Schema.Natural,
    most: Schema.Natural,
    /** Elements of the device with the fewest and the most. */
    leastOfDevice: Schema.Natural,
    mostOfDevice: Schema.Natural
  }),
  Schema.TaggedStruct("Failed", { message: Schema.String })
])

export type Line = typeof Line.Type

export type Sample = Extract<Line, { readonly _tag: "Sample" }>

export const lineFromJson = Schema.fromJsonString(Line)
