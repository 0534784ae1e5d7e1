/**
 * What a device's process makes of a broker that answers unlike it should, and what it leaves to the next one.
 */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Logger } from "effect"
import type { Batch, Hello } from "effect-feeder/RemoteDevices"
import * as Claims from "../../src/internal/jetStreamClaim.ts"
import * as Client from "../../src/internal/jetStreamClient.ts"
import * as Outbox from "../../src/internal/jetStreamOutbox.ts"
import * as Pipes from "../../src/internal/jetStreamPipe.ts"
import { names } from "../../src/internal/jetStreamRecords.ts"
import { Numbers } from "../fixtures/messages.ts"
import * as Nats from "../fixtures/nats.ts"

const nats = await Nats.start()
afterAll(() => nats.stop())

const connected = Client.connect({ servers: nats.url })
const device = "/job:consumer/replica:0"

let prefixes = 0
const newNames = () => names(`host${++prefixes}`)

const feedStream = (client: Client.Client, all: ReturnType<typeof names>) =>
  Client.ensureStream(client, {
    name: all.feedStream(Numbers.name),
    subjects: [all.feedSubjects(Numbers.name)],
    retention: "workqueue"
  })

const add = (client: Client.Client, all: ReturnType<typeof names>, name: string, of: string) =>
  Client.ask(() =>
    client.manager.consumers.add(all.feedStream(Numbers.name), {
      durable_name: name,
      filter_subject: all.fed(Numbers.name, of),
      ack_policy: "explicit"
    })
  )

/** A batch of one element, with that sequence. */
const batch = (first: number): Batch => ({
  _tag: "Batch",
  first,
  runs: [{ ordinal: first, count: 1, attempt: 1 }],
  chunk: Numbers.info.codec.fromElements([first]),
  elementBytes: 8,
  heard: 0
})

describe("a message", () => {
  it.live("has headers after which columns are aligned, whatever its names and numbers", () =>
    Effect.gen(function*() {
      const client = yield* connected
      const published: Array<Client.Publication> = []
      for (const feeder of ["f", "fe", "fee", "feed", "feede", "feeder", "feeders", "feeders "]) {
        for (const session of [1, 23]) {
          const hello: Hello = {
            _tag: "Hello",
            versions: [2, 3],
            feed: Numbers.name,
            fingerprint: Numbers.info.fingerprint,
            feeder,
            incarnation: 4,
            device,
            session,
            keepTo: 0,
            acknowledge: "processed",
            leaseMillis: 1000
          }
          const publishUnsafe = (publication: Client.Publication) => published.push(publication)
          const at = { client: { ...client, publishUnsafe }, subject: "messages", device, feed: Numbers.info, hello }
          Outbox.make({ ...at, onStored: () => {} }).store(batch(1), 0)
          const header = published.at(-1)?.headers.get(Outbox.sessionHeader).split(".").map(Number)
          assert.deepStrictEqual(header, [4, session])
        }
      }
      assert.deepStrictEqual(
        published.map(({ headers }) => Buffer.byteLength(headers.toString()) % 8),
        published.map(() => 0)
      )
    }))
})

describe("a device's process", () => {
  it.live("finds its consumers while those of another device come and go", () =>
    Effect.gen(function*() {
      const all = newNames()
      const client = yield* connected
      const others = yield* connected
      yield* feedStream(client, all)
      yield* add(client, all, "own", device)
      const stream = all.feedStream(Numbers.name)
      const comeAndGo = Effect.forEach(Array.from({ length: 500 }, (_, i) => `other${i}`), (name) =>
        Effect.andThen(
          add(others, all, name, "/job:other"),
          Client.ask(() => others.manager.consumers.delete(stream, name))
        ), { discard: true })
      const churn = yield* Effect.forkScoped(comeAndGo)
      while (churn.pollUnsafe() === undefined) {
        const found = yield* Claims.consumersOf(client, all, Numbers.name, device)
        assert.deepStrictEqual(found.map(({ name }) => name), ["own"])
      }
      yield* Fiber.join(churn)
    }), 60_000)

  it.live("finds its consumer among more than a page of them", () =>
    Effect.gen(function*() {
      const all = newNames()
      const client = yield* connected
      yield* feedStream(client, all)
      for (let i = 0; i < 300; i++) yield* add(client, all, `c${i}`, `/job:consumer/replica:${i}`)
      for (const i of [0, 99, 299]) {
        const found = yield* Claims.consumersOf(client, all, Numbers.name, `/job:consumer/replica:${i}`)
        assert.deepStrictEqual(found.map(({ name }) => name), [`c${i}`])
      }
    }), 60_000)

  it.live("tries again what dies of what the broker says, and logs it", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => {
        logged.push(`${logLevel} ${String(message)}`)
      })
      const client = yield* connected
      const again = yield* Deferred.make<void>()
      let runs = 0
      const effect = Effect.suspend(() => {
        if (++runs === 1) throw new TypeError("it is null")
        return Effect.andThen(Deferred.succeed(again, undefined), Effect.never)
      })
      yield* Effect.forkScoped(Effect.provide(client.whileConnected(effect), Logger.layer([logger])))
      yield* Deferred.await(again)
      assert.match(logged.join("\n"), /^Error what the broker said is not understood,TypeError: it is null$/)
    }))

  it.live("tells the next one how far it has read, unless it has ended", () =>
    Effect.gen(function*() {
      const all = newNames()
      const client = yield* connected
      yield* Client.ensureStream(client, {
        name: all.stateStream,
        subjects: [all.stateSubjects],
        max_msgs_per_subject: 1
      })
      yield* feedStream(client, all)
      const take = Claims.take(client, all, {
        device,
        feeds: [Numbers],
        leaseMillis: 200,
        stored: undefined,
        windowBytes: 1000
      })
      yield* Effect.scoped(Effect.gen(function*() {
        const claim = yield* take
        claim.readUnsafe(Numbers.name, 7)
        yield* claim.keepRead(Numbers.name)
        assert.strictEqual(claim.pulled(Numbers.name), 0)
        yield* claim.release
      }))
      // Without a word, as one that is killed.
      yield* Effect.scoped(Effect.gen(function*() {
        const claim = yield* take
        assert.strictEqual(claim.pulled(Numbers.name), 0)
        claim.readUnsafe(Numbers.name, 9)
        yield* claim.keepRead(Numbers.name)
      }))
      yield* Effect.scoped(Effect.gen(function*() {
        const claim = yield* take
        assert.strictEqual(claim.pulled(Numbers.name), 9)
      }))
    }))

  it.effect("takes more once what waited is given elsewhere", () =>
    Effect.gen(function*() {
      const pipe = Pipes.make({
        feed: Numbers,
        feeder: "importer",
        device,
        told: undefined,
        maxPayload: 1024 * 1024,
        accept: () => Effect.never,
        untilClaimed: Effect.never,
        tell: () => Effect.void
      })
      const place = { incarnation: 1, session: 1, wasPulled: false }
      let acknowledged = 0
      const message = { ack: () => acknowledged++ }
      let taken = 0
      const feed = Effect.andThen(pipe.room, Effect.sync(() => pipe.feedUnsafe(batch(++taken), place, message)))
      const feeding = yield* Effect.forkChild(Effect.forever(feed, { disableYield: true }))
      yield* Effect.yieldNow
      const most = taken
      assert.isAbove(most, 1)
      yield* Effect.yieldNow
      assert.strictEqual(taken, most, "it has no room")
      yield* Fiber.interrupt(feeding)
      pipe.fenceUnsafe({ incarnation: 1, session: 2, kept: [] })
      assert.strictEqual(acknowledged, most)
      yield* pipe.room
    }))
})
