/**
 * The example of workers as a person runs it, with threads and with processes, one of which crashes.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { ChildProcess } from "effect/process"
import * as Path from "node:path"

const main = Path.join(import.meta.dirname, "../../examples/workers/main.ts")

for (const kind of ["threads", "processes"]) {
  it.live(`every image is hashed in ${kind}, though one of them crashes`, () =>
    Effect.gen(function*() {
      const program = yield* ChildProcess.make(process.execPath, [
        "--conditions=effect-feeder:source",
        main,
        "--images=1000",
        "--crash",
        "--json",
        ...kind === "processes" ? ["--processes"] : []
      ])
      const lines = yield* program.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.runCollect)
      const account: unknown = JSON.parse(lines.at(-1) ?? "")
      assert.deepInclude(account, { generated: 1000, delivered: 1000, lost: 0, starts: 3 })
      assert.match(
        lines.at(-2) ?? "",
        /^1000 of 1000 images hashed, [1-9]\d* of them again since a worker had ended, 0 lost/
      )
      assert.strictEqual(yield* program.exitCode, 0)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 60_000)
}
