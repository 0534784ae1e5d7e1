/**
 * Stopping, with real processes and sockets: feeders and consumers that are told to go, killed, or stall.
 *
 * What is measured here is printed with `STOPPING_TIMES=1`; the bounds are wide, for busy machines.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger, Scope, Stream } from "effect"
import { FailureTolerator, Feed, Feeder, type Ledger, Tensor } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as Net from "node:net"
import { encodeDeviceFrame } from "../../src/internal/frames.ts"
import type { ConsumerSettings, FeederSettings } from "../fixtures/messages.ts"
import { Numbers } from "../fixtures/messages.ts"
import { freePort, type Process, startConsumer, startFeeder, until } from "../fixtures/processes.ts"
import { noProgress } from "../fixtures/progress.ts"

/** Long enough for a busy machine. */
const lease = 10_000

const patient = FailureTolerator.make({ limit: 1000, initDelay: 50, backoffFactor: 1 })

const nameOf = (replica: number) => `/job:consumer/replica:${replica}`
const addresses = (ports: ReadonlyArray<number>) =>
  Object.fromEntries(ports.map((port, i) => [nameOf(i), `tcp://127.0.0.1:${port}`]))

const measured = (what: string, millis: number) => {
  if (process.env["STOPPING_TIMES"] !== undefined) process.stdout.write(`${what}: ${Math.round(millis)} ms\n`)
}

const since = (start: number) => performance.now() - start

const handed = (consumers: ReadonlyArray<Process>) => consumers.flatMap((consumer) => consumer.all("Handed"))

/** Each element once, none left out, and everything that was begun was finished. */
const assertEachOnce = (consumers: ReadonlyArray<Process>, count: number) => {
  const ordinals = handed(consumers).map(({ ordinal }) => ordinal).toSorted((a, b) => a - b)
  assert.deepStrictEqual(ordinals, Array.from({ length: count }, (_, i) => i))
  assert.strictEqual(consumers.flatMap((consumer) => consumer.all("Finished")).length, count)
}

/** A feeder in this process. */
const startFeed = (source: Iterable<number>, ports: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const made = yield* Feeder.make(Numbers, { lease, tolerate: patient })
    const feeder = yield* made.set(source)
    yield* feeder.addRemoteReplicas("consumer", ports.length)
    const fiber = yield* Effect.forkScoped(feeder.run)
    return { feeder, ledger: Fiber.join(fiber) }
  }).pipe(Effect.provide([SocketDevices.layer(addresses(ports)), Logger.layer([])]))

/** A feeder's process that drains on SIGTERM, and the consumers that it feeds. */
const startAll = (
  consumers: ReadonlyArray<Omit<ConsumerSettings, "port">>,
  settings: Partial<FeederSettings> & { readonly deadlineMillis: number }
) =>
  Effect.gen(function*() {
    const ports = yield* Effect.forEach(consumers, () => freePort)
    const all = yield* Effect.forEach(consumers, (each, i) => startConsumer({ ...each, port: ports[i]! }), {
      concurrency: "unbounded"
    })
    const devices = addresses(ports)
    const feeder = yield* startFeeder({ feed: "numbers", count: 10_000_000, leaseMillis: lease, devices, ...settings })
    return { consumers: all, feeder }
  })

describe("a feeder's process", () => {
  for (
    const one of [
      { what: "one by one", feed: "numbers", concurrency: 4, millis: 20, batch: undefined },
      { what: "in batches that wait to be filled", feed: "numbers", concurrency: 1, millis: 100, batch: 50 },
      { what: "accepted", feed: "kept", concurrency: 4, millis: 20, batch: undefined }
    ] as const
  ) {
    it.live(`SIGTERM: what is out is finished, and accounted for (${one.what})`, () =>
      Effect.gen(function*() {
        const { batch, concurrency, feed, millis } = one
        const settings = { feeds: [feed], concurrency, millis, batch }
        const { consumers, feeder } = yield* startAll([settings, settings], { feed, deadlineMillis: 15_000 })
        yield* Effect.forEach(consumers, (consumer) => consumer.printed("Handed", 60))
        yield* feeder.signal("SIGTERM")
        const signalled = performance.now()
        assert.deepStrictEqual(yield* feeder.exited, { code: 130, signal: null })
        measured(`SIGTERM to exit, ${one.what}`, since(signalled))
        const [drained] = feeder.all("Drained")
        assert.strictEqual(drained!.abandoned, 0)
        if (feed === "numbers") assert.isAbove(drained!.acknowledged, 0)
        assert.isAbove(drained!.returned, 0)
        // Its consumers wait for a feeder that may come back.
        const seen = () => handed(consumers).length
        yield* until("all was finished", () => consumers.flatMap((each) => each.all("Finished")).length === seen())
        assertEachOnce(consumers, seen())
      }))
  }

  for (const second of ["SIGTERM", "SIGINT"] as const) {
    it.live(`SIGTERM, then ${second}: it ends at once, with an account`, () =>
      Effect.gen(function*() {
        const { consumers: [consumer], feeder } = yield* startAll(
          [{ feeds: ["numbers"], concurrency: 2, untilSignal: 2 }],
          { deadlineMillis: 25_000 }
        )
        yield* consumer!.printed("Handed", 2)
        yield* feeder.signal("SIGTERM")
        yield* Effect.sleep(500)
        assert.deepStrictEqual(feeder.all("Drained"), [])
        yield* feeder.signal(second)
        const signalled = performance.now()
        assert.deepStrictEqual(yield* feeder.exited, { code: 130, signal: null })
        measured(`SIGTERM, then ${second}, to exit`, since(signalled))
        assert.isBelow(since(signalled), 3000)
        const [drained] = feeder.all("Drained")
        assert.isAtLeast(drained!.abandoned, 2)
        assert.strictEqual(drained!.acknowledged, 0)
        assert.strictEqual(handed([consumer!]).length, 2)
      }))
  }

  it.live("SIGINT: it ends at once, without a drain", () =>
    Effect.gen(function*() {
      const { consumers: [consumer], feeder } = yield* startAll(
        [{ feeds: ["numbers"], concurrency: 2, untilSignal: 2 }],
        { deadlineMillis: 25_000 }
      )
      yield* consumer!.printed("Handed", 2)
      yield* feeder.signal("SIGINT")
      const signalled = performance.now()
      assert.deepStrictEqual(yield* feeder.exited, { code: 130, signal: null })
      assert.isBelow(since(signalled), 3000)
      assert.deepStrictEqual(feeder.all("Drained"), [])
    }))

  it.live("SIGTERM while a consumer hangs: it ends at the deadline, and says what it gave up", () =>
    Effect.gen(function*() {
      const { consumers, feeder } = yield* startAll(
        [{ feeds: ["numbers"], concurrency: 4, millis: 5 }, { feeds: ["numbers"], concurrency: 4, millis: 5 }],
        { deadlineMillis: 1500 }
      )
      yield* Effect.forEach(consumers, (consumer) => consumer.printed("Handed", 20))
      const [hung, well] = consumers
      yield* hung!.signal("SIGSTOP")
      yield* well!.printed("Handed", handed([well!]).length + 100)
      yield* feeder.signal("SIGTERM")
      const signalled = performance.now()
      assert.deepStrictEqual(yield* feeder.exited, { code: 130, signal: null })
      const took = since(signalled)
      measured("SIGTERM to exit, with a deadline of 1500 ms", took)
      assert.isAbove(took, 1000)
      assert.isBelow(took, 5000)
      const [drained] = feeder.all("Drained")
      assert.isAbove(drained!.abandoned, 0)
      assert.strictEqual(well!.all("Finished").length, handed([well!]).length)
    }))
})

const assertExact = (ledger: Ledger.Ledger, count: number) =>
  assert.deepInclude(ledger, {
    generated: count,
    delivered: count,
    redelivered: 0,
    lost: 0,
    dead: 0,
    leased: 0,
    queued: 0
  })

it.live(
  "a rolling restart of every consumer under load loses nothing, doubles nothing and never stops the feed",
  () =>
    Effect.gen(function*() {
      let isOver = false
      let count = 0
      const source = function*() {
        while (!isOver) yield count++
      }
      const ports = [yield* freePort, yield* freePort, yield* freePort] as const
      const settings = (port: number): ConsumerSettings => ({ port, feeds: ["numbers"], concurrency: 4, millis: 5 })
      const all: Array<Process> = []
      const up = (port: number) =>
        Effect.tap(startConsumer(settings(port)), (consumer) => Effect.sync(() => all.push(consumer)))
      const running = yield* Effect.forEach(ports, up, { concurrency: "unbounded" })
      const { feeder, ledger } = yield* startFeed(source(), ports)
      let delivered = 0
      let last = performance.now()
      let longest = 0
      yield* feeder.changes.pipe(
        Stream.runForEach((status) =>
          Effect.sync(() => {
            if (status.ledger.delivered === delivered) return
            delivered = status.ledger.delivered
            longest = Math.max(longest, since(last))
            last = performance.now()
          })
        ),
        Effect.forkScoped
      )
      yield* Effect.forEach(running, (consumer) => consumer.printed("Handed"))
      longest = 0
      for (let round = 0; round < 2; round++) {
        for (const [i, port] of ports.entries()) {
          const before = delivered
          yield* running[i]!.signal("SIGTERM")
          const signalled = performance.now()
          assert.strictEqual((yield* running[i]!.exited).signal, null)
          measured(`a consumer that is told to go went after`, since(signalled))
          running[i] = yield* up(port)
          yield* running[i].printed("Handed")
          assert.isAbove(delivered, before, "the others went on meanwhile")
        }
      }
      isOver = true
      const account = yield* ledger
      measured(`the longest stall of ${count} elements`, longest)
      assertExact(account, count)
      yield* Effect.forEach(running, (consumer) => consumer.exited)
      assertEachOnce(all, count)
      assert.isBelow(longest, lease)
      assert.deepStrictEqual((yield* feeder.status).devices.map(({ redelivered }) => redelivered), [0, 0, 0])
    }),
  120_000
)

describe("a consumer that is killed", () => {
  for (const what of ["and does not come back", "while another process takes its place"] as const) {
    it.live(`${what}: what it had in hand is processed elsewhere within a second`, () =>
      Effect.gen(function*() {
        let isOver = false
        let count = 0
        const source = function*() {
          while (!isOver) yield count++
        }
        const ports = [yield* freePort, yield* freePort] as const
        const settings: ConsumerSettings = { port: ports[0], feeds: ["numbers"], concurrency: 4, millis: 2 }
        const [a, b] = yield* Effect.all(
          [startConsumer({ ...settings, untilSignal: 4 }), startConsumer({ ...settings, port: ports[1] })],
          { concurrency: "unbounded" }
        )
        const { feeder, ledger } = yield* startFeed(source(), ports)
        yield* a.printed("Handed", 4)
        yield* b.printed("Handed", 100)
        const inHand = new Set(handed([a]).map(({ ordinal }) => ordinal))
        const others = [b]
        yield* a.signal("SIGKILL")
        const killed = performance.now()
        if (what !== "and does not come back") {
          yield* a.exited
          others.push(yield* startConsumer(settings))
        }
        const again = () => handed(others).filter(({ ordinal, redelivered }) => redelivered && inHand.has(ordinal))
        yield* until("the others were given what it had in hand", () => again().length >= 4)
        measured(`kill -9 to all being processed elsewhere (${what})`, since(killed))
        assert.isBelow(since(killed), what === "and does not come back" ? 3000 : 6000)
        assert.strictEqual(again().length, 4)
        isOver = true
        if (others.length === 2) assert.strictEqual((yield* ledger).lost, 0)
        else {
          const { abandoned } = yield* feeder.drain({ deadline: "20 seconds" })
          assert.strictEqual(abandoned, 0)
          assert.strictEqual((yield* ledger).lost, 0)
        }
      }))
  }
})

const Blocks = Feed.make("blocks", { element: Tensor.uint8([200_000]), capacity: 8 })

/** A peer that grants credit without end and reads nothing after the Hello. */
const stalledPeer = Effect.gen(function*() {
  const port = yield* freePort
  const sockets = new Set<Net.Socket>()
  const server = Net.createServer((socket) => {
    sockets.add(socket)
    socket.on("error", () => {})
    socket.on("close", () => sockets.delete(socket))
    socket.once("data", () => {
      socket.pause()
      const [head, ...rest] = encodeDeviceFrame({
        _tag: "Welcome",
        version: 1,
        device: "stalled",
        durable: false,
        capacity: 8,
        limits: { frameBytes: 64 * 1024 * 1024, elements: 1024 },
        progress: { ...noProgress, creditTo: 1_000_000, creditBytesTo: 1e12 }
      })
      for (const each of [head, ...rest]) socket.write(each)
    })
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      server.listen(port, "127.0.0.1", () => resume(Effect.void))
    }),
    () =>
      Effect.callback<void>((resume) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resume(Effect.void))
      })
  )
  return port
})

/** The connections of this process, both ends of each. */
const connections = () => process.getActiveResourcesInfo().filter((kind) => kind === "TCPSocketWrap").length

it.live("a feed that is blocked by a peer's full buffers ends at once when it is interrupted, with its socket", () =>
  Effect.gen(function*() {
    const port = yield* stalledPeer
    const blocks = function*() {
      while (true) yield new Uint8Array(200_000)
    }
    const layer = SocketDevices.layer(addresses([port]))
    const scope = yield* Scope.make()
    const made = yield* Scope.provide(Feeder.make(Blocks, { lease }), scope)
    const feeder = yield* made.set(blocks())
    yield* Effect.provide(feeder.addRemoteDevice(nameOf(0)), layer)
    const run = yield* Effect.forkChild(feeder.run)
    // Until it sends no more, whatever the system's buffers take.
    let leased = 0
    for (let still = 0; still < 4;) {
      yield* Effect.sleep(100)
      const now = (yield* feeder.ledger).leased
      still = now > 0 && now === leased ? still + 1 : 0
      leased = now
    }
    const before = connections()
    const interrupted = performance.now()
    run.interruptUnsafe()
    let turns = 0
    while (run.pollUnsafe() === undefined && since(interrupted) < 5000) {
      turns++
      yield* Effect.yieldNow
    }
    measured(`interrupted with ${leased} elements in the buffers, in ${turns} turns`, since(interrupted))
    assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(run)))
    assert.isBelow(turns, 200)
    yield* Scope.close(scope, Exit.void)
    // What the peer does not take is not kept for it.
    yield* until("its socket was closed", () => connections() === before - 1)
  }).pipe(Effect.provide(Logger.layer([]))))
