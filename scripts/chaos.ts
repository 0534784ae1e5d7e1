/**
 * Feeds numbered elements from a real process to others through real sockets, breaks all of them in turn, and checks by
 * what the consumers recorded that no promise was broken. `docs/chaos.md` says how to read the report.
 *
 * `npm run chaos -- --minutes 1 --devices 4 --seed 7 --delivery atLeastOnce --json`.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import * as PgClient from "@effect/sql-pg/PgClient"
import { Console, Effect, Exit, Option, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Checker from "../test/chaos/checker.ts"
import * as History from "../test/chaos/history.ts"
import * as Plan from "../test/chaos/plan.ts"
import * as Report from "../test/chaos/report.ts"
import * as Results from "../test/chaos/results.ts"
import * as Run from "../test/chaos/run.ts"
import { Delivery } from "../test/chaos/settings.ts"
import * as World from "../test/chaos/world.ts"
import * as Postgres from "../test/fixtures/postgres.ts"

/** Promises were broken. */
class PromisesBroken extends Schema.TaggedError<PromisesBroken>()("PromisesBroken", {
  count: Schema.Int,
  seed: Schema.Int,
  directory: Schema.String
}) {
  override get message(): string {
    return `${this.count} promises were broken with seed ${this.seed}; what was recorded is in ${this.directory}`
  }
}

/** A place for what is recorded, which stays if the run fails. */
const directory = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-feeder-chaos-"))),
  (path, exit) =>
    Effect.suspend(() => {
      if (!Exit.isSuccess(exit)) return Console.error(`what was recorded is in ${path}`)
      Fs.rmSync(path, { recursive: true, force: true })
      return Effect.void
    })
)

/** A PostgreSQL of this run's own, with the table of results. */
const startDatabase = Effect.gen(function*() {
  const { port, socket, username, database } = yield* Effect.acquireRelease(
    Effect.promise(Postgres.start),
    ({ stop }) => Effect.promise(stop)
  )
  const place: Results.Database = { host: socket, port, username, database }
  yield* Results.createTable.pipe(Effect.provide(PgClient.layer(place)))
  return place
})

/** Elements a second, unless it follows from what else is asked for. */
const usualRate = 2000

const chaos = Effect.fnUntraced(function*(options: Run.Settings & { readonly json: boolean }) {
  const faults = Path.join(options.directory, "faults.log")
  const log = (line: string) => {
    Fs.appendFileSync(faults, `${line}\n`)
    process.stderr.write(`${line}\n`)
  }
  const database = options.delivery === "effectivelyOnce" ? yield* startDatabase : undefined
  const settings: Run.Settings = { ...options, log, database }
  const outcome = yield* Effect.scoped(Run.run(settings))
  const effects = database === undefined
    ? undefined
    : yield* Results.count(settings.elements).pipe(Effect.provide(PgClient.layer(database)))
  const verdict = Checker.check({
    generated: settings.elements,
    delivery: settings.delivery,
    leaseMillis: settings.leaseMillis,
    isComplete: outcome.account !== undefined,
    logs: History.logs(World.historyOf(settings.directory)),
    faults: outcome.faults,
    refused: outcome.refused,
    checkpoints: outcome.checkpoints,
    isAcknowledged: outcome.isAcknowledged,
    unfed: outcome.unfed,
    effects
  })
  yield* Console.log(Report.render(settings, outcome, verdict))
  if (options.json) yield* Console.log(JSON.stringify(Report.summarize(settings, outcome, verdict)))
  const { length } = Report.broken(settings, outcome, verdict)
  if (length > 0) {
    return yield* new PromisesBroken({ count: length, seed: settings.seed, directory: settings.directory })
  }
})

const positive = Schema.Int.check(Schema.isGreaterThan(0))

const command = Command.make("chaos", {
  minutes: Flag.Finite("minutes").pipe(
    Flag.withDescription("How long elements are generated; 1 unless it follows from the elements"),
    Flag.optional
  ),
  elements: Flag.Int("elements").pipe(
    Flag.withDescription("How many elements; follows from the minutes unless it is given"),
    Flag.withSchema(positive),
    Flag.optional
  ),
  rate: Flag.Int("rate").pipe(
    Flag.withDescription("Elements a second, 0 for as many as are taken; 2000 unless minutes and elements are given"),
    Flag.optional
  ),
  devices: Flag.Int("devices").pipe(
    Flag.withDescription("How many consumers"),
    Flag.withSchema(positive),
    Flag.withDefault(4)
  ),
  seed: Flag.Int("seed").pipe(
    Flag.withDescription("Decides the faults; by chance if it is not given"),
    Flag.optional
  ),
  delivery: Flag.Literals("delivery", Delivery.literals).pipe(
    Flag.withDescription("What the feed promises"),
    Flag.withDefault("atLeastOnce")
  ),
  lease: Flag.Int("lease").pipe(
    Flag.withDescription("The lease, in milliseconds"),
    Flag.withSchema(positive),
    Flag.withDefault(2000)
  ),
  faults: Flag.String("faults").pipe(
    Flag.withDescription(`The kinds of faults, or none: ${Plan.faultKinds.join(",")}`),
    Flag.optional
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print the summary as one line of JSON, the last"),
    Flag.withDefault(false)
  )
}, (options) =>
  Effect.scoped(Effect.gen(function*() {
    const wanted = Option.match(options.faults, {
      onNone: () => Plan.faultKinds,
      onSome: (list) => Plan.faultKinds.filter((kind) => list.split(",").includes(kind))
    })
    // One that hands out once at most cannot be resumed: a feeder that is killed takes what is out with it.
    const kinds = options.delivery === "atMostOnce" ? wanted.filter((kind) => kind !== "killFeeder") : wanted
    const elements = Option.getOrUndefined(options.elements)
    const minutes = Option.getOrElse(options.minutes, () => elements === undefined ? 1 : elements / usualRate / 60)
    const perSecond = Option.getOrElse(options.rate, () =>
      elements === undefined ? usualRate : Math.max(1, Math.round(elements / minutes / 60)))
    yield* chaos({
      seed: Option.getOrElse(options.seed, () =>
        Math.floor(Math.random() * 1_000_000_000)),
      delivery: options.delivery,
      devices: options.devices,
      leaseMillis: options.lease,
      elements: elements ?? Math.max(1, Math.round(minutes * 60 * (perSecond === 0 ? usualRate : perSecond))),
      perSecond,
      // A machine that is too slow for the rate is given more time, with faults in it.
      faultMillis: 2 * minutes * 60_000,
      kinds,
      directory: yield* directory,
      log: () => {},
      json: options.json
    })
  }))).pipe(Command.withDescription("Break real processes and links in turn, and check that no promise is broken"))

command.pipe(
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
