/**
 * Runs systems of real processes, samples their memory, and says whether it stays within its bounds. Exits with 1 when
 * a bound is broken.
 *
 * `npm run bounded`, `npm run bounded -- --only many --scale 0.1`, `npm run bounded -- --write` for `docs/bounded.md`.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, FileSystem, Option, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import * as Path from "node:path"
import * as Report from "../test/bounded/report.ts"
import { type Name, type Outcome, scenarios } from "../test/bounded/scenarios.ts"

/** Bounds were broken. */
class BoundsBroken extends Schema.TaggedError<BoundsBroken>()("BoundsBroken", { checks: Schema.Array(Schema.String) }) {
  override get message(): string {
    return `these bounds are broken: ${this.checks.join("; ")}`
  }
}

const names: ReadonlyArray<Name> = ["stopped", "many", "cycles", "feeders", "devices"]

const docs = Path.join(import.meta.dirname, "../docs")

/** Puts the table of a scenario into the document, between its marks, and its plot beside it. */
const write = Effect.fnUntraced(function*(name: Name, outcome: Outcome) {
  const fs = yield* FileSystem.FileSystem
  const file = Path.join(docs, "bounded.md")
  const text = yield* fs.readFileString(file)
  const [from, to] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`]
  const [start, end] = [text.indexOf(from), text.indexOf(to)]
  if (start < 0 || end < start) return yield* Effect.die(new Error(`${file} has no marks for ${name}`))
  const body = `\n\n${outcome.title}.\n\n${Report.tableOf(outcome)}\n\n![${name}](bounded/${name}.svg)\n\n`
  yield* fs.writeFileString(file, text.slice(0, start + from.length) + body + text.slice(end))
  yield* fs.writeFileString(Path.join(docs, "bounded", `${name}.svg`), Report.plotOf(outcome))
})

const bounded = Effect.fnUntraced(function*(options: {
  readonly only: Option.Option<Name>
  readonly scale: number
  readonly json: boolean
  readonly write: boolean
}) {
  const broken: Array<string> = []
  const accounts: Array<unknown> = []
  for (const name of Option.match(options.only, { onNone: () => names, onSome: (name) => [name] })) {
    yield* Console.error(`${name} …`)
    const outcome = yield* Effect.scoped(scenarios[name](options.scale))
    yield* Console.log(`\n${name}: ${outcome.title}\n\n${Report.tableOf(outcome)}`)
    if (options.write) yield* write(name, outcome)
    broken.push(...Report.brokenOf(outcome).map(({ what }) => `${name}, ${what}`))
    accounts.push({ name, checks: outcome.checks, figures: Object.fromEntries(outcome.figures) })
  }
  if (options.json) yield* Console.log(JSON.stringify({ scale: options.scale, broken: broken.length, accounts }))
  if (broken.length > 0) return yield* new BoundsBroken({ checks: broken })
})

const command = Command.make("bounded", {
  only: Flag.Literals("only", names).pipe(Flag.withDescription("Run this scenario alone"), Flag.optional),
  scale: Flag.Finite("scale").pipe(
    Flag.withDescription("How much of the whole is run; little of it still has the shape"),
    Flag.withDefault(1)
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print the account as one line of JSON, the last"),
    Flag.withDefault(false)
  ),
  write: Flag.Boolean("write").pipe(
    Flag.withDescription("Put the figures and plots into docs/bounded.md"),
    Flag.withDefault(false)
  )
}, bounded).pipe(Command.withDescription("Run systems of processes and hold their memory to its bounds"))

command.pipe(
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
