import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema } from "effect"
import { DeviceSpec, Feed, Feeder, MemoryDevices } from "effect-feeder"
import { FaultyDevices, ManualSource } from "effect-feeder/testing"
import { Numbers, onNetwork, pass, passUntil, range, replica, settled, tolerate } from "../network.ts"

const all = DeviceSpec.replicas("consumer", 3)

/** Three hosts whose consumers take `millis` for each element and note, in one list, what they see. */
const consumers = Effect.fnUntraced(function*(millis: number) {
  const seen: Array<Feed.Delivery & { readonly at: number }> = []
  const loops = yield* Effect.forEach(range(3), (at) =>
    Effect.forkChild(
      Numbers.forEach((_, delivery) =>
        Effect.andThen(Effect.sync(() => seen.push({ ...delivery, at })), Effect.sleep(millis))
      ).pipe(
        Effect.provide(MemoryDevices.layerHost({ feeds: [Numbers], device: replica(at) }))
      )
    ))
  yield* settled
  return { seen, loops }
})

const startedWith = Effect.fnUntraced(function*(source: ReadonlyArray<number>, options: Feeder.Options) {
  const made = yield* Feeder.make(Numbers, { id: "f", supervision: "all", ...options })
  const feeder = yield* made.set(source)
  yield* feeder.addRemoteDevices(all)
  const run = yield* Effect.forkChild(feeder.run)
  yield* settled
  return { feeder, run }
})

/** What each device was asked for. */
const counts = Effect.gen(function*() {
  const faults = yield* FaultyDevices.FaultyDevices
  return {
    attempts: yield* Effect.forEach(range(3), (index) => faults.attempts(replica(index))),
    open: yield* Effect.forEach(range(3), (index) => faults.open(replica(index)))
  }
})

/** Every element was handed out, and each time but the first is marked. */
const assertMarked = (seen: ReadonlyArray<Feed.Delivery>, count: number) => {
  const known = new Set<number>()
  for (const { ordinal, redelivered } of seen) {
    if (known.has(ordinal)) assert.isTrue(redelivered, `element ${ordinal} was given again without a mark`)
    known.add(ordinal)
  }
  assert.strictEqual(known.size, count)
}

describe("supervision \"all\"", () => {
  it.effect("a failure of one restarts all after one delay, and those that were well resume", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { seen } = yield* consumers(10)
      const { feeder, run } = yield* startedWith(range(300), { tolerate: tolerate(5, 1000) })
      yield* pass(100)
      assert.deepStrictEqual(yield* counts, { attempts: [1, 1, 1], open: [1, 1, 1] })
      yield* faults.cut(replica(0), "gone")
      yield* settled
      assert.deepStrictEqual(yield* counts, { attempts: [1, 1, 1], open: [0, 0, 0] })
      yield* pass(990)
      assert.deepStrictEqual(yield* counts, { attempts: [1, 1, 1], open: [0, 0, 0] })
      yield* pass(10)
      assert.deepStrictEqual(yield* counts, { attempts: [2, 2, 2], open: [1, 1, 1] })
      const { devices } = yield* feeder.status
      assert.deepStrictEqual(
        devices.map(({ failures, phase, session }) => ({ failures, phase, session })),
        [
          { failures: 1, phase: "Live", session: 2 },
          { failures: 0, phase: "Live", session: 1 },
          { failures: 0, phase: "Live", session: 1 }
        ]
      )
      const ledger = yield* passUntil(run)
      assert.strictEqual(ledger.delivered, 300)
      assertMarked(seen, 300)
      // Only what was out at the device that failed is given again, and nothing else twice.
      const again = seen.filter(({ redelivered }) => redelivered).map(({ ordinal }) => ordinal)
      for (const { at, ordinal } of seen.filter((one) => !one.redelivered)) {
        if (again.includes(ordinal)) assert.strictEqual(at, 0)
      }
      assert.strictEqual(ledger.redelivered, again.length)
      assert.isAbove(again.length, 0)
      assert.isAtMost(again.length, Numbers.capacity + 1)
    }).pipe(onNetwork))

  it.effect("a link that breaks and is resumed restarts nobody", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { seen } = yield* consumers(10)
      const { run } = yield* startedWith(range(60), { tolerate: tolerate(1, 1000) })
      yield* faults.cut(replica(0))
      yield* pass(50)
      assert.deepStrictEqual((yield* counts).attempts, [2, 1, 1])
      const ledger = yield* passUntil(run)
      assert.strictEqual(ledger.redelivered, 0)
      assert.deepStrictEqual(seen.map(({ ordinal }) => ordinal).toSorted((a, b) => a - b), range(60))
    }).pipe(onNetwork))

  it.effect("the budget is one: failures of different devices spend it", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* consumers(10)
      const { run } = yield* startedWith(range(10_000), { tolerate: tolerate(3, 1000) })
      for (const index of [0, 1]) {
        yield* faults.cut(replica(index), "gone")
        yield* pass(1000)
        assert.isUndefined(run.pollUnsafe())
        assert.deepStrictEqual((yield* counts).open, [1, 1, 1])
      }
      yield* faults.cut(replica(2), "gone")
      yield* settled
      const error = yield* Effect.flip(Fiber.join(run))
      assert.strictEqual(error.reason._tag, "DeviceFailed")
      assert.include(error.message, `device ${replica(2)} has failed after 3 failure(s)`)
      assert.deepStrictEqual((yield* counts).open, [0, 0, 0])
    }).pipe(onNetwork))

  it.effect("failures at the same moment are one restart", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { seen } = yield* consumers(10)
      const { run } = yield* startedWith(range(100), { tolerate: tolerate(2, 1000) })
      yield* faults.cut(undefined, "gone")
      yield* pass(1000)
      assert.deepStrictEqual(yield* counts, { attempts: [2, 2, 2], open: [1, 1, 1] })
      yield* passUntil(run)
      assertMarked(seen, 100)
    }).pipe(onNetwork))

  it.effect("a link that cannot be opened is a failure of all", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* faults.refuse(replica(2), 2)
      const { seen } = yield* consumers(10)
      const { run } = yield* startedWith(range(100), { tolerate: tolerate(3, 1000) })
      assert.deepStrictEqual((yield* counts).open, [0, 0, 0])
      yield* pass(1000)
      assert.deepStrictEqual((yield* counts).open, [0, 0, 0])
      yield* pass(1000)
      assert.deepStrictEqual((yield* counts).open, [1, 1, 1])
      assert.strictEqual((yield* counts).attempts[2], 3)
      const ledger = yield* passUntil(run)
      assertMarked(seen, 100)
      assert.strictEqual(ledger.redelivered, 0)
    }).pipe(onNetwork))

  it.effect("a failure that is not tolerated fails the run at once, and closes all links", () =>
    Effect.gen(function*() {
      const Other = Feed.make("numbers", { element: Schema.String, capacity: 4 })
      yield* consumers(10)
      yield* Effect.forkChild(
        Effect.provide(
          Other.forEach(() => Effect.void),
          MemoryDevices.layerHost({ feeds: [Other], device: replica(3) })
        )
      )
      const { feeder, run } = yield* startedWith(range(1000), { tolerate: tolerate(100, 1000) })
      yield* pass(20)
      yield* feeder.addRemoteDevice(replica(3))
      yield* settled
      const error = yield* Effect.flip(Fiber.join(run))
      assert.strictEqual(error.reason._tag, "DeviceFailed")
      assert.include(error.message, "refused the feed (different feed)")
      assert.deepStrictEqual(yield* counts, { attempts: [1, 1, 1], open: [0, 0, 0] })
    }).pipe(onNetwork))

  it.effect("a device that has not answered yet starts over with the others, and that is no failure", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { seen } = yield* consumers(10)
      yield* faults.freeze(replica(1))
      const { feeder, run } = yield* startedWith(range(60), { tolerate: tolerate(2, 1000) })
      yield* faults.cut(replica(0), "gone")
      yield* pass(1)
      yield* faults.thaw(replica(1))
      yield* pass(500)
      assert.deepStrictEqual((yield* feeder.status).devices.map(({ phase }) => phase), ["BackOff", "Idle", "Resuming"])
      yield* passUntil(run)
      assertMarked(seen, 60)
      assert.deepStrictEqual((yield* feeder.status).devices.map(({ failures }) => failures), [1, 0, 0])
    }).pipe(onNetwork))

  it.effect("a device that is added during the delay waits for its end", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* consumers(10)
      const { feeder } = yield* startedWith(range(1000), { tolerate: tolerate(5, 1000) })
      yield* faults.cut(replica(0), "gone")
      yield* pass(500)
      yield* feeder.addRemoteDevice(replica(3))
      yield* pass(400)
      assert.strictEqual(yield* faults.attempts(replica(3)), 0)
      yield* faults.refuse(replica(3), 1)
      yield* pass(100)
      assert.strictEqual(yield* faults.attempts(replica(3)), 1)
    }).pipe(onNetwork))

  it.effect("a stop during the delay ends the run at once, and the next one goes on with a new budget", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { seen } = yield* consumers(10)
      const { feeder, run } = yield* startedWith(range(200), { tolerate: tolerate(2, 3000) })
      yield* pass(100)
      for (let i = 0; i < 3; i++) {
        yield* faults.cut(replica(i), "gone")
        yield* pass(500)
        yield* feeder.stop
        yield* settled
        if (i === 0) assert.isDefined(run.pollUnsafe())
        assert.deepStrictEqual((yield* counts).open, [0, 0, 0])
        yield* Effect.forkChild(feeder.run)
        yield* settled
        assert.deepStrictEqual((yield* counts).open, [1, 1, 1])
        yield* pass(100)
      }
      yield* feeder.stop
      yield* settled
      const ledger = yield* passUntil(yield* Effect.forkChild(feeder.run))
      assert.strictEqual(ledger.delivered, 200)
      assertMarked(seen, 200)
    }).pipe(onNetwork))

  it.effect("a delay longer than the lease takes back what is out everywhere, marked, and no more is counted", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { seen } = yield* consumers(100)
      const { feeder, run } = yield* startedWith(range(60), { tolerate: tolerate(2, 5000), lease: 1000 })
      yield* pass(200)
      yield* faults.cut(replica(0), "gone")
      for (let i = 0; i < 20; i++) {
        yield* pass(200)
        assert.strictEqual((yield* feeder.ledger).lost, 0)
      }
      assert.strictEqual((yield* feeder.ledger).leased, 0)
      assert.deepStrictEqual((yield* counts).attempts, [1, 1, 1])
      const ledger = yield* passUntil(run)
      assert.deepStrictEqual((yield* counts).attempts, [2, 2, 2])
      assert.strictEqual(ledger.delivered, 60)
      assertMarked(seen, 60)
      assert.deepStrictEqual(
        (yield* feeder.status).devices.map(({ failures, session }) => [failures, session]),
        [[1, 2], [0, 2], [0, 2]]
      )
    }).pipe(onNetwork))

  it.effect("through many failures nothing is lost, and nothing given again without a mark", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { loops, seen } = yield* consumers(7)
      const { feeder, run } = yield* startedWith(range(400), {
        tolerate: tolerate(100, 50),
        lease: 1000,
        maxAttempts: 100
      })
      for (let i = 0; i < 40; i++) {
        yield* pass(11 + i)
        yield* faults.cut(i % 5 === 0 ? undefined : replica(i % 3), i % 2 === 0 ? "gone" : "unknown")
        if (i % 7 === 0) yield* faults.refuse(replica(i % 3), 1)
        assert.strictEqual((yield* feeder.ledger).lost, 0)
      }
      const ledger = yield* passUntil(run)
      for (const loop of loops) yield* passUntil(loop)
      assert.strictEqual(ledger.delivered, 400)
      assertMarked(seen, 400)
    }).pipe(onNetwork))
})

describe("supervision \"each\"", () => {
  it.effect("is the default: a failure of one leaves the others alone", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* consumers(10)
      const manual = yield* ManualSource.make<number>()
      const made = yield* Feeder.make(Numbers, { tolerate: tolerate(5, 1000) })
      const feeder = yield* made.set(manual.source)
      yield* feeder.addRemoteDevices(all)
      yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* faults.cut(replica(0), "gone")
      yield* settled
      assert.deepStrictEqual((yield* counts).open, [0, 1, 1])
      yield* pass(1000)
      assert.deepStrictEqual(yield* counts, { attempts: [2, 1, 1], open: [1, 1, 1] })
    }).pipe(onNetwork))
})
