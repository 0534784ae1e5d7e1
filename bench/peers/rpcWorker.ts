/** Effect rpc to a worker thread: a call carries a batch of elements by the payload's own Schema; tracing is off. */
import { NodeWorker } from "@effect/platform-node"
import { Effect, Exit, Layer, Scope } from "effect"
import { RpcClient } from "effect/rpc"
import { Worker } from "node:worker_threads"
import { batches } from "../payloads.ts"
import type { StartThread } from "../threads.ts"
import { groupOf } from "./rpc.ts"

export const start: StartThread = async (payload, { batch, window }) => {
  const scope = await Effect.runPromise(Scope.make())
  const concurrency = Math.max(1, Math.floor(window / batch))
  const worker = NodeWorker.layer(() =>
    new Worker(new URL("./rpcWorkerThread.ts", import.meta.url), { workerData: payload.name })
  )
  // The worker answers a call with the sum of digests.
  const client = await Effect.runPromise(
    Effect.gen(function*() {
      const protocol = yield* Layer.build(
        RpcClient.layerProtocolWorker({ size: 1, concurrency }).pipe(Layer.provide(worker))
      )
      return yield* Effect.provide(RpcClient.make(groupOf(payload), { disableTracing: true }), protocol)
    }).pipe(Scope.provide(scope))
  )
  return {
    send: async ({ n }) => {
      let digest = 0
      let elements = 0
      await Effect.runPromise(Effect.forEach(
        batches(payload.pool, n, batch),
        (some) =>
          Effect.map(client.Push({ elements: some }), (sum) => {
            digest += sum
            elements += some.length
          }),
        { concurrency, discard: true }
      ))
      return { elements, digest }
    },
    end: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}
