/**
 * The cluster example as a person runs it, over a real PostgreSQL: two runners, a feeder, and one runner killed midway.
 */
import { NodeServices } from "@effect/platform-node"
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { Effect, Path, Stream } from "effect"
import { ChildProcess } from "effect/process"
import * as Postgres from "../fixtures/postgres.ts"
import { freePort } from "../fixtures/processes.ts"

let postgres: Postgres.Postgres

beforeAll(async () => {
  postgres = await Postgres.start()
}, 60_000)

afterAll(() => postgres.stop(), 60_000)

it.live("runners and a feeder, from the command line", () =>
  Effect.gen(function*() {
    const path = yield* Path.Path
    const folder = path.resolve(import.meta.dirname, "../../examples/cluster")
    const { database, socket, username } = postgres
    const env = { DATABASE_URL: `postgres://${username}@localhost/${database}?host=${socket}` }
    const start = (file: string, argument: string) =>
      ChildProcess.make(process.execPath, ["--conditions=effect-feeder:source", file, argument], {
        cwd: folder,
        env,
        extendEnv: true
      })
    const runners = yield* Effect.forEach([freePort, freePort], (port) =>
      Effect.flatMap(port, (port) => start("runner.ts", String(port))))
    const [killed] = runners
    const feeder = yield* start("feeder.ts", "8000")
    const lines = (handle: typeof feeder) =>
      handle.stdout.pipe(Stream.decodeText(), Stream.splitLines)
    const isHome = (line: string) => line.endsWith("lives here")
    // Once the runner has a device, it dies.
    yield* Stream.runHead(Stream.filter(lines(killed!), isHome))
    yield* killed!.kill({ killSignal: "SIGKILL" })
    const [account = ""] = yield* Stream.runCollect(lines(feeder))
    assert.match(account, /^8000 of 8000 delivered, \d+ of them again, 0 lost$/)
    assert.strictEqual(yield* feeder.exitCode, 0)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 180_000)
