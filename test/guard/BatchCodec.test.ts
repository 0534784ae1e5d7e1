/**
 * What an element costs in a batch: the bytes that are allocated on the heap for it, whatever the machine and whoever else
 * is busy on it. The limits are a little above what was reached: a change that exceeds one has made the codec slower.
 */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Bytes, Result, Schema } from "effect"
import * as BatchCodec from "effect-feeder/BatchCodec"
import * as Tensor from "effect-feeder/Tensor"
import { type HeapProfiler, Session } from "node:inspector/promises"

const batch = 64
const batches = 200

const sizeOf = ({ children, selfSize }: HeapProfiler.SamplingHeapProfileNode): number =>
  children.reduce((sum, child) => sum + sizeOf(child), selfSize)

const session = new Session()
session.connect()

const sample = async (f: () => unknown): Promise<number> => {
  await session.post("HeapProfiler.startSampling", {
    samplingInterval: 512,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true
  })
  for (let i = 0; i < batches; i++) f()
  const { profile } = await session.post("HeapProfiler.stopSampling")
  return sizeOf(profile.head) / (batches * batch)
}

/** The bytes per element that `f` allocates, run once for each batch. Sampled: good to a few percent. */
const allocated = async (f: () => unknown): Promise<number> => {
  // Compiled code allocates less, so that counts what comes after the first runs.
  for (let i = 0; i < 1000; i++) f()
  return Math.min(await sample(f), await sample(f), await sample(f))
}

const range = Array.from({ length: batch }, (_, i) => i)

const cases = {
  small: {
    schema: Schema.Struct({ id: Tensor.int32([]), label: Schema.String }),
    elements: range.map((id) => ({ id, label: `label-${1e9 + id}` })),
    most: { validate: 80, encode: 145, decode: 60, elements: 195, fromBatch: 150, cut: 75 }
  },
  tensor: {
    schema: Schema.Struct({ image: Tensor.float32([28, 28]), label: Tensor.int32([]) }),
    elements: range.map((label) => ({ image: new Float32Array(784).fill(label), label })),
    most: { validate: 60, encode: 290, decode: 35, elements: 255, fromBatch: 90, cut: 70 }
  },
  nested: {
    schema: Schema.Struct({
      id: Schema.Int,
      kind: Schema.Literals(["view", "buy"]),
      note: Schema.optionalKey(Schema.String),
      user: Schema.Struct({ id: Schema.Int, name: Schema.String }),
      tags: Schema.Array(Schema.String)
    }),
    elements: range.map((id) => ({
      id,
      kind: "buy",
      ...(id % 2 === 0 ? { note: "a note" } : {}),
      user: { id, name: "someone" },
      tags: ["a", "b"]
    })),
    most: { validate: 90, encode: 400, decode: 125, elements: 490, fromBatch: 420, cut: 165 }
  }
} as const

afterAll(() => session.disconnect())

describe("the bytes that an element costs in a batch", () => {
  for (const [name, { elements, most, schema }] of Object.entries(cases)) {
    const codec: BatchCodec.BatchCodec<unknown, unknown> = BatchCodec.make<Schema.Codec<unknown>>(schema)
    const bytes = Bytes.concat(codec.encode(codec.fromElements(elements)))
    const stacked = codec.stack(elements)
    const received = Result.getOrThrow(codec.decode(bytes))
    const ways: { readonly [way in keyof typeof most]: () => unknown } = {
      validate: () => {
        for (const element of elements) Result.getOrThrow(codec.validate(element))
      },
      encode: () => codec.encode(codec.fromElements(elements)),
      decode: () => codec.decode(bytes),
      elements: () => Result.getOrThrow(codec.decode(bytes)).elements,
      fromBatch: () => codec.encode(Result.getOrThrow(codec.fromBatch(stacked))),
      cut: () => codec.encode(codec.slice(received, 1, 63))
    }
    for (const [way, limit] of Object.entries(most)) {
      it(`${name}: ${way}`, async () => {
        assert.isAtMost(await allocated(ways[way as keyof typeof most]), limit) // it is one of them
      }, 30_000)
    }
  }
})
