/** Ports of the loopback interface. */
import * as Net from "node:net"

export const listen = (server: Net.Server): Promise<number> =>
  new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as Net.AddressInfo).port))
  })

export const close = (server: Net.Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve())
  })

/** For what wants to know its port beforehand: one that was free a moment ago. */
export const freePort = async (): Promise<number> => {
  const server = Net.createServer()
  const port = await listen(server)
  await close(server)
  return port
}
