/**
 * A worker: hashes the images that it is fed. `WorkerDevices.layer` starts it, as a thread or as a process. With `--crash` among
 * its arguments, image 700 kills the worker that gets it first.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as WorkerDevices from "effect-feeder/layers/WorkerDevices"
import { Images, side } from "./feeds.ts"

/** An average hash: for each cell of 8 x 8, whether it is brighter than the image. Similar images have similar ones. */
const hashOf = (pixels: Uint8Array): string => {
  const cell = side / 8
  const cells = Array.from({ length: 64 }, (_, k) => {
    let sum = 0
    for (let y = 0; y < cell; y++) {
      for (let x = 0; x < cell; x++) sum += pixels[(Math.floor(k / 8) * cell + y) * side + (k % 8) * cell + x] ?? 0
    }
    return sum
  })
  const mean = cells.reduce((sum, one) => sum + one, 0) / cells.length
  return BigInt(`0b${cells.map((one) => one > mean ? 1 : 0).join("")}`).toString(16).padStart(16, "0")
}

const mayCrash = process.argv.includes("--crash")

const hash = Images.forEachBatch(32, ({ id, pixels }, { deliveries, size }) =>
  Effect.sync(() => {
    for (let i = 0; i < size; i++) {
      if (mayCrash && id[i] === 700 && deliveries[i]?.redelivered === false) process.exit(9)
      hashOf(pixels.subarray(i * side * side, (i + 1) * side * side))
    }
  }))

Effect.gen(function*() {
  const device = yield* WorkerDevices.device
  const { done } = yield* hash
  yield* Console.log(`${device} hashed ${done} images`)
}).pipe(
  Effect.provide(WorkerDevices.layerHost({ feeds: [Images] })),
  NodeRuntime.runMain
)
