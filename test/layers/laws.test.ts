import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger } from "effect"
import { MemoryDevices, RemoteDevices } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { FeedingLaws } from "effect-feeder/testing"
import { freePort } from "../fixtures/processes.ts"

const devices = ["/job:consumer/replica:0", "/job:consumer/replica:1"] as const

FeedingLaws.suite("MemoryDevices", it, {
  devices,
  layer: MemoryDevices.layerNetwork,
  host: (device) => MemoryDevices.layerHost({ feeds: FeedingLaws.feeds, device })
})

const ports = new Map<string, number>()
const free = await Effect.runPromise(Effect.forEach(devices, () => freePort))
devices.forEach((device, i) => ports.set(device, free[i] ?? 0))

FeedingLaws.suite("SocketDevices", it, {
  devices,
  layer: SocketDevices.layer(
    Object.fromEntries([...ports].map(([device, port]) => [device, `tcp://127.0.0.1:${port}`]))
  ),
  host: (device) =>
    SocketDevices.layerHost({ feeds: FeedingLaws.feeds, device, port: ports.get(device) ?? 0 }).pipe(
      Layer.provide(Logger.layer([]))
    )
})

// -----------------------------------------------------------------------------
// the suite itself: Layers that break a law fail by that law, and Layers that claim less pass
// -----------------------------------------------------------------------------

type Links = RemoteDevices.RemoteDevices["Service"]

/** The Layer in memory, with other links. */
const changed = (change: (real: Links) => Links) =>
  Layer.provideMerge(
    Layer.effect(RemoteDevices.RemoteDevices, Effect.map(RemoteDevices.RemoteDevices, change)),
    MemoryDevices.layerNetwork
  )

/** A link that sends other frames. */
const sending =
  (change: (frame: RemoteDevices.FeederFrame, feed: RemoteDevices.FeedInfo) => RemoteDevices.FeederFrame) =>
  (real: Links): Links => ({
    open: (device, feed) =>
      Effect.map(
        real.open(device, feed),
        (link): RemoteDevices.Link => ({ ...link, send: (frame) => link.send(change(frame, feed)) })
      )
  })

/** What the laws with that in their name find, one after the other: nothing when all is well. */
const found = (
  name: string,
  layer: Layer.Layer<RemoteDevices.RemoteDevices | MemoryDevices.Network>,
  claims?: FeedingLaws.Claims,
  host = (device: string) => MemoryDevices.layerHost({ feeds: FeedingLaws.feeds, device })
) => {
  const laws = FeedingLaws.laws({ devices, layer, host, claims }).filter((law) => law.name.includes(name))
  assert.isAbove(laws.length, 0)
  return Effect.forEach(laws, (law) =>
    Effect.map(
      Effect.exit(law.test),
      (exit) => Exit.isSuccess(exit) ? "" : String(Cause.squash(exit.cause))
    ))
}

describe("FeedingLaws", () => {
  it.live("a Layer that turns batches round breaks the order", () =>
    Effect.gen(function*() {
      const reversed = sending((frame, feed) =>
        frame._tag === "Batch"
          ? { ...frame, chunk: feed.codec.fromElements(frame.chunk.elements.toReversed()) }
          : frame
      )
      const errors = yield* found("first in, first out", changed(reversed))
      assert.strictEqual(errors.length, 2)
      for (const error of errors) assert.match(error, /LawBroken: the order of arrival: \[.*\] instead of \[0, 1, 2/)
    }))

  it.live("a Layer that makes marked elements look new is found at the first crash", () =>
    Effect.gen(function*() {
      const unmarked = sending((frame) =>
        frame._tag === "Batch" ? { ...frame, runs: frame.runs.map((run) => ({ ...run, attempt: 1 })) } : frame
      )
      const [processed] = yield* found("that crashes", changed(unmarked))
      assert.match(processed ?? "", /LawBroken: element #\d+ came a second time, unmarked/)
    }))

  it.live("a Layer that changes a tensor is found", () =>
    Effect.gen(function*() {
      const dim = sending((frame, feed) =>
        frame._tag === "Batch"
          ? {
            ...frame,
            chunk: feed.codec.fromElements(
              frame.chunk.elements.map((element) =>
                typeof element === "object" ? { ...element, image: new Float32Array(6) } : element
              )
            )
          }
          : frame
      )
      assert.match((yield* found("intact", changed(dim)))[0] ?? "", /LawBroken: the image of element 0: \[0, 0, 0/)
    }))

  it.live("what is claimed must be so, and what is not claimed must be refused", () =>
    Effect.gen(function*() {
      const layer = MemoryDevices.layerNetwork
      assert.match(
        (yield* found("not claimed: never says", layer, { gone: false }))[0] ?? "",
        /not to know the fate of a device is claimed; one that has ended is said to be gone/
      )
      const refused = "not claimed: accepted feeds are refused"
      const errors = yield* found(refused, layer, { acknowledge: ["processed"] })
      assert.match(errors[0] ?? "", /LawBroken: to refuse what is not claimed took more than 3 seconds/)
    }), 30_000)

  it.live("a Layer that claims less, and refuses the rest, passes", () =>
    Effect.gen(function*() {
      const unknowing = changed((real) => ({
        open: (device, feed) =>
          Effect.mapError(
            feed.name === "laws/accepted"
              ? Effect.fail(
                new RemoteDevices.FeedRefused({ device, reason: "invalid", detail: "accepted feeds are not for it" })
              )
              : real.open(device, feed),
            (error) => error._tag === "DeviceLost" ? new RemoteDevices.DeviceLost({ device, fate: "unknown" }) : error
          )
      }))
      const errors = yield* found("not claimed", unknowing, { acknowledge: ["processed"], gone: false })
      assert.deepStrictEqual(errors, ["", ""])
    }))
})
