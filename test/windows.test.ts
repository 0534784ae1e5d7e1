/**
 * What is out in bytes, as seen on the links, whatever the sizes of the elements.
 */
import { assert, describe, it } from "@effect/vitest"
import { Bytes, Effect, Layer, Schema } from "effect"
import { Feed, Feeder, MemoryDevices } from "effect-feeder"
import type { Batch, FeederFrame, Progress } from "effect-feeder/RemoteDevices"
import { RemoteDevices } from "effect-feeder/RemoteDevices"
import { chance } from "./chance.ts"
import { passUntil, range, replica } from "./network.ts"

const Texts = Feed.make("texts", {
  element: Schema.Struct({ id: Schema.Int, text: Schema.String, rest: Schema.optionalKey(Schema.Json) }),
  capacity: 16
})
type Text = typeof Texts.element.Type

const shapes: ReadonlyArray<(id: number, size: number) => Text> = [
  (id, size) => ({ id, text: "a".repeat(size) }),
  (id, size) => ({ id, text: "語".repeat(size) }),
  (id, size) => ({ id, text: "", rest: { ["k".repeat(size)]: ["\u0001".repeat(size), size] } }),
  (id) => ({ id, text: "" })
]

/** What one link has told of what is out. */
interface Out {
  progress: Progress | undefined
  sent: number
  sentBytes: number
}

/** Holds a batch to the credit that its feeder knows of. */
const hold = (out: Out, batch: Batch): void => {
  const count = batch.chunk.length
  const bytes = count * batch.elementBytes
  const written = Bytes.concat(
    Texts.codec.encode(Texts.codec.fromElements(batch.chunk.elements as ReadonlyArray<Text>))
  )
  assert.isAtMost(written.length, bytes, "bytes on the wire, and those that are claimed")
  assert.strictEqual(batch.first, out.sent + 1)
  const { accepted, collecting, creditBytesTo, creditTo, delivered } = out.progress!
  assert.isAtMost(out.sent + count, creditTo, "elements")
  if (out.sentBytes + bytes > creditBytesTo) {
    assert.strictEqual(count, 1, "an element that goes beyond the window goes alone")
    assert.strictEqual(out.sent, collecting === true ? accepted : delivered, "and only when nothing waits")
  }
  out.sent += count
  out.sentBytes += bytes
}

/** Watches every frame of a network. */
const watched = (onBatch: (batch: Batch) => void) =>
  Layer.effect(
    RemoteDevices,
    Effect.map(RemoteDevices, (devices) => ({
      open: (device, feed) =>
        Effect.map(devices.open(device, feed), (link) => {
          const out: Out = { progress: undefined, sent: 0, sentBytes: 0 }
          return {
            send: (frame: FeederFrame) => {
              if (frame._tag === "Batch") {
                hold(out, frame)
                onBatch(frame)
              }
              return link.send(frame)
            },
            receive: Effect.tap(link.receive, (frame) =>
              Effect.sync(() => {
                if (frame._tag === "Welcome" || frame._tag === "Progress") out.progress = frame.progress
              }))
          }
        })
    }))
  ).pipe(Layer.provideMerge(MemoryDevices.layerNetwork))

const count = 40

const history = (seed: number) =>
  Effect.gen(function*() {
    const random = chance(seed)
    const feeders = 1 + random.below(3)
    const windowBytes = 100 + random.below(4000)
    const batch = random.below(2) === 0 ? 1 : 1 + random.below(12)
    let sentBytes = 0
    let handedBytes = 0
    let most = 0
    let largest = 0
    /** What each element is claimed to take. */
    const sizes = new Map<string, number>()
    const note = (frame: Batch) => {
      sentBytes += frame.chunk.length * frame.elementBytes
      largest = Math.max(largest, frame.elementBytes)
      for (const element of frame.chunk.elements) sizes.set(String((element as Text).id), frame.elementBytes)
      most = Math.max(most, sentBytes - handedBytes)
    }
    const seen: Array<number> = []
    const consume = Texts.forEachBatch(batch, ({ id }) =>
      Effect.andThen(
        Effect.sync(() => {
          for (const one of id) {
            seen.push(one)
            handedBytes += sizes.get(String(one)) ?? 0
          }
        }),
        Effect.sleep(random.below(3) * 10)
      ))
    const feed = (feeder: number) =>
      Feeder.run(Texts, {
        id: `f${feeder}`,
        source: range(count).map((i) =>
          shapes[random.below(shapes.length)]!(feeder * count + i, random.below(1 + random.below(600)))
        ),
        devices: [replica(0)]
      })
    const system = Effect.all([
      Effect.forEach(range(feeders), feed, { concurrency: "unbounded" }),
      Effect.provide(consume, MemoryDevices.layerHost({ feeds: [Texts], feeders, windowBytes }))
    ], { concurrency: "unbounded" })
    const fiber = yield* Effect.forkChild(Effect.provide(system, watched(note)))
    const [ledgers] = yield* passUntil(fiber)
    for (const ledger of ledgers) assert.strictEqual(ledger.delivered, count)
    assert.deepStrictEqual(seen.toSorted((a, b) => a - b), range(feeders * count))
    // Several that come at once were each promised an even share among those that had come.
    const window = range(feeders).reduce((sum, i) => sum + windowBytes / (i + 1), 0)
    // What a take that waits has collected does not fill the window.
    assert.isAtMost(most, window + (feeders + batch - 1) * largest, "bytes that wait")
  })

describe("windows", () => {
  it.effect("what is out in bytes stays within the credit, save one element alone", () =>
    Effect.forEach(
      range(30, 1),
      (seed) => Effect.catchDefect(history(seed), (defect) => Effect.die(new Error(`seed ${seed}: ${String(defect)}`))),
      {
        discard: true
      }
    ))
})
