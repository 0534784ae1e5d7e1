/**
 * Starts workers, as threads or as processes, and tells how they end.
 *
 * By Node's own modules: Effect's `Worker` speaks a protocol of its own, clones what it sends, and neither limits a worker
 * nor looks after it; its `ChildProcess` gives a parent no duplex pipe.
 */
import { spawn } from "node:child_process"
import * as Net from "node:net"
import { fileURLToPath } from "node:url"
import { MessageChannel, Worker } from "node:worker_threads"
import type { WorkerEnded } from "./workerErrors.ts"
import { deviceData, environmentName, guard, guardFd, wireFd } from "./workerPlace.ts"
import * as Port from "./workerPort.ts"
import * as Stream from "./workerStream.ts"
import type { Listener, Wire } from "./workerWire.ts"

/** How a worker is started. */
export interface Start {
  readonly device: string
  readonly url: URL
  readonly kind: "thread" | "process"
  readonly memoryLimit: number | undefined
  readonly youngMemoryLimit: number | undefined
  readonly argv: ReadonlyArray<string>
  readonly env: Readonly<Record<string, string>>
  readonly execArgv: ReadonlyArray<string> | undefined
}

/** A worker that was started, until it ends. */
export interface Started {
  /** What it runs as: `thread 3`, `process 4711`. */
  readonly ran: string
  readonly wire: Wire
  /** Ends it at once, whatever it does. */
  readonly killUnsafe: () => void
}

/** Is told once how the worker ended, after all that came over its wire. */
export type Ended = (how: Pick<WorkerEnded, "how" | "code" | "signal" | "cause">) => void

/** Of what a process last wrote to its standard error, so much is looked at for why it ended. */
const tailBytes = 16 * 1024

const startThread = (options: Start, listener: Listener, ended: Ended): Started => {
  const { memoryLimit, youngMemoryLimit } = options
  const { port1, port2 } = new MessageChannel()
  const worker = new Worker(options.url, {
    name: options.device,
    argv: [...options.argv],
    env: { ...process.env, ...options.env },
    workerData: { [deviceData]: { device: options.device, port: port2 } },
    transferList: [port2],
    ...(options.execArgv === undefined ? {} : { execArgv: [...options.execArgv] }),
    resourceLimits: {
      ...(memoryLimit === undefined ? {} : { maxOldGenerationSizeMb: memoryLimit }),
      ...(youngMemoryLimit === undefined ? {} : { maxYoungGenerationSizeMb: youngMemoryLimit })
    }
  })
  const ran = `thread ${worker.threadId}`
  const wire = Port.wireOf(port1, listener)
  let uncaught: { readonly error: unknown } | undefined
  worker.once("error", (error) => {
    uncaught = { error }
  })
  worker.once("exit", (code) => {
    // What it said last may not have been heard yet.
    wire.hearUnsafe()
    wire.closeUnsafe()
    if (uncaught === undefined) return ended({ how: "exit", code })
    const { error: cause } = uncaught
    const isMemory = cause instanceof Error && "code" in cause && cause.code === "ERR_WORKER_OUT_OF_MEMORY"
    ended(isMemory ? { how: "memory", code } : { how: "error", code, cause })
  })
  return { ran, wire, killUnsafe: () => void worker.terminate() }
}

/** What a process wrote when it ended with an error: its first line that names one. */
const errorOf = (said: string): string | undefined => /^(?:\w+ )?\[?[A-Z]?\w*Error\b.*$/m.exec(said)?.[0]

const startProcess = (options: Start, listener: Listener, ended: Ended): Started => {
  const { memoryLimit, youngMemoryLimit } = options
  // One port of the debugger is enough for one process.
  const execArgv = options.execArgv ?? process.execArgv.filter((argument) => !argument.startsWith("--inspect"))
  const child = spawn(
    process.execPath,
    [
      ...execArgv,
      ...(memoryLimit === undefined ? [] : [`--max-old-space-size=${memoryLimit}`]),
      // One of three parts of it, in whole MiB.
      ...(youngMemoryLimit === undefined ? [] : [`--max-semi-space-size=${Math.ceil(youngMemoryLimit / 3)}`]),
      `--import=${guard}`,
      fileURLToPath(options.url),
      ...options.argv
    ],
    {
      stdio: ["ignore", "inherit", "pipe", "pipe", "pipe"],
      env: { ...process.env, ...options.env, [environmentName]: `${process.pid} ${options.device}` },
      // What a terminal signals is for the program, which stops its workers itself.
      detached: process.platform !== "win32",
      windowsHide: true
    }
  )
  const [pipe, watched] = [child.stdio[wireFd], child.stdio[guardFd]]
  if (!(pipe instanceof Net.Socket) || !(watched instanceof Net.Socket)) throw new Error("a pipe is no socket")
  watched.on("error", () => {})
  let said = ""
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    process.stderr.write(text)
    said = (said + text).slice(-tailBytes)
  })
  // One that was started may have errors too: of a signal that does not reach it.
  child.on("error", (cause) => {
    if (child.pid === undefined) ended({ how: "start", cause })
  })
  child.once("exit", (code, signal) => {
    const exit = { ...(code === null ? {} : { code }), ...(signal === null ? {} : { signal }) }
    const tell = () => {
      child.stderr?.destroy()
      const isAborted = signal === "SIGABRT" || code === 134
      if (isAborted && /heap out of memory|Allocation failed/.test(said)) return ended({ how: "memory", ...exit })
      const cause = code === 1 ? errorOf(said) : undefined
      ended(cause === undefined ? { how: "exit", ...exit } : { how: "error", ...exit, cause })
    }
    // What it wrote last is there to be read. The end of its standard error is not waited for: who has inherited that may
    // keep it open. Its wire nobody inherits.
    const read = () => setImmediate(() => setImmediate(tell))
    if (pipe.closed) read()
    else pipe.once("close", read)
  })
  return {
    ran: `process ${child.pid ?? "?"}`,
    wire: Stream.wireOf(pipe, listener),
    killUnsafe: () => void child.kill("SIGKILL")
  }
}

/** Starts a worker. Throws if that is not possible. */
export const start = (options: Start, listener: Listener, ended: Ended): Started =>
  options.kind === "thread" ? startThread(options, listener, ended) : startProcess(options, listener, ended)
