/**
 * Effect rpc over a socket, with the payload's own Schema and `SchemaBinary`, tracing off: calls that carry a batch or an
 * element, several in flight. A call is acknowledged by its answer.
 */
import { NodeSocket, NodeSocketServer } from "@effect/platform-node"
import { Effect, Exit, Layer, Schema, Scope } from "effect"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import * as Codecs from "../messageCodecs.ts"
import { batches as batchesOf, digestAll, type Payload } from "../payloads.ts"
import { freePort } from "../ports.ts"
import type { Sum, Way } from "../ways.ts"

export const groupOf = ({ element }: Payload) =>
  RpcGroup.make(Rpc.make("Push", { payload: { elements: Schema.Array(element) }, success: Schema.Number }))

/** Answers each call, by default with how many elements it carried. */
export const handlersOf = (
  payload: Payload,
  onSum: (sum: Sum) => void,
  answer: (sum: Sum) => number = ({ elements }) => elements
) =>
  groupOf(payload).toLayer({
    Push: ({ elements }) =>
      Effect.sync(() => {
        const sum = { elements: elements.length, digest: digestAll(payload, elements) }
        onSum(sum)
        return answer(sum)
      })
  })

const serialization = RpcSerialization.layerSchemaBinary({ maxFrameSize: 64 * 1024 * 1024 })

const consume: Way["consume"] = async ({ n, payload }, ready, done, closed) => {
  const port = await freePort()
  const server = RpcServer.layer(groupOf(payload), { disableTracing: true }).pipe(
    Layer.provide([
      handlersOf(payload, Codecs.counter(n, done)),
      RpcServer.layerProtocolSocketServer.pipe(Layer.provide(serialization))
    ]),
    Layer.provide(NodeSocketServer.layer({ port, host: "127.0.0.1", noDelay: true }))
  )
  await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    yield* Layer.build(server)
    ready(String(port))
    yield* Effect.promise(() => closed)
  })))
}

const connect = (size: (batch: number) => number): Way["connect"] => async ({ batch, n, payload, window }, address) => {
  const scope = await Effect.runPromise(Scope.make())
  const client = await Effect.runPromise(
    Effect.gen(function*() {
      const protocol = yield* Layer.build(
        RpcClient.layerProtocolSocket().pipe(
          Layer.provide([
            NodeSocket.layerNet({ host: "127.0.0.1", port: Number(address), noDelay: true }),
            serialization
          ])
        )
      )
      return yield* Effect.provide(RpcClient.make(groupOf(payload), { disableTracing: true }), protocol)
    }).pipe(Scope.provide(scope))
  )
  return {
    send: () =>
      Effect.runPromise(Effect.forEach(
        batchesOf(payload.pool, n, size(batch)),
        (elements) => client.Push({ elements }),
        { concurrency: Math.max(1, Math.floor(window / size(batch))), discard: true }
      )),
    close: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

export const batches: Way = { consume, connect: connect((batch) => batch) }

export const elements: Way = { consume, connect: connect(() => 1) }
