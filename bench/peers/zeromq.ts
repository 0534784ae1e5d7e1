/**
 * ZeroMQ, PUSH to PULL: it has no acknowledgements, and loses what is in its buffers when a peer dies. With our columns,
 * validated on both sides, with msgpackr in batches, and with one message for each element.
 */
/* oxlint-disable no-await-in-loop -- a socket sends, and receives, one message after the other */
import { Pull, Push } from "zeromq"
import * as Codecs from "../messageCodecs.ts"
import { some } from "../payloads.ts"
import type { Way } from "../ways.ts"

/** The high-water marks are in messages: as many as make a window. */
const marks = (window: number, batch: number) => Math.max(2, Math.ceil(window / batch))

const way = ({ decode, encode }: Codecs.MessageCodec): Way => ({
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

export const columns = way(Codecs.columns)

export const msgpackr = way(Codecs.msgpackr)

/** One message for each element. */
export const element = way(Codecs.msgpackrElement)
