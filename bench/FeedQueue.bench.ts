/**
 * A producer and a consumer fiber on a `FeedQueue`, against the same two on Effect's own `Queue`, and against fastq.
 */
/* oxlint-disable no-await-in-loop -- measurements stand in line */
import { Effect, Queue } from "effect"
import { FeedQueue } from "effect-feeder"
import fastq from "fastq"
import { type Case, expect, measure } from "./harness.ts"

const run = (n: number, make: Effect.Effect<readonly [Effect.Effect<void, unknown>, Effect.Effect<number, unknown>]>) =>
  Effect.runPromise(Effect.gen(function*() {
    const [produce, consume] = yield* make
    const [sum] = yield* Effect.all([consume, produce], { concurrency: "unbounded" })
    expect("sum", sum, n * (n - 1) / 2)
  }))

const produceEach = (n: number, offer: (i: number) => Effect.Effect<unknown, unknown>) =>
  Effect.gen(function*() {
    for (let i = 0; i < n; i++) yield* offer(i)
  })

const consumeEach = (n: number, take: Effect.Effect<number, unknown>) =>
  Effect.gen(function*() {
    let sum = 0
    for (let i = 0; i < n; i++) sum += yield* take
    return sum
  })

const size = 32

const produceBatches = (n: number, offerAll: (batch: ReadonlyArray<number>) => Effect.Effect<unknown, unknown>) =>
  Effect.gen(function*() {
    for (let i = 0; i < n; i += size) yield* offerAll(Array.from({ length: size }, (_, j) => i + j))
  })

const consumeBatches = (n: number, take: Effect.Effect<ReadonlyArray<number>, unknown>) =>
  Effect.gen(function*() {
    let sum = 0
    for (let left = n; left > 0;) {
      const batch = yield* take
      for (const i of batch) sum += i
      left -= batch.length
    }
    return sum
  })

const onFeedQueue = (
  name: string,
  capacity: number,
  produce: (n: number, queue: FeedQueue.FeedQueue<number>) => Effect.Effect<void, unknown>,
  consume: (n: number, queue: FeedQueue.FeedQueue<number>) => Effect.Effect<number, unknown>
): Case => ({
  name: `FeedQueue ${name}`,
  run: (n) =>
    run(n, Effect.map(FeedQueue.make<number>({ capacity }), (queue) => [produce(n, queue), consume(n, queue)] as const))
})

const onQueue = (
  name: string,
  capacity: number,
  produce: (n: number, queue: Queue.Queue<number>) => Effect.Effect<void, unknown>,
  consume: (n: number, queue: Queue.Queue<number>) => Effect.Effect<number, unknown>
): Case => ({
  name: `Effect Queue ${name}`,
  run: (n) =>
    run(n, Effect.map(Queue.bounded<number>(capacity), (queue) => [produce(n, queue), consume(n, queue)] as const))
})

/** The producer waits for the last push whenever the queue is full. Counted here, as fastq's `length()` walks a list. */
const onFastq = (capacity: number): Case => ({
  name: "fastq.promise",
  run: async (n) => {
    let sum = 0
    let waiting = 0
    const queue = fastq.promise(async (i: number) => {
      sum += i
      waiting--
    }, 1)
    let last: Promise<void> | undefined
    for (let i = 0; i < n; i++) {
      waiting++
      last = queue.push(i)
      if (waiting >= capacity) await last
    }
    await last
    expect("sum", sum, n * (n - 1) / 2)
  }
})

for (const capacity of [10, 1000]) {
  await measure({
    title: `FeedQueue, one element at a time, capacity ${capacity}`,
    payload: "int",
    batch: 1,
    capacity,
    acknowledge: "none",
    clock: "cpu",
    cases: [
      onQueue(
        "offer/take",
        capacity,
        (n, q) => produceEach(n, (i) => Queue.offer(q, i)),
        (n, q) => consumeEach(n, Queue.take(q))
      ),
      onFeedQueue("offer/take", capacity, (n, q) => produceEach(n, q.offer), (n, q) => consumeEach(n, q.take)),
      onFastq(capacity)
    ]
  })
}

for (const capacity of [10, 1000]) {
  const offerAll = (n: number, q: Queue.Queue<number>) => produceBatches(n, (batch) => Queue.offerAll(q, batch))
  const offerAllOurs = (n: number, q: FeedQueue.FeedQueue<number>) => produceBatches(n, q.offerAll)
  await measure({
    title: `FeedQueue, batches of ${size}, capacity ${capacity}`,
    payload: "int",
    batch: size,
    capacity,
    acknowledge: "none",
    clock: "cpu",
    cases: [
      onQueue("offerAll/takeAll", capacity, offerAll, (n, q) => consumeBatches(n, Queue.takeAll(q))),
      onQueue(
        `offerAll/takeBetween(1, ${size})`,
        capacity,
        offerAll,
        (n, q) => consumeBatches(n, Queue.takeBetween(q, 1, size))
      ),
      onFeedQueue(`offerAll/takeUpTo(${size})`, capacity, offerAllOurs, (n, q) => consumeBatches(n, q.takeUpTo(size))),
      onFeedQueue(
        `offerAll/takeAvailable(${size})`,
        capacity,
        offerAllOurs,
        (n, q) => consumeBatches(n, q.takeAvailable(size))
      )
    ]
  })
}
