/**
 * The weaknesses of the reference, one after the other: its scenario is played through the public API here, and shows
 * that it ends otherwise. The numbers are those of docs/semantics.md.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Logger, Schema, Scope, Stream } from "effect"
import {
  Coordinator,
  DeviceSpec,
  FailureTolerator,
  Feed,
  Feeder,
  FeedQueue,
  MemoryDevices,
  RemoteDevices,
  Tensor
} from "effect-feeder"
import { FaultyDevices, Ledgers, ManualSource } from "effect-feeder/testing"
import { TestClock } from "effect/testing"
import {
  endedNow,
  hasEnded,
  host,
  Numbers,
  onNetwork,
  Pairs,
  pass,
  passUntil,
  range,
  recorder,
  replica,
  settled,
  tolerate,
  watched
} from "../network.ts"

const sorted = (numbers: ReadonlyArray<number>) => numbers.toSorted((a, b) => a - b)

/** A feeder of a source to devices, and its run. */
const feeding = Effect.fnUntraced(function*(
  source: Iterable<number>,
  devices: ReadonlyArray<string>,
  options: Feeder.Options = {}
) {
  const made = yield* Feeder.make(Numbers, { id: "f", ...options })
  const feeder = yield* made.set(source)
  yield* feeder.addRemoteDevices(devices)
  const run = yield* Effect.forkChild(feeder.run)
  yield* settled
  return { feeder, run }
})

describe("admitted by the authors", () => {
  it.effect("W1: a stop interrupts what waits for a full device, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const open = yield* Deferred.make<void>()
      const { note, seen } = recorder()
      const consumer = yield* Effect.forkChild(
        host(replica(0))(Effect.andThen(Deferred.await(open), Numbers.forEach(note)))
      )
      const { feeder, run } = yield* feeding(range(30), [replica(0)])
      const blocked = yield* feeder.ledger
      assert.isAbove(blocked.queued, 0, "the device is full")
      yield* feeder.stop
      const exit = yield* endedNow(run)
      assert.isTrue(Exit.isSuccess(exit))
      assert.strictEqual(yield* faults.open(replica(0)), 0, "no link is left")
      Ledgers.assertConserved(yield* feeder.ledger)
      // Nor is anything lost with it: the next run goes on.
      const again = yield* Effect.forkChild(feeder.run)
      yield* Deferred.succeed(open, undefined)
      const ledger = yield* passUntil(again)
      yield* passUntil(consumer)
      assert.deepStrictEqual(seen, range(30))
      Ledgers.assertCounts(ledger, { delivered: 30, redelivered: 0 })
    }).pipe(onNetwork))

  it.effect("W2: feeders and devices start in any order, or at once, and nobody has to wait for another", () =>
    Effect.gen(function*() {
      const begun = [[0, 0, 0], [0, 0, 300], [0, 300, 0], [300, 0, 0]]
      for (const [first = 0, second = 0, third = 0] of begun) {
        const { note, seen } = recorder()
        const feed = (from: number) => Feeder.run(Numbers, { source: range(20, from), devices: [replica(0)] })
        const consume = host(replica(0), { feeders: 2 })(Numbers.forEach(note))
        const all = yield* Effect.forkChild(
          Effect.all([
            Effect.delay(feed(0), first),
            Effect.delay(feed(100), second),
            Effect.delay(consume, third)
          ], { concurrency: "unbounded" })
        )
        const [one, two, { done }] = yield* passUntil(all, 1000)
        assert.deepStrictEqual([one.delivered, two.delivered, done], [20, 20, 40])
        assert.deepStrictEqual(seen.filter((n) => n < 100), range(20))
        assert.deepStrictEqual(seen.filter((n) => n >= 100), range(20, 100))
      }
    }).pipe(onNetwork))

  it.effect("W3: a link is closed before the next one to its device is opened, whatever waits in it", () => {
    const asked: Array<{ readonly at: number; readonly device: string; readonly open: number }> = []
    return Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const { run } = yield* feeding(range(100), [replica(0)], { maxAttempts: 100 }).pipe(
        Effect.provide(watched(asked))
      )
      for (let i = 0; i < 5; i++) {
        yield* faults.cut(replica(0), i % 2 === 0 ? "unknown" : "gone")
        yield* pass(10_000)
      }
      assert.isAtLeast(asked.length, 6)
      assert.deepStrictEqual([...new Set(asked.map(({ open }) => open))], [0])
      yield* Fiber.interrupt(run)
    }).pipe(onNetwork)
  })

  it.effect("W4: a feeder that nobody gave a source ends at once, with and without devices", () =>
    Effect.gen(function*() {
      const consumer = yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.void)))
      for (const devices of [[], [replica(0)]]) {
        const feeder = yield* Feeder.make(Numbers)
        yield* feeder.addRemoteDevices(devices)
        Ledgers.assertCounts(yield* feeder.run, { generated: 0 })
      }
      assert.strictEqual((yield* Fiber.join(consumer)).done, 0)
    }).pipe(onNetwork))

  it.effect("W5: declarations that differ are told apart at attach, whoever came first, with the fields named", () =>
    Effect.gen(function*() {
      const mine = Feed.make("pairs", { element: Schema.Struct({ id: Schema.Int, label: Schema.String }) })
      const theirs = Feed.make("pairs", { element: Schema.Struct({ id: Schema.Int, label: Schema.Int }) })
      for (const isFeederFirst of [true, false]) {
        const consume = theirs.forEach(() => Effect.void).pipe(
          Effect.provide(MemoryDevices.layerHost({ feeds: [theirs], device: replica(0) }))
        )
        const feed = Effect.flip(Feeder.run(mine, { id: "f", source: [{ id: 1, label: "a" }], devices: [replica(0)] }))
        const [first, second] = isFeederFirst ? [feed, consume] : [consume, feed]
        const fibers = [yield* Effect.forkChild(first), yield* Effect.forkChild(second)]
        yield* settled
        yield* pass(5000)
        const ended = fibers[isFeederFirst ? 0 : 1]!
        const error = yield* passUntil(ended)
        assert.instanceOf(error, Feeder.FeedError)
        assert.match(error.message, /refused the feed \(different feed\)/)
        assert.match(error.message, /"label"/)
        assert.notMatch(error.message, /"id"/)
        yield* Fiber.interruptAll(fibers)
      }
    }).pipe(onNetwork))

  it.effect("W6: any operation can be timed out, and the queue goes on", () =>
    Effect.gen(function*() {
      const queue = yield* FeedQueue.make<number>({ capacity: 2 })
      const within = <A, E>(effect: Effect.Effect<A, E>) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(Effect.flip(Effect.timeout(effect, "1 second")))
          yield* pass(1000)
          const error = yield* Fiber.join(fiber)
          assert.isTrue(Cause.isTimeoutError(error))
        })
      yield* within(queue.take)
      yield* queue.offerAll([1, 2])
      yield* within(queue.takeMany(3))
      yield* within(queue.offer(3))
      yield* within(queue.offerAll([3, 4]))
      assert.deepStrictEqual(yield* queue.takeMany(2), [1, 2])
    }))

  it.effect("W6: a failure that was never thrown can be reported, and stops", () =>
    Effect.scoped(Effect.gen(function*() {
      const coordinator = yield* Coordinator.make<Error>({ name: "c" })
      const error = new Error("not being handled")
      assert.isTrue(yield* coordinator.requestStop(Cause.fail(error)))
      assert.isTrue(yield* coordinator.isStopping)
      assert.strictEqual(yield* Effect.flip(coordinator.join()), error)
    })))

  it.effect("W7: what a feeder does is the same each time, on a clock that does not move by itself", () =>
    Effect.gen(function*() {
      const once = Effect.gen(function*() {
        const faults = yield* FaultyDevices.FaultyDevices
        const trace: Array<string> = []
        for (const at of [0, 1]) {
          yield* Effect.forkChild(
            host(replica(at))(
              Numbers.forEach((n, { attempt }) =>
                Effect.andThen(Effect.sync(() => trace.push(`${at}: ${n} (${attempt})`)), Effect.sleep(10 + 7 * at))
              )
            )
          )
        }
        yield* faults.failAfter(replica(0), 5)
        yield* faults.failAfter(replica(1), 3, "gone")
        const { run } = yield* feeding(range(40), [replica(0), replica(1)], { tolerate: tolerate(5) })
        yield* passUntil(run)
        return trace
      }).pipe(Effect.scoped, onNetwork)
      const first = yield* once
      assert.isAtLeast(first.length, 40)
      for (let i = 0; i < 3; i++) assert.deepStrictEqual(yield* once, first)
    }))

  it.effect("W8: a feed's name alone joins a feeder and a consumer, and no container has to be reset between two", () =>
    Effect.gen(function*() {
      const declare = () => Feed.make("words", { element: Schema.String })
      const consumers = declare()
      for (const words of [["a", "b"], ["c"]]) {
        const seen: Array<string> = []
        const consume = consumers.forEach((word) => Effect.sync(() => seen.push(word))).pipe(
          Effect.provide(MemoryDevices.layerHost({ feeds: [consumers], device: replica(0) }))
        )
        yield* Effect.all([consume, Feeder.run(declare(), { source: words, devices: [replica(0)] })], {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(seen, words)
      }
    }).pipe(onNetwork))
})

describe("elements, links and restarts", () => {
  it.effect("W9: three broken links lose no element, and give none twice", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { note, seen } = recorder()
      const consumer = yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      const manual = yield* ManualSource.make<number>()
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(manual.source)
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      for (let i = 0; i < 3; i++) {
        // The element is taken from the local queue, and breaks the link on its way.
        yield* faults.failAfter(replica(0), 1)
        yield* manual.push(...range(4, i * 4))
        yield* pass(2000)
      }
      yield* manual.end
      const ledger = yield* passUntil(run)
      yield* passUntil(consumer)
      assert.strictEqual(yield* faults.attempts(replica(0)), 4)
      assert.deepStrictEqual(seen, range(12))
      Ledgers.assertCounts(ledger, { generated: 12, delivered: 12, redelivered: 0, lost: 0 })
    }).pipe(onNetwork))

  it.effect("W9: what a dead consumer had queued is given to another, marked", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { marked, note, seen } = recorder()
      const stuck = faults.run(replica(0), host(replica(0))(Numbers.forEach(() => Effect.never)))
      yield* Effect.forkChild(Effect.ignore(stuck))
      const { feeder, run } = yield* feeding(range(20), [replica(0)], { tolerate: tolerate(2) })
      const { leased } = yield* feeder.ledger
      assert.isAbove(leased, 0)
      const other = yield* Effect.forkChild(host(replica(1))(Numbers.forEach(note)))
      yield* feeder.addRemoteDevice(replica(1))
      yield* settled
      yield* faults.crash(replica(0))
      const ledger = yield* passUntil(run)
      yield* passUntil(other)
      assert.deepStrictEqual(sorted(seen), range(20))
      assert.deepStrictEqual(sorted(marked()), range(leased))
      Ledgers.assertCounts(ledger, { delivered: 20, redelivered: leased })
    }).pipe(onNetwork))

  it.effect("W10: a failure of one device restarts that device alone", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      for (const at of [0, 1]) yield* Effect.forkChild(host(replica(at))(Numbers.forEach(() => Effect.sleep(50))))
      const { feeder, run } = yield* feeding(range(60), [replica(0), replica(1)], { tolerate: tolerate(5) })
      for (let i = 0; i < 3; i++) {
        yield* faults.cut(replica(0), "gone")
        yield* pass(150)
      }
      const well = (yield* feeder.status).devices.find(({ device }) => device === replica(1))
      assert.deepStrictEqual([well?.failures, well?.session], [0, 1])
      assert.strictEqual(yield* faults.attempts(replica(1)), 1)
      Ledgers.assertCounts(yield* passUntil(run), { delivered: 60 })
      assert.isAbove(yield* faults.attempts(replica(0)), 3)
    }).pipe(onNetwork))

  it.effect("W11: after many retries at a full device elements arrive in order, and nothing has grown", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const open = yield* Deferred.make<void>()
      const { note, seen } = recorder()
      const consumer = yield* Effect.forkChild(
        host(replica(0))(Effect.andThen(Deferred.await(open), Numbers.forEach(note)))
      )
      const { feeder, run } = yield* feeding(range(40), [replica(0)])
      const before = yield* feeder.ledger
      for (let i = 0; i < 20; i++) {
        yield* faults.cut(replica(0))
        yield* pass(1000)
        assert.isAtMost(yield* faults.open(replica(0)), 1)
        const { generated, leased } = yield* feeder.ledger
        assert.deepStrictEqual([generated, leased], [before.generated, before.leased])
      }
      yield* Deferred.succeed(open, undefined)
      yield* passUntil(run)
      yield* passUntil(consumer)
      assert.deepStrictEqual(seen, range(40))
    }).pipe(onNetwork))

  it.effect("W12: the delay comes before the attempt, and the run fails with the attempt that was the last", () =>
    Effect.gen(function*() {
      const asked: Array<{ readonly at: number; readonly device: string; readonly open: number }> = []
      const { run } = yield* feeding([1], [replica(0)]).pipe(Effect.provide(watched(asked)))
      const ended = yield* Effect.forkChild(Effect.flip(Fiber.join(run)))
      yield* pass(74_000)
      assert.isFalse(hasEnded(ended))
      yield* pass(1000)
      const error = yield* Fiber.join(ended)
      assert.match(error.message, /no device is left: device \/job:consumer\/replica:0 has failed after 5 failure/)
      assert.deepStrictEqual(asked.map(({ at }) => at / 1000), [0, 5, 15, 35, 75])
    }).pipe(onNetwork))

  it.effect("W12: a stop during a delay takes effect at once", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* feeding([1], [replica(0)])
      yield* pass(500)
      yield* feeder.stop
      assert.isTrue(Exit.isSuccess(yield* endedNow(run)))
    }).pipe(onNetwork))

  it.effect("W13: a failure that is remembered delays its own retry, and nothing after that", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const asked: Array<{ readonly at: number; readonly device: string; readonly open: number }> = []
      yield* faults.refuse(replica(0), 1, "gone")
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.sleep(1000))))
      const { run } = yield* feeding(range(60), [replica(0)]).pipe(Effect.provide(watched(asked)))
      yield* pass(5000)
      for (let i = 0; i < 3; i++) {
        yield* pass(2000)
        yield* faults.cut(replica(0))
        yield* pass(500)
      }
      assert.strictEqual(asked.length, 5)
      const [first, second, ...rest] = asked.map(({ at }) => at)
      assert.deepStrictEqual([first, second], [0, 5000])
      // A link that broke was opened again within the half second after it.
      assert.isTrue(rest.every((at, i) => at - (7000 + 2500 * i) <= 500), String(rest))
      yield* Fiber.interrupt(run)
    }).pipe(onNetwork))

  it.effect("W14: a lost connection is tolerated by default, and so is a consumer that ends its host", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { note, seen } = recorder()
      const consume = host(replica(0))(
        Numbers.forEach((n, delivery) => Effect.andThen(Effect.sleep(100), note(n, delivery)))
      )
      const consumer = yield* Effect.forkChild(Effect.retry(faults.run(replica(0), consume), { times: 1 }))
      const { feeder, run } = yield* feeding(range(40), [replica(0)])
      yield* pass(250)
      yield* faults.crash(replica(0))
      yield* pass(6000)
      assert.deepStrictEqual((yield* feeder.status).devices.map(({ failures }) => failures), [1])
      // The second consumer ends its host, queue and all; a third comes.
      yield* Fiber.interrupt(consumer)
      yield* pass(1000)
      const third = yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      Ledgers.assertCounts(yield* passUntil(run, 1000), { delivered: 40 })
      yield* passUntil(third)
      assert.deepStrictEqual([...new Set(sorted(seen))], range(40))
    }).pipe(onNetwork))

  it.effect("W15: links that do not open are tolerated as those that break, the first one too", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* faults.refuse(replica(0), 3, "gone")
      const { note, seen } = recorder()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      const { run } = yield* feeding(range(10), [replica(0)], { tolerate: tolerate(4) })
      Ledgers.assertCounts(yield* passUntil(run), { delivered: 10 })
      assert.deepStrictEqual(seen, range(10))
    }).pipe(onNetwork))

  it.effect("W15: a retry whose link does not open fails the run by name once the budget is spent, and never hangs", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const { run } = yield* feeding(range(10), [replica(0)], { tolerate: tolerate(3) })
      yield* faults.refuse(replica(0), 100, "gone")
      yield* faults.cut(replica(0), "gone")
      const error = yield* Effect.flip(passUntil(run))
      assert.strictEqual(error.reason._tag, "NoDeviceLeft")
      assert.match(error.message, /the test refused the link/)
    }).pipe(onNetwork))

  it.effect("W16: who waits for the feeding hears of a first link that cannot be opened", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* feeding([1], [replica(0)], { tolerate: tolerate(1) })
      const waiting = yield* Effect.forkChild(Effect.flip(feeder.feeding))
      yield* Effect.exit(passUntil(run))
      const error = yield* passUntil(waiting)
      assert.strictEqual(error.reason._tag, "NoDeviceLeft")
    }).pipe(onNetwork))

  it.effect("W16: the feeding has not begun while no device has accepted anything", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* faults.freeze(replica(0))
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const { feeder } = yield* feeding([1], [replica(0)])
      const waiting = yield* Effect.forkChild(feeder.feeding)
      yield* pass(1000)
      assert.strictEqual(yield* faults.open(replica(0)), 1)
      assert.isFalse(hasEnded(waiting))
      yield* faults.thaw(replica(0))
      yield* settled
      assert.isTrue(hasEnded(waiting))
    }).pipe(onNetwork))
})

describe("ends", () => {
  it.effect("W17: a finite input ends the run and every consumer's loop", () =>
    Effect.gen(function*() {
      const loops = yield* Effect.forEach(range(3), (at) =>
        Effect.forkChild(host(replica(at))(Numbers.forEach(() => Effect.void))))
      const { run } = yield* feeding(range(20), range(3).map(replica))
      const exit = yield* endedNow(run)
      assert.isTrue(Exit.isSuccess(exit))
      const done = yield* Effect.forEach(loops, Fiber.join)
      assert.strictEqual(
        done.reduce((sum, one) =>
          sum + one.done, 0),
        20
      )
    }).pipe(onNetwork))

  it.effect("W17: and with no device too, once the feeder's own process has taken everything", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* feeding(range(6), [])
      assert.deepStrictEqual(yield* Stream.runCollect(feeder.elements), range(6))
      assert.isTrue(Exit.isSuccess(yield* endedNow(run)))
    }).pipe(onNetwork))

  it.effect("W18: the end of one source does not close the queue for the others", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      const consumer = yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      const manual = yield* ManualSource.make<number>()
      const made = yield* Feeder.make(Numbers)
      yield* made.set([1, 2])
      yield* made.set([])
      const feeder = yield* made.set(manual.source)
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      assert.deepStrictEqual(seen, [1, 2])
      yield* manual.push(3, 4)
      yield* settled
      assert.isFalse(hasEnded(run))
      yield* manual.end
      Ledgers.assertCounts(yield* passUntil(run), { delivered: 4 })
      yield* passUntil(consumer)
      assert.deepStrictEqual(seen, [1, 2, 3, 4])
    }).pipe(onNetwork))

  it.effect("W19: a feeder that was stopped runs again, with its queue as it was", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* feeding(range(8), [])
      assert.strictEqual(yield* feeder.take, 0)
      // Of the four elements in the runner's hand one is admitted now, and three wait.
      yield* settled
      assert.strictEqual((yield* feeder.ledger).generated, 5)
      yield* feeder.stop
      yield* Fiber.join(run)
      const again = yield* Effect.forkChild(feeder.run)
      assert.deepStrictEqual(yield* Stream.runCollect(feeder.elements), range(7, 1))
      Ledgers.assertCounts(yield* Fiber.join(again), { delivered: 8 })
    }).pipe(onNetwork))

  it.effect("W19: a new feeder feeds the device that an earlier one has ended at, or was stopped at", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      yield* Effect.forkChild(host(replica(0), { feeders: "forever" })(Numbers.forEach(note)))
      const manual = yield* ManualSource.make<number>()
      yield* manual.push(1)
      const stopped = yield* Effect.forkChild(
        Feeder.run(Numbers, { id: "f", source: manual.source, devices: [replica(0)] })
      )
      yield* settled
      yield* Fiber.interrupt(stopped)
      for (const n of [2, 3]) {
        yield* TestClock.adjust(1) // an incarnation is told by its time
        yield* Feeder.run(Numbers, { id: "f", source: [n], devices: [replica(0)] })
      }
      assert.deepStrictEqual(seen, [1, 2, 3])
    }).pipe(onNetwork))
})

describe("mistakes that went unnoticed", () => {
  it.effect("W20: a transport that gives a broken link again fails the device by name, and starves nobody", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const scope = yield* Effect.scope
      const links = new Map<string, RemoteDevices.Link>()
      const stale = Layer.effect(
        RemoteDevices.RemoteDevices,
        Effect.map(RemoteDevices.RemoteDevices, (devices) => ({
          open: (device, feed) =>
            Effect.suspend(() => {
              const known = links.get(device)
              return known !== undefined ? Effect.succeed(known) : Effect.tap(
                Scope.provide(devices.open(device, feed), scope),
                (link) => Effect.sync(() => links.set(device, link))
              )
            })
        }))
      )
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.sleep(100))))
      const { run } = yield* feeding(range(50), [replica(0)], { tolerate: tolerate(3) }).pipe(Effect.provide(stale))
      yield* pass(300)
      yield* faults.cut(replica(0))
      const error = yield* Effect.flip(passUntil(run, 1000))
      assert.strictEqual(error.reason._tag, "NoDeviceLeft")
      assert.match(error.message, /device \/job:consumer\/replica:0 has failed/)
    }).pipe(onNetwork))

  it.effect("W21: a device that nobody hosts, or that hosts another feed, fails the run and says so", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(
        Pairs.forEach(() => Effect.void).pipe(
          Effect.provide(MemoryDevices.layerHost({ feeds: [Pairs], device: replica(1) }))
        )
      )
      const messageOf = (device: string) =>
        Effect.gen(function*() {
          const { run } = yield* feeding([1], [device], { tolerate: tolerate(1) })
          return (yield* Effect.flip(passUntil(run))).message
        })
      assert.match(yield* messageOf(replica(0)), /replica:0 is not reachable: no host of this process has that name/)
      assert.match(yield* messageOf(replica(1)), /it hosts "pairs", the feeder has "numbers"/)
    }).pipe(onNetwork))

  it.effect("W22: a run touches no other feeder: not its sources, not its queue, not its end", () =>
    Effect.gen(function*() {
      let pulls = 0
      const other = yield* (yield* Feeder.make(Numbers)).set(Effect.sync(() => pulls++))
      const { feeder, run } = yield* feeding([7, 8], [])
      yield* settled
      assert.strictEqual(pulls, 0)
      assert.deepStrictEqual(yield* Stream.runCollect(feeder.elements), [7, 8])
      yield* Fiber.join(run)
      const { hasEnded, isRunning, ledger } = yield* other.status
      assert.deepStrictEqual([hasEnded, isRunning, ledger.generated, pulls], [false, false, 0, 0])
      yield* Effect.forkChild(other.run)
      assert.strictEqual(yield* other.take, 0)
    }).pipe(onNetwork))

  it.effect("W23: a feeder whose source takes from the device it feeds fails, and says so", () =>
    Effect.gen(function*() {
      const source = Stream.mapEffect(Numbers.elements, ({ acknowledge, value }) => Effect.as(acknowledge, value))
      const run = yield* Effect.forkChild(
        Effect.flip(Feeder.run(Numbers, { id: "f", source, devices: [replica(0)] }))
      )
      const error = yield* passUntil(run)
      assert.match(error.message, /feeder f feeds itself: its source takes from feed "numbers" at device/)
    }).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }))))

  it.effect("W24: an idle consumer holds no more than its credit, is seen to, and what it holds can be taken back", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      yield* Effect.forkChild(
        host(replica(1))(Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), Effect.sleep(10))))
      )
      const { feeder, run } = yield* feeding(range(60), [replica(0), replica(1)])
      yield* pass(5000)
      const { devices, ledger } = yield* feeder.status
      const idle = devices.find(({ device }) => device === replica(0))!
      assert.isAtLeast(idle.leased, 1)
      assert.isAtMost(idle.leased, Numbers.capacity + 1)
      assert.deepStrictEqual([ledger.queued, ledger.leased, ledger.delivered], [0, idle.leased, 60 - idle.leased])
      yield* feeder.removeRemoteDevice(replica(0))
      Ledgers.assertCounts(yield* passUntil(run), { delivered: 60, redelivered: idle.leased })
      assert.deepStrictEqual(sorted(seen), range(60))
    }).pipe(onNetwork))

  it.effect("W25: fewer than a batch at the end are handed out as a short one", () =>
    Effect.gen(function*() {
      const batches: Array<ReadonlyArray<number>> = []
      const consumer = yield* Effect.forkChild(
        host(replica(0))(Numbers.forEachBatch(4, (batch) => Effect.sync(() => batches.push([...batch]))))
      )
      const { run } = yield* feeding(range(10), [replica(0)])
      Ledgers.assertCounts(yield* passUntil(run), { delivered: 10 })
      yield* passUntil(consumer)
      assert.deepStrictEqual(batches, [range(4), range(4, 4), [8, 9]])
    }).pipe(onNetwork))

  it.effect("W26: an interrupted batch leaves its elements in front; an interrupted offer says what was admitted", () =>
    Effect.gen(function*() {
      const queue = yield* FeedQueue.make<number>({ capacity: 2 })
      const batch = yield* Effect.forkChild(queue.takeMany(8))
      yield* settled
      yield* queue.offerAll(range(5))
      yield* Fiber.interrupt(batch)
      assert.strictEqual(yield* queue.size, 5)
      let admitted = 0
      const offer = yield* Effect.forkChild(queue.offerAll(range(20, 5), (count) => {
        admitted += count
      }))
      yield* settled
      assert.deepStrictEqual(yield* queue.takeMany(4), range(4))
      yield* settled
      yield* Fiber.interrupt(offer)
      yield* queue.close()
      assert.strictEqual(admitted, 1)
      assert.deepStrictEqual(yield* queue.takeUpTo(20), [4, 5])
    }))

  it.effect("W27: coordinators are linked without a poll: neither side of the link lives on", () =>
    Effect.gen(function*() {
      const outer = yield* Coordinator.make<string>({ name: "outer" })
      const scope = yield* Scope.make()
      const inner = yield* Scope.provide(outer.child({ name: "inner" }), scope)
      yield* inner.fork("works", Effect.never)
      yield* settled
      // The inner one ends: nothing of it stays with the outer one, and no time passes.
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual([yield* inner.running, yield* outer.running], [[], []])
      // The outer one stops: the inner one has stopped when the request returns, with the same cause.
      const next = yield* outer.child<string>({ name: "next" })
      const fiber = yield* next.fork("works", Effect.never)
      yield* settled
      yield* outer.requestStop(Cause.fail("why"))
      assert.isTrue(yield* next.isStopping)
      assert.isTrue(hasEnded(fiber))
      assert.strictEqual(yield* Effect.flip(next.join()), "why")
    }).pipe(Effect.scoped))

  it.effect("W28: which device failed, how often, why, and what it holds, can be asked and watched", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const { feeder, run } = yield* feeding(range(20), [replica(0), replica(1)], { tolerate: tolerate(3, 1000) })
      const phases: Array<string> = []
      yield* Effect.forkChild(
        Stream.runForEach(feeder.changes, ({ devices }) =>
          Effect.sync(() => {
            for (const { device, phase } of devices) if (device === replica(0)) phases.push(phase)
          }))
      )
      yield* settled
      const before = yield* feeder.status
      yield* faults.cut(replica(0), "gone")
      yield* settled
      const { devices, isRunning, ledger } = yield* feeder.status
      assert.isTrue(isRunning)
      assert.deepStrictEqual(devices.map(({ device, failures }) => [device, failures]), [[replica(0), 1], [
        replica(1),
        1
      ]])
      assert.match(devices[0]!.lastFailure ?? "", /replica:0 is not reachable: the test cut the link/)
      assert.match(devices[1]!.lastFailure ?? "", /replica:1 is not reachable: no host of this process has that name/)
      assert.strictEqual(ledger.queued, before.ledger.queued + before.ledger.leased)
      yield* pass(1000)
      assert.include(phases, "Live")
      assert.isAbove(new Set(phases).size, 1)
      yield* Fiber.interrupt(run)
    }).pipe(onNetwork))
})

describe("coordination", () => {
  it.effect("W29: failures after the first, and after a clean stop, are kept and can be read", () =>
    Effect.gen(function*() {
      for (const first of [undefined, Cause.fail("first")]) {
        const coordinator = yield* Coordinator.make<string>({ name: "c" })
        yield* coordinator.fork("late", Effect.onInterrupt(Effect.never, () => Effect.die("too late")))
        yield* settled
        yield* coordinator.requestStop(first)
        const exit = yield* Effect.exit(coordinator.join())
        assert.deepStrictEqual(exit, first === undefined ? Exit.void : Exit.failCause(first))
        const late = yield* coordinator.lateFailures
        assert.deepStrictEqual(late.map(({ cause, fiber }) => [fiber, cause.reasons.some(Cause.isDieReason)]), [
          ["late", true]
        ])
      }
    }).pipe(Effect.scoped))

  it.effect("W29: a join notices the last end, and a stop, in the moment they happen", () =>
    Effect.gen(function*() {
      const coordinator = yield* Coordinator.make({ name: "c" })
      const open = yield* Deferred.make<void>()
      yield* coordinator.fork("one", Deferred.await(open))
      const join = yield* Effect.forkChild(coordinator.join())
      yield* settled
      assert.isFalse(hasEnded(join))
      yield* Deferred.succeed(open, undefined)
      assert.deepStrictEqual(yield* endedNow(join), Exit.void)
    }).pipe(Effect.scoped))

  it.effect("W29: stragglers are named also when there is a failure", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => {
      lines.push(String(message))
    })
    return Effect.gen(function*() {
      const coordinator = yield* Coordinator.make<string>({ name: "c", gracePeriod: 0 })
      const release = yield* Deferred.make<void>()
      yield* coordinator.fork("stuck", Effect.onInterrupt(Effect.never, () => Deferred.await(release)))
      yield* settled
      yield* coordinator.requestStop(Cause.fail("why"))
      const join = yield* Effect.forkChild(Effect.flip(coordinator.join()))
      yield* pass(0)
      assert.strictEqual(yield* Fiber.join(join), "why")
      assert.deepStrictEqual(yield* coordinator.running, ["stuck"])
      assert.include(lines.join("\n"), "stuck")
      yield* Deferred.succeed(release, undefined)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([logger])))
  })

  it.effect("W30: a source's failure is never taken for one of a device, and ends the run once", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      let runs = 0
      const lost = new RemoteDevices.DeviceLost({ device: "/job:upstream", fate: "unknown" })
      assert.isTrue(FailureTolerator.isConnectionFailure(lost))
      const made = yield* Feeder.make(Numbers, { tolerate: FailureTolerator.make({ handles: () => true }) })
      const feeder = yield* made.set(Effect.suspend(() => runs++ < 2 ? Effect.succeed(runs) : Effect.fail(lost)))
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      assert.deepStrictEqual(yield* endedNow(run), Exit.fail(lost))
      assert.strictEqual(runs, 3)
      assert.deepStrictEqual((yield* feeder.status).devices.map(({ failures }) => failures), [0])
    }).pipe(onNetwork))

  it.effect("W31: an element is taken as a whole: no field can be had without the others", () =>
    Effect.gen(function*() {
      const Digits = Feed.make("digits", {
        element: Schema.Struct({ image: Tensor.float32([2]), label: Tensor.int32([]) })
      })
      const made = yield* Feeder.make(Digits)
      const feeder = yield* made.set(range(3).map((label) => ({ image: Float32Array.of(label, label), label })))
      yield* Effect.forkChild(feeder.run)
      const one = yield* feeder.take
      assert.deepStrictEqual([[...one.image], one.label], [[0, 0], 0])
      const rest = yield* feeder.takeMany(2)
      assert.deepStrictEqual([[...rest.image], [...rest.label]], [[1, 1, 2, 2], [1, 2]])
    }))

  it.effect("W32: takes at once get an element each, a timed out one breaks nothing, a close can unblock offers", () =>
    Effect.gen(function*() {
      const { feeder } = yield* feeding(range(3), [])
      assert.deepStrictEqual(
        yield* Effect.all([feeder.take, feeder.take, feeder.take], { concurrency: "unbounded" }),
        range(3)
      )
      const queue = yield* FeedQueue.make<number>({ capacity: 1 })
      const timedOut = yield* Effect.forkChild(Effect.timeoutOption(queue.take, "1 second"))
      yield* pass(1000)
      yield* Fiber.join(timedOut)
      yield* queue.offer(1)
      const blocked = yield* Effect.forkChild(Effect.flip(queue.offer(2)))
      yield* settled
      yield* queue.close({ cancelPending: true })
      assert.strictEqual((yield* Fiber.join(blocked))._tag, "QueueClosed")
      assert.strictEqual(yield* queue.take, 1)
    }).pipe(onNetwork))

  it.effect("W33: an end that a fiber handles is no failure, and the same end unhandled is one", () =>
    Effect.gen(function*() {
      const queue = yield* FeedQueue.make<number>({ capacity: 1 })
      yield* queue.close()
      const handled = yield* Coordinator.make<FeedQueue.QueueEnded>({ name: "handled" })
      let ends = 0
      yield* handled.fork(
        "reader",
        Effect.catchTag(queue.take, "QueueEnded", () => Effect.sync(() => ends++))
      )
      yield* handled.join()
      assert.deepStrictEqual([ends, yield* handled.isStopping], [1, false])
      const unhandled = yield* Coordinator.make<FeedQueue.QueueEnded>({ name: "unhandled" })
      yield* unhandled.fork("reader", queue.take)
      assert.strictEqual((yield* Effect.flip(unhandled.join()))._tag, "QueueEnded")
      assert.isTrue(yield* unhandled.isStopping)
    }).pipe(Effect.scoped))

  it.effect("W33: a feeder with three devices, each failing in its own way, delivers all of its elements", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const { note, seen } = recorder()
      const loops = yield* Effect.forEach(range(3), (at) =>
        Effect.forkChild(
          host(replica(at))(Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), Effect.sleep(10))))
        ))
      yield* faults.failAfter(replica(0), 2)
      yield* faults.failAfter(replica(1), 3, "gone")
      yield* faults.refuse(replica(2), 2, "gone")
      const devices = DeviceSpec.replicas("consumer", 3).map(String)
      const { run } = yield* feeding(range(90), devices, { tolerate: tolerate(4) })
      const ledger = yield* passUntil(run)
      Ledgers.assertCounts(ledger, { delivered: 90, lost: 0 })
      yield* Effect.forEach(loops, (loop) => passUntil(loop))
      assert.deepStrictEqual([...new Set(sorted(seen))], range(90))
    }).pipe(onNetwork))
})
