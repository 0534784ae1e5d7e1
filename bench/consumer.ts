/**
 * The consumer of `links.ts`, in a process of its own. For each request it listens, says where, takes the elements that
 * come and answers with the sum of their digests.
 */
import { Effect, Logger, Result } from "effect"
import type { Feed } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as Net from "node:net"
import type { Reply, Request } from "./messages.ts"
import { batch, each, type Payload } from "./payloads.ts"
import { profiled } from "./profiler.ts"

interface Sum {
  readonly elements: number
  readonly digest: number
}

const reply = (message: Reply): void => {
  process.send!(message)
}

const listen = (server: Net.Server): Promise<number> =>
  new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as Net.AddressInfo).port))
  })

/** The layer wants to know its port beforehand: one that was free a moment ago. */
const freePort = async (): Promise<number> => {
  const server = Net.createServer()
  const port = await listen(server)
  await new Promise((resolve) => server.close(resolve))
  return port
}

const consumeFeed = async <Name extends string, S extends Feed.ElementSchema>(
  { digestBatch, feed }: Payload<Name, S>
): Promise<Sum> => {
  const port = await freePort()
  let elements = 0
  let digest = 0
  const consume = Effect.sync(() => reply({ _tag: "Ready", port })).pipe(
    Effect.andThen(feed.forEachBatch(batch, (values, { size }) =>
      Effect.sync(() => {
        elements += size
        digest += digestBatch(values)
      }))),
    // That it is for this machine only goes without saying.
    Effect.provide([SocketDevices.layerHost({ feeds: [feed], port }), Logger.layer([])])
  )
  await Effect.runPromise(consume)
  return { elements, digest }
}

/** What cuts the bytes that arrive into batches. */
type Reader = (onBatch: (count: number, digest: number) => void) => (bytes: Buffer) => void

/** Takes `expected` elements over a bare socket and answers each batch with its size, once it was processed. */
const consumeBare = async (expected: number, reader: Reader): Promise<Sum> => {
  let elements = 0
  let digest = 0
  const server = Net.createServer({ noDelay: true })
  const connected = new Promise<Net.Socket>((resolve) => server.once("connection", resolve))
  reply({ _tag: "Ready", port: await listen(server) })
  const socket = await connected
  socket.on(
    "data",
    reader((count, part) => {
      elements += count
      digest += part
      const acknowledgement = Buffer.allocUnsafe(4)
      acknowledgement.writeUInt32LE(count)
      socket.write(acknowledgement)
    })
  )
  await new Promise((resolve) => socket.once("close", resolve))
  await new Promise((resolve) => server.close(resolve))
  if (elements !== expected) throw new Error(`expected ${expected} elements, got ${elements}`)
  return { elements, digest }
}

const readLines =
  <Name extends string, S extends Feed.ElementSchema>({ digest, fromJson }: Payload<Name, S>): Reader => (onBatch) => {
    let rest: Array<Buffer> = []
    let count = 0
    let sum = 0
    const line = (text: string) => {
      sum += digest(fromJson(JSON.parse(text)))
      if (++count < batch) return
      onBatch(count, sum)
      count = 0
      sum = 0
    }
    return (bytes) => {
      const end = bytes.lastIndexOf(10)
      if (end === -1) {
        rest.push(bytes)
        return
      }
      const text = Buffer.concat([...rest, bytes.subarray(0, end)]).toString()
      rest = [bytes.subarray(end + 1)]
      for (const one of text.split("\n")) line(one)
    }
  }

const readColumns =
  <Name extends string, S extends Feed.ElementSchema>({ digestBatch, feed: { codec } }: Payload<Name, S>): Reader =>
  (onBatch) => {
    let parts: Array<Buffer> = []
    let length = 0
    /** Of the frame that is being read, once it is known. */
    let wanted = 4
    let isHead = true
    return (bytes) => {
      parts.push(bytes)
      length += bytes.length
      if (length < wanted) return
      let all = parts.length === 1 ? bytes : Buffer.concat(parts)
      while (all.length >= wanted) {
        const piece = all.subarray(0, wanted)
        all = all.subarray(wanted)
        if (isHead) {
          wanted = piece.readUInt32LE()
        } else {
          const chunk = Result.getOrThrow(codec.decode(piece))
          onBatch(chunk.length, digestBatch(codec.stackChunk(chunk)))
          wanted = 4
        }
        isHead = !isHead
      }
      parts = [all]
      length = all.length
    }
  }

const consume = async <Name extends string, S extends Feed.ElementSchema>(
  payload: Payload<Name, S>,
  { elements, isProfiled, way }: Request
): Promise<void> => {
  globalThis.gc?.()
  const run = () =>
    way === "feed"
      ? consumeFeed(payload)
      : consumeBare(elements, way === "lines" ? readLines(payload) : readColumns(payload))
  const [sum, profile] = isProfiled ? await profiled(run) : [await run(), undefined]
  reply({ _tag: "Done", ...sum, profile })
}

process.on("message", (request: Request) => {
  void each(async (payload) => {
    if (payload.feed.name === request.feed) await consume(payload, request)
  })
})

process.on("disconnect", () => process.exit())
