/** Brokers, which keep elements between a producer and a consumer. */
import { nats, redis } from "../brokers.ts"
import type { Name } from "../payloads.ts"
import { comparing, type Group } from "../rows.ts"
import { type At, makers } from "./tcp.ts"

const brokers = (): Group => {
  const { accepted, processed } = makers("small")
  return comparing({
    name: "broker-small",
    title: "Brokers, small elements",
    cases: {
      ours: processed("Feeder over TCP, no broker", "feeder-chunks", { batch: 2048, window: 16384 }),
      jetstream: accepted("JetStream, our columns", "jetstream", { batch: 512, window: 16384 }, nats),
      redis: accepted("Redis streams, our columns", "redis-streams", { batch: 2048, window: 32768 }, redis),
      bullmq: accepted("BullMQ, JSON", "bullmq", { batch: 64, window: 4096 }, redis)
    },
    rows: [
      { row: "broker-small-jetstream", ours: ["ours"], peer: ["jetstream"], goal: null },
      { row: "broker-small-redis", ours: ["ours"], peer: ["redis"], goal: null },
      { row: "broker-small-bullmq", ours: ["ours"], peer: ["bullmq"], goal: null }
    ],
    options: { millis: 250 }
  })
}

/** With one of two settings, of which the better one counts. */
const jetStream = (payload: Name, at: At, large: At): Group => {
  const { processed } = makers(payload)
  return comparing({
    name: `jetstream-${payload}`,
    title: `JetStream, in memory, ${payload === "small" ? "small elements" : "tensors"}`,
    cases: {
      ours: processed("Feeder over JetStreamDevices", "feeder-jetstream", at, nats),
      "ours-large": processed("Feeder over JetStreamDevices", "feeder-jetstream", large, nats),
      bare: processed("JetStream's client, our columns", "jetstream", at, nats),
      "bare-large": processed("JetStream's client, our columns", "jetstream", large, nats)
    },
    rows: [{ row: `jetstream-${payload}`, ours: ["ours", "ours-large"], peer: ["bare", "bare-large"], goal: 0.9 }],
    // Ending a feed over a broker takes some tens of milliseconds, whatever was fed.
    options: { millis: 400 }
  })
}

export const groups: ReadonlyArray<Group> = [
  brokers(),
  jetStream("small", { batch: 2048, window: 16384 }, { batch: 8192, window: 65536 }),
  jetStream("tensor", { batch: 64, window: 1024 }, { batch: 256, window: 4096 })
]
