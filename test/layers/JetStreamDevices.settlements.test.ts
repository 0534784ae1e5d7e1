/**
 * An `effectivelyOnce` feed over a real broker, settled in a real PostgreSQL by processes that are killed and stopped.
 */
import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Stream } from "effect"
import { FailureTolerator, Feeder } from "effect-feeder"
import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
import * as SqlSettlements from "effect-feeder/layers/SqlSettlements"
import { ManualSource } from "effect-feeder/testing"
import { SqlClient } from "effect/sql"
import { Orders } from "../fixtures/messages.ts"
import * as Nats from "../fixtures/nats.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { startOrders } from "../fixtures/processes.ts"
import { range } from "../network.ts"

let postgres: Postgres.Postgres

beforeAll(async () => {
  postgres = await Postgres.start()
}, 60_000)

afterAll(() => postgres.stop(), 60_000)

const broker = Effect.acquireRelease(
  Effect.promise(() => Nats.start()),
  (nats) => Effect.promise(() => nats.stop())
)

const devices = [0, 1].map((i) => `/job:consumer/replica:${i}`)

const database = Layer.suspend(() =>
  SqlSettlements.layer().pipe(Layer.provideMerge(PgClient.layer({
    host: postgres.socket,
    port: postgres.port,
    username: postgres.username,
    database: postgres.database
  })))
)

/** There is a row for each time that an order took effect. */
const effects = Effect.map(
  SqlClient.SqlClient.use((sql) => sql<{ readonly id: string }>`select id from effects`),
  (rows) => rows.map(({ id }) => Number(id)).toSorted((a, b) => a - b)
)

const clear = SqlClient.SqlClient.use((sql) =>
  Effect.all([
    sql`create table if not exists effects (id text not null)`,
    sql`truncate effects`,
    sql`truncate effect_feeder_settlements`
  ])
)

const begin = (device: string, servers: string) =>
  startOrders({
    port: 0,
    broker: { servers, prefix: "orders", device, leaseMillis: 1000 },
    host: postgres.socket,
    username: postgres.username,
    millis: 5
  })

/** A feeder with one id: another one is its next life. */
const feederOf = <E>(source: Feeder.ElementSource<number, E, never>, servers: string) =>
  Effect.gen(function*() {
    const links = yield* Layer.build(JetStreamDevices.layer({ connection: { servers }, prefix: "orders" }))
    const made = yield* Feeder.make(Orders, {
      id: "f",
      lease: 1000,
      maxAttempts: 1000,
      tolerate: FailureTolerator.make({ limit: 400, initDelay: 50, backoffFactor: 1 })
    })
    const feeder = yield* made.set(source)
    yield* Effect.provideContext(feeder.addRemoteDevices(devices), links)
    return feeder
  })

const when = (feeder: { readonly changes: Stream.Stream<Feeder.Status> }, check: (status: Feeder.Status) => boolean) =>
  Stream.runDrain(Stream.takeUntil(feeder.changes, check))

describe("an effectivelyOnce feed at a broker", () => {
  it.live(
    "takes effect once for each element, over deaths of consumers and of the broker",
    () =>
      Effect.gen(function*() {
        yield* clear
        const nats = yield* broker
        const alive = yield* Effect.forEach(devices, (device) => begin(device, nats.url), { concurrency: "unbounded" })
        const manual = yield* ManualSource.make<number>()
        const feeder = yield* feederOf(manual.source, nats.url)
        const run = yield* Effect.forkScoped(feeder.run)
        const rounds = 6
        for (let round = 0; round < rounds; round++) {
          yield* when(feeder, ({ devices }) => devices.every(({ phase }) => phase === "Live"))
          yield* manual.push(...range(100, round * 100))
          yield* when(feeder, ({ ledger }) => ledger.delivered >= round * 100 + 40)
          const index = round % 2
          if (round < 3) {
            yield* alive[index]!.signal("SIGKILL")
            yield* alive[index]!.exited
            alive[index] = yield* begin(devices[index]!, nats.url)
          } else if (round < 5) {
            yield* Effect.promise(() => nats.kill())
            yield* Effect.promise(() => nats.start())
          } else {
            // It wakes when its elements are given to the other one.
            yield* alive[index]!.signal("SIGSTOP")
            yield* Effect.sleep(2500)
            yield* alive[index]!.signal("SIGCONT")
          }
        }
        yield* manual.end
        const { dead, delivered, lost, redelivered } = yield* Fiber.join(run)
        assert.deepStrictEqual([delivered, dead, lost], [rounds * 100, 0, 0])
        assert.isAbove(redelivered, 0)
        for (const process of alive) assert.deepStrictEqual(yield* process.exited, { code: 0, signal: null })
        assert.deepStrictEqual(yield* effects, range(rounds * 100))
      }).pipe(Effect.provide([database, Logger.layer([])])),
    120_000
  )

  it.live("takes effect once for what a feeder feeds again in its next life", () =>
    Effect.gen(function*() {
      yield* clear
      const nats = yield* broker
      const alive = yield* Effect.forEach(devices, (device) => begin(device, nats.url), { concurrency: "unbounded" })
      const count = 300
      for (const upTo of [80, 160]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const feeder = yield* feederOf(range(count), nats.url)
          yield* Effect.forkScoped(feeder.run)
          yield* when(feeder, ({ ledger }) => ledger.delivered >= upTo)
        }))
      }
      const { delivered, lost } = yield* Effect.flatMap(feederOf(range(count), nats.url), (feeder) => feeder.run)
      assert.deepStrictEqual([delivered, lost], [count, 0])
      for (const process of alive) assert.deepStrictEqual(yield* process.exited, { code: 0, signal: null })
      assert.deepStrictEqual(yield* effects, range(count))
    }).pipe(Effect.provide([database, Logger.layer([])])), 120_000)
})
