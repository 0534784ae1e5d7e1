/**
 * A consumer in a process of its own: hosts the feed at a port, and writes its reports to the standard output.
 *
 * It ends when its standard input closes, so that it does not outlive the process that started it, whatever became of
 * that one.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect, Logger, References, Schema, Stdio, Stream } from "effect"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { Command, Flag } from "effect/cli"
import { Digits } from "./feeds.ts"
import { type Report, ReportFromLine } from "./reports.ts"
import { train } from "./training.ts"

/** Writes a line, and waits until the operating system has it: from then on it is read even if this process dies. */
const writeLine = (line: string): Effect.Effect<void> =>
  Effect.callback((resume) => {
    process.stdout.write(`${line}\n`, (error) => {
      // The parent is gone, and that ends this program.
      resume(error ? Effect.never : Effect.void)
    })
  })

const report = (report: Report) => Effect.flatMap(Effect.orDie(Schema.encodeEffect(ReportFromLine)(report)), writeLine)

/** Standard input closes with the process that holds its other end; then nobody reads the output either. */
const parentGone = Effect.gen(function*() {
  const stdio = yield* Stdio.Stdio
  yield* Effect.sync(() => process.stdout.on("error", () => {}))
  yield* Effect.ignore(Stream.runDrain(stdio.stdin))
})

const consumer = Command.make("consumer", {
  device: Flag.String("device").pipe(Flag.withDescription("Name of the device that this process is")),
  port: Flag.Int("port").pipe(Flag.withDescription("Port to listen at, on the loopback interface")),
  seed: Flag.Int("seed").pipe(Flag.withDescription("Seed of the model's initial weights"))
}, ({ device, port, seed }) =>
  train({ device, seed, report }).pipe(
    Effect.provide(SocketDevices.layerHost({ feeds: [Digits], device, port })),
    Effect.raceFirst(parentGone)
  ))

consumer.pipe(
  Command.run({ version: "1" }),
  Effect.provide(NodeServices.layer),
  // The standard output is for reports.
  Effect.provideService(Logger.LogToStderr, true),
  Effect.provideService(References.MinimumLogLevel, "Warn"),
  // An error is told on the standard error, and standard input keeps no process that has finished.
  NodeRuntime.runMain({
    teardown: (exit, onExit) => (process.stdin.destroy(), onExit(exit._tag === "Success" ? 0 : 1))
  })
)
