/**
 * Starts the programs of a run as processes, and looks at what they use.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { type Line, lineFromJson } from "./settings.ts"

export interface Child {
  readonly name: string
  readonly pid: number
  readonly signal: (signal: NodeJS.Signals) => void
  readonly isRunning: () => boolean
  /** Waits until it is up; fails if it ends before. */
  readonly up: Effect.Effect<void, ChildEnded>
  /** Waits until it has ended and all it said was heard. */
  readonly exited: Effect.Effect<void>
  readonly describe: () => string
}

/** A process ended that should have gone on. */
export class ChildEnded extends Schema.TaggedError<ChildEnded>()("ChildEnded", { process: Schema.String }) {
  override get message(): string {
    return `a process ended by itself: ${this.process}`
  }
}

const isLine = Schema.is(Schema.fromJsonString(Schema.Unknown))

/** Starts a program of this folder in a scope, and kills it with that. */
export const start = (
  name: string,
  program: string,
  settings: unknown,
  onLine: (line: Line) => void
): Effect.Effect<Child, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync((): Child => {
      const child = spawn(process.execPath, [
        "--conditions=effect-feeder:source",
        Path.join(import.meta.dirname, program),
        JSON.stringify(settings)
      ], {
        stdio: ["pipe", "pipe", "pipe"],
        env: { ...process.env, NODE_COMPILE_CACHE: Path.join(Os.tmpdir(), "effect-feeder-compile-cache") }
      })
      const up = Deferred.makeUnsafe<void, ChildEnded>()
      const exited = Deferred.makeUnsafe<void>()
      const other: Array<string> = []
      let rest = ""
      let how = "running"
      const describe = () => `${name} (pid ${child.pid}, ${how})${other.join("\n").slice(-2000)}`
      child.stdin.on("error", () => {})
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        const lines = (rest + text).split("\n")
        rest = lines.pop() ?? ""
        for (const text of lines) {
          if (!text.startsWith("{\"_tag\"") || !isLine(text)) {
            other.push(text)
            continue
          }
          const line = Schema.decodeSync(lineFromJson)(text)
          if (line._tag === "Up") Deferred.doneUnsafe(up, Effect.void)
          if (line._tag === "Failed") other.push(line.message)
          onLine(line)
        }
      })
      child.stderr.setEncoding("utf8").on("data", (text: string) => other.push(text))
      child.once("error", (error) => other.push(String(error)))
      child.once("close", (code, signal) => {
        how = signal ?? `exit code ${code}`
        Deferred.doneUnsafe(up, Effect.fail(new ChildEnded({ process: describe() })))
        Deferred.doneUnsafe(exited, Effect.void)
      })
      return {
        name,
        pid: child.pid ?? 0,
        signal: (signal) => child.kill(signal),
        isRunning: () => child.exitCode === null && child.signalCode === null,
        up: Deferred.await(up),
        exited: Deferred.await(exited),
        describe
      }
    }),
    (child) =>
      Effect.suspend(() => {
        if (child.isRunning()) child.signal("SIGKILL")
        return child.exited
      })
  )

/** What a process uses. */
export interface Usage {
  readonly rssMb: number
  readonly handles: number
}

/** What a process uses now, if it is there. */
export const usageOf = (pid: number): Usage | undefined => {
  try {
    const rss = /VmRSS:\s+(\d+) kB/.exec(Fs.readFileSync(`/proc/${pid}/status`, "utf8"))
    return { rssMb: Number(rss?.[1] ?? 0) / 1024, handles: Fs.readdirSync(`/proc/${pid}/fd`).length }
  } catch {
    return undefined
  }
}
