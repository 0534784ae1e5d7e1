import { Effect, type Layer, Schema, type Stream } from "effect"
import { type BatchCodec, Feed, MemoryDevices, type RemoteDevices, Settlements, Tensor } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { describe, expect, it } from "tstyche"

const Digits = Feed.make("digits", {
  element: Schema.Struct({
    image: Tensor.float32([28, 28]),
    label: Tensor.int32([]),
    note: Schema.optional(Schema.String)
  })
})
const Accepted = Feed.make("accepted", { element: Schema.Int, acknowledge: "accepted" })
const Orders = Feed.make("orders", { element: Schema.Int, delivery: "effectivelyOnce", identify: String })
const Ticks = Feed.make("ticks", { element: Schema.Int, delivery: "atMostOnce" })

class Busy extends Schema.TaggedError<Busy>()("Busy", {}) {}

describe("a feed", () => {
  it("has its name, element and acknowledgement in its type", () => {
    expect(Digits.name).type.toBe<"digits">()
    expect(Digits.acknowledge).type.toBe<"processed">()
    expect(Accepted.acknowledge).type.toBe<"accepted">()
  })

  it("refuses an element that needs services, and an acknowledgement that does not exist", () => {
    expect(Feed.make).type.not.toBeCallableWith("x", { element: Schema.Int, acknowledge: "sometimes" })
    expect(Feed.make).type.not.toBeCallableWith("x", { element: "not a schema" })
  })

  it("stacks each field by its kind", () => {
    expect<BatchCodec.Stacked<typeof Digits["element"]>>().type.toBe<{
      readonly image: Float32Array
      readonly label: Int32Array
      readonly note: ReadonlyArray<string | undefined>
    }>()
  })
})

describe("a consumer", () => {
  it("is given elements and batches of the feed's types", () => {
    const all = [
      Digits.forEach((element) => {
        expect(element.label).type.toBe<number>()
        expect(element.image).type.toBeAssignableTo<Float32Array>()
        return Effect.void
      }),
      Digits.forEachBatch(8, (batch) => {
        expect(batch.label).type.toBeAssignableTo<Int32Array>()
        return Effect.void
      })
    ]
    expect(all).type.toBeAssignableTo<ReadonlyArray<unknown>>()
    expect(Digits.forEach).type.not.toBeCallableWith((element: string) => Effect.succeed(element))
    expect(Digits.forEachBatch).type.not.toBeCallableWith(
      8,
      (batch: { readonly label: string }) => Effect.succeed(batch)
    )
  })

  it("requires the host of its feed", () => {
    expect(Digits.forEach(() => Effect.void)).type.toBe<
      Effect.Effect<Feed.Consumed, Feed.FeedsItself, Feed.Host<"digits">>
    >()
  })

  it("requires settlements of an effectivelyOnce feed, and of no other", () => {
    expect(Orders.forEach(() => Effect.void)).type.toBe<
      Effect.Effect<Feed.Consumed, Feed.FeedsItself, Feed.Host<"orders"> | Settlements.Settlements>
    >()
    expect(Orders.forEachBatch(8, () => Effect.fail(new Busy()))).type.toBe<
      Effect.Effect<Feed.Consumed, Busy | Feed.FeedsItself, Feed.Host<"orders"> | Settlements.Settlements>
    >()
    expect(Ticks.forEachBatch(8, () => Effect.void)).type.toBe<
      Effect.Effect<Feed.Consumed, Feed.FeedsItself, Feed.Host<"ticks">>
    >()
    const settled = Orders.forEach(() => Effect.void).pipe(Effect.provide(Settlements.layerMemory))
    expect<Effect.Services<typeof settled>>().type.toBe<Feed.Host<"orders">>()
  })

  it("leaves it to the consumer to settle what a stream of an effectivelyOnce feed gives", () => {
    expect(Orders.elements).type.toBe<Stream.Stream<Feed.Leased<number>, Feed.FeedsItself, Feed.Host<"orders">>>()
  })

  it("keeps its own failures, and not the outcomes, of a processed feed", () => {
    expect(Digits.forEach(() => Effect.fail(Feed.retry()))).type.toBe<
      Effect.Effect<Feed.Consumed, Feed.FeedsItself, Feed.Host<"digits">>
    >()
    expect(Digits.forEach(() => Effect.fail(new Busy()))).type.toBe<
      Effect.Effect<Feed.Consumed, Busy | Feed.FeedsItself, Feed.Host<"digits">>
    >()
  })

  it("fails with an outcome of an accepted feed, which has none", () => {
    expect(Accepted.forEach(() => Effect.fail(Feed.retry()))).type.toBe<
      Effect.Effect<Feed.Consumed, Feed.Retry | Feed.FeedsItself, Feed.Host<"accepted">>
    >()
  })

  it("streams plain values of an accepted feed, leased ones of a processed feed", () => {
    expect(Accepted.elements).type.toBe<Stream.Stream<number, Feed.FeedsItself, Feed.Host<"accepted">>>()
    expect(Digits.batches(4)).type.toBe<
      Stream.Stream<
        Feed.Leased<BatchCodec.Stacked<typeof Digits["element"]>>,
        Feed.FeedsItself,
        Feed.Host<"digits">
      >
    >()
  })
})

describe("a host", () => {
  const consume = Effect.asVoid(Digits.forEach(() => Effect.void))

  it("satisfies the consumers of its feeds", () => {
    const hosted = consume.pipe(Effect.provide(SocketDevices.layerHost({ feeds: [Digits, Accepted], port: 1 })))
    expect<Effect.Services<typeof hosted>>().type.toBe<never>()
  })

  it("that is wrong, or missing, is told by the type", () => {
    const wrong = consume.pipe(Effect.provide(SocketDevices.layerHost({ feeds: [Accepted], port: 1 })))
    expect<Effect.Services<typeof wrong>>().type.toBe<Feed.Host<"digits">>()
    expect(Effect.runPromise).type.not.toBeCallableWith(wrong)
    expect(Effect.runPromise).type.not.toBeCallableWith(consume)
  })

  it("in memory provides the devices too", () => {
    expect(MemoryDevices.layer({ feeds: [Digits] })).type.toBeAssignableTo<
      Layer.Layer<RemoteDevices.RemoteDevices | Feed.Host<"digits">, unknown>
    >()
  })
})
