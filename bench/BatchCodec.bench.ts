/**
 * A batch of elements to one piece of bytes and back to elements, which is what a network needs, against JSON, V8's own
 * serializer, and what Effect makes of the same Schema.
 */
import { Bytes, Result, Schema } from "effect"
import { SchemaBinary } from "effect/encoding"
import * as v8 from "node:v8"
import { type Case, expect, measure } from "./harness.ts"
import { batch, digestOf, each, some } from "./payloads.ts"

await each(async (payload) => {
  const { digest, digestBatch, feed, fromJson, pool, title, toJson } = payload
  const { codec, element } = feed
  type Element = typeof pool[number]

  /** Calls `trip` for each batch; it gives the sum of the digests of what came back. */
  const trips = (name: string, trip: (elements: ReadonlyArray<Element>) => number): Case => {
    let expected = 0
    return {
      name,
      before: async (n) => {
        expected = digestOf(payload, n)
      },
      run: (n) => {
        let sum = 0
        for (let i = 0; i < n; i += batch) sum += trip(some(pool, i, batch))
        expect(`${name}: sum of digests`, sum, expected)
      }
    }
  }

  const digestAll = (elements: ReadonlyArray<Element>): number => {
    let sum = 0
    for (const element of elements) sum += digest(element)
    return sum
  }

  const decode = (elements: ReadonlyArray<Element>) =>
    Result.getOrThrow(codec.decode(Bytes.concat(codec.encode(codec.fromElements(elements)))))

  const validate = (elements: ReadonlyArray<Element>) => {
    for (const element of elements) Result.getOrThrow(codec.validate(element))
  }

  const rows = Schema.Array(element)
  const json = Schema.fromJsonString(Schema.toCodecJson(rows))
  const encodeJson = Schema.encodeUnknownSync(json)
  const decodeJson = Schema.decodeUnknownSync(json)
  const binary = SchemaBinary.toCodec(rows)
  const encodeBinary = Schema.encodeUnknownSync(binary)
  const decodeBinary = Schema.decodeUnknownSync(binary)

  await measure({
    title: `BatchCodec, ${feed.name}`,
    payload: title,
    batch,
    capacity: "none",
    acknowledge: "none",
    clock: "cpu",
    cases: [
      trips("JSON, not validated", (elements) => {
        const bytes = Buffer.from(JSON.stringify(elements.map(toJson)))
        return digestAll((JSON.parse(bytes.toString()) as ReadonlyArray<unknown>).map(fromJson))
      }),
      trips("JSON by the Schema, validated", (elements) => {
        const bytes = Buffer.from(encodeJson(elements))
        return digestAll(decodeJson(bytes.toString()))
      }),
      trips("SchemaBinary, validated", (elements) => digestAll(decodeBinary(encodeBinary(elements)))),
      trips(
        "v8.serialize, not validated",
        (elements) => digestAll(v8.deserialize(v8.serialize(elements)) as ReadonlyArray<Element>)
      ),
      trips("BatchCodec, validated at both ends", (elements) => {
        validate(elements)
        return digestAll(decode(elements).elements)
      }),
      trips("BatchCodec, validated when read", (elements) => digestAll(decode(elements).elements)),
      trips(
        "BatchCodec, validated when read, to a stacked batch",
        (elements) => digestBatch(codec.stackChunk(decode(elements)))
      )
    ]
  })
})
