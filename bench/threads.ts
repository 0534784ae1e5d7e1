/** Cases whose consumer is a thread of this process. */
import { type Case, expect } from "./harness.ts"
import { digestOf, type Name, type Payload, payloads } from "./payloads.ts"
import type { Sum } from "./ways.ts"

export interface ThreadRun {
  readonly payload: Payload
  readonly n: number
  readonly batch: number
  readonly window: number
}

/** A consumer in a thread that stays from run to run. */
export interface Threaded {
  /** Returns when all is acknowledged, with what has come. */
  readonly send: (run: ThreadRun) => Promise<Sum>
  readonly end: () => Promise<void>
}

export type StartThread = (
  payload: Payload,
  at: { readonly batch: number; readonly window: number }
) => Promise<Threaded>

export const threaded = (options: {
  readonly name: string
  readonly payload: Name
  readonly batch: number
  readonly window: number
  readonly start: () => Promise<StartThread>
}): Case => {
  const { batch, name, window } = options
  const payload = payloads[options.payload]
  let thread: Threaded | undefined
  let count = 0
  let sum: Sum = { elements: 0, digest: 0 }
  return {
    name,
    payload: payload.title,
    batch,
    window,
    acknowledged: "processed",
    clock: "wall",
    // A consumer that stays waits for a batch to be full.
    start: batch,
    before: async (n) => {
      thread ??= await (await options.start())(payload, { batch, window })
      count = n
    },
    run: async (n) => {
      sum = await thread!.send({ payload, n, batch, window })
    },
    after: async () => {
      if (sum.elements === count) expect(`${name}: sum of digests`, sum.digest, digestOf(payload, count))
      return count - sum.elements
    },
    end: async () => thread?.end()
  }
}
