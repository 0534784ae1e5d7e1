/**
 * Consumers that use nothing of an element once its effect has ended: what it lay in is used again, and never sooner.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Result, Schema } from "effect"
import { Feed, Feeder, MemoryDevices, RemoteDevices, Tensor } from "effect-feeder"
import { FaultyDevices } from "effect-feeder/testing"
import * as FrameCutter from "../../src/internal/frameCutter.ts"
import * as FrameMemory from "../../src/internal/frameMemory.ts"
import * as Frames from "../../src/internal/frames.ts"
import { chance } from "../chance.ts"
import { passUntil, range, replica, tolerate } from "../network.ts"

const values = 700
const Wide = Feed.make("wide", {
  element: Schema.Struct({ n: Tensor.int32([]), values: Tensor.float64([values]) }),
  capacity: 32
})
type Element = typeof Wide.element.Type

const elementOf = (n: number): Element => ({ n, values: new Float64Array(values).fill(n) })

/** Whether an element is what it was when it was fed. */
const isWhole = ({ n, values: own }: Element): boolean => own.length === values && own.every((value) => value === n)

/** Frames go as bytes through a memory of their own, as over a socket; gives how often it was given back to. */
const recoded = () => {
  const counts = { given: 0, allocated: 0 }
  const own = FrameMemory.make((length) => {
    counts.allocated++
    return new ArrayBuffer(length)
  })
  const memory: FrameMemory.FrameMemory = {
    allocate: own.allocate,
    giveBack: (bytes) => {
      counts.given++
      own.giveBack(bytes)
    }
  }
  const limits = { frameBytes: 2 ** 30, elements: 2 ** 20 }
  const recoder = (feed: RemoteDevices.FeedInfo) => {
    const cutter = FrameCutter.make(limits, memory)
    return (frame: RemoteDevices.FeederFrame): RemoteDevices.FeederFrame => {
      if (frame._tag !== "Batch") return frame
      for (const segment of Frames.encodeFeederFrame(frame, feed)) cutter.take(segment, false)
      return Result.getOrThrow(Frames.decodeFeederFrame(cutter.frames.shift()!, feed, limits))
    }
  }
  const layer = Layer.effect(
    RemoteDevices.RemoteDevices,
    Effect.map(RemoteDevices.RemoteDevices, (devices) => ({
      open: (device, feed) =>
        Effect.map(devices.open(device, feed), ({ receive, send }) => {
          const recode = recoder(feed)
          return { receive, send: (frame: RemoteDevices.FeederFrame) => send(recode(frame)) }
        })
    }))
  )
  return {
    counts,
    layer: FaultyDevices.layer.pipe(Layer.provide(layer), Layer.provideMerge(MemoryDevices.layerNetwork))
  }
}

const fed = (count: number) => ({ source: range(count).map(elementOf), devices: [replica(0)], tolerate: tolerate(50) })

const hosted = Effect.provide(MemoryDevices.layerHost({ feeds: [Wide], device: replica(0), feeders: 1 }))

describe("transient", () => {
  it.effect("a batch that is kept has no bytes once its effect has ended; by default it keeps them", () =>
    Effect.gen(function*() {
      for (const transient of [true, false]) {
        const kept: Array<Float64Array> = []
        const { counts, layer } = recoded()
        yield* Effect.all([
          Feeder.run(Wide, fed(64)),
          hosted(Wide.forEachBatch(8, (batch) =>
            Effect.sync(() => {
              assert.isTrue(batch.values.every((value, i) => value === batch.n[Math.floor(i / values)]))
              kept.push(batch.values)
            }), { transient }))
        ], { concurrency: "unbounded" }).pipe(Effect.provide(layer))
        const lengths = [...new Set(kept.map(({ length }) => length))]
        assert.deepStrictEqual(lengths, [transient ? 0 : 8 * values])
        assert.isTrue(transient ? counts.given > 0 : counts.given === 0)
      }
    }))

  it.effect("what is given back is used again", () =>
    Effect.gen(function*() {
      const { counts, layer } = recoded()
      const count = 2000
      yield* Effect.all([
        Feeder.run(Wide, fed(count)),
        hosted(Wide.forEachBatch(8, () => Effect.void, { transient: true }))
      ], { concurrency: "unbounded" }).pipe(Effect.provide(layer))
      assert.isAbove(counts.given, count / 64)
      assert.isBelow(counts.allocated, counts.given / 4)
    }))

  for (const seed of range(30)) {
    it.effect(`no effect sees an element that is not whole, whatever becomes of others, seed ${seed}`, () =>
      Effect.gen(function*() {
        const { below } = chance(seed)
        const { counts, layer } = recoded()
        const seen: Array<number> = []
        let broken = 0
        const look = (element: Element) =>
          Effect.sync(() => {
            if (!isWhole(element)) broken++
          })
        const wait = () => Effect.sleep(below(20))
        /** Looks at the beginning and at the end, and does not care about being interrupted. */
        const use = (elements: ReadonlyArray<Element>) => Effect.forEach(elements, look, { discard: true })
        const effectOf = (elements: ReadonlyArray<Element>) =>
          Effect.gen(function*() {
            yield* use(elements)
            const what = below(8)
            if (what < 2) yield* wait()
            else if (what === 2) {
              yield* Effect.uninterruptible(Effect.andThen(Effect.sleep(100 + below(200)), use(elements)))
            }
            yield* use(elements)
            if (what === 3) return yield* Feed.retry({ cause: "again" })
            for (const { n } of elements) seen.push(n)
          })
        const options = {
          transient: true,
          concurrency: 1 + below(3),
          ...(below(2) === 0 ? { processWithin: 50 } : {})
        }
        const size = 1 + below(12)
        const consume = size === 1
          ? Wide.forEach((element) => effectOf([element]), options)
          : Wide.forEachBatch(
            size,
            (batch) =>
              effectOf(Array.from(batch.n, (n, i) => ({
                n,
                values: batch.values.subarray(i * values, (i + 1) * values)
              }))),
            options
          )
        yield* Effect.gen(function*() {
          const faults = yield* FaultyDevices.FaultyDevices
          const feeding = yield* Effect.forkChild(Feeder.run(Wide, fed(300)))
          const consuming = yield* Effect.forkChild(hosted(consume))
          const cutting = yield* Effect.forkChild(
            Effect.forever(Effect.andThen(Effect.sleep(50 + below(500)), faults.cut(replica(0))))
          )
          yield* passUntil(feeding, 4000, 20)
          yield* Fiber.interrupt(cutting)
          yield* passUntil(consuming, 4000, 20)
        }).pipe(Effect.provide(layer))
        assert.strictEqual(broken, 0)
        assert.deepStrictEqual([...new Set(seen)].toSorted((a, b) => a - b), range(300))
        assert.isAbove(counts.given, 0)
      }))
  }
})
