import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { DeviceSpec, Feed, Feeder, MemoryDevices, Tensor } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"

const Numbers = Feed.make("numbers", { element: Schema.Int })
const Digits = Feed.make("digits", {
  element: Schema.Struct({ image: Tensor.float32([2, 2]), label: Tensor.int32([]) }),
  capacity: 7
})

it.live("memory", () =>
  Effect.gen(function*() {
    const seen: Array<number> = []
    const consume = Numbers.forEach((n) => Effect.sync(() => seen.push(n)))
    const feed = Feeder.run(Numbers, {
      source: Array.from({ length: 100 }, (_, i) => i),
      devices: DeviceSpec.replicas("consumer", 1)
    })
    const [ledger, consumed] = yield* Effect.all([feed, consume], { concurrency: "unbounded" }).pipe(
      Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }))
    )
    assert.strictEqual(ledger.delivered, 100)
    assert.strictEqual(seen.length, 100)
    assert.strictEqual(consumed.done, 100)
  }))

it.live("two replicas in memory, batches larger than the capacity", () =>
  Effect.gen(function*() {
    const sizes: Array<number> = []
    const consume = Digits.forEachBatch(16, (b) => Effect.sync(() => sizes.push(b.label.length)))
    const source = Array.from({ length: 100 }, (_, i) => ({ image: new Float32Array(4).fill(i), label: i }))
    const feed = Feeder.run(Digits, { source, devices: DeviceSpec.replicas("consumer", 2) })
    const [ledger] = yield* Effect.all([feed, consume], { concurrency: "unbounded" }).pipe(
      Effect.provide(MemoryDevices.layer({ feeds: [Digits], feeders: 2 }))
    )
    assert.strictEqual(ledger.delivered, 100)
    assert.deepStrictEqual(sizes, [16, 16, 16, 16, 16, 16, 4])
  }))

it.live("sockets", () =>
  Effect.gen(function*() {
    const seen: Array<number> = []
    const consume = Digits.forEachBatch(16, (b) => Effect.sync(() => seen.push(...b.label))).pipe(
      Effect.provide(SocketDevices.layerHost({ feeds: [Digits], port: 4601 }))
    )
    const source = Array.from({ length: 1000 }, (_, i) => ({ image: new Float32Array(4).fill(i), label: i }))
    const feed = Feeder.run(Digits, { source, devices: DeviceSpec.replicas("consumer", 1) }).pipe(
      Effect.provide(SocketDevices.layer({ "/job:consumer/replica:0": "tcp://127.0.0.1:4601" }))
    )
    yield* Effect.forkChild(consume)
    yield* Effect.sleep(100)
    const ledger = yield* feed
    assert.strictEqual(ledger.delivered, 1000)
    assert.deepStrictEqual(seen, source.map((s) => s.label))
  }))
