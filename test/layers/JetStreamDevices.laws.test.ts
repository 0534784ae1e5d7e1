import { afterAll, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger } from "effect"
import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
import { FeedingLaws } from "effect-feeder/testing"
import * as Nats from "../fixtures/nats.ts"

const nats = await Nats.start()
afterAll(() => nats.stop())

const connection = { servers: nats.url }

/** Each law has feeds of its own at the broker: what one has stored is not for the next. */
class Prefix extends Context.Service<Prefix, string>()("test/Prefix") {
  static count = 0
  static readonly layer = Layer.effect(Prefix, Effect.sync(() => `law${++Prefix.count}`))
}

const quiet = Logger.layer([])

FeedingLaws.suite("JetStreamDevices", it, {
  devices: ["/job:consumer/replica:0", "/job:consumer/replica:1"],
  layer: Layer.unwrap(Effect.map(Prefix, (prefix) => JetStreamDevices.layer({ connection, prefix }))).pipe(
    Layer.provideMerge(Prefix.layer)
  ),
  host: (device) =>
    Layer.unwrap(
      Effect.map(Prefix, (prefix) =>
        JetStreamDevices.layerHost({
          connection,
          prefix,
          feeds: FeedingLaws.feeds,
          device,
          stream: { storage: "memory" }
        }))
    ).pipe(Layer.provide(quiet)),
  // What is stored for a device outlives its process.
  claims: { gone: false }
})
