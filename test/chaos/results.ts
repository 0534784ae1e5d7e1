/**
 * What consumers of `effectivelyOnce` elements do: they write the element's number into a table, which allows it to be
 * there twice, in the transaction that settles it.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type { RemoteDevices } from "effect-feeder"
import { Settlements } from "effect-feeder"
import * as SqlSettlements from "effect-feeder/layers/SqlSettlements"
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

/** Where the database listens: a folder for its socket. */
export const Database = Schema.Struct({
  host: Schema.String,
  port: Schema.Natural,
  username: Schema.String,
  database: Schema.String
})

export type Database = typeof Database.Type

/** Does what is to be done with elements. */
export class Results extends Context.Service<Results, {
  readonly add: (numbers: ReadonlyArray<number>) => Effect.Effect<void, SqlError>
}>()("effect-feeder/test/chaos/Results") {}

const layerNone = Layer.succeed(Results, { add: () => Effect.void })

const layerSql = Layer.effect(
  Results,
  Effect.map(SqlClient.SqlClient, (sql) =>
    Results.of({
      add: (numbers) =>
        Arr.isReadonlyArrayNonEmpty(numbers)
          ? Effect.asVoid(sql`insert into results ${sql.insert(Arr.map(numbers, (n) => ({ n })))}`)
          : Effect.void
    }))
)

/**
 * What a consumer needs. A transaction of one that is stopped is ended by the database when the lease has run out:
 * whoever is given the elements instead would wait for it.
 */
export const layer = (delivery: RemoteDevices.DeliveryMode, database: Database | undefined, leaseMillis: number) =>
  delivery !== "effectivelyOnce" || database === undefined
    ? Layer.merge(Settlements.layerMemory, layerNone)
    : Layer.merge(SqlSettlements.layer(), layerSql).pipe(
      Layer.provide(PgClient.layer({
        ...database,
        maxConnections: 2,
        startupParameters: { idle_in_transaction_session_timeout: String(leaseMillis) }
      }))
    )

export const createTable = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table results (n integer not null)`)

/** Elements whose results are asked for at once. */
const page = 50_000

/** How often each element is in the table. */
export const count = (generated: number): Effect.Effect<(n: number) => number, SqlError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const times = new Uint8Array(generated)
    yield* sql`create index results_n on results (n)`
    for (let from = 0; from < generated; from += page) {
      const rows = yield* sql<{ readonly n: number; readonly times: number }>`
        select n, count(*)::integer as times from results where n >= ${from} and n < ${from + page} group by n`
      for (const row of rows) times[row.n] = Math.min(255, row.times)
    }
    return (n) => times[n] ?? 0
  })
