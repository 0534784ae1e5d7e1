/** A producer and a consumer fiber on a `FeedQueue`, as an application would write them. */
import { Effect } from "effect"
import { FeedQueue } from "effect-feeder"
import { consumeBatches, consumeEach, type Local, offerBatches, offerEach, together } from "../local.ts"

export const one: Local = ({ capacity, n }) =>
  together(
    n,
    Effect.map(FeedQueue.make<number>({ capacity }), (queue) => [
      offerEach(n, queue.offer),
      consumeEach(n, queue.take)
    ])
  )

/** Takes what there is, as `Queue.takeAll` does. */
export const available: Local = ({ batch, capacity, n }) =>
  together(
    n,
    Effect.map(FeedQueue.make<number>({ capacity }), (queue) => [
      offerBatches(n, batch, queue.offerAll),
      consumeBatches(n, queue.takeAvailable(Math.max(batch, capacity)))
    ])
  )

/** Takes full batches. */
export const full: Local = ({ batch, capacity, n }) =>
  together(
    n,
    Effect.map(FeedQueue.make<number>({ capacity }), (queue) => [
      offerBatches(n, batch, queue.offerAll),
      consumeBatches(n, queue.takeUpTo(batch))
    ])
  )
