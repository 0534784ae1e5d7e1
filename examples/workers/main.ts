/**
 * Hashes images in workers: this program makes the images and feeds them to workers that it starts, looks after and stops.
 *
 * See the README beside this file.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Logger, Schema } from "effect"
import { DeviceSpec, FailureTolerator } from "effect-feeder"
import * as Signals from "effect-feeder/layers/Signals"
import * as WorkerDevices from "effect-feeder/layers/WorkerDevices"
import { Command, Flag } from "effect/cli"
import { Images, side } from "./feeds.ts"

/** Images of gradients. */
const images = function*(count: number) {
  for (let id = 0; id < count; id++) {
    yield { id, pixels: Uint8Array.from({ length: side * side }, (_, i) => (i * (id % 13) + id) & 255) }
  }
}

const positive = Schema.Int.check(Schema.isGreaterThan(0))

const hash = Command.make("hash", {
  processes: Flag.Boolean("processes").pipe(
    Flag.withDescription("Run the workers as processes, not as threads"),
    Flag.withDefault(false)
  ),
  crash: Flag.Boolean("crash").pipe(
    Flag.withDescription("Let one worker exit in the middle of its work"),
    Flag.withDefault(false)
  ),
  workers: Flag.Int("workers").pipe(
    Flag.withDescription("How many workers"),
    Flag.withSchema(positive),
    Flag.withDefault(2)
  ),
  images: Flag.Int("images").pipe(
    Flag.withDescription("How many images"),
    Flag.withSchema(positive),
    Flag.withDefault(2000)
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print the account as one line of JSON, the last"),
    Flag.withDefault(false)
  )
}, (options) =>
  Effect.gen(function*() {
    const { delivered, generated, lost, redelivered } = yield* Signals.run(Images, {
      source: images(options.images),
      devices: DeviceSpec.replicas("consumer", options.workers),
      // A worker is there again soon.
      tolerate: FailureTolerator.make({ limit: 5, initDelay: "200 millis" })
    })
    const { status } = yield* WorkerDevices.Workers
    const starts = (yield* status).reduce((sum, worker) => sum + worker.starts, 0)
    return { generated, delivered, redelivered, lost, starts }
  }).pipe(
    Effect.provide(WorkerDevices.layer({
      worker: new URL("./consumer.ts", import.meta.url),
      count: options.workers,
      kind: options.processes ? "process" : "thread",
      memoryLimit: 256,
      argv: options.crash ? ["--crash"] : []
    })),
    // All workers have ended here.
    Effect.tap(({ delivered, generated, lost, redelivered }) =>
      Console.log(
        `${delivered} of ${generated} images hashed, ${redelivered} of them again since a worker had ended, ${lost} lost`
      )
    ),
    Effect.flatMap((account) => options.json ? Console.log(JSON.stringify(account)) : Effect.void)
  )).pipe(Command.withDescription("Hash images in workers"))

hash.pipe(
  Command.run({ version: "1" }),
  Effect.provideService(Logger.LogToStderr, true),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
