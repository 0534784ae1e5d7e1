/**
 * The digits example as a person runs it: real processes, from the command line to the exit code.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Schema, type Scope } from "effect"
import { Ledger } from "effect-feeder"
import { execFileSync, spawn } from "node:child_process"
import * as Path from "node:path"
import { Account, makeTally } from "../../examples/digits/account.ts"
import { devices } from "../../examples/digits/feeds.ts"
import { until } from "../fixtures/processes.ts"

const main = Path.join(import.meta.dirname, "../../examples/digits/main.ts")

/** The processes of this machine that have not ended: their parents by their ids. */
const processes = (): ReadonlyMap<number, number> =>
  new Map(
    execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat="], { encoding: "utf8" }).trim().split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , stat]) => stat?.startsWith("Z") === false)
      .map(([pid, parent]) => [Number(pid), Number(parent)])
  )

interface Run {
  readonly pid: number
  readonly kill: (signal: NodeJS.Signals) => void
  /** The children it has had, as far as they were noticed. */
  readonly children: ReadonlySet<number>
  readonly exited: Effect.Effect<{ readonly code: number | null; readonly output: string }>
}

const start = (...args: ReadonlyArray<string>): Effect.Effect<Run, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn(process.execPath, ["--conditions=effect-feeder:source", main, ...args])
        const children = new Set<number>()
        const watch = setInterval(() => {
          for (const [pid, parent] of processes()) if (parent === child.pid) children.add(pid)
        }, 100)
        let output = ""
        let exit: { code: number | null; output: string } | undefined
        child.stdout.on("data", (text: Buffer) => (output += text.toString()))
        child.stderr.on("data", (text: Buffer) => (output += text.toString()))
        child.once("close", (code) => {
          clearInterval(watch)
          exit = { code, output }
        })
        return { child, children, exit: () => exit, output: () => output }
      }),
      ({ child, exit }) =>
        Effect.suspend(() => {
          if (exit() === undefined) child.kill("SIGKILL")
          return until("the example has ended", () => exit() !== undefined)
        })
    ),
    ({ child, children, exit, output }): Run => ({
      pid: child.pid!,
      kill: (signal) => child.kill(signal),
      children,
      exited: until("the example has ended", () => exit() !== undefined, 50_000).pipe(
        Effect.catchDefect((defect) => Effect.die(new Error(`${String(defect)}; it said:\n${output()}`))),
        Effect.map(() => exit()!)
      )
    })
  )

const accountOf = (output: string) =>
  Schema.decodeEffect(Schema.fromJsonString(Account))(output.trimEnd().split("\n").at(-1) ?? "")

const assertEven = (account: Account, generated: number) => {
  assert.strictEqual(account.generated, generated)
  assert.deepStrictEqual(Object.keys(account.delivered), devices)
  assert.strictEqual(Object.values(account.delivered).reduce((sum, count) => sum + count, 0), generated)
  assert.deepInclude(account, { lost: 0, duplicated: 0, heldByDead: 0 })
}

const assertGone = (pids: ReadonlySet<number>) =>
  until(`the processes ${[...pids].join(", ")} have ended`, () => {
    const alive = processes()
    return [...pids].every((pid) => !alive.has(pid))
  })

it("the account counts what is lost or doubled, whatever the ledger says", () => {
  const [device] = devices
  assert.isDefined(device)
  const tally = makeTally(6)
  tally.add({ _tag: "Handed", device, runs: [[0, 4, false]] })
  tally.add({ _tag: "Trained", device, runs: [[0, 4, false]], loss: 1, accuracy: 0.5 })
  // 2 and 3 once more without a mark, 1 with one; 4 was handed out and never finished, 5 never handed out
  tally.add({ _tag: "Handed", device, runs: [[2, 3, false], [1, 1, true]] })
  const ledger = Ledger.make({ generated: 6, queued: 0, taken: 6, devices: [] })
  const account = tally.account({ ledger, labels: new Int32Array(0), seconds: 1 })
  assert.deepInclude(account, { generated: 6, lost: 2, duplicated: 2, redelivered: 1 })
})

it.live(
  "a run survives kill -9 of a consumer with an even account, and leaves no process behind",
  () =>
    Effect.gen(function*() {
      const run = yield* start("--json", "--kill", "--limit", "4000")
      const { code, output } = yield* run.exited
      assert.strictEqual(code, 0, output)
      const account = yield* accountOf(output)
      assertEven(account, 4000)
      assert.isAbove(account.redelivered, 0)
      assert.isAtLeast(account.accepted, 4000)
      assert.include(output, "SIGKILL")
      assert.strictEqual(run.children.size, 3, "two consumers and another for the one that was killed")
      yield* assertGone(run.children)
    }),
  60_000
)

it.live("a run in one process learns the digits", () =>
  Effect.gen(function*() {
    const run = yield* start("--json", "--in-process", "--limit", "6000")
    const { code, output } = yield* run.exited
    assert.strictEqual(code, 0, output)
    const account = yield* accountOf(output)
    assertEven(account, 6000)
    assert.deepInclude(account, { accepted: 6000, redelivered: 0 })
    assert.isAbove(account.accuracy, 0.85)
    assert.strictEqual(run.children.size, 0)
  }), 60_000)

it.live(
  "consumers end with the feeder, whether it is asked to or killed",
  () =>
    Effect.forEach(["SIGINT", "SIGTERM", "SIGKILL"] as const, (signal) =>
      Effect.gen(function*() {
        const run = yield* start()
        yield* until("both consumers run", () => run.children.size === devices.length)
        run.kill(signal)
        const { code } = yield* run.exited
        assert.strictEqual(code, signal === "SIGKILL" ? null : 130)
        yield* assertGone(run.children)
      }).pipe(Effect.scoped), { concurrency: "unbounded", discard: true }),
  60_000
)
