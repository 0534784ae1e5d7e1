/**
 * Brokers on the loopback interface, each a process of its own with nothing but what is in memory, or in a directory that
 * is deleted. One that is started ends with the process that started it.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import * as Net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout } from "node:timers/promises"
import { freePort } from "./ports.ts"
import type { Missing } from "./rows.ts"

const isThere = (binary: string): boolean => spawnSync(binary, ["--version"]).error === undefined

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = Net.connect({ host: "127.0.0.1", port })
    socket.once("connect", () => {
      socket.destroy()
      resolve(true)
    })
    socket.once("error", () => resolve(false))
  })

const start = async (binary: string, args: (port: number, directory: string) => ReadonlyArray<string>) => {
  const port = await freePort()
  const directory = mkdtempSync(path.join(os.tmpdir(), "bench-"))
  const child: ChildProcess = spawn(binary, args(port, directory), { stdio: "ignore" })
  process.on("exit", () => {
    child.kill("SIGKILL")
    rmSync(directory, { recursive: true, force: true })
  })
  for (let tries = 0; tries < 100; tries++) {
    // oxlint-disable-next-line no-await-in-loop -- it takes a moment to listen
    if (await answers(port)) return `127.0.0.1:${port}`
    // oxlint-disable-next-line no-await-in-loop -- it takes a moment to listen
    await setTimeout(50)
  }
  throw new Error(`${binary} does not listen at port ${port}`)
}

/** A function that starts a broker when it is first called, and gives its address. */
const broker = (
  binary: string,
  install: string,
  args: (port: number, directory: string) => ReadonlyArray<string>
): () => Promise<string | Missing> => {
  let started: Promise<string | Missing> | undefined
  return () =>
    started ??= isThere(binary)
      ? start(binary, args)
      : Promise.resolve({ missing: `${binary} is not installed: ${install}` })
}

/** NATS, with JetStream. */
export const nats = broker(
  "nats-server",
  "apt-get install nats-server",
  (port, directory) => ["-a", "127.0.0.1", "-p", String(port), "-js", "-sd", directory]
)

export const redis = broker(
  "redis-server",
  "apt-get install redis-server",
  (
    port,
    directory
  ) => ["--bind", "127.0.0.1", "--port", String(port), "--dir", directory, "--save", "", "--appendonly", "no"]
)
