/**
 * A runner: `runner.ts 4001` hosts the devices that the cluster places here. Feeders dial that port, and runners the one
 * 1000 above it.
 */
import { NodeClusterSocket, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Option } from "effect"
import * as ClusterDevices from "effect-feeder/layers/ClusterDevices"
import { RunnerAddress } from "effect/cluster"
import { database, Pages, shardingConfig } from "./shared.ts"

const port = Number(process.argv[2])

const cluster = NodeClusterSocket.layer({
  storage: "sql",
  shardingConfig: { ...shardingConfig, runnerAddress: Option.some(RunnerAddress.make("127.0.0.1", port + 1000)) }
}).pipe(Layer.provide(database))

const index = (device: string) =>
  Pages.forEach(({ text }) => Effect.delay(Effect.succeed(text.length), 2)).pipe(
    Effect.tap(({ done }) => Console.log(`${device} has indexed ${done} pages here, and moves`))
  )

const host = ClusterDevices.layerHost({
  feeds: [Pages],
  job: "indexer",
  port,
  consume: (device) => Effect.andThen(Console.log(`${device} lives here`), index(device))
})

Layer.launch(Layer.provide(host, cluster)).pipe(NodeRuntime.runMain)
