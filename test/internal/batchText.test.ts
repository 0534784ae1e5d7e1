/**
 * Columns of so many strings that their text is in several parts.
 */
import { assert, describe, it } from "@effect/vitest"
import { Bytes, Result, Schema } from "effect"
import { BatchCodec } from "effect-feeder"
import { chance } from "../chance.ts"
import { range } from "../network.ts"

const codec = BatchCodec.make(Schema.String)

const received = (chunk: BatchCodec.Chunk<string>) => codec.decode(Bytes.concat(codec.encode(chunk)))

const elementsOf = (chunk: BatchCodec.Chunk<string>) => [...Result.getOrThrow(received(chunk)).elements]

/** Where the offsets begin: behind a header of four words, and the one size of the table, aligned. */
const bodyAt = 24

describe("many strings", () => {
  for (const seed of range(60)) {
    it(`are what they were, however they are cut and put together, seed ${seed}`, () => {
      const { below, pick } = chance(seed)
      const length = pick([1, 64, 1023, 1024, 1025, 2048, 5000])
      // One that is not ASCII, anywhere, or none, or all of them.
      const odd = pick([-1, -1, 0, length - 1, below(length)])
      const isAllOdd = below(5) === 0
      const strings = range(length).map((i) =>
        `${below(3) === 0 ? "" : "element "}${below(2) === 0 ? i : ""}${
          isAllOdd || i === odd ? pick(["é", "→", "😀"]) : ""
        }`
      )
      const sent = codec.fromElements(strings)
      assert.deepStrictEqual(elementsOf(sent), strings)
      const pieces = [sent, Result.getOrThrow(received(sent))].flatMap((chunk) =>
        range(4).map(() => {
          const from = below(length)
          const to = from + 1 + below(length - from)
          const piece = codec.slice(chunk, from, to)
          assert.deepStrictEqual([...piece.elements], strings.slice(from, to))
          return { piece, strings: strings.slice(from, to) }
        })
      )
      const joined = codec.concat(pieces.map(({ piece }) => piece))
      const all = pieces.flatMap(({ strings }) => strings)
      assert.deepStrictEqual(elementsOf(joined), all)
      const [from, to] = [below(all.length), all.length]
      assert.deepStrictEqual(
        elementsOf(codec.slice(Result.getOrThrow(received(joined)), from, to)),
        all.slice(from, to)
      )
    })
  }

  it("are refused where an offset is inside of a character, wherever that is", () => {
    for (const at of [1, 1023, 1024, 1025, 2000]) {
      const strings = range(3000).map((i) => i === at - 1 ? "é" : "ab")
      const bytes = Bytes.concat(codec.encode(codec.fromElements(strings)))
      const view = new DataView(bytes.buffer, bytes.byteOffset)
      const offset = bodyAt + 4 * at
      assert.strictEqual(view.getUint32(offset, true), 2 * at)
      view.setUint32(offset, 2 * at - 1, true)
      const error = Result.getOrThrow(Result.flip(codec.decode(bytes)))
      assert.include(error.message, `offset ${at} is inside a character`)
    }
  })

  it("are refused where they are no UTF-8, though each byte is one code unit of a text that replaces them", () => {
    const bytes = Bytes.concat(codec.encode(codec.fromElements(range(3000).map(() => "ab"))))
    bytes[bytes.length - 100] = 0xff
    assert.include(Result.getOrThrow(Result.flip(codec.decode(bytes))).message, "text is not UTF-8")
  })
})
