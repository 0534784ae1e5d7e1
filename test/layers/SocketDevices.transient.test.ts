/**
 * Consumers of tensors that are transient, over real sockets: memory that is read into again while links break.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Schedule, Schema } from "effect"
import { FailureTolerator, Feed, Feeder, Tensor } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { freePort, makeProxy } from "../fixtures/processes.ts"
import { range } from "../network.ts"

const values = 3000
const Wide = Feed.make("wide", {
  element: Schema.Struct({ n: Tensor.int32([]), values: Tensor.uint16([values]) }),
  capacity: 64
})

const device = "/job:consumer/replica:0"
const count = 6000
const elements = range(count).map((n) => ({ n, values: new Uint16Array(values).fill(n) }))

const quiet = Logger.layer([])

/** The links of a feeder, and of its consumer's host, at a port that is not the one which is listened at. */
const ways = {
  "which listens": (port: number, proxied: number) => ({
    devices: SocketDevices.layer({ [device]: `tcp://127.0.0.1:${proxied}` }),
    host: SocketDevices.layerHost({ feeds: [Wide], port })
  }),
  "which dials": (port: number, proxied: number) => ({
    devices: SocketDevices.layerListen({ url: `tcp://127.0.0.1:${port}` }),
    host: SocketDevices.layerDial({
      feeds: [Wide],
      url: `tcp://127.0.0.1:${proxied}`,
      device,
      reconnect: Schedule.spaced(10)
    })
  })
}

for (const [name, way] of Object.entries(ways)) {
  it.live(`a consumer ${name} sees every element whole, and keeps none`, () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const proxy = yield* makeProxy(port)
      const { devices, host } = way(port, proxy.port)
      const kept: Array<Uint16Array> = []
      const seen = new Set<number>()
      let broken = 0
      const isWhole = (batch: { readonly n: Int32Array; readonly values: Uint16Array }) =>
        batch.values.length === values * batch.n.length &&
        batch.values.every((value, i) => value === batch.n[Math.floor(i / values)])
      const consume = Wide.forEachBatch(7, (batch) =>
        Effect.gen(function*() {
          if (!isWhole(batch)) broken++
          yield* Effect.yieldNow
          if (!isWhole(batch)) broken++
          for (const n of batch.n) seen.add(n)
          kept.push(batch.values)
        }), { transient: true, concurrency: 3 })
      const feed = Feeder.run(Wide, {
        source: elements,
        devices: [device],
        lease: 1000,
        tolerate: FailureTolerator.make({ limit: 400, initDelay: 20, backoffFactor: 1 })
      })
      const cutting = yield* Effect.forkChild(Effect.forever(Effect.andThen(Effect.sleep(60), proxy.cut)))
      const [ledger] = yield* Effect.all([
        Effect.ensuring(Effect.provide(feed, Layer.provide(devices, quiet)), Fiber.interrupt(cutting)),
        Effect.provide(consume, Layer.provide(host, quiet))
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual([ledger.delivered, seen.size, broken], [count, count, 0])
      // Those whose batch lay in several frames were copied.
      assert.isAbove(kept.filter(({ length }) => length === 0).length, kept.length / 4)
    }).pipe(Effect.provide(quiet)))
}
