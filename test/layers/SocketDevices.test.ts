/**
 * The laws of feeding over real sockets: consumers, and where it matters feeders, are processes of their own that are
 * killed, stopped and cut off.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Logger, Schema, Scope, Stream } from "effect"
import { FailureTolerator, Feed, Feeder, type Ledger, type RemoteDevices, Tensor } from "effect-feeder"
import type { Source } from "effect-feeder/actors/QueueRunner"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { ManualSource } from "effect-feeder/testing"
import type { ConsumerSettings } from "../fixtures/messages.ts"
import { blobBytes, Kept, Numbers } from "../fixtures/messages.ts"
import {
  connectEndlessly,
  dial,
  freePort,
  makeProxy,
  type Process,
  startBadConsumer,
  startConsumer,
  startFeeder,
  until
} from "../fixtures/processes.ts"
import { assertEachSeen, handed } from "../fixtures/seen.ts"

/** Long enough for a busy machine. */
const lease = 5000

/** For tests that wait for it to run out. */
const short = { lease: 500 }

const nameOf = (replica: number) => `/job:consumer/replica:${replica}`

/** Patient enough for any test: it tries every 50 ms, for 20 seconds. */
const patient = FailureTolerator.make({ limit: 400, initDelay: 50, backoffFactor: 1 })

const numbers = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: to - from }, (_, i) => from + i)

/** Feeds in this process to replicas at ports of this machine; gives the feeder and, once it has ended, its account. */
const startFeed = <Name extends string, Ack extends RemoteDevices.Acknowledge, S extends Source<number, never, never>>(
  feed: Feed.Feed<Name, typeof Schema.Int, Ack>,
  source: S,
  ports: ReadonlyArray<number>,
  options: Feeder.Options = {}
) =>
  Effect.gen(function*() {
    const made = yield* Feeder.make(feed, { lease, tolerate: patient, ...options })
    const feeder = yield* made.set(source)
    yield* feeder.addRemoteReplicas("consumer", ports.length)
    const fiber = yield* Effect.forkScoped(feeder.run)
    return { feeder, ledger: Fiber.join(fiber) }
  }).pipe(
    Effect.provide([
      SocketDevices.layer(Object.fromEntries(ports.map((port, i) => [nameOf(i), `tcp://127.0.0.1:${port}`]))),
      Logger.layer([])
    ])
  )

const assertExact = (ledger: Ledger.Ledger, count: number) => {
  const { accepted, dead, delivered, dropped, generated, heldByDead, inDoubt, leased, lost, queued, redelivered } =
    ledger
  assert.deepStrictEqual(
    { accepted, dead, delivered, dropped, generated, heldByDead, inDoubt, leased, lost, queued, redelivered },
    {
      accepted: count,
      dead: 0,
      delivered: count,
      dropped: 0,
      generated: count,
      heldByDead: 0,
      inDoubt: 0,
      leased: 0,
      lost: 0,
      queued: 0,
      redelivered: 0
    }
  )
}

const failuresOf = <S extends Feed.ElementSchema, E>(feeder: Feeder.Feeder<S, E>) =>
  Effect.map(feeder.status, ({ devices }) => devices.map(({ failures }) => failures))

/** A source that gives `before` elements, and the rest up to `count` once `gate` is open. */
const gated = (before: number, count: number) =>
  Effect.map(Deferred.make<void>(), (gate) => ({
    open: Deferred.succeed(gate, undefined),
    source: Stream.concat(
      Stream.fromIterable(numbers(0, before)),
      Stream.unwrap(Effect.as(Deferred.await(gate), Stream.fromIterable(numbers(before, count))))
    )
  }))

/** Waits until the status of a feeder is so. */
const when = <S extends Feed.ElementSchema, E>(
  feeder: Feeder.Feeder<S, E>,
  check: (status: Feeder.Status) => boolean
) => feeder.changes.pipe(Stream.takeUntil(check), Stream.runDrain, Effect.timeout("10 seconds"))

/** Whether all devices are linked: what is fed from now on, they share. */
const areLive = ({ devices }: Feeder.Status) => devices.every(({ phase }) => phase === "Live")

it.live("two consumers share a feed", () =>
  Effect.gen(function*() {
    const ports = [yield* freePort, yield* freePort]
    const consumers = yield* Effect.forEach(ports, (port) => startConsumer({ port, feeds: ["numbers"] }), {
      concurrency: "unbounded"
    })
    const { open, source } = yield* gated(0, 4000)
    const { feeder, ledger } = yield* startFeed(Numbers, source, ports)
    yield* when(feeder, areLive)
    yield* open
    assertExact(yield* ledger, 4000)
    for (const consumer of consumers) assert.deepStrictEqual(yield* consumer.exited, { code: 0, signal: null })
    assertEachSeen(consumers, 4000)
    assert.strictEqual(handed(consumers).length, 4000)
    for (const consumer of consumers) assert.isAbove(handed([consumer]).length, 100)
    assert.deepStrictEqual(yield* failuresOf(feeder), [0, 0])
  }))

const startConsumers = (settings: ReadonlyArray<ConsumerSettings>) =>
  Effect.forEach(settings, startConsumer, { concurrency: "unbounded" })

const redelivered = (consumers: ReadonlyArray<Process>) => handed(consumers).filter(({ redelivered }) => redelivered)

/** Whether a consumer was handed all of these. */
const hasSeen = (consumer: Process, ordinals: ReadonlyArray<number>): boolean => {
  const seen = new Set(handed([consumer]).map(({ ordinal }) => ordinal))
  return ordinals.every((ordinal) => seen.has(ordinal))
}

describe("a consumer that dies", () => {
  it.live("its elements go elsewhere, marked, and a restarted one is fed again", () =>
    Effect.gen(function*() {
      const ports = [yield* freePort, yield* freePort] as const
      const settings = ports.map((port): ConsumerSettings => ({ port, feeds: ["numbers"], concurrency: 4, millis: 2 }))
      const [a, b] = yield* startConsumers([{ ...settings[0]!, untilSignal: 4 }, settings[1]!])
      const { open, source } = yield* gated(1000, 2000)
      const { feeder, ledger } = yield* startFeed(Numbers, source, ports)
      yield* a!.printed("Handed", 4)
      yield* a!.signal("SIGKILL")
      yield* a!.exited
      yield* until("the other was given everything", () => hasSeen(b!, numbers(0, 1000)))
      const again = yield* startConsumer(settings[0]!)
      yield* open
      yield* again.printed("Handed", 100)
      const account = yield* ledger
      const all = [a!, b!, again]
      assertEachSeen(all, 2000)
      assert.isAbove(redelivered(all).length, 0)
      assert.deepInclude(account, { generated: 2000, delivered: 2000, lost: 0, leased: 0, queued: 0, dead: 0 })
      assert.isAbove(account.redelivered, 0)
      const [first, second] = (yield* feeder.status).devices
      assert.isAbove(first!.session, 1)
      assert.isAbove(first!.failures, 0)
      assert.deepInclude(second, { session: 1, failures: 0, redelivered: account.redelivered - first!.redelivered })
      yield* Effect.forEach([b!, again], (consumer) => consumer.exited)
    }))

  it.live("without another, the run waits for it to come back", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const settings: ConsumerSettings = { port, feeds: ["numbers"], concurrency: 4, millis: 2 }
      const a = yield* startConsumer(settings)
      const { ledger } = yield* startFeed(Numbers, numbers(0, 500), [port])
      yield* a.printed("Handed", 100)
      yield* a.signal("SIGKILL")
      yield* a.exited
      const again = yield* startConsumer(settings)
      assert.deepInclude(yield* ledger, { generated: 500, delivered: 500, lost: 0, leased: 0, queued: 0 })
      assertEachSeen([a, again], 500)
    }))

  it.live("with the last elements in its batch: the other need not wait to fill its own", () =>
    Effect.gen(function*() {
      const ports = [yield* freePort, yield* freePort] as const
      const a = yield* startConsumer({ port: ports[0], feeds: ["numbers"], batch: 20, millis: 20_000 })
      const { feeder, ledger } = yield* startFeed(Numbers, numbers(0, 215), ports, short)
      yield* a.printed("Handed", 20)
      const b = yield* startConsumer({ port: ports[1], feeds: ["numbers"], batch: 50 })
      yield* when(feeder, ({ devices: [first, second], ledger }) =>
        ledger.generated === 215 && ledger.queued === 0 && second!.leased === 0 && first!.leased > 0)
      yield* a.signal("SIGKILL")
      const account = yield* ledger
      yield* b.exited
      assertEachSeen([a, b], 215)
      assert.deepInclude(account, { generated: 215, delivered: 215, lost: 0, leased: 0, queued: 0 })
    }))

  it.live("accepted: what it held is counted, the rest is delivered", () =>
    Effect.gen(function*() {
      const ports = [yield* freePort, yield* freePort] as const
      const settings = ports.map((port): ConsumerSettings => ({ port, feeds: ["kept"], concurrency: 2, millis: 2 }))
      const [a, b] = yield* startConsumers([{ ...settings[0]!, untilSignal: 2 }, settings[1]!])
      const { open, source } = yield* gated(1000, 2000)
      const { feeder, ledger } = yield* startFeed(Kept, source, ports)
      yield* when(feeder, ({ devices: [first] }) => first!.accepted === 66)
      yield* a!.signal("SIGKILL")
      yield* a!.exited
      const again = yield* startConsumer(settings[0]!)
      yield* open
      yield* again.printed("Handed", 100)
      const account = yield* ledger
      assert.isAbove(account.heldByDead, 0)
      assert.strictEqual(account.lost, 0)
      yield* Effect.forEach([b!, again], (consumer) => consumer.exited)
      const unseen = assertEachSeen([a!, b!, again], 2000, account.heldByDead)
      assert.isAbove(unseen, 0)
      // The consumers that are left finish what they have accepted.
      assert.strictEqual(account.delivered + account.held + account.heldByDead, 2000)
    }))

  it.live("accepted: what it held is counted when it does not come back", () =>
    Effect.gen(function*() {
      const ports = [yield* freePort, yield* freePort] as const
      const settings = ports.map((port): ConsumerSettings => ({ port, feeds: ["kept"], concurrency: 2, millis: 2 }))
      const [a, b] = yield* startConsumers([{ ...settings[0]!, untilSignal: 2 }, settings[1]!])
      const { feeder, ledger } = yield* startFeed(Kept, numbers(0, 1000), ports, short)
      yield* when(feeder, ({ devices: [first] }) => first!.accepted === 66)
      yield* a!.signal("SIGKILL")
      const account = yield* ledger
      yield* b!.exited
      const missing = account.held + account.heldByDead
      assert.isAbove(assertEachSeen([a!, b!], 1000, missing), 0)
      assert.deepInclude(account, { generated: 1000, delivered: 1000 - missing, lost: 0, leased: 0 })
    }))
})

describe("a consumer that is stopped for longer than the lease", () => {
  it.live("hands out nothing that was taken back, and its late settlements do not count", () =>
    Effect.gen(function*() {
      const ports = [yield* freePort, yield* freePort] as const
      // Two of its three workers are busy until it has a new session; the third wakes with elements in the queue.
      const a = yield* startConsumer({
        port: ports[0],
        feeds: ["numbers"],
        concurrency: 3,
        millis: 30,
        untilSignal: 2
      })
      const { open, source } = yield* gated(300, 600)
      const { feeder, ledger } = yield* startFeed(Numbers, source, ports, { lease: 400 })
      yield* a.printed("Handed", 5)
      const taken = handed([a]).slice(0, 2).map(({ ordinal }) => ordinal)
      const b = yield* startConsumer({ port: ports[1], feeds: ["numbers"], concurrency: 4, millis: 1 })
      yield* a.signal("SIGSTOP")
      yield* when(feeder, ({ devices: [stopped] }) => stopped!.session > 1 && stopped!.leased + stopped!.held === 0)
      yield* until("the other did what was taken back", () => hasSeen(b, taken))
      const woken = handed([a]).length
      yield* a.signal("SIGCONT")
      yield* when(feeder, ({ devices: [woken] }) => woken!.phase === "Live")
      yield* a.signal("SIGUSR2")
      yield* until("its late settlements were made", () => {
        const finished = new Set(a.all("Finished").map(({ ordinal }) => ordinal))
        return taken.every((ordinal) => finished.has(ordinal))
      })
      yield* open
      const account = yield* ledger
      yield* Effect.forEach([a, b], (consumer) => consumer.exited)
      assertEachSeen([a, b], 600)
      assert.deepInclude(account, { generated: 600, delivered: 600, lost: 0, leased: 0, queued: 0, dead: 0 })
      assert.isAbove(account.redelivered, 0)
      assert.isAtLeast(a.all("Ended")[0]?.consumed.fenced ?? 0, 2)
      assert.isAbove(handed([a]).length, woken, "it is fed again")
    }))
})

describe("a consumer of an accepted feed that is stopped for longer than the lease", () => {
  it.live("goes on with what it has accepted, and marks what the feeder may not know", () =>
    Effect.gen(function*() {
      const ports = [yield* freePort, yield* freePort] as const
      const a = yield* startConsumer({ port: ports[0], feeds: ["kept"], concurrency: 2, millis: 10, untilSignal: 2 })
      const { open, source } = yield* gated(500, 600)
      const { feeder, ledger } = yield* startFeed(Kept, source, ports, short)
      yield* when(feeder, ({ devices: [first] }) => first!.accepted === 66)
      yield* a.signal("SIGSTOP")
      const b = yield* startConsumer({ port: ports[1], feeds: ["kept"], concurrency: 4, millis: 1 })
      yield* when(feeder, ({ devices: [first] }) => first!.session > 1)
      yield* a.signal("SIGCONT")
      yield* a.signal("SIGUSR2")
      yield* a.printed("Handed", 66)
      yield* open
      const account = yield* ledger
      yield* Effect.forEach([a, b], (consumer) => consumer.exited)
      assertEachSeen([a, b], 600)
      assert.deepInclude(account, { generated: 600, lost: 0, leased: 0, queued: 0, heldByDead: 0 })
      assert.strictEqual(account.delivered + account.held, 600)
    }))
})

describe("a feeder that is stopped", () => {
  it.live("for longer than the lease: what lapsed is given again, marked", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["numbers"], concurrency: 2, untilSignal: 2 })
      const feeder = yield* startFeeder({
        feed: "numbers",
        count: 50,
        leaseMillis: short.lease,
        devices: { [nameOf(0)]: `tcp://127.0.0.1:${port}` }
      })
      yield* consumer.printed("Handed", 2)
      yield* feeder.signal("SIGSTOP")
      yield* Effect.sleep(2 * short.lease)
      yield* consumer.signal("SIGUSR2")
      yield* consumer.printed("Finished", 2)
      yield* Effect.sleep(0.5 * short.lease)
      assert.strictEqual(handed([consumer]).length, 2, "what lapsed is not handed out")
      yield* feeder.signal("SIGCONT")
      yield* feeder.exited
      yield* consumer.exited
      assert.deepInclude(feeder.all("Fed")[0], { generated: 50, delivered: 50, lost: 0 })
      assertEachSeen([consumer], 50)
    }))

  it.live("by its own program: it goes on where it was", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["numbers"], concurrency: 4, millis: 1 })
      const { feeder, ledger } = yield* startFeed(Numbers, numbers(0, 1000), [port])
      yield* consumer.printed("Handed", 200)
      yield* feeder.stop
      const account = yield* ledger
      assert.isAbove(account.queued, 0)
      assert.strictEqual(account.generated, account.queued + account.leased + account.delivered)
      assertExact(yield* feeder.run, 1000)
      yield* consumer.exited
      assertEachSeen([consumer], 1000)
      assert.strictEqual(handed([consumer]).length, 1000)
      assert.deepStrictEqual(yield* failuresOf(feeder), [0])
    }))

  it.live("while its consumer hangs: it does not wait for it", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["blobs"], isIdle: true })
      const feeder = yield* startFeeder({
        feed: "blobs",
        count: 1000,
        leaseMillis: 30_000,
        devices: { [nameOf(0)]: `tcp://127.0.0.1:${port}` }
      })
      yield* feeder.printed("Sample")
      yield* consumer.signal("SIGSTOP")
      yield* feeder.printed("Sample", feeder.all("Sample").length + 5)
      yield* feeder.signal("SIGTERM")
      const signalled = performance.now()
      yield* feeder.exited
      assert.isBelow(performance.now() - signalled, 2000)
    }))
})

describe("a link", () => {
  for (const one of [{ feed: Numbers, name: "numbers" }, { feed: Kept, name: "kept" }] as const) {
    it.live(`that is cut goes on where it was (${one.feed.acknowledge})`, () =>
      Effect.gen(function*() {
        const port = yield* freePort
        const consumer = yield* startConsumer({ port, feeds: [one.name], concurrency: 4, millis: 1 })
        const proxy = yield* makeProxy(port)
        const source = numbers(0, 1500)
        const { feeder, ledger } = yield* one.name === "kept"
          ? startFeed(one.feed, source, [proxy.port])
          : startFeed(one.feed, source, [proxy.port])
        for (let cuts = 1; cuts <= 5; cuts++) {
          yield* consumer.printed("Handed", cuts * 200)
          yield* proxy.cut
          yield* until("it was linked again", () => proxy.connections() > cuts)
        }
        const account = yield* ledger
        yield* consumer.exited
        assert.strictEqual(handed([consumer]).length, 1500)
        assertEachSeen([consumer], 1500)
        assert.strictEqual(redelivered([consumer]).length, 0)
        assert.deepInclude(account, {
          generated: 1500,
          accepted: 1500,
          lost: 0,
          leased: 0,
          queued: 0,
          redelivered: 0,
          heldByDead: 0
        })
        assert.strictEqual(account.delivered + account.held, 1500)
        assert.deepStrictEqual(yield* failuresOf(feeder), [0])
        assert.deepInclude((yield* feeder.status).devices[0], { session: 1 })
      }))
  }

  for (const one of [{ feed: Numbers, name: "numbers" }, { feed: Kept, name: "kept" }] as const) {
    it.live(`that is half open is given up after the lease (${one.feed.acknowledge})`, () =>
      Effect.gen(function*() {
        const ports = [yield* freePort, yield* freePort] as const
        const [a, b] = yield* startConsumers(
          ports.map((port): ConsumerSettings => ({ port, feeds: [one.name], concurrency: 4, millis: 2 }))
        )
        const proxy = yield* makeProxy(ports[0])
        const manual = yield* ManualSource.make<number>()
        const source = Stream.fromPull(Effect.succeed(Effect.map(manual.source, (n): readonly [number] => [n])))
        const addresses = [proxy.port, ports[1]]
        const { feeder, ledger } = yield* one.name === "kept"
          ? startFeed(one.feed, source, addresses, { lease: 800 })
          : startFeed(one.feed, source, addresses, { lease: 800 })
        // The first that is there would take all.
        yield* when(feeder, areLive)
        yield* manual.push(...numbers(0, 600))
        yield* a!.printed("Handed", 100)
        yield* proxy.freeze
        const frozenAt = performance.now()
        yield* when(feeder, ({ devices }) => devices[0]!.session > 1)
        // From the last word of the device on, which may have been some while before.
        assert.isAbove(performance.now() - frozenAt, 400)
        assert.isBelow(performance.now() - frozenAt, 3000)
        yield* proxy.heal
        yield* when(feeder, areLive)
        const before = handed([a!]).length
        yield* manual.push(...numbers(600, 1200))
        yield* manual.end
        yield* a!.printed("Handed", before + 50)
        const account = yield* ledger
        yield* Effect.forEach([a!, b!], (consumer) => consumer.exited)
        assertEachSeen([a!, b!], 1200)
        assert.deepInclude(account, { generated: 1200, lost: 0, leased: 0, queued: 0, dead: 0, heldByDead: 0 })
        assert.strictEqual(account.delivered + account.held, 1200)
        const [first, second] = (yield* feeder.status).devices
        assert.isAbove(first!.failures, 0)
        assert.deepInclude(second, { session: 1, failures: 0 })
      }))
  }

  it.live("carries an element that is larger than the window", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["blobs"], windowBytes: 50_000 })
      const feeder = yield* startFeeder({
        feed: "blobs",
        count: 20,
        leaseMillis: lease,
        devices: { [nameOf(0)]: `tcp://127.0.0.1:${port}` }
      })
      yield* feeder.exited
      assert.deepInclude(feeder.all("Fed")[0], { generated: 20, delivered: 20, redelivered: 0, lost: 0 })
      yield* consumer.exited
      assert.deepStrictEqual(handed([consumer]).map(({ ordinal }) => ordinal), numbers(0, 20))
    }))
})

describe("the limit of a frame", () => {
  const Pages = Feed.make("pages", { element: Tensor.uint8([3000]), capacity: 4 })
  const source = Array.from({ length: 10 }, (_, i) => new Uint8Array(3000).fill(i))
  const size = Pages.codec.fromElements([source[0]!]).byteLength

  it.live("is what the host says: an element of just that size passes", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const port = yield* freePort
      yield* Pages.forEach((page) => Effect.sync(() => seen.push(page[0]!))).pipe(
        Effect.provide(SocketDevices.layerHost({ feeds: [Pages], port, limits: { frameBytes: size } })),
        Effect.forkScoped
      )
      yield* Feeder.run(Pages, { source, devices: [nameOf(0)], tolerate: patient }).pipe(
        Effect.provide(SocketDevices.layer({ [nameOf(0)]: `tcp://127.0.0.1:${port}` })),
        Effect.timeout("5 seconds")
      )
      assert.deepStrictEqual(seen, numbers(0, 10))
    }))

  it.live("and a larger one fails the run, by name", () =>
    Effect.gen(function*() {
      const port = yield* hostHere([Pages], { limits: { frameBytes: size - 1 } })
      const { message } = yield* Feeder.run(Pages, { source, devices: [nameOf(0)], tolerate: patient }).pipe(
        Effect.provide(SocketDevices.layer({ [nameOf(0)]: `tcp://127.0.0.1:${port}` })),
        Effect.flip,
        Effect.timeout("5 seconds")
      )
      assert.match(
        message,
        new RegExp(`element #0 takes ${size} bytes, device ${nameOf(0)} accepts ${size - 1} in a frame`)
      )
    }))
})

describe("a report", () => {
  it.live("may be long: a batch of which every element is refused for another reason", () =>
    Effect.gen(function*() {
      const Many = Feed.make("many", { element: Schema.Int, capacity: 2048 })
      const port = yield* freePort
      const reasons = numbers(0, 1024).map((i) => Feed.reject(`${i}: ${"because ".repeat(400)}`))
      yield* Many.forEachBatch(1024, () => Effect.fail(Feed.outcomes(reasons))).pipe(
        Effect.provide(SocketDevices.layerHost({ feeds: [Many], port })),
        Effect.forkScoped
      )
      const { feeder, ledger } = yield* startFeed(Many, numbers(0, 1024), [port])
      assert.deepInclude(yield* Effect.timeout(ledger, "10 seconds"), {
        generated: 1024,
        delivered: 0,
        dead: 1024,
        lost: 0
      })
      const { dead, devices } = yield* feeder.status
      assert.deepInclude(devices[0], { session: 1 })
      assert.match(dead.at(-1)?.cause ?? "", /^1023: because because/)
    }))
})

describe("a consumer that is told to go", () => {
  for (
    const one of [
      { feed: Numbers, name: "numbers", batch: undefined },
      { feed: Numbers, name: "numbers", batch: 50 },
      { feed: Kept, name: "kept", batch: undefined }
    ] as const
  ) {
    const what = `${one.feed.acknowledge}, ${one.batch === undefined ? "one by one" : `in batches of ${one.batch}`}`
    it.live(`SIGTERM: it finishes what it holds, and the other gets the rest (${what})`, () =>
      Effect.gen(function*() {
        const ports = [yield* freePort, yield* freePort] as const
        const { batch } = one
        const millis = batch === undefined ? 2 : 20
        const [a, b] = yield* startConsumers(
          ports.map((port): ConsumerSettings => ({ port, feeds: [one.name], concurrency: 4, millis, batch }))
        )
        let hasGone = false
        const source = function*() {
          let n = 0
          while (!hasGone) yield n++
          for (const end = n + 200; n < end;) yield n++
        }
        const { feeder, ledger } = yield* one.name === "kept"
          ? startFeed(one.feed, source(), ports, { lease: 3000 })
          : startFeed(one.feed, source(), ports, { lease: 3000 })
        yield* a!.printed("Handed", 100)
        yield* a!.signal("SIGTERM")
        const exit = yield* a!.exited
        hasGone = true
        assert.strictEqual(exit.signal, null)
        const account = yield* ledger
        const count = account.generated
        yield* b!.exited
        assertEachSeen([a!, b!], count)
        assert.strictEqual(handed([a!, b!]).length, count)
        assert.strictEqual(account.delivered + account.held, count)
        assertExact({ ...account, delivered: account.delivered + account.held }, count)
        assert.strictEqual(a!.all("Finished").length, handed([a!]).length)
        assert.deepInclude((yield* feeder.status).devices[1], { failures: 0, session: 1 })
      }))
  }

  it.live("SIGTERM, and a restart at the same address", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const settings: ConsumerSettings = { port, feeds: ["numbers"], concurrency: 4, millis: 2 }
      const a = yield* startConsumer(settings)
      const { ledger } = yield* startFeed(Numbers, numbers(0, 1000), [port])
      yield* a.printed("Handed", 200)
      yield* a.signal("SIGTERM")
      yield* a.exited
      const again = yield* startConsumer(settings)
      assertExact(yield* ledger, 1000)
      yield* again.exited
      assertEachSeen([a, again], 1000)
      assert.strictEqual(handed([a, again]).length, 1000)
    }))

  it.live("SIGTERM, and its link is cut while it finishes", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const proxy = yield* makeProxy(port)
      const a = yield* startConsumer({ port, feeds: ["numbers"], concurrency: 16, untilSignal: 16 })
      const { feeder, ledger } = yield* startFeed(Numbers, numbers(0, 200), [proxy.port])
      yield* a.printed("Handed", 16)
      yield* a.signal("SIGTERM")
      yield* when(feeder, ({ devices }) => devices[0]!.phase === "Draining")
      yield* proxy.cut
      yield* until("it was linked again", () => proxy.connections() > 1)
      yield* when(feeder, ({ devices }) => devices[0]!.phase === "Draining")
      yield* a.signal("SIGUSR2")
      yield* a.exited
      assert.strictEqual(a.all("Finished").length, handed([a]).length)
      const again = yield* startConsumer({ port, feeds: ["numbers"] })
      assertExact(yield* ledger, 200)
      yield* again.exited
      assertEachSeen([a, again], 200)
      assert.strictEqual(handed([a, again]).length, 200)
    }))

  for (const second of ["SIGTERM", "SIGINT"] as const) {
    it.live(`SIGTERM, then ${second}: it ends at once`, () =>
      Effect.gen(function*() {
        const ports = [yield* freePort, yield* freePort] as const
        const a = yield* startConsumer({ port: ports[0], feeds: ["numbers"], concurrency: 2, millis: 20_000 })
        const { feeder, ledger } = yield* startFeed(Numbers, numbers(0, 300), ports, short)
        yield* a.printed("Handed", 2)
        const b = yield* startConsumer({ port: ports[1], feeds: ["numbers"], concurrency: 4, millis: 1 })
        yield* a.signal("SIGTERM")
        yield* when(feeder, ({ devices }) => devices[0]!.phase === "Draining")
        yield* a.signal(second)
        const signalled = performance.now()
        yield* a.exited
        assert.isBelow(performance.now() - signalled, 2000)
        const account = yield* ledger
        assertEachSeen([a, b], 300)
        assert.deepInclude(account, { generated: 300, delivered: 300, lost: 0, leased: 0, queued: 0, dead: 0 })
        assert.isAtLeast(account.redelivered, 2)
        assert.strictEqual(a.all("Finished").length, 0)
      }))
  }

  it.live("SIGINT: it ends at once, and its elements go elsewhere", () =>
    Effect.gen(function*() {
      const ports = [yield* freePort, yield* freePort] as const
      const a = yield* startConsumer({ port: ports[0], feeds: ["numbers"], concurrency: 2, millis: 20_000 })
      const { ledger } = yield* startFeed(Numbers, numbers(0, 300), ports, short)
      yield* a.printed("Handed", 2)
      const b = yield* startConsumer({ port: ports[1], feeds: ["numbers"], concurrency: 4, millis: 1 })
      yield* a.signal("SIGINT")
      const signalled = performance.now()
      yield* a.exited
      assert.isBelow(performance.now() - signalled, 2000)
      const account = yield* ledger
      assertEachSeen([a, b], 300)
      assert.deepInclude(account, { generated: 300, delivered: 300, lost: 0, leased: 0, queued: 0, dead: 0 })
      assert.isAtLeast(account.redelivered, 2)
    }))
})

describe("several feeds and feeders", () => {
  it.live("one process hosts two feeds", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["numbers", "kept"] })
      const first = yield* startFeed(Numbers, numbers(0, 500), [port])
      const second = yield* startFeed(Kept, numbers(0, 700), [port])
      assertExact(yield* first.ledger, 500)
      const account = yield* second.ledger
      assert.deepInclude(account, { generated: 700, accepted: 700, lost: 0, heldByDead: 0 })
      assert.deepStrictEqual(yield* consumer.exited, { code: 0, signal: null })
      const of = (name: string) => handed([consumer]).filter(({ feed }) => feed === name).map(({ ordinal }) => ordinal)
      assert.deepStrictEqual(of("numbers"), numbers(0, 500))
      assert.deepStrictEqual(of("kept"), numbers(0, 700))
    }))

  it.live("a host waits for as many feeders as it expects", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const devices = { [nameOf(0)]: `tcp://127.0.0.1:${port}` }
      const consumer = yield* startConsumer({ port, feeds: ["numbers"], feeders: 2, concurrency: 4, millis: 1 })
      const { open, source } = yield* gated(400, 500)
      const long = yield* startFeed(Numbers, source, [port], { id: "long" })
      const short = yield* startFeeder({ feed: "numbers", id: "short", count: 100, leaseMillis: lease, devices })
      yield* short.exited
      assert.deepStrictEqual(short.all("Fed"), [{
        _tag: "Fed",
        generated: 100,
        delivered: 100,
        redelivered: 0,
        lost: 0
      }])
      assert.deepStrictEqual(consumer.all("Ended"), [])
      yield* open
      assertExact(yield* long.ledger, 500)
      assert.deepStrictEqual(yield* consumer.exited, { code: 0, signal: null })
      const of = (id: string) => handed([consumer]).filter(({ feeder }) => feeder === id).map(({ ordinal }) => ordinal)
      assert.deepStrictEqual(of("short"), numbers(0, 100))
      assert.deepStrictEqual(of("long"), numbers(0, 500))
    }))

  it.live("a feeder more than a host expects loses nothing by it", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["kept"], concurrency: 2, millis: 2 })
      const long = yield* startFeed(Kept, numbers(0, 500), [port], { id: "long", ...short })
      yield* consumer.printed("Handed", 20)
      const other = yield* startFeed(Kept, numbers(0, 10), [port], { id: "short" })
      assert.deepInclude(yield* other.ledger, { generated: 10, accepted: 10, lost: 0 })
      assert.deepStrictEqual(yield* consumer.exited, { code: 0, signal: null })
      const again = yield* startConsumer({ port, feeds: ["kept"] })
      assert.deepInclude(yield* long.ledger, { generated: 500, accepted: 500, lost: 0, leased: 0, heldByDead: 0 })
      yield* again.exited
      const of = (id: string) =>
        handed([consumer, again]).filter(({ feeder }) => feeder === id).map(({ ordinal }) => ordinal)
      assert.deepStrictEqual(of("short"), numbers(0, 10))
      assert.deepStrictEqual(of("long").toSorted((a, b) => a - b), numbers(0, 500))
    }))

  it.live("a host may expect feeders for ever", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["numbers"], feeders: "forever" })
      for (const count of [100, 200]) {
        const { ledger } = yield* startFeed(Numbers, numbers(0, count), [port])
        assertExact(yield* ledger, count)
      }
      assert.strictEqual(handed([consumer]).length, 300)
      assert.deepStrictEqual(consumer.all("Ended"), [])
      yield* consumer.signal("SIGTERM")
      yield* consumer.exited
      assert.strictEqual(handed([consumer]).length, 300)
    }))

  it.live("a feeder that vanishes without a word does not keep another's last elements waiting", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["numbers"], feeders: 2, batch: 60 })
      const proxy = yield* makeProxy(port)
      const { open, source } = yield* gated(10, 20)
      yield* Effect.addFinalizer(() => open)
      const vanished = yield* startFeed(Numbers, source, [proxy.port], { id: "vanished", lease: 400 })
      yield* until("it was fed", () => proxy.bytes() > 1000)
      yield* vanished.feeder.feeding
      yield* proxy.freeze
      const { ledger } = yield* startFeed(Numbers, numbers(0, 10), [port], { id: "other" })
      assertExact(yield* Effect.timeout(ledger, "10 seconds"), 10)
      const of = (id: string) => handed([consumer]).filter(({ feeder }) => feeder === id).map(({ ordinal }) => ordinal)
      assert.deepStrictEqual(of("other"), numbers(0, 10))
      assert.deepStrictEqual(of("vanished"), [])
    }))

  it.live("a consumer that takes nothing costs its credit, and no more", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const windowBytes = 1_000_000
      yield* startConsumer({ port, feeds: ["blobs"], windowBytes, isIdle: true })
      const feeder = yield* startFeeder({
        feed: "blobs",
        count: 1_000_000,
        leaseMillis: lease,
        devices: { [nameOf(0)]: `tcp://127.0.0.1:${port}` }
      })
      yield* until("the window was full", () => feeder.all("Sample").some(({ leased }) => leased > 0))
      const full = feeder.all("Sample").length
      yield* feeder.printed("Sample", full + 30)
      const samples = feeder.all("Sample").slice(full)
      for (const { leased, queued } of samples) {
        assert.isAtMost(leased * blobBytes, windowBytes)
        assert.isAtMost(queued, 50)
      }
      assert.isBelow(samples.at(-1)!.rss - samples[0]!.rss, 32e6)
      assert.isBelow(samples.at(-1)!.rss, 300e6)
      yield* feeder.signal("SIGTERM")
      const signalled = performance.now()
      yield* feeder.exited
      assert.isBelow(performance.now() - signalled, 1000)
    }))
})

describe("a feeder that dies", () => {
  for (const after of ["within its lease", "after its lease"] as const) {
    it.live(`and comes back ${after}: what waited in the device's queue is gone`, () =>
      Effect.gen(function*() {
        const port = yield* freePort
        const consumer = yield* startConsumer({ port, feeds: ["numbers"], concurrency: 4, millis: 60 })
        const settings = {
          feed: "numbers",
          id: "feeder",
          leaseMillis: short.lease,
          devices: { [nameOf(0)]: `tcp://127.0.0.1:${port}` }
        } as const
        const first = yield* startFeeder({ ...settings, count: 10_000 })
        yield* consumer.printed("Handed", 8)
        yield* first.signal("SIGKILL")
        yield* first.exited
        const before = handed([consumer]).length
        if (after === "after its lease") {
          yield* Effect.sleep(2 * short.lease)
          const lapsed = handed([consumer]).length
          yield* Effect.sleep(0.5 * short.lease)
          assert.strictEqual(handed([consumer]).length, lapsed)
        }
        const second = yield* startFeeder({ ...settings, count: 40 })
        yield* second.exited
        assert.deepStrictEqual(second.all("Fed"), [{
          _tag: "Fed",
          generated: 40,
          delivered: 40,
          redelivered: 0,
          lost: 0
        }])
        yield* consumer.exited
        const all = handed([consumer]).map(({ ordinal }) => ordinal)
        // Some of what it held was handed out before the lease ran out, but not all of it.
        assert.isBelow(all.length - 40, before + 64)
        assert.deepStrictEqual(all.slice(-40), numbers(0, 40))
        assert.deepStrictEqual(all.slice(0, -40), numbers(0, all.length - 40))
      }))
  }
})

// -----------------------------------------------------------------------------
// refusals
// -----------------------------------------------------------------------------

const hostHere = <const Feeds extends ReadonlyArray<Feed.Any>>(
  feeds: Feeds,
  options: Omit<SocketDevices.HostSettings<Feeds>, "feeds"> = {}
) =>
  Effect.gen(function*() {
    const port = yield* freePort
    yield* Layer.build(SocketDevices.layerHost({ feeds, port, ...options }))
    return port
  })

/** What a run with one device fails with. */
const failureAt = <Name extends string, S extends Feed.ElementSchema, Ack extends RemoteDevices.Acknowledge>(
  feed: Feed.Feed<Name, S, Ack>,
  port: number,
  id = "feeder-1"
) =>
  Feeder.run(feed, { source: [], devices: [nameOf(0)], id, lease }).pipe(
    Effect.provide([SocketDevices.layer({ [nameOf(0)]: `tcp://127.0.0.1:${port}` }), Logger.layer([])]),
    Effect.flip,
    Effect.timeout("5 seconds")
  )

describe("refusals", () => {
  it.live("another layout: every field that differs is named, with both sides", () =>
    Effect.gen(function*() {
      const mine = Feed.make("pairs", { element: Schema.Struct({ id: Schema.Int, label: Schema.String }) })
      const theirs = Feed.make("pairs", { element: Schema.Struct({ id: Schema.String, label: Schema.String }) })
      const port = yield* hostHere([mine])
      const { message } = yield* failureAt(theirs, port)
      assert.match(message, /feeder feeder-1 of feed "pairs"/)
      assert.match(message, /\/job:consumer\/replica:0 refused the feed \(different feed\)/)
      assert.match(message, /"id"/)
      assert.notMatch(message, /"label"/)
    }))
  it.live("an unknown feed", () =>
    Effect.gen(function*() {
      const port = yield* hostHere([Numbers, Kept])
      const { message } = yield* failureAt(Feed.make("letters", { element: Schema.String }), port)
      assert.match(message, /it hosts "numbers", "kept", the feeder has "letters"/)
    }))

  it.live("another way to acknowledge", () =>
    Effect.gen(function*() {
      const port = yield* hostHere([Numbers])
      const { message } = yield* failureAt(
        Feed.make("numbers", { element: Schema.Int, acknowledge: "accepted" }),
        port
      )
      assert.match(message, /feed "numbers": it acknowledges processed elements, the feeder accepted ones/)
    }))

  it.live("another device", () =>
    Effect.gen(function*() {
      const port = yield* hostHere([Numbers], { device: nameOf(7) })
      const { message } = yield* failureAt(Numbers, port)
      assert.match(
        message,
        /\/job:consumer\/replica:7 .* answers at this address, the feeder asked for \/job:consumer\/replica:0/
      )
    }))

  it.live("two feeders with one id: the newer one goes on", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["numbers"], concurrency: 4, millis: 1 })
      const { open, source } = yield* gated(50, 100)
      yield* Effect.addFinalizer(() => open)
      const first = yield* startFeed(Numbers, source, [port], { id: "twin" })
      yield* consumer.printed("Finished", 50)
      const second = yield* startFeed(Numbers, numbers(0, 200), [port], { id: "twin" })
      const { message } = yield* Effect.flip(first.ledger).pipe(Effect.timeout("5 seconds"))
      assert.match(message, /two feeders have one id: twin#\d+ and twin#\d+; give each its own id/)
      assertExact(yield* second.ledger, 200)
    }))

  it.live("a port in use", () =>
    Effect.gen(function*() {
      const port = yield* hostHere([Numbers])
      const other = yield* startBadConsumer({ port, feeds: ["numbers"] })
      yield* other.exited
      assert.match(
        other.all("Failed")[0]?.message ?? "",
        new RegExp(`cannot listen at 127.0.0.1:${port}: .*EADDRINUSE`)
      )
      const error = yield* Effect.flip(Effect.scoped(Layer.build(SocketDevices.layerHost({ feeds: [Numbers], port }))))
      assert.strictEqual(error._tag, "ListenFailed")
    }))

  it.live("a device without an address", () =>
    Effect.gen(function*() {
      const { message } = yield* Feeder.run(Numbers, { source: [], devices: [nameOf(1)] }).pipe(
        Effect.provide([SocketDevices.layer({ [nameOf(0)]: "tcp://127.0.0.1:4001" }), Logger.layer([])]),
        Effect.flip,
        Effect.timeout("5 seconds")
      )
      assert.match(message, /\/job:consumer\/replica:1 .*it has no address; known are \/job:consumer\/replica:0/)
    }))

  for (
    const [address, issue] of [
      ["127.0.0.1", /it is not a URL/],
      ["http://127.0.0.1:4001", /its protocol is http:/],
      ["tcp://127.0.0.1", /it needs a host and a port/],
      ["tcp://:4001", /it is not a URL|it needs a host and a port/],
      ["tcp://127.0.0.1:70000", /it is not a URL/]
    ] as const
  ) {
    it.live(`the address ${address}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(SocketDevices.layer({ [nameOf(0)]: address }))))
        assert.strictEqual(error._tag, "AddressInvalid")
        assert.match(error.message, issue)
      }))
  }

  it.live("one address for two devices, and a name that is none", () =>
    Effect.gen(function*() {
      const flip = (addresses: Record<string, string>) =>
        Effect.flip(Effect.scoped(Layer.build(SocketDevices.layer(addresses))))
      const twice = yield* flip({ [nameOf(0)]: "tcp://127.0.0.1:4001", [nameOf(1)]: "tcp://127.0.0.1:4001" })
      assert.match(twice.message, /replica:0 has it too/)
      const none = yield* flip({ "consumer 0": "tcp://127.0.0.1:4001" })
      assert.match(none.message, /"consumer 0"/)
    }))
})

const hello = (facts: Record<string, unknown> = {}) =>
  control({
    _tag: "Hello",
    versions: [1, 1],
    feed: "numbers",
    fingerprint: Numbers.info.fingerprint,
    feeder: "stranger",
    incarnation: 1,
    device: nameOf(0),
    session: 1,
    keepTo: 0,
    acknowledge: "processed",
    leaseMillis: 1000,
    ...facts
  })

const frame = (kind: number, body: Uint8Array, length = body.length): Buffer => {
  const head = Buffer.alloc(8)
  head.writeUInt32LE(length, 0)
  head[4] = kind
  return Buffer.concat([head, body])
}

const control = (json: unknown): Buffer => frame(0, Buffer.from(JSON.stringify(json)))

describe("bytes that are not the protocol", () => {
  it.live("are refused with a reason, close their own link, and no one else feels it", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["numbers"], feeders: 1, concurrency: 4, millis: 2 })
      const { open, source } = yield* gated(100, 1000)
      const { feeder, ledger } = yield* startFeed(Numbers, source, [port])
      yield* consumer.printed("Handed", 50)
      yield* open
      const refused = (
        name: string,
        bytes: ReadonlyArray<Uint8Array>,
        expected: { readonly reason: string; readonly detail: RegExp }
      ) =>
        Effect.map(dial(port, bytes), (answers) => {
          const last = answers.at(-1)
          assert.strictEqual(last?._tag, "Refused", `${name}: ${JSON.stringify(answers)}`)
          if (last?._tag !== "Refused") return
          assert.strictEqual(last.reason, expected.reason, name)
          assert.match(last.detail, expected.detail, name)
          assert.isFalse(last.retry, name)
        })
      const batch = frame(1, new Uint8Array(64))
      yield* refused("HTTP", [Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")], {
        reason: "invalid",
        detail: /malformed frame: kind: kind \d+ is unknown/
      })
      yield* refused("garbage", [new Uint8Array(1000).fill(0xff)], { reason: "invalid", detail: /malformed frame/ })
      yield* refused("too long", [frame(0, new Uint8Array(0), 0x7fffffff)], {
        reason: "invalid",
        detail: /length 2147483647 is over the limit of/
      })
      yield* refused("not JSON", [frame(0, Buffer.from("{\"_tag\""))], {
        reason: "invalid",
        detail: /body: it is not JSON/
      })
      yield* refused("not UTF-8", [frame(0, Buffer.from([0xff, 0xfe]))], { reason: "invalid", detail: /not UTF-8/ })
      yield* refused("an unknown frame", [control({ _tag: "Dance" })], {
        reason: "invalid",
        detail: /_tag: .* got "Dance"/
      })
      yield* refused("a device's frame", [control({ _tag: "Leaving", byMillis: 1 })], {
        reason: "invalid",
        detail: /malformed frame/
      })
      yield* refused("a batch before Hello", [batch], { reason: "invalid", detail: /a batch came before a Hello/ })
      yield* refused("a Ping before Hello", [control({ _tag: "Ping", heard: 0 })], {
        reason: "invalid",
        detail: /a link begins with Hello, not with Ping/
      })
      yield* refused("a second Hello", [hello(), hello()], { reason: "invalid", detail: /a second Hello/ })
      yield* refused("a bad batch", [hello({ feeder: "stranger-2" }), batch], {
        reason: "invalid",
        detail: /malformed frame/
      })
      yield* refused("a version to come", [hello({ versions: [8, 9] })], {
        reason: "version",
        detail: /it speaks 8 to 9, this device 1 to 3/
      })
      yield* refused("a malicious Hello", [hello({ session: -1 })], { reason: "invalid", detail: /Hello\.session: / })
      yield* refused("a malicious lease", [hello({ feeder: "stranger-3", leaseMillis: 0 })], {
        reason: "invalid",
        detail: /^Hello\.leaseMillis: it is 0, and may be 1 to \d+$/
      })
      yield* refused("a report that was not sent", [
        hello({ feeder: "stranger-4" }),
        control({ _tag: "Ping", heard: 99 })
      ], {
        reason: "invalid",
        detail: /^heard: it is 99, but the last report was \d+$/
      })
      // A truncated frame: the stranger goes before it is complete, and nothing comes of it.
      const half = hello().subarray(0, 100)
      assert.deepStrictEqual(yield* dial(port, [half], { isEnded: true }), [])
      assert.deepStrictEqual(yield* dial(port, [], { isEnded: true }), [])

      assertExact(yield* ledger, 1000)
      assert.deepStrictEqual(yield* failuresOf(feeder), [0])
      assert.deepInclude((yield* feeder.status).devices[0], { session: 1 })
      assert.deepStrictEqual(yield* consumer.exited, { code: 0, signal: null })
      assert.deepStrictEqual(handed([consumer]).map(({ ordinal }) => ordinal), numbers(0, 1000))
    }))

  it.live("do not keep a host that ends, however many connect to it meanwhile", () =>
    Effect.gen(function*() {
      for (let turn = 0; turn < 5; turn++) {
        const scope = yield* Scope.make()
        const port = yield* freePort
        yield* Scope.provide(Layer.build(SocketDevices.layerHost({ feeds: [Numbers], port })), scope)
        const storm = yield* connectEndlessly(port, 20)
        yield* until("some were connected", () => storm.connections() > 60)
        yield* Effect.timeout(
          Effect.forkDetach(Scope.close(scope, Exit.void)).pipe(Effect.flatMap(Fiber.await)),
          "2 seconds"
        )
      }
    }))

  it.live("are given a while to come, and no longer", () =>
    Effect.gen(function*() {
      const port = yield* hostHere([Numbers], { limits: { handshake: "50 millis" } })
      assert.deepStrictEqual(yield* dial(port, []), [])
    }))
})
