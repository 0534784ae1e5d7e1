/**
 * `Settlements` in a table of the user's own SQL database: exact for effects that are queries of the same `SqlClient`.
 *
 * The ids of the elements are inserted first, then the effect runs, in one transaction. Queries of the effect through
 * the same `SqlClient` join that transaction by themselves. Another consumer that inserts one of the ids meanwhile waits
 * in the database, by the table's primary key, until this transaction has ended.
 *
 * It needs `insert … on conflict do nothing returning`, which PostgreSQL and SQLite have; it is tested on PostgreSQL.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { type Pruning, Settlements, SettlementsFailed, type Settling } from "../Settlements.ts"

/**
 * How settlements are kept.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The table, with or without a schema. It is created if it is absent. Default `"effect_feeder_settlements"`. */
  readonly table?: string | undefined
}

/** Rows that one statement inserts or deletes: a bound for its parameters, and for how long it locks. */
const most = 1000

/** A failure of the user's effect, kept apart from those of the transaction around it. */
class Failed<E> {
  readonly error: E
  constructor(error: E) {
    this.error = error
  }
}

/** Where a rollback fails, as on a lost connection, the client dies with what it failed with. */
const sqlErrorIn = (cause: Cause.Cause<unknown>): SqlError | undefined => {
  const errors = cause.reasons.map((reason) =>
    Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
  )
  return errors.find(isSqlError)
}

/**
 * Settlements in a table of the database.
 *
 * Its rows are `(feed, id, settled_at)`; `settled_at` is in milliseconds since 1970, by this process' clock. Each
 * element, or batch, that is being processed holds a connection of the client's pool: give it as many as the loops of
 * this process have `concurrency`. An id must fit the primary key: up to 2 kB on PostgreSQL.
 *
 * **Example** (On PostgreSQL)
 *
 * ```ts import.meta.vitest
 * import { PgClient } from "@effect/sql-pg"
 * import { Layer, Redacted } from "effect"
 * import * as SqlSettlements from "effect-feeder/layers/SqlSettlements"
 *
 * const database = PgClient.layer({ url: Redacted.make("postgres://localhost/shop") })
 * const layer = SqlSettlements.layer().pipe(Layer.provideMerge(database))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Settlements, SettlementsFailed, SqlClient.SqlClient> =>
  Layer.effect(
    Settlements,
    Effect.gen(function*() {
      const sql = (yield* SqlClient.SqlClient).withoutTransforms()
      const name = options.table ?? "effect_feeder_settlements"
      const where = `table "${name}"`
      const table = sql(name)

      const failed = (operation: SettlementsFailed["operation"], error: SqlError, feed?: string) => {
        // What the database itself has said is in the cause.
        const { cause } = error.reason
        const said = cause instanceof Error && !error.message.includes(cause.message) ? ` (${cause.message})` : ""
        return new SettlementsFailed({ operation, where, feed, detail: `${error.message}${said}`, cause: error })
      }

      const dialect = sql.onDialectOrElse({ pg: () => "", sqlite: () => "", orElse: () => "on conflict do nothing" })
      if (dialect !== "") {
        const detail = `the database of ${sql.driver} has no "insert … ${dialect} returning"`
        return yield* new SettlementsFailed({ operation: "open", where, detail })
      }
      // Looked for first: whoever may use a table need not be allowed to create one. Another process may create it at
      // the same time, which PostgreSQL reports as a conflict of its catalogue.
      yield* sql`select id from ${table} where 1 = 0`.pipe(
        Effect.catch(() =>
          Effect.retry(
            sql`create table if not exists ${table} (
              feed text not null,
              id text not null,
              settled_at bigint not null,
              primary key (feed, id)
            )`,
            { times: 3 }
          )
        ),
        Effect.mapError((error) => failed("open", error))
      )

      /** Inserts ids and gives those that were not there. In order, so that two transactions cannot wait for each other. */
      const insert = (feed: string, ids: ReadonlyArray<string>, now: number) =>
        Effect.gen(function*() {
          const inserted = new Set<string>()
          for (const some of Arr.chunksOf([...new Set(ids)].toSorted(), most)) {
            const rows = Arr.map(some, (id) => ({ feed, id, settled_at: now }))
            const fresh = yield* sql<
              { readonly id: string }
            >`insert into ${table} ${sql.insert(rows)} on conflict do nothing returning id`
            for (const { id } of fresh) inserted.add(id)
          }
          return inserted
        })

      const settle = <A, E, R>(
        { feed, ids }: Settling,
        effect: (fresh: ReadonlyArray<number>) => Effect.Effect<A, E, R>
      ): Effect.Effect<Option.Option<A>, E | SettlementsFailed, R> =>
        Clock.currentTimeMillis.pipe(
          Effect.flatMap((now) => insert(feed, ids, now)),
          Effect.flatMap((inserted) => {
            const fresh = ids.flatMap((id, index) => inserted.delete(id) ? [index] : [])
            return fresh.length === 0
              ? Effect.succeedNone
              : Effect.suspend(() => effect(fresh)).pipe(
                Effect.map(Option.some),
                Effect.mapError((error) => new Failed(error))
              )
          }),
          sql.withTransaction,
          Effect.catchCause((cause): Effect.Effect<never, E | SettlementsFailed> => {
            const own = Option.getOrUndefined(Cause.findErrorOption(cause))
            if (own instanceof Failed) return Effect.fail(own.error)
            const error = sqlErrorIn(cause)
            return error === undefined
              ? Effect.failCause(
                Cause.fromReasons<never>(cause.reasons.filter((reason) => !Cause.isFailReason(reason)))
              )
              : Effect.fail(failed("settle", error, feed))
          })
        )

      const prune = ({ feed, olderThan }: Pruning): Effect.Effect<number, SettlementsFailed> =>
        Effect.gen(function*() {
          const before = (yield* Clock.currentTimeMillis) - Duration.toMillis(Duration.fromInputUnsafe(olderThan))
          let count = 0
          while (true) {
            const deleted = yield* sql`delete from ${table} where feed = ${feed} and id in (
              select id from ${table} where feed = ${feed} and settled_at < ${before} limit ${most}
            ) returning id`
            count += deleted.length
            if (deleted.length < most) return count
          }
        }).pipe(Effect.mapError((error) => failed("prune", error, feed)))

      return Settlements.of({ settle, prune })
    })
  )
