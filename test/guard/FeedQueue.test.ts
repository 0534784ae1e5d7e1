/**
 * What an element costs on its way through a queue. The limits are a little above what was reached: a change that
 * exceeds one has made the queue slower.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Result, Stream } from "effect"
import { FeedQueue, QueueRunner } from "effect-feeder"
import { type Cost, cost } from "./counting.ts"

type Queue = FeedQueue.FeedQueue<number>

const through = (
  capacity: number,
  produce: (n: number, queue: Queue) => Effect.Effect<unknown, unknown>,
  consume: (n: number, queue: Queue) => Effect.Effect<number, unknown>
) =>
(n: number) =>
  Effect.gen(function*() {
    const queue = yield* FeedQueue.make<number>({ capacity })
    const [taken] = yield* Effect.all([consume(n, queue), produce(n, queue)], { concurrency: "unbounded" })
    assert.strictEqual(taken, n)
  })

const produceEach = (n: number, queue: Queue) =>
  Effect.gen(function*() {
    for (let i = 0; i < n; i++) yield* queue.offer(i)
  })

const consumeEach = (n: number, { take }: Queue) =>
  Effect.gen(function*() {
    let taken = 0
    for (let i = 0; i < n; i++) if ((yield* take) === i) taken++
    return taken
  })

const produceBatches = (batch: ReadonlyArray<number>) => (n: number, queue: Queue) =>
  Effect.gen(function*() {
    for (let i = 0; i < n; i += batch.length) yield* queue.offerAll(batch)
  })

const consumeBatches =
  (take: (queue: Queue) => Effect.Effect<ReadonlyArray<number>, unknown>) => (n: number, queue: Queue) =>
    Effect.gen(function*() {
      const next = take(queue)
      let taken = 0
      while (taken < n) taken += (yield* next).length
      return taken
    })

const isWithin = (actual: Cost, limit: Cost) => {
  for (const key of ["steps", "tasks", "bytes"] as const) {
    assert.isAtMost(actual[key], limit[key], `${key} per element, of ${JSON.stringify(actual)}`)
  }
}

const n = 25_600

describe("the cost of an element in a FeedQueue", () => {
  it.each([
    [10, { steps: 5.3, tasks: 0.004, bytes: 900 }],
    [1000, { steps: 5.1, tasks: 0.004, bytes: 750 }]
  ])("one at a time, capacity %i", async (capacity, limit) => {
    isWithin(await cost(n, through(capacity, produceEach, consumeEach)), limit)
  })

  for (
    const [how, size, capacity, limit] of [
      ["takeUpTo", 32, 10, { steps: 0.23, tasks: 0.0003, bytes: 125 }],
      ["takeUpTo", 32, 1000, { steps: 0.17, tasks: 0.0001, bytes: 60 }],
      ["takeUpTo", 256, 1000, { steps: 0.025, tasks: 0.0001, bytes: 30 }],
      ["takeAvailable", 32, 10, { steps: 0.45, tasks: 0.0006, bytes: 160 }],
      ["takeAvailable", 32, 1000, { steps: 0.17, tasks: 0.0001, bytes: 60 }],
      ["takeAvailable", 256, 10, { steps: 0.33, tasks: 0.0006, bytes: 100 }],
      ["takeAvailable", 256, 1000, { steps: 0.025, tasks: 0.0001, bytes: 30 }]
    ] as const
  ) {
    it(`offerAll and ${how}, batches of ${size}, capacity ${capacity}`, async () => {
      const batch = Array.from({ length: size }, (_, i) => i)
      isWithin(
        await cost(n, through(capacity, produceBatches(batch), consumeBatches((queue) => queue[how](size)))),
        limit
      )
    })
  }
})

describe("the cost of an element of a source on its way into a FeedQueue", () => {
  const sources = {
    iterable: (all: ReadonlyArray<number>) => all,
    stream: (all: ReadonlyArray<number>) => Stream.fromArray(all)
  }
  for (
    const [kind, capacity, limit] of [
      ["iterable", 10, { steps: 1.3, tasks: 0.002, bytes: 440 }],
      ["iterable", 1000, { steps: 0.026, tasks: 0.0003, bytes: 130 }],
      ["stream", 10, { steps: 0.32, tasks: 0.0007, bytes: 75 }],
      ["stream", 1000, { steps: 0.017, tasks: 0.0003, bytes: 40 }]
    ] as const
  ) {
    it(`${kind}, capacity ${capacity}`, async () => {
      const all = Array.from({ length: n }, (_, i) => i)
      const run = (_: number, queue: Queue) =>
        Effect.scoped(Effect.gen(function*() {
          const runner = QueueRunner.make({
            name: "source",
            source: sources[kind](all),
            pullSize: capacity,
            read: (given: number) => Result.succeed([given]),
            readAll: (given) => given,
            offer: queue.offerAll,
            feeder: "feeder",
            scope: yield* Effect.scope,
            context: Context.empty()
          })
          yield* runner.run
        }))
      isWithin(await cost(n, through(capacity, run, consumeBatches((queue) => queue.takeAvailable(256)))), limit)
    })
  }
})
