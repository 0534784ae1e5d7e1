/** The worker of `workers.ts`. */
import { NodeRuntime } from "@effect/platform-node"
import { Effect } from "effect"
import * as WorkerDevices from "effect-feeder/layers/WorkerDevices"
import { feedOf, type Name, payloads } from "../payloads.ts"
import type { Target } from "./workers.ts"

const [name, batch, window, channelName] = process.argv.slice(2)
const payload = payloads[name as Name]
const feed = feedOf(payload, Number(window))
const channel = new BroadcastChannel(channelName!)

let elements = 0
let digest = 0
let target = Infinity

const tell = (): void => {
  if (elements < target) return
  target = Infinity
  channel.postMessage({ elements, digest })
}

// oxlint-disable-next-line unicorn/prefer-add-event-listener -- this one's type has the data
channel.onmessage = ({ data }) => {
  target = (data as Target).target
  tell()
}

feed.forEachBatch(Number(batch), (values, { size }) =>
  Effect.sync(() => {
    elements += size
    digest += payload.digestBatch(values)
    tell()
  }), { transient: true }).pipe(
    Effect.provide(WorkerDevices.layerHost({ feeds: [feed] })),
    NodeRuntime.runMain
  )
