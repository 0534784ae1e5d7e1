/** A feeder and its consumer in a worker thread, over `WorkerDevices`: one feeder that stays from run to run. */
import { Array as Arr, type Cause, Effect, Exit, Layer, Queue, Scope, Stream } from "effect"
import { DeviceSpec, Feeder } from "effect-feeder"
import * as WorkerDevices from "effect-feeder/layers/WorkerDevices"
import { batches, feedOf } from "../payloads.ts"
import type { StartThread } from "../threads.ts"
import type { Sum } from "../ways.ts"
import { isAttached } from "./sockets.ts"

/** The worker is told how many elements it will have had at the end of a run, and tells what it has had then. */
export interface Target {
  readonly target: number
}

export const start: StartThread = async (payload, { batch, window, young }) => {
  const scope = await Effect.runPromise(Scope.make())
  const name = `bench-${crypto.randomUUID()}`
  const channel = new BroadcastChannel(name)
  const runs = await Effect.runPromise(Queue.unbounded<Iterator<ReadonlyArray<unknown>, void>>())
  let current: Iterator<ReadonlyArray<unknown>, void> | undefined
  const pull: Effect.Effect<readonly [unknown, ...Array<unknown>], Cause.Done> = Effect.suspend(() => {
    const value = current?.next().value
    return value !== undefined && Arr.isReadonlyArrayNonEmpty(value)
      ? Effect.succeed(value)
      : Effect.flatMap(Queue.take(runs), (run) => {
        current = run
        return pull
      })
  })
  const changes = await Effect.runPromise(
    Effect.gen(function*() {
      const devices = yield* Layer.build(WorkerDevices.layer({
        worker: new URL("./worker.ts", import.meta.url),
        count: 1,
        youngMemoryLimit: young,
        argv: [payload.name, String(batch), String(window), name]
      }))
      const made = yield* Feeder.make(feedOf(payload, window))
      const feeder = yield* made.set(Stream.fromPull(Effect.succeed(pull)))
      yield* Effect.provide(feeder.addRemoteDevices(DeviceSpec.replicas("consumer", 1)), devices)
      const running = yield* Effect.forkScoped(feeder.run)
      // The worker hears nothing before it has started.
      while (running.pollUnsafe() === undefined && !isAttached(yield* feeder.status)) yield* Effect.sleep(1)
      return yield* Stream.toPull(feeder.changes)
    }).pipe(Scope.provide(scope))
  )
  let total = 0
  let former: Sum = { elements: 0, digest: 0 }
  return {
    send: async ({ n }) => {
      total += n
      const told = new Promise<Sum>((resolve) => {
        // oxlint-disable-next-line unicorn/prefer-add-event-listener -- this one's type has the data
        channel.onmessage = ({ data }) => resolve(data as Sum)
      })
      const target: Target = { target: total }
      channel.postMessage(target)
      Queue.offerUnsafe(runs, batches(payload.pool, n, batch))
      const sum = await told
      await Effect.runPromise(Effect.gen(function*() {
        for (let delivered = 0; delivered < total;) delivered = (yield* changes).at(-1)!.ledger.delivered
      }))
      const own = { elements: sum.elements - former.elements, digest: sum.digest - former.digest }
      former = sum
      return own
    },
    end: async () => {
      channel.close()
      await Effect.runPromise(Scope.close(scope, Exit.void))
    }
  }
}
