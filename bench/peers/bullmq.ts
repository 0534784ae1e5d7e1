/** BullMQ on Redis without persistence: a batch of elements, as JSON, is a job; jobs are added in bulk. */
/* oxlint-disable no-await-in-loop -- it has to wait for what was added */
import { Queue, Worker } from "bullmq"
import * as Codecs from "../messageCodecs.ts"
import { some } from "../payloads.ts"
import type { Sum, Way } from "../ways.ts"

const connection = (broker: string) => {
  const [host, port] = broker.split(":")
  return { host: host!, port: Number(port), maxRetriesPerRequest: null }
}

/** Jobs that are added, and worked on, at once. */
const most = 64

export const jobs: Way = {
  consume: async ({ broker, n, payload }, ready, done, closed) => {
    const name = `bench-${crypto.randomUUID()}`
    const count = Codecs.counter(n, done)
    const worker = new Worker<ReadonlyArray<unknown>, Sum>(
      name,
      async ({ data }) => {
        let digest = 0
        for (const element of data) digest += payload.digest(payload.fromJson(element))
        return { elements: data.length, digest }
      },
      { connection: connection(broker), concurrency: most, removeOnComplete: { count: 0 } }
    )
    worker.on("completed", (_, sum) => count(sum))
    await worker.waitUntilReady()
    ready(name)
    await closed
    await worker.close()
    const queue = new Queue(name, { connection: connection(broker) })
    await queue.obliterate({ force: true })
    await queue.close()
  },
  connect: async ({ batch, broker, n, payload }, name) => {
    const queue = new Queue<ReadonlyArray<unknown>>(name, { connection: connection(broker) })
    await queue.waitUntilReady()
    return {
      send: async () => {
        for (let sent = 0; sent < n;) {
          const jobs: Array<{ readonly name: string; readonly data: ReadonlyArray<unknown> }> = []
          for (let i = 0; i < most && sent < n; i++, sent += batch) {
            const elements = some(payload.pool, sent, Math.min(batch, n - sent))
            jobs.push({ name: "batch", data: elements.map((element) => payload.toJson(element)) })
          }
          await queue.addBulk(jobs)
        }
      },
      close: async () => {
        await queue.close()
      }
    }
  }
}
