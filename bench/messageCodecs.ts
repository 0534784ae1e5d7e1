/** Batches as one message, for peers that carry bytes. */
import { Bytes, Result } from "effect"
import { pack, unpack } from "msgpackr"
import { digestAll, type Payload } from "./payloads.ts"
import type { Sum } from "./ways.ts"

export interface MessageCodec {
  readonly encode: (payload: Payload, elements: ReadonlyArray<unknown>) => Uint8Array
  readonly decode: (payload: Payload, message: Uint8Array) => Sum
}

/** Elements as the segments of a feed: validated, in columns. */
export const segmentsOf = ({ codec }: Payload, elements: ReadonlyArray<unknown>): ReadonlyArray<Uint8Array> => {
  for (const element of elements) Result.getOrThrow(codec.validate(element))
  return codec.encode(codec.fromElements(elements))
}

/** Our columns, validated on both sides, to a stacked batch. */
export const columns: MessageCodec = {
  encode: (payload, elements) => Bytes.concat(segmentsOf(payload, elements)),
  decode: (payload, message) => {
    const chunk = Result.getOrThrow(payload.codec.decode(message))
    return { elements: chunk.length, digest: payload.digestBatch(payload.codec.stackChunk(chunk)) }
  }
}

/** msgpackr, not validated. */
export const msgpackr: MessageCodec = {
  encode: (_, elements) => pack(elements),
  decode: (payload, message) => {
    const elements: ReadonlyArray<unknown> = unpack(message)
    return { elements: elements.length, digest: digestAll(payload, elements) }
  }
}

/** One element, by msgpackr, not validated. */
export const msgpackrElement: MessageCodec = {
  encode: (_, elements) => pack(elements[0]),
  decode: (payload, message) => ({ elements: 1, digest: payload.digest(unpack(message)) })
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
