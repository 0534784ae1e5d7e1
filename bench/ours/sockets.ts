/** A feeder and its consumer over `SocketDevices`, by what the source gives. */
import { Array as Arr, Cause, Effect, Fiber, Logger, Stream } from "effect"
import { DeviceSpec, Feeder } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { expect } from "../harness.ts"
import { type AnyFeed, batches, feedOf, repeated, some } from "../payloads.ts"
import { freePort } from "../ports.ts"
import type { Run, Way } from "../ways.ts"

/** A feeder whose source waits for the gate. */
type Made = Effect.Effect<Feeder.Feeder<AnyFeed["element"]>, Feeder.FeedError>

type SetSource = (feeder: Feeder.Feeder<AnyFeed["element"]>, run: Run, gate: Effect.Effect<void>) => Made

const consume: Way["consume"] = async ({ batch, n, payload, window }, ready, done) => {
  const port = await freePort()
  const feed = feedOf(payload, window)
  let elements = 0
  let digest = 0
  const consumed = Effect.sync(() => ready(`tcp://127.0.0.1:${port}`)).pipe(
    Effect.andThen(feed.forEachBatch(batch, (values, { size }) =>
      Effect.sync(() => {
        elements += size
        digest += payload.digestBatch(values)
        if (elements === n) done({ elements, digest })
      }))),
    Effect.provide(SocketDevices.layerHost({ feeds: [feed], port })),
    // That it is for this machine only goes without saying.
    Effect.provide(Logger.layer([]))
  )
  await Effect.runPromise(consumed)
  if (elements !== n) done({ elements, digest })
}

/** What is timed begins when the feeder is at its device, and ends when everything is settled. */
const connect = (setSource: SetSource): Way["connect"] => async (run, address) => {
  const gate = Promise.withResolvers<void>()
  const live = Promise.withResolvers<void>()
  const fiber = Effect.runFork(
    Effect.scoped(Effect.gen(function*() {
      const made = yield* Feeder.make(feedOf(run.payload, run.window))
      const feeder = yield* setSource(made, run, Effect.promise(() => gate.promise))
      yield* feeder.addRemoteDevices(DeviceSpec.replicas("consumer", 1))
      const running = yield* Effect.forkChild(feeder.run)
      while ((yield* feeder.status).devices[0]?.phase !== "Live" && running.pollUnsafe() === undefined) {
        yield* Effect.sleep(1)
      }
      live.resolve()
      return yield* Fiber.join(running)
    })).pipe(Effect.provide(SocketDevices.layer({ "/job:consumer/replica:0": address })))
  )
  await live.promise
  return {
    send: async () => {
      gate.resolve()
      const ledger = await Effect.runPromise(Fiber.join(fiber))
      expect("delivered", ledger.delivered, run.n)
    },
    close: async () => {}
  }
}

const way = (setSource: SetSource): Way => ({ consume, connect: connect(setSource) })

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
export const chunks = way((feeder, { batch, n, payload }, gate) =>
  feeder.set(gated(batches(payload.pool, n, batch), gate))
)

/** Batches that are stacked already. */
export const stacked = way((feeder, { batch, n, payload }, gate) => {
  const { codec, pool } = payload
  const made = Array.from(batches(pool, Math.max(batch, pool.length), batch), (elements) => codec.stack(elements))
  const last = n % batch
  const stackedBatches = function*(): Generator<ReadonlyArray<unknown>, void> {
    for (let i = 0; i < Math.floor(n / batch); i++) yield [made[i % made.length]]
    if (last > 0) yield [codec.stack(some(pool, n - last, last))]
  }
  return feeder.setMany(gated(stackedBatches(), gate))
})

/** An Iterable of elements. It cannot wait for the gate: connecting is a part of what is timed. */
export const iterable: Way = { ...way((feeder, { n, payload }) => feeder.set(repeated(payload.pool, n))) }

/** An Effect that is run for each element. */
export const effect = way((feeder, { n, payload }, gate) => {
  let i = 0
  const one = Effect.suspend(() => i < n ? Effect.succeed(payload.pool[i++ % payload.pool.length]) : Cause.done())
  return feeder.set(Effect.suspend(() => i === 0 ? Effect.andThen(gate, one) : one))
})
