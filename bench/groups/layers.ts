/** The Layers that no group of its own has, against the same feed over TCP. */
import { memory } from "../ours/memory.ts"
import type { Name } from "../payloads.ts"
import { comparing, type Group } from "../rows.ts"
import { makers } from "./tcp.ts"

const layers = (payload: Name, at: { readonly batch: number; readonly window: number }): Group => {
  const { processed } = makers(payload)
  return comparing({
    name: `layers-${payload}`,
    title: `Other Layers against TCP, ${payload === "small" ? "small elements" : "tensors"}`,
    cases: {
      memory: () => memory({ name: "Feeder over MemoryDevices", payload, ...at }),
      edges: () =>
        memory({ name: "Feeder over MemoryDevices, validate: \"edges\"", payload, validate: "edges", ...at }),
      unix: processed("Feeder over a Unix socket", "feeder-unix", at),
      ws: processed("Feeder over a WebSocket", "feeder-ws", at),
      tcp: processed("Feeder over TCP", "feeder-chunks", at)
    },
    rows: [
      ...["memory", "unix", "ws"].map((layer) => ({
        row: `layers-${payload}-${layer}`,
        ours: [layer],
        peer: ["tcp"],
        goal: null
      })),
      { row: `layers-${payload}-memory-edges`, ours: ["edges"], peer: ["memory"], goal: null }
    ],
    options: { millis: 250 }
  })
}

export const groups: ReadonlyArray<Group> = [
  layers("small", { batch: 2048, window: 16384 }),
  layers("tensor", { batch: 64, window: 1024 })
]
