/**
 * JetStream by its bare client: a batch of our columns is a message in a stream in memory. The producer has a window of
 * publishes that are not acknowledged by the broker, a durable consumer pulls and acknowledges each message.
 */
/* oxlint-disable no-await-in-loop -- it has to wait for room */
import { AckPolicy, jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream"
import { connect } from "@nats-io/transport-node"
import * as Codecs from "../messageCodecs.ts"
import { some } from "../payloads.ts"
import type { Way } from "../ways.ts"

export const columns: Way = {
  consume: async ({ batch, broker, n, payload, window }, ready, done, closed) => {
    const connection = await connect({ servers: broker })
    const manager = await jetstreamManager(connection)
    const name = `bench-${crypto.randomUUID()}`
    await manager.streams.add({ name, subjects: [name], storage: StorageType.Memory })
    await manager.consumers.add(name, { durable_name: "consumer", ack_policy: AckPolicy.Explicit, max_ack_pending: -1 })
    const consumer = await jetstream(connection).consumers.get(name, "consumer")
    const count = Codecs.counter(n, done)
    const messages = await consumer.consume({
      max_messages: Math.max(2, Math.ceil(window / batch)),
      callback: (message) => {
        count(Codecs.columns.decode(payload, message.data))
        message.ack()
      }
    })
    ready(name)
    await closed
    await messages.close()
    await manager.streams.delete(name)
    await connection.close()
  },
  connect: async ({ batch, broker, n, payload, window }, name) => {
    const connection = await connect({ servers: broker })
    const client = jetstream(connection)
    return {
      send: async () => {
        const most = Math.max(1, Math.floor(window / batch))
        const published: Array<Promise<unknown>> = []
        for (let sent = 0; sent < n; sent += batch) {
          if (published.length >= most) await published.shift()
          published.push(
            client.publish(name, Codecs.columns.encode(payload, some(payload.pool, sent, Math.min(batch, n - sent))))
          )
        }
        await Promise.all(published)
      },
      close: () => connection.close()
    }
  }
}
