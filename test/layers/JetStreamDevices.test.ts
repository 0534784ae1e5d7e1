/**
 * Feeders, consumers and a broker that are killed, stopped and started again, over a real nats-server.
 */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream"
import { connect } from "@nats-io/transport-node"
import { Effect, Fiber, Layer, Logger, Schema } from "effect"
import { FailureTolerator, Feed, Feeder, type Ledger } from "effect-feeder"
import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { Kept, Numbers } from "../fixtures/messages.ts"
import * as Nats from "../fixtures/nats.ts"
import { type Process, startJetStreamConsumer, startJetStreamFeeder, until } from "../fixtures/processes.ts"

const nats = await Nats.start()
afterAll(() => nats.stop())

const servers = nats.url
const connection = { servers }
const quiet = Logger.layer([])

/** A server of a test's own, which it may kill. */
const server = Effect.acquireRelease(
  Effect.promise(() => Nats.start()),
  (nats) => Effect.promise(() => nats.stop())
)

let prefixes = 0
const newPrefix = () => `test${++prefixes}`

const device = "/job:consumer/replica:0"
const other = "/job:consumer/replica:1"

/** Patient enough for any test. */
const patient = FailureTolerator.make({ limit: 400, initDelay: 50, backoffFactor: 1 })

const numbers = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: to - from }, (_, i) => from + i)

interface Handed {
  readonly element: number
  readonly redelivered: boolean
}

/** Each element was seen, and none a second time without a mark. */
const assertEachSeen = (handed: ReadonlyArray<Handed>, count: number) => {
  const seen = new Set<number>()
  const unmarked = new Map<number, number>()
  for (const { element, redelivered } of handed) {
    seen.add(element)
    if (!redelivered) unmarked.set(element, (unmarked.get(element) ?? 0) + 1)
  }
  assert.deepStrictEqual([...unmarked].filter(([, times]) => times > 1), [], "handed out twice without a mark")
  assert.deepStrictEqual(numbers(0, count).filter((n) => !seen.has(n)), [], "never handed out")
}

const handedBy = (...consumers: ReadonlyArray<Process>) => consumers.flatMap((consumer) => consumer.all("Handed"))

/** Waits until a process has printed so many lines with a tag: long enough for a machine that is busy with others. */
const printed = (process: Process, tag: "Handed" | "Fed", count = 1) =>
  until(`${process.name} printed ${count} times ${tag}`, () => process.all(tag).length >= count, 45_000)

/** All of it arrived, none of it twice. */
const assertExact = (ledger: Ledger.Ledger, count: number) => {
  const { dead, delivered, dropped, generated, held, heldByDead, leased, lost, queued, redelivered } = ledger
  assert.deepStrictEqual(
    { dead, delivered, dropped, generated, held, heldByDead, leased, lost, queued, redelivered },
    {
      dead: 0,
      delivered: count,
      dropped: 0,
      generated: count,
      held: 0,
      heldByDead: 0,
      leased: 0,
      lost: 0,
      queued: 0,
      redelivered: 0
    }
  )
}

/** Feeds in this process, until the scope closes. */
const startFeed = (
  feed: typeof Numbers | typeof Kept,
  count: number,
  prefix: string,
  options: Feeder.Options & { readonly devices?: ReadonlyArray<string>; readonly servers?: string } = {}
) =>
  Effect.gen(function*() {
    const at = { connection: { servers: options.servers ?? servers }, prefix }
    const devices = yield* Layer.build(JetStreamDevices.layer(at))
    const settings = { lease: 5000, tolerate: patient, ...options }
    const made = yield* feed.acknowledge === "processed" ? Feeder.make(feed, settings) : Feeder.make(feed, settings)
    const feeder = yield* made.set(numbers(0, count))
    yield* Effect.provideContext(feeder.addRemoteDevices(options.devices ?? [device]), devices)
    const fiber = yield* Effect.forkScoped(feeder.run)
    return { ledger: Fiber.join(fiber) }
  }).pipe(Effect.provide(quiet))

const hostOf = <const Feeds extends ReadonlyArray<Feed.Any>>(
  feeds: Feeds,
  prefix: string,
  options: Partial<JetStreamDevices.HostOptions<Feeds>> = {}
) => JetStreamDevices.layerHost({ connection, prefix, device, feeds, ...options }).pipe(Layer.provide(quiet))

const kinds = [Numbers, Kept] as const

describe("JetStreamDevices", () => {
  for (const feed of kinds) {
    it.live(
      `the broker is killed in the middle and started again, nothing is lost or doubled (${feed.acknowledge})`,
      () =>
        Effect.gen(function*() {
          const prefix = newPrefix()
          const own = yield* server
          const settings = { servers: own.url, prefix, feed: feed.name, leaseMillis: 5000, millis: 1 }
          const a = yield* startJetStreamConsumer({ ...settings, device })
          const b = yield* startJetStreamConsumer({ ...settings, device: other })
          const count = 2000
          const { ledger } = yield* startFeed(feed, count, prefix, { devices: [device, other], servers: own.url })
          for (const share of [0.2, 0.5, 0.8]) {
            yield* until(`${share} was handed out`, () => handedBy(a, b).length >= share * count, 45_000)
            yield* Effect.promise(() => own.kill())
            yield* Effect.sleep(200)
            yield* Effect.promise(() => own.start())
          }
          assertExact(yield* ledger, count)
          yield* a.exited
          yield* b.exited
          assertEachSeen(handedBy(a, b), count)
          assert.strictEqual(handedBy(a, b).length, count)
        }),
      120_000
    )

    it.live(
      `a consumer is killed and started again: what it had in hand comes again, marked (${feed.acknowledge})`,
      () =>
        Effect.gen(function*() {
          const prefix = newPrefix()
          const settings = { servers, prefix, feed: feed.name, device, leaseMillis: 1000, millis: 2 }
          const count = 600
          const first = yield* startJetStreamConsumer(settings)
          const { ledger } = yield* startFeed(feed, count, prefix)
          yield* printed(first, "Handed", 200)
          yield* first.signal("SIGKILL")
          const second = yield* startJetStreamConsumer(settings)
          yield* printed(second, "Handed", 100)
          yield* second.signal("SIGKILL")
          const third = yield* startJetStreamConsumer(settings)
          const { dead, delivered, generated, held, heldByDead, lost } = yield* ledger
          assert.deepStrictEqual(
            { dead, delivered, generated, held, heldByDead, lost },
            { dead: 0, delivered: count, generated: count, held: 0, heldByDead: 0, lost: 0 }
          )
          yield* third.exited
          assertEachSeen(handedBy(first, second, third), count)
        }),
      120_000
    )

    it.live(`a feeder is killed and started again, and goes on (${feed.acknowledge})`, () =>
      Effect.gen(function*() {
        const prefix = newPrefix()
        const store = yield* temporary
        const count = 800
        const consumer = yield* startJetStreamConsumer({
          servers,
          prefix,
          feed: feed.name,
          device,
          leaseMillis: 5000,
          millis: 1
        })
        const settings = {
          servers,
          prefix,
          feed: feed.name,
          id: "importer",
          count,
          leaseMillis: 1000,
          devices: [device],
          store
        }
        const first = yield* startJetStreamFeeder(settings)
        yield* printed(consumer, "Handed", 150)
        yield* first.signal("SIGKILL")
        const second = yield* startJetStreamFeeder(settings)
        yield* printed(consumer, "Handed", 400)
        yield* second.signal("SIGKILL")
        const third = yield* startJetStreamFeeder(settings)
        yield* printed(third, "Fed")
        assert.strictEqual(third.all("Fed")[0]?.lost, 0)
        yield* consumer.exited
        assertEachSeen(handedBy(consumer), count)
      }), 120_000)
  }

  it.live("feeder and consumer are there in turn: what is accepted waits at the broker", () =>
    Effect.gen(function*() {
      const prefix = newPrefix()
      const count = 500
      const own = yield* server
      const host = hostOf([Kept], prefix, { stored: 1000, connection: { servers: own.url } })
      // A device is known once a consumer has hosted it.
      yield* Effect.scoped(Layer.build(host))
      const ledger = yield* Effect.scoped(
        Effect.flatMap(startFeed(Kept, count, prefix, { servers: own.url }), ({ ledger }) => ledger)
      )
      assert.deepStrictEqual([ledger.accepted, ledger.held, ledger.delivered, ledger.lost], [count, count, 0, 0])
      yield* Effect.promise(() => own.kill())
      yield* Effect.promise(() => own.start())
      const seen: Array<Handed> = []
      const consume = Kept.forEach((element, { redelivered }) => Effect.sync(() => seen.push({ element, redelivered })))
      yield* Effect.provide(consume, host)
      assert.deepStrictEqual(seen, numbers(0, count).map((element) => ({ element, redelivered: false })))
    }), 60_000)

  it.live(
    "feeder and consumer are there in turn: what is processed meanwhile is told to the feeder that is back",
    () =>
      Effect.gen(function*() {
        const prefix = newPrefix()
        const count = 100
        const stored = 1000
        const store = yield* temporary
        yield* Effect.scoped(Layer.build(hostOf([Numbers], prefix, { stored })))
        const settings = {
          servers,
          prefix,
          feed: "numbers",
          id: "importer",
          count,
          leaseMillis: 5000,
          devices: [device],
          store
        } as const
        const feeder = yield* startJetStreamFeeder(settings)
        yield* untilStored(prefix, count)
        yield* feeder.signal("SIGKILL")
        yield* feeder.exited
        const seen: Array<Handed> = []
        const consume = Numbers.forEach((element, { redelivered }) =>
          Effect.sync(() => seen.push({ element, redelivered }))
        )
        const consumer = yield* Effect.forkScoped(Effect.provide(consume, hostOf([Numbers], prefix, { stored })))
        yield* until("all was consumed while the feeder was away", () => seen.length >= count)
        assertEachSeen(seen, count)
        assert.isFalse(seen.some(({ redelivered }) => redelivered))
        // It knows only what its checkpoint says, and gives the rest again, marked.
        const again = yield* startJetStreamFeeder(settings)
        yield* printed(again, "Fed")
        yield* Fiber.join(consumer)
        assert.strictEqual(again.all("Fed")[0]?.lost, 0)
        assertEachSeen(seen, count)
      }),
    60_000
  )

  it.live("a process that was stopped hands out nothing once another is the device", () =>
    Effect.gen(function*() {
      const prefix = newPrefix()
      const settings = { servers, prefix, feed: "numbers", device, leaseMillis: 1000, millis: 5 } as const
      const count = 400
      const first = yield* startJetStreamConsumer(settings)
      const { ledger } = yield* startFeed(Numbers, count, prefix)
      yield* printed(first, "Handed", 100)
      // With one in hand: without, it may be in the step that hands out the next, and has not said so.
      const stop: Effect.Effect<void> = Effect.gen(function*() {
        yield* first.signal("SIGSTOP")
        yield* Effect.sleep("100 millis")
        if (first.lines.at(-1)?._tag === "Handed") return
        yield* first.signal("SIGCONT")
        yield* Effect.sleep("10 millis")
        yield* stop
      })
      yield* stop
      const second = yield* startJetStreamConsumer(settings)
      yield* printed(second, "Handed", 50)
      const before = first.all("Handed").length
      yield* first.signal("SIGCONT")
      const { lost } = yield* ledger
      yield* second.exited
      assert.strictEqual(lost, 0)
      assert.strictEqual(first.all("Handed").length, before)
      assertEachSeen(handedBy(first, second), count)
    }), 60_000)

  it.live("an element that is given back again and again does not go round hot", () =>
    Effect.gen(function*() {
      const prefix = newPrefix()
      let attempts = 0
      const consume = Numbers.forEach((n) =>
        Effect.suspend(() => {
          if (n !== 1) return Effect.void
          attempts++
          return Effect.fail(Feed.retry({ cause: "not today" }))
        })
      )
      const host = yield* Effect.forkScoped(Effect.provide(consume, hostOf([Numbers], prefix)))
      const { ledger } = yield* startFeed(Numbers, 3, prefix, { maxAttempts: 5 })
      const { dead, delivered, lost } = yield* ledger
      yield* Fiber.join(host)
      assert.deepStrictEqual([dead, delivered, lost], [1, 2, 0])
      assert.strictEqual(attempts, 5)
      assert.isBelow(yield* messagesOf(prefix, Numbers.name), 40, "messages for three elements")
    }), 60_000)

  it.live("two processes cannot be one device", () =>
    Effect.gen(function*() {
      const prefix = newPrefix()
      const error = yield* Effect.scoped(Effect.andThen(
        Layer.build(hostOf([Numbers], prefix, { lease: 500 })),
        Effect.flip(Effect.scoped(Layer.build(hostOf([Numbers], prefix, { lease: 500 }))))
      ))
      assert.strictEqual(error._tag, "DeviceNameTaken")
      assert.match(error.message, /two hosts are named \/job:consumer\/replica:0: [0-9a-f]+ and [0-9a-f]+/)
    }), 60_000)

  it.live("what cannot be given is refused: at most once", () =>
    Effect.gen(function*() {
      const prefix = newPrefix()
      const Once = Feed.make("once", { element: Schema.Int, delivery: "atMostOnce" })
      yield* Layer.build(hostOf([Once], prefix))
      const error = yield* Feeder.run(Once, { source: [1], devices: [device] }).pipe(
        Effect.provide(JetStreamDevices.layer({ connection, prefix })),
        Effect.flip
      )
      assert.match(
        error.message,
        /refused the feed \(invalid\): feed "once" is atMostOnce, and what is stored is handed out/
      )
    }))

  it.live("without a broker, or without JetStream, it says so", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        Effect.scoped(Layer.build(JetStreamDevices.layer({ connection: { servers: "127.0.0.1:1", timeout: 500 } })))
      )
      assert.strictEqual(error._tag, "BrokerUnusable")
      assert.match(
        error.message,
        /the broker at 127\.0\.0\.1:1 cannot be used: .+; is a nats-server running there, with `-js`\?/
      )
    }))

  it.live("a package that is missing is named", () =>
    Effect.gen(function*() {
      const program = `
        import { registerHooks } from "node:module"
        registerHooks({ resolve: (name, context, next) => {
          if (name === "@nats-io/jetstream") throw Object.assign(new Error("Cannot find package"), { code: "ERR_MODULE_NOT_FOUND" })
          return next(name, context)
        } })
        const { Effect, Layer } = await import("effect")
        const JetStreamDevices = await import("effect-feeder/layers/JetStreamDevices")
        const error = await Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(JetStreamDevices.layer()))))
        console.log(error._tag + ": " + error.message)`
      const said = yield* Effect.callback<string>((resume) => {
        execFile(
          process.execPath,
          ["--conditions=effect-feeder:source", "--input-type=module", "--eval", program],
          (error, stdout, stderr) => resume(error === null ? Effect.succeed(stdout) : Effect.die(new Error(stderr)))
        )
      })
      assert.match(
        said,
        /PackageMissing: JetStreamDevices needs @nats-io\/jetstream, which is not there; run `npm install @nats-io\/transport-node @nats-io\/jetstream`/
      )
    }), 60_000)
})

/** A directory that is there while the scope is open. */
const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "effect-feeder-jetstream-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

const managed = <A>(f: (manager: JetStreamManager) => Promise<A>) =>
  Effect.promise(async () => {
    const client = await connect(connection)
    try {
      return await f(await jetstreamManager(client))
    } finally {
      await client.close()
    }
  })

/** How many messages the stream of a feed has had. */
const messagesOf = (prefix: string, feed: string) =>
  managed(async (manager) => (await manager.streams.info(`${prefix}_feed_${feed}`)).state.last_seq)

/** Waits until the broker has what makes so many elements of 8 bytes and more. */
const untilStored = (prefix: string, count: number): Effect.Effect<void> =>
  Effect.flatMap(
    managed(async (manager) => (await manager.streams.info(`${prefix}_feed_numbers`)).state.bytes),
    (bytes) => bytes >= count * 8 ? Effect.sleep(500) : Effect.andThen(Effect.sleep(50), untilStored(prefix, count))
  )
