/** Codecs of others, and our own, for batches of a payload: to one piece of bytes and back. */
import { Result, Schema } from "effect"
import { SchemaBinary } from "effect/encoding"
import * as v8 from "node:v8"
import * as Codecs from "../messageCodecs.ts"
import { digestAll, type Payload } from "../payloads.ts"

/** Encodes and decodes a batch, and gives the sum of the digests of what came back. */
export type Trip = (elements: ReadonlyArray<unknown>) => number

export const msgpackr = (payload: Payload): Trip => (elements) =>
  Codecs.msgpackr.decode(payload, Codecs.msgpackr.encode(payload, elements)).digest

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

/** Validated at both ends, as in a feed. */
export const batchCodec = (payload: Payload): Trip => (elements) => {
  const bytes = Codecs.columns.encode(payload, elements)
  return digestAll(payload, Result.getOrThrow(payload.codec.decode(bytes)).elements)
}

/** The same, but nothing looks at the elements before they are encoded. What comes as bytes is always looked at. */
export const batchCodecTrusting = (payload: Payload): Trip => (elements) => {
  const { codec } = payload
  const bytes = Codecs.joined(codec.encode(codec.fromElements(elements)))
  return digestAll(payload, Result.getOrThrow(codec.decode(bytes)).elements)
}

/** Validated at both ends, to a stacked batch. */
export const batchCodecStacked = (payload: Payload): Trip => (elements) =>
  Codecs.columns.decode(payload, Codecs.columns.encode(payload, elements)).digest
