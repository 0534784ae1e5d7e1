/**
 * Writes the checkpoints of one life of a feeder, in turn to the two copies.
 */
import * as Effect from "effect/Effect"
import type * as KeyValueStore from "effect/persistence/KeyValueStore"
import type { Checkpoint, Copy } from "./checkpoints.ts"
import * as Checkpoints from "./checkpoints.ts"

/** What is kept. */
export type Content = Pick<Checkpoint, "splits" | "devices" | "leaseMillis">

/** The checkpoints of one life: see the module. */
export interface CheckpointStore {
  /** What the life before has left, if there was one. */
  readonly inherited: Checkpoint | undefined
  /** The last checkpoint that this life is known to have written. */
  readonly written: () => Checkpoint | undefined
  /** Not to be run twice at once. A write that fails, or is interrupted, may have been done or not. */
  readonly write: (content: Content) => Effect.Effect<Checkpoint, Checkpoints.CheckpointFailed>
}

/**
 * Loads what the life before has left. Then it claims the id, by writing that again: a former life that goes on in
 * another process finds it, and writes no more, so that it does not reserve what this life knows nothing of. What it has
 * written meanwhile is loaded again. A store that cannot be written is left to the first checkpoint.
 */
export const open = (options: {
  readonly store: KeyValueStore.KeyValueStore
  readonly feed: string
  readonly feeder: string
  readonly incarnation: number
}): Effect.Effect<CheckpointStore, Checkpoints.CheckpointFailed> => {
  const { feed, feeder, incarnation, store } = options
  const key = Checkpoints.keyOf(options)
  let newest: { readonly checkpoint: Checkpoint; readonly copy: Copy } | undefined
  let written: Checkpoint | undefined

  const write = ({ devices, leaseMillis, splits }: Content): Effect.Effect<Checkpoint, Checkpoints.CheckpointFailed> =>
    Effect.gen(function*() {
      const copy = newest?.copy === "a" ? "b" : "a"
      const sequence = (newest?.checkpoint.sequence ?? 0) + 1
      const other = yield* Checkpoints.read(store, key, copy)
      if (typeof other === "object" && other.sequence >= sequence && other.incarnation !== incarnation) {
        const detail = `sequence ${other.sequence} by incarnation ${other.incarnation}, this one is ${incarnation}`
        return yield* new Checkpoints.CheckpointFailed({ key, why: "taken over", detail })
      }
      const checkpoint: Checkpoint = { feed, feeder, incarnation, sequence, leaseMillis, devices, splits }
      yield* store.set(`${key}/${copy}`, Checkpoints.encode(checkpoint)).pipe(
        Effect.catchDefect(Effect.fail),
        Effect.mapError((error) =>
          new Checkpoints.CheckpointFailed({ key, why: "unwritable", detail: Checkpoints.detailOf(error) })
        )
      )
      newest = { checkpoint, copy }
      written = checkpoint
      return checkpoint
    })

  const claim = (attempts: number): Effect.Effect<CheckpointStore, Checkpoints.CheckpointFailed> =>
    Effect.gen(function*() {
      newest = yield* Checkpoints.newest(store, key)
      const inherited = newest?.checkpoint
      if (inherited !== undefined) {
        yield* Effect.catchIf(
          write(inherited),
          (failed) => failed.why === "unwritable",
          (failed) => Effect.logWarning(failed.message)
        )
      }
      return { inherited, written: () => written, write }
    }).pipe(
      Effect.catchIf(
        (failed) => failed.why === "taken over" && attempts > 1,
        () => claim(attempts - 1)
      )
    )

  return claim(5)
}
