/**
 * fastq, by callbacks, which are 2.5 times as fast as its promises. It has no bound: what waits is counted here, since its
 * `length()` walks a list.
 */
import fastq from "fastq"
import { expect } from "../harness.ts"
import { type Local, sumBelow } from "../local.ts"

/** The worker ends each job a microtask later, as one does that has something to wait for. */
export const one: Local = ({ capacity, n }) =>
  new Promise<number>((resolve) => {
    let sum = 0
    let next = 0
    let waiting = 0
    const queue = fastq<unknown, number, void>((i, done) => {
      sum += i
      queueMicrotask(() => done(null))
    }, 1)
    const push = () => {
      while (next < n && waiting < capacity) {
        waiting++
        queue.push(next++, settled)
      }
    }
    const settled = () => {
      waiting--
      push()
      if (waiting === 0) resolve(sum)
    }
    push()
  }).then((sum) => expect("sum", sum, sumBelow(n)))

/**
 * The worker begins a microtask after a push into an empty queue, and ends all other jobs at once, each inside of the
 * former: nothing in it can wait. Begun at once it would be called by the push, and nothing would ever be queued.
 */
export const atOnce: Local = ({ capacity, n }) =>
  new Promise<number>((resolve) => {
    let sum = 0
    let next = 0
    let waiting = 0
    const queue = fastq<unknown, number, void>((i, done) => {
      sum += i
      if (i % capacity === 0) queueMicrotask(() => done(null))
      else done(null)
    }, 1)
    const settled = () => {
      waiting--
      if (waiting > 0) return
      if (next === n) resolve(sum)
      else push()
    }
    const push = () => {
      for (const end = Math.min(n, next + capacity); next < end; next++) {
        waiting++
        queue.push(next, settled)
      }
    }
    push()
  }).then((sum) => expect("sum", sum, sumBelow(n)))
