/** To one worker thread. */
import type { Name } from "../payloads.ts"
import { comparing, type Group, type Maker } from "../rows.ts"
import { type StartThread, threaded, type ThreadOptions } from "../threads.ts"

const worker = (payload: Name, at: ThreadOptions): Group => {
  // Elements that are cloned are objects, which want room.
  const cloned = { ...at, young: undefined }
  const make = (name: string, start: () => Promise<StartThread>, other = at): Maker => () =>
    threaded({ name, payload, start, ...other })
  return comparing({
    name: `worker-${payload}`,
    title: `A worker thread, ${payload === "small" ? "small elements" : "tensors"}`,
    cases: {
      ours: make("Feeder over WorkerDevices", () => import("../ours/workers.ts").then(({ start }) => start)),
      "post-message": make(
        "postMessage, our columns transferred",
        () => import("../peers/postMessage.ts").then(({ start }) => start)
      ),
      piscina: make("piscina, batches", () => import("../peers/piscina.ts").then(({ start }) => start), cloned),
      rpc: make("Effect rpc worker, batches", () => import("../peers/rpcWorker.ts").then(({ start }) => start), cloned)
    },
    rows: [
      { row: `worker-${payload}-post-message`, ours: ["ours"], peer: ["post-message"], goal: 0.9 },
      { row: `worker-${payload}-piscina`, ours: ["ours"], peer: ["piscina"], goal: 3.5 },
      { row: `worker-${payload}-rpc`, ours: ["ours"], peer: ["rpc"], goal: null }
    ],
    options: { millis: 250 }
  })
}

export const groups: ReadonlyArray<Group> = [
  worker("small", { batch: 512, window: 4096 }),
  // What is transferred is freed with the few objects that view it: those are to be collected often.
  worker("tensor", { batch: 64, window: 512, young: 4 })
]
