/** Codecs of others, and our own, for batches of a payload: to one piece of bytes and back. */
import { Bytes, Result, Schema } from "effect"
import { SchemaBinary } from "effect/encoding"
import { pack, unpack } from "msgpackr"
import * as v8 from "node:v8"
import { digestAll, type Payload } from "../payloads.ts"

/** Encodes and decodes a batch, and gives the sum of the digests of what came back. */
export type Trip = (elements: ReadonlyArray<unknown>) => number

export const msgpackr = (payload: Payload): Trip => (elements) => digestAll(payload, unpack(pack(elements)))

export const json = (payload: Payload): Trip => (elements) => {
  const bytes = Buffer.from(JSON.stringify(elements.map((element) => payload.toJson(element))))
  const values: ReadonlyArray<unknown> = JSON.parse(bytes.toString())
  return digestAll(payload, values.map((value) => payload.fromJson(value)))
}

export const schemaJson = (payload: Payload): Trip => {
  const schema = Schema.fromJsonString(Schema.toCodecJson(Schema.Array(payload.element)))
  const encode = Schema.encodeUnknownSync(schema)
  const decode = Schema.decodeUnknownSync(schema)
  return (elements) => digestAll(payload, decode(Buffer.from(encode(elements)).toString()))
}

export const schemaBinary = (payload: Payload): Trip => {
  const schema = SchemaBinary.toCodec(Schema.Array(payload.element))
  const encode = Schema.encodeUnknownSync(schema)
  const decode = Schema.decodeUnknownSync(schema)
  return (elements) => digestAll(payload, decode(encode(elements)))
}

export const v8Serialize = (payload: Payload): Trip => (elements) =>
  digestAll(payload, v8.deserialize(v8.serialize(elements)))

const decode = ({ codec }: Payload, elements: ReadonlyArray<unknown>) => {
  for (const element of elements) Result.getOrThrow(codec.validate(element))
  return Result.getOrThrow(codec.decode(Bytes.concat(codec.encode(codec.fromElements(elements)))))
}

/** Validated at both ends, as in a feed. */
export const batchCodec = (payload: Payload): Trip => (elements) =>
  digestAll(payload, decode(payload, elements).elements)

/** The same to a stacked batch. */
export const batchCodecStacked = (payload: Payload): Trip => (elements) =>
  payload.digestBatch(payload.codec.stackChunk(decode(payload, elements)))
