/**
 * The program that is run four ways, as a person runs it.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { jetstreamManager } from "@nats-io/jetstream"
import { connect } from "@nats-io/transport-node"
import { Effect, FileSystem, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as Path from "node:path"
import * as Nats from "../fixtures/nats.ts"
import { until } from "../fixtures/processes.ts"

const main = Path.join(import.meta.dirname, "../../examples/four-ways/main.ts")

const ways = ["fiber", "worker", "process", "jetstream"] as const

const start = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) =>
  ChildProcess.make(process.execPath, ["--conditions=effect-feeder:source", main, ...args], { env, extendEnv: true })

it.live("fibers, threads, processes and a broker come to one account", () =>
  Effect.gen(function*() {
    const accounts = yield* Effect.forEach(ways, (layer) =>
      Effect.gen(function*() {
        const program = yield* start([`--layer=${layer}`, "--elements=2000", "--json"])
        const lines = yield* program.all.pipe(Stream.decodeText(), Stream.splitLines, Stream.runCollect)
        assert.strictEqual(yield* program.exitCode, 0, lines.join("\n"))
        // One line, and nothing beside it.
        assert.strictEqual(lines.length, 1, lines.join("\n"))
        const account: unknown = JSON.parse(lines[0]!)
        assert.deepInclude(account, { layer, elements: 2000, devices: 2, seen: 2000, duplicated: 0 })
        return { ...Object(account), layer: "any" }
      }), { concurrency: 2 })
    const [first, ...others] = accounts
    const ledger = { generated: 2000, delivered: 2000, redelivered: 0, heldByDead: 0, dead: 0, dropped: 0, lost: 0 }
    assert.deepStrictEqual(first.ledger, ledger)
    assert.match(first.digest, /^[0-9a-f]{16}$/)
    for (const other of others) assert.deepStrictEqual(other, first)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 120_000)

it.live(
  "each way, Ctrl-C ends all processes and leaves no file",
  () =>
    Effect.forEach(ways, (layer) =>
      Effect.gen(function*() {
        const folder = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped()
        const program = yield* start([`--layer=${layer}`, "--elements=100000000"], { TMPDIR: folder })
        const written = () => fs.globSync(`${folder}/four-ways-*/?.txt`)
        yield* until("a consumer has begun", () => written().length > 0, 60_000)
        yield* program.kill({ killSignal: "SIGINT" })
        yield* until(
          "the processes have ended",
          () => !execFileSync("ps", ["-A", "-o", "args="], { encoding: "utf8" }).includes(folder)
        )
        assert.deepStrictEqual(
          fs.readdirSync(folder).filter((name) => name.startsWith("four-ways-")),
          []
        )
      }).pipe(Effect.scoped), { concurrency: 2 }).pipe(Effect.provide(NodeServices.layer)),
  120_000
)

it.live("a broker that goes on is left without a stream", () =>
  Effect.gen(function*() {
    const nats = yield* Effect.acquireRelease(Effect.promise(() => Nats.start()), (nats) => Effect.promise(nats.stop))
    const program = yield* start(["--layer=jetstream", "--elements=500", `--servers=${nats.url}`])
    const said = yield* program.all.pipe(Stream.decodeText(), Stream.mkString)
    assert.strictEqual(yield* program.exitCode, 0, said)
    const { streams } = yield* Effect.acquireUseRelease(
      Effect.promise(() => connect({ servers: nats.url })),
      (connection) => Effect.promise(async () => (await jetstreamManager(connection)).getAccountInfo()),
      (connection) => Effect.promise(() => connection.close())
    )
    assert.strictEqual(streams, 0)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 60_000)

it.live("without a nats-server it says what to install", () =>
  Effect.gen(function*() {
    const program = yield* start(["--layer=jetstream"], { PATH: "/nowhere" })
    const said = yield* program.all.pipe(Stream.decodeText(), Stream.mkString)
    assert.include(said, "`apt-get install nats-server`")
    assert.strictEqual(yield* program.exitCode, 1)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 60_000)
