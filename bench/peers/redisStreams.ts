/**
 * Redis streams, without persistence: a batch of our columns is an entry. The producer pipelines `XADD`, the consumer, in a
 * group, reads what there is and acknowledges it.
 */
/* oxlint-disable no-await-in-loop -- a connection does one thing after the other */
import { Redis } from "ioredis"
import * as Codecs from "../messageCodecs.ts"
import { some } from "../payloads.ts"
import type { Way } from "../ways.ts"

const connect = (broker: string): Redis => {
  const [host, port] = broker.split(":")
  return new Redis({ host: host!, port: Number(port), maxRetriesPerRequest: null })
}

/** What `XREADGROUP` answers of one stream, as bytes: its entries, of each its id and its fields. */
type Read = readonly [stream: Buffer, entries: ReadonlyArray<readonly [id: Buffer, fields: ReadonlyArray<Buffer>]>]

/** Entries that are read at once, and those of one pipeline. */
const most = 16

export const columns: Way = {
  consume: async ({ broker, n, payload }, ready, done, closed) => {
    const redis = connect(broker)
    const stream = `bench-${crypto.randomUUID()}`
    await redis.xgroup("CREATE", stream, "consumers", "0", "MKSTREAM")
    ready(stream)
    const count = Codecs.counter(n, done)
    for (let elements = 0; elements < n;) {
      const read = await redis.callBuffer(
        "XREADGROUP",
        "GROUP",
        "consumers",
        "consumer",
        "COUNT",
        most,
        "BLOCK",
        1000,
        "STREAMS",
        stream,
        ">"
      ) as Read | null
      const ids: Array<Buffer> = []
      for (const [id, fields] of read?.[1] ?? []) {
        const sum = Codecs.columns.decode(payload, fields[1]!)
        elements += sum.elements
        count(sum)
        ids.push(id)
      }
      if (ids.length > 0) await redis.xack(stream, "consumers", ...ids)
    }
    await closed
    await redis.del(stream)
    await redis.quit()
  },
  connect: async ({ batch, broker, n, payload }, stream) => {
    const redis = connect(broker)
    await redis.ping()
    return {
      send: async () => {
        for (let sent = 0; sent < n;) {
          const pipeline = redis.pipeline()
          for (let i = 0; i < most && sent < n; i++, sent += batch) {
            const bytes = Codecs.columns.encode(payload, some(payload.pool, sent, Math.min(batch, n - sent)))
            pipeline.xadd(stream, "*", "b", Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
          }
          await pipeline.exec()
        }
      },
      close: async () => {
        await redis.quit()
      }
    }
  }
}
