import { PgClient } from "@effect/sql-pg"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Logger, Option, Schema, type Scope, Stream } from "effect"
import { FailureTolerator, Feed, Feeder, MemoryDevices, Settlements } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as SqlSettlements from "effect-feeder/layers/SqlSettlements"
import { ManualSource } from "effect-feeder/testing"
import { SqlClient } from "effect/sql"
import { Orders } from "../fixtures/messages.ts"
import * as Postgres from "../fixtures/postgres.ts"
import { freePort, startOrders } from "../fixtures/processes.ts"
import { hasEnded, range } from "../network.ts"

let postgres: Postgres.Postgres

beforeAll(async () => {
  postgres = await Postgres.start()
}, 60_000)

afterAll(() => postgres.stop(), 60_000)

const device = "/job:consumer/replica:0"

class Broken extends Schema.TaggedError<Broken>()("Broken", {}) {}

/** A pool of connections, as a process of its own would have. */
const database = (username = postgres.username) =>
  PgClient.layer({
    host: postgres.socket,
    port: postgres.port,
    username,
    database: postgres.database,
    maxConnections: 4
  })

/** A process that settles: its own pool, the same tables. */
const store = Layer.suspend(() => SqlSettlements.layer().pipe(Layer.provideMerge(database())))

const another = Effect.map(Layer.build(Layer.fresh(store)), (context) => ({
  sql: Context.get(context, SqlClient.SqlClient),
  ...Context.get(context, Settlements.Settlements)
}))

/** Takes effect: there is a row for each time, so that twice would be seen. */
const order = (id: number | string) =>
  SqlClient.SqlClient.use((sql) => sql`insert into effects (id) values (${`${id}`})`)

const effects = Effect.map(
  SqlClient.SqlClient.use((sql) => sql<{ readonly id: string }>`select id from effects order by id`),
  (rows) => rows.map(({ id }) => id)
)

const clear = SqlClient.SqlClient.use((sql) =>
  Effect.all([
    sql`create table if not exists effects (id text not null)`,
    sql`truncate effects`,
    sql`truncate effect_feeder_settlements`
  ])
)

const scenario = (
  name: string,
  test: () => Effect.Effect<
    unknown,
    unknown,
    Scope.Scope | Settlements.Settlements | SqlClient.SqlClient | Layer.Success<typeof devices>
  >,
  millis = 30_000
) => it.live(name, () => Effect.andThen(clear, Effect.suspend(test)).pipe(Effect.provide([devices, store])), millis)

const devices = MemoryDevices.layer({ feeds: [Orders] })

const settling = (...ids: ReadonlyArray<string>) => ({ feed: "orders", ids })

/** A feeder of these numbers, and its run. */
const feeding = (source: ReadonlyArray<number>, options: Feeder.Options = {}) =>
  Effect.gen(function*() {
    const made = yield* Feeder.make(Orders, { id: "f", maxAttempts: 20, ...options })
    const feeder = yield* made.set(source)
    yield* feeder.addRemoteDevice(device)
    return yield* Effect.forkChild(feeder.run)
  })

const names = (count: number) => range(count).map(String).toSorted()

/** Waits until so many other connections wait for a lock. */
const awaitBlocked = (count: number): Effect.Effect<void, unknown, SqlClient.SqlClient> =>
  SqlClient.SqlClient.use((sql) =>
    sql`select 1 from pg_stat_activity where wait_event_type = 'Lock'`.pipe(
      Effect.repeat({ until: (rows) => rows.length === count }),
      Effect.timeoutOrElse({ duration: "10 seconds", orElse: () => Effect.die(new Error(`${count} do not wait`)) })
    )
  )

describe("settle", () => {
  scenario("commits the ids with the effect, and runs for those that are not committed", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      const run = (...ids: ReadonlyArray<string>) =>
        settle(settling(...ids), (fresh) => Effect.as(Effect.forEach(fresh, (i) => order(ids[i]!)), fresh))
      assert.deepStrictEqual(yield* run("a", "b"), Option.some([0, 1]))
      assert.deepStrictEqual(yield* run("d", "b", "c", "a", "c"), Option.some([0, 2]))
      assert.deepStrictEqual(yield* run("d", "a"), Option.none())
      assert.deepStrictEqual(yield* run(), Option.none())
      assert.deepStrictEqual(yield* effects, ["a", "b", "c", "d"])
    }))

  scenario("rolls both back when the effect fails, dies or is interrupted", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      const after = <A, E>(end: Effect.Effect<A, E>) =>
        settle(settling("a", "b"), () => Effect.andThen(order("a"), end))
      assert.deepStrictEqual(yield* Effect.flip(after(Effect.fail(new Broken()))), new Broken())
      yield* Effect.exit(after(Effect.die(new Error("boom"))))
      const begun = yield* Deferred.make<void>()
      const waiting = yield* Effect.forkChild(after(Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(waiting)
      assert.deepStrictEqual(yield* effects, [])
      assert.deepStrictEqual(yield* settle(settling("a", "b"), Effect.succeed), Option.some([0, 1]))
    }))

  scenario("a batch may be larger than one statement", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      const ids = range(2500).map((n) => `id ${n}`)
      yield* settle(settling(...ids.filter((_, i) => i % 3 === 0)), () => Effect.void)
      assert.deepStrictEqual(
        yield* settle(settling(...ids), Effect.succeed),
        Option.some(range(2500).filter((i) => i % 3 !== 0))
      )
    }))

  scenario(
    "a zombie and its successor: the second waits, and takes effect only if the first did not",
    () =>
      Effect.gen(function*() {
        const zombie = yield* another
        const successor = yield* Settlements.Settlements
        for (const commits of [true, false]) {
          const id = `order ${commits}`
          const gate = yield* Deferred.make<void, Broken>()
          const begun = yield* Deferred.make<void>()
          const first = yield* Effect.forkChild(Effect.exit(zombie.settle(settling(id), () =>
            zombie.sql`insert into effects (id) values (${`${id}, by the zombie`})`.pipe(
              Effect.andThen(Deferred.succeed(begun, undefined)),
              Effect.andThen(Deferred.await(gate))
            ))))
          yield* Deferred.await(begun)
          const second = yield* Effect.forkChild(successor.settle(settling(id), () =>
            order(`${id}, by the successor`)))
          yield* awaitBlocked(1)
          assert.isFalse(hasEnded(second))
          yield* commits ? Deferred.succeed(gate, undefined) : Effect.asVoid(Deferred.fail(gate, new Broken()))
          assert.strictEqual(Option.isNone(yield* Fiber.join(second)), commits)
          yield* Fiber.join(first)
        }
        assert.deepStrictEqual(yield* effects, ["order false, by the successor", "order true, by the zombie"])
      })
  )

  scenario("batches with the same ids in another order do not wait for each other", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      const other = yield* another
      const ids = range(50).map((n) => `${n}`)
      yield* Effect.forEach(range(12), (i) =>
        (i % 2 === 0 ? settle : other.settle)(settling(...(i % 4 < 2 ? ids : ids.toReversed())), () =>
          (i % 2 === 0 ? order("once") : other.sql`insert into effects (id) values ('once')`).pipe(
            Effect.andThen(Effect.sleep(5)),
            Effect.andThen(i < 6 ? Effect.fail(new Broken()) : Effect.void)
          )).pipe(Effect.catchTag("Broken", () =>
            Effect.void)), { concurrency: "unbounded" })
      assert.deepStrictEqual(yield* effects, ["once"])
    }))

  scenario("a failure of the database is told as such, and nothing is committed", () =>
    Effect.gen(function*() {
      const { settle } = yield* Settlements.Settlements
      const sql = yield* SqlClient.SqlClient
      // What fails inside of a transaction ends it, also when the effect goes on.
      const aborted = yield* Effect.flip(
        settle(settling("a"), () => order("a").pipe(Effect.andThen(sql`select 1 / 0`), Effect.catch(() => Effect.void)))
      )
      assert.strictEqual(
        aborted.message,
        "cannot settle settlements of feed \"orders\" in table \"effect_feeder_settlements\": " +
          "PgClient: COMMIT rolled back an aborted transaction; see that the store answers; " +
          "the elements are fed again, and those that did commit will be known by their ids"
      )
      // The connection is lost between the effect and the commit.
      const other = yield* another
      const lost = yield* Effect.flip(settle(settling("a"), () =>
        sql<{ readonly pid: number }>`select pg_backend_pid() as pid`.pipe(
          Effect.tap(() => order("a")),
          Effect.flatMap(([row]) => other.sql`select pg_terminate_backend(${row!.pid}::int)`),
          Effect.andThen(Effect.sleep(100)),
          Effect.orDie
        )))
      assert.strictEqual(lost._tag, "SettlementsFailed")
      assert.deepStrictEqual(yield* effects, [])
      assert.deepStrictEqual(yield* settle(settling("a"), Effect.succeed), Option.some([0]))
    }))
})

describe("prune", () => {
  scenario("forgets what was settled long ago, of one feed", () =>
    Effect.gen(function*() {
      const { prune, settle } = yield* Settlements.Settlements
      const sql = yield* SqlClient.SqlClient
      yield* settle(settling(...range(2100).map((n) => `old ${n}`)), () => Effect.void)
      yield* settle({ feed: "another", ids: ["old"] }, () => Effect.void)
      yield* sql`update effect_feeder_settlements set settled_at = settled_at - 3600000`
      yield* settle(settling("new"), () => Effect.void)
      assert.strictEqual(yield* prune({ feed: "orders", olderThan: "2 hours" }), 0)
      assert.strictEqual(yield* prune({ feed: "orders", olderThan: "30 minutes" }), 2100)
      assert.deepStrictEqual(yield* settle(settling("old 7", "new"), Effect.succeed), Option.some([0]))
      assert.deepStrictEqual(yield* settle({ feed: "another", ids: ["old"] }, Effect.succeed), Option.none())
    }))
})

describe("the table", () => {
  const on = (username: string, table: string) =>
    SqlSettlements.layer({ table }).pipe(Layer.provide(database(username)), Layer.build, Effect.scoped)

  scenario("is created by whoever comes first, also at once, and may lie in a schema", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create schema "shop"`
      yield* Effect.forEach(range(6), () => on(postgres.username, "shop.settled"), { concurrency: "unbounded" })
      yield* SqlClient.SqlClient.use((sql) => sql`select feed, id, settled_at from shop.settled`)
    }))

  scenario("need only be created by someone who may", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create role clerk login`
      const refused = yield* Effect.flip(on("clerk", "kept"))
      assert.strictEqual(refused._tag, "SettlementsFailed")
      assert.match(
        refused.message,
        /^cannot open settlements in table "kept": .*permission denied.*; let its user create the table, or create it as docs\/settlements.md tells$/
      )
      yield* on(postgres.username, "kept")
      yield* sql`grant select, insert, delete on kept to clerk`
      yield* on("clerk", "kept")
    }))
})

describe("an effectivelyOnce feed", () => {
  scenario("takes effect once for each element, however often it is delivered and fails", () =>
    Effect.gen(function*() {
      const run = yield* feeding(range(60))
      const begun = new Map<number, number>()
      const consumed = yield* Orders.forEachBatch(4, (batch, { deliveries }) =>
        Effect.gen(function*() {
          for (const n of batch) {
            begun.set(n, (begun.get(n) ?? 0) + 1)
            yield* order(n)
          }
          const { attempt, ordinal } = deliveries[0]!
          if (attempt === 1 && ordinal % 3 === 0) return yield* Feed.retry()
          if (attempt === 1) {
            return yield* Feed.outcomes(batch.map((n) => n % 5 === 0 ? Feed.retry() : Feed.done))
          }
        }), { concurrency: 3 })
      assert.isAbove([...begun.values()].filter((count) => count > 1).length, 20)
      assert.strictEqual(consumed.done, 60)
      assert.deepStrictEqual(yield* effects, names(60))
      assert.strictEqual((yield* Fiber.join(run)).delivered, 60)
    }))

  scenario(
    "a consumer that dies between its commit and its acknowledgement has taken effect, once",
    () =>
      Effect.gen(function*() {
        const settlements = yield* Settlements.Settlements
        const run = yield* feeding(range(12))
        const committed = yield* Deferred.make<void>()
        const dies = Settlements.Settlements.of({
          ...settlements,
          settle: (what, effect) =>
            Effect.tap(
              settlements.settle(what, effect),
              () => Effect.andThen(Deferred.succeed(committed, undefined), Effect.never)
            )
        })
        const dying = yield* Effect.forkChild(
          Orders.forEachBatch(4, (batch) => Effect.forEach(batch, order)).pipe(
            Effect.provideService(Settlements.Settlements, dies)
          )
        )
        yield* Deferred.await(committed)
        assert.deepStrictEqual(yield* effects, names(4))
        yield* Fiber.interrupt(dying)
        const again: Array<number> = []
        const consumed = yield* Orders.forEach((n, { redelivered }) =>
          Effect.andThen(order(n), Effect.sync(() => redelivered && again.push(n)))
        )
        assert.deepStrictEqual([consumed.done, again], [12, []])
        assert.deepStrictEqual(yield* effects, names(12))
        const { delivered, redelivered } = yield* Fiber.join(run)
        assert.deepStrictEqual([delivered, redelivered], [12, 4])
      })
  )

  scenario("a handler that hangs, and ends too late, takes effect once", () =>
    Effect.gen(function*() {
      const settlements = yield* Settlements.Settlements
      for (const commits of [true, false]) {
        const first = commits ? 100 : 200
        // Whether its transaction can be interrupted decides whether it still commits.
        const kept = Settlements.Settlements.of({
          ...settlements,
          settle: (what, effect) =>
            commits ? Effect.uninterruptible(settlements.settle(what, effect)) : settlements.settle(what, effect)
        })
        yield* Effect.gen(function*() {
          const gate = yield* Deferred.make<void>()
          let runs = 0
          const run = yield* feeding([first, first + 1])
          const loop = yield* Effect.forkChild(
            Orders.forEach((n) =>
              Effect.andThen(
                order(n),
                n === first && runs++ === 0 ? Effect.uninterruptible(Deferred.await(gate)) : Effect.void
              ), { processWithin: "2 seconds" }).pipe(Effect.provideService(Settlements.Settlements, kept))
          )
          // The second attempt waits in the database for the first one's transaction.
          yield* awaitBlocked(1)
          yield* Deferred.succeed(gate, undefined)
          const consumed = yield* Fiber.join(loop)
          assert.deepStrictEqual([consumed.done, consumed.timedOut, runs], [2, 1, commits ? 1 : 2])
          yield* Fiber.join(run)
        }).pipe(Effect.provide(devices, { local: true }))
      }
      assert.deepStrictEqual(yield* effects, ["100", "101", "200", "201"])
    }))

  scenario("a database that goes away is waited for", () =>
    Effect.gen(function*() {
      const other = yield* another
      const run = yield* feeding(range(6))
      let losses = 0
      const consumed = yield* Orders.forEach((n) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* order(n)
          if (n % 3 === 0 && losses++ < 3) {
            const [row] = yield* sql<{ readonly pid: number }>`select pg_backend_pid() as pid`
            yield* other.sql`select pg_terminate_backend(${row!.pid}::int)`
            yield* Effect.sleep(50)
          }
        })
      )
      assert.strictEqual(losses, 5)
      assert.deepStrictEqual([consumed.done, consumed.retried], [6, 3])
      assert.deepStrictEqual(yield* effects, names(6))
      yield* Fiber.join(run)
    }))
})

describe("processes", () => {
  scenario(
    "that are killed, and stopped until their lease is over, take effect once for each element",
    () =>
      Effect.gen(function*() {
        const { socket: host, username } = postgres
        const ports = [yield* freePort, yield* freePort]
        const links = SocketDevices.layer(
          Object.fromEntries(ports.map((port, i) => [`/job:consumer/replica:${i}`, `tcp://127.0.0.1:${port}`]))
        )
        const begin = (index: number) => startOrders({ port: ports[index]!, host, username, millis: 5 })
        const alive = yield* Effect.forEach(ports, (_, i) => begin(i), { concurrency: "unbounded" })
        const manual = yield* ManualSource.make<number>()
        const made = yield* Feeder.make(Orders, {
          id: "f",
          lease: 1000,
          maxAttempts: 1000,
          tolerate: FailureTolerator.make({ limit: 400, initDelay: 50, backoffFactor: 1 })
        })
        const feeder = yield* made.set(manual.source)
        yield* Effect.provide(feeder.addRemoteReplicas("consumer", 2), [links, Logger.layer([])])
        const run = yield* Effect.forkChild(feeder.run)
        const when = (check: (status: Feeder.Status) => boolean) =>
          Stream.runDrain(Stream.takeUntil(feeder.changes, check))
        const rounds = 5
        for (let round = 0; round < rounds; round++) {
          yield* when(({ devices }) => devices.every(({ phase }) => phase === "Live"))
          yield* manual.push(...range(100, round * 100))
          yield* when(({ ledger }) => ledger.delivered >= round * 100 + 40)
          const index = round % 2
          if (round < rounds - 1) {
            yield* alive[index]!.signal("SIGKILL")
            yield* alive[index]!.exited
            alive[index] = yield* begin(index)
          } else {
            // It wakes when the other one has what it had in hand.
            yield* alive[index]!.signal("SIGSTOP")
            yield* Effect.sleep(2000)
            yield* alive[index]!.signal("SIGCONT")
          }
        }
        yield* manual.end
        const { dead, delivered, lost, redelivered } = yield* Fiber.join(run)
        assert.deepStrictEqual([delivered, dead, lost], [rounds * 100, 0, 0])
        assert.isAbove(redelivered, 0)
        for (const process of alive) assert.deepStrictEqual(yield* process.exited, { code: 0, signal: null })
        assert.deepStrictEqual(yield* effects, names(rounds * 100))
      }),
    120_000
  )
})
