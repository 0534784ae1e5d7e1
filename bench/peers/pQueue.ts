/** p-queue, with a concurrency of 1, whose producer waits for room. */
/* oxlint-disable no-await-in-loop -- it has to wait for room */
import PQueue from "p-queue"
import { expect } from "../harness.ts"
import { type Local, sumBelow } from "../local.ts"

export const one: Local = async ({ capacity, n }) => {
  let sum = 0
  const queue = new PQueue({ concurrency: 1 })
  for (let i = 0; i < n; i++) {
    if (queue.size >= capacity) await queue.onSizeLessThan(capacity)
    void queue.add(() => {
      sum += i
    })
  }
  await queue.onIdle()
  expect("sum", sum, sumBelow(n))
}
