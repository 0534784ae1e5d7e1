/**
 * The processes of a scenario: each lives in a scope and is killed with it.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import * as Os from "node:os"
import * as Path from "node:path"
import { until } from "../fixtures/processes.ts"
import type { ConsumerSettings, FeederSettings, Line, Sample } from "./messages.ts"
import { lineFromJson } from "./messages.ts"

type Of<Tag extends Line["_tag"]> = Extract<Line, { readonly _tag: Tag }>

/** A running process and what it has printed. */
export interface Process {
  readonly name: string
  readonly samples: () => ReadonlyArray<Sample>
  /** Waits for the first line with the tag. Dies when the process ends without it. */
  readonly printed: <Tag extends Line["_tag"]>(tag: Tag, millis?: number) => Effect.Effect<Of<Tag>>
  readonly waitFor: (what: string, check: () => boolean, millis?: number) => Effect.Effect<void>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  readonly exited: Effect.Effect<void>
  /** What it has complained of, such as Node's warnings. */
  readonly complaints: () => string
}

const start = (name: string, program: string, settings: unknown): Effect.Effect<Process, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn(process.execPath, [
          "--expose-gc",
          "--conditions=effect-feeder:source",
          Path.join(import.meta.dirname, program),
          JSON.stringify(settings)
        ], {
          stdio: ["ignore", "pipe", "pipe"],
          env: { ...process.env, NODE_COMPILE_CACHE: Path.join(Os.tmpdir(), "effect-feeder-compile-cache") }
        })
        const lines: Array<Line> = []
        const state = { lines, rest: "", complaints: "", hasExited: false }
        child.stdout.setEncoding("utf8").on("data", (text: string) => {
          const parts = (state.rest + text).split("\n")
          state.rest = parts.pop() ?? ""
          for (const part of parts) {
            if (part.startsWith("{\"_tag\"")) lines.push(Schema.decodeUnknownSync(lineFromJson)(part))
            else state.complaints += `${part}\n`
          }
        })
        child.stderr.setEncoding("utf8").on("data", (text: string) => {
          state.complaints += text
        })
        child.once("close", () => {
          state.hasExited = true
        })
        return { child, state }
      }),
      ({ child, state }) =>
        Effect.suspend(() => {
          if (!state.hasExited) child.kill("SIGKILL")
          return until(`${name} ended`, () => state.hasExited, 60_000)
        })
    ),
    ({ child, state }): Process => {
      const first = <Tag extends Line["_tag"]>(tag: Tag): Of<Tag> | undefined =>
        state.lines.find((line): line is Of<Tag> => line._tag === tag)
      const waitFor = (what: string, check: () => boolean, millis = 60_000) =>
        Effect.andThen(
          until(`${name}: ${what}`, () => state.hasExited || first("Failed") !== undefined || check(), millis),
          Effect.suspend(() =>
            check()
              ? Effect.void
              : Effect.die(
                new Error(`${name} ended before ${what}: ${JSON.stringify(state.lines.at(-1))} ${state.complaints}`)
              )
          )
        )
      return {
        name,
        samples: () => state.lines.filter((line) => line._tag === "Sample"),
        printed: (tag, millis) =>
          Effect.map(waitFor(`it printed ${tag}`, () => first(tag) !== undefined, millis), () => first(tag)!),
        waitFor,
        signal: (signal) => Effect.sync(() => child.kill(signal)),
        exited: until(`${name} ended`, () => state.hasExited, 60_000),
        complaints: () => state.complaints
      }
    }
  )

/** Starts a consumer. */
export const startConsumer = (
  name: string,
  settings: ConsumerSettings
): Effect.Effect<Process, never, Scope.Scope> =>
  Effect.tap(start(name, "consumer.ts", settings), (process) => process.printed("Up"))

/** Starts a feeder. */
export const startFeeder = (name: string, settings: FeederSettings): Effect.Effect<Process, never, Scope.Scope> =>
  Effect.tap(start(name, "feeder.ts", settings), (process) => process.printed("Up"))
