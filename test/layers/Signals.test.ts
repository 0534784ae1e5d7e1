/** What a feeder does when its process is told to go. `stopping.test.ts` tells real processes. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Logger, Schema } from "effect"
import { Feed, Feeder } from "effect-feeder"
import * as Signals from "effect-feeder/layers/Signals"
import { endedNow, host, Numbers, onNetwork, pass, passUntil, replica, settled } from "../network.ts"

const endless = function*() {
  for (let n = 0;; n++) yield n
}

/** Tells the feeder alone: it listens ahead of all others. */
const tell = (signal: NodeJS.Signals) => Effect.sync(() => process.listeners(signal)[0]!(signal))

const listeners = () => [...process.listeners("SIGTERM"), ...process.listeners("SIGINT")]

class Broken extends Schema.TaggedError<Broken>()("Broken", {}) {}

/** A feeder of a consumer that takes a second for each element, and what it was told of a drain. */
const start = (options: Signals.Options = {}) =>
  Effect.gen(function*() {
    yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.sleep(1000))))
    const told = yield* Deferred.make<Feeder.Drained>()
    const run = yield* Effect.forkChild(
      Signals.run(Numbers, {
        source: endless(),
        devices: [replica(0)],
        onDrained: (drained) => Deferred.succeed(told, drained),
        ...options
      })
    )
    yield* pass(100)
    return { run, told }
  })

const quiet = Effect.provide(Logger.layer([]))

describe("a feeder that listens to signals", () => {
  it.effect("SIGTERM: it drains, and ends with its account", () =>
    Effect.gen(function*() {
      const before = listeners().length
      const { run, told } = yield* start()
      assert.strictEqual(listeners().length, before + 2)
      yield* tell("SIGTERM")
      yield* settled
      assert.isUndefined(run.pollUnsafe())
      const ledger = yield* passUntil(run)
      const drained = yield* Deferred.await(told)
      assert.deepStrictEqual(drained, { acknowledged: ledger.delivered, returned: ledger.queued, abandoned: 0 })
      assert.isAbove(drained.acknowledged, 0)
      assert.strictEqual(listeners().length, before)
    }).pipe(quiet, onNetwork))

  it.effect("SIGTERM, and an interruption, as by the runtime: it drains first", () =>
    Effect.gen(function*() {
      const { run, told } = yield* start()
      yield* tell("SIGTERM")
      run.interruptUnsafe()
      yield* settled
      assert.isUndefined(run.pollUnsafe())
      for (let i = 0; i < 200 && run.pollUnsafe() === undefined; i++) yield* pass(100)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(run)))
      assert.strictEqual((yield* Deferred.await(told)).abandoned, 0)
    }).pipe(quiet, onNetwork))

  it.effect("it drains until the deadline, and no longer", () =>
    Effect.gen(function*() {
      const { run, told } = yield* start({ deadline: 300 })
      yield* tell("SIGTERM")
      yield* pass(299)
      assert.isUndefined(run.pollUnsafe())
      yield* pass(1)
      yield* endedNow(run)
      assert.isAbove((yield* Deferred.await(told)).abandoned, 0)
    }).pipe(quiet, onNetwork))

  for (const second of ["SIGTERM", "SIGINT"] as const) {
    it.effect(`SIGTERM, then ${second}: it ends at once, with an account`, () =>
      Effect.gen(function*() {
        const { run, told } = yield* start()
        yield* tell("SIGTERM")
        run.interruptUnsafe()
        yield* settled
        yield* tell(second)
        assert.isTrue(Exit.hasInterrupts(yield* endedNow(run)))
        assert.isAbove((yield* Deferred.await(told)).abandoned, 0)
      }).pipe(quiet, onNetwork))
  }

  it.effect("SIGINT, or an interruption: it ends at once, without a drain", () =>
    Effect.gen(function*() {
      const one = yield* start()
      yield* tell("SIGINT")
      assert.isTrue(Exit.isSuccess(yield* endedNow(one.run)))
      assert.isFalse(yield* Deferred.isDone(one.told))
      const device = replica(1)
      yield* Effect.forkChild(host(device)(Numbers.forEach(() => Effect.never)))
      const other = yield* Effect.forkChild(Signals.run(Numbers, { source: endless(), devices: [device] }))
      yield* settled
      other.interruptUnsafe()
      assert.isTrue(Exit.hasInterrupts(yield* endedNow(other)))
    }).pipe(quiet, onNetwork))

  it.effect("it fails as the run does", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(
        Signals.run(Numbers, { source: Effect.fail(new Broken()), devices: [replica(0)] })
      )
      assert.deepStrictEqual(exit, Exit.fail(new Broken()))
    }).pipe(onNetwork))

  it.effect("it says in the log what became of the elements", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => {
        lines.push(String(message))
      })
      const Ids = Feed.make("ids", { element: Schema.Int })
      const made = yield* Feeder.make(Ids, { id: "f" })
      const feeder = yield* made.set([1, 2, 3])
      const run = yield* Effect.forkChild(
        Effect.provide(Signals.untilSigterm(feeder), Logger.layer([logger]))
      )
      yield* settled
      yield* tell("SIGTERM")
      yield* passUntil(run)
      assert.deepStrictEqual(lines, ["feeder f was told to go: 0 acknowledged, 3 returned, 0 abandoned"])
    }))
})
