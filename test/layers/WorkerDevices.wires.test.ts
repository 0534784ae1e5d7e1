/** The wires to workers: whole frames in order on each link, however the bytes come, and ends that are seen after them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, type Scope } from "effect"
import * as Net from "node:net"
import { Duplex } from "node:stream"
import { MessageChannel } from "node:worker_threads"
import type { RawFrame } from "../../src/internal/frames.ts"
import * as Port from "../../src/internal/workerPort.ts"
import * as Stream from "../../src/internal/workerStream.ts"
import type { Listener, Pipe, Wire } from "../../src/internal/workerWire.ts"
import { until } from "../fixtures/processes.ts"
import { range } from "../network.ts"

interface Ends {
  readonly near: Wire
  readonly opened: Array<Pipe>
  readonly said: Array<unknown>
  readonly closed: () => boolean
  readonly far: Wire
}

const listen = () => {
  const opened: Array<Pipe> = []
  const said: Array<unknown> = []
  let isClosed = false
  const listener: Listener = {
    opened: (pipe) => opened.push(pipe),
    said: (word) => said.push(word),
    closed: () => {
      isClosed = true
    }
  }
  return { listener, opened, said, closed: () => isClosed }
}

const silent: Listener = { opened: () => {}, said: () => {}, closed: () => {} }

const ports: Effect.Effect<Ends, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => {
    const { port1, port2 } = new MessageChannel()
    const far = listen()
    return { ...far, near: Port.wireOf(port1, silent), far: Port.wireOf(port2, far.listener) }
  }),
  ({ near }) => Effect.sync(near.closeUnsafe)
)

/** Two sockets whose bytes come in pieces of 1 to 7. */
const streams: Effect.Effect<Ends, never, Scope.Scope> = Effect.acquireRelease(
  Effect.callback<Ends & { readonly server: Net.Server }>((resume) => {
    const server = Net.createServer((socket) => {
      const far = listen()
      const pieces = new Duplex({ read: () => {}, write: () => {} })
      let size = 0
      socket.on("data", (bytes) => {
        for (let at = 0; at < bytes.length; at += size) {
          size = size % 7 + 1
          pieces.emit("data", bytes.subarray(at, at + size))
        }
      })
      // The wire listens to the pieces, and writes to the socket.
      const through = new Proxy(socket, {
        get: (_, name) => {
          const value: unknown = Reflect.get(socket, name)
          if (name === "on") {
            return (event: string, listener: (...args: Array<unknown>) => void) =>
              (event === "data" ? pieces : socket).on(event, listener)
          }
          return typeof value === "function" ? value.bind(socket) : value
        }
      })
      resume(Effect.succeed({ ...far, near, far: Stream.wireOf(through, far.listener), server }))
    })
    let near: Wire
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      near = Stream.wireOf(
        Net.connect({ port: typeof address === "object" ? address?.port ?? 0 : 0, host: "127.0.0.1" }),
        silent
      )
    })
  }),
  ({ far, near, server }) =>
    Effect.sync(() => {
      near.closeUnsafe()
      far.closeUnsafe()
      server.close()
    })
)

const sizes = [0, 8, 1, 600, 70_000, 3, 300_000]

/** A frame with a kind, in parts. */
const frameOf = (kind: number, ...parts: ReadonlyArray<Uint8Array>): ReadonlyArray<Uint8Array> => [
  Uint8Array.of(0, 0, 0, 0, kind, 0, 0, 0),
  ...parts
]

/** The `k`-th frame of a link. */
const frame = (link: number, k: number): ReadonlyArray<Uint8Array> =>
  frameOf(100 * link + k, new Uint8Array(sizes[k % sizes.length] ?? 0).fill(k))

const seen = ({ body, kind }: RawFrame): ReadonlyArray<number> => [kind, ...body]

for (const [name, make] of [["a port", ports], ["a stream", streams]] as const) {
  describe(`a wire over ${name}`, () => {
    it.live("keeps frames whole and in order on each link", () =>
      Effect.gen(function*() {
        const { near, opened } = yield* make
        const pipes = [near.openUnsafe(), near.openUnsafe()]
        yield* until("both links were opened", () => opened.length === 2)
        const write = Effect.forEach(range(20), (k) =>
          Effect.forEach(pipes, (pipe, link) => pipe.write(frame(link, k)), { discard: true }))
        const read = Effect.forEach(opened, (pipe) =>
          Effect.forEach(range(20), () => pipe.read), {
          concurrency: "unbounded"
        })
        const [, received] = yield* Effect.all([write, read], { concurrency: "unbounded" })
        received.forEach((frames, link) => {
          assert.deepStrictEqual(
            frames.map(({ body, kind }) => [kind, body.length, body.at(-1)]),
            range(20).map((k) => {
              const size = sizes[k % sizes.length] ?? 0
              return [100 * link + k, size, size === 0 ? undefined : k]
            })
          )
          // What is read must begin where columns may begin.
          for (const { body } of frames) assert.strictEqual(body.byteOffset % 8, 0)
        })
      }))

    it.live("what was sent before the end of a link is read, then its end", () =>
      Effect.gen(function*() {
        const { near, opened } = yield* make
        const pipe = near.openUnsafe()
        yield* pipe.write(frameOf(1))
        yield* pipe.write(frameOf(2, Uint8Array.of(3), Uint8Array.of(4)))
        pipe.closeUnsafe()
        yield* until("the link was opened", () => opened.length === 1)
        const [far] = opened
        if (far === undefined) return assert.fail("no link")
        assert.deepStrictEqual(seen(yield* far.read), [1])
        assert.deepStrictEqual(seen(yield* far.read), [2, 3, 4])
        assert.strictEqual((yield* Effect.flip(far.read))._tag, "Done")
        // And nothing is written to it any more.
        yield* far.write(frameOf(4))
        assert.strictEqual((yield* Effect.flip(pipe.read))._tag, "Done")
      }))

    it.live("a read that is interrupted loses no frame", () =>
      Effect.gen(function*() {
        const { near, opened } = yield* make
        const pipe = near.openUnsafe()
        yield* until("the link was opened", () => opened.length === 1)
        const [far] = opened
        if (far === undefined) return assert.fail("no link")
        const read = yield* Effect.forkChild(far.read, { startImmediately: true })
        yield* Fiber.interrupt(read)
        yield* pipe.write(frameOf(7))
        assert.deepStrictEqual(seen(yield* far.read), [7])
      }))

    it.live("the memory of a frame can be used again", () =>
      Effect.gen(function*() {
        const { near, opened } = yield* make
        const pipe = near.openUnsafe()
        yield* until("the link was opened", () => opened.length === 1)
        const [far] = opened
        if (far === undefined) return assert.fail("no link")
        for (const k of range(20)) {
          yield* pipe.write(frameOf(k, new Uint8Array(50_000).fill(k)))
          const { body, release }: RawFrame = yield* far.read
          assert.isTrue(body.length === 50_000 && body.every((byte) => byte === k))
          assert.isDefined(release)
          release?.()
          assert.strictEqual(body.length, 0)
        }
      }))

    it.live("what was sent before the end of the wire is read", () =>
      Effect.gen(function*() {
        const { far, near, opened } = yield* make
        const pipe = near.openUnsafe()
        yield* until("the link was opened", () => opened.length === 1)
        yield* Effect.forEach(opened, (one) => one.write(frameOf(1, Uint8Array.of(2))))
        yield* Effect.forEach(opened, (one) => one.write(frameOf(3, new Uint8Array(50_000))))
        far.closeUnsafe()
        assert.deepStrictEqual(seen(yield* pipe.read), [1, 2])
        assert.strictEqual((yield* pipe.read).body.length, 50_000)
        assert.strictEqual((yield* Effect.flip(pipe.read))._tag, "Done")
      }))

    it.live("words pass, and the end of the wire ends its links", () =>
      Effect.gen(function*() {
        const { closed, far, near, opened, said } = yield* make
        const pipe = near.openUnsafe()
        near.say({ _tag: "Leave", byMillis: 5 })
        yield* until("the word came", () => said.length === 1 && opened.length === 1)
        assert.deepStrictEqual(said, [{ _tag: "Leave", byMillis: 5 }])
        far.closeUnsafe()
        assert.strictEqual((yield* Effect.flip(pipe.read))._tag, "Done")
        yield* until("the wire was closed", closed)
        // A link that is opened too late ends at once.
        assert.strictEqual((yield* Effect.flip(near.openUnsafe().read))._tag, "Done")
      }))
  })
}
