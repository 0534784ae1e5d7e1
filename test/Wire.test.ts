import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Queue, Schema } from "effect"
import { Device, Feed, Feeder, RemoteDevices, Wire } from "effect-feeder"

const Numbers = Feed.make("numbers", { element: Schema.Int })
const device = "/job:consumer/replica:0"

type Pipe = Queue.Queue<Uint8Array, RemoteDevices.DeviceLost>

const pipe = Queue.unbounded<Uint8Array, RemoteDevices.DeviceLost>()

/** Sends segments in pieces of some bytes, and receives what comes. */
const wireOf = (out: Pipe, input: Pipe, piece = Number.MAX_SAFE_INTEGER): Wire.Wire => ({
  send: (segments) =>
    Effect.sync(() => {
      for (const segment of segments) {
        for (let at = 0; at < segment.length; at += piece) {
          Queue.offerUnsafe(out, segment.slice(at, at + piece))
        }
      }
    }),
  receive: Queue.take(input)
})

const hello: RemoteDevices.Hello = {
  _tag: "Hello",
  versions: [1, 3],
  feed: "numbers",
  fingerprint: Numbers.info.fingerprint,
  feeder: "a",
  incarnation: 1,
  device,
  session: 1,
  keepTo: 0,
  acknowledge: "processed",
  leaseMillis: 1000
}

const batch = (numbers: ReadonlyArray<number>): RemoteDevices.Batch => ({
  _tag: "Batch",
  first: 1,
  heard: 0,
  elementBytes: 8,
  runs: [{ ordinal: 0, count: numbers.length, attempt: 1 }],
  chunk: Numbers.info.codec.fromElements(numbers)
})

const progress: RemoteDevices.Progress = {
  report: 0,
  accepted: 0,
  delivered: 0,
  carried: 0,
  settled: 0,
  above: [],
  creditTo: 10,
  creditBytesTo: 1000,
  ended: false
}

const welcome: RemoteDevices.Welcome = {
  _tag: "Welcome",
  version: 3,
  device: "here",
  durable: false,
  capacity: 10,
  limits: { frameBytes: 1000, elements: 10 },
  progress
}

describe("Wire", () => {
  for (const piece of [1, 3, 7, 1000]) {
    it.live(`a feed goes over a wire that carries ${piece} bytes at a time`, () =>
      Effect.gen(function*() {
        const [there, back] = [yield* pipe, yield* pipe]
        const accepted = yield* Queue.make<RemoteDevices.HostLink>()
        yield* Queue.offer(accepted, Wire.hostLink(wireOf(back, there, piece), { feeds: [Numbers] }))
        const seen: Array<number> = []
        const consume = Numbers.forEach((n) => Effect.sync(() => seen.push(n))).pipe(
          Effect.provide(Device.layer({ feeds: [Numbers] })),
          Effect.provideService(RemoteDevices.DeviceLinks, { accept: Queue.take(accepted) })
        )
        const source = Array.from({ length: 300 }, (_, i) => i)
        const feed = Feeder.run(Numbers, { source, devices: [device] }).pipe(
          Effect.provideService(RemoteDevices.RemoteDevices, {
            open: (device, feed) => Effect.succeed(Wire.link(wireOf(there, back, piece), { device, feed }))
          })
        )
        yield* Effect.all([feed, consume], { concurrency: "unbounded" })
        assert.deepStrictEqual(seen, source)
      }))
  }

  it.effect("bytes that are no frame are answered with why, and end the link", () =>
    Effect.gen(function*() {
      const [there, back] = [yield* pipe, yield* pipe]
      const host = Wire.hostLink(wireOf(back, there), { feeds: [Numbers], device })
      const link = Wire.link(wireOf(there, back), { device, feed: Numbers.info })
      yield* Queue.offer(there, new TextEncoder().encode("hello, world"))
      const error = yield* Effect.flip(host.receive)
      assert.strictEqual(error.fate, "unknown")
      assert.match(error.message, /replica:0 is not reachable: .*kind.* kind 111 is unknown/)
      const refused = yield* link.receive
      assert.strictEqual(refused._tag === "Refused" ? refused.reason : refused._tag, "invalid")
    }))

  it.effect("a feeder sends no more than a Hello takes before it is welcomed", () =>
    Effect.gen(function*() {
      const large = Array.from({ length: 1000 }, (_, i) => i)
      for (const isWelcomed of [true, false]) {
        const [there, back] = [yield* pipe, yield* pipe]
        const host = Wire.hostLink(wireOf(back, there), { feeds: [Numbers], limits: { controlBytes: 1000 } })
        const link = Wire.link(wireOf(there, back), { device, feed: Numbers.info })
        yield* link.send(hello)
        assert.strictEqual((yield* host.receive)._tag, "Hello")
        if (isWelcomed) yield* host.send(welcome)
        yield* link.send(batch(large))
        const received = yield* Effect.result(host.receive)
        assert.strictEqual(received._tag, isWelcomed ? "Success" : "Failure")
      }
    }))

  it.effect("a device that sends a batch is no device", () =>
    Effect.gen(function*() {
      const [there, back] = [yield* pipe, yield* pipe]
      const other = Wire.link(wireOf(back, there), { device, feed: Numbers.info })
      const link = Wire.link(wireOf(there, back), { device, feed: Numbers.info })
      yield* other.send(batch([1]))
      assert.match((yield* Effect.flip(link.receive)).message, /is over the limit of 0 bytes/)
    }))

  it.effect("what the wire says of the device's fate is what the link says", () =>
    Effect.gen(function*() {
      const [there, back] = [yield* pipe, yield* pipe]
      const link = Wire.link(wireOf(there, back), { device, feed: Numbers.info })
      const host = Wire.hostLink(wireOf(back, there), { feeds: [Numbers] })
      yield* host.send(welcome)
      const gone = new RemoteDevices.DeviceLost({ device, fate: "gone", cause: new Error("its power is off") })
      yield* Queue.fail(back, gone)
      assert.deepStrictEqual(yield* link.receive, welcome)
      assert.strictEqual(yield* Effect.flip(link.receive), gone)
      const lost = yield* Effect.exit(
        Wire.link(
          { send: () => Effect.fail(gone), receive: Queue.take(back) },
          { device, feed: Numbers.info }
        ).send(hello)
      )
      assert.strictEqual(lost._tag === "Failure" ? Cause.squash(lost.cause) : lost, gone)
    }))
})
