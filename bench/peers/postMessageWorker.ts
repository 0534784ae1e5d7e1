/** The worker of `postMessage.ts`. */
import { parentPort, workerData } from "node:worker_threads"
import * as Codecs from "../messageCodecs.ts"
import { type Name, payloads } from "../payloads.ts"

const payload = payloads[workerData as Name]

parentPort!.on("message", (message: Uint8Array) => {
  parentPort!.postMessage(Codecs.columns.decode(payload, message))
})

parentPort!.postMessage("ready")
