import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
import { connection, device, Pages } from "./feeds.ts"

const index = Pages.forEachBatch(50, (batch, { size }) => Console.log(`${size} pages, up to ${batch.id.at(-1)}`))

const host = JetStreamDevices.layerHost({ connection, device, feeds: [Pages], stored: 10_000 })

// With "announce" it makes the device known, and takes nothing.
const main = process.argv[2] === "announce" ? Effect.void : index

main.pipe(Effect.provide(host), NodeRuntime.runMain)
