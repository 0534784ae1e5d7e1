/**
 * The three files of the README, run as they are printed: two consumer processes and a feeder process. Only the ports are
 * others, since somebody may listen at those.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, FileSystem, Path, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { freePort } from "./fixtures/processes.ts"

/** The fences marked `file=NAME`. */
const printedFiles = (markdown: string): ReadonlyArray<readonly [name: string, text: string]> =>
  [...markdown.matchAll(/^```ts file=(\S+)\n([\s\S]*?)^```$/gm)].map(([, name, text]) => [name!, text!])

it.live("the three files of the README work as printed", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const root = path.resolve(import.meta.dirname, "..")
    // Inside the package, so that its name resolves to it.
    const folder = path.join(root, ".doctest", "readme")
    yield* fs.makeDirectory(folder, { recursive: true })
    const files = printedFiles(yield* fs.readFileString(path.join(root, "README.md")))
    assert.deepStrictEqual(files.map(([name]) => name), ["feeds.ts", "consumer.ts", "feeder.ts"])
    const ports = [yield* freePort, yield* freePort] as const
    for (const [name, text] of files) {
      const own = text.replaceAll("127.0.0.1:4001", `127.0.0.1:${ports[0]}`)
        .replaceAll("127.0.0.1:4002", `127.0.0.1:${ports[1]}`)
      yield* fs.writeFileString(path.join(folder, name), own)
    }

    const start = (file: string, ...args: ReadonlyArray<string>) =>
      ChildProcess.make(process.execPath, ["--conditions=effect-feeder:source", file, ...args], { cwd: folder })
    const lines = (handle: Effect.Success<ReturnType<typeof start>>) =>
      handle.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.runCollect)

    const consumers = yield* Effect.forEach(ports, (port) => start("consumer.ts", String(port)))
    const feeder = yield* start("feeder.ts")
    const [account, ...trained] = yield* Effect.all([feeder, ...consumers].map(lines), { concurrency: "unbounded" })
    assert.deepStrictEqual(account, ["1000 of 1000 delivered, 0 lost"])
    // A host also says that it is for this machine only.
    const [said, batches] = [/for feeders of this machine only/, /images/].map((what) =>
      trained.flat().filter((line) => what.test(line))
    )
    assert.strictEqual(said?.length, 2)
    const images = (batches ?? []).map((line) => Number(/^(\d+) images, (\d+) pixels/.exec(line)?.[1]))
    assert.strictEqual(images.reduce((sum, size) => sum + size, 0), 1000)
    for (const handle of [feeder, ...consumers]) assert.strictEqual(yield* handle.exitCode, 0)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 60_000)
