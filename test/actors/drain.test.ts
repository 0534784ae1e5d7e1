import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scheduler, Schema, Scope, Stream } from "effect"
import { Feed, Feeder, type Ledger, MemoryDevices } from "effect-feeder"
import { FaultyDevices, Ledgers } from "effect-feeder/testing"
import {
  endedNow,
  host,
  network,
  Numbers,
  onNetwork,
  pass,
  passUntil,
  range,
  recorder,
  replica,
  settled,
  tolerate
} from "../network.ts"

const Accepted = Feed.make("accepted", { element: Schema.Int, capacity: 4, acknowledge: "accepted" })

/** A running feeder of a device, and what its run ends with. */
const start = (source: Iterable<number> | Stream.Stream<number>, options: Feeder.Options = {}) =>
  Effect.gen(function*() {
    const made = yield* Feeder.make(Numbers, options)
    const feeder = yield* made.set(source)
    yield* feeder.addRemoteDevice(replica(0))
    return { feeder, run: yield* Effect.forkChild(feeder.run) }
  })

const sumOf = ({ abandoned, acknowledged, returned }: Feeder.Drained) => abandoned + acknowledged + returned
const openIn = ({ leased, queued }: Ledger.Ledger) => leased + queued

/** Elements without end, and how many were pulled. */
const endless = () => {
  let pulled = 0
  const elements = function*() {
    while (true) yield pulled++
  }
  return { source: elements(), pulled: () => pulled }
}

describe("a drain", () => {
  it.effect("waits for what is out, feeds nothing more, and ends the run with its account", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      const { pulled, source } = endless()
      yield* Effect.forkChild(
        host(replica(0))(Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), Effect.sleep(100))))
      )
      const { feeder, run } = yield* start(source)
      yield* pass(50)
      const before = yield* feeder.ledger
      assert.isAbove(before.leased, 1)
      assert.strictEqual(before.queued, 4)
      const pulledBefore = pulled()
      const drained = yield* passUntil(yield* Effect.forkChild(feeder.drain()))
      assert.deepStrictEqual(drained, { acknowledged: before.leased, returned: 4, abandoned: 0 })
      assert.strictEqual(pulled(), pulledBefore)
      const ledger = yield* Fiber.join(run)
      assert.deepInclude(ledger, {
        generated: before.generated,
        queued: 4,
        leased: 0,
        delivered: before.leased,
        lost: 0
      })
      assert.deepStrictEqual(seen, range(before.leased))
      const { hasEnded, isRunning } = yield* feeder.status
      assert.deepStrictEqual([hasEnded, isRunning], [false, false])
    }).pipe(onNetwork))

  it.effect("a drained feeder runs again, as soon as the drain returns, without loss or repeat", () =>
    Effect.gen(function*() {
      const { deliveries, note, seen } = recorder()
      const loop = yield* Effect.forkChild(
        host(replica(0))(Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), Effect.sleep(20))))
      )
      const { feeder } = yield* start(range(60))
      const again = Effect.gen(function*() {
        for (let i = 0; i < 5; i++) {
          yield* Effect.sleep(120)
          const { abandoned } = yield* feeder.drain()
          assert.strictEqual(abandoned, 0)
          yield* Effect.forkChild(feeder.run)
          yield* Effect.yieldNow
        }
        yield* feeder.drain()
        return yield* feeder.run
      })
      const ledger = yield* passUntil(yield* Effect.forkChild(again))
      yield* passUntil(loop)
      assert.deepStrictEqual(seen, range(60))
      assert.isTrue(deliveries.every(({ redelivered }) => !redelivered))
      assert.strictEqual(ledger.delivered, 60)
    }).pipe(onNetwork))

  it.effect("of a feed that is all out ends it, and its consumers' loops with it", () =>
    Effect.gen(function*() {
      const loop = yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.sleep(100))))
      const { feeder, run } = yield* start([1, 2, 3])
      yield* pass(50)
      assert.deepInclude(yield* feeder.ledger, { queued: 0, leased: 3 })
      const drained = yield* passUntil(yield* Effect.forkChild(feeder.drain()))
      assert.deepStrictEqual(drained, { acknowledged: 3, returned: 0, abandoned: 0 })
      assert.strictEqual((yield* Fiber.join(run)).delivered, 3)
      assert.isTrue((yield* feeder.status).hasEnded)
      assert.deepInclude(yield* passUntil(loop), { done: 3 })
    }).pipe(onNetwork))

  it.effect("tells devices not to wait to fill a batch", () =>
    Effect.gen(function*() {
      const sizes: Array<number> = []
      yield* Effect.forkChild(
        host(replica(0))(Numbers.forEachBatch(100, (batch) => Effect.sync(() => sizes.push(batch.length))))
      )
      const { feeder } = yield* start(Stream.concat(Stream.fromIterable(range(7)), Stream.never))
      yield* settled
      assert.deepInclude(yield* feeder.ledger, { queued: 0, leased: 7, delivered: 0 })
      const drain = yield* Effect.forkChild(feeder.drain())
      assert.deepStrictEqual(
        yield* endedNow(drain),
        Exit.succeed({ acknowledged: 7, returned: 0, abandoned: 0 })
      )
      assert.deepStrictEqual(sizes, [7])
    }).pipe(onNetwork))

  it.effect("of an accepted feed waits until all is accepted, and no longer", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Accepted)
      const feeder = yield* made.set(endless().source)
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      const layer = MemoryDevices.layerHost({ feeds: [Accepted], device: replica(0) })
      yield* Effect.forkChild(Effect.provide(Accepted.forEach(() => Effect.never), layer))
      yield* pass(1000)
      const before = yield* feeder.ledger
      assert.deepInclude(before, { leased: 0, queued: 4 })
      assert.deepStrictEqual(yield* feeder.drain(), { acknowledged: 0, returned: 4, abandoned: 0 })
      assert.deepInclude(yield* Fiber.join(run), { queued: 4, held: before.held, delivered: before.delivered })
    }).pipe(onNetwork))

  it.effect("at its deadline gives up what a device that hangs has", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.sleep(100))))
      const { feeder, run } = yield* start(endless().source)
      yield* pass(50)
      yield* faults.freeze(replica(0))
      const before = yield* feeder.ledger
      const drain = yield* Effect.forkChild(feeder.drain({ deadline: "3 seconds" }))
      yield* pass(2999)
      assert.isUndefined(drain.pollUnsafe())
      yield* pass(1)
      const drained = yield* passUntil(drain)
      assert.deepStrictEqual(drained, { acknowledged: 0, returned: before.queued, abandoned: before.leased })
      assert.isAbove(drained.abandoned, 0)
      assert.strictEqual((yield* Fiber.join(run)).leased, before.leased)
    }).pipe(onNetwork))

  it.effect("waits for the lease of a device that hangs, if it may: what was out there is returned", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.sleep(100))))
      const { feeder, run } = yield* start(endless().source, { lease: "1 second" })
      yield* pass(50)
      yield* faults.freeze(replica(0))
      const before = yield* feeder.ledger
      const drained = yield* passUntil(yield* Effect.forkChild(feeder.drain()))
      assert.deepStrictEqual(drained, { acknowledged: 0, returned: openIn(before), abandoned: 0 })
      assert.strictEqual((yield* Fiber.join(run)).queued, openIn(before))
    }).pipe(onNetwork))

  it.effect("gets back at once what was out at a device that dies", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.forkChild(
        Effect.ignore(faults.run(replica(0), host(replica(0))(Numbers.forEach(() => Effect.never))))
      )
      const { feeder, run } = yield* start(endless().source)
      yield* settled
      const before = yield* feeder.ledger
      assert.isAbove(before.leased, 0)
      const drain = yield* Effect.forkChild(feeder.drain())
      yield* settled
      assert.isUndefined(drain.pollUnsafe())
      yield* faults.crash(replica(0))
      const drained = yield* endedNow(drain)
      assert.deepStrictEqual(drained, Exit.succeed({ acknowledged: 0, returned: openIn(before), abandoned: 0 }))
      Ledgers.assertConserved(yield* Fiber.join(run))
    }).pipe(onNetwork))

  it.effect("does not feed again what comes back: a retry is returned, at once or after its delay", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      yield* Effect.forkChild(
        host(replica(0))(Numbers.forEach((n, delivery) =>
          note(n, delivery).pipe(
            Effect.andThen(Effect.sleep(100)),
            Effect.andThen(Feed.retry({ after: n % 2 === 0 ? 0 : "1 hour" }))
          )
        ))
      )
      // A queue that was taken empty: the remote feed waits in it, and must not take what comes back.
      const { feeder } = yield* start(Stream.concat(Stream.fromIterable(range(3)), Stream.never))
      yield* pass(50)
      assert.deepInclude(yield* feeder.ledger, { queued: 0, leased: 3 })
      const drained = yield* passUntil(yield* Effect.forkChild(feeder.drain()))
      assert.deepStrictEqual(drained, { acknowledged: 0, returned: 3, abandoned: 0 })
      assert.deepStrictEqual(seen, range(3))
    }).pipe(onNetwork))

  it.effect("counts what was refused for good as acknowledged", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(
        host(replica(0))(Numbers.forEach(() => Effect.andThen(Effect.sleep(100), Feed.reject("no"))))
      )
      const { feeder } = yield* start(Stream.concat(Stream.fromIterable(range(3)), Stream.never))
      yield* pass(50)
      const drained = yield* passUntil(yield* Effect.forkChild(feeder.drain()))
      assert.deepStrictEqual(drained, { acknowledged: 3, returned: 0, abandoned: 0 })
    }).pipe(onNetwork))

  it.effect("of a device that was removed: what was out there is returned", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const { feeder } = yield* start(endless().source)
      yield* settled
      const before = yield* feeder.ledger
      const drain = yield* Effect.forkChild(feeder.drain())
      yield* settled
      yield* feeder.removeRemoteDevice(replica(0))
      assert.deepStrictEqual(
        yield* endedNow(drain),
        Exit.succeed({ acknowledged: 0, returned: openIn(before), abandoned: 0 })
      )
    }).pipe(onNetwork))

  it.effect("leaves the elements to those who take here, and the elements' Stream", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* start(endless().source)
      const taken: Array<number> = []
      yield* Effect.forkChild(
        Stream.runForEach(Stream.take(feeder.elements, 2), (n) => Effect.sync(() => taken.push(n)))
      )
      yield* settled
      assert.deepStrictEqual(taken, [0, 1])
      yield* feeder.drain()
      yield* Fiber.join(run)
      assert.deepStrictEqual(yield* feeder.takeMany(4), range(4, 2))
      assert.strictEqual((yield* feeder.ledger).queued, 0)
      const waiting = yield* Effect.forkChild(feeder.take)
      yield* settled
      assert.isUndefined(waiting.pollUnsafe())
      yield* Effect.forkChild(feeder.run)
      assert.strictEqual(yield* Fiber.join(waiting), 6)
    }).pipe(onNetwork))

  it.effect("of a feeder that does not run returns at once", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const { feeder } = yield* start(endless().source)
      yield* settled
      yield* feeder.stop
      yield* settled
      const { leased, queued } = yield* feeder.ledger
      assert.isAbove(leased, 0)
      assert.deepStrictEqual(yield* feeder.drain(), { acknowledged: 0, returned: queued, abandoned: leased })
      const never = yield* Feeder.make(Numbers)
      assert.deepStrictEqual(yield* never.drain(), { acknowledged: 0, returned: 0, abandoned: 0 })
      // A drain of no run does not keep the next one from feeding.
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      assert.isTrue((yield* feeder.status).isRunning)
      yield* Fiber.interrupt(run)
    }).pipe(onNetwork))

  it.effect("pauses the sources, also when there is room", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.sleep(1000))))
      let pulled = 0
      const ticks = Stream.fromEffectRepeat(Effect.as(Effect.sleep(400), 0)).pipe(
        Stream.tap(() => Effect.sync(() => pulled++))
      )
      const { feeder } = yield* start(ticks)
      for (let i = 0; i < 30; i++) yield* pass(100)
      const before = yield* feeder.ledger
      assert.deepInclude(before, { queued: 0 })
      const drained = yield* passUntil(yield* Effect.forkChild(feeder.drain()))
      assert.deepStrictEqual(drained, { acknowledged: before.leased, returned: 0, abandoned: 0 })
      for (let i = 0; i < 30; i++) yield* pass(100)
      // A source is not interrupted when it is about to give: that one waits for the next run.
      assert.isAtMost(pulled, before.generated + 1)
      assert.strictEqual((yield* feeder.ledger).generated, before.generated)
    }).pipe(onNetwork))

  it.effect("while a run is starting feeds nothing more", () =>
    Effect.gen(function*() {
      for (let turns = 0; turns < 60; turns++) {
        yield* Effect.gen(function*() {
          yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.void)))
          const made = yield* Feeder.make(Numbers)
          const feeder = yield* made.set(endless().source)
          yield* feeder.addRemoteDevice(replica(0))
          const run = yield* Effect.forkChild(
            Effect.provideService(feeder.run, Scheduler.MaxOpsBeforeYield, 5),
            { startImmediately: true }
          )
          for (let i = 0; i < turns; i++) yield* Effect.yieldNow
          const before = yield* feeder.ledger
          const drained = yield* passUntil(yield* Effect.forkChild(feeder.drain(), { startImmediately: true }))
          assert.isTrue(Exit.isSuccess(yield* endedNow(run)))
          // A fiber that is preempted hears of it a little later.
          const late = (yield* feeder.ledger).generated - before.generated
          assert.isAtMost(late, 4)
          assert.isAtLeast(sumOf(drained), openIn(before), `after ${turns} turns`)
          assert.isAtMost(sumOf(drained), openIn(before) + late, `after ${turns} turns`)
        }).pipe(Effect.scoped, Effect.provide(network, { local: true }))
      }
    }))

  it.effect("twice at once: the shorter deadline counts, and both accounts add up", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.sleep(1000))))
      const { feeder } = yield* start(endless().source)
      yield* settled
      const before = yield* feeder.ledger
      const long = yield* Effect.forkChild(feeder.drain({ deadline: "1 hour" }))
      yield* pass(1500)
      const between = yield* feeder.ledger
      const short = yield* Effect.forkChild(feeder.drain({ deadline: "1 second" }))
      const [first, second] = [yield* passUntil(short), yield* passUntil(long)]
      assert.deepStrictEqual([sumOf(first), sumOf(second)], [openIn(between), openIn(before)])
      assert.strictEqual(second.acknowledged, first.acknowledged + openIn(before) - openIn(between))
      assert.isAbove(first.abandoned, 0)
    }).pipe(onNetwork))

  for (const how of ["stop", "interruption of the run", "interruption of the drain"] as const) {
    it.effect(`is cut short by a ${how}, at once`, () =>
      Effect.gen(function*() {
        yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
        const { feeder, run } = yield* start(endless().source)
        yield* settled
        const before = yield* feeder.ledger
        const drain = yield* Effect.forkChild(feeder.drain())
        yield* settled
        assert.isUndefined(drain.pollUnsafe())
        if (how === "stop") yield* feeder.stop
        else (how === "interruption of the run" ? run : drain).interruptUnsafe()
        const exit = yield* endedNow(drain)
        const ended = yield* endedNow(run)
        if (how === "interruption of the drain") assert.isTrue(Exit.hasInterrupts(exit))
        else {
          assert.deepStrictEqual(
            exit,
            Exit.succeed({ acknowledged: 0, returned: before.queued, abandoned: before.leased })
          )
        }
        assert.strictEqual(Exit.isSuccess(ended), how !== "interruption of the run")
        assert.isFalse((yield* feeder.status).isRunning)
      }).pipe(onNetwork))
  }

  it.effect("in a finalizer keeps to its deadline", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const { feeder } = yield* start(endless().source)
      const scope = yield* Scope.make()
      const drained = yield* Deferred.make<Feeder.Drained>()
      yield* Scope.addFinalizer(
        scope,
        Effect.flatMap(feeder.drain({ deadline: "1 second" }), (account) => Deferred.succeed(drained, account))
      )
      yield* settled
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* passUntil(closing)
      assert.isAbove((yield* Deferred.await(drained)).abandoned, 0)
    }).pipe(onNetwork))

  it.effect("by a source does not wait for that source", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.void)))
      const made = yield* Feeder.make(Numbers)
      const drained = yield* Deferred.make<Feeder.Drained>()
      let pulled = 0
      const feeder = yield* made.set(Effect.suspend(() =>
        pulled++ < 10
          ? Effect.succeed(pulled)
          : Effect.andThen(
            Effect.flatMap(made.drain(), (account) => Deferred.succeed(drained, account)),
            Effect.succeed(pulled)
          )
      ))
      yield* feeder.addRemoteDevice(replica(0))
      const ledger = yield* passUntil(yield* Effect.forkChild(feeder.run))
      const { abandoned, returned } = yield* Deferred.await(drained)
      assert.deepStrictEqual([abandoned, returned], [0, ledger.queued])
      assert.strictEqual(ledger.generated, 10)
    }).pipe(onNetwork))

  it.effect("accounts for a run that fails meanwhile, too", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.forkChild(
        Effect.ignore(faults.run(replica(0), host(replica(0))(Numbers.forEach(() => Effect.never))))
      )
      const { feeder, run } = yield* start(endless().source, { tolerate: tolerate(0) })
      yield* settled
      const before = yield* feeder.ledger
      const drain = yield* Effect.forkChild(feeder.drain())
      yield* settled
      yield* faults.crash(replica(0))
      assert.deepStrictEqual(
        yield* endedNow(drain),
        Exit.succeed({ acknowledged: 0, returned: openIn(before), abandoned: 0 })
      )
      yield* endedNow(run)
    }).pipe(onNetwork))
})

describe("the account of a drain", () => {
  it.effect.prop(
    "adds up to what was queued and out, whatever consumers and devices do, and the rest is fed later",
    {
      count: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 60 })),
      behaviours: Schema.Array(Schema.Literals(["done", "slow", "retry", "later", "reject", "hang"])).check(
        Schema.isMinLength(1)
      ),
      batch: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 6 })),
      after: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 400 })),
      deadline: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3000 })),
      fault: Schema.Literals(["none", "cut", "crash", "freeze", "remove"])
    },
    ({ after, batch, behaviours, count, deadline, fault }) =>
      Effect.gen(function*() {
        const faults = yield* FaultyDevices.FaultyDevices
        const { deliveries, note } = recorder()
        let turn = 0
        let isHealed = false
        const behave = Effect.suspend((): Effect.Effect<void, Feed.Retry | Feed.Reject> => {
          if (isHealed) return Effect.void
          switch (behaviours[turn++ % behaviours.length]!) {
            case "done":
              return Effect.void
            case "slow":
              return Effect.sleep(70)
            case "retry":
              return Feed.retry({ after: 0 })
            case "later":
              return Feed.retry({ after: 200 })
            case "reject":
              return Feed.reject("no")
            case "hang":
              return Effect.sleep(4000)
          }
        })
        const consumer = (device: string) =>
          faults.run(
            device,
            host(device, { feeders: "forever" })(Numbers.forEachBatch(batch, (elements, delivery) =>
              Effect.andThen(
                Effect.forEach(elements, (n, i) => note(n, delivery.deliveries[i]!), { discard: true }),
                behave
              ), { within: 50 }))
          ).pipe(Effect.ignore, Effect.forkChild)
        const loops = [yield* consumer(replica(0)), yield* consumer(replica(1))]
        const made = yield* Feeder.make(Numbers, { lease: "1 second", maxAttempts: 1000 })
        const feeder = yield* made.set(range(count))
        yield* feeder.addRemoteDevices([replica(0), replica(1)])
        const run = yield* Effect.forkChild(feeder.run)
        yield* pass(after)
        const before = yield* feeder.ledger
        const drain = yield* Effect.forkChild(feeder.drain({ deadline }))
        yield* Effect.yieldNow
        if (fault === "cut") yield* faults.cut(replica(0))
        if (fault === "crash") yield* faults.crash(replica(0))
        if (fault === "freeze") yield* faults.freeze(replica(0))
        if (fault === "remove") yield* Effect.ignore(feeder.removeRemoteDevice(replica(0)))
        const drained = yield* passUntil(drain)
        const account = yield* passUntil(run)
        Ledgers.assertConserved(account)
        assert.strictEqual(sumOf(drained), openIn(before))
        assert.deepStrictEqual([drained.returned, drained.abandoned], [account.queued, account.leased])
        assert.strictEqual(drained.acknowledged, account.delivered + account.dead - before.delivered - before.dead)
        assert.strictEqual(account.generated, before.generated)
        // The next run feeds what was returned, and what was abandoned is settled or comes again.
        isHealed = true
        if (fault === "freeze") yield* faults.thaw(replica(0))
        if (!(yield* feeder.status).hasEnded) {
          const ledger = yield* passUntil(yield* Effect.forkChild(feeder.run))
          assert.deepInclude(ledger, { generated: count, queued: 0, leased: 0, lost: 0 })
        }
        const firsts = deliveries.filter(({ redelivered }) => !redelivered).map(({ ordinal }) => ordinal)
        assert.strictEqual(new Set(firsts).size, firsts.length, "an unmarked repeat")
        yield* Effect.forEach(loops, Fiber.interrupt)
      }).pipe(onNetwork),
    { arbitrary: { runs: 60 } }
  )
})
