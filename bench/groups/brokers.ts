/** Brokers, which keep elements between a producer and a consumer. */
import { nats, redis } from "../brokers.ts"
import { comparing, type Group } from "../rows.ts"
import { makers } from "./tcp.ts"

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

export const groups: ReadonlyArray<Group> = [brokers()]
