/**
 * The example of a feed through a broker, as a person runs it: one process after the other.
 */
import { afterAll, assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as Path from "node:path"
import * as Nats from "../fixtures/nats.ts"

const nats = await Nats.start()
afterAll(() => nats.stop())

const root = Path.join(import.meta.dirname, "../..")

const run = (file: string, ...args: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.callback((resume) => {
    execFile(
      process.execPath,
      ["--conditions=effect-feeder:source", Path.join(root, "examples/jetstream", file), ...args],
      { env: { ...process.env, NATS_URL: nats.url } },
      (error, stdout, stderr) =>
        resume(
          error === null ? Effect.succeed(stdout.trim().split("\n")) : Effect.die(new Error(`${stdout}\n${stderr}`))
        )
    )
  })

it.live("the example runs, its processes one after the other", () =>
  Effect.gen(function*() {
    yield* run("consumer.ts", "announce")
    assert.deepStrictEqual(yield* run("feeder.ts"), ["1000 stored, 0 lost"])
    const batches = yield* run("consumer.ts")
    assert.deepStrictEqual(batches, Array.from({ length: 20 }, (_, i) => `50 pages, up to ${50 * i + 50}`))
  }), 60_000)

it("the files of the example are those in its documentation", () => {
  const markdown = fs.readFileSync(Path.join(root, "docs/jetstream.md"), "utf8")
  const printed = [...markdown.matchAll(/^```ts file=(\S+)\n([\s\S]*?)^```$/gm)]
  assert.deepStrictEqual(printed.map(([, name]) => name), ["feeds.ts", "consumer.ts", "feeder.ts"])
  for (const [, name, text] of printed) {
    assert.strictEqual(fs.readFileSync(Path.join(root, "examples/jetstream", name!), "utf8"), text)
  }
})
