/** The feed of the tests with a peer in Python, and its columns as that peer is told them. */
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
