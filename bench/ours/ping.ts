/** A feeder that is given one element after the other, each when the former is acknowledged. */
import { type Cause, Effect, Fiber, Queue, Stream } from "effect"
import type { Way } from "../ways.ts"
import { attach, chunks, devicesAt } from "./sockets.ts"

export const ping: Way = {
  consume: chunks.consume,
  connect: async (run, address) => {
    const { n, payload } = run
    const attached = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const latencies: Array<number> = []
    const fiber = Effect.runFork(Effect.scoped(Effect.gen(function*() {
      const elements = yield* Queue.bounded<unknown, Cause.Done>(1)
      const { feeder, running } = yield* attach(
        run,
        devicesAt(address),
        1,
        (feeder) => feeder.set(Queue.take(elements))
      )
      const changes = yield* Stream.toPull(feeder.changes)
      attached.resolve()
      yield* Effect.promise(() => gate.promise)
      for (let i = 0; i < n; i++) {
        const start = performance.now()
        yield* Queue.offer(elements, payload.pool[i % payload.pool.length])
        let delivered = 0
        while (delivered <= i) delivered = (yield* changes).at(-1)!.ledger.delivered
        latencies.push(performance.now() - start)
      }
      yield* Queue.end(elements)
      yield* Fiber.join(running)
    })))
    await attached.promise
    return {
      send: async () => {
        gate.resolve()
        await Effect.runPromise(Fiber.join(fiber))
      },
      close: async () => {},
      latencies: () => latencies
    }
  }
}
