/**
 * A consumer's process of a bounded scenario: `node --expose-gc consumer.ts '<ConsumerSettings as JSON>'`. It hosts one
 * feed at one or many ports, and checks what comes. It prints `Line`s.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import type { Feed } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import { Blobs, ConsumerSettings, labelOf, Rows, Shared } from "./messages.ts"
import { print, start } from "./sampler.ts"

const settings = Schema.decodeUnknownSync(Schema.fromJsonString(ConsumerSettings))(process.argv[2])
const { batch, feeders, freely = Number.MAX_SAFE_INTEGER, ports } = settings

const released = Deferred.makeUnsafe<void>()
process.once("SIGUSR2", () => Deferred.doneUnsafe(released, Effect.void))

let consumed = 0
let redelivered = 0
let misplaced = 0
/** By feeder: elements, and the last id, of which those of one device ascend. */
const ofFeeder = new Map<string, { count: number; half: number }>()
const ofDevice = ports.map(() => 0)
const last = ports.map(() => new Map<string, number>())
/** The counts of feeders when the last power of two of elements had come. */
let next = 1024

const note = (port: number, ids: ReadonlyArray<number>, { deliveries }: Feed.BatchDelivery): void => {
  ids.forEach((id, i) => {
    const delivery = deliveries[i]
    if (delivery === undefined) return
    if (delivery.redelivered) redelivered++
    const before = last[port]!.get(delivery.feeder) ?? -1
    if (id <= before || id !== delivery.ordinal) misplaced++
    consumed++
    if (!settings.isCounted) return
    last[port]!.set(delivery.feeder, id)
    const counts = ofFeeder.get(delivery.feeder) ?? { count: 0, half: 0 }
    counts.count++
    if (counts.count === 1) ofFeeder.set(delivery.feeder, counts)
    if (consumed === next) {
      next *= 2
      for (const each of ofFeeder.values()) each.half = each.count
    }
  })
  ofDevice[port]! += ids.length
}

const gate = Effect.suspend(() =>
  consumed >= freely ? Deferred.await(released) : settings.millis > 0 ? Effect.sleep(settings.millis) : Effect.void
)

const rows = <Name extends string>(feed: Feed.Feed<Name, typeof Rows.element, "processed">, port: number) =>
  feed.forEachBatch(batch, ({ id, label }, delivery) =>
    Effect.andThen(
      gate,
      Effect.sync(() => {
        for (let i = 0; i < delivery.size; i++) if (label[i] !== labelOf(id[i]!)) misplaced++
        note(port, [...id.subarray(0, delivery.size)], delivery)
      })
    ), { within: 20 })

const blobs = (port: number) =>
  Blobs.forEachBatch(batch, (bytes, delivery) =>
    Effect.andThen(
      gate,
      Effect.sync(() => {
        const size = bytes.length / delivery.deliveries.length
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
        note(port, delivery.deliveries.map((_, i) => view.getUint32(i * size, true)), delivery)
      })
    ))

const hosted = (port: number, index: number): Effect.Effect<unknown, unknown> => {
  const options = { port, feeders }
  switch (settings.feed) {
    case "blobs":
      return Effect.provide(blobs(index), SocketDevices.layerHost({ ...options, feeds: [Blobs] }))
    case "rows":
      return Effect.provide(rows(Rows, index), SocketDevices.layerHost({ ...options, feeds: [Rows] }))
    case "shared":
      return Effect.provide(rows(Shared, index), SocketDevices.layerHost({ ...options, feeds: [Shared] }))
  }
}

const least = (counts: ReadonlyArray<number>): number =>
  counts.length === 0 ? 0 : counts.reduce((a, b) => Math.min(a, b))
const most = (counts: ReadonlyArray<number>): number => counts.reduce((a, b) => Math.max(a, b), 0)

const main = Effect.gen(function*() {
  yield* start(settings.sampleMillis, () => ({ leased: 0, queued: 0, consumed }))
  print({ _tag: "Up", pid: process.pid })
  yield* Effect.forEach(ports, hosted, { concurrency: "unbounded", discard: true })
}).pipe(
  Effect.scoped,
  Effect.tapError((error) => Effect.sync(() => print({ _tag: "Failed", message: String(error) }))),
  Effect.ensuring(Effect.sync(() => ended())),
  Effect.provide(Logger.layer([]))
)

const ended = () => {
  const halves = [...ofFeeder.values()].map(({ half }) => half)
  print({
    _tag: "Ended",
    consumed,
    redelivered,
    misplaced,
    feeders: ofFeeder.size,
    least: least(halves),
    most: most(halves),
    leastOfDevice: least(ofDevice),
    mostOfDevice: most(ofDevice)
  })
}

NodeRuntime.runMain(main, { disableErrorReporting: true })
