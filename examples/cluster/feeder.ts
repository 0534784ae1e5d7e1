/**
 * The feeder: `feeder.ts 10000` feeds so many pages to the devices, wherever they live. It is no runner, only a client of
 * the cluster.
 */
import { NodeClusterSocket, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { FailureTolerator, Feeder } from "effect-feeder"
import * as ClusterDevices from "effect-feeder/layers/ClusterDevices"
import { database, devices, Pages, shardingConfig } from "./shared.ts"

const count = Number(process.argv[2])

const pages = function*() {
  for (let number = 0; number < count; number++) yield { number, text: `page ${number}` }
}

const cluster = NodeClusterSocket.layer({ clientOnly: true, storage: "sql", shardingConfig }).pipe(
  Layer.provide(database)
)

Feeder.run(Pages, {
  source: pages(),
  devices,
  // The cluster may take a while to place devices anew.
  tolerate: FailureTolerator.make({ limit: 20, initDelay: "1 second", backoffFactor: 1 })
}).pipe(
  Effect.flatMap(({ delivered, generated, lost, redelivered }) =>
    Console.log(`${delivered} of ${generated} delivered, ${redelivered} of them again, ${lost} lost`)
  ),
  Effect.provide(Layer.provide(ClusterDevices.layer(), cluster)),
  NodeRuntime.runMain
)
