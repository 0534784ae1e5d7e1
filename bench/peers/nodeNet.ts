/**
 * Bare sockets of `node:net`: bytes that mean nothing, which nothing can be faster than, and the columns of a feed with
 * or without acknowledgements, but without sessions, resending, leases or ordinals.
 */
import { Result } from "effect"
import { once } from "node:events"
import * as Net from "node:net"
import { segmentsOf } from "../messageCodecs.ts"
import type { Payload } from "../payloads.ts"
import { digestOf, some } from "../payloads.ts"
import { close, listen } from "../ports.ts"
import type { Run, Sum, Way } from "../ways.ts"

/** Listens for one connection, and returns when it is closed. */
const serve = async (ready: (address: string) => void, on: (socket: Net.Socket) => void): Promise<void> => {
  const server = Net.createServer({ noDelay: true })
  const connected = new Promise<Net.Socket>((resolve) => server.once("connection", resolve))
  ready(String(await listen(server)))
  const socket = await connected
  const closed = once(socket, "close")
  on(socket)
  await closed
  await close(server)
}

const dial = async (address: string): Promise<Net.Socket> => {
  const socket = Net.connect({ host: "127.0.0.1", port: Number(address), noDelay: true })
  await once(socket, "connect")
  return socket
}

const hangUp = async (socket: Net.Socket): Promise<void> => {
  socket.end()
  if (!socket.closed) await once(socket, "close")
}

// -----------------------------------------------------------------------------
// bytes
// -----------------------------------------------------------------------------

/** Bytes of one write. 64 KiB was best of 16, 64 and 256 KiB. */
const piece = 64 * 1024

/** As many bytes as the elements have, read by `'data'`. The digest is not known; the bytes are counted. */
export const bytes: Way = {
  consume: ({ n, payload }, ready, done) => {
    let left = n * payload.bytes
    return serve(ready, (socket) => {
      socket.on("data", (data) => {
        left -= data.length
        if (left === 0) done(sumOf(payload, n))
      })
    })
  },
  connect: async ({ n, payload }, address) => {
    const socket = await dial(address)
    const block = Buffer.alloc(piece, 1)
    return {
      send: async () => {
        for (let left = n * payload.bytes; left > 0; left -= piece) {
          // oxlint-disable-next-line no-await-in-loop -- it has to wait for room
          if (!socket.write(left < piece ? block.subarray(0, left) : block)) await once(socket, "drain")
        }
      },
      close: () => hangUp(socket)
    }
  }
}

/** What the elements would have summed up to. */
const sumOf = (payload: Payload, n: number): Sum => ({ elements: n, digest: digestOf(payload, n) })

// -----------------------------------------------------------------------------
// columns
// -----------------------------------------------------------------------------

/** Cuts the bytes that come into pieces, each after its length. */
export const cutter = (onPiece: (piece: Buffer) => void): (data: Buffer) => void => {
  let parts: Array<Buffer> = []
  let length = 0
  /** Of the piece that is being read, once it is known. */
  let wanted = 4
  let isHead = true
  return (data) => {
    parts.push(data)
    length += data.length
    if (length < wanted) return
    let all = parts.length === 1 ? data : Buffer.concat(parts)
    while (all.length >= wanted) {
      const one = all.subarray(0, wanted)
      all = all.subarray(wanted)
      if (isHead) {
        wanted = one.readUInt32LE()
      } else {
        onPiece(one)
        wanted = 4
      }
      isHead = !isHead
    }
    parts = all.length === 0 ? [] : [all]
    length = all.length
  }
}

const consumeColumns = (isAcknowledged: boolean): Way["consume"] => ({ n, payload }, ready, done) => {
  const { codec } = payload
  let elements = 0
  let digest = 0
  return serve(ready, (socket) => {
    socket.on(
      "data",
      cutter((piece) => {
        const chunk = Result.getOrThrow(codec.decode(piece))
        digest += payload.digestBatch(codec.stackChunk(chunk))
        elements += chunk.length
        if (isAcknowledged) {
          const acknowledgement = Buffer.allocUnsafe(4)
          acknowledgement.writeUInt32LE(chunk.length)
          socket.write(acknowledgement)
        }
        if (elements === n) done({ elements, digest })
      })
    )
  })
}

const writeBatch = (socket: Net.Socket, payload: Payload, elements: ReadonlyArray<unknown>): boolean => {
  const segments = segmentsOf(payload, elements)
  const head = Buffer.allocUnsafe(4)
  head.writeUInt32LE(segments.reduce((sum, segment) => sum + segment.byteLength, 0))
  socket.cork()
  socket.write(head)
  let isReady = true
  for (const segment of segments) isReady = socket.write(segment)
  socket.uncork()
  return isReady
}

/** Acknowledged batch by batch; less than a window is on its way. */
export const columns: Way = {
  consume: consumeColumns(true),
  connect: async ({ batch, n, payload, window }, address) => {
    const socket = await dial(address)
    return {
      send: () =>
        new Promise((resolve) => {
          let sent = 0
          let settled = 0
          let rest: Buffer = Buffer.alloc(0)
          const go = () => {
            while (sent < n && sent - settled + batch <= window) {
              const elements = some(payload.pool, sent, Math.min(batch, n - sent))
              writeBatch(socket, payload, elements)
              sent += elements.length
            }
          }
          socket.on("data", (data) => {
            rest = rest.length === 0 ? data : Buffer.concat([rest, data])
            while (rest.length >= 4) {
              settled += rest.readUInt32LE()
              rest = rest.subarray(4)
            }
            if (settled === n) resolve()
            go()
          })
          go()
        }),
      close: () => hangUp(socket)
    }
  }
}

/** Nothing comes back: the socket alone says when to wait. */
export const unacknowledged: Way = {
  consume: consumeColumns(false),
  connect: async ({ batch, n, payload }: Run, address) => {
    const socket = await dial(address)
    return {
      send: async () => {
        for (let sent = 0; sent < n; sent += batch) {
          const isReady = writeBatch(socket, payload, some(payload.pool, sent, Math.min(batch, n - sent)))
          // oxlint-disable-next-line no-await-in-loop -- it has to wait for room
          if (!isReady) await once(socket, "drain")
        }
      },
      close: () => hangUp(socket)
    }
  }
}

// -----------------------------------------------------------------------------
// echo
// -----------------------------------------------------------------------------

/** Writes one element's columns after the other, each when the former has come back. */
export const echo: Way = {
  consume: ({ n, payload }, ready, done) => {
    let left = n
    return serve(ready, (socket) => {
      socket.on("data", (data) => {
        socket.write(data)
        if (--left === 0) done(sumOf(payload, n))
      })
    })
  },
  connect: async ({ n, payload, turn }, address) => {
    const socket = await dial(address)
    const message = Buffer.concat(segmentsOf(payload, some(payload.pool, 0, 1)))
    const latencies: Array<number> = []
    return {
      send: () =>
        new Promise((resolve) => {
          let start = 0
          let length = 0
          const go = () => {
            length = 0
            start = performance.now()
            socket.write(message)
          }
          socket.on("data", (data) => {
            length += data.length
            if (length < message.length) return
            latencies.push(performance.now() - start)
            if (latencies.length === n) resolve()
            else next()
          })
          const next = () => {
            const wait = turn?.(latencies.length)
            if (wait === undefined) go()
            else void wait.then(go)
          }
          next()
        }),
      close: () => hangUp(socket),
      latencies: () => latencies
    }
  }
}
