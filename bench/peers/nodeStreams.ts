/** A `pipeline` of `node:stream` in object mode. Pushing up to the high-water mark was faster than `Readable.from`. */
import { Readable, Writable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { expect } from "../harness.ts"
import { type Local, sumBelow } from "../local.ts"

export const one: Local = async ({ capacity, n }) => {
  let next = 0
  let sum = 0
  await pipeline(
    new Readable({
      objectMode: true,
      highWaterMark: capacity,
      read() {
        while (next < n && this.push(next++));
        if (next === n) this.push(null)
      }
    }),
    new Writable({
      objectMode: true,
      highWaterMark: capacity,
      write(i: number, _, done) {
        sum += i
        done()
      }
    })
  )
  expect("sum", sum, sumBelow(n))
}
