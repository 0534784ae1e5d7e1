/** A feeder and its consumer in one process, over `MemoryDevices`. */
import { Effect } from "effect"
import { Feeder, MemoryDevices } from "effect-feeder"
import { type Case, expect } from "../harness.ts"
import { digestOf, feedOf, type Name, payloads } from "../payloads.ts"
import { setChunks } from "./sockets.ts"

/** What is timed begins with the feeder, since nothing is to be connected. */
export const memory = (options: {
  readonly name: string
  readonly payload: Name
  readonly batch: number
  readonly window: number
  readonly validate?: "edges"
}): Case => {
  const { batch, name, validate, window } = options
  const payload = payloads[options.payload]
  const feed = feedOf(payload, window, validate)
  return {
    name,
    payload: payload.title,
    batch,
    window,
    acknowledged: "processed",
    clock: "wall",
    start: 64,
    run: async (n) => {
      let digest = 0
      const consume = feed.forEachBatch(batch, (values) =>
        Effect.sync(() => {
          digest += payload.digestBatch(values)
        }))
      const feeding = Effect.gen(function*() {
        const made = yield* Feeder.make(feed)
        const feeder = yield* setChunks(made, { payload, n, batch, window, broker: "", devices: 1 }, Effect.void)
        yield* feeder.addRemoteDevice("/job:consumer/replica:0")
        return yield* feeder.run
      })
      const [ledger] = await Effect.runPromise(
        Effect.all([Effect.scoped(feeding), consume], { concurrency: "unbounded" }).pipe(
          Effect.provide(MemoryDevices.layer({ feeds: [feed] }))
        )
      )
      expect("delivered", ledger.delivered, n)
      expect(`${name}: sum of digests`, digest, digestOf(payload, n))
    }
  }
}
