/**
 * Runs histories in processes of their own, one per core. This file is also the program of such a process:
 * `node --conditions=effect-feeder:source test/simulation/worker.ts '{"seed":1,"runs":100,"step":2}'`.
 */
import { Effect, Schema, Stream } from "effect"
import type { PlatformError } from "effect/PlatformError"
import { ChildProcess, type ChildProcessSpawner } from "effect/process"
import * as History from "./history.ts"
import { Violation } from "./laws.ts"

/** Which histories to run: `runs` of them, from `seed` on, of which every `step`-th. */
const Request = Schema.Struct({ seed: Schema.Int, runs: Schema.Int, step: Schema.Int })

const RequestLine = Schema.fromJsonString(Request)

/** A history that broke a law, or that failed otherwise. */
export const Failure = Schema.TaggedStruct("Failure", {
  seed: Schema.Int,
  law: Schema.optionalKey(Schema.Int),
  message: Schema.String
})

/** What some histories were, together. */
const Told = Schema.TaggedStruct("Told", {
  histories: Schema.Int,
  steps: Schema.Int,
  millis: Schema.Finite,
  given: Schema.Int,
  redelivered: Schema.Int
})

const Line = Schema.Union([Failure, Told])

export type Line = typeof Line.Type

const LineLine = Schema.fromJsonString(Line)

/** How often a process tells what it has run, in histories. */
const every = 100

/** Runs histories in another process, which tells what they were, a hundred at a time. */
export const run = (
  request: typeof Request.Type
): Stream.Stream<Line, PlatformError | Schema.SchemaError, ChildProcessSpawner.ChildProcessSpawner> =>
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

const answer = ({ runs, seed, step }: typeof Request.Type): void => {
  const say = (line: Line) => process.stdout.write(`${Schema.encodeSync(LineLine)(line)}\n`)
  const nothing = { _tag: "Told" as const, histories: 0, steps: 0, millis: 0, given: 0, redelivered: 0 }
  let sum = nothing
  for (let i = seed; i < seed + runs; i += step) {
    try {
      const { given, millis, redelivered, steps } = History.run(i)
      sum = {
        _tag: "Told",
        histories: sum.histories + 1,
        steps: sum.steps + steps,
        millis: sum.millis + millis,
        given: sum.given + given,
        redelivered: sum.redelivered + redelivered
      }
    } catch (error) {
      sum = { ...sum, histories: sum.histories + 1 }
      const message = String(error).split("\n", 1).join("").slice(0, 400)
      say({ _tag: "Failure", seed: i, message, ...(error instanceof Violation ? { law: error.law } : {}) })
    }
    if (sum.histories === every) {
      say(sum)
      sum = nothing
    }
  }
  say(sum)
}

if (process.argv[1] === import.meta.filename) answer(Schema.decodeUnknownSync(RequestLine)(process.argv[2]))
