/**
 * The consumer's program: trains a model on the batches it is given until the feed ends, then tries it on the test set.
 *
 * It does not know where its batches come from: the Layer that provides `Feed.Host<"digits">` does.
 */
import { Effect } from "effect"
import { Digits } from "./feeds.ts"
import { loadTest, stack } from "./mnist.ts"
import { makeModel } from "./model.ts"
import { type Report, runsOf } from "./reports.ts"

/** Images on which the model takes one step. */
const batchSize = 64

/**
 * Trains and tests one model.
 *
 * A batch is acknowledged when the effect that is run for it succeeds, and `report` is part of that effect: what counts
 * as processed has been reported, whenever this consumer dies.
 */
export const train = Effect.fnUntraced(function*(options: {
  readonly device: string
  readonly seed: number
  readonly report: (report: Report) => Effect.Effect<void>
}) {
  const { device, report } = options
  const model = yield* makeModel({ seed: options.seed })
  yield* report({ _tag: "Ready", device })
  yield* Digits.forEachBatch(batchSize, (batch, { deliveries }) =>
    Effect.gen(function*() {
      const runs = runsOf(deliveries)
      // A step holds the thread; before it, the device gets to tell its feeder of the last one.
      yield* Effect.yieldNow
      yield* report({ _tag: "Handed", device, runs })
      const score = yield* model.trainBatch(batch)
      yield* report({ _tag: "Trained", device, runs, ...score })
    }))
  const test = yield* loadTest
  const probabilities = yield* model.predict(stack(test).image)
  yield* report({ _tag: "Tested", device, probabilities: new Uint8Array(probabilities.buffer) })
}, Effect.scoped)
