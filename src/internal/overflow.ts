/**
 * What a source's elements do at a full local queue.
 */
import * as Effect from "effect/Effect"
import type { QueueClosed } from "../FeedQueue.ts"
import type { Books, Slot } from "./feederBooks.ts"
import * as Items from "./items.ts"
import * as Spans from "./spans.ts"

/** So many may wait to become dead letters before a source that overflows waits. */
const mostPending = 1024

/** Admits elements, and tells of how many it has taken charge. */
export type Admit<A> = (
  slots: ReadonlyArray<Slot<A>>,
  onAdmit: (count: number) => void
) => Effect.Effect<void, QueueClosed>

/** How elements are admitted under a policy. */
export const make = <A>({ books, policy }: {
  readonly books: Books<A>
  readonly policy: "suspend" | "dropping" | "sliding"
}): Admit<A> => {
  const { queue } = books
  if (policy === "suspend") return queue.offerAll

  /** What is given up for the elements to fit: the newest of all, or the oldest. */
  const overflow = (slots: ReadonlyArray<Slot<A>>, room: number): readonly [
    kept: ReadonlyArray<Slot<A>>,
    dropped: ReadonlyArray<Slot<A>>
  ] => {
    const count = Items.size(slots)
    const between = (from: number, to: number) => Spans.slice<Slot<A>>(Items.spans, slots, from, to)
    if (policy === "dropping") return [between(0, room), between(room, count)]
    let tooMany = count - room
    const oldest = queue.removeWhereUnsafe(() => tooMany-- > 0)
    const first = Math.max(0, count - queue.capacity)
    return [between(first, count), [...oldest, ...between(0, first)]]
  }

  const dropsWritten = books.until(() => books.box.pending() < mostPending)

  return (slots, onAdmit) =>
    Effect.suspend(() => {
      const room = Math.max(0, queue.capacity - queue.sizeUnsafe())
      if (Items.size(slots) <= room || queue.isClosedUnsafe()) return queue.offerAll(slots, onAdmit)
      const [kept, dropped] = overflow(slots, room)
      books.overflowUnsafe(dropped)
      onAdmit(Items.size(slots) - Items.size(kept))
      // There is room, and nobody else has had a turn to take it.
      return Effect.andThen(
        kept.length === 0 ? Effect.void : queue.offerAll(kept, onAdmit),
        // Consumers, and the store, get their turn, however fast the source is.
        Effect.andThen(Effect.yieldNow, dropsWritten)
      )
    })
}
