/**
 * ZeroMQ, PUSH to PULL: it has no acknowledgements, and loses what is in its buffers when a peer dies. With our columns,
 * validated on both sides, with msgpackr in batches, and with one message for each element.
 */
/* oxlint-disable no-await-in-loop -- a socket sends, and receives, one message after the other */
import { Bytes, Result } from "effect"
import { pack, unpack } from "msgpackr"
import { Pull, Push } from "zeromq"
import { digestAll, type Payload, some } from "../payloads.ts"
import type { Way } from "../ways.ts"
import { segmentsOf } from "./nodeNet.ts"

interface Codec {
  readonly encode: (payload: Payload, elements: ReadonlyArray<unknown>) => Uint8Array
  readonly decode: (payload: Payload, message: Buffer) => { readonly elements: number; readonly digest: number }
}

/** The high-water marks are in messages: as many as make a window. */
const marks = (window: number, batch: number) => Math.max(2, Math.ceil(window / batch))

const way = ({ decode, encode }: Codec): Way => ({
  consume: async ({ batch, n, payload, window }, ready, done) => {
    const socket = new Pull({ receiveHighWaterMark: marks(window, batch), linger: 0 })
    await socket.bind("tcp://127.0.0.1:*")
    ready(socket.lastEndpoint!)
    let elements = 0
    let digest = 0
    while (elements < n) {
      const [message] = await socket.receive()
      const part = decode(payload, message!)
      elements += part.elements
      digest += part.digest
    }
    done({ elements, digest })
    socket.close()
  },
  connect: async ({ batch, n, payload, window }, address) => {
    const socket = new Push({ sendHighWaterMark: marks(window, batch) })
    socket.connect(address)
    return {
      send: async () => {
        for (let sent = 0; sent < n; sent += batch) {
          await socket.send(encode(payload, some(payload.pool, sent, Math.min(batch, n - sent))))
        }
      },
      close: async () => socket.close()
    }
  }
})

export const columns = way({
  encode: (payload, elements) => Bytes.concat(segmentsOf(payload, elements)),
  decode: ({ codec, digestBatch }, message) => {
    const chunk = Result.getOrThrow(codec.decode(message))
    return { elements: chunk.length, digest: digestBatch(codec.stackChunk(chunk)) }
  }
})

/** Not validated. */
export const msgpackr = way({
  encode: (_, elements) => pack(elements),
  decode: (payload, message) => {
    const elements: ReadonlyArray<unknown> = unpack(message)
    return { elements: elements.length, digest: digestAll(payload, elements) }
  }
})

/** One message for each element, by msgpackr. Not validated. */
export const element = way({
  encode: (_, elements) => pack(elements[0]),
  decode: ({ digest }, message) => ({ elements: 1, digest: digest(unpack(message)) })
})
