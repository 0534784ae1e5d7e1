/**
 * Runs histories of whole systems, and says which of them broke a law of feeding. What breaks one is kept in
 * `test/simulation/regressions.json`, whose histories the tests run again.
 *
 * `npm run simulate -- --runs 1000 --seed 1`, `npm run simulate -- --trace 7`, `npm run simulate -- --mutations`.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Array, Clock, Console, Effect, FileSystem, Option, Order, Schema, Stream } from "effect"
import { Command, Flag } from "effect/cli"
import * as Os from "node:os"
import * as Path from "node:path"
import * as History from "../test/simulation/history.ts"
import * as Mutate from "../test/simulation/mutate.ts"
import { type Regression, Regressions } from "../test/simulation/regressions.ts"
import * as Worker from "../test/simulation/worker.ts"

const regressionsFile = Path.join(import.meta.dirname, "../test/simulation/regressions.json")

/** Histories broke laws. */
class LawsBroken extends Schema.TaggedError<LawsBroken>()("LawsBroken", { seeds: Schema.Array(Schema.Int) }) {
  override get message(): string {
    return `${this.seeds.length} histories broke a law; see one with --trace ${this.seeds[0]}`
  }
}

/** Planted bugs were not noticed. */
class BugsMissed extends Schema.TaggedError<BugsMissed>()("BugsMissed", { names: Schema.Array(Schema.String) }) {
  override get message(): string {
    return `these bugs break no law that the histories check: ${this.names.join("; ")}`
  }
}

/** Adds what is not yet known to the histories that the tests run again. */
const keep = Effect.fnUntraced(function*(failures: ReadonlyArray<Regression>) {
  const fs = yield* FileSystem.FileSystem
  const known = Schema.decodeUnknownSync(Regressions)(yield* fs.readFileString(regressionsFile))
  const all = Array.dedupeWith([...known, ...failures], (one, other) => one.seed === other.seed)
  const sorted = Array.sort(all, Order.mapInput(Order.Number, ({ seed }: Regression) => seed))
  yield* fs.writeFileString(regressionsFile, `${Schema.encodeSync(Regressions)(sorted)}\n`)
})

const simulate = Effect.fnUntraced(function*(options: {
  readonly runs: number
  readonly seed: number
  readonly json: boolean
}) {
  const { runs, seed } = options
  const started = yield* Clock.currentTimeMillis
  const cores = Os.availableParallelism()
  yield* Console.error(`histories ${seed} to ${seed + runs - 1}, on ${cores} cores`)
  let [histories, steps, millis, given, redelivered] = [0, 0, 0, 0, 0]
  const failures: Array<Regression> = []
  const parts = Array.range(0, Math.min(cores, runs) - 1).map((i) =>
    Worker.run({ seed: seed + i, runs: runs - i, step: cores })
  )
  yield* Stream.mergeAll(parts, { concurrency: "unbounded" }).pipe(Stream.runForEach((line) => {
    if (line._tag === "Failure") {
      failures.push({ seed: line.seed, message: line.message })
      return Console.error(`history ${line.seed}: ${line.message}`)
    }
    histories += line.histories
    steps += line.steps
    millis += line.millis
    given += line.given
    redelivered += line.redelivered
    return histories % 1000 < line.histories ? Console.error(`${histories} histories`) : Effect.void
  }))
  if (failures.length > 0) yield* keep(failures)
  const seconds = ((yield* Clock.currentTimeMillis) - started) / 1000
  const simulatedHours = millis / 3_600_000
  yield* Console.log(
    `${histories} histories in ${seconds.toFixed(1)} s: ${steps} steps in ${
      simulatedHours.toFixed(1)
    } simulated hours, ` +
      `${given} deliveries, ${redelivered} of them again; ${failures.length} broke a law`
  )
  if (options.json) {
    const round = (value: number) => Math.round(value * 100) / 100
    yield* Console.log(JSON.stringify({
      histories,
      violations: failures.length,
      steps,
      simulatedHours: round(simulatedHours),
      seconds: round(seconds)
    }))
  }
  if (failures.length > 0) return yield* new LawsBroken({ seeds: failures.map((failure) => failure.seed) })
})

const mutate = Effect.fnUntraced(function*(options: { readonly json: boolean }) {
  const { caught, planted, results } = yield* Mutate.runMutations()
  for (const { caughtAt, isCaught, message, name } of results) {
    yield* Console.log(
      `${name}: ${
        isCaught ? `caught by history ${caughtAt}: ${message.slice(0, 120)}` : `not caught: ${message.slice(0, 120)}`
      }`
    )
  }
  yield* Console.log(options.json ? JSON.stringify({ planted, caught }) : `${caught} of ${planted} planted bugs caught`)
  const missed = results.filter(({ isCaught }) => !isCaught)
  if (missed.length > 0) return yield* new BugsMissed({ names: missed.map(({ name }) => name) })
})

const trace = (seed: number) =>
  Effect.suspend(() => Console.log(History.run(seed, (line) => process.stdout.write(`${line}\n`))))

const command = Command.make("simulate", {
  runs: Flag.Int("runs").pipe(
    Flag.withDescription("How many histories to run"),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
    Flag.withDefault(1000)
  ),
  seed: Flag.Int("seed").pipe(
    Flag.withDescription("The first history; by chance if it is not given"),
    Flag.optional
  ),
  trace: Flag.Int("trace").pipe(
    Flag.withDescription("Tell what happens in this one history, instead"),
    Flag.optional
  ),
  mutations: Flag.Boolean("mutations").pipe(
    Flag.withDescription("Plant bugs in the source, and see that histories break laws by them, instead"),
    Flag.withDefault(false)
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print the account as one line of JSON, the last"),
    Flag.withDefault(false)
  )
}, (options) =>
  Effect.gen(function*() {
    if (Option.isSome(options.trace)) return yield* trace(options.trace.value)
    if (options.mutations) return yield* mutate(options)
    const seed = Option.getOrElse(options.seed, () => Math.floor(Math.random() * 1_000_000_000))
    return yield* simulate({ ...options, seed })
  })).pipe(Command.withDescription("Run histories of whole systems and check the laws of feeding at every step"))

command.pipe(
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
