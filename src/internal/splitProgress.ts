/**
 * What of one split of a source is acknowledged: everything up to a watermark, and ranges above it between which
 * elements are still open.
 *
 * The open elements are a linked list in reading order. Each remembers up to where everything behind it, before the next
 * open one, is acknowledged; the head of the list remembers the same of everything before the first. So an element costs
 * one step to admit and one to acknowledge, and what is acknowledged costs no memory.
 */
import type { Origin } from "./items.ts"

/** A range of positions: those greater than the first number, up to the second. */
export type Range = readonly [after: number, to: number]

/** An element at `position` is acknowledged if it is at most `to`, or in a range of `above`. */
export interface Snapshot {
  readonly to: number | undefined
  readonly above: ReadonlyArray<Range>
}

/** An element that was read and is not acknowledged; `index` is its number in reading order, from 1. */
export interface Open extends Origin {
  readonly position: number
  readonly index: number
}

/** The progress of one split: see the module. */
export interface SplitProgress {
  /** How many elements were read, acknowledged ones included, and the position of the last one, or where reading began. */
  readonly read: () => number
  readonly last: () => number | undefined
  /** How many of the elements that were read are at most the watermark. */
  readonly passed: () => number
  /**
   * The next element in reading order, whose position must be greater than `last`. None if an earlier life has it
   * acknowledged: it is not to be fed. Its `settledUnsafe` acknowledges it; more than once does no harm.
   */
  readonly admit: (position: number) => Open | undefined
  readonly snapshot: () => Snapshot
}

interface Node {
  readonly position: number
  /** Everything behind this element and before the next open one is acknowledged up to here. */
  ackedTo: number
  ackedIndex: number
  previous: Node | undefined
  next: Node | undefined
}

/** The progress of a split that goes on from a snapshot. */
export const make = (from: Snapshot): SplitProgress => {
  const start = from.to ?? Number.NEGATIVE_INFINITY
  const head: Node = { position: start, ackedTo: start, ackedIndex: 0, previous: undefined, next: undefined }
  let tail = head
  let read = 0
  let last = start
  /** How many ranges of the snapshot reading has passed. */
  let passedRanges = 0

  const acknowledge = (node: Node) => {
    const { next, previous } = node
    if (previous === undefined) return
    previous.ackedTo = node.ackedTo
    previous.ackedIndex = node.ackedIndex
    previous.next = next
    if (next === undefined) tail = previous
    else next.previous = previous
    node.previous = undefined
    node.next = undefined
  }

  const isAcknowledged = (position: number): boolean => {
    let range = from.above[passedRanges]
    while (range !== undefined && range[1] < position) range = from.above[++passedRanges]
    return range !== undefined && range[0] < position
  }

  return {
    read: () => read,
    last: () => toPosition(last),
    passed: () => head.ackedIndex,
    admit: (position) => {
      const index = ++read
      last = position
      if (isAcknowledged(position)) {
        tail.ackedTo = position
        tail.ackedIndex = index
        return undefined
      }
      const node: Node & Open = {
        position,
        index,
        ackedTo: position,
        ackedIndex: index,
        previous: tail,
        next: undefined,
        settledUnsafe: () => acknowledge(node)
      }
      tail.next = node
      tail = node
      return node
    },
    snapshot: () => {
      const above: Array<Range> = []
      for (let node = head.next; node !== undefined; node = node.next) {
        if (node.ackedTo > node.position) above.push([node.position, node.ackedTo])
      }
      for (const [after, to] of from.above.slice(passedRanges)) {
        if (to <= last) continue
        const known = above.at(-1)
        if (known !== undefined && known[1] >= after) above[above.length - 1] = [known[0], to]
        else above.push([Math.max(after, last), to])
      }
      return { to: toPosition(head.ackedTo), above }
    }
  }
}

const toPosition = (position: number): number | undefined =>
  position === Number.NEGATIVE_INFINITY ? undefined : position
