/**
 * The elements that a source gave, on their way into a feeder's queue: those that came together stay together, so that a
 * frame can be cut out of them.
 */
import * as Result from "effect/Result"
import type { BatchCodec, Chunk, ElementInvalid } from "../BatchCodec.ts"
import type { Slot } from "./feederBooks.ts"
import { ChunkItem } from "./items.ts"

const slotsOf = <A>(chunk: Chunk<A>): ReadonlyArray<Slot<A>> =>
  chunk.length === 0 ? [] : [new ChunkItem(chunk, 0, chunk.length)]

/** Of fewer elements it does not pay to make columns. */
const fewest = 32

/** What a source gives as slots, checked unless it is typed and checks are left to the edges. */
export const reader = <A, B>(codec: BatchCodec<A, B>, validate: "always" | "edges") => {
  const one = (element: A): ReadonlyArray<Slot<A>> => slotsOf(codec.fromElements([element]))
  const checkOne = (element: A) => validate === "edges" ? Result.succeed(element) : codec.validate(element)
  const checkAll = (elements: ReadonlyArray<A>): Chunk<A> | undefined => {
    if (validate === "edges") return codec.fromElements(elements)
    if (elements.length >= fewest) return Result.getOrUndefined(codec.fromUnknown(elements))
    const valid: Array<A> = []
    for (const element of elements) {
      const checked = codec.validate(element)
      if (Result.isFailure(checked)) return undefined
      valid.push(checked.success)
    }
    return codec.fromElements(valid)
  }
  return {
    element: (given: A): Result.Result<ReadonlyArray<Slot<A>>, ElementInvalid> => Result.map(checkOne(given), one),
    /** `undefined` when one of them is invalid. */
    elements: (given: ReadonlyArray<A>): ReadonlyArray<Slot<A>> | undefined => {
      const chunk = checkAll(given)
      return chunk === undefined ? undefined : slotsOf(chunk)
    },
    batch: (given: B): Result.Result<ReadonlyArray<Slot<A>>, ElementInvalid> =>
      Result.map(codec.fromBatch(given), slotsOf)
  }
}
