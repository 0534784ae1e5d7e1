import { assert, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import * as Path from "node:path"

interface Ran {
  readonly code: number | null
  readonly out: string
  readonly log: string
}

const chaos = (...options: ReadonlyArray<string>): Promise<Ran> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [
      "--conditions=effect-feeder:source",
      Path.join(import.meta.dirname, "../../scripts/chaos.ts"),
      ...options,
      "--json"
    ], { stdio: ["ignore", "pipe", "pipe"] })
    let out = ""
    let log = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => out += text)
    child.stderr.setEncoding("utf8").on("data", (text: string) => log += text)
    child.once("error", reject).once("close", (code) => resolve({ code, out, log }))
  })

it("sixty seconds of chaos break no promise", { timeout: 300_000 }, async () => {
  const { code, log, out } = await chaos("--minutes", "1", "--seed", "18")
  assert.strictEqual(code, 0, `${log}\n${out}`)
  const summary: Record<string, number> = JSON.parse(out.trimEnd().split("\n").at(-1)!)
  const told = `${log}\n${out}`
  assert.deepInclude(summary, { lost: 0, duplicated: 0, corrupt: 0, disordered: 0, broken: 0 }, told)
  assert.strictEqual(summary["acknowledged"]! + summary["dead"]!, summary["generated"], told)
  assert.isAbove(summary["dead"]!, 0, told)
  assert.isAbove(summary["redelivered"]!, 0, told)
  for (const fault of ["kills", "stops", "resets"]) assert.isAbove(summary[fault]!, 0, `${fault}\n${told}`)
})
