/**
 * Which elements of an `effectivelyOnce` feed have taken effect, kept by the consumer beside the effects themselves.
 *
 * An element of such a feed is delivered at least once, with an id that is the same each time. The consumer's loop runs
 * its effect inside of `settle`, which commits the effect and the id together, or neither: an element that comes again
 * is known by its id, and acknowledged without running. The effect is exact in the store that holds the ids; what it
 * does elsewhere is done at least once.
 *
 * A store of your own is another Layer of `Settlements`; `layers/SqlSettlements` is the one for SQL databases.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { DeliveryMode } from "./RemoteDevices.ts"

const TypeId = "~effect-feeder/Settlements"

const advice = {
  open: "let its user create the table, or create it as docs/settlements.md tells",
  settle:
    "see that the store answers; the elements are fed again, and those that did commit will be known by their ids",
  prune: "see that the store answers, and prune again"
} as const

/**
 * The store of settlements did not do what it was asked to. Of a `settle` that fails so, either nothing was committed,
 * or all of it was and the next `settle` of those ids finds it; which of the two may be unknown.
 *
 * @category errors
 * @since 0.1.0
 */
export class SettlementsFailed extends Schema.Error<SettlementsFailed>(`${TypeId}/SettlementsFailed`)({
  _tag: Schema.tag("SettlementsFailed"),
  operation: Schema.Literals(["open", "settle", "prune"]),
  /** The place of the settlements, such as a table. */
  where: Schema.String,
  feed: Schema.optional(Schema.String),
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    const what = this.feed === undefined ? "settlements" : `settlements of feed "${this.feed}"`
    return `cannot ${this.operation} ${what} in ${this.where}: ${this.detail}; ${advice[this.operation]}`
  }
}

/**
 * The elements that are to be settled together, by their ids.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settling {
  readonly feed: string
  readonly ids: ReadonlyArray<string>
}

/**
 * Which settlements to forget.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pruning {
  readonly feed: string
  /** Those settled longer ago than this. */
  readonly olderThan: Duration.Input
}

/**
 * The service: see the module.
 *
 * @category services
 * @since 0.1.0
 */
export class Settlements extends Context.Service<Settlements, {
  /**
   * Runs an effect for those of the ids that are not settled yet, given their indices in order, and settles them with
   * it, in one transaction: both are committed, or neither. Without any such id the effect is not run, and the answer is
   * none. An id that is there twice is settled with the first.
   *
   * Who settles an id that is being settled elsewhere waits, and then finds it settled, or runs because the other did
   * not commit. When the effect fails, dies or is interrupted, nothing is settled.
   */
  readonly settle: <A, E, R>(
    settling: Settling,
    effect: (fresh: ReadonlyArray<number>) => Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | SettlementsFailed, R>

  /**
   * Forgets old settlements, so that they do not grow for ever, and says how many. An id that is forgotten and comes
   * again takes effect again: keep them for longer than the longest time that may pass between an element's settlement
   * and its last delivery, thus longer than a feeder may be down between two of its lives.
   */
  readonly prune: (pruning: Pruning) => Effect.Effect<number, SettlementsFailed>
}>()("effect-feeder/Settlements") {}

/**
 * The requirement of a consumer's loop: `Settlements` when the feed is `effectivelyOnce`, nothing otherwise.
 *
 * @category type-level
 * @since 0.1.0
 */
export type SettlementsOf<Del extends DeliveryMode> = Del extends "effectivelyOnce" ? Settlements : never

/**
 * Settlements in the memory of this process: for tests, and for effects that are in its memory too.
 *
 * It does not survive the process, so what comes again after a restart takes effect again; other processes do not see
 * it; and an effect that fails halfway is not undone, since memory has no transactions.
 *
 * **Example** (What comes again does not take effect again)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { Settlements } from "effect-feeder"
 *
 * const seen: Array<number> = []
 * const program = Effect.gen(function*() {
 *   const settlements = yield* Settlements.Settlements
 *   const settle = (ids: ReadonlyArray<string>) =>
 *     settlements.settle({ feed: "orders", ids }, (fresh) => Effect.sync(() => seen.push(...fresh)))
 *   yield* settle(["a", "b"])
 *   yield* settle(["b", "c"])
 *   return seen
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(Settlements.layerMemory))) // => [0, 1, 1]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Settlements> = Layer.sync(Settlements, () => {
  /** When each id was settled, by feed. */
  const feeds = new Map<string, Map<string, number>>()
  /** What is being settled now. */
  const busy = new Map<string, Deferred.Deferred<void>>()

  const settledOf = (feed: string): Map<string, number> => {
    const known = feeds.get(feed)
    if (known !== undefined) return known
    const made = new Map<string, number>()
    feeds.set(feed, made)
    return made
  }

  const settle = <A, E, R>(
    { feed, ids }: Settling,
    effect: (fresh: ReadonlyArray<number>) => Effect.Effect<A, E, R>
  ): Effect.Effect<Option.Option<A>, E, R> =>
    Effect.uninterruptibleMask((restore) => {
      const firsts = new Map(ids.map((id, index) => [id, index] as const).toReversed())
      const keys = [...firsts.keys()].map((id) => `${feed}\n${id}`)
      // All of them at once or none, so that two cannot wait for each other.
      const attempt: Effect.Effect<Option.Option<A>, E, R> = Effect.suspend(() => {
        for (const key of keys) {
          const other = busy.get(key)
          if (other !== undefined) return Effect.andThen(restore(Deferred.await(other)), attempt)
        }
        const settled = settledOf(feed)
        const fresh = ids.flatMap((id, index) => settled.has(id) || firsts.get(id) !== index ? [] : [index])
        if (fresh.length === 0) return Effect.succeedNone
        const finished = Deferred.makeUnsafe<void>()
        for (const key of keys) busy.set(key, finished)
        return Effect.onExit(restore(Effect.suspend(() => effect(fresh))), (exit) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            if (Exit.isSuccess(exit)) {
              for (const index of fresh) {
                settled.set(ids[index]!, now)
              }
            }
            for (const key of keys) {
              busy.delete(key)
            }
            Deferred.doneUnsafe(finished, Effect.void)
          })).pipe(Effect.map(Option.some))
      })
      return attempt
    })

  const prune = ({ feed, olderThan }: Pruning): Effect.Effect<number> =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const settled = settledOf(feed)
      const before = now - Duration.toMillis(Duration.fromInputUnsafe(olderThan))
      const old = [...settled].filter(([, at]) => at < before)
      for (const [id] of old) settled.delete(id)
      return old.length
    })

  return Settlements.of({ settle, prune })
})
