/**
 * Where a worker finds its wire: what the side that starts it and the worker itself must agree on.
 */

/** In the `workerData` of a thread: its device, and the port of its wire. */
export const deviceData = "effect-feeder/WorkerDevices"

/** In the environment of a process: the id of the process that started it, and its device. */
export const environmentName = "EFFECT_FEEDER_WORKER"

/** The pipe of a process that is its wire. */
export const wireFd = 3

/** The pipe of a process that closes when the one that started it has ended, however it did. */
export const guardFd = 4

/**
 * Loaded before a process's own program: ends it when `guardFd` closes. In a thread of its own, since the program may
 * block its event loop, or never host anything.
 */
const watch = `const { Socket } = require("node:net")
const end = () => process.kill(process.pid, "SIGKILL")
new Socket({ fd: ${guardFd} }).on("error", end).on("close", end).resume()`

export const guard = `data:text/javascript,${
  encodeURIComponent(
    `import { isMainThread, Worker } from "node:worker_threads"\n` +
      // What this process starts with the same arguments has no such pipe.
      `if (isMainThread && process.env["${environmentName}"]?.startsWith(process.ppid + " "))\n` +
      `new Worker(${JSON.stringify(watch)}, { eval: true, execArgv: [], env: {} }).unref()`
  )
}`
