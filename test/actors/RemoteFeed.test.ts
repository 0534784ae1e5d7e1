import { assert, describe, it, vi } from "@effect/vitest"
import { Effect, Fiber, Queue, Schema, Stream } from "effect"
import { FailureTolerator, Feed, Feeder, RemoteDevices, Tensor } from "effect-feeder"
import { TestClock } from "effect/testing"
import { noProgress } from "../fixtures/progress.ts"
import { pass, range, settled } from "../network.ts"

const Numbers = Feed.make("numbers", { element: Schema.Int, capacity: 8 })
const Words = Feed.make("words", { element: Schema.String, capacity: 8 })

const device = "/job:consumer/replica:0"

interface Peer {
  readonly frames: Array<RemoteDevices.FeederFrame>
  readonly say: (frame: RemoteDevices.DeviceFrame) => Effect.Effect<void>
  readonly hangUp: Effect.Effect<void>
  readonly die: Effect.Effect<void>
  isOpen: boolean
}

/** A device played by the test: each link that is opened is a peer that notes frames and answers by hand. */
const stage = Effect.sync(() => {
  const peers: Array<Peer> = []
  const lost = new RemoteDevices.DeviceLost({ device, fate: "unknown", cause: new Error("hung up") })
  const opening = { behaviour: Effect.void as Effect.Effect<void, RemoteDevices.DeviceLost> }
  const service: RemoteDevices.RemoteDevices["Service"] = {
    open: () =>
      Effect.gen(function*() {
        yield* Effect.suspend(() => opening.behaviour)
        const toFeeder = yield* Queue.unbounded<RemoteDevices.DeviceFrame, RemoteDevices.DeviceLost>()
        const peer: Peer = {
          frames: [],
          say: (frame) => Effect.asVoid(Queue.offer(toFeeder, frame)),
          hangUp: Effect.asVoid(Queue.fail(toFeeder, lost)),
          die: Effect.asVoid(Queue.fail(toFeeder, new RemoteDevices.DeviceLost({ device, fate: "gone" }))),
          isOpen: true
        }
        yield* Effect.acquireRelease(
          Effect.sync(() => {
            peers.push(peer)
          }),
          () =>
            Effect.sync(() => {
              peer.isOpen = false
            })
        )
        return { send: (frame) => Effect.sync(() => peer.frames.push(frame)), receive: Queue.take(toFeeder) }
      })
  }
  return { peers, opening, on: Effect.provideService(RemoteDevices.RemoteDevices, service) }
})

const welcome = (
  progress: Partial<RemoteDevices.Progress>,
  options: Partial<RemoteDevices.Welcome> = {}
): RemoteDevices.Welcome => ({
  _tag: "Welcome",
  version: 1,
  device: "device-1",
  durable: false,
  capacity: 8,
  limits: { frameBytes: 1e6, elements: 1e6 },
  progress: { ...noProgress, creditBytesTo: 1e6, ...progress },
  ...options
})

const report = (progress: Partial<RemoteDevices.Progress>): RemoteDevices.DeviceFrame => ({
  _tag: "Progress",
  progress: { ...noProgress, creditBytesTo: 1e6, ...progress }
})

/** The elements a peer was sent, in order. */
const sent = (peer: Peer) => peer.frames.flatMap((frame) => frame._tag === "Batch" ? frame.chunk.elements : [])
const tags = (peer: Peer) => peer.frames.map((frame) => frame._tag)

const start = Effect.fnUntraced(function*(options: Feeder.Options = {}) {
  const { on, opening, peers } = yield* stage
  const made = yield* Feeder.make(Numbers, {
    id: "f",
    lease: 1000,
    tolerate: FailureTolerator.make({ limit: 3, initDelay: 100, backoffFactor: 1 }),
    ...options
  })
  const feeder = yield* made.set(range(20))
  yield* on(feeder.addRemoteDevice(device))
  const run = yield* Effect.forkChild(feeder.run)
  yield* settled
  return { feeder, opening, peers, run }
})

describe("a link", () => {
  it.effect("begins with Hello, and sends nothing before the Welcome", () =>
    Effect.gen(function*() {
      const { peers } = yield* start()
      assert.strictEqual(peers.length, 1)
      const [hello, ...rest] = peers[0]!.frames
      assert.deepStrictEqual(rest, [])
      assert.deepInclude(hello, {
        _tag: "Hello",
        versions: [1, 3],
        feed: "numbers",
        fingerprint: Numbers.info.fingerprint,
        feeder: "f",
        device,
        session: 1,
        keepTo: 0,
        acknowledge: "processed",
        leaseMillis: 1000
      })
    }))

  it.effect("law 1: never has more out than the device granted, in elements", () =>
    Effect.gen(function*() {
      const { feeder, peers } = yield* start()
      const [peer] = peers
      yield* peer!.say(welcome({ creditTo: 3 }))
      yield* settled
      assert.deepStrictEqual(sent(peer!), [0, 1, 2])
      yield* peer!.say(report({ report: 2, accepted: 3, delivered: 1, settled: 1, creditTo: 4 }))
      yield* settled
      assert.deepStrictEqual(sent(peer!), [0, 1, 2, 3])
      const { delivered, leased } = yield* feeder.ledger
      assert.deepStrictEqual([delivered, leased], [1, 3])
    }))

  it.effect("law 1: nor in bytes, but for one element when nothing waits there", () =>
    Effect.gen(function*() {
      const { on, peers } = yield* stage
      const made = yield* Feeder.make(Words)
      const feeder = yield* made.set(range(6).map((n) => `${n}`.repeat(100)))
      yield* on(feeder.addRemoteDevice(device))
      yield* Effect.forkChild(feeder.run)
      yield* settled
      const [peer] = peers
      yield* peer!.say(welcome({ creditTo: 100, creditBytesTo: 10 }))
      yield* settled
      const words = () => sent(peer!).length
      assert.strictEqual(words(), 1)
      yield* peer!.say(report({ report: 2, accepted: 1, delivered: 0, creditTo: 100, creditBytesTo: 20 }))
      yield* settled
      assert.strictEqual(words(), 1)
      yield* peer!.say(report({ report: 3, accepted: 1, delivered: 1, settled: 1, creditTo: 100, creditBytesTo: 20 }))
      yield* settled
      assert.strictEqual(words(), 2)
      const progress = { accepted: 2, delivered: 2, settled: 2, creditTo: 100, creditBytesTo: 500 }
      yield* peer!.say(report({ report: 4, ...progress }))
      yield* settled
      assert.isAbove(words(), 2)
      assert.isBelow(words(), 6)
    }))

  it.effect("an element larger than a frame fails the run, by its ordinal", () =>
    Effect.gen(function*() {
      const { on, peers } = yield* stage
      const made = yield* Feeder.make(Words, { id: "f" })
      const feeder = yield* made.set(["a", "b".repeat(5000)])
      yield* on(feeder.addRemoteDevice(device))
      const run = yield* Effect.forkChild(Effect.flip(feeder.run))
      yield* settled
      yield* peers[0]!.say(welcome({ creditTo: 100 }, { limits: { frameBytes: 1000, elements: 100 } }))
      yield* settled
      const error = yield* Fiber.join(run)
      assert.match(
        error.message,
        /element #1 takes \d+ bytes, device \/job:consumer\/replica:0 accepts 1000 in a frame; feed smaller elements/
      )
      assert.strictEqual((yield* feeder.ledger).lost, 0)
    }))

  it.effect("says something every quarter of the lease, and echoes the last report", () =>
    Effect.gen(function*() {
      const { peers } = yield* start()
      const [peer] = peers
      yield* peer!.say(welcome({ report: 7 }))
      yield* settled
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust(250)
        yield* settled
      }
      assert.deepStrictEqual(peer!.frames.slice(1), range(3).map(() => ({ _tag: "Ping", heard: 7 })))
    }))

  it.effect("a stop says Bye and closes it", () =>
    Effect.gen(function*() {
      const { feeder, peers, run } = yield* start()
      const [peer] = peers
      yield* peer!.say(welcome({ creditTo: 2 }))
      yield* settled
      yield* feeder.stop
      yield* Fiber.join(run)
      assert.deepStrictEqual(tags(peer!), ["Hello", "Batch", "Bye"])
      assert.isFalse(peer!.isOpen)
      const { inDoubt, leased } = yield* feeder.ledger
      assert.deepStrictEqual([leased, inDoubt], [2, 2])
    }))

  it.effect("the end is said once all is acknowledged, and confirmed before the run ends", () =>
    Effect.gen(function*() {
      const { peers, run } = yield* start()
      const [peer] = peers
      yield* peer!.say(welcome({ creditTo: 100 }))
      yield* settled
      assert.notInclude(tags(peer!), "End")
      assert.include(tags(peer!), "Flush")
      yield* peer!.say(report({ report: 2, accepted: 20, delivered: 20, settled: 20, creditTo: 100 }))
      yield* settled
      assert.deepStrictEqual(peer!.frames.at(-1), { _tag: "End", last: 20, heard: 2 })
      assert.isUndefined(run.pollUnsafe())
      yield* peer!.say(
        report({ report: 3, accepted: 20, delivered: 20, settled: 20, creditTo: 100, ended: true })
      )
      assert.strictEqual((yield* Fiber.join(run)).delivered, 20)
      assert.strictEqual(tags(peer!).at(-1), "Bye")
    }))
})

describe("a link that breaks", () => {
  it.effect("is opened again at once, and resends what the device does not have, once", () =>
    Effect.gen(function*() {
      const { feeder, peers } = yield* start()
      yield* peers[0]!.say(welcome({ creditTo: 5 }))
      yield* settled
      yield* peers[0]!.hangUp
      yield* settled
      yield* TestClock.adjust(20)
      yield* settled
      assert.strictEqual(peers.length, 2)
      yield* peers[1]!.say(welcome({ report: 2, accepted: 3, delivered: 1, settled: 1, creditTo: 5 }))
      yield* settled
      assert.deepStrictEqual(sent(peers[1]!), [3, 4])
      const [status] = (yield* feeder.status).devices
      assert.deepStrictEqual([status!.session, status!.failures, status!.redelivered], [1, 0, 0])
    }))

  it.effect("is tried ever less often, up to once a second, within the lease", () =>
    Effect.gen(function*() {
      const { opening, peers } = yield* start({ lease: 60_000 })
      yield* peers[0]!.say(welcome({ creditTo: 5 }))
      yield* settled
      const times: Array<number> = []
      let now = 0
      opening.behaviour = Effect.suspend(() => {
        times.push(now)
        return Effect.fail(new RemoteDevices.DeviceLost({ device, fate: "unknown" }))
      })
      yield* peers[0]!.hangUp
      yield* settled
      for (; now < 5000; now += 10) {
        yield* TestClock.adjust(10)
        yield* settled
      }
      const waits = times.slice(1).map((time, i) => time - times[i]!)
      assert.deepStrictEqual(waits.slice(0, 5), [40, 80, 160, 320, 640])
      assert.isTrue(waits.slice(5).every((wait) => wait === 1000), String(waits))
    }))

  it.effect("a device that is silent for a lease and a tenth loses what is out there, which counts once", () =>
    Effect.gen(function*() {
      const { feeder, peers } = yield* start()
      yield* peers[0]!.say(welcome({ creditTo: 3 }))
      yield* settled
      yield* TestClock.adjust(1000)
      yield* settled
      assert.strictEqual((yield* feeder.ledger).leased, 3)
      yield* TestClock.adjust(250)
      yield* settled
      const { leased, lost, queued } = yield* feeder.ledger
      assert.deepStrictEqual([leased, queued, lost], [0, Numbers.capacity + 3, 0])
      assert.isFalse(peers[0]!.isOpen)
      assert.deepInclude((yield* feeder.status).devices[0]!, { phase: "BackOff", failures: 1, session: 2 })
      yield* TestClock.adjust(100)
      yield* settled
      assert.strictEqual(peers.length, 2)
      assert.deepInclude(peers[1]!.frames[0], { _tag: "Hello", session: 2, keepTo: 0 })
      yield* peers[1]!.say(welcome({ report: 2, creditTo: 4 }))
      yield* settled
      const [, batch] = peers[1]!.frames
      assert.deepStrictEqual(batch?._tag === "Batch" && batch.runs, [
        { ordinal: 0, count: 3, attempt: 2 },
        { ordinal: 3, count: 1, attempt: 1 }
      ])
    }))

  it.effect("another process in its place: what is out is taken back at once, within the budget", () =>
    Effect.gen(function*() {
      const { feeder, peers } = yield* start()
      yield* peers[0]!.say(welcome({ creditTo: 3 }))
      yield* settled
      yield* peers[0]!.hangUp
      yield* settled
      yield* TestClock.adjust(20)
      yield* settled
      yield* peers[1]!.say(welcome({ creditTo: 3 }, { device: "device-2" }))
      yield* settled
      const [status] = (yield* feeder.status).devices
      assert.deepInclude(status!, { phase: "BackOff", failures: 1, session: 2, leased: 0, incarnation: "device-2" })
      assert.include(status!.lastFailure, "another process answers in its place")
    }))

  it.effect("two processes that answer in turn under one name: both are named, and it is not tried again", () =>
    Effect.gen(function*() {
      const { peers, run } = yield* start()
      for (const [i, incarnation] of ["device-1", "device-2", "device-1"].entries()) {
        yield* peers[i]!.say(welcome({}, { device: incarnation }))
        yield* settled
        yield* peers[i]!.hangUp
        yield* settled
        yield* TestClock.adjust(100)
        yield* settled
      }
      const error = yield* Effect.flip(Fiber.join(run))
      assert.include(
        error.message,
        `two processes answer to the name ${device}: device-1 and device-2; give each its own`
      )
      assert.strictEqual(peers.length, 3)
    }))

  it.effect("a transport that does not open a link within the lease has failed", () =>
    Effect.gen(function*() {
      const { on, opening } = yield* stage
      opening.behaviour = Effect.never
      const made = yield* Feeder.make(Numbers, {
        lease: 1000,
        tolerate: FailureTolerator.make({ limit: 2, initDelay: 100 })
      })
      yield* on(made.addRemoteDevice(device))
      const run = yield* Effect.forkChild(Effect.flip((yield* made.set([1])).run))
      for (let i = 0; i < 30; i++) {
        yield* settled
        yield* TestClock.adjust(100)
      }
      assert.include((yield* Fiber.join(run)).message, "failed after 2 failure(s)")
    }))

  it.effect("a device that refuses for good has failed at once, for now it is tried again", () =>
    Effect.gen(function*() {
      const { peers, run } = yield* start()
      yield* peers[0]!.say({ _tag: "Refused", reason: "leaving", detail: "later", retry: true })
      yield* settled
      yield* TestClock.adjust(100)
      yield* settled
      assert.strictEqual(peers.length, 2)
      yield* peers[1]!.say({ _tag: "Refused", reason: "unknown feed", detail: "never", retry: false })
      const error = yield* Effect.flip(Fiber.join(run))
      assert.include(error.message, `device ${device} has failed after 2 failure(s)`)
      assert.include(error.message, "refused the feed (unknown feed): never")
    }))

  it.effect("a device that reports what cannot be is not used any more, and its elements are kept", () =>
    Effect.gen(function*() {
      const { feeder, peers, run } = yield* start()
      yield* peers[0]!.say(welcome({ creditTo: 3 }))
      yield* settled
      yield* peers[0]!.say(report({ report: 2, accepted: 9, delivered: 9, settled: 9 }))
      const error = yield* Effect.flip(Fiber.join(run))
      assert.include(error.message, "progress.accepted: it is 9, but 3 were sent")
      const { delivered, lost } = yield* feeder.ledger
      assert.deepStrictEqual([delivered, lost], [0, 0])
    }))

  it.effect("a device whose budget was spent is tried again by the next run, with a new budget", () =>
    Effect.gen(function*() {
      const { feeder, opening, peers, run } = yield* start()
      yield* peers[0]!.say(welcome({ creditTo: 3 }))
      yield* settled
      opening.behaviour = Effect.fail(new RemoteDevices.DeviceLost({ device, fate: "gone" }))
      yield* peers[0]!.hangUp
      for (let i = 0; i < 10; i++) {
        yield* settled
        yield* TestClock.adjust(100)
      }
      assert.strictEqual((yield* Effect.flip(Fiber.join(run))).reason._tag, "NoDeviceLeft")
      opening.behaviour = Effect.void
      yield* Effect.forkChild(feeder.run)
      yield* settled
      assert.strictEqual(peers.length, 2)
      yield* peers[1]!.say(welcome({ creditTo: 4 }))
      yield* settled
      assert.deepStrictEqual(sent(peers[1]!), [0, 1, 2, 3])
      assert.deepInclude((yield* feeder.status).devices[0]!, { phase: "Live", failures: 0 })
    }))
})

describe("a frame of small elements", () => {
  it.effect("is cut to the bytes that are granted in a few steps, whatever is left of a byte", () =>
    Effect.gen(function*() {
      const { on, peers } = yield* stage
      const Small = Feed.make("small", {
        element: Schema.Struct({ n: Tensor.int32([]), word: Schema.String }),
        capacity: 4096
      })
      const measured = vi.spyOn(Small.info.codec, "concat")
      const made = yield* Feeder.make(Small)
      const feeder = yield* made.set(Stream.fromArray(range(4096).map((n) => ({ n, word: "x".repeat(16) }))))
      yield* on(feeder.addRemoteDevice(device))
      yield* Effect.forkChild(feeder.run)
      yield* settled
      const granted = 24.5 * 4000
      yield* peers[0]!.say(welcome({ creditTo: 100_000, creditBytesTo: granted }))
      for (let i = 0; i < 20; i++) yield* settled
      const batches = peers[0]!.frames.flatMap((frame) => frame._tag === "Batch" ? [frame] : [])
      const bytes = batches.reduce((sum, { chunk, elementBytes }) => sum + chunk.length * elementBytes, 0)
      assert.isAtMost(bytes, granted)
      assert.isAbove(bytes, granted * 0.9)
      assert.isAtMost(measured.mock.calls.length, 5 * batches.length)
    }))
})

describe("a frame of elements that came together", () => {
  const sizes = (progress: Partial<RemoteDevices.Progress>, { chunk, count }: { chunk: number; count: number }) =>
    Effect.gen(function*() {
      const { on, peers } = yield* stage
      const Large = Feed.make("large", { element: Tensor.float32([1024]), capacity: 4096 })
      const made = yield* Feeder.make(Large)
      const chunks = Array.from(
        { length: count / chunk },
        () => Array.from({ length: chunk }, () => new Float32Array(1024))
      )
      const feeder = yield* made.set(Stream.flatMap(Stream.fromIterable(chunks), (chunk) => Stream.fromIterable(chunk)))
      yield* on(feeder.addRemoteDevice(device))
      yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* peers[0]!.say(welcome({ creditTo: 4096, creditBytesTo: 64e6, ...progress }))
      for (let i = 0; i < 20; i++) yield* settled
      return peers[0]!.frames.flatMap((frame) => frame._tag === "Batch" ? [frame.chunk.length] : [])
    })

  it.effect("ends where they do, when more may follow", () =>
    Effect.gen(function*() {
      const frames = yield* sizes({}, { chunk: 48, count: 1440 })
      assert.strictEqual(frames.reduce((sum, size) => sum + size, 0), 1440)
      assert.deepStrictEqual(frames.filter((size) => size % 48 !== 0), [], frames.join())
      // As many as fit into 1 MB.
      assert.isAtLeast(Math.max(...frames), 192)
    }))

  it.effect("holds back nothing that may be sent, nor more than half", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* sizes({ creditTo: 250 }, { chunk: 48, count: 960 })).reduce((a, b) => a + b, 0), 250)
      // Three hundred do not fit into one.
      const frames = yield* sizes({}, { chunk: 300, count: 900 })
      assert.strictEqual(frames.reduce((sum, size) => sum + size, 0), 900)
      assert.isAtMost(frames.length, 8, frames.join())
    }))
})

describe("several of one feeder", () => {
  const other = "/job:consumer/replica:1"

  /** Whether the feeder has come to rest: nothing of it changes any more, however many turns it has. */
  const isAtRest = (feeder: { readonly changes: Stream.Stream<unknown> }) =>
    Effect.gen(function*() {
      let changes = 0
      yield* Effect.forkChild(Stream.runForEach(feeder.changes, () => Effect.sync(() => changes++)))
      for (let i = 0; i < 5; i++) yield* settled
      const before = changes
      for (let i = 0; i < 5; i++) yield* settled
      return changes === before
    })

  it.effect("two for which the first element is too large at the time do not wake each other", () =>
    Effect.gen(function*() {
      const { on, peers } = yield* stage
      const made = yield* Feeder.make(Words)
      const feeder = yield* made.set(range(6).map((n) => `${n}`.repeat(100)))
      yield* on(feeder.addRemoteDevices([device, other]))
      yield* Effect.forkChild(feeder.run)
      yield* settled
      for (const peer of peers) yield* peer.say(welcome({ creditTo: 100, creditBytesTo: 10 }))
      yield* settled
      assert.deepStrictEqual(peers.map((peer) => sent(peer).length), [1, 1])
      // What they were sent waits there, so that nothing beyond the bytes may follow; a few more are granted.
      for (const peer of peers) {
        yield* peer.say(report({ report: 2, accepted: 1, creditTo: 100, creditBytesTo: 150 }))
      }
      assert.isTrue(yield* isAtRest(feeder))
      assert.deepStrictEqual(peers.map((peer) => sent(peer).length), [1, 1])
    }))

  /** All of a source of four is out at the first, and the second, which has room, has found the queue closed. */
  const allAtTheFirst = Effect.gen(function*() {
    const { on, peers } = yield* stage
    const made = yield* Feeder.make(Numbers)
    const feeder = yield* made.set(range(4))
    yield* on(feeder.addRemoteDevices([device, other]))
    yield* Effect.forkChild(feeder.run)
    yield* settled
    const [first, second] = peers
    yield* first!.say(welcome({ creditTo: 4 }))
    yield* settled
    assert.deepStrictEqual(sent(first!), range(4))
    yield* second!.say(welcome({ creditTo: 8 }))
    yield* settled
    return { feeder, first: first!, second: second! }
  })

  it.effect("what was out at one that is gone is sent to another at once", () =>
    Effect.gen(function*() {
      const { first, second } = yield* allAtTheFirst
      yield* first.say(report({ report: 2, accepted: 3, delivered: 2, settled: 1, creditTo: 4 }))
      yield* first.die
      yield* settled
      assert.deepStrictEqual(sent(second), [1, 2, 3])
      const marked = second.frames.flatMap((frame) => frame._tag === "Batch" ? frame.runs : [])
      assert.deepStrictEqual(marked, [{ ordinal: 1, count: 3, attempt: 2 }])
    }))

  it.effect("so is what was out at one that leaves and is gone before it has finished", () =>
    Effect.gen(function*() {
      const { feeder, first, second } = yield* allAtTheFirst
      yield* first.say({ _tag: "Leaving", byMillis: 1000 })
      yield* settled
      assert.strictEqual(tags(first).at(-1), "End")
      yield* first.die
      yield* settled
      assert.deepStrictEqual(sent(second), range(4))
      assert.strictEqual((yield* feeder.ledger).lost, 0)
    }))

  it.effect("what one gives back for several reasons is sent to another in order", () =>
    Effect.gen(function*() {
      const { first, second } = yield* allAtTheFirst
      const retry = (from: number, cause: string) => ({
        from,
        count: 1,
        result: { _tag: "Retry", afterMillis: 0, cause } as const
      })
      const above = [retry(1, "one reason"), retry(2, "another"), retry(3, "one more")]
      yield* first.say(report({ report: 2, accepted: 4, delivered: 4, above, creditTo: 4 }))
      yield* pass(49)
      assert.deepStrictEqual(sent(second), [])
      yield* pass(1)
      assert.deepStrictEqual(sent(second), [0, 1, 2])
    }))

  it.effect("one that has failed is not told of the end again and again", () =>
    Effect.gen(function*() {
      const { on, peers } = yield* stage
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(range(2))
      yield* on(feeder.addRemoteDevices([device, other]))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* peers[0]!.say({ _tag: "Refused", reason: "different feed", detail: "another", retry: false })
      yield* peers[1]!.say(welcome({ creditTo: 2 }))
      yield* settled
      yield* peers[1]!.say(report({ report: 2, accepted: 2, delivered: 2, settled: 2 }))
      assert.isTrue(yield* isAtRest(feeder))
      yield* peers[1]!.say(report({ report: 3, accepted: 2, delivered: 2, settled: 2, ended: true }))
      assert.strictEqual((yield* Fiber.join(run)).delivered, 2)
    }))
})
