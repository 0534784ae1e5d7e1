/**
 * Fuzzes all that reads what a peer sends: the decoders and the sessions of both sides, guided by what inputs reach, and
 * a host that listens. Inputs that reach something new are kept in `test/fuzz/corpus`; one by which something fails is
 * saved in `test/fuzz/findings`.
 *
 * `npm run fuzz -- --inputs 1000000 --seed 1`, `npm run fuzz -- --replay FILE`.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Clock, Console, Effect, FileSystem, Option, Schema, Stream } from "effect"
import { Command, Flag } from "effect/cli"
import * as Os from "node:os"
import * as Corpus from "../test/fuzz/corpus.ts"
import * as Coverage from "../test/fuzz/coverage.ts"
import { attack } from "../test/fuzz/listener.ts"
import * as Seeds from "../test/fuzz/seeds.ts"
import { run } from "../test/fuzz/targets.ts"
import * as Worker from "../test/fuzz/worker.ts"

/** Inputs broke something. */
class InputsFailed extends Schema.TaggedError<InputsFailed>()("InputsFailed", { files: Schema.Array(Schema.String) }) {
  override get message(): string {
    return `${this.files.length} findings; see one again with --replay ${this.files[0] ?? ""}`
  }
}

/** A process has not said anything for a minute. */
class Hangs extends Schema.TaggedError<Hangs>()("Hangs", { seed: Schema.Int }) {
  override get message(): string {
    return `the process with the seed ${this.seed} hangs at an input`
  }
}

/** Keeps those of some inputs that reach what the corpus does not. How many parts of the source all of them reach. */
const merge = (seed: number, inputs: ReadonlyArray<Uint8Array>) =>
  Effect.sync(() => {
    const coverage = Coverage.start()
    const reach = (input: Uint8Array): boolean => {
      try {
        run(input)
      } catch {
        return false
      }
      const ran = coverage.take()
      const isNew = coverage.isNew(ran)
      coverage.note(ran)
      return isNew
    }
    for (const input of [...Seeds.make(seed), ...Corpus.load()]) reach(input)
    let kept = 0
    for (const input of inputs.toSorted((a, b) => a.length - b.length)) {
      if (!reach(input)) continue
      Corpus.keep(input)
      kept++
    }
    const parts = coverage.parts()
    coverage.stop()
    return { kept, parts }
  })

const fuzz = Effect.fnUntraced(function*(options: {
  readonly inputs: number
  readonly seed: number
  readonly streams: number
  readonly json: boolean
}) {
  const { seed } = options
  const started = yield* Clock.currentTimeMillis
  const processes = Math.min(2, Os.availableParallelism())
  yield* Console.error(`${options.inputs} inputs from the seed ${seed}, in ${processes} processes`)
  const files: Array<string> = []
  const kept: Array<Uint8Array> = []
  const told = new Map<number, number>()
  let [inputs, guided, accepted, slowestMillis, cpuSeconds] = [0, 0, 0, 0, 0]
  const parts = Array.from({ length: processes }, (_, i) => {
    const share = Math.floor(options.inputs / processes) + (i < options.inputs % processes ? 1 : 0)
    return Worker.run({ seed: seed + i, inputs: share }).pipe(
      Stream.timeoutOrElse({ duration: "2 minutes", orElse: () => Stream.fail(new Hangs({ seed: seed + i })) }),
      Stream.map((line) => ({ i, line }))
    )
  })
  let lastTold = 0
  yield* Stream.mergeAll(parts, { concurrency: "unbounded" }).pipe(Stream.runForEach(({ i, line }) => {
    told.set(i, line.inputs)
    if (line._tag === "Told") {
      const all = [...told.values()].reduce((sum, count) => sum + count, 0)
      if (all - lastTold < 500_000) return Effect.void
      lastTold = all
      return Console.error(`${all} inputs`)
    }
    inputs += line.inputs
    guided += line.guided
    accepted += line.accepted
    cpuSeconds += line.cpuSeconds
    slowestMillis = Math.max(slowestMillis, line.slowestMillis)
    for (const input of line.kept) kept.push(Buffer.from(input, "base64"))
    return Effect.forEach(line.findings, ({ input, message }) => {
      const file = Corpus.save(Buffer.from(input, "base64"))
      files.push(file)
      return Console.error(`${file}: ${message}`)
    }, { discard: true })
  }))
  const seconds = ((yield* Clock.currentTimeMillis) - started) / 1000
  const merged = yield* merge(seed, kept)
  const corpus = Corpus.load().length
  const met = yield* Effect.scoped(attack({
    streams: options.streams,
    seed,
    corpus: [...Seeds.make(seed), ...Corpus.load()]
  }))
  for (const finding of met.findings) yield* Console.error(`at the host: ${finding}`)
  const findings = files.length + met.findings.length
  yield* Console.log(
    `${inputs} inputs in ${seconds.toFixed(0)} s (${
      (inputs / cpuSeconds).toFixed(0)
    } for each second of a processor), ` +
      `${guided} of them guided by what they reach, ${accepted} accepted in part, the slowest took ${
        slowestMillis.toFixed(0)
      } ms; they reach ${merged.parts} parts of ` +
      `the source, ${merged.kept} of them were kept, the corpus has ${corpus}; ${met.streams} strangers at a host, ` +
      `${met.refused} of them told why they are refused, while ${met.delivered} elements were fed exactly; ` +
      `${findings} findings`
  )
  if (options.json) {
    const round = (value: number) => Math.round(value * 100) / 100
    yield* Console.log(JSON.stringify({
      inputs,
      guided,
      accepted,
      findings,
      coverage: merged.parts,
      kept: merged.kept,
      corpus,
      slowestMillis: round(slowestMillis),
      seconds: round(seconds),
      cpuSeconds: round(cpuSeconds),
      strangers: met.streams,
      refused: met.refused,
      fed: met.delivered
    }))
  }
  if (findings > 0) return yield* new InputsFailed({ files })
})

const replay = Effect.fnUntraced(function*(file: string) {
  const input = yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFile(file))
  yield* Console.log(`it is read, and ${run(input)} of it were accepted`)
})

const command = Command.make("fuzz", {
  inputs: Flag.Int("inputs").pipe(
    Flag.withDescription("How many inputs to try"),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
    Flag.withDefault(1_000_000)
  ),
  streams: Flag.Int("streams").pipe(
    Flag.withDescription("How many strangers connect to a host"),
    Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
    Flag.withDefault(1000)
  ),
  seed: Flag.Int("seed").pipe(
    Flag.withDescription("Where chance begins; by chance if it is not given"),
    Flag.optional
  ),
  replay: Flag.String("replay").pipe(
    Flag.withDescription("Run the input of this file, instead"),
    Flag.optional
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print the account as one line of JSON, the last"),
    Flag.withDefault(false)
  )
}, (options) =>
  Effect.gen(function*() {
    if (Option.isSome(options.replay)) return yield* replay(options.replay.value)
    const seed = Option.getOrElse(options.seed, () => Math.floor(Math.random() * 1_000_000_000))
    return yield* fuzz({ ...options, seed })
  })).pipe(Command.withDescription("Fuzz all that reads what a peer sends"))

command.pipe(
  Command.run({ version: "0.1.0" }),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
