/**
 * Runs the benchmarks: `npm run bench`, `npm run bench -- --only tcp-small`, `--json` for a line of JSON for each row,
 * `--write` for the tables and plots of `README.md`, and the table of `docs/choosing.md`.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, FileSystem, Option, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { fork } from "node:child_process"
import * as os from "node:os"
import * as path from "node:path"
import { costsOf } from "./costs.ts"
import { groups } from "./groups/index.ts"
import type { Options } from "./harness.ts"
import type { GroupReply, GroupRequest } from "./messages.ts"
import { type Bar, plotOf } from "./plot.ts"
import { between, tableOf, withMarks } from "./report.ts"
import { type Row, skippedRow } from "./rows.ts"
import { select, type Selection } from "./select.ts"

/** No row has that name. */
class NoSuchRow extends Schema.TaggedError<NoSuchRow>()("NoSuchRow", { only: Schema.String }) {
  override get message(): string {
    return `no row begins with "${this.only}"; there are ${groups.map(({ name }) => name).join(", ")}`
  }
}

/** A group that takes longer hangs. */
const deadline = 180_000

interface Outcome {
  readonly rows: ReadonlyArray<Row>
  readonly bars: ReadonlyArray<Bar>
}

/** Runs a group in a process of its own, and tells of each row when it is measured. */
const runGroup = (
  { group, rows }: Selection,
  options: Options,
  onRow: (row: Row) => void,
  onProgress: (text: string) => void
): Effect.Effect<Outcome> =>
  Effect.callback((resume) => {
    const child = fork(path.join(import.meta.dirname, "group.ts"), {
      execArgv: [...process.execArgv, "--expose-gc", "--no-warnings"]
    })
    const outcome = { rows: [] as Array<Row>, bars: [] as Array<Bar> }
    let failed: string | undefined
    const late = setTimeout(() => {
      failed = `the group took longer than ${deadline / 1000} s`
      child.kill()
      setTimeout(() => child.kill("SIGKILL"), 2000).unref()
    }, deadline)
    child.on("message", (reply: GroupReply) => {
      if (reply._tag === "Row") {
        outcome.rows.push(reply.row)
        onRow(reply.row)
      } else if (reply._tag === "Measured") {
        const { batch, name } = reply.side
        outcome.bars.push({ ...reply.side, name: `${name}, batch ${batch}`, isOurs: reply.isOurs })
      } else if (reply._tag === "Progress") {
        onProgress(reply.text)
      } else {
        failed ??= reply.failed
        child.disconnect()
      }
    })
    child.on("exit", (code, signal) => {
      clearTimeout(late)
      if (failed === undefined && code !== 0) failed = `the group's process ended with ${code ?? signal}`
      if (failed !== undefined) onProgress(`${group.name}: ${failed}`)
      for (const name of rows) {
        if (outcome.rows.some(({ row }) => row === name)) continue
        const row = skippedRow(name, null, failed ?? "nothing was measured")
        outcome.rows.push(row)
        onRow(row)
      }
      resume(Effect.succeed(outcome))
    })
    const request: GroupRequest = { group: group.name, rows, options }
    child.send(request)
    return Effect.sync(() => {
      clearTimeout(late)
      child.kill()
    })
  })

const machine = (): string => {
  const cpus = os.cpus()
  return `${cpus.length} cores (${cpus[0]?.model.trim() ?? "unknown"}), ${os.type()} ${os.release()}, ` +
    `node ${process.versions.node}, ${new Date().toISOString().slice(0, 10)}`
}

/** Puts the table of a group into the document, between its marks, and its plot beside it. */
const write = Effect.fnUntraced(function*({ group }: Selection, { bars, rows }: Outcome) {
  const fs = yield* FileSystem.FileSystem
  const file = path.join(import.meta.dirname, "README.md")
  const plot = `plots/${group.name}.svg`
  const document = withMarks(yield* fs.readFileString(file), "groups", groups.map(({ name }) => name))
  const picture = bars.length === 0 ? [] : [`![${group.title}](${plot})`]
  const payload = [...new Set(rows.flatMap(({ sides: { ours } }) => ours?.payload ?? []))].join("; ")
  const pairs = Math.max(...rows.map((row) => row.pairs))
  const clock = rows[0]?.clock === "cpu" ? "CPU time of the main thread" : "time on the wall"
  const lines = [
    `### ${group.title}`,
    `Payload ${payload === "" ? "none" : `\`${payload}\``}, ${pairs} pairs, ${clock}.`,
    ...picture,
    tableOf(rows)
  ]
  const text = between(document, group.name, lines.join("\n\n"))
  const written = between(text, "machine", machine())
  yield* fs.writeFileString(file, written)
  const choosing = path.join(import.meta.dirname, "../docs/choosing.md")
  yield* fs.writeFileString(choosing, between(yield* fs.readFileString(choosing), "costs", costsOf(written)))
  if (bars.length > 0) {
    yield* fs.makeDirectory(path.join(import.meta.dirname, "plots"), { recursive: true })
    yield* fs.writeFileString(path.join(import.meta.dirname, plot), plotOf(group.title, group.unit, bars))
  }
})

const bench = Effect.fnUntraced(function*(flags: {
  readonly only: Option.Option<string>
  readonly json: boolean
  readonly write: boolean
  readonly rounds: Option.Option<number>
  readonly millis: Option.Option<number>
}) {
  const only = Option.getOrUndefined(flags.only)
  const selections = select(groups, only)
  if (selections.length === 0) return yield* new NoSuchRow({ only: only ?? "" })
  for (const selection of selections) {
    const { group, rows } = selection
    yield* Console.error(`${group.name}: ${rows.join(", ")} …`)
    const options = {
      rounds: Option.getOrElse(flags.rounds, () => group.options?.rounds ?? 5),
      millis: Option.getOrElse(flags.millis, () => group.options?.millis ?? 150)
    }
    const outcome = yield* runGroup(
      selection,
      options,
      (row) => flags.json ? console.log(JSON.stringify(row)) : undefined,
      (text) => console.error(text)
    )
    if (!flags.json) yield* Console.log(`\n## ${group.title}\n\n${tableOf(outcome.rows)}\n`)
    if (!flags.write) continue
    if (rows.length === group.rows.length) yield* write(selection, outcome)
    else yield* Console.error(`${group.name}: not written, since only a part of it was measured`)
  }
})

const command = Command.make("bench", {
  only: Flag.String("only").pipe(
    Flag.withDescription("Run the row of this name, or those that begin with it; several with commas"),
    Flag.optional
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print a line of JSON for each row, and nothing else, on standard output"),
    Flag.withDefault(false)
  ),
  write: Flag.Boolean("write").pipe(
    Flag.withDescription("Put the tables and plots into bench/README.md"),
    Flag.withDefault(false)
  ),
  rounds: Flag.Int("rounds").pipe(Flag.withDescription("Measured rounds; 5 by default"), Flag.optional),
  millis: Flag.Int("millis").pipe(
    Flag.withDescription("How long one run of one case takes; by default what its group says"),
    Flag.optional
  )
}, bench).pipe(Command.withDescription("Measure effect-feeder against its peers"))

command.pipe(
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
