/** Effect's own `Queue`, bounded. */
import { Effect, Queue } from "effect"
import { consumeBatches, consumeEach, type Local, offerBatches, offerEach, together } from "../local.ts"

export const one: Local = ({ capacity, n }) =>
  together(
    n,
    Effect.map(Queue.bounded<number>(capacity), (queue) => [
      offerEach(n, (i) => Queue.offer(queue, i)),
      consumeEach(n, Queue.take(queue))
    ])
  )

export const all: Local = ({ batch, capacity, n }) =>
  together(
    n,
    Effect.map(Queue.bounded<number>(capacity), (queue) => [
      offerBatches(n, batch, (elements) => Queue.offerAll(queue, elements)),
      consumeBatches(n, Queue.takeAll(queue))
    ])
  )

/** `takeN` gives at most `capacity`; what is full below it is a batch. */
export const full: Local = ({ batch, capacity, n }) =>
  together(
    n,
    Effect.map(Queue.bounded<number>(capacity), (queue) => [
      offerBatches(n, batch, (elements) => Queue.offerAll(queue, elements)),
      consumeBatches(n, Queue.takeBetween(queue, 1, batch))
    ])
  )
