/**
 * The laws of feeding over real threads and real processes. The suite's hosts are in the process of the test, at the other
 * ends of the wires of these: see `fixtures/relays.ts`.
 */
import { it } from "@effect/vitest"
import { Effect, Layer, Logger, Schedule } from "effect"
import * as WorkerDevices from "effect-feeder/layers/WorkerDevices"
import { FeedingLaws } from "effect-feeder/testing"
import { freePort } from "../fixtures/processes.ts"
import * as Relays from "../fixtures/relays.ts"

const devices = ["/job:consumer/replica:0", "/job:consumer/replica:1"] as const

const options = {
  worker: new URL("../fixtures/relayWorker.ts", import.meta.url),
  count: devices.length,
  restart: Schedule.spaced("10 millis"),
  gracePeriod: "100 millis"
} as const

const quiet = Layer.provide(Logger.layer([]))

const relays = Relays.make(devices)

FeedingLaws.suite("WorkerDevices, thread", it, {
  devices,
  layer: WorkerDevices.layer(options).pipe(
    quiet,
    Layer.tap(() => relays.all),
    Layer.provide(Layer.effectDiscard(Relays.threads(relays)))
  ),
  host: (device) => quiet(relays.layerHost(device, FeedingLaws.feeds))
})

// A process knows its device by the port that it is told.
const ports = await Effect.runPromise(Effect.forEach(devices, () => freePort))

FeedingLaws.suite("WorkerDevices, process", it, {
  devices,
  layer: WorkerDevices.layer({ ...options, kind: "process", argv: ports.map(String) }).pipe(
    quiet,
    Layer.tap(() => relays.all),
    Layer.provide(
      Layer.effectDiscard(
        Effect.forEach(devices, (device, i) => Relays.processes(relays, device, ports[i] ?? 0), { discard: true })
      )
    )
  ),
  host: (device) => quiet(relays.layerHost(device, FeedingLaws.feeds))
})
