import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import { Feeder } from "effect-feeder"
import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
import { connection, device, Pages } from "./feeds.ts"

const feed = Feeder.run(Pages, {
  source: Stream.range(1, 1000).pipe(Stream.map((id) => ({ id, text: `page ${id}` }))),
  devices: [device]
})

feed.pipe(
  Effect.tap((ledger) => Console.log(`${ledger.accepted} stored, ${ledger.lost} lost`)),
  Effect.provide(JetStreamDevices.layer({ connection })),
  NodeRuntime.runMain
)
