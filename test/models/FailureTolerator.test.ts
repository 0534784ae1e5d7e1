import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Pull, Schedule, Schema } from "effect"
import * as FailureTolerator from "effect-feeder/FailureTolerator"
import { DeviceLost } from "effect-feeder/RemoteDevices"
import * as Arbitrary from "effect/Arbitrary"
import { TestClock } from "effect/testing"
import { type Answer, FailureToleratorModel, type Options } from "./FailureToleratorModel.ts"
import { between, checks, falsified, scripts } from "./scripts.ts"

const Failures = scripts([["lost", 6], ["other", 1], ["pass", 4], ["passDelay", 4]])
type FailureScript = typeof Failures extends Arbitrary.Arbitrary<infer A> ? A : never

const seconds = (maximum: number) => Arbitrary.map(between(0, maximum), (n) => n * 1000)
const Settings: Arbitrary.Arbitrary<Options> = Arbitrary.all({
  limit: between(0, 6),
  initDelay: seconds(8),
  backoffFactor: Arbitrary.schema(Schema.Literals([2, 0.5, 1, 1.5, 3])),
  forgiveAfter: seconds(30)
})

const lost = new DeviceLost({ device: "/job:consumer", fate: "unknown" })

/** Runs a script on a budget and its model: each failure is tolerated, after the same delay, or fatal for both. */
const agree = ({ make = (options) => new FailureToleratorModel(options), script, settings }: {
  readonly settings: Options
  readonly script: FailureScript
  readonly make?: (options: Options) => FailureToleratorModel
}) =>
  Effect.gen(function*() {
    const begin = Schedule.toStep(FailureTolerator.make(settings))
    let [model, step] = [make(settings), yield* begin]
    for (const [index, { n, op }] of script.entries()) {
      if (op === "pass" || op === "passDelay") {
        // What is left of a delay, or a time that ends in a delay or goes beyond it.
        const millis = op === "pass" ? n * 1000 : model.delay
        yield* TestClock.adjust(millis)
        model.pass(millis)
        continue
      }
      const answer = yield* step(yield* Clock.currentTimeMillis, op === "lost" ? lost : new Error("no reason")).pipe(
        Effect.map(([remembered, delay]): Answer => ({ remembered, delay: Duration.toMillis(delay) })),
        Pull.catchDone((remembered) => Effect.succeed<Answer>({ remembered, isFatal: true }))
      )
      assert.deepStrictEqual(answer, model.fail(op === "lost"), `failure ${index}`)
      // Who tries once more has a budget of his own.
      if ("isFatal" in answer) [model, step] = [make(settings), yield* begin]
    }
  })

/** Thinks that failures age during delays. */
class Restless extends FailureToleratorModel {
  override pass(millis: number) {
    this.delay = 0
    super.pass(millis)
  }
}

describe("FailureTolerator and its model", () => {
  it.effect.prop(
    "each failure is tolerated after the same delay, or fatal",
    {
      settings: Settings,
      script: Failures
    },
    agree,
    checks(1000)
  )

  it.effect("a divergence prints a short script and a token that replays it", () =>
    Effect.gen(function*() {
      const make = (options: Options) => new Restless(options)
      const { input, printed } = yield* falsified(
        Arbitrary.all({ settings: Settings, script: Failures }),
        (input) => agree({ ...input, make })
      )
      // Two failures, and of what passes between them the delay of the first: it does not count.
      assert.match(input.script.map(({ op }) => op).join(), /^lost,pass(Delay)?,lost$/, printed)
      assert.include(printed, "\"op\": \"lost\"")
    }))
})
