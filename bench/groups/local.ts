/** In process: a producer and a consumer on a `FeedQueue`, one element at a time and in batches. */
import { type Local, local } from "../local.ts"
import * as FeedQueue from "../ours/queue.ts"
import * as AsyncGenerator from "../peers/asyncGenerator.ts"
import * as Fastq from "../peers/fastq.ts"
import * as NodeStreams from "../peers/nodeStreams.ts"
import * as PQueue from "../peers/pQueue.ts"
import * as Queue from "../peers/queue.ts"
import * as Streams from "../peers/stream.ts"
import { comparing, type Comparison, type Group, type Maker } from "../rows.ts"

const one = (capacity: number, goal: number): Group => {
  const make = (name: string, move: Local): Maker => () => local(name, move, { batch: 1, capacity })
  const row = (peer: string, goal: number | null): Comparison => ({
    row: `local-one-${capacity}${peer === "queue" ? "" : `-${peer}`}`,
    ours: ["ours"],
    peer: [peer],
    goal
  })
  return comparing({
    name: `local-one-${capacity}`,
    title: `In process, one element at a time, capacity ${capacity}`,
    cases: {
      ours: make("FeedQueue offer, take", FeedQueue.one),
      queue: make("Effect Queue offer, take", Queue.one),
      stream: make("Effect Stream, buffered", Streams.one),
      pipeline: make("Node pipeline, object mode", NodeStreams.one),
      generator: make("async generator", AsyncGenerator.one),
      fastq: make("fastq, jobs end asynchronously", Fastq.one),
      "fastq-sync": make("fastq, jobs end at once", Fastq.atOnce),
      pqueue: make("p-queue", PQueue.one)
    },
    rows: [
      row("queue", goal),
      row("stream", null),
      row("pipeline", null),
      row("generator", null),
      row("fastq", null),
      row("fastq-sync", null),
      row("pqueue", null)
    ]
  })
}

const batches = (batch: number, capacity: number, hasGoals: boolean): Group => {
  const name = `local-batch-${batch}${capacity === 1000 ? "" : `-${capacity}`}`
  const make = (name: string, move: Local): Maker => () => local(name, move, { batch, capacity })
  const alone = (name: string, move: Local): Maker => () => local(name, move, { batch: 1, capacity })
  const goal = (ratio: number) => hasGoals ? ratio : null
  return comparing({
    name,
    title: `In process, batches of ${batch}, capacity ${capacity}`,
    cases: {
      available: make("FeedQueue offerAll, takeAvailable", FeedQueue.available),
      full: make(`FeedQueue offerAll, takeUpTo(${batch})`, FeedQueue.full),
      all: make("Effect Queue offerAll, takeAll", Queue.all),
      between: make(`Effect Queue offerAll, takeBetween(1, ${batch})`, Queue.full),
      pipeline: alone("Node pipeline, object mode", NodeStreams.one),
      fastq: alone("fastq, jobs end asynchronously", Fastq.one),
      "fastq-sync": alone("fastq, jobs end at once", Fastq.atOnce)
    },
    rows: [
      { row: name, ours: ["available"], peer: ["all"], goal: goal(1) },
      { row: `${name}-full`, ours: ["full"], peer: ["between"], goal: null },
      { row: `${name}-pipeline`, ours: ["available"], peer: ["pipeline"], goal: goal(2) },
      { row: `${name}-fastq`, ours: ["available"], peer: ["fastq"], goal: goal(1.3) },
      { row: `${name}-fastq-sync`, ours: ["available"], peer: ["fastq-sync"], goal: null }
    ]
  })
}

export const groups: ReadonlyArray<Group> = [
  one(1000, 2),
  one(10, 1.5),
  batches(32, 1000, true),
  batches(256, 1000, true),
  batches(32, 10, false)
]
