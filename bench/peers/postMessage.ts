/**
 * A bare `postMessage` to a worker thread: the columns of a batch in memory of their own, which is transferred, validated on
 * both sides. The worker answers each batch when it is processed.
 */
import { Worker } from "node:worker_threads"
import * as Codecs from "../messageCodecs.ts"
import { some } from "../payloads.ts"
import { limitsOf, type StartThread } from "../threads.ts"
import type { Sum } from "../ways.ts"

export const start: StartThread = async (payload, options) => {
  const worker = new Worker(new URL("./postMessageWorker.ts", import.meta.url), {
    workerData: payload.name,
    resourceLimits: limitsOf(options)
  })
  await new Promise<void>((resolve, reject) => {
    worker.once("message", () => resolve())
    worker.once("error", reject)
  })
  let onSum: (sum: Sum) => void = () => {}
  worker.on("message", (sum: Sum) => onSum(sum))
  return {
    send: ({ batch, n, window }) =>
      new Promise((resolve) => {
        let sent = 0
        let elements = 0
        let digest = 0
        const go = () => {
          while (sent < n && sent - elements + batch <= window) {
            const next = some(payload.pool, sent, Math.min(batch, n - sent))
            const bytes = Codecs.columns.encode(payload, next) as Uint8Array<ArrayBuffer>
            worker.postMessage(bytes, [bytes.buffer])
            sent += next.length
          }
        }
        onSum = (sum) => {
          elements += sum.elements
          digest += sum.digest
          if (elements === n) resolve({ elements, digest })
          else go()
        }
        go()
      }),
    end: async () => {
      await worker.terminate()
    }
  }
}
