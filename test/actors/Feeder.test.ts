import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Schedule, Scheduler, Schema, Scope, Stream } from "effect"
import { DeviceSpec, FailureTolerator, Feed, Feeder, MemoryDevices } from "effect-feeder"
import { FaultyDevices, Ledgers, ManualSource } from "effect-feeder/testing"
import { TestClock } from "effect/testing"
import {
  host,
  network,
  Numbers,
  onNetwork,
  passUntil,
  range,
  recorder,
  replica,
  settled,
  tolerate
} from "../network.ts"

const Accepted = Feed.make("accepted", { element: Schema.Int, capacity: 4, acknowledge: "accepted" })

class Broken extends Schema.TaggedError<Broken>()("Broken", { at: Schema.Int }) {}

describe("a run", () => {
  it.effect("a finite source ends it with an account that sums", () =>
    Effect.gen(function*() {
      const { deliveries, note, seen } = recorder()
      const feed = Feeder.run(Numbers, { id: "f", source: range(50), devices: [replica(0)] })
      const [ledger, consumed] = yield* Effect.all([feed, host(replica(0))(Numbers.forEach(note))], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(seen, range(50))
      assert.deepStrictEqual(consumed, { done: 50, retried: 0, rejected: 0, fenced: 0, timedOut: 0 })
      assert.deepStrictEqual(
        deliveries,
        range(50).map((ordinal) => ({ feeder: "f", ordinal, attempt: 1, redelivered: false, id: undefined }))
      )
      const classes = {
        leased: 0,
        inDoubt: 0,
        held: 0,
        heldByDead: 0,
        accepted: 50,
        delivered: 50,
        redelivered: 0,
        dead: 0,
        fenced: 0
      }
      assert.deepStrictEqual(ledger, {
        generated: 50,
        queued: 0,
        dropped: 0,
        lost: 0,
        ...classes,
        devices: [{ device: replica(0), ...classes }]
      })
    }).pipe(onNetwork))

  it.effect("an empty source ends it, and its consumers too", () =>
    Effect.gen(function*() {
      const feed = Feeder.run(Numbers, { source: [], devices: [replica(0)] })
      const [ledger, consumed] = yield* Effect.all([feed, host(replica(0))(Numbers.forEach(() => Effect.void))], {
        concurrency: "unbounded"
      })
      assert.strictEqual(ledger.generated, 0)
      assert.strictEqual(consumed.done, 0)
    }).pipe(onNetwork))

  it.effect("stopped and run again it goes on, without loss or repeat", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      const loop = yield* Effect.forkChild(
        host(replica(0))(Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), Effect.sleep(20))))
      )
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(range(60))
      yield* feeder.addRemoteDevice(replica(0))
      for (let i = 0; i < 5; i++) {
        const run = yield* Effect.forkChild(feeder.run)
        for (let j = 0; j < 5; j++) {
          yield* settled
          yield* TestClock.adjust(30)
        }
        yield* i % 2 === 0 ? feeder.stop : Fiber.interrupt(run)
        const exit = yield* Fiber.await(run)
        assert.strictEqual(Exit.isSuccess(exit), i % 2 === 0)
        const { hasEnded, isRunning, ledger } = yield* feeder.status
        assert.deepStrictEqual([hasEnded, isRunning], [false, false])
        Ledgers.assertConserved(ledger)
        assert.isBelow(ledger.delivered, 60)
      }
      const ledger = yield* passUntil(yield* Effect.forkChild(feeder.run))
      yield* passUntil(loop)
      assert.deepStrictEqual(seen, range(60))
      assert.strictEqual(ledger.delivered, 60)
      assert.strictEqual(ledger.redelivered, 0)
    }).pipe(onNetwork))

  it.effect("a second one at once is refused, and does not disturb the first", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number>()
      const made = yield* Feeder.make(Numbers, { id: "f" })
      const feeder = yield* made.set(manual.source)
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      const error = yield* Effect.flip(feeder.run)
      assert.strictEqual(
        error.message,
        "feeder f of feed \"numbers\": the feeder is running already; stop it, or wait for it, before it runs again"
      )
      assert.isTrue((yield* feeder.status).isRunning)
      yield* manual.push(1)
      const feeding = yield* Effect.forkChild(feeder.feeding)
      yield* settled
      assert.isUndefined(feeding.pollUnsafe())
      assert.strictEqual(yield* feeder.take, 1)
      yield* manual.end
      assert.strictEqual((yield* Fiber.join(run)).delivered, 1)
      yield* Fiber.join(feeding)
    }))

  it.effect("after the end it is refused, and says so", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers, { id: "f" })
      const feeder = yield* made.set([])
      yield* feeder.run
      const error = yield* Effect.flip(feeder.run)
      assert.strictEqual(
        error.message,
        "feeder f of feed \"numbers\": the feed has ended; make another feeder for another input"
      )
      // It has been feeding to its end, whoever asks later.
      yield* feeder.feeding
    }))

  it.effect("it fails at once with the failure of a source, beside FeedError in its type", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number, Broken>()
      const { note, seen } = recorder()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(manual.source)
      yield* feeder.addRemoteDevice(replica(0))
      yield* manual.push(1, 2)
      const run = yield* Effect.forkChild(Effect.exit(feeder.run))
      yield* settled
      yield* manual.fail(new Broken({ at: 2 }))
      assert.deepStrictEqual(yield* Fiber.join(run), Exit.fail(new Broken({ at: 2 })))
      assert.deepStrictEqual(seen, [1, 2])
      Ledgers.assertConserved(yield* feeder.ledger)
    }).pipe(onNetwork))

  it.effect("a defect of a source fails it with that defect", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(Effect.die("boom"))
      const exit = yield* Effect.exit(feeder.run)
      assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === "boom")
    }))
})

describe("feeding, status and changes", () => {
  it.effect("feeding succeeds when a device has accepted an element, not before", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number>()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(manual.source)
      yield* feeder.addRemoteDevice(replica(0))
      const feeding = yield* Effect.forkChild(feeder.feeding)
      yield* Effect.forkChild(feeder.run)
      yield* settled
      assert.isUndefined(feeding.pollUnsafe())
      yield* manual.push(1)
      yield* settled
      assert.deepStrictEqual(feeding.pollUnsafe(), Exit.void)
    }).pipe(onNetwork))

  it.effect("feeding fails with the run", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(Effect.fail(new Broken({ at: 0 })))
      const feeding = yield* Effect.forkChild(Effect.exit(feeder.feeding))
      yield* Effect.exit(feeder.run)
      assert.deepStrictEqual(yield* Fiber.join(feeding), Exit.fail(new Broken({ at: 0 })))
    }))

  it.effect("a stop before anything was accepted does not answer feeding for the next run", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number>()
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(manual.source)
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* feeder.stop
      yield* Fiber.join(run)
      yield* Effect.forkChild(feeder.run)
      const feeding = yield* Effect.forkChild(Effect.exit(feeder.feeding))
      yield* settled
      assert.isUndefined(feeding.pollUnsafe())
      yield* manual.push(1)
      yield* feeder.take
      assert.deepStrictEqual(yield* Fiber.join(feeding), Exit.void)
    }))

  it.effect("feeding succeeds when an element is taken of a feeder that was stopped", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(range(20))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* feeder.stop
      yield* Fiber.join(run)
      const feeding = yield* Effect.forkChild(Effect.exit(feeder.feeding))
      yield* settled
      assert.isUndefined(feeding.pollUnsafe())
      yield* feeder.take
      yield* settled
      assert.deepStrictEqual(feeding.pollUnsafe(), Exit.succeed(Exit.void))
      yield* feeder.feeding
    }))

  it.effect("numbers that make no sense are a defect that says so", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Feeder.make(Numbers, { maxAttempts: Number.NaN }))
      assert.match(String(exit), /Feeder.make: maxAttempts must be a positive integer, got NaN/)
      const other = yield* Effect.exit(Feeder.make(Numbers, { maxDeadLetters: -1 }))
      assert.match(String(other), /maxDeadLetters must be a natural number or Infinity, got -1/)
    }))

  it.effect("the status tells of devices, and of what was rejected", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(
        host(replica(0))(Numbers.forEach((n) => n === 1 ? Effect.fail(Feed.reject("odd one")) : Effect.void))
      )
      const made = yield* Feeder.make(Numbers, { id: "f" })
      const feeder = yield* made.set([0, 1, 2])
      yield* feeder.addRemoteDevice(replica(0))
      const before = yield* feeder.status
      assert.deepStrictEqual(before.devices.map(({ device, phase }) => [device, phase]), [[replica(0), "Idle"]])
      const ledger = yield* feeder.run
      const after = yield* feeder.status
      assert.deepStrictEqual(after.dead, [
        { device: replica(0), ordinal: 1, reason: "rejected", attempts: 1, cause: "odd one" }
      ])
      assert.deepStrictEqual([after.feed, after.feeder, after.hasEnded, after.isRunning], ["numbers", "f", true, false])
      assert.deepStrictEqual([ledger.delivered, ledger.dead], [2, 1])
      assert.deepStrictEqual(after.devices.map(({ failures, phase, session }) => [phase, session, failures]), [
        ["Ended", 1, 0]
      ])
      assert.isString(after.devices[0]!.incarnation)
    }).pipe(onNetwork))

  it.effect("the account sums at every change", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const made = yield* Feeder.make(Numbers, { maxAttempts: 100 })
      const feeder = yield* made.set(range(200))
      yield* feeder.addRemoteDevices([replica(0), replica(1)])
      let changes = 0
      const watching = yield* Effect.forkChild(Stream.runForEach(feeder.changes, ({ ledger }) =>
        Effect.sync(() => {
          changes++
          Ledgers.assertConserved(ledger)
        })))
      for (const index of [0, 1]) {
        yield* Effect.forkChild(
          host(replica(index))(Numbers.forEachBatch(3, (_, { deliveries }) =>
            Effect.andThen(
              Effect.sleep(10),
              Feed.outcomes(deliveries.map(({ attempt, ordinal }) =>
                attempt === 1 && ordinal % 7 === 0
                  ? Feed.retry({ after: 50 })
                  : ordinal % 31 === 0
                  ? Feed.reject("no")
                  : Feed.done
              ))
            )))
        )
      }
      const run = yield* Effect.forkChild(feeder.run)
      for (let i = 0; i < 10; i++) {
        yield* settled
        yield* TestClock.adjust(25)
        yield* faults.cut(replica(i % 2))
      }
      const ledger = yield* passUntil(run)
      assert.isUndefined(watching.pollUnsafe())
      assert.isAbove(changes, 200)
      assert.strictEqual(ledger.delivered + ledger.dead, 200)
      assert.strictEqual(ledger.dead, 7)
    }).pipe(onNetwork))

  it.effect("changes gives the status as it is, and ends with the reader", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      const first = yield* Stream.runHead(made.changes)
      assert.deepStrictEqual(first._tag === "Some" && first.value, yield* made.status)
    }))
})

describe("devices", () => {
  it.effect("law 6: a slow one does not hold up another", () =>
    Effect.gen(function*() {
      const fast = recorder()
      const slow = recorder()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(fast.note)))
      yield* Effect.forkChild(
        host(replica(1))(Numbers.forEach((n, delivery) => Effect.andThen(slow.note(n, delivery), Effect.sleep(1000))))
      )
      const run = yield* Effect.forkChild(
        Feeder.run(Numbers, { source: range(200), devices: DeviceSpec.replicas("consumer", 2) })
      )
      for (let i = 0; i < 10; i++) yield* settled
      assert.strictEqual(slow.seen.length, 1)
      assert.isAtLeast(fast.seen.length, 200 - 2 * Numbers.capacity - 1)
      assert.deepStrictEqual(fast.seen, fast.seen.toSorted((a, b) => a - b))
      const ledger = yield* passUntil(run, 400, 500)
      assert.strictEqual(ledger.delivered, 200)
      assert.deepStrictEqual([...fast.seen, ...slow.seen].toSorted((a, b) => a - b), range(200))
    }).pipe(onNetwork))

  it.effect("law 6: a device whose frames are held does not hold up another", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const one = recorder()
      const two = recorder()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(one.note)))
      yield* Effect.forkChild(host(replica(1), { feeders: "forever" })(Numbers.forEach(two.note)))
      const run = yield* Effect.forkChild(Feeder.run(Numbers, {
        source: range(100),
        devices: DeviceSpec.replicas("consumer", 2),
        lease: 1000,
        tolerate: tolerate(100)
      }))
      yield* Effect.andThen(Effect.yieldNow, faults.freeze(replica(1)))
      for (let i = 0; i < 20; i++) yield* settled
      assert.isAtLeast(one.seen.length, 100 - Numbers.capacity - 1)
      yield* TestClock.adjust(1050)
      yield* faults.thaw(replica(1))
      const ledger = yield* passUntil(run)
      assert.strictEqual(ledger.delivered, 100)
    }).pipe(onNetwork))

  it.effect("a cut link is resumed: no failure, nothing given twice", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { marked, note, seen } = recorder()
      yield* Effect.forkChild(
        host(replica(0))(Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), Effect.sleep(10))))
      )
      const made = yield* Feeder.make(Numbers, { tolerate: tolerate(1) })
      const feeder = yield* made.set(range(100))
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      for (let i = 0; i < 12; i++) {
        yield* settled
        yield* TestClock.adjust(37)
        yield* faults.cut(replica(0))
      }
      const ledger = yield* passUntil(run)
      assert.deepStrictEqual(seen, range(100))
      assert.deepStrictEqual(marked(), [])
      assert.strictEqual(ledger.redelivered, 0)
      const { failures, session } = (yield* feeder.status).devices[0]!
      assert.deepStrictEqual([failures, session], [0, 1])
      assert.isAbove(yield* faults.attempts(replica(0)), 10)
    }).pipe(onNetwork))

  it.effect("links that cannot be opened within the lease are no failures either", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { marked, note, seen } = recorder()
      yield* Effect.forkChild(
        host(replica(0))(Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), Effect.sleep(10))))
      )
      const run = yield* Effect.forkChild(
        Feeder.run(Numbers, { source: range(50), devices: [replica(0)], tolerate: tolerate(1), lease: 10_000 })
      )
      yield* settled
      yield* faults.refuse(replica(0), 5)
      yield* faults.cut(replica(0))
      yield* passUntil(run)
      assert.deepStrictEqual(seen, range(50))
      assert.deepStrictEqual(marked(), [])
      assert.strictEqual(yield* faults.attempts(replica(0)), 7)
    }).pipe(onNetwork))

  it.effect("a device that went and came back is given again what it had, marked", () =>
    Effect.gen(function*() {
      const before = recorder()
      const after = recorder()
      const first = yield* Effect.forkChild(
        host(replica(0))(
          Numbers.forEach((n, delivery) => Effect.andThen(before.note(n, delivery), n < 3 ? Effect.void : Effect.never))
        )
      )
      const made = yield* Feeder.make(Numbers, { tolerate: tolerate(3) })
      const feeder = yield* made.set(range(10))
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* TestClock.adjust(20)
      yield* Fiber.interrupt(first)
      yield* settled
      assert.deepStrictEqual(before.seen, [0, 1, 2, 3])
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(after.note)))
      const ledger = yield* passUntil(run)
      // The loop gave 3 back before it went; what had not been handed out came back after that, and goes before it.
      assert.deepStrictEqual(after.seen.toSorted((a, b) => a - b), range(10).slice(3))
      assert.deepStrictEqual(after.seen.filter((n) => n > 3), range(10).slice(4))
      const again = after.deliveries.find((delivery) => delivery.ordinal === 3)
      assert.deepStrictEqual([again!.ordinal, again!.attempt, again!.redelivered], [3, 2, true])
      Ledgers.assertConserved(ledger)
      assert.strictEqual(ledger.delivered, 10)
      assert.isAtLeast(ledger.redelivered, 1)
    }).pipe(onNetwork))

  it.effect("what an accepted device held when it was gone is counted and named, and not given again", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const seen: Array<number> = []
      const hostAccepted = Effect.provide(MemoryDevices.layerHost({ feeds: [Accepted], device: replica(0) }))
      const consume = (stuckAt: number) =>
        hostAccepted(
          Accepted.forEach((n) =>
            Effect.andThen(Effect.sync(() => seen.push(n)), n === stuckAt ? Effect.never : Effect.void)
          )
        )
      const first = yield* Effect.forkChild(consume(3))
      const made = yield* Feeder.make(Accepted, { tolerate: tolerate(3) })
      const feeder = yield* made.set(range(20))
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      const out = yield* feeder.ledger
      assert.strictEqual(out.held, Accepted.capacity)
      Ledgers.assertConserved(out)
      yield* faults.cut(replica(0))
      yield* Fiber.interrupt(first)
      yield* settled
      yield* Effect.forkChild(consume(-1))
      const ledger = yield* passUntil(run)
      Ledgers.assertConserved(ledger)
      assert.strictEqual(ledger.heldByDead, Accepted.capacity)
      assert.strictEqual(ledger.devices[0]!.heldByDead, Accepted.capacity)
      assert.deepStrictEqual(seen, [0, 1, 2, 3, ...range(20).slice(4 + Accepted.capacity)])
    }).pipe(onNetwork))

  it.effect("a device whose budget is spent is left out, and the others go on with what it had", () =>
    Effect.gen(function*() {
      const { marked, note, seen } = recorder()
      const made = yield* Feeder.make(Numbers, { id: "f", tolerate: tolerate(3) })
      const feeder = yield* made.set(range(40))
      yield* feeder.addRemoteDevices([replica(0), replica(1)])
      const dying = yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      yield* Effect.forkChild(
        host(replica(1))(Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), Effect.sleep(10))))
      )
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* Fiber.interrupt(dying)
      const ledger = yield* passUntil(run)
      assert.strictEqual(ledger.delivered, 40)
      assert.deepStrictEqual(seen.toSorted((a, b) => a - b), range(40))
      assert.isAbove(marked().length, 0)
      const [gone, left] = (yield* feeder.status).devices
      assert.deepStrictEqual([gone!.phase, gone!.failures, left!.phase], ["Failed", 3, "Ended"])
      assert.include(gone!.lastFailure, `device ${replica(0)} is not reachable`)
    }).pipe(onNetwork))

  it.effect("when no device is left the run fails and names each", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        yield* Effect.forkChild(Feeder.run(Numbers, {
          id: "f",
          source: range(4),
          devices: [replica(0), replica(1)],
          tolerate: FailureTolerator.make({ limit: 2, initDelay: 0 })
        })).pipe(Effect.map((fiber) => passUntil(fiber)))
      )
      assert.instanceOf(error, Feeder.FeedError)
      assert.strictEqual(error.reason._tag, "NoDeviceLeft")
      const each = [0, 1].map((index) =>
        `device ${replica(index)} has failed after 2 failure(s): device ${replica(index)} is not reachable: ` +
        `no host of this process has that name; check that its consumer is running and listens there`
      )
      assert.strictEqual(error.message, `feeder f of feed "numbers": no device is left: ${each.join("; ")}`)
    }).pipe(onNetwork))

  it.effect("after the run failed with no device left it can run again and lose nothing", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      const made = yield* Feeder.make(Numbers, { tolerate: tolerate(1) })
      const feeder = yield* made.set(range(20))
      yield* feeder.addRemoteDevice(replica(0))
      for (let i = 0; i < 2; i++) {
        const error = yield* Effect.flip(feeder.run)
        assert.strictEqual(error.reason._tag, "NoDeviceLeft")
        Ledgers.assertConserved(yield* feeder.ledger)
      }
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      yield* settled
      const ledger = yield* passUntil(yield* Effect.forkChild(feeder.run))
      assert.strictEqual(ledger.delivered, 20)
      assert.deepStrictEqual(seen, range(20))
    }).pipe(onNetwork))

  it.effect("with supervision \"all\" the first device that fails fails the run", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(host(replica(1))(Numbers.forEach(() => Effect.void)))
      const manual = yield* ManualSource.make<number>()
      const run = yield* Effect.forkChild(Effect.flip(Feeder.run(Numbers, {
        source: manual.source,
        devices: [replica(0), replica(1)],
        tolerate: tolerate(2),
        supervision: "all"
      })))
      const error = yield* passUntil(run)
      assert.strictEqual(error.reason._tag, "DeviceFailed")
      assert.include(error.message, `device ${replica(0)} has failed after 2 failure(s)`)
    }).pipe(onNetwork))

  it.effect("a failure of a kind that is not tolerated is not retried", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const Other = Feed.make("numbers", { element: Schema.String, capacity: 4 })
      yield* Effect.forkChild(
        Effect.provide(
          Other.forEach(() => Effect.void),
          MemoryDevices.layerHost({ feeds: [Other], device: replica(0) })
        )
      )
      yield* settled
      const error = yield* Effect.flip(
        Feeder.run(Numbers, { source: [1], devices: [replica(0)], tolerate: tolerate(100) })
      )
      assert.strictEqual(error.reason._tag, "NoDeviceLeft")
      assert.include(error.message, "refused the feed (different feed)")
      assert.strictEqual(yield* faults.attempts(replica(0)), 1)
    }).pipe(onNetwork))

  it.effect("any Schedule is a budget, and decides by the failure", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* faults.refuse(replica(0), 100, "unknown")
      const run = yield* Effect.forkChild(Effect.flip(
        Feeder.run(Numbers, { source: [1], devices: [replica(0)], tolerate: Schedule.recurs(3) })
      ))
      const error = yield* passUntil(run)
      assert.strictEqual(error.reason._tag, "NoDeviceLeft")
      assert.strictEqual(yield* faults.attempts(replica(0)), 4)
    }).pipe(onNetwork))

  it.effect("each device has a budget of its own", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      for (const index of [0, 1]) {
        yield* faults.refuse(replica(index), 2)
        yield* Effect.forkChild(host(replica(index))(Numbers.forEach(() => Effect.void)))
      }
      const made = yield* Feeder.make(Numbers, { tolerate: tolerate(3) })
      const feeder = yield* made.set(range(10))
      yield* feeder.addRemoteDevices([replica(0), replica(1)])
      const ledger = yield* passUntil(yield* Effect.forkChild(feeder.run))
      assert.strictEqual(ledger.delivered, 10)
      assert.deepStrictEqual((yield* feeder.status).devices.map((device) => device.failures), [2, 2])
    }).pipe(onNetwork))

  it.effect("the same device twice is refused, however it is written", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Numbers, { id: "f" })
      yield* feeder.addRemoteDevice(replica(0))
      const error = yield* Effect.flip(feeder.addRemoteDevice("/replica:0/job:consumer"))
      assert.strictEqual(
        error.message,
        `feeder f of feed "numbers": device "${replica(0)}" cannot be added: feeder f feeds it already`
      )
    }).pipe(onNetwork))

  it.effect("a name that is none, and a count that is none, are refused", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Numbers, { id: "f" })
      const name = yield* Effect.flip(feeder.addRemoteDevice("consumer zero"))
      const count = yield* Effect.flip(feeder.addRemoteReplicas("consumer", 0))
      assert.deepStrictEqual([name.reason._tag, count.reason._tag], ["DeviceInvalid", "DeviceInvalid"])
      assert.include(name.message, "device \"consumer zero\" cannot be added: ")
      assert.include(count.message, "count must be a positive integer, got 0")
    }).pipe(onNetwork))

  it.effect("a device may be added while the feeder runs", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      const manual = yield* ManualSource.make<number>()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      yield* Effect.forkChild(host(replica(1))(Numbers.forEach(note)))
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(manual.source)
      yield* feeder.addRemoteReplicas("consumer", 1)
      yield* Effect.forkChild(feeder.run)
      yield* manual.push(...range(30))
      yield* settled
      assert.deepStrictEqual(seen, [])
      yield* feeder.addRemoteDevice(replica(1))
      for (let i = 0; i < 5; i++) yield* settled
      assert.isAtLeast(seen.length, 30 - Numbers.capacity - 1)
    }).pipe(onNetwork))

  it.effect("a device that is added while a run is ending does not keep it from ending", () =>
    Effect.gen(function*() {
      for (const name of [replica(0), replica(1)]) {
        yield* Effect.forkChild(host(name)(Numbers.forEach(() => Effect.void)))
      }
      yield* settled
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(range(20))
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(Effect.provideService(feeder.run, Scheduler.MaxOpsBeforeYield, 5))
      const { isRunning } = yield* Effect.andThen(Effect.yieldNow, feeder.status).pipe(
        Effect.repeat({ until: (status) => status.hasEnded })
      )
      assert.isTrue(isRunning)
      yield* feeder.addRemoteDevice(replica(1))
      assert.strictEqual((yield* Fiber.join(run)).delivered, 20)
    }).pipe(onNetwork))

  it.effect("a device that is added while a run is starting is fed once", () =>
    Effect.gen(function*() {
      for (let turns = 0; turns < 30; turns++) {
        yield* Effect.gen(function*() {
          const faults = yield* FaultyDevices.FaultyDevices
          yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.void)))
          yield* settled
          const made = yield* Feeder.make(Numbers)
          const feeder = yield* made.set(range(20))
          yield* feeder.addRemoteDevice(replica(1))
          const run = yield* Effect.forkChild(
            Effect.provideService(feeder.run, Scheduler.MaxOpsBeforeYield, 5),
            { startImmediately: true }
          )
          for (let i = 0; i < turns; i++) yield* Effect.yieldNow
          yield* feeder.addRemoteDevice(replica(0))
          yield* settled
          assert.strictEqual(yield* faults.attempts(replica(0)), 1, `added after ${turns} turns`)
          yield* Fiber.interrupt(run)
        }).pipe(Effect.scoped, Effect.provide(network, { local: true }))
      }
    }))

  it.effect("a batch larger than the capacity is filled, with two feeders of which one is idle", () =>
    Effect.gen(function*() {
      const sizes: Array<number> = []
      const idle = yield* ManualSource.make<number>()
      const loop = yield* Effect.forkChild(
        host(replica(0), { feeders: 2 })(
          Numbers.forEachBatch(10, (batch) => Effect.sync(() => sizes.push(batch.length)))
        )
      )
      const quiet = yield* Effect.forkChild(
        Feeder.run(Numbers, { id: "quiet", source: idle.source, devices: [replica(0)] })
      )
      yield* settled
      const busy = yield* Effect.forkChild(
        Feeder.run(Numbers, { id: "busy", source: range(45), devices: [replica(0)] })
      )
      for (let i = 0; i < 10; i++) yield* settled
      assert.deepStrictEqual(sizes, [10, 10, 10, 10])
      // The last five wait to be filled while the other feeder may still give some.
      assert.isUndefined(busy.pollUnsafe())
      yield* idle.push(...range(5))
      yield* idle.end
      const ledgers = [yield* passUntil(busy), yield* passUntil(quiet)]
      assert.deepStrictEqual(ledgers.map((ledger) => ledger.delivered), [45, 5])
      assert.deepStrictEqual(sizes, [10, 10, 10, 10, 10])
      assert.strictEqual((yield* passUntil(loop)).done, 50)
    }).pipe(onNetwork))
})

describe("removing a device", () => {
  /** Every element was handed out, and each time but the first is marked. */
  const assertMarked = (deliveries: ReadonlyArray<Feed.Delivery>, count: number) => {
    const known = new Set<number>()
    for (const { ordinal, redelivered } of deliveries) {
      if (known.has(ordinal)) assert.isTrue(redelivered, `element ${ordinal} was given again without a mark`)
      known.add(ordinal)
    }
    assert.strictEqual(known.size, count)
  }

  /** A consumer that takes `millis` for each element, and notes it before. */
  const consume = (note: (n: number, delivery: Feed.Delivery) => Effect.Effect<void>, millis: number) =>
    Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), Effect.sleep(millis)))

  it.effect("what is out there is fed again, marked, when its lease has ended, and the others go on", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { deliveries, marked, note } = recorder()
      for (const index of [0, 1]) yield* Effect.forkChild(host(replica(index))(consume(note, 100)))
      const made = yield* Feeder.make(Numbers, { lease: 1000 })
      const feeder = yield* made.set(range(60))
      yield* feeder.addRemoteDevices([replica(0), replica(1)])
      const run = yield* Effect.forkChild(feeder.run)
      for (let i = 0; i < 5; i++) {
        yield* settled
        yield* TestClock.adjust(100)
      }
      yield* settled
      const out = (yield* feeder.ledger).devices[0]!
      assert.isAtLeast(out.leased, Numbers.capacity)
      yield* feeder.removeRemoteDevice("/replica:0/job:consumer")
      yield* settled
      assert.strictEqual(yield* faults.open(replica(0)), 0)
      const { devices, ledger } = yield* feeder.status
      assert.deepStrictEqual(devices.map(({ device }) => device), [replica(1)])
      Ledgers.assertConserved(ledger)
      assert.strictEqual(ledger.devices[1]!.delivered, out.delivered)
      assert.strictEqual(ledger.devices[1]!.leased, 0)
      yield* TestClock.adjust(700)
      yield* settled
      // Its consumer goes on with what it has, so nobody else is given that yet.
      assert.deepStrictEqual(marked(), [])
      const end = yield* passUntil(run)
      Ledgers.assertConserved(end)
      assert.strictEqual(end.delivered, 60)
      assert.strictEqual(end.redelivered, out.leased)
      assert.strictEqual(end.devices[1]!.delivered, out.delivered)
      assertMarked(deliveries, 60)
      assert.strictEqual(yield* faults.attempts(replica(0)), 1)
      assert.strictEqual((yield* feeder.status).hasEnded, true)
    }).pipe(onNetwork))

  it.effect("it can be added again at once, while the feeder runs, and goes on in a later session", () =>
    Effect.gen(function*() {
      const { deliveries, note } = recorder()
      yield* Effect.forkChild(host(replica(0))(consume(note, 10)))
      const made = yield* Feeder.make(Numbers, { lease: 1000, maxAttempts: 100 })
      const feeder = yield* made.set(range(100))
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      for (let i = 1; i < 6; i++) {
        yield* settled
        yield* TestClock.adjust(30)
        assert.strictEqual((yield* feeder.status).devices[0]!.session, i)
        yield* feeder.removeRemoteDevice(replica(0))
        Ledgers.assertConserved(yield* feeder.ledger)
        yield* feeder.addRemoteDevice(replica(0))
        yield* settled
        const { failures, phase, session } = (yield* feeder.status).devices[0]!
        assert.deepStrictEqual([failures, phase, session], [0, "Live", i + 1])
      }
      const ledger = yield* passUntil(run)
      assert.strictEqual(ledger.delivered, 100)
      assert.strictEqual(ledger.devices.length, 1)
      assertMarked(deliveries, 100)
    }).pipe(onNetwork))

  it.effect("a run whose last device was removed waits for another", () =>
    Effect.gen(function*() {
      const { deliveries, note } = recorder()
      for (const index of [0, 1]) yield* Effect.forkChild(host(replica(index))(consume(note, 10)))
      const made = yield* Feeder.make(Numbers, { lease: 1000 })
      const feeder = yield* made.set(range(30))
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* feeder.removeRemoteDevice(replica(0))
      yield* TestClock.adjust("1 minute")
      yield* settled
      assert.isUndefined(run.pollUnsafe())
      yield* feeder.addRemoteDevice(replica(1))
      assert.strictEqual((yield* passUntil(run)).delivered, 30)
      assertMarked(deliveries, 30)
    }).pipe(onNetwork))

  it.effect("while the feeder does not run: its elements come back for the next run", () =>
    Effect.gen(function*() {
      const { deliveries, note } = recorder()
      for (const index of [0, 1]) yield* Effect.forkChild(host(replica(index))(consume(note, 10)))
      const made = yield* Feeder.make(Numbers, { lease: 1000 })
      const feeder = yield* made.set(range(30))
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* feeder.stop
      yield* Fiber.join(run)
      const before = yield* feeder.ledger
      assert.isAbove(before.leased, 0)
      yield* feeder.removeRemoteDevice(replica(0))
      const after = yield* feeder.ledger
      Ledgers.assertConserved(after)
      assert.deepStrictEqual([after.leased, after.queued], [0, before.queued + before.leased])
      yield* feeder.addRemoteDevice(replica(1))
      assert.strictEqual((yield* passUntil(yield* Effect.forkChild(feeder.run))).delivered, 30)
      assertMarked(deliveries, 30)
    }).pipe(onNetwork))

  it.effect("what an accepted device has accepted for good stays there, and counts as held", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      yield* Effect.forkChild(
        Accepted.forEach((n) => Effect.andThen(Effect.sync(() => seen.push(n)), Effect.sleep(1000))).pipe(
          Effect.provide(MemoryDevices.layerHost({ feeds: [Accepted], device: replica(0) }))
        )
      )
      const manual = yield* ManualSource.make<number>()
      const made = yield* Feeder.make(Accepted)
      const feeder = yield* made.set(manual.source)
      yield* feeder.addRemoteDevice(replica(0))
      yield* Effect.forkChild(feeder.run)
      yield* manual.push(0, 1, 2)
      yield* settled
      yield* feeder.removeRemoteDevice(replica(0))
      const { delivered, held, lost, queued } = yield* feeder.ledger
      assert.deepStrictEqual([delivered, held, lost, queued], [1, 2, 0, 0])
      yield* TestClock.adjust(3000)
      yield* settled
      assert.deepStrictEqual(seen, [0, 1, 2])
      // When it is added again it tells what became of them.
      yield* feeder.addRemoteDevice(replica(0))
      yield* manual.push(3)
      yield* settled
      const later = yield* feeder.ledger
      assert.deepStrictEqual([later.delivered, later.held, later.lost, later.redelivered], [4, 0, 0, 0])
      assert.deepStrictEqual(seen, range(4))
    }).pipe(onNetwork))

  it.effect("one that has failed is tried again when it is added again", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      const manual = yield* ManualSource.make<number>()
      const made = yield* Feeder.make(Numbers, { tolerate: tolerate(1) })
      const feeder = yield* made.set(manual.source)
      yield* Effect.forkChild(host(replica(1))(Numbers.forEach(() => Effect.void)))
      yield* feeder.addRemoteDevices([replica(0), replica(1)])
      yield* Effect.forkChild(feeder.run)
      yield* settled
      assert.deepStrictEqual((yield* feeder.status).devices.map(({ phase }) => phase), ["Failed", "Live"])
      yield* feeder.removeRemoteDevice(replica(0))
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      yield* settled
      yield* feeder.addRemoteDevice(replica(0))
      yield* feeder.removeRemoteDevice(replica(1))
      yield* manual.push(1, 2)
      yield* settled
      assert.deepStrictEqual(seen, [1, 2])
    }).pipe(onNetwork))

  it.effect("devices that come and go at random lose nothing, and the account sums at every change", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { deliveries, note } = recorder()
      for (const index of [0, 1, 2]) {
        yield* Effect.forkChild(host(replica(index))(consume(note, 5 + index)))
      }
      const made = yield* Feeder.make(Numbers, { lease: 200, maxAttempts: 1000, tolerate: tolerate(1000) })
      const feeder = yield* made.set(range(300))
      yield* Effect.forkChild(
        Stream.runForEach(feeder.changes, ({ ledger }) => Effect.sync(() => Ledgers.assertConserved(ledger)))
      )
      yield* feeder.addRemoteDevices([replica(0), replica(1), replica(2)])
      let run = yield* Effect.forkChild(feeder.run)
      for (let i = 0; i < 60; i++) {
        yield* settled
        yield* TestClock.adjust(3 + i % 13)
        const fed = (yield* feeder.status).devices.map(({ device }) => device)
        const device = replica((i * 7 + i % 4) % 3)
        yield* fed.includes(device) ? feeder.removeRemoteDevice(device) : feeder.addRemoteDevice(device)
        if (i % 5 === 0) yield* faults.cut(replica(i % 3), i % 2 === 0 ? "gone" : "unknown")
        if (i % 11 === 0) {
          yield* feeder.stop
          yield* Fiber.await(run)
          run = yield* Effect.forkChild(feeder.run)
        }
      }
      for (const index of [0, 1, 2]) yield* Effect.ignore(feeder.addRemoteDevice(replica(index)))
      const ledger = yield* passUntil(run)
      Ledgers.assertConserved(ledger)
      assert.strictEqual(ledger.delivered, 300)
      assertMarked(deliveries, 300)
    }).pipe(onNetwork))

  it.effect("one that is not fed, or is no device, is refused", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Numbers, { id: "f" })
      const unknown = yield* Effect.flip(feeder.removeRemoteDevice(replica(0)))
      assert.strictEqual(unknown.reason._tag, "DeviceInvalid")
      assert.strictEqual(
        unknown.message,
        `feeder f of feed "numbers": device "${replica(0)}" cannot be removed: feeder f does not feed it`
      )
      yield* feeder.addRemoteDevice(replica(0))
      yield* feeder.removeRemoteDevice(replica(0))
      assert.deepStrictEqual(yield* Effect.flip(feeder.removeRemoteDevice(replica(0))), unknown)
      const name = yield* Effect.flip(feeder.removeRemoteDevice("consumer zero"))
      assert.include(name.message, "device \"consumer zero\" cannot be removed: ")
    }).pipe(onNetwork))
})

describe("a lease", () => {
  it.effect("does not run out on what waits at a live consumer, however long that takes", () =>
    Effect.gen(function*() {
      const { deliveries, note } = recorder()
      const consume = Numbers.forEach((n, delivery) => Effect.andThen(Effect.sleep(5000), note(n, delivery)))
      yield* Effect.forkChild(host(replica(0))(consume))
      const made = yield* Feeder.make(Numbers, { lease: 200 })
      const feeder = yield* made.set(range(8))
      yield* feeder.addRemoteDevice(replica(0))
      const ledger = yield* passUntil(yield* Effect.forkChild(feeder.run), 2000)
      Ledgers.assertCounts(ledger, { generated: 8, delivered: 8, accepted: 8, redelivered: 0, fenced: 0 })
      assert.deepStrictEqual(deliveries.map(({ attempt }) => attempt), range(8).map(() => 1))
      assert.strictEqual(ledger.devices.length, 1)
      assert.deepStrictEqual((yield* feeder.status).devices.map(({ session }) => session), [1])
    }).pipe(onNetwork))
})

describe("stopping", () => {
  it.effect("blocked offers and sends are interrupted within a few turns, and nothing outlives the run", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(range(1000))
      yield* feeder.addRemoteDevices([replica(0), replica(1)])
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      assert.strictEqual(yield* faults.open(replica(0)), 1)
      yield* feeder.stop
      for (let i = 0; i < 20; i++) yield* Effect.yieldNow
      assert.isDefined(run.pollUnsafe())
      assert.strictEqual(yield* faults.open(replica(0)), 0)
      const attempts = yield* faults.attempts(replica(1))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* faults.attempts(replica(1)), attempts)
    }).pipe(onNetwork))

  it.effect("a stop that comes while a run is starting stops it too", () =>
    Effect.gen(function*() {
      for (let turns = 0; turns < 30; turns++) {
        const made = yield* Feeder.make(Numbers)
        const feeder = yield* made.set(Effect.never)
        const run = yield* Effect.forkChild(
          Effect.provideService(feeder.run, Scheduler.MaxOpsBeforeYield, 5),
          { startImmediately: true }
        )
        for (let i = 0; i < turns; i++) yield* Effect.yieldNow
        yield* feeder.stop
        yield* settled
        assert.isDefined(run.pollUnsafe(), `stopped after ${turns} turns`)
      }
    }))

  it.effect("a link whose frames are held delays a stop by no more than the time its last frames have", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(range(1000))
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* faults.freeze(replica(0))
      yield* feeder.stop
      yield* settled
      yield* TestClock.adjust("1 second")
      yield* settled
      assert.isDefined(run.pollUnsafe())
      assert.strictEqual(yield* faults.open(replica(0)), 0)
    }).pipe(onNetwork))

  it.effect("closing the feeder's scope ends a run with devices, and its links", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const scope = yield* Scope.make()
      const made = yield* Scope.provide(Feeder.make(Numbers), scope)
      const feeder = yield* made.set(range(1000))
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* Scope.close(scope, Exit.void)
      yield* settled
      assert.isDefined(run.pollUnsafe())
      assert.strictEqual(yield* faults.open(replica(0)), 0)
    }).pipe(onNetwork))

  it.effect("what is to be fed again later does not come back after the scope has closed", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.fail(Feed.retry({ after: "1 hour" })))))
      const scope = yield* Scope.make()
      const made = yield* Scope.provide(Feeder.make(Numbers), scope)
      const feeder = yield* made.set([1])
      yield* feeder.addRemoteDevice(replica(0))
      yield* Effect.forkChild(feeder.run)
      yield* settled
      const before = yield* feeder.ledger
      assert.deepStrictEqual([before.queued, before.leased], [1, 0])
      yield* Scope.close(scope, Exit.void)
      yield* settled
      yield* TestClock.adjust("2 hours")
      Ledgers.assertConserved(yield* feeder.ledger)
    }).pipe(onNetwork))

  it.effect("a source that takes long to clean up is a straggler, by name", () =>
    Effect.gen(function*() {
      const done = yield* Deferred.make<void>()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.void)))
      const made = yield* Feeder.make(Numbers, { gracePeriod: "1 second" })
      const feeder = yield* made.set(
        Effect.onInterrupt(Effect.never, () => Deferred.await(done))
      )
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(Effect.exit(feeder.run))
      yield* settled
      yield* feeder.stop
      yield* settled
      // The run does not wait for the source, which is left to the feeder's scope.
      assert.isDefined(run.pollUnsafe())
      yield* Deferred.succeed(done, undefined)
    }).pipe(onNetwork))
})
