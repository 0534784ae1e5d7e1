/**
 * What the exit of one worker of several costs: with a pool of Effect's rpc the calls in flight on all of them, here what was
 * in flight at that one, and that is done elsewhere.
 */
import * as NodeWorker from "@effect/platform-node/NodeWorker"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Logger } from "effect"
import { DeviceSpec, FailureTolerator, Feeder } from "effect-feeder"
import * as WorkerDevices from "effect-feeder/layers/WorkerDevices"
import { RpcClient } from "effect/rpc"
import * as Schema from "effect/Schema"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { Worker } from "node:worker_threads"
import { Numbers } from "../fixtures/messages.ts"
import { Jobs } from "../fixtures/rpcJobs.ts"
import { execArgv, fault, lineFromJson } from "../fixtures/workers.ts"

const fixture = (name: string) => new URL(`../fixtures/${name}.ts`, import.meta.url)

describe("one worker of three exits", () => {
  it.live("with Effect's rpc, calls in flight on the healthy ones fail with it", () => {
    const workers: Array<Worker> = []
    const spawn = () => {
      const worker = new Worker(fixture("rpcWorker"), { execArgv })
      workers.push(worker)
      return worker
    }
    const protocol = RpcClient.layerProtocolWorker({ size: 3, concurrency: 1 }).pipe(
      Layer.provide(NodeWorker.layer(spawn)),
      Layer.provide(Logger.layer([]))
    )
    return Effect.gen(function*() {
      const client = yield* RpcClient.make(Jobs)
      // One call for each worker: each has one at a time.
      const calls = yield* Effect.forEach(
        [1000, 1000],
        (n) => Effect.forkScoped(Effect.exit(client.Job({ n })), { startImmediately: true })
      )
      yield* Effect.sleep(200)
      const fatal = yield* Effect.exit(client.Job({ n: -1 }))
      const healthy = yield* Effect.forEach(calls, (call) => Fiber.join(call))
      assert.isTrue(Exit.isFailure(fatal))
      assert.deepStrictEqual(healthy.map(Exit.isFailure), [true, true])
      // The pool would wait five seconds for each.
      yield* Effect.promise(() => Promise.all(workers.map((worker) => worker.terminate())))
    }).pipe(Effect.provide(protocol))
  })

  it.live("with WorkerDevices, what is in flight on the healthy ones is done there", () =>
    Effect.gen(function*() {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "effect-feeder-workers-"))),
        (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true }))
      )
      const log = path.join(directory, "log")
      const source = Array.from({ length: 300 }, (_, n) => n === 100 ? fault.exit : n)
      const ledger = yield* Feeder.run(Numbers, {
        source,
        devices: DeviceSpec.replicas("consumer", 3),
        tolerate: FailureTolerator.make({ initDelay: "1 second" })
      }).pipe(
        Effect.provide([
          WorkerDevices.layer({
            worker: fixture("worker"),
            count: 3,
            execArgv,
            argv: [log, JSON.stringify({ millis: 5 })]
          }),
          Logger.layer([])
        ])
      )
      assert.deepInclude(ledger, { generated: 300, delivered: 300, lost: 0, dead: 0 })
      const decode = Schema.decodeUnknownSync(lineFromJson)
      const handed = fs.readFileSync(log, "utf8").trimEnd().split("\n").map((line) => decode(line)).filter(
        ({ is }) => is === "handed"
      )
      const fatal = handed.find(({ n }) => n === fault.exit)
      const first = new Map(handed.filter(({ redelivered }) => !redelivered).map((one) => [one.ordinal, one.device]))
      const again = handed.filter(({ redelivered }) => redelivered)
      assert.isAtLeast(again.length, 1)
      // Of what came again nothing had been handed out by a worker that went on.
      for (const { ordinal } of again) assert.oneOf(first.get(ordinal), [fatal?.device, undefined])
    }))
})
