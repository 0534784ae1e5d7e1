/**
 * Fuzzes in a process of its own. This file is also the program of such a process:
 * `node --conditions=effect-feeder:source test/fuzz/worker.ts '{"seed":1,"inputs":100000}'`.
 */
import { Effect, Schema, Stream } from "effect"
import type { PlatformError } from "effect/PlatformError"
import { ChildProcess, type ChildProcessSpawner } from "effect/process"
import * as Corpus from "./corpus.ts"
import * as Coverage from "./coverage.ts"
import { fuzz } from "./fuzzer.ts"
import * as Seeds from "./seeds.ts"

const Request = Schema.Struct({ seed: Schema.Int, inputs: Schema.Int })
const RequestLine = Schema.fromJsonString(Request)

const Finding = Schema.Struct({ input: Schema.String, message: Schema.String })

/** How far it is. */
const Told = Schema.TaggedStruct("Told", { inputs: Schema.Int })

/** What it has done. Inputs are in base64. */
const Done = Schema.TaggedStruct("Done", {
  inputs: Schema.Int,
  /** Of them, those after which it was looked what they reach. */
  guided: Schema.Int,
  accepted: Schema.Int,
  findings: Schema.Array(Finding),
  kept: Schema.Array(Schema.String),
  slowestMillis: Schema.Finite,
  cpuSeconds: Schema.Finite
})

const Line = Schema.Union([Told, Done])
const LineLine = Schema.fromJsonString(Line)

/** Fuzzes in another process, which tells how far it is. It says something now and then, or hangs. */
export const run = (
  request: typeof Request.Type
): Stream.Stream<typeof Line.Type, PlatformError | Schema.SchemaError, ChildProcessSpawner.ChildProcessSpawner> =>
  Stream.unwrap(Effect.map(
    ChildProcess.make(process.execPath, [
      "--conditions=effect-feeder:source",
      import.meta.filename,
      Schema.encodeSync(RequestLine)(request)
    ], { stderr: "inherit" }),
    ({ stdout }) =>
      stdout.pipe(
        Stream.decodeText(),
        Stream.splitLines,
        Stream.mapEffect((line) => Schema.decodeEffect(LineLine)(line))
      )
  ))

/** How much of a run is guided by what inputs reach. */
const guidedShare = 0.1

const base64 = (input: Uint8Array): string => Buffer.from(input).toString("base64")

const answer = ({ inputs, seed }: typeof Request.Type): void => {
  // Most inputs are refused, and nobody reads where. `--replay` says where a finding comes from.
  Error.stackTraceLimit = 0
  const say = (line: typeof Line.Type) => process.stdout.write(`${Schema.encodeSync(LineLine)(line)}\n`)
  const corpus = [...Seeds.make(seed), ...Corpus.load()]
  let before = 0
  let told = 0
  const onTold = (inputs: number) => {
    if (before + inputs - told < 20_000) return
    told = before + inputs
    say({ _tag: "Told", inputs: told })
  }
  // To look at what is reached takes longer than to reach it: with what was found so, chance goes on alone.
  const coverage = Coverage.start()
  const guided = fuzz({ inputs: Math.ceil(inputs * guidedShare), seed, corpus, coverage, onTold })
  coverage.stop()
  before = guided.inputs
  const blind = fuzz({ inputs: inputs - before, seed: seed + 1000, corpus: [...corpus, ...guided.kept], onTold })
  say({
    _tag: "Done",
    inputs: before + blind.inputs,
    guided: before,
    accepted: guided.accepted + blind.accepted,
    findings: [...guided.findings, ...blind.findings].map(({ input, message }) => ({ input: base64(input), message })),
    kept: guided.kept.map(base64),
    slowestMillis: Math.max(guided.slowestMillis, blind.slowestMillis),
    cpuSeconds: process.cpuUsage().user / 1e6
  })
}

if (process.argv[1] === import.meta.filename) answer(Schema.decodeUnknownSync(RequestLine)(process.argv[2]))
