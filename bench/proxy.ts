/**
 * A process that forwards TCP connections, each byte after a delay. It is told where to, and says where it listens.
 */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import * as Net from "node:net"
import { listen } from "./ports.ts"

interface Forward {
  readonly port: number
  /** One way, in milliseconds. */
  readonly delay: number
}

const pipe = (from: Net.Socket, to: Net.Socket, delay: number): void => {
  from.on("data", (data) => setTimeout(() => to.write(data), delay))
  from.on("end", () => setTimeout(() => to.end(), delay))
  from.on("error", () => to.destroy())
}

const forward = async ({ delay, port }: Forward): Promise<number> =>
  listen(Net.createServer({ noDelay: true }, (near) => {
    const far = Net.connect({ host: "127.0.0.1", port, noDelay: true })
    pipe(near, far, delay)
    pipe(far, near, delay)
  }))

if (import.meta.main) {
  process.on("message", (request: Forward) => {
    void forward(request).then((port) => process.send!(port))
  })
  process.on("disconnect", () => process.exit())
}

/** Starts the process. `via` gives the address at which another one is reached through it. */
export const startProxy = (delay: number) => {
  const child: ChildProcess = fork(import.meta.filename, { execArgv: process.execArgv })
  return {
    via: async (address: string): Promise<string> => {
      const url = new URL(address)
      const request: Forward = { port: Number(url.port), delay }
      child.send(request)
      const [port] = await once(child, "message")
      url.port = String(port)
      return url.href
    },
    end: () => child.kill()
  }
}
