/** To one worker thread. */
import type { Name } from "../payloads.ts"
import { comparing, type Group, type Maker } from "../rows.ts"
import { type StartThread, threaded, type ThreadOptions } from "../threads.ts"

const ours = () => import("../ours/workers.ts").then(({ start }) => start)
const postMessage = () => import("../peers/postMessage.ts").then(({ start }) => start)
const piscina = () => import("../peers/piscina.ts").then(({ start }) => start)
const rpc = () => import("../peers/rpcWorker.ts").then(({ start }) => start)

/** With one of two settings, of which the better one counts. */
const worker = (payload: Name, at: ThreadOptions, large: ThreadOptions): Group => {
  const make = (name: string, start: () => Promise<StartThread>, at: ThreadOptions): Maker => () =>
    threaded({ name, payload, start, ...at })
  // Elements that are cloned are objects, which want room.
  const cloned = (at: ThreadOptions): ThreadOptions => ({ ...at, young: undefined })
  return comparing({
    name: `worker-${payload}`,
    title: `A worker thread, ${payload === "small" ? "small elements" : "tensors"}`,
    cases: {
      ours: make("Feeder over WorkerDevices", ours, at),
      "ours-large": make("Feeder over WorkerDevices", ours, large),
      "post-message": make("postMessage, our columns transferred", postMessage, at),
      "post-message-large": make("postMessage, our columns transferred", postMessage, large),
      piscina: make("piscina, batches", piscina, cloned(at)),
      "piscina-large": make("piscina, batches", piscina, cloned(large)),
      rpc: make("Effect rpc worker, batches", rpc, cloned(at))
    },
    rows: [
      {
        row: `worker-${payload}-post-message`,
        ours: ["ours", "ours-large"],
        peer: ["post-message", "post-message-large"],
        goal: 0.9
      },
      {
        row: `worker-${payload}-piscina`,
        ours: ["ours", "ours-large"],
        peer: ["piscina", "piscina-large"],
        goal: 3.5
      },
      { row: `worker-${payload}-rpc`, ours: ["ours", "ours-large"], peer: ["rpc"], goal: null }
    ],
    options: { millis: 250 }
  })
}

export const groups: ReadonlyArray<Group> = [
  worker("small", { batch: 512, window: 4096 }, { batch: 8192, window: 65536 }),
  // What is transferred is freed with the few objects that view it: those are to be collected often.
  worker("tensor", { batch: 64, window: 512, young: 4 }, { batch: 256, window: 2048, young: 4 })
]
