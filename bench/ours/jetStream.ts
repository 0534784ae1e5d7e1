/** A feeder and its consumer over `JetStreamDevices`, with streams in memory that keep eight windows. */
import { Effect } from "effect"
import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
import { counter } from "../messageCodecs.ts"
import { feedOf } from "../payloads.ts"
import type { Way } from "../ways.ts"
import { connectTo, setChunks } from "./sockets.ts"

export const chunks: Way = {
  consume: async ({ batch, broker, n, payload, window }, ready, done) => {
    const feed = feedOf(payload, window)
    const prefix = `bench-${crypto.randomUUID()}`
    const count = counter(n, done)
    const consumed = Effect.sync(() => ready(prefix)).pipe(
      Effect.andThen(
        feed.forEachBatch(
          batch,
          (values, { size }) => Effect.sync(() => count({ elements: size, digest: payload.digestBatch(values) }))
        )
      ),
      Effect.provide(JetStreamDevices.layerHost({
        feeds: [feed],
        device: "/job:consumer/replica:0",
        connection: { servers: broker },
        prefix,
        // The bare client's stream keeps as much as comes.
        stored: 8 * window,
        stream: { storage: "memory" }
      }))
    )
    await Effect.runPromise(consumed)
  },
  connect: connectTo(
    (prefix, { broker }) => JetStreamDevices.layer({ connection: { servers: broker }, prefix }),
    setChunks
  )
}
