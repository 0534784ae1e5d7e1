/**
 * The feeds whose batches are fuzzed: together they have every kind of column.
 */
import { Schema } from "effect"
import * as BatchCodec from "effect-feeder/BatchCodec"
import type { FeedInfo } from "effect-feeder/RemoteDevices"
import * as Tensor from "effect-feeder/Tensor"

/** A feed, its elements' Schema, and the fewest bytes that one element takes. */
export interface FuzzFeed {
  readonly info: FeedInfo
  readonly schema: BatchCodec.ElementSchema
  readonly least: number
}

const feed = (name: string, schema: BatchCodec.ElementSchema, least: number): FuzzFeed => {
  const codec = BatchCodec.make(schema)
  return { info: { name, fingerprint: codec.fingerprint, codec }, schema, least }
}

const Low = Schema.Struct({ low: Schema.Finite, high: Schema.Finite })

export const feeds: ReadonlyArray<FuzzFeed> = [
  feed("pixels", Schema.Struct({ id: Schema.Int, label: Schema.String, pixel: Tensor.uint8([3]) }), 15),
  feed(
    "wide",
    Schema.Struct({
      flag: Schema.Boolean,
      mask: Tensor.bool([2]),
      words: Tensor.string([2]),
      big: Tensor.bigint64([]),
      real: Tensor.float32([2]),
      pair: Tensor.int16([]),
      size: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 }))
    }),
    8
  ),
  feed(
    "rest",
    Schema.Struct({
      id: Schema.Int,
      note: Schema.optional(Schema.String),
      either: Schema.Union([Schema.String, Schema.Finite]),
      inner: Schema.Struct({ tags: Schema.Array(Schema.String), at: Schema.DateTimeUtcFromString }),
      codes: Schema.Record(Schema.String, Schema.Boolean)
    }),
    8
  ),
  feed("json", Schema.Union([Schema.Struct({ b: Schema.Boolean }), Schema.Struct({ a: Schema.String })]), 1),
  feed("ordered", Low.check(Schema.makeFilter(({ high, low }) => low <= high, { expected: "low up to high" })), 16),
  feed("whole", Schema.String, 4),
  feed(
    "kinds",
    Schema.Struct({
      big: Schema.BigInt,
      data: Schema.Uint8Array,
      kind: Schema.Literals(["a", "b", 3]),
      tag: Schema.tag("kinds"),
      note: Schema.optional(Schema.NullOr(Schema.String)),
      score: Schema.NullOr(Schema.Number.check(Schema.isGreaterThan(0))),
      inner: Schema.Struct({ id: Schema.Int, at: Schema.optionalKey(Tensor.int16([2])) }),
      items: Schema.Array(Schema.Struct({ tags: Schema.NonEmptyArray(Schema.String), ok: Schema.Boolean }))
    }),
    25
  ),
  feed("lists", Schema.Array(Schema.Array(Schema.String)), 4),
  feed(
    "options",
    Schema.Struct({
      a: Schema.optionalKey(Schema.Array(Schema.Int)),
      b: Schema.NullishOr(Schema.Enum({ X: 0, Y: "y" }))
    }),
    0
  )
]
