/** The feeds of the tests with a peer in Python, and their columns as that peer is told them. */
import { Feed, Tensor } from "effect-feeder"
import * as Schema from "effect/Schema"

export const Samples = Feed.make("samples", {
  element: Schema.Struct({
    id: Schema.Int,
    label: Schema.String,
    ratio: Tensor.float32([]),
    pixel: Tensor.uint8([3])
  }),
  capacity: 16
})

export const Kept = Feed.make("kept", { element: Samples.element, capacity: 16, acknowledge: "accepted" })

export const columns = [
  { name: "id", kind: "number" },
  { name: "label", kind: "string" },
  { name: "ratio", kind: "tensor", dtype: "float32", shape: [] },
  { name: "pixel", kind: "tensor", dtype: "uint8", shape: [3] }
]

export const sample = (i: number): typeof Samples.element.Type => ({
  id: i,
  label: `n${i} ✗`,
  ratio: i / 4,
  pixel: Uint8Array.of(i % 256, 1, 2)
})

/** Of every kind of column. */
export const Kinds = Feed.make("kinds", {
  element: Schema.Struct({
    big: Schema.BigInt,
    data: Schema.Uint8Array,
    kind: Schema.Literals(["view", "buy", 3]),
    tag: Schema.tag("event"),
    note: Schema.optionalKey(Schema.NullOr(Schema.String)),
    user: Schema.Struct({ id: Schema.Int, ok: Schema.Boolean, home: Schema.optionalKey(Tensor.float64([2])) }),
    items: Schema.Array(Schema.Struct({ name: Schema.String, sizes: Schema.Array(Schema.Number) }))
  }),
  capacity: 16
})

const number = { kind: "number" }
const string = { kind: "string" }

export const kindsColumns = [
  { name: "tag", kind: "literals", of: [{ string: "event" }] },
  { name: "kind", kind: "literals", of: [{ number: "3" }, { string: "buy" }, { string: "view" }] },
  { name: "big", kind: "bigint" },
  { name: "data", kind: "bytes" },
  { name: "note", kind: "option", none: "absent", of: { kind: "option", none: "null", of: string } },
  {
    name: "user",
    kind: "struct",
    columns: [
      { name: "ok", kind: "boolean" },
      { name: "id", ...number },
      { name: "home", kind: "option", none: "absent", of: { kind: "tensor", dtype: "float64", shape: [2] } }
    ]
  },
  {
    name: "items",
    kind: "list",
    of: {
      kind: "struct",
      columns: [{ name: "sizes", kind: "list", of: number }, { name: "name", ...string }]
    }
  }
]

export const kindsOf = (i: number): typeof Kinds.element.Type => ({
  big: i % 3 === 0 ? BigInt(i) - 2n : (i % 2 === 0 ? -1n : 1n) << BigInt(60 + i),
  data: Uint8Array.from({ length: i % 11 }, (_, k) => k * i % 256),
  kind: i % 3 === 0 ? "view" : i % 3 === 1 ? "buy" : 3,
  tag: "event",
  ...(i % 4 === 0 ? {} : { note: i % 4 === 1 ? null : `✗ ${i}` }),
  user: { id: i, ok: i % 2 === 0, ...(i % 5 === 0 ? { home: Float64Array.of(i, i / 2 - 9) } : {}) },
  items: Array.from({ length: i % 4 }, (_, k) => ({ name: `é${k}`, sizes: Array.from({ length: k }, (_, j) => j / 2) }))
})

/** An element as the peer has it: without typed arrays, and bigints as text. */
export const asJson = (element: unknown): unknown =>
  JSON.parse(
    JSON.stringify(element, (_, value: unknown) =>
      typeof value === "bigint" ? String(value) : ArrayBuffer.isView(value) ? [...value as Uint8Array] : value)
  )
