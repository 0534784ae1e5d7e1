import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Schema } from "effect"
import { Feed } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import type { DeviceFrame, DeviceLost } from "effect-feeder/RemoteDevices"
import { RemoteDevices } from "effect-feeder/RemoteDevices"
import * as Net from "node:net"
import * as Frames from "../../src/internal/frames.ts"
import * as Telling from "../../src/internal/telling.ts"

const Letters = Feed.make("letters", { element: Schema.String, capacity: 10, acknowledge: "processed" })
const device = "/job:consumer/replica:0"

const leaving = (byMillis: number): DeviceFrame => ({ _tag: "Leaving", byMillis })
const bytesOf = (...frames: ReadonlyArray<DeviceFrame>): Uint8Array =>
  Buffer.concat(frames.flatMap((frame) => Frames.encodeDeviceFrame(frame)))

/** A link to a peer that writes, and that peer's end of it. */
const connected = Effect.gen(function*() {
  const accepted = yield* Deferred.make<Net.Socket>()
  const server = yield* Effect.acquireRelease(
    Effect.callback<Net.Server>((resume) => {
      const server = Net.createServer((socket) => {
        socket.on("error", () => {}).resume()
        Deferred.doneUnsafe(accepted, Effect.succeed(socket))
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )
  const address = server.address()
  if (address === null || typeof address === "string") return assert.fail("it has no port")
  const link = yield* Effect.flatMap(RemoteDevices, (devices) => devices.open(device, Letters.info)).pipe(
    Effect.provide(SocketDevices.layer({ [device]: `tcp://127.0.0.1:${address.port}` }))
  )
  return { link, peer: yield* Deferred.await(accepted) }
})

/** What it was told, and waiting for so much of it. */
const listener = () => {
  const told: Array<number | string> = []
  const reader: Telling.Reader = {
    receivedUnsafe: (frame: DeviceFrame) => told.push(frame._tag === "Leaving" ? frame.byMillis : frame._tag),
    lostUnsafe: ({ device, fate }: DeviceLost) => told.push(`${device} is lost: ${fate}`)
  }
  const until = (count: number): Effect.Effect<ReadonlyArray<number | string>> =>
    Effect.suspend(() => told.length >= count ? Effect.succeed(told) : Effect.andThen(Effect.sleep(1), until(count)))
  return { told, reader, until }
}

describe("a dialled link that tells", () => {
  it.live("tells what has come before, then what comes, then that it is lost, once", () =>
    Effect.gen(function*() {
      const { link, peer } = yield* connected
      const { reader, told, until } = listener()
      peer.write(bytesOf(leaving(1), leaving(2)))
      yield* Effect.sleep(50)
      assert.isDefined(Telling.tellUnsafe(link, reader))
      assert.deepStrictEqual(told, [1, 2])
      peer.write(bytesOf(leaving(3)))
      assert.deepStrictEqual(yield* until(3), [1, 2, 3])
      peer.end(bytesOf(leaving(4)))
      assert.deepStrictEqual(yield* until(5), [1, 2, 3, 4, `${device} is lost: unknown`])
      yield* Effect.sleep(20)
      assert.strictEqual(told.length, 5)
    }).pipe(Effect.scoped))

  it.live("tells that it is lost when what comes is no frame, after the frames before that", () =>
    Effect.gen(function*() {
      const { link, peer } = yield* connected
      const { reader, until } = listener()
      Telling.tellUnsafe(link, reader)
      peer.write(Buffer.concat([bytesOf(leaving(1)), Buffer.from("GET / HTTP/1.1\r\n\r\n")]))
      assert.deepStrictEqual(yield* until(2), [1, `${device} is lost: unknown`])
    }).pipe(Effect.scoped))

  it.live("sends over what the telling gives", () =>
    Effect.gen(function*() {
      const { link, peer } = yield* connected
      const sender = Telling.tellUnsafe(link, listener().reader)
      const written = yield* Deferred.make<Uint8Array>()
      peer.on("data", (bytes: Uint8Array) => Deferred.doneUnsafe(written, Effect.succeed(bytes)))
      yield* sender!.send({ _tag: "Bye" })
      const [bye] = Frames.encodeFeederFrame({ _tag: "Bye" }, Letters.info)
      assert.deepStrictEqual([...(yield* Deferred.await(written))], [...bye])
    }).pipe(Effect.scoped))

  it.live("does not when it is wrapped: what the wrapper does with a frame is done", () =>
    Effect.gen(function*() {
      const { link, peer } = yield* connected
      const { reader, told } = listener()
      const wrapped = { ...link, receive: Effect.tap(link.receive, ({ _tag }) => Effect.sync(() => told.push(_tag))) }
      assert.isUndefined(Telling.tellUnsafe(wrapped, reader))
      peer.end(bytesOf(leaving(1)))
      assert.deepStrictEqual(yield* wrapped.receive, leaving(1))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(wrapped.receive)))
      assert.deepStrictEqual(told, ["Leaving"])
    }).pipe(Effect.scoped))
})
