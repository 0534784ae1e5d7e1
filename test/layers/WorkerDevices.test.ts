/** Workers over real threads and real processes: how they fail, how they are replaced, and how they end. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Logger, Schedule, Schema } from "effect"
import { DeviceSpec, FailureTolerator, Feeder } from "effect-feeder"
import * as WorkerDevices from "effect-feeder/layers/WorkerDevices"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { Numbers } from "../fixtures/messages.ts"
import { until } from "../fixtures/processes.ts"
import { execArgv, fault, lineFromJson, type WorkerLine, type WorkerSettings } from "../fixtures/workers.ts"
import { range } from "../network.ts"

const fixture = (name: string) => new URL(`../fixtures/${name}.ts`, import.meta.url)

const worker = fixture("worker")

const decodeLine = Schema.decodeUnknownSync(lineFromJson)

/** A file that workers write their lines to, and what is in it. */
const makeLog = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "effect-feeder-workers-"))),
    (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true }))
  ),
  (directory) => {
    const file = path.join(directory, "log")
    fs.writeFileSync(file, "")
    const lines = (): ReadonlyArray<WorkerLine> =>
      // The last line may still be written.
      fs.readFileSync(file, "utf8").split("\n").slice(0, -1).map((line) => decodeLine(line))
    return { file, lines, handed: () => lines().filter((line) => line.is === "handed") }
  }
)

type Kind = "thread" | "process"

const layer = (
  kind: Kind,
  log: string,
  options: Partial<WorkerDevices.Options> & { readonly settings?: WorkerSettings } = {}
) => {
  const { settings, ...rest } = options
  return WorkerDevices.layer({
    worker,
    count: 2,
    kind,
    execArgv,
    argv: [log, JSON.stringify(settings ?? {})],
    env: { NODE_COMPILE_CACHE: path.join(os.tmpdir(), "effect-feeder-compile-cache") },
    ...rest
  }).pipe(Layer.provide(Logger.layer([])))
}

const running = (count: number) =>
  Effect.gen(function*() {
    const { status } = yield* WorkerDevices.Workers
    let up = 0
    yield* Effect.repeat(
      Effect.tap(status, (all) =>
        Effect.sync(() => {
          up = all.filter(({ state }) => state === "running").length
        })),
      { schedule: Schedule.spaced(5), while: () => up < count }
    )
  })

const tolerate = FailureTolerator.make({ initDelay: 50 })

const feedOne = Feeder.run(Numbers, { source: [1], devices: ["/job:consumer/replica:1"], tolerate })

const devices = DeviceSpec.replicas("consumer", 2)

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    // One that has ended, and that its parent has not asked for, is no process any more.
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch {
    return false
  }
}

for (const kind of ["thread", "process"] as const) {
  describe(`WorkerDevices, ${kind}`, () => {
    it.live("runs a TypeScript file as it is, and feeds all of its workers", () =>
      Effect.gen(function*() {
        const log = yield* makeLog
        const ledger = yield* Effect.gen(function*() {
          yield* running(2)
          return yield* Feeder.run(Numbers, { source: range(300), devices })
        }).pipe(Effect.provide(layer(kind, log.file, { settings: { millis: 1 } })))
        assert.deepInclude(ledger, { generated: 300, delivered: 300, redelivered: 0, lost: 0 })
        assert.deepStrictEqual(log.handed().map(({ n }) => n).toSorted((a, b) => a - b), range(300))
        assert.strictEqual(new Set(log.lines().map((line) => `${line.pid} ${line.threadId}`)).size, 2)
        assert.deepStrictEqual(new Set(log.lines().map(({ device }) => device)), new Set(devices.map(String)))
      }))

    const elements = 150

    const crash = (bad: number, options: Partial<WorkerDevices.Options> = {}) =>
      Effect.gen(function*() {
        const log = yield* makeLog
        // Few enough for the other one to be done with all of them before the one that crashed is fed again.
        const source = range(elements)
        source[40] = bad
        const [ledger, status] = yield* Effect.gen(function*() {
          yield* running(2)
          // The one that crashed is not fed again before the others have done what it had.
          const tolerate = FailureTolerator.make({ initDelay: "1500 millis" })
          const ledger = yield* Feeder.run(Numbers, { source, devices, tolerate })
          const { status } = yield* WorkerDevices.Workers
          return [ledger, yield* status] as const
        }).pipe(Effect.provide(layer(kind, log.file, { settings: { millis: 3 }, ...options })))
        // By the books.
        assert.deepInclude(ledger, { generated: elements, delivered: elements, queued: 0, leased: 0, dead: 0, lost: 0 })
        const handed = log.handed()
        const fatal = handed.find(({ attempt, n }) => n === bad && attempt === 1)
        if (fatal === undefined) return assert.fail("it was not handed out")
        // By what consumers saw: all of it, and nothing twice unless it was marked.
        assert.deepStrictEqual(new Set(handed.map(({ ordinal }) => ordinal)), new Set(range(elements)))
        const unmarked = handed.filter(({ redelivered }) => !redelivered).map(({ ordinal }) => ordinal)
        assert.strictEqual(new Set(unmarked).size, unmarked.length)
        // What was in flight at the worker that crashed was done elsewhere, and nothing that was with another.
        const again = handed.filter(({ redelivered }) => redelivered)
        assert.isAtLeast(again.length, 1)
        assert.isAtMost(again.length, Numbers.capacity + 1)
        const elsewhere = again.filter(({ device }) => device !== fatal.device)
        assert.strictEqual(elsewhere.length, again.length)
        const other = handed.filter(({ device, redelivered }) => device !== fatal.device && !redelivered)
        assert.isEmpty(other.filter(({ ordinal }) => again.some((one) => one.ordinal === ordinal)))
        const failed = status.find(({ device }) => device === fatal.device)
        assert.strictEqual(status.filter(({ last }) => last !== undefined).length, 1)
        return { fatal, again, last: failed?.last, starts: failed?.starts ?? 0 }
      })

    const inTime = ({ again, fatal }: { readonly again: ReadonlyArray<WorkerLine>; readonly fatal: WorkerLine }) =>
      assert.isBelow(Math.min(...again.map(({ at }) => at)) - fatal.at, 1000)

    it.live("a worker that exits costs what it had in flight, which is done elsewhere within a second", () =>
      Effect.gen(function*() {
        const { again, fatal, last, starts } = yield* crash(fault.exit)
        inTime({ again, fatal })
        assert.deepInclude(last, { how: "exit", code: 3, device: fatal.device, worker: fileURLToPath(worker) })
        assert.strictEqual(starts, 2)
        const ran = kind === "thread" ? `thread ${fatal.threadId}` : `process ${fatal.pid}`
        assert.strictEqual(
          last?.message,
          `its worker ${fileURLToPath(worker)} (${ran}) ended with exit code 3`
        )
      }))

    it.live("so does one that exits as if all was well", () =>
      Effect.gen(function*() {
        const { again, fatal, last, starts } = yield* crash(fault.cleanExit)
        inTime({ again, fatal })
        assert.deepInclude(last, { how: "exit", code: 0 })
        assert.strictEqual(starts, 2)
      }))

    it.live("so does one with an error that nothing catches, which is named", () =>
      Effect.gen(function*() {
        const { again, fatal, last } = yield* crash(fault.throw)
        inTime({ again, fatal })
        assert.strictEqual(last?.how, "error")
        assert.include(last?.message, "ended with an error that nothing caught: RangeError: nobody catches this")
      }))

    if (kind === "process") {
      it.live("so does one that is killed, whose signal is named", () =>
        Effect.gen(function*() {
          const { again, fatal, last } = yield* crash(fault.kill)
          inTime({ again, fatal })
          assert.deepInclude(last, { how: "exit", signal: "SIGKILL" })
          assert.include(last?.message, "was ended by SIGKILL")
        }))
    }

    it.live("so does one that needs more memory than it may have", () =>
      Effect.gen(function*() {
        const { last } = yield* crash(fault.memory, { memoryLimit: 48 })
        assert.strictEqual(last?.how, "memory", last?.message)
        assert.include(last?.message, "ran out of memory; give it more `memoryLimit`")
      }))

    it.live("collects its new objects as often as it is told", () =>
      Effect.gen(function*() {
        const log = yield* makeLog
        yield* Feeder.run(Numbers, { source: [1], devices }).pipe(
          Effect.provide(layer(kind, log.file, { youngMemoryLimit: 6 }))
        )
        assert.deepStrictEqual(log.handed().map(({ young }) => young), [6])
      }))

    it.live("one that blocks its event loop is replaced", () =>
      Effect.gen(function*() {
        const { again, fatal, last } = yield* crash(fault.block, { unresponsiveAfter: "1500 millis" })
        assert.deepInclude(last, { how: "blocked", millis: 1500 })
        // The time, of which a part may have passed since it last answered, and what the others take.
        assert.isBelow(Math.min(...again.map(({ at }) => at)) - fatal.at, 3000)
      }))

    it.live("a worker whose restarts are used up is named by the feeder that fails with it", () =>
      Effect.gen(function*() {
        const log = yield* makeLog
        const source = [fault.exitAlways, 1, 2, 3]
        const error = yield* Effect.flip(
          Feeder.run(Numbers, { source, devices: ["/job:consumer/replica:0"], tolerate })
        ).pipe(
          Effect.provide(
            layer(kind, log.file, { count: 1, restart: Schedule.spaced("20 millis").pipe(Schedule.upTo({ times: 1 })) })
          )
        )
        assert.strictEqual(error.reason._tag, "NoDeviceLeft")
        assert.include(error.message, "device /job:consumer/replica:0 refused the feed (ended)")
        assert.include(error.message, `${fileURLToPath(worker)} (${kind} `)
        assert.include(error.message, "ended with exit code 3; its `restart` schedule allows no more than 2 starts")
      }))

    it.live("a file that fails at once is named with its error", () =>
      Effect.gen(function*() {
        const log = yield* makeLog
        const broken = fixture("brokenWorker")
        const error = yield* Effect.flip(feedOne)
          .pipe(
            Effect.provide(layer(kind, log.file, { worker: broken, restart: Schedule.recurs(0) }))
          )
        assert.include(error.message, `${fileURLToPath(broken)} (${kind} `)
        assert.include(error.message, "TypeError: this worker never begins")
      }))

    it.live("a file that hosts nothing is ended, and named", () =>
      Effect.gen(function*() {
        const log = yield* makeLog
        const silent = fixture("silentWorker")
        const error = yield* Effect.flip(feedOne)
          .pipe(
            Effect.provide(layer(kind, log.file, {
              worker: silent,
              restart: Schedule.recurs(0),
              startWithin: "500 millis",
              gracePeriod: "100 millis"
            }))
          )
        assert.include(
          error.message,
          "was ended since it hosted no feed within 500 ms; does it run `WorkerDevices.layerHost`?"
        )
      }))

    it.live("a worker that hosts another feed refuses, with both named", () =>
      Effect.gen(function*() {
        const log = yield* makeLog
        const error = yield* Effect.flip(Feeder.run(Numbers, { source: [1], devices: ["/job:consumer/replica:0"] }))
          .pipe(
            Effect.provide(layer(kind, log.file, { count: 1, settings: { blobs: true } }))
          )
        assert.include(
          error.message,
          `device /job:consumer/replica:0 refused the feed (unknown feed): it hosts "blobs", the feeder has "numbers"`
        )
      }))

    it.live("a worker whose feeds have ended ends, and is started when it is fed again", () =>
      Effect.gen(function*() {
        const log = yield* makeLog
        yield* Effect.gen(function*() {
          const { status } = yield* WorkerDevices.Workers
          const feed = Feeder.run(Numbers, { source: range(10), devices: ["/job:consumer/replica:0"] })
          assert.strictEqual((yield* feed).delivered, 10)
          // It is waited for while it still runs.
          assert.strictEqual((yield* feed).delivered, 10)
          const [one] = yield* status
          assert.deepInclude(one, { starts: 2, last: undefined })
        }).pipe(
          // It has something to do at its end, for longer than it may be blocked before.
          Effect.provide(
            layer(kind, log.file, { count: 1, settings: { linger: 2000 }, unresponsiveAfter: "1500 millis" })
          )
        )
        assert.strictEqual(log.handed().length, 20)
      }))

    it.live("a stop lets workers finish what they have in hand, and leaves none", () =>
      Effect.gen(function*() {
        const log = yield* makeLog
        yield* Effect.gen(function*() {
          const source = [fault.slow + 400, fault.slow + 400]
          const feed = yield* Effect.forkChild(Feeder.run(Numbers, { source, devices }))
          yield* until("an element was in hand", () => log.handed().length > 0)
          yield* Fiber.interrupt(feed)
        }).pipe(Effect.provide(layer(kind, log.file, { gracePeriod: "10 seconds" })))
        const handed = log.handed()
        assert.strictEqual(log.lines().length, 2 * handed.length)
        for (const { pid } of handed) assert.strictEqual(alive(pid), pid === process.pid)
      }))

    it.live("a worker that does not finish is ended when the grace period is over", () =>
      Effect.gen(function*() {
        const log = yield* makeLog
        let stopped = 0
        yield* Effect.gen(function*() {
          const source = [fault.slow + 3_600_000, fault.block]
          const feed = yield* Effect.forkChild(Feeder.run(Numbers, { source, devices }))
          yield* until("both were in hand", () => log.handed().length === 2)
          yield* Fiber.interrupt(feed)
          stopped = performance.now()
        }).pipe(Effect.provide(layer(kind, log.file, { gracePeriod: "300 millis", settings: { concurrency: 2 } })))
        const millis = performance.now() - stopped
        assert.isAtLeast(millis, 290)
        assert.isBelow(millis, 3000)
        for (const { pid } of log.lines()) assert.strictEqual(alive(pid), pid === process.pid)
      }))
  })
}

describe("WorkerDevices", () => {
  it.live("no process is left of a program that is killed, not even one that blocks its event loop", () =>
    Effect.gen(function*() {
      const log = yield* makeLog
      const parent = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, [...execArgv, fileURLToPath(fixture("workersParent")), log.file], { stdio: "ignore" })
        ),
        (parent) => Effect.sync(() => parent.kill("SIGKILL"))
      )
      yield* until(
        "both workers were fed, and one of them was blocked",
        () => new Set(log.handed().map(({ pid }) => pid)).size === 2 && log.handed().some(({ n }) => n === fault.block),
        25_000
      )
      const pids = [...new Set(log.handed().map(({ pid }) => pid))]
      assert.deepStrictEqual(pids.map(alive), [true, true])
      parent.kill("SIGKILL")
      yield* until("no worker was left", () => !pids.some(alive), 2000)
    }))

  it.effect("says what is wrong with a worker that cannot be run", () =>
    Effect.gen(function*() {
      const messageOf = (options: Partial<WorkerDevices.Options>) =>
        Effect.map(
          Effect.flip(Layer.build(WorkerDevices.layer({ worker, count: 1, ...options }))),
          ({ message }) => message
        )
      const nowhere = fixture("nowhere")
      assert.strictEqual(
        yield* messageOf({ worker: nowhere }),
        `the worker "${fileURLToPath(nowhere)}" cannot be run: there is no such file; ` +
          `give its file, such as new URL("./consumer.ts", import.meta.url)`
      )
      assert.include(yield* messageOf({ worker: "./nowhere.ts" }), "there is no such file")
      assert.include(yield* messageOf({ worker: new URL("data:text/javascript,1") }), "it is no file, but data:")
      assert.include(yield* messageOf({ count: 0 }), "`count` must be a positive integer, and is 0")
      assert.include(yield* messageOf({ memoryLimit: 0 }), "`memoryLimit` must be a positive number, and is 0")
      assert.include(
        yield* messageOf({ youngMemoryLimit: -1 }),
        "`youngMemoryLimit` must be a positive number, and is -1"
      )
    }))

  it.live("a device that is none of the workers is refused", () =>
    Effect.gen(function*() {
      const log = yield* makeLog
      const error = yield* Effect.flip(Feeder.run(Numbers, { source: [1], devices: ["/job:consumer/replica:7"] })).pipe(
        Effect.provide(layer("thread", log.file, { count: 1, gracePeriod: 1 }))
      )
      assert.include(error.message, "it is none of the workers, which are /job:consumer/replica:0")
    }))

  it.effect("nothing is hosted in a program that is no worker", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Layer.build(WorkerDevices.layerHost({ feeds: [Numbers] })))
      assert.deepStrictEqual(
        exit,
        Exit.fail(new WorkerDevices.NotAWorker({ issue: "this program was not started by `WorkerDevices.layer`" }))
      )
      assert.strictEqual(
        (yield* Effect.flip(WorkerDevices.device)).message,
        "this program was not started by `WorkerDevices.layer`; start it with `WorkerDevices.layer`, " +
          "or host with `SocketDevices.layerHost` or `MemoryDevices`"
      )
    }))
})
