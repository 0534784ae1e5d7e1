/**
 * NATS core: it drops what a subscriber is too slow for, and has no acknowledgements. So the consumer publishes how much it
 * has, four times a window, and the producer keeps less than a window on its way.
 */
import { connect } from "@nats-io/transport-node"
import * as Codecs from "../messageCodecs.ts"
import { some } from "../payloads.ts"
import type { Way } from "../ways.ts"

const way = ({ decode, encode }: Codecs.MessageCodec): Way => ({
  consume: async ({ broker, n, payload, window }, ready, done, closed) => {
    const connection = await connect({ servers: broker })
    const subject = `bench.${crypto.randomUUID()}`
    const count = Codecs.counter(n, done)
    let elements = 0
    let told = 0
    connection.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) throw error
        const sum = decode(payload, message.data)
        elements += sum.elements
        count(sum)
        if (elements - told < window / 4 && elements < n) return
        told = elements
        connection.publish(`${subject}.done`, String(elements))
      }
    })
    await connection.flush()
    ready(subject)
    await closed
    await connection.close()
  },
  connect: async ({ batch, broker, n, payload, window }, subject) => {
    const connection = await connect({ servers: broker })
    return {
      send: () =>
        new Promise((resolve, reject) => {
          let sent = 0
          let settled = 0
          const go = () => {
            while (sent < n && sent - settled + batch <= window) {
              const elements = some(payload.pool, sent, Math.min(batch, n - sent))
              connection.publish(subject, encode(payload, elements))
              sent += elements.length
            }
          }
          connection.subscribe(`${subject}.done`, {
            callback: (error, message) => {
              if (error !== null) return reject(error)
              settled = Number(message.string())
              if (settled === n) resolve()
              else go()
            }
          })
          // Not before the broker knows of the subscription.
          connection.flush().then(go, reject)
        }),
      close: () => connection.close()
    }
  }
})

export const columns = way(Codecs.columns)

export const msgpackr = way(Codecs.msgpackr)
