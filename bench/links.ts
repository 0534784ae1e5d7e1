/**
 * The ways from a producer to one consumer, as cases. All but those in memory go over loopback TCP to a process of its
 * own (`consumer.ts`), and in all of them the consumer processes batches and at most `capacity` elements, or two
 * queues of that capacity in a feed, are not acknowledged.
 */
import { Effect, Queue, Result } from "effect"
import { DeviceSpec, type Feed, Feeder, MemoryDevices } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import * as Net from "node:net"
import * as path from "node:path"
import { type Case, expect } from "./harness.ts"
import type { Reply, Request, Way } from "./messages.ts"
import { batch, capacity, digestOf, type Payload, repeated, some } from "./payloads.ts"
import type { Profile } from "./profiler.ts"

// -----------------------------------------------------------------------------
// the consumer's process
// -----------------------------------------------------------------------------

export interface Consumer {
  /** Has the consumer listen, and gives the port. */
  readonly listen: (request: Request) => Promise<number>
  /** What became of it. */
  readonly done: () => Promise<Extract<Reply, { readonly _tag: "Done" }>>
  readonly end: () => void
}

export const startConsumer = (): Consumer => {
  const child: ChildProcess = fork(path.join(import.meta.dirname, "consumer.ts"), { execArgv: process.execArgv })
  const replies: Array<Promise<Reply>> = []
  const waiting: Array<(reply: Reply) => void> = []
  const expectReply = () => {
    replies.push(new Promise((resolve) => waiting.push(resolve)))
  }
  child.on("message", (reply: Reply) => waiting.shift()!(reply))
  child.on("exit", (code) => {
    if (code !== 0 && code !== null) throw new Error(`the consumer ended with ${code}`)
  })
  return {
    listen: async (request) => {
      expectReply()
      expectReply()
      child.send(request)
      const ready = await replies.shift()!
      if (ready._tag !== "Ready") throw new Error("the consumer is not ready")
      return ready.port
    },
    done: async () => {
      const done = await replies.shift()!
      if (done._tag !== "Done") throw new Error("the consumer is not done")
      return done
    },
    end: () => child.disconnect()
  }
}

// -----------------------------------------------------------------------------
// the ways
// -----------------------------------------------------------------------------

/** A case in this process. What it gives is the digest of what arrived. */
const local = <Name extends string, S extends Feed.ElementSchema>(
  named: Pick<Case, "name" | "acknowledge">,
  payload: Payload<Name, S>,
  run: (n: number) => Promise<number>
): Case => {
  let digest = 0
  let expected = 0
  return {
    ...named,
    before: async (n) => {
      expected = digestOf(payload, n)
    },
    run: async (n) => {
      digest = await run(n)
    },
    after: async () => expect("digest", digest, expected)
  }
}

/** In this process, without anything that acknowledges: what a feed in memory adds to a queue is the difference. */
export const viaQueue = <Name extends string, S extends Feed.ElementSchema>(payload: Payload<Name, S>): Case =>
  local({ name: "Effect Queue, one process", acknowledge: "none" }, payload, async (n) => {
    let digest = 0
    await Effect.runPromise(Effect.gen(function*() {
      const { codec } = payload.feed
      const queue = yield* Queue.bounded<S["Type"]>(capacity)
      const produce = Effect.gen(function*() {
        for (let i = 0; i < n; i += batch) {
          const elements = some(payload.pool, i, batch)
          for (const element of elements) Result.getOrThrow(codec.validate(element))
          yield* Queue.offerAll(queue, elements)
        }
      })
      const consume = Effect.gen(function*() {
        for (let i = 0; i < n; i += batch) digest += payload.digestBatch(codec.stack(yield* Queue.takeN(queue, batch)))
      })
      yield* Effect.all([consume, produce], { concurrency: "unbounded" })
    }))
    return digest
  })

export const viaMemory = <Name extends string, S extends Feed.ElementSchema>(payload: Payload<Name, S>): Case =>
  local({ name: "Feeder.run, MemoryDevices" }, payload, async (n) => {
    let digest = 0
    const feed = Feeder.run(payload.feed, {
      source: repeated(payload.pool, n),
      devices: DeviceSpec.replicas("consumer", 1)
    })
    const consume = payload.feed.forEachBatch(batch, (values) =>
      Effect.sync(() => {
        digest += payload.digestBatch(values)
      }))
    const [ledger] = await Effect.runPromise(
      Effect.all([feed, consume], { concurrency: "unbounded" }).pipe(
        Effect.provide(MemoryDevices.layer({ feeds: [payload.feed] }))
      )
    )
    expect("delivered", ledger.delivered, n)
    return digest
  })

/** A case with the consumer's process at the other end. */
const remote = <Name extends string, S extends Feed.ElementSchema>(
  name: string,
  way: Way,
  payload: Payload<Name, S>,
  consumer: Consumer,
  send: (port: number, n: number) => Promise<void>,
  onProfile?: (profile: Profile) => void
): Case => {
  let port = 0
  let count = 0
  return {
    name,
    before: async (n) => {
      count = n
      port = await consumer.listen({
        way,
        feed: payload.feed.name,
        elements: n,
        isProfiled: onProfile !== undefined
      })
    },
    run: (n) => send(port, n),
    after: async () => {
      const { digest, elements, profile } = await consumer.done()
      expect("elements", elements, count)
      expect("digest", digest, digestOf(payload, count))
      if (profile !== undefined) onProfile?.(profile)
    }
  }
}

export const viaSockets = <Name extends string, S extends Feed.ElementSchema>(
  payload: Payload<Name, S>,
  consumer: Consumer,
  onProfile?: (profile: Profile) => void
): Case =>
  remote("Feeder.run, SocketDevices", "feed", payload, consumer, async (port, n) => {
    const ledger = await Effect.runPromise(
      Feeder.run(payload.feed, {
        source: repeated(payload.pool, n),
        devices: DeviceSpec.replicas("consumer", 1)
      }).pipe(
        Effect.provide(SocketDevices.layer({ "/job:consumer/replica:0": `tcp://127.0.0.1:${port}` }))
      )
    )
    expect("delivered", ledger.delivered, n)
  }, onProfile)

/** Writes batches over a bare socket, as long as less than `capacity` is not acknowledged. No session, no resending. */
const sendBare = async (port: number, n: number, write: (socket: Net.Socket, from: number) => void): Promise<void> => {
  const socket = Net.connect({ host: "127.0.0.1", port, noDelay: true })
  await once(socket, "connect")
  const acknowledged = Promise.withResolvers<void>()
  let sent = 0
  let settled = 0
  let rest = Buffer.alloc(0)
  const go = () => {
    while (sent < n && sent - settled + batch <= capacity) {
      write(socket, sent)
      sent += batch
    }
  }
  socket.on("data", (bytes) => {
    rest = Buffer.concat([rest, bytes])
    while (rest.length >= 4) {
      settled += rest.readUInt32LE()
      rest = rest.subarray(4)
    }
    if (settled === n) acknowledged.resolve()
    go()
  })
  go()
  await acknowledged.promise
  socket.end()
  await once(socket, "close")
}

/** The bytes of the feed: validated, in columns, written scattered. */
export const viaColumns = <Name extends string, S extends Feed.ElementSchema>(
  payload: Payload<Name, S>,
  consumer: Consumer
): Case =>
  remote("node:net, the same columns", "columns", payload, consumer, (port, n) =>
    sendBare(port, n, (socket, from) => {
      const { codec } = payload.feed
      const elements = some(payload.pool, from, batch)
      for (const element of elements) Result.getOrThrow(codec.validate(element))
      const segments = codec.encode(codec.fromElements(elements))
      const head = Buffer.allocUnsafe(4)
      head.writeUInt32LE(segments.reduce((sum, segment) => sum + segment.byteLength, 0))
      socket.cork()
      socket.write(head)
      for (const segment of segments) socket.write(segment)
      socket.uncork()
    }))

/** JSON, an element a line, a batch a write, not validated. */
export const viaLines = <Name extends string, S extends Feed.ElementSchema>(
  payload: Payload<Name, S>,
  consumer: Consumer
): Case =>
  remote("node:net, JSON lines", "lines", payload, consumer, (port, n) =>
    sendBare(port, n, (socket, from) => {
      let text = ""
      for (const element of some(payload.pool, from, batch)) text += JSON.stringify(payload.toJson(element)) + "\n"
      socket.write(text)
    }))
