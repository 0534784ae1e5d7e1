/** A feeder and its consumer over `SocketDevices`, by what the source gives. */
import { Array as Arr, Cause, Effect, Exit, Fiber, Layer, Logger, Schedule, Stream } from "effect"
import { DeviceSpec, Feeder, type RemoteDevices } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { randomUUID } from "node:crypto"
import * as os from "node:os"
import * as path from "node:path"
import { expect } from "../harness.ts"
import { type AnyFeed, batches, feedOf, repeated, some } from "../payloads.ts"
import { freePort } from "../ports.ts"
import type { Run, Way } from "../ways.ts"

/** A feeder whose source waits for the gate. */
type Made = Effect.Effect<Feeder.Feeder<AnyFeed["element"]>, Feeder.FeedError>

type SetSource = (feeder: Feeder.Feeder<AnyFeed["element"]>, run: Run, gate: Effect.Effect<void>) => Made

/** The address of a host that nobody has yet. */
const addresses = {
  tcp: async () => `tcp://127.0.0.1:${await freePort()}`,
  ws: async () => `ws://127.0.0.1:${await freePort()}`,
  unix: async () => `unix://${path.join(os.tmpdir(), `effect-feeder-bench-${process.pid}-${randomUUID()}.sock`)}`
}

/** That they are for this machine only, and that nobody answers yet, goes without saying. */
const silent = Logger.layer([])

/** Consumers keep nothing of what they have summed up, and say so. */
const transient = { transient: true }

/** Hosts the feed at as many addresses as there are devices, in one process. */
const consumeAt =
  (scheme: keyof typeof addresses): Way["consume"] => async ({ batch, devices, n, payload, window }, ready, done) => {
    const feed = feedOf(payload, window)
    const listening: Array<string> = []
    let elements = 0
    let digest = 0
    const host = Effect.gen(function*() {
      const url = yield* Effect.promise(addresses[scheme])
      const consumed = Effect.sync(() => {
        listening.push(url)
        if (listening.length === devices) ready(listening.join(" "))
      }).pipe(
        Effect.andThen(feed.forEachBatch(batch, (values, { size }) =>
          Effect.sync(() => {
            elements += size
            digest += payload.digestBatch(values)
            if (elements === n) done({ elements, digest })
          }), transient)),
        Effect.provide(SocketDevices.layerHost({ feeds: [feed], url }))
      )
      yield* consumed
    })
    await Effect.runPromise(
      Effect.all(Array.from({ length: devices }, () => host), { concurrency: "unbounded", discard: true }).pipe(
        Effect.provide(silent)
      )
    )
    if (elements !== n) done({ elements, digest })
  }

/** Hosts the feed at one device, which dials the feeder. */
const consumeFrom =
  (loop: { readonly transient: boolean }): Way["consume"] => async ({ batch, n, payload, window }, ready, done) => {
    const feed = feedOf(payload, window)
    const url = await addresses.tcp()
    let elements = 0
    let digest = 0
    ready(url)
    await Effect.runPromise(
      feed.forEachBatch(batch, (values, { size }) =>
        Effect.sync(() => {
          elements += size
          digest += payload.digestBatch(values)
          if (elements === n) done({ elements, digest })
        }), loop).pipe(
          Effect.provide(Layer.provide(
            SocketDevices.layerDial({
              feeds: [feed],
              url,
              device: "/job:consumer/replica:0",
              reconnect: Schedule.spaced("10 millis")
            }),
            silent
          ))
        )
    )
  }

/** Whether the feeder is at all of its devices. */
export const isAttached = ({ devices }: Feeder.Status): boolean => devices.every(({ phase }) => phase === "Live")

/** Runs a feeder, and returns when it is at all of its devices. */
export const attach = <E>(
  run: Pick<Run, "payload" | "window">,
  devices: Layer.Layer<RemoteDevices.RemoteDevices, E>,
  count: number,
  setSource: (feeder: Feeder.Feeder<AnyFeed["element"]>) => Made
) =>
  Effect.gen(function*() {
    const made = yield* Feeder.make(feedOf(run.payload, run.window))
    const feeder = yield* setSource(made)
    yield* Effect.provide(
      feeder.addRemoteDevices(DeviceSpec.replicas("consumer", count)),
      yield* Layer.build(devices)
    )
    const running = yield* Effect.forkChild(feeder.run)
    while (running.pollUnsafe() === undefined && !isAttached(yield* feeder.status)) yield* Effect.sleep(1)
    return { feeder, running }
  })

/** The devices at addresses with spaces between them. */
export const devicesAt = (addresses: string) =>
  SocketDevices.layer(
    Object.fromEntries(addresses.split(" ").map((address, i) => [`/job:consumer/replica:${i}`, address]))
  )

/** What is timed begins when the feeder is at its devices, and ends when everything is settled. */
export const connectTo = <E>(
  devicesAt: (address: string, run: Run) => Layer.Layer<RemoteDevices.RemoteDevices, E>,
  setSource: SetSource
): Way["connect"] =>
async (run, address) => {
  const gate = Promise.withResolvers<void>()
  const attached = Promise.withResolvers<void>()
  const fiber = Effect.runFork(Effect.scoped(Effect.gen(function*() {
    const { running } = yield* attach(
      run,
      devicesAt(address, run),
      run.devices,
      (feeder) => setSource(feeder, run, Effect.promise(() => gate.promise))
    )
    attached.resolve()
    return yield* Fiber.join(running)
  })))
  fiber.addObserver((exit) => {
    if (Exit.isFailure(exit)) attached.reject(new Error(Cause.pretty(exit.cause)))
  })
  await attached.promise
  let shares: ReadonlyArray<number> = []
  return {
    send: async () => {
      gate.resolve()
      const ledger = await Effect.runPromise(Fiber.join(fiber))
      expect("delivered", ledger.delivered, run.n)
      shares = ledger.devices.map(({ delivered }) => delivered)
    },
    close: async () => {},
    shares: () => shares
  }
}

/** The same, where the consumer dials. */
const dialled = (setSource: SetSource, loop = transient): Way => ({
  consume: consumeFrom(loop),
  connect: connectTo(
    (url) => Layer.provide(SocketDevices.layerListen({ url }), silent),
    setSource
  )
})

const way = (setSource: SetSource, scheme: keyof typeof addresses = "tcp"): Way => ({
  consume: consumeAt(scheme),
  connect: connectTo(devicesAt, setSource)
})

/** A Stream of the chunks that an iterator gives, from when the gate is open. */
const gated = <A>(chunks: Iterator<ReadonlyArray<A>, void>, gate: Effect.Effect<void>): Stream.Stream<A> =>
  Stream.unwrap(Effect.as(
    gate,
    Stream.fromPull(Effect.succeed(Effect.suspend(() => {
      const { value } = chunks.next()
      return value !== undefined && Arr.isReadonlyArrayNonEmpty(value) ? Effect.succeed(value) : Cause.done()
    })))
  ))

/** Chunks of elements, of the size of a batch. */
export const setChunks: SetSource = (feeder, { batch, n, payload }, gate) =>
  feeder.set(gated(batches(payload.pool, n, batch), gate))

export const chunks = way(setChunks)
export const chunksDialled = dialled(setChunks)

/** By a consumer that may keep what it has summed up. */
export const chunksKept = dialled(setChunks, { transient: false })

/** The same over a Unix socket, and over a WebSocket. */
export const unix = way(setChunks, "unix")
export const ws = way(setChunks, "ws")

const setStacked: SetSource = (feeder, { batch, n, payload }, gate) => {
  const { codec, pool } = payload
  const made = Array.from(batches(pool, Math.max(batch, pool.length), batch), (elements) => codec.stack(elements))
  const last = n % batch
  const stackedBatches = function*(): Generator<ReadonlyArray<unknown>, void> {
    for (let i = 0; i < Math.floor(n / batch); i++) yield [made[i % made.length]]
    if (last > 0) yield [codec.stack(some(pool, n - last, last))]
  }
  return feeder.setMany(gated(stackedBatches(), gate))
}

/** Batches that are stacked already. */
export const stacked = way(setStacked)
export const stackedDialled = dialled(setStacked)

/** An Iterable of elements. It cannot wait for the gate: connecting is a part of what is timed. */
export const iterable: Way = { ...way((feeder, { n, payload }) => feeder.set(repeated(payload.pool, n))) }

/** An Effect that is run for each element. */
export const effect = way((feeder, { n, payload }, gate) => {
  let i = 0
  const one = Effect.suspend(() => i < n ? Effect.succeed(payload.pool[i++ % payload.pool.length]) : Cause.done())
  return feeder.set(Effect.suspend(() => i === 0 ? Effect.andThen(gate, one) : one))
})
