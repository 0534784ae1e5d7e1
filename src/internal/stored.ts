/**
 * What a queue has stored, in the messages of an Effect `Queue`: a list of entries that is counted, and cut, by the elements
 * that they stand for.
 */
import * as MutableList from "effect/MutableList"
import * as Spans from "./spans.ts"

/** The entries that a queue has stored. */
export interface Stored<A> {
  /** How many elements are stored. */
  readonly count: () => number
  /** How many elements there are in some entries. */
  readonly sizeOf: (entries: ReadonlyArray<A>) => number
  /** Puts entries of `count` elements at the end. They are the list's own from then on. */
  readonly append: (entries: Array<A>, count: number) => void
  /** Puts entries back at the front, in order. */
  readonly putBack: (entries: ReadonlyArray<A>) => void
  /** The first entry, where each is one element and there is one. */
  readonly takeOne: () => A
  /** The first entries, of at most `most` elements: the last of them is cut where it has more. */
  readonly takeFirst: (most: number) => Array<A>
  /** Removes the elements that match, by their entry and their place in it, and gives them, in order. */
  readonly removeWhere: (predicate: (entry: A, index: number) => boolean) => Array<A>
}

/** What is stored in such a list. Nobody else takes from it, and what others put there are entries of one element. */
export const make = <A>(list: MutableList.MutableList<A>, spans: Spans.Spans<A> | undefined): Stored<A> => {
  /** How many more elements than entries are stored. */
  let more = 0

  const sizeOf = (entries: ReadonlyArray<A>): number => Spans.size(spans, entries)

  return {
    count: () => list.length + more,
    sizeOf,
    append: (entries, count) => {
      MutableList.appendAllUnsafe(list, entries, true)
      more += count - entries.length
    },
    putBack: (entries) => {
      MutableList.prependAll(list, entries)
      more += sizeOf(entries) - entries.length
    },
    takeOne: () => MutableList.take(list) as A, // there is one
    takeFirst: (most) => {
      if (spans === undefined) return takeN(list, most)
      const taken: Array<A> = []
      for (let left = most; left > 0 && list.length > 0;) {
        const entry = MutableList.take(list) as A // there is one
        const length = spans.lengthOf(entry)
        if (length > left) {
          MutableList.prepend(list, spans.slice(entry, left, length))
          taken.push(spans.slice(entry, 0, left))
          more -= left
          break
        }
        taken.push(entry)
        more -= length - 1
        left -= length
      }
      return taken
    },
    removeWhere: (predicate) => {
      const removed: Array<A> = []
      const all = MutableList.takeAll(list)
      more = 0
      for (const entry of all) {
        const length = spans?.lengthOf(entry) ?? 1
        let from = 0
        let matches = predicate(entry, 0)
        for (let to = 1; to <= length; to++) {
          const next = to < length && predicate(entry, to)
          if (to < length && next === matches) continue
          const some = spans === undefined || to - from === length ? entry : spans.slice(entry, from, to)
          if (matches) removed.push(some)
          else {
            MutableList.append(list, some)
            more += to - from - 1
          }
          from = to
          matches = next
        }
      }
      return removed
    }
  }
}

/** The first entries, at most `most`. As `MutableList.takeN`, but does not copy a batch that lies there as one. */
const takeN = <A>(list: MutableList.MutableList<A>, most: number): Array<A> => {
  const { head } = list
  const isWhole = head?.next !== undefined && head.mutable && head.offset === 0 && head.array.length === most
  if (!isWhole) return MutableList.takeN(list, most)
  list.head = head.next
  list.length -= most
  return head.array
}
