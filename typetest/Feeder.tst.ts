import { type Cause, Context, Effect, Schema, type Scope, Stream } from "effect"
import {
  type BatchCodec,
  Feed,
  Feeder,
  type FeedQueue,
  type Ledger,
  type RemoteDevices,
  ResumableSource,
  Tensor
} from "effect-feeder"
import * as Signals from "effect-feeder/layers/Signals"
import { describe, expect, it } from "tstyche"

const Digits = Feed.make("digits", {
  element: Schema.Struct({ image: Tensor.float32([2]), label: Tensor.int32([]) })
})

class ReadFailed extends Schema.TaggedError<ReadFailed>()("ReadFailed", {}) {}
class Files extends Context.Service<Files, { readonly next: Effect.Effect<string> }>()("test/Files") {}

const digit = { image: new Float32Array(2), label: 1 }

describe("Feeder.run", () => {
  it("has the source's failures beside FeedError, and its requirements", () => {
    const source: Stream.Stream<typeof digit, ReadFailed, Files> = Stream.empty
    expect(Feeder.run(Digits, { source, devices: ["/job:consumer/replica:0"] })).type.toBe<
      Effect.Effect<Ledger.Ledger, Feeder.FeedError | ReadFailed, RemoteDevices.RemoteDevices | Files>
    >()
  })

  it("does not fail with the end of a repeated effect", () => {
    const source: Effect.Effect<typeof digit, Cause.Done | ReadFailed> = Effect.succeed(digit)
    expect(Feeder.run(Digits, { source, devices: [] })).type.toBe<
      Effect.Effect<Ledger.Ledger, Feeder.FeedError | ReadFailed, RemoteDevices.RemoteDevices>
    >()
  })

  it("has the failures and requirements of a resumable source", () => {
    const read = (): Stream.Stream<readonly [number, typeof digit], ReadFailed, Files> => Stream.empty
    const source = ResumableSource.make("digits", { read })
    expect(source).type.toBe<ResumableSource.ResumableSource<typeof digit, ReadFailed, Files>>()
    expect(Feeder.run(Digits, { source, devices: [] })).type.toBe<
      Effect.Effect<Ledger.Ledger, Feeder.FeedError | ReadFailed, RemoteDevices.RemoteDevices | Files>
    >()
    expect(Signals.run(Digits, { source, devices: [] })).type.toBe<
      Effect.Effect<Ledger.Ledger, Feeder.FeedError | ReadFailed, RemoteDevices.RemoteDevices | Files>
    >()
    const labels = ResumableSource.fromIterable("labels", [1, 2])
    // its elements are labels alone:
    // @ts-expect-error is not assignable
    const wrong = Feeder.run(Digits, { source: labels, devices: [] })
    expect(wrong).type.toBeAssignableTo<unknown>()
  })

  it("refuses a source of other elements", () => {
    const options = <S>(source: S) => ({ source, devices: [] })
    expect(Feeder.run<"digits", typeof Digits["element"], "processed", Iterable<typeof digit>>).type.toBeCallableWith(
      Digits,
      options([digit])
    )
    expect(Feeder.run<"digits", typeof Digits["element"], "processed", Iterable<typeof digit>>).type.not
      .toBeCallableWith(
        Digits,
        options([{ image: new Float64Array(2), label: 1 }])
      )
    // the label is a number:
    // @ts-expect-error is not assignable
    const wrong = Feeder.run(Digits, { source: [{ image: new Float32Array(2), label: "1" }], devices: [] })
    expect(wrong).type.toBeAssignableTo<unknown>()
  })
})

describe("the long form", () => {
  const feeder = Effect.runSync(Effect.scoped(Feeder.make(Digits)))

  it("gathers the failures of its sources in its type", () => {
    const withSource = feeder.set(Stream.fail(new ReadFailed()))
    expect(withSource).type.toBe<
      Effect.Effect<Feeder.Feeder<typeof Digits["element"], ReadFailed>, Feeder.FeedError>
    >()
  })

  it("takes stacked batches with setMany, and nothing else", () => {
    const right = feeder.setMany([{ image: new Float32Array(4), label: new Int32Array(2) }])
    // a batch of labels is an Int32Array:
    // @ts-expect-error is not assignable
    const labels = feeder.setMany([{ image: new Float32Array(4), label: [1, 2] }])
    // elements are set with `set`:
    // @ts-expect-error is not assignable
    const elements = feeder.setMany([digit])
    expect([right, labels, elements]).type.toBeAssignableTo<ReadonlyArray<unknown>>()
  })

  it("has producers that take its elements, and nothing else", () => {
    expect(feeder.producer).type.toBe<
      Effect.Effect<Feeder.Producer<typeof Digits["element"]["Type"]>, Feeder.FeedError, Scope.Scope>
    >()
    expect<Feeder.Producer<typeof digit>["push"]>().type.toBeCallableWith(digit)
    expect<Feeder.Producer<typeof digit>["push"]>().type.not.toBeCallableWith({ ...digit, label: "1" })
    expect<ReturnType<Feeder.Producer<typeof digit>["push"]>>().type.toBe<
      Effect.Effect<void, BatchCodec.ElementInvalid | FeedQueue.QueueClosed | Feeder.Undelivered>
    >()
  })

  it("gives elements and stacked batches", () => {
    expect(feeder.takeMany(2)).type.toBeAssignableTo<
      Effect.Effect<{ readonly image: Float32Array; readonly label: Int32Array }, unknown>
    >()
    expect(feeder.take).type.toBeAssignableTo<
      Effect.Effect<{ readonly image: Float32Array; readonly label: number }, unknown>
    >()
  })

  it("needs RemoteDevices only to add one", () => {
    expect(feeder.addRemoteDevice("/job:consumer/replica:0")).type.toBe<
      Effect.Effect<void, Feeder.FeedError, RemoteDevices.RemoteDevices>
    >()
    expect(feeder.run).type.toBe<Effect.Effect<Ledger.Ledger, Feeder.FeedError>>()
  })
})
