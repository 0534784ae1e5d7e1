/** What is kept of a codec is of the hidden classes that its batches have, so that none of those is ever dropped. */
import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import * as BatchCodec from "effect-feeder/BatchCodec"
import * as Tensor from "effect-feeder/Tensor"
import * as v8 from "node:v8"
import { runInThisContext } from "node:vm"
import { compile } from "../../src/internal/batchLayout.ts"

v8.setFlagsFromString("--allow-natives-syntax")
const hasSameClass: (self: unknown, that: unknown) => boolean = runInThisContext(
  "(self, that) => %HaveSameMap(self, that)"
)

const schema = Schema.Struct({
  id: Tensor.int32([]),
  image: Tensor.float32([1024]),
  kind: Schema.Literals(["view", "buy"]),
  label: Schema.String,
  score: Schema.Number,
  thumbnail: Tensor.uint8([4])
})

const element = (i: number) => ({
  id: i,
  image: new Float32Array(1024).fill(i),
  kind: i % 2 === 0 ? "view" as const : "buy" as const,
  label: i % 2 === 0 ? `label ${i}` : `läbel ${i}`,
  score: i % 3 / 2,
  thumbnail: new Uint8Array(4).fill(i)
})

const size = 32

describe("what is kept of a codec", () => {
  it("conserved: rows and columns have its hidden classes, whatever they hold", () => {
    const codec = BatchCodec.make(schema)
    const [row, ...columns] = compile(schema.ast).shape.kept
    for (let round = 0; round < 4; round++) {
      const elements = Array.from({ length: size }, (_, i) => element(round * size + i))
      const sent = Result.getOrThrow(codec.fromUnknown(elements))
      const bytes = Buffer.concat(codec.encode(sent))
      const received = Result.getOrThrow(codec.decode(bytes))
      for (const made of received.elements) assert.isTrue(hasSameClass(made, row))
      for (const chunk of [sent, received, codec.slice(received, 1, 5), codec.concat([received, received])]) {
        assert.isTrue(hasSameClass(chunk, codec.concat([])))
        chunk.columns.forEach((column, k) => assert.isTrue(hasSameClass(column, columns[k])))
      }
    }
  })
})
