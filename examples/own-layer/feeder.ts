/**
 * Feeds texts to programs that it starts: two of this machine, or one on each of the hosts among its arguments.
 *
 * See the README beside this file.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import { DeviceSpec, FailureTolerator } from "effect-feeder"
import * as Signals from "effect-feeder/layers/Signals"
import { ChildProcess } from "effect/process"
import { fileURLToPath } from "node:url"
import { Texts } from "./feeds.ts"
import * as StdioDevices from "./StdioDevices.ts"

const hosts = process.argv.slice(2).filter((argument) => !argument.startsWith("--"))
const flags = process.argv.slice(2).filter((argument) => argument.startsWith("--"))

const consumer = [...process.execArgv, fileURLToPath(new URL("consumer.ts", import.meta.url)), ...flags]
const commands = hosts.length === 0
  ? [0, 1].map(() => ChildProcess.make(process.execPath, consumer))
  : hosts.map((host) =>
    ChildProcess.make("ssh", ["-o", "BatchMode=yes", host, "node", "feeding/consumer.ts", ...flags])
  )

const devices = DeviceSpec.replicas("consumer", commands.length)

const feed = Signals.run(Texts, {
  source: Stream.range(1, 2000).pipe(Stream.map((id) => ({ id, text: `this is text number ${id}` }))),
  devices,
  tolerate: FailureTolerator.make({ limit: 5, initDelay: "100 millis" })
})

feed.pipe(
  Effect.provide(StdioDevices.layer(Object.fromEntries(devices.map((device, i) => [device, commands[i]!])))),
  Effect.tap(({ delivered, generated, lost, redelivered }) =>
    Console.log(`${delivered} of ${generated} delivered, ${redelivered} of them again, ${lost} lost`)
  ),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
