/**
 * Watches what a test starts, and says what of it is still there.
 *
 * Fibers are seen by their class, since a service of the context would miss those run from an empty one. Timers are seen
 * by the functions that set them; sockets, servers, threads and child processes by what Node publishes of them, since
 * `process.getActiveResourcesInfo` leaves out what is not referenced; listeners by those of `process`. A hook of
 * `node:async_hooks` would see more, and makes tests of many fibers half as slow again.
 */
import { Context, Effect, type Fiber, Option } from "effect"
import { subscribe } from "node:diagnostics_channel"
import { syncBuiltinESMExports } from "node:module"
import timers from "node:timers"
import { CurrentProcess } from "../src/testing/Simulation.ts"

/** What the program ends by itself has turns to do so, and no time. */
const turns = 50

// This file's own, from before they are watched.
const { setImmediate, setTimeout } = globalThis

interface Kind {
  readonly describe: (resource: object) => string
  readonly isOpen: (resource: object) => boolean
}

interface Resource {
  readonly kind: Kind
  readonly resource: object
  /** Where it was started. Its `stack` is made when it is first read, which is dear. */
  readonly at: Error
}

interface Watched {
  readonly fibers: Set<Fiber.Fiber<unknown, unknown>>
  readonly resources: Set<Resource>
}

const timer: Kind = {
  describe: (resource) => `a timer of ${Reflect.get(resource, "_idleTimeout")} ms`,
  isOpen: (resource) => Reflect.get(resource, "_destroyed") !== true
}

const socket: Kind = {
  describe: () => "a socket",
  isOpen: (resource) => Reflect.get(resource, "destroyed") !== true
}

/** By the channel that Node publishes them on, and the name they have there. */
const channels: Readonly<Record<string, readonly [name: string, kind: Kind]>> = {
  child_process: ["process", {
    describe: (resource) => `a child process with the id ${Reflect.get(resource, "pid")}`,
    isOpen: (resource) =>
      Reflect.get(resource, "pid") !== undefined && Reflect.get(resource, "exitCode") === null &&
      Reflect.get(resource, "signalCode") === null
  }],
  "net.client.socket": ["socket", socket],
  "net.server.socket": ["socket", socket],
  "tracing:net.server.listen:asyncStart": ["server", {
    describe: () => "a server",
    isOpen: (resource) => Reflect.get(resource, "listening") === true
  }],
  worker_threads: ["worker", {
    describe: () => "a worker thread",
    // Node's own, once the thread has ended.
    isOpen: (resource) => Reflect.get(resource, "threadId") !== -1
  }]
}

const here = (): Error => {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 30
  const at = new Error("started")
  Error.stackTraceLimit = limit
  return at
}

/** The calls that are neither Node's nor this file's; those in packages only if there are no others. */
const callers = ({ stack = "" }: Error): ReadonlyArray<string> => {
  const lines = stack.split("\n").slice(1).map((line) => line.trim().replace(/^at /, ""))
    .filter((line) => !/node:|^new Promise \(|<anonymous>\)?$|\/test\/leaks\.ts/.test(line))
  const own = lines.filter((line) => !line.includes("/node_modules/"))
  return own.length > 0 ? own : lines
}

const forgetClosed = (resources: Watched["resources"]): void => {
  for (const one of resources) if (!one.kind.isOpen(one.resource)) resources.delete(one)
}

const watchResources = (): Watched["resources"] => {
  const resources: Watched["resources"] = new Set()
  const started = (kind: Kind, resource: unknown): void => {
    if (typeof resource === "object" && resource !== null) resources.add({ kind, resource, at: here() })
    if (resources.size % 1000 === 0) forgetClosed(resources)
  }
  for (const [channel, [name, kind]] of Object.entries(channels)) {
    subscribe(channel, (message) => started(kind, Reflect.get(Object(message), name)))
  }
  for (const name of ["setTimeout", "setInterval"] as const) {
    const set = timers[name]
    const watching = (...args: Array<unknown>): unknown => {
      const made: unknown = Reflect.apply(set, undefined, args)
      started(timer, made)
      return made
    }
    // What `util.promisify` looks for is among them.
    Object.defineProperties(watching, Object.getOwnPropertyDescriptors(set))
    Reflect.set(globalThis, name, watching)
    Reflect.set(timers, name, watching)
  }
  syncBuiltinESMExports()
  return resources
}

/** Runs `after` whenever a fiber has run its method `name`, which Effect does not export. */
const afterMethod = (name: string, after: (fiber: Fiber.Fiber<unknown, unknown>) => void): void => {
  const prototype: unknown = Object.getPrototypeOf(Effect.runFork(Effect.void))
  const method: unknown = Object.getOwnPropertyDescriptor(prototype, name)?.value
  if (typeof method !== "function") {
    throw new Error(`A fiber of this version of Effect has no ${name}: find in test/leaks.ts how else to see its life.`)
  }
  Object.defineProperty(prototype, name, {
    configurable: true,
    writable: true,
    value(this: Fiber.Fiber<unknown, unknown>, argument: unknown) {
      Reflect.apply(method, this, [argument])
      after(this)
    }
  })
}

const watchFibers = (): Watched["fibers"] => {
  const fibers: Watched["fibers"] = new Set()
  // Its constructor gives it a context before an id, and any other change of context comes after.
  afterMethod("setContext", (fiber) => {
    if (fiber.id === undefined) fibers.add(fiber)
  })
  afterMethod("evaluate", (fiber) => {
    if (fiber.pollUnsafe() !== undefined) fibers.delete(fiber)
  })
  return fibers
}

/** Fibers of a simulated process that was killed never end; a simulation counts its own. */
const isSimulated = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  Option.isSome(Context.getOption(fiber.context, CurrentProcess))

/** Files may share a process and be given a new copy of this module each: what it hooks into is hooked once. */
const watched: Watched = (() => {
  const key = Symbol.for("effect-feeder/leaks")
  const shared: { watched?: Watched } = Reflect.get(globalThis, key) ?? {}
  Reflect.set(globalThis, key, shared)
  return shared.watched ??= { fibers: watchFibers(), resources: watchResources() }
})()

const excerpt = (value: unknown): string =>
  String(value).replace(/\s+/g, " ").replace(/\(0,\s?__vite_ssr_import_\d+__\.([\w.]+)\)/g, "$1")
    .replace(/__vite_ssr_import_\d+__\./g, "").slice(0, 120)

/** The code a fiber would go on with, innermost first: the project's own, which Vite has compiled, or all there is. */
const nextOf = (fiber: Fiber.Fiber<unknown, unknown>): ReadonlyArray<string> => {
  const stack: unknown = Reflect.get(fiber, "_stack")
  const code = (Array.isArray(stack) ? stack.toReversed() : []).flatMap((frame: unknown) =>
    typeof frame === "object" && frame !== null
      ? Reflect.ownKeys(frame).map((key): unknown => Reflect.get(frame, key)).filter((one) => typeof one === "function")
        .map(String)
      : []
  )
  const own = code.filter((text) => text.includes("__vite_ssr_import"))
  return own.length > 0 ? own : code
}

const describeFiber = (fiber: Fiber.Fiber<unknown, unknown>): string =>
  [`fiber #${fiber.id} still runs`, ...nextOf(fiber).slice(0, 4).map((code) => `    then ${excerpt(code)}`)].join("\n")

const describeResource = ({ at, kind, resource }: Resource): string =>
  [`${kind.describe(resource)} is left, started`, ...callers(at).slice(0, 4).map((line) => `    at ${line}`)].join(
    "\n"
  )

interface Listener {
  readonly event: string | symbol
  readonly listener: unknown
}

const listeners = (): ReadonlyArray<Listener> =>
  process.eventNames().flatMap((event) => process.rawListeners(event).map((listener) => ({ event, listener })))

/** Those of `now` that are not in `before`, where the same one may be twice. */
const added = (before: ReadonlyArray<Listener>, now: ReadonlyArray<Listener>): ReadonlyArray<Listener> => {
  const known = [...before]
  return now.filter(({ event, listener }) => {
    const at = known.findIndex((one) => one.event === event && one.listener === listener)
    if (at >= 0) known.splice(at, 1)
    return at < 0
  })
}

const describeListener = ({ event, listener }: Listener): string =>
  `a listener of process for ${String(event)} is left:\n    ` +
  // What `once` was given is in the wrapper it made.
  excerpt(Reflect.get(Object(listener), "listener") ?? listener)

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

const pause = (): Promise<void> => new Promise((resolve) => void setTimeout(resolve, 2))

interface Left {
  readonly thing: object
  readonly describe: () => string
}

/** Looks until nothing is found, or it no longer `goesOn`. */
const lookUntil = async (
  look: () => ReadonlyArray<Left>,
  wait: () => Promise<void>,
  goesOn: (round: number) => boolean
): Promise<ReadonlyArray<Left>> => {
  let found = look()
  for (let round = 0; found.length > 0 && goesOn(round); round++) {
    // oxlint-disable-next-line no-await-in-loop -- it waits for what others do meanwhile
    await wait()
    found = look()
  }
  return found
}

/** What a test was told of is not told again to its file. */
const told = new WeakSet<object>()

/**
 * Begins to watch. What it returns says, one text for each, what was started since and is left. What the system has to
 * close, as a socket, a thread or a process, may take it `systemMillis`.
 */
export const watch = (systemMillis = 2000): () => Promise<ReadonlyArray<string>> => {
  forgetClosed(watched.resources)
  const fibers = new Set(watched.fibers)
  const resources = new Set(watched.resources)
  const before = listeners()

  const resourcesLeft = (timers: boolean): ReadonlyArray<Left> =>
    [...watched.resources]
      .filter((one) => (one.kind === timer) === timers && !resources.has(one) && one.kind.isOpen(one.resource))
      .map((one) => ({ thing: one, describe: () => describeResource(one) }))
  const ofTheSystem = () => resourcesLeft(false).filter(({ thing }) => !told.has(thing))
  const ofTheProgram = () =>
    [
      ...[...watched.fibers].filter((fiber) => !fibers.has(fiber) && !isSimulated(fiber))
        .map((fiber) => ({ thing: fiber, describe: () => describeFiber(fiber) })),
      ...resourcesLeft(true),
      ...added(before, listeners())
        .map((one) => ({ thing: Object(one.listener), describe: () => describeListener(one) }))
    ].filter(({ thing }) => !told.has(thing))

  return async () => {
    const program = await lookUntil(ofTheProgram, turn, (round) => round < turns)
    const deadline = performance.now() + systemMillis
    const system = await lookUntil(ofTheSystem, pause, () => performance.now() < deadline)
    return [...program, ...system].map(({ describe, thing }) => {
      told.add(thing)
      return describe()
    })
  }
}

/** Fails unless nothing is left. */
export const assertNoneLeft = async (left: () => Promise<ReadonlyArray<string>>, after: string): Promise<void> => {
  const found = await left()
  if (found.length === 0) return
  const listed = found.slice(0, 10).map((text) => `- ${text}`).join("\n")
  throw new Error(
    `${found.length} left after ${after}, which should end or close all that it starts:\n${listed}` +
      (found.length > 10 ? "\n- …" : "")
  )
}
