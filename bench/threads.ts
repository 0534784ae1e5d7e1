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

export interface ThreadOptions {
  readonly batch: number
  readonly window: number
  /** MiB of the young objects of its heap; default Node's. */
  readonly young?: number | undefined
}

export type StartThread = (payload: Payload, options: ThreadOptions) => Promise<Threaded>

/** Node's own limits of a thread with these options. */
export const limitsOf = ({ young }: ThreadOptions) => young === undefined ? {} : { maxYoungGenerationSizeMb: young }

export const threaded = (
  options: ThreadOptions & {
    readonly name: string
    readonly payload: Name
    readonly start: () => Promise<StartThread>
  }
): Case => {
  const { batch, name, window, young } = options
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
      thread ??= await (await options.start())(payload, { batch, window, young })
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
