/**
 * Plants bugs in the source, one at a time, and says in which history of the simulator each breaks a law.
 *
 * A bug is planted while a module is loaded, so each needs a process of its own. This file is also the program of that
 * process: `node --conditions=effect-feeder:source test/simulation/mutate.ts '{"name":"…"}'`.
 */
import { NodeServices } from "@effect/platform-node"
import { Effect, Schema, Stream } from "effect"
import { ChildProcess, type ChildProcessSpawner } from "effect/process"
import * as Fs from "node:fs"
import { registerHooks } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Url from "node:url"
import { missed, type Mutation, mutations } from "./mutations.ts"

const root = Path.resolve(import.meta.dirname, "../..")

/** What a process is asked: to look for the bug of this name; or to run histories without a bug. */
const Request = Schema.fromJsonString(Schema.Union([
  Schema.Struct({ name: Schema.String }),
  Schema.Struct({ seeds: Schema.Array(Schema.Int) })
]))

/** What it answers: the first history that fails, and the law that is broken, if it is one. */
const Answer = Schema.Struct({
  caughtAt: Schema.optionalKey(Schema.Int),
  law: Schema.optionalKey(Schema.Int),
  message: Schema.String
})

const AnswerLine = Schema.fromJsonString(Answer)

/** What became of a planted bug. It is caught when a law was broken; not when its process hangs or fails otherwise. */
export interface Caught extends Schema.Schema.Type<typeof Answer> {
  readonly name: string
  readonly isCaught: boolean
}

/** What became of all. */
export interface Summary {
  readonly planted: number
  readonly caught: number
  readonly results: ReadonlyArray<Caught>
}

const sourceOf = (file: string): string => Fs.readFileSync(Path.join(root, file), "utf8")

/** The files with a bug in them. Throws when one has changed so that there is no longer one place for the bug. */
export const mutated = ({ edits, name }: Mutation): ReadonlyMap<string, string> => {
  const sources = new Map<string, string>()
  for (const [file, find, replace] of edits) {
    const parts = (sources.get(file) ?? sourceOf(file)).split(find)
    if (parts.length !== 2) {
      throw new Error(`the mutation "${name}" is stale: its text is ${parts.length - 1} times in ${file}:\n${find}`)
    }
    sources.set(file, parts.join(replace))
  }
  return sources
}

const ask = (question: typeof Request.Type) =>
  Effect.gen(function*() {
    const request = Schema.encodeSync(Request)(question)
    const child = yield* ChildProcess.make(process.execPath, [
      "--conditions=effect-feeder:source",
      Path.join(import.meta.dirname, "mutate.ts"),
      request
    ], {
      cwd: root,
      stderr: "inherit",
      killSignal: "SIGKILL",
      env: { NODE_COMPILE_CACHE: Path.join(Os.tmpdir(), "effect-feeder-compile-cache") },
      extendEnv: true
    })
    const lines = yield* child.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.runCollect)
    yield* child.exitCode
    return Schema.decodeUnknownSync(AnswerLine)(lines.at(-1))
  }).pipe(
    Effect.scoped,
    Effect.timeoutOrElse({
      duration: "60 seconds",
      orElse: () => Effect.succeed<typeof Answer.Type>({ message: "it does not end" })
    }),
    Effect.orDie
  )

/** Runs these histories without a bug: the message of the first that fails, if one does. */
export const runUnmutated = (seeds: ReadonlyArray<number>): Effect.Effect<string | undefined> =>
  ask({ seeds }).pipe(
    Effect.map(({ caughtAt, message }) => caughtAt === undefined ? undefined : `history ${caughtAt}: ${message}`),
    Effect.provide(NodeServices.layer)
  )

const runMutation = (mutation: Mutation): Effect.Effect<Caught, never, ChildProcessSpawner.ChildProcessSpawner> =>
  Effect.suspend(() => {
    mutated(mutation)
    return Effect.map(ask({ name: mutation.name }), (answer) => ({
      name: mutation.name,
      isCaught: answer.law !== undefined,
      ...answer
    }))
  })

/** Plants each bug and runs histories until a law is broken, two at a time. */
export const runMutations = (planted: ReadonlyArray<Mutation> = mutations): Effect.Effect<Summary> =>
  Effect.forEach(planted, runMutation, { concurrency: 2 }).pipe(
    Effect.map((results) => ({
      planted: results.length,
      caught: results.filter(({ isCaught }) => isCaught).length,
      results
    })),
    Effect.provide(NodeServices.layer)
  )

/** Puts a bug into the modules that are loaded from now on. */
const plant = (mutation: Mutation): void => {
  const sources = new Map(
    Array.from(mutated(mutation), ([file, source]) => [Url.pathToFileURL(Path.join(root, file)).href, source])
  )
  registerHooks({
    load: (url, context, nextLoad) => {
      const loaded = nextLoad(url, context)
      const source = sources.get(url)
      return source === undefined ? loaded : { ...loaded, source }
    }
  })
}

const isWanted = (name: string) => (one: Mutation) => one.name === name

const serve = async (): Promise<typeof Answer.Type> => {
  const request = Schema.decodeUnknownSync(Request)(process.argv[2])
  const mutation = "name" in request ? [...mutations, ...missed].find(isWanted(request.name)) : undefined
  if ("name" in request && mutation === undefined) throw new Error(`there is no mutation "${request.name}"`)
  if (mutation !== undefined) plant(mutation)
  const { from = 1, within = 0 } = mutation ?? {}
  const seeds = "seeds" in request ? request.seeds : Array.from({ length: within }, (_, i) => from + i)
  const { run } = await import("./history.ts")
  const { Violation } = await import("./laws.ts")
  const Plan = await import("./plan.ts")
  for (const seed of seeds) {
    if (mutation?.where?.(Plan.make(seed)) === false) continue
    try {
      run(seed)
    } catch (error) {
      if (error instanceof Violation) return { caughtAt: seed, law: error.law, message: error.message.slice(0, 300) }
      return { caughtAt: seed, message: String(error) }
    }
  }
  return { message: "these histories keep the laws" }
}

if (import.meta.main) console.log(Schema.encodeSync(AnswerLine)(await serve()))
