/** A feeder that is given one element after the other, each when the former is acknowledged. */
import { Effect, Exit, Fiber, Scope } from "effect"
import type { Feeder } from "effect-feeder"
import type { Way } from "../ways.ts"
import { attach, chunks, devicesAt } from "./sockets.ts"

export const ping: Way = {
  consume: chunks.consume,
  connect: async (run, address) => {
    const { n, payload, turn } = run
    const attached = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const latencies: Array<number> = []
    const fiber = Effect.runFork(Effect.scoped(Effect.gen(function*() {
      const scope = yield* Scope.fork(yield* Effect.scope)
      let producer: Feeder.Producer<unknown> | undefined
      const { running } = yield* attach(
        run,
        devicesAt(address),
        1,
        (feeder) =>
          Effect.map(Scope.provide(feeder.producer, scope), (opened) => {
            producer = opened
            return feeder
          })
      )
      attached.resolve()
      yield* Effect.promise(() => gate.promise)
      for (let i = 0; i < n; i++) {
        const wait = turn?.(i)
        if (wait !== undefined) yield* Effect.promise(() => wait)
        const start = performance.now()
        yield* producer!.push(payload.pool[i % payload.pool.length])
        latencies.push(performance.now() - start)
      }
      yield* Scope.close(scope, Exit.void)
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
