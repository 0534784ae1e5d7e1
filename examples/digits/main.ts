/**
 * Trains a digit classifier on MNIST: this process reads, decodes and shuffles the images and feeds them to two
 * consumers, each of which trains a model on the batches it receives.
 *
 * See the README beside this file.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Clock, Console, Effect, Logger, Option, Schema, Stream } from "effect"
import { FailureTolerator, Feeder } from "effect-feeder"
import { Command, Flag } from "effect/cli"
import { type Account, makeTally } from "./account.ts"
import { Consumers } from "./Consumers.ts"
import { makeDisplay } from "./display.ts"
import { devices, Digits } from "./feeds.ts"
import * as FiberConsumers from "./FiberConsumers.ts"
import { elements, loadTest, loadTraining } from "./mnist.ts"
import * as ProcessConsumers from "./ProcessConsumers.ts"

/** The account does not come out even. */
class AccountWrong extends Schema.TaggedError<AccountWrong>()("AccountWrong", {
  lost: Schema.Natural,
  duplicated: Schema.Natural
}) {
  override get message(): string {
    return `${this.lost} elements were lost and ${this.duplicated} delivered again without a mark; both must be 0`
  }
}

/** How long a device may be away: 10 attempts within 15 seconds. */
const tolerate = FailureTolerator.make({ limit: 10, initDelay: "500 millis", backoffFactor: 1.3 })

/** Feeds to whatever consumers there are, and gives the account. */
const feed = Effect.fnUntraced(function*(options: {
  readonly epochs: number
  readonly seed: number
  readonly limit: number
  readonly kill: boolean
  readonly started: number
}) {
  const training = yield* loadTraining
  const total = Math.min(options.limit, options.epochs * training.count)
  const source = elements(training, { epochs: options.epochs, seed: `${options.seed}` }).pipe(Stream.take(total))
  const tally = makeTally(total)
  const display = yield* makeDisplay({ total, tally })
  const consumers = yield* Consumers

  const made = yield* Feeder.make(Digits, { tolerate })
  const feeder = yield* made.set(source)
  yield* feeder.addRemoteDevices(devices)

  yield* feeder.changes.pipe(
    Stream.filter((status) => status.isRunning),
    Stream.runForEach((status) => Effect.andThen(display.show(status), Effect.sleep(display.pause))),
    Effect.forkScoped
  )
  if (options.kill) {
    yield* feeder.changes.pipe(
      Stream.takeUntil(({ ledger }) => ledger.delivered >= total / 3),
      Stream.runDrain,
      Effect.andThen(consumers.kill(devices[0]!)),
      Effect.forkScoped
    )
  }
  const listen = consumers.reports.pipe(Stream.runForEach((report) => {
    tally.add(report)
    return report._tag === "Died"
      ? display.say(`the consumer at ${report.device} died (${report.cause}); another takes its place`)
      : Effect.void
  }))
  const [ledger] = yield* Effect.all([feeder.run, listen], { concurrency: "unbounded" })

  yield* display.show(yield* feeder.status)
  const test = yield* loadTest
  return tally.account({
    ledger,
    labels: Int32Array.from(test.labels),
    seconds: ((yield* Clock.currentTimeMillis) - options.started) / 1000
  })
}, Effect.scoped)

/**
 * Interrupts when the shell by which npm started this program has ended: npm tells SIGTERM to that one alone. Started
 * otherwise, the program may outlive its parent.
 */
const untilOrphaned = Effect.suspend(() => {
  const parent = process.ppid
  return process.env["npm_lifecycle_event"] === undefined
    ? Effect.never
    : Effect.sleep("200 millis").pipe(
      Effect.repeat({ while: () => process.ppid === parent }),
      Effect.andThen(Effect.interrupt)
    )
})

const tell = (account: Account) =>
  Console.log([
    `${account.generated} generated, ${account.accepted} accepted`,
    ...Object.entries(account.delivered).map(([device, count]) => `${count} delivered to ${device}`),
    `${account.redelivered} redelivered and marked so, ${account.heldByDead} held by the dead`,
    `${account.lost} lost, ${account.duplicated} duplicated`,
    `accuracy on the test images: ${(account.accuracy * 100).toFixed(2)} %, after ${account.seconds.toFixed(1)} s`
  ].join("\n"))

const positive = Schema.Int.check(Schema.isGreaterThan(0))

const digits = Command.make("digits", {
  inProcess: Flag.Boolean("in-process").pipe(
    Flag.withDescription("Run the consumers as fibers of this process"),
    Flag.withDefault(false)
  ),
  kill: Flag.Boolean("kill").pipe(
    Flag.withDescription("Kill one consumer (kill -9) after a third of the images; another takes its place"),
    Flag.withDefault(false)
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print the account as one line of JSON, the last"),
    Flag.withDefault(false)
  ),
  epochs: Flag.Int("epochs").pipe(
    Flag.withDescription("How often each image is fed"),
    Flag.withSchema(positive),
    Flag.withDefault(2)
  ),
  limit: Flag.Int("limit").pipe(
    Flag.withDescription("Feed no more images than this"),
    Flag.withSchema(positive),
    Flag.optional
  ),
  seed: Flag.Int("seed").pipe(
    Flag.withDescription("Seed of the order of the images and of the models' initial weights"),
    Flag.withDefault(1)
  )
}, (options) =>
  Effect.gen(function*() {
    const started = yield* Clock.currentTimeMillis
    const fed = feed({ ...options, started, limit: Option.getOrElse(options.limit, () => Infinity) })
    const account = yield* options.inProcess
      ? Effect.provide(fed, FiberConsumers.layer(options))
      : Effect.provide(fed, ProcessConsumers.layer(options))
    yield* tell(account)
    if (options.json) yield* Console.log(JSON.stringify(account))
    if (account.lost > 0 || account.duplicated > 0) return yield* new AccountWrong(account)
  })).pipe(Command.withDescription("Train a digit classifier on MNIST, fed to two consumers"))

digits.pipe(
  Command.run({ version: "0.1.0" }),
  Effect.raceFirst(untilOrphaned),
  Effect.provideService(Logger.LogToStderr, true),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
