/**
 * Checkpoints: what they hold, how they are written as text, and which of two copies counts.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Schema from "effect/Schema"
import { checksum } from "./checksum.ts"

const TypeId = "~effect-feeder/Checkpoint"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * How far one split of a source is acknowledged: its elements at positions up to `to`, and those in the ranges `above`,
 * which are greater than the first number and at most the second.
 *
 * `reserved` is how many elements after `to`, in reading order, may have left the feeder: the next life marks those that
 * are not acknowledged as redelivered. `ended` says that the source had no more elements than were read.
 *
 * @category models
 * @since 0.1.0
 */
export const Split = Schema.Struct({
  to: Schema.optionalKey(Schema.Int),
  above: Schema.Array(Schema.Tuple([Schema.Int, Schema.Int])),
  reserved: Schema.Natural,
  ended: Schema.Boolean
})

/**
 * @category models
 * @since 0.1.0
 */
export type Split = typeof Split.Type

/**
 * A checkpoint: the splits of a feeder's resumable sources, each by `<source>/<split>`. `sequence` grows by one with each
 * checkpoint, `incarnation` from one life of the feeder to the next.
 *
 * `devices` are those that may hand out what is not acknowledged, for as long as `leaseMillis` after the feeder's end. The
 * next life feeds nothing of that elsewhere, before they have answered it or the time is over.
 *
 * @category models
 * @since 0.1.0
 */
export const Checkpoint = Schema.Struct({
  feed: Schema.String,
  feeder: Schema.String,
  incarnation: Schema.Natural,
  sequence: Schema.Natural,
  leaseMillis: Schema.Natural,
  devices: Schema.Array(Schema.String),
  splits: Schema.Record(Schema.String, Split)
})

/**
 * @category models
 * @since 0.1.0
 */
export type Checkpoint = typeof Checkpoint.Type

/**
 * A checkpoint cannot be taken or read. `key` is what both of its keys begin with.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointFailed extends Schema.Error<CheckpointFailed>(`${TypeId}/CheckpointFailed`)({
  _tag: Schema.tag("CheckpointFailed"),
  key: Schema.String,
  why: Schema.Literals(["nothing to keep", "unreadable", "unwritable", "damaged", "taken over"]),
  detail: Schema.String
}) {
  override get message(): string {
    const it = `checkpoint ${this.key}`
    switch (this.why) {
      case "nothing to keep":
        return `${it} is not taken: ${this.detail}; give the feeder an \`id\`, a \`store\` and a ResumableSource`
      case "unreadable":
        return `${it} cannot be read: ${this.detail}; mend the store and start again`
      case "unwritable":
        return `${it} cannot be written: ${this.detail}; nothing is lost by that, and it is tried again`
      case "damaged":
        return `${it} is damaged: ${this.detail}; bring back one of its copies, or remove both to read the sources ` +
          `from their beginning`
      case "taken over":
        return `${it} was written by another feeder of this id: ${this.detail}; stop one of them, or give each its own id`
    }
  }
}

/**
 * Whether the element at a position of a split, named `<source>/<split>`, is acknowledged by a checkpoint.
 *
 * **Example** (A hole above the watermark)
 *
 * ```ts import.meta.vitest
 * import { Checkpoint } from "effect-feeder"
 *
 * const checkpoint: Checkpoint.Checkpoint = {
 *   feed: "orders",
 *   feeder: "importer",
 *   incarnation: 1,
 *   sequence: 4,
 *   leaseMillis: 10_000,
 *   devices: ["/job:indexer/replica:0"],
 *   splits: { "table/0": { to: 10, above: [[11, 13]], reserved: 100, ended: false } }
 * }
 *
 * Checkpoint.isAcknowledged(checkpoint, "table/0", 11) // => false
 * Checkpoint.isAcknowledged(checkpoint, "table/0", 12) // => true
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const isAcknowledged = (checkpoint: Checkpoint, split: string, position: number): boolean => {
  const known = checkpoint.splits[split]
  if (known === undefined) return false
  return (known.to !== undefined && position <= known.to) ||
    known.above.some(([after, to]) => after < position && position <= to)
}

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

/**
 * What both keys of a feeder's checkpoints begin with. A `/` in a name is written `%2F` there.
 *
 * @category accessors
 * @since 0.1.0
 */
export const keyOf = (options: { readonly feeder: string; readonly feed: string }): string =>
  `${prefixOf(options)}checkpoint`

/** What all keys of a feeder begin with, so that no two feeders have one in common. */
export const prefixOf = (options: { readonly feeder: string; readonly feed: string }): string =>
  `feeder/${escaped(options.feeder)}/${escaped(options.feed)}/`

const escaped = (name: string): string => name.replaceAll("%", "%25").replaceAll("/", "%2F")

/**
 * The newest checkpoint of a feeder that is whole; none if it has never taken one.
 *
 * **Details**
 *
 * It fails if there were checkpoints and none is whole. A first one that was cut off counts as none: nothing had left the
 * feeder before it was written.
 *
 * **Example** (How far an import is)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { Checkpoint, Feed, Feeder, MemoryDevices, ResumableSource } from "effect-feeder"
 * import { KeyValueStore } from "effect/persistence"
 *
 * const Rows = Feed.make("rows", { element: Schema.String })
 * const program = Effect.gen(function*() {
 *   const store = yield* KeyValueStore.KeyValueStore
 *   const source = ResumableSource.fromIterable("table", ["a", "b", "c"])
 *   const feed = Feeder.run(Rows, { id: "importer", store, source, devices: ["/job:consumer"] })
 *   yield* Effect.all([feed, Rows.forEach(() => Effect.void)], { concurrency: "unbounded" })
 *   const checkpoint = yield* Checkpoint.load(store, { feeder: "importer", feed: "rows" })
 *   return checkpoint?.splits["table/0"]
 * })
 *
 * await Effect.runPromise(program.pipe(
 *   Effect.provide(MemoryDevices.layer({ feeds: [Rows] })),
 *   Effect.provide(KeyValueStore.layerMemory)
 * )) // => { to: 2, above: [], reserved: 0, ended: true }
 * ```
 *
 * @category loading
 * @since 0.1.0
 */
export const load = (
  store: KeyValueStore.KeyValueStore,
  options: { readonly feeder: string; readonly feed: string }
): Effect.Effect<Checkpoint | undefined, CheckpointFailed> =>
  Effect.map(newest(store, keyOf(options)), (found) => found?.checkpoint)

/** The two copies of a checkpoint. */
export type Copy = "a" | "b"

/** The newest copy that is whole, and which one it is. */
export const newest = (
  store: KeyValueStore.KeyValueStore,
  key: string
): Effect.Effect<{ readonly checkpoint: Checkpoint; readonly copy: Copy } | undefined, CheckpointFailed> =>
  Effect.gen(function*() {
    const a = yield* read(store, key, "a")
    const b = yield* read(store, key, "b")
    if (typeof a === "object" && !(typeof b === "object" && b.sequence > a.sequence)) {
      return { checkpoint: a, copy: "a" }
    }
    if (typeof b === "object") return { checkpoint: b, copy: "b" }
    if (b === "absent") {
      if (a === "damaged") {
        yield* Effect.logWarning(`the first checkpoint ${key}/a was cut off while it was written, and counts as none`)
      }
      return undefined
    }
    return yield* new CheckpointFailed({
      key,
      why: "damaged",
      detail: `copy "a" is ${a === "absent" ? "missing" : "not whole"}, copy "b" is not whole`
    })
  })

/** One copy of a checkpoint, if it is there and whole. */
export const read = (
  store: KeyValueStore.KeyValueStore,
  key: string,
  copy: Copy
): Effect.Effect<Checkpoint | "absent" | "damaged", CheckpointFailed> =>
  store.get(`${key}/${copy}`).pipe(
    Effect.catchDefect(Effect.fail),
    Effect.mapError((error) => new CheckpointFailed({ key, why: "unreadable", detail: detailOf(error) })),
    Effect.map((text) => text === undefined ? "absent" : decode(text) ?? "damaged")
  )

/** What a store says of a failure, with its cause: that the disk is full stands there. */
export const detailOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message
}

const Json = Schema.fromJsonString(Checkpoint)
const decodeJson = Schema.decodeUnknownOption(Json)
const encodeJson = Schema.encodeSync(Json)

const format = "effect-feeder checkpoint 1"

/** A first line with the format and a checksum, and the checkpoint as JSON. */
export const encode = (checkpoint: Checkpoint): string => enveloped(encodeJson(checkpoint))

const decode = (text: string): Checkpoint | undefined => {
  const json = text.slice(text.indexOf("\n") + 1, -1)
  return text === enveloped(json) ? Option.getOrUndefined(decodeJson(json)) : undefined
}

const enveloped = (json: string): string => `${format} ${checksum(json)}\n${json}\n`
