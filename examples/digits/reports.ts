/**
 * What consumers tell of their work. A consumer in a process of its own writes one JSON line for each.
 */
import { Schema } from "effect"
import type { Feed } from "effect-feeder"

/** `count` elements whose ordinals follow each other, the first of them `from`, all marked as redelivered or none. */
export const Run = Schema.Tuple([Schema.Natural, Schema.Natural, Schema.Boolean])
export type Run = typeof Run.Type

/** What a consumer tells. */
export const Report = Schema.TaggedUnion({
  /** It can be fed. */
  Ready: { device: Schema.String },
  /** It was given a batch, on which it has not trained yet. */
  Handed: { device: Schema.String, runs: Schema.Array(Run) },
  /** It has trained on a batch, which is not acknowledged yet. */
  Trained: { device: Schema.String, runs: Schema.Array(Run), loss: Schema.Finite, accuracy: Schema.Finite },
  /** Its feed has ended: the bytes of ten 32 bit floats for each test image, how probable its model finds each digit. */
  Tested: { device: Schema.String, probabilities: Schema.Uint8ArrayFromBase64 },
  /** It has died, and another takes its place. Told by who watches over it. */
  Died: { device: Schema.String, cause: Schema.String }
})
export type Report = typeof Report.Type

/** A report as a line of JSON. */
export const ReportFromLine = Schema.fromJsonString(Schema.toCodecJson(Report))

/** The elements of a batch as runs. */
export const runsOf = (deliveries: ReadonlyArray<Feed.Delivery>): ReadonlyArray<Run> => {
  const runs: Array<Run> = []
  for (const { ordinal, redelivered } of deliveries) {
    const last = runs.at(-1)
    if (last !== undefined && last[0] + last[1] === ordinal && last[2] === redelivered) {
      runs[runs.length - 1] = [last[0], last[1] + 1, redelivered]
    } else {
      runs.push([ordinal, 1, redelivered])
    }
  }
  return runs
}
