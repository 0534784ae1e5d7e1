/**
 * A cluster of real runners over PostgreSQL, fed while they die, join and leave.
 */
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger } from "effect"
import { DeviceSpec, FailureTolerator, Feeder } from "effect-feeder"
import * as ClusterDevices from "effect-feeder/layers/ClusterDevices"
import { Ledgers } from "effect-feeder/testing"
import * as Cause from "effect/Cause"
import { layerStoredClient } from "../fixtures/cluster.ts"
import { Numbers } from "../fixtures/messages.ts"
import * as Postgres from "../fixtures/postgres.ts"
import type { Process } from "../fixtures/processes.ts"
import { freePort, startRunner, until } from "../fixtures/processes.ts"

let postgres: Postgres.Postgres

beforeAll(async () => {
  postgres = await Postgres.start()
}, 60_000)

afterAll(() => postgres.stop(), 60_000)

/** So many that each runner has some, and each that joins gets some. */
const devices = DeviceSpec.replicas("consumer", 24).map(String)

const start = Effect.gen(function*() {
  const { socket, username } = postgres
  return yield* startRunner({ port: yield* freePort, runnerPort: yield* freePort, socket, username, millis: 20 })
})

/** The devices that live in a process, as far as is known. */
const livingIn = (process: Process): ReadonlyArray<string> => {
  const living = new Set<string>()
  for (const line of process.lines) {
    if (line._tag === "Lives") living.add(line.device)
    if (line._tag === "Left") living.delete(line.device)
  }
  return [...living]
}

/** Feeds all devices, without end, and gives what is to be known of it. */
const feed = Effect.gen(function*() {
  let generated = 0
  let isOver = false
  const source = Effect.suspend(() => isOver ? Cause.done() : Effect.succeed(generated++))
  const made = yield* Feeder.make(Numbers, {
    lease: "5 seconds",
    tolerate: FailureTolerator.make({ limit: 100, initDelay: 100, backoffFactor: 1 })
  })
  const feeder = yield* made.set(source)
  const client = ClusterDevices.layer().pipe(
    Layer.provide(layerStoredClient(postgres)),
    Layer.provide(Logger.layer([]))
  )
  yield* Effect.provideContext(feeder.addRemoteDevices(devices), yield* Layer.build(client))
  const run = yield* Effect.forkScoped(feeder.run)
  const delivered = Effect.map(feeder.ledger, (ledger) => ledger.devices.map((device) => device.delivered))
  return {
    /** Waits until each device has processed what it is fed from now on: more than what it may have now. */
    allWork: Effect.gen(function*() {
      const before = yield* delivered
      yield* Effect.sleep(50).pipe(
        Effect.andThen(delivered),
        Effect.repeat({ until: (now) => now.every((count, i) => count > (before[i] ?? 0) + Numbers.capacity) }),
        Effect.timeout("60 seconds")
      )
    }),
    /** Ends the feed, and holds the account against what the runners have told. */
    end: (runners: ReadonlyArray<Process>) =>
      Effect.gen(function*() {
        isOver = true
        const ledger = yield* Fiber.join(run)
        Ledgers.assertCounts(ledger, { generated, delivered: generated, queued: 0, leased: 0, dead: 0, lost: 0 })
        const finished = new Set(runners.flatMap((process) => process.all("Finished").map(({ ordinal }) => ordinal)))
        assert.strictEqual(finished.size, generated, "elements that were never finished")
        const unmarked = runners.flatMap((process) => process.all("Handed").filter(({ redelivered }) => !redelivered))
        assert.strictEqual(
          new Set(unmarked.map(({ ordinal }) => ordinal)).size,
          unmarked.length,
          "came twice, unmarked"
        )
      })
  }
})

/** Waits until a few devices live in each. */
const inhabited = (runners: ReadonlyArray<Process>) =>
  until("devices live in all runners", () => runners.every((one) => livingIn(one).length > 2), 60_000)

it.live(
  "a runner is killed, one joins, one leaves: nothing is lost, and nothing comes twice unmarked",
  () =>
    Effect.gen(function*() {
      const [killed, leaver, stayer] = yield* Effect.all([start, start, start], { concurrency: "unbounded" })
      const { allWork, end } = yield* feed
      yield* allWork
      yield* inhabited([killed, leaver, stayer])

      yield* killed.signal("SIGKILL")
      yield* killed.exited
      const orphans = livingIn(killed)
      assert.isAbove(orphans.length, 0)
      yield* allWork
      const sheltered = [leaver, stayer].flatMap(livingIn)
      assert.deepStrictEqual(orphans.filter((device) => !sheltered.includes(device)), [])

      const joiner = yield* start
      yield* until("a device lives in the runner that has joined", () => livingIn(joiner).length > 0, 60_000)
      yield* allWork
      yield* leaver.signal("SIGTERM")
      assert.deepStrictEqual(yield* leaver.exited, { code: 130, signal: null })
      yield* allWork
      yield* end([killed, leaver, stayer, joiner])

      // Of what was handed out where no runner was killed, nothing is given back when a device moves.
      const gently = [leaver, stayer, joiner].flatMap((process) =>
        process.all("Handed").map(({ attempt, ordinal }) => ({ by: process.name, ordinal, attempt }))
      )
      const known = new Set<number>()
      const again = new Set(gently.map(({ ordinal }) => ordinal).filter((n) => known.size === known.add(n).size))
      assert.deepStrictEqual(gently.filter(({ ordinal }) => again.has(ordinal)), [], "what was not finished in time")
    }).pipe(Effect.scoped),
  300_000
)

it.live(
  "a runner that hangs loses its devices, and hands out nothing unmarked when it wakes",
  () =>
    Effect.gen(function*() {
      const [hung, other] = yield* Effect.all([start, start], { concurrency: "unbounded" })
      const { allWork, end } = yield* feed
      yield* inhabited([hung, other])
      yield* allWork
      yield* hung.signal("SIGSTOP")
      yield* allWork
      assert.deepStrictEqual(livingIn(other).toSorted(), devices.toSorted())
      yield* hung.signal("SIGCONT")
      yield* allWork
      yield* end([hung, other])
    }).pipe(Effect.scoped),
  300_000
)
