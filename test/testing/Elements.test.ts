import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Feed, Feeder, MemoryDevices, Tensor } from "effect-feeder"
import { Elements, Ledgers } from "effect-feeder/testing"
import * as Arbitrary from "effect/Arbitrary"

const Digits = Feed.make("digits", {
  element: Schema.Struct({
    image: Tensor.float32([2, 3]),
    label: Tensor.uint8([]),
    source: Schema.String.pipe(Schema.check(Schema.isMaxLength(4)))
  }),
  capacity: 4
})
const isElement = Schema.is(Digits.element)

describe("Elements", () => {
  it.effect("arbitrary gives elements of the feed, tensors of the declared shape included", () =>
    Effect.gen(function*() {
      const samples = yield* Arbitrary.sampleEffect(Elements.arbitrary(Digits), { count: 50, seed: 1 })
      assert.strictEqual(samples.length, 50)
      assert.isTrue(samples.every((element) => isElement(element) && element.image.length === 6))
    }))

  it.effect.prop("arrays are sources: whatever they are, they are fed in order", {
    source: Elements.arrays(Digits, { maxLength: 12 })
  }, ({ source }) =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const [ledger] = yield* Effect.all([
        Feeder.run(Digits, { source, devices: ["/job:consumer"] }),
        Digits.forEach((element) => Effect.sync(() => seen.push(element)))
      ], { concurrency: "unbounded" })
      Ledgers.assertCounts(ledger, { generated: source.length, delivered: source.length, redelivered: 0 })
      assert.deepStrictEqual(seen, source)
    }).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Digits] }), { local: true })))
})
