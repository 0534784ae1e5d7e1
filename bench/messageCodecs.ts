/** Batches as one message, for peers that carry bytes. */
import { Bytes, Result } from "effect"
import { Packr, Unpackr } from "msgpackr"
import { digestAll, type Payload } from "./payloads.ts"
import type { Sum } from "./ways.ts"

export interface MessageCodec {
  readonly encode: (payload: Payload, elements: ReadonlyArray<unknown>) => Uint8Array
  readonly decode: (payload: Payload, message: Uint8Array) => Sum
}

/** Elements as the segments of a feed: validated, in columns. */
export const segmentsOf = ({ codec }: Payload, elements: ReadonlyArray<unknown>): ReadonlyArray<Uint8Array> =>
  codec.encode(Result.getOrThrow(codec.fromUnknown(elements)))

/** Segments as one message. */
export const joined = (segments: ReadonlyArray<Uint8Array>): Uint8Array =>
  segments.length === 1 ? segments[0]! : Bytes.concat(segments)

/** Our columns, validated on both sides, to a stacked batch. */
export const columns: MessageCodec = {
  encode: (payload, elements) => joined(segmentsOf(payload, elements)),
  decode: (payload, message) => {
    const chunk = Result.getOrThrow(payload.codec.decode(message))
    return { elements: chunk.length, digest: payload.digestBatch(payload.codec.stackChunk(chunk)) }
  }
}

/** Records inside of each message took 1.4 times as many small elements as maps; `moreTypes` is for typed arrays. */
const batches = { useRecords: true, moreTypes: true }
const packer = new Packr(batches)
const unpacker = new Unpackr(batches)

/** msgpackr, not validated. */
export const msgpackr: MessageCodec = {
  encode: (_, elements) => packer.pack(elements),
  decode: (payload, message) => {
    const elements: ReadonlyArray<unknown> = unpacker.unpack(message)
    return { elements: elements.length, digest: digestAll(payload, elements) }
  }
}

/** A record would be told of in each message. */
const singles = { useRecords: false, moreTypes: true }
const singlePacker = new Packr(singles)
const singleUnpacker = new Unpackr(singles)

/** One element, by msgpackr, not validated. */
export const msgpackrElement: MessageCodec = {
  encode: (_, elements) => singlePacker.pack(elements[0]),
  decode: (payload, message) => ({ elements: 1, digest: payload.digest(singleUnpacker.unpack(message)) })
}

/** Counts what comes until all of it has. */
export const counter = (n: number, done: (sum: Sum) => void) => {
  let elements = 0
  let digest = 0
  return (sum: Sum): void => {
    elements += sum.elements
    digest += sum.digest
    if (elements === n) done({ elements, digest })
  }
}
