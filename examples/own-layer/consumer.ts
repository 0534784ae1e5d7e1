/**
 * Counts words of the texts that come by the standard input. With `--crash` it exits in the middle of text 700, if that came
 * for the first time.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Layer, Logger } from "effect"
import { Texts } from "./feeds.ts"
import * as StdioDevices from "./StdioDevices.ts"

const mayCrash = process.argv.includes("--crash")
let words = 0

const count = Texts.forEach(({ id, text }, { redelivered }) =>
  Effect.sync(() => {
    if (mayCrash && id === 700 && !redelivered) process.exit(9)
    words += text.split(/\s+/).length
  })
)

count.pipe(
  Effect.tap(({ done }) => Console.error(`${done} texts of ${words} words`)),
  Effect.provide(Layer.provide(StdioDevices.layerHost({ feeds: [Texts], window: 0 }), NodeServices.layer)),
  // The standard output is the link.
  Effect.provideService(Logger.LogToStderr, true),
  NodeRuntime.runMain
)
