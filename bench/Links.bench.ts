/**
 * `Feeder.run` to one consumer, in memory and over loopback TCP to a process of its own, against bare sockets that carry
 * the same bytes, or JSON lines, with a window and acknowledgements, but without anything else that a feed does.
 */
import { measure } from "./harness.ts"
import { startConsumer, viaColumns, viaLines, viaMemory, viaQueue, viaSockets } from "./links.ts"
import { batch, capacity, each } from "./payloads.ts"

const consumer = startConsumer()

await each(async (payload) => {
  await measure({
    title: `Links, ${payload.feed.name}`,
    payload: payload.title,
    batch,
    capacity,
    acknowledge: "processed",
    clock: "wall",
    rounds: 9,
    millis: 250,
    cases: [
      viaColumns(payload, consumer),
      viaLines(payload, consumer),
      viaSockets(payload, consumer),
      viaMemory(payload),
      viaQueue(payload)
    ]
  })
})

consumer.end()
