/** The worker of `rpcWorker.ts`. */
import { NodeRuntime, NodeWorkerRunner } from "@effect/platform-node"
import { Layer } from "effect"
import { RpcServer } from "effect/rpc"
import { workerData } from "node:worker_threads"
import { type Name, payloads } from "../payloads.ts"
import { groupOf, handlersOf } from "./rpc.ts"

const payload = payloads[workerData as Name]

RpcServer.layer(groupOf(payload), { disableTracing: true }).pipe(
  Layer.provide([
    handlersOf(payload, () => {}, ({ digest }) => digest),
    RpcServer.layerProtocolWorkerRunner.pipe(Layer.provide(NodeWorkerRunner.layer))
  ]),
  Layer.launch,
  NodeRuntime.runMain
)
