/**
 * A consumer in a thread or a process of its own. `main.ts` starts it.
 *
 * As a process it ends when its standard input closes, so that it does not outlive the one that started it.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect, Logger, References, Stdio, Stream } from "effect"
import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as WorkerDevices from "effect-feeder/layers/WorkerDevices"
import { Argument, Command, Flag } from "effect/cli"
import { consume, Pages } from "./feed.ts"

const feeds = [Pages] as const

const folder = Flag.String("folder").pipe(Flag.withDescription("Where it writes down what it has done"))
const device = Flag.String("device").pipe(Flag.withDescription("Name of the device that this process is"))

const parentGone = Effect.flatMap(Stdio.Stdio, ({ stdin }) => Effect.ignore(Stream.runDrain(stdin)))

const worker = Command.make("worker", { folder }, ({ folder }) =>
  Effect.gen(function*() {
    return yield* consume(folder, yield* WorkerDevices.device)
  }).pipe(Effect.provide(WorkerDevices.layerHost({ feeds }))))

const listening = Command.make(
  "process",
  { folder, device, url: Argument.String("url") },
  ({ device, folder, url }) =>
    consume(folder, device).pipe(
      Effect.provide(SocketDevices.layerHost({ feeds, device, url })),
      Effect.raceFirst(parentGone)
    )
)

const stored = Command.make(
  "jetstream",
  { folder, device, servers: Argument.String("servers"), prefix: Argument.String("prefix") },
  ({ device, folder, prefix, servers }) =>
    consume(folder, device).pipe(
      Effect.provide(JetStreamDevices.layerHost({ feeds, device, connection: { servers }, prefix })),
      Effect.raceFirst(parentGone)
    )
)

Command.make("consumer").pipe(
  Command.withSubcommands([worker, listening, stored]),
  Command.run({ version: "1" }),
  Effect.provide(NodeServices.layer),
  // The standard output is for the account.
  Effect.provideService(Logger.LogToStderr, true),
  Effect.provideService(References.MinimumLogLevel, "Warn"),
  // Standard input keeps no process that has finished.
  NodeRuntime.runMain({
    teardown: (exit, onExit) => (process.stdin.destroy(), onExit(exit._tag === "Success" ? 0 : 1))
  })
)
