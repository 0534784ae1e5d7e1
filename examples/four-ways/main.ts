/**
 * One program, four ways: feeds pages to two consumers that are fibers of this process, worker threads, processes, or
 * processes behind a broker. Only the Layer is another; the account is the same.
 *
 * See the README beside this file.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, FileSystem, Layer, Logger, Option, Random, References, Schema } from "effect"
import { FailureTolerator, Feeder, MemoryDevices } from "effect-feeder"
import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as WorkerDevices from "effect-feeder/layers/WorkerDevices"
import { Command, Flag } from "effect/cli"
import { ChildProcess } from "effect/process"
import { createHash } from "node:crypto"
import { fileURLToPath } from "node:url"
import { again, consume, devices, fileOf, lineOf, Pages } from "./feed.ts"
import * as Nats from "./nats.ts"

// --- the program ------------------------------------------------------------------------------------------------------

const pageOf = (id: number) => ({ id, text: `page ${id} `.repeat(1 + id % 50) })

const pages = function*(count: number) {
  for (let id = 0; id < count; id++) yield pageOf(id)
}

const digestOf = (lines: ReadonlyArray<string>): string =>
  createHash("sha256").update(lines.join("\n")).digest("hex").slice(0, 16)

/** The account is not even. */
class AccountWrong extends Schema.TaggedError<AccountWrong>()("AccountWrong", { account: Schema.String }) {
  override get message(): string {
    return `some pages were lost, came twice without a mark, or are not what was fed: ${this.account}`
  }
}

/** Feeds to whatever consumers there are; the account is of the feeder's ledger and of what the consumers wrote. */
const program = Effect.fnUntraced(function*(folder: string, count: number) {
  const fs = yield* FileSystem.FileSystem
  const { dead, delivered, dropped, generated, heldByDead, lost, redelivered } = yield* Feeder.run(Pages, {
    source: pages(count),
    devices,
    // Consumers take a while to start.
    tolerate: FailureTolerator.make({ limit: 100, initDelay: "100 millis", backoffFactor: 1 })
  })
  const texts = yield* Effect.forEach(
    devices,
    (device) => Effect.catch(fs.readFileString(fileOf(folder, device)), () => Effect.succeed(""))
  )
  const lines = texts.join("").trimEnd().split("\n")
  const first = lines.filter((line) => !line.startsWith(again))
  const seen = [...new Set(lines.map((line) => line.replace(again, "")))]
    .toSorted((a, b) => Number.parseInt(a) - Number.parseInt(b))
  const account = {
    ledger: { generated, delivered, redelivered, heldByDead, dead, dropped, lost },
    seen: seen.length,
    duplicated: first.length - new Set(first).size,
    digest: digestOf(seen)
  }
  const isEven = lost === 0 && delivered === count && account.duplicated === 0 &&
    account.digest === digestOf(Array.from(pages(count), ({ id, text }) => lineOf(id, text)))
  return isEven ? account : yield* new AccountWrong({ account: JSON.stringify(account) })
})

// --- four Layers --------------------------------------------------------------------------------------------------------

const consumer = new URL("./consumer.ts", import.meta.url)

/** Consumers as fibers of this process. */
const fibers = (folder: string) =>
  Layer.effectDiscard(Effect.forEach(devices, (device) =>
    consume(folder, device).pipe(
      Effect.provide(MemoryDevices.layerHost({ feeds: [Pages], device })),
      Effect.forkScoped
    ))).pipe(Layer.provideMerge(MemoryDevices.layerNetwork))

/** Consumers as worker threads. */
const workers = (folder: string) =>
  WorkerDevices.layer({ worker: consumer, count: devices.length, argv: ["worker", `--folder=${folder}`] })

/** Starts a process for each consumer, which ends with the scope. */
const start = (folder: string, way: string, argsOf: (device: string) => ReadonlyArray<string>) =>
  Effect.forEach(devices, (device) =>
    ChildProcess.make(process.execPath, [
      ...process.execArgv,
      fileURLToPath(consumer),
      way,
      `--folder=${folder}`,
      `--device=${device}`,
      ...argsOf(device)
    ], { stdout: "ignore", stderr: "inherit", killSignal: "SIGKILL" }), { discard: true })

/** Consumers as processes. On other machines only their addresses would be others. */
const processes = (folder: string) => {
  const addresses = Object.fromEntries(devices.map((device, i) => [device, `unix://${folder}/${i}.sock`]))
  return Layer.unwrap(Effect.as(
    start(folder, "process", (device) => [addresses[device]!]),
    SocketDevices.layer(addresses)
  ))
}

/** Consumers as processes, and a broker between. */
const broker = (folder: string, given: Option.Option<string>) =>
  Layer.unwrap(Effect.gen(function*() {
    const prefix = `four-ways-${yield* Random.nextIntBetween(0, 2 ** 48)}`
    const servers = yield* Option.match(given, {
      onNone: () => Nats.start(`${folder}/nats`),
      onSome: (servers) => Effect.acquireRelease(Effect.succeed(servers), (servers) => Nats.clean(servers, prefix))
    })
    yield* start(folder, "jetstream", () => [servers, prefix])
    return JetStreamDevices.layer({ connection: { servers }, prefix })
  }))

// --- the command line -------------------------------------------------------------------------------------------------

const table = (rows: Readonly<Record<string, unknown>>): string =>
  Object.entries(rows).map(([name, value]) => `${name.padEnd(12)}${String(value)}`).join("\n")

const fourWays = Command.make("four-ways", {
  layer: Flag.Literals("layer", ["fiber", "worker", "process", "jetstream"]).pipe(
    Flag.withDescription("What the consumers are"),
    Flag.withDefault("fiber")
  ),
  elements: Flag.Int("elements").pipe(
    Flag.withDescription("How many pages are fed"),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
    Flag.withDefault(10_000)
  ),
  servers: Flag.String("servers").pipe(
    Flag.withDescription("With jetstream: a nats-server that runs with JetStream, instead of one that is started"),
    Flag.optional
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print the account as one line of JSON"),
    Flag.withDefault(false)
  )
}, ({ elements, json, layer, servers }) =>
  Effect.gen(function*() {
    const folder = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped({ prefix: "four-ways-" })
    const run = program(folder, elements)
    const { ledger, ...consumed } = yield* {
      fiber: Effect.provide(run, fibers(folder)),
      worker: Effect.provide(run, workers(folder)),
      process: Effect.provide(run, processes(folder)),
      jetstream: Effect.provide(run, broker(folder, servers))
    }[layer]
    const facts = { layer, elements, devices: devices.length }
    yield* Console.log(
      json ? JSON.stringify({ ...facts, ledger, ...consumed }) : table({ ...facts, ...ledger, ...consumed })
    )
  }).pipe(Effect.scoped)).pipe(Command.withDescription("Feed pages to two consumers, one of four ways"))

fourWays.pipe(
  Command.run({ version: "1" }),
  Effect.provideService(Logger.LogToStderr, true),
  Effect.provideService(References.MinimumLogLevel, "Warn"),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
