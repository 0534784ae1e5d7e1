/** Parts of batches. */
import type { Batch, FeedInfo, Run } from "../RemoteDevices.ts"

/** The runs of the elements from one index up to, not including, another. */
const runsOf = (runs: ReadonlyArray<Run>, from: number, to: number): ReadonlyArray<Run> => {
  const all: Array<Run> = []
  let at = 0
  for (const { attempt, count, ordinal } of runs) {
    const begin = Math.max(from - at, 0)
    const end = Math.min(to - at, count)
    if (begin < end) all.push({ ordinal: ordinal + begin, count: end - begin, attempt })
    at += count
  }
  return all
}

/** The elements of a batch from one index up to, not including, another, as a batch. */
export const partOf = (batch: Batch, feed: FeedInfo, from: number, to: number): Batch =>
  from <= 0 && to >= batch.chunk.length ? batch : {
    ...batch,
    first: batch.first + from,
    runs: runsOf(batch.runs, from, to),
    chunk: feed.codec.slice(batch.chunk, from, to),
    ...(batch.ids === undefined ? {} : { ids: batch.ids.slice(from, to) })
  }

/** The same elements, marked as given once more. */
export const marked = (batch: Batch): Batch => ({
  ...batch,
  runs: batch.runs.map((run) => ({ ...run, attempt: run.attempt + 1 }))
})
