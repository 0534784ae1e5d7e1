/**
 * A peer in Python as a process that lives in a scope.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { until } from "../fixtures/processes.ts"

const program = fileURLToPath(new URL("./peer.py", import.meta.url))

/** A line of the peer: what happened, with what it tells of it. */
const Line = Schema.fromJsonString(Schema.StructWithRest(Schema.Struct({ _tag: Schema.String }), [
  Schema.Record(Schema.String, Schema.Unknown)
]))

export type Line = typeof Line.Type

export interface Peer {
  readonly lines: (tag: string) => ReadonlyArray<Line>
  readonly printed: (tag: string) => Effect.Effect<void>
  /** Waits until it has ended. Its exit code. */
  readonly exited: Effect.Effect<number | null>
}

/** Starts the peer. Without a `python3` it dies, saying so: the protocol is tested from both sides. */
export const start = (
  role: "device" | "feeder",
  settings: Readonly<Record<string, unknown>>
): Effect.Effect<Peer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const lines: Array<Line> = []
    const other: Array<string> = []
    let exit: { readonly code: number | null } | undefined
    let missing = false
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn("python3", ["-B", program, role, JSON.stringify(settings)], {
          stdio: ["ignore", "pipe", "pipe"]
        })
        let rest = ""
        child.stdout.setEncoding("utf8").on("data", (text: string) => {
          const parts = (rest + text).split("\n")
          rest = parts.pop() ?? ""
          for (const part of parts) lines.push(Schema.decodeUnknownSync(Line)(part))
        })
        child.stderr.setEncoding("utf8").on("data", (text: string) => other.push(text))
        child.once("error", (error) => {
          missing = "code" in error && error.code === "ENOENT"
          other.push(String(error))
          exit = { code: null }
        })
        child.once("close", (code) => {
          exit = { code }
        })
        return child
      }),
      (child) =>
        Effect.suspend(() => {
          if (exit === undefined) child.kill("SIGKILL")
          return until(`the ${role} in Python ended`, () => exit !== undefined)
        })
    )
    const explain = () =>
      missing
        ? "there is no python3: the tests of the protocol need Python 3.9 or newer on the PATH; install it"
        : `the ${role} in Python (exit ${JSON.stringify(exit)}) said ${JSON.stringify(lines.slice(-5))} ${
          other.join("").slice(-2000)
        }`
    const wait = (what: string, check: () => boolean): Effect.Effect<void> =>
      until(what, () => check() || (exit !== undefined && (missing || exit.code !== 0)), 30_000).pipe(
        Effect.catchDefect((defect) => Effect.die(new Error(`${String(defect)}: ${explain()}`))),
        Effect.andThen(Effect.suspend(() => check() ? Effect.void : Effect.die(new Error(explain()))))
      )
    const all = (tag: string) => lines.filter((line) => line._tag === tag)
    return {
      lines: all,
      printed: (tag) => wait(`it printed ${tag}`, () => all(tag).length > 0),
      exited: Effect.map(
        wait("it ended", () => exit !== undefined && !missing),
        () => exit?.code ?? null
      )
    }
  })
