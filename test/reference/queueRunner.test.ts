/**
 * The cases of the reference's QueueRunner, by number. A runner is inside a feeder here, one for each source; what it
 * does is seen from there.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Stream } from "effect"
import { Coordinator, Feeder } from "effect-feeder"
import { Ledgers, ManualSource } from "effect-feeder/testing"
import { endedNow, hasEnded, Numbers, pass, range, settled } from "../network.ts"

/** A source that is run `limit` times and then ends, as the reference's counter does. */
const counter = (limit: number, from = 0) => {
  const counts = { runs: 0 }
  const source = Effect.suspend(() => counts.runs < limit ? Effect.succeed(from + counts.runs++) : Cause.done())
  return { counts, source }
}

describe("the reference's cases", () => {
  it.effect("29, 40: a source that counts to 3 and ends is run to its end, without a failure", () =>
    Effect.gen(function*() {
      const { counts, source } = counter(3)
      const feeder = yield* (yield* Feeder.make(Numbers)).set(source)
      const run = yield* Effect.forkChild(feeder.run)
      assert.deepStrictEqual(yield* feeder.takeUpTo(9), [0, 1, 2])
      Ledgers.assertCounts(yield* Fiber.join(run), { generated: 3, delivered: 3 })
      assert.strictEqual(counts.runs, 3)
    }))

  it.effect("30: of two sources that end at 3 and at 30 both are run to their end", () =>
    Effect.gen(function*() {
      const [short, long] = [counter(3), counter(30, 100)]
      const made = yield* Feeder.make(Numbers)
      yield* made.set(short.source)
      const feeder = yield* made.set(long.source)
      const run = yield* Effect.forkChild(feeder.run)
      const taken = yield* feeder.takeUpTo(99)
      assert.deepStrictEqual(taken.filter((n) => n < 100), range(3))
      assert.deepStrictEqual(taken.filter((n) => n >= 100), range(30, 100))
      Ledgers.assertCounts(yield* Fiber.join(run), { delivered: 33 })
      assert.deepStrictEqual([short.counts.runs, long.counts.runs], [3, 30])
    }))

  it.effect("31, 34: a source that fails fails the run with its own error, the first of several", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      yield* made.set(Effect.fail("no such thing"))
      const feeder = yield* (yield* made.set(Effect.fail("no such thing"))).set(Effect.delay(Effect.fail("later"), 10))
      assert.deepStrictEqual(yield* Effect.exit(feeder.run), Exit.fail("no such thing" as const))
    }))

  it.effect("33: a source does not begin under a coordinator that is stopping, nor in a run that is stopped first", () =>
    Effect.gen(function*() {
      let began = 0
      const source = Effect.sync(() => began++)
      const coordinator = yield* Coordinator.make({ name: "c" })
      yield* coordinator.requestStop()
      yield* coordinator.fork("source", source)
      yield* coordinator.join()
      const feeder = yield* (yield* Feeder.make(Numbers)).set(source)
      const run = yield* Effect.forkChild(feeder.run, { startImmediately: true })
      yield* feeder.stop
      assert.isTrue(Exit.isSuccess(yield* endedNow(run)))
      assert.strictEqual(began, 0)
    }).pipe(Effect.scoped))

  it.effect("36: two feeders that are set one stream each run all of it", () =>
    Effect.gen(function*() {
      const source = Stream.range(0, 7)
      const feeders = yield* Effect.forEach(
        [1, 2],
        () => Effect.flatMap(Feeder.make(Numbers), (made) => made.set(source))
      )
      const runs = yield* Effect.forEach(feeders, (feeder) => Effect.forkChild(feeder.run))
      const taken = yield* Effect.forEach(feeders, (feeder) => feeder.takeUpTo(9), { concurrency: "unbounded" })
      yield* Effect.forEach(runs, Fiber.join)
      assert.deepStrictEqual(taken, [range(8), range(8)])
    }))

  it.effect("37: a second run at once is refused, with an error where the reference says nothing", () =>
    Effect.gen(function*() {
      const { counts, source } = counter(100)
      const feeder = yield* (yield* Feeder.make(Numbers)).set(source)
      yield* Effect.forkChild(feeder.run)
      yield* settled
      const { runs } = counts
      const error = yield* Effect.flip(feeder.run)
      assert.strictEqual(error.reason._tag, "NotRunnable")
      yield* settled
      assert.strictEqual(counts.runs, runs, "nothing was pulled twice")
    }))

  it.effect("39: runners are named, and stragglers among a feeder's fibers are told by name", () =>
    Effect.gen(function*() {
      const coordinator = yield* Coordinator.make({ name: "feeder f", gracePeriod: 0 })
      const release = yield* Deferred.make<void>()
      yield* coordinator.fork("source 1", Effect.onInterrupt(Effect.never, () => Deferred.await(release)))
      yield* settled
      yield* coordinator.requestStop()
      const join = yield* Effect.forkChild(Effect.flip(coordinator.join()))
      yield* pass(0)
      assert.match((yield* Fiber.join(join)).message, /^coordinator feeder f stopped, but 1 fiber .*: source 1;/)
      yield* Deferred.succeed(release, undefined)
    }).pipe(Effect.scoped))
})

describe("what a runner's end does", () => {
  it.effect("only the last source that ends closes the queue, once, and stops nobody", () =>
    Effect.gen(function*() {
      const sources = yield* Effect.forEach(range(3), () => ManualSource.make<number>())
      const made = yield* Feeder.make(Numbers)
      for (const { source } of sources) yield* made.set(source)
      const run = yield* Effect.forkChild(made.run)
      const taken: Array<number> = []
      yield* Effect.forkChild(Effect.forever(Effect.map(made.take, (n) => taken.push(n))))
      for (const [i, { end, push }] of sources.entries()) {
        yield* push(i)
        yield* end
        yield* settled
        assert.strictEqual(hasEnded(run), i === 2, `after the end of source ${i}`)
      }
      assert.deepStrictEqual(taken, range(3))
    }))

  it.effect("a stop closes nothing: what is stored can be taken, and what waits is admitted by the next run", () =>
    Effect.gen(function*() {
      const feeder = yield* (yield* Feeder.make(Numbers)).set(range(10))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* feeder.stop
      yield* Fiber.join(run)
      assert.deepStrictEqual(yield* feeder.takeMany(4), range(4))
      const waiting = yield* Effect.forkChild(feeder.take)
      yield* settled
      assert.isFalse(hasEnded(waiting), "the queue is empty, and open")
      yield* Effect.forkChild(feeder.run)
      assert.strictEqual(yield* Fiber.join(waiting), 4)
      assert.deepStrictEqual(yield* feeder.takeUpTo(9), range(5, 5))
    }))

  it.effect("the end of the feeder's scope closes the queue at once, and keeps what is stored", () =>
    Effect.gen(function*() {
      const feeder = yield* Effect.scoped(Effect.gen(function*() {
        const made = yield* Feeder.make(Numbers)
        const feeder = yield* made.set(range(10))
        yield* Effect.forkChild(feeder.run)
        yield* settled
        return feeder
      }))
      assert.deepStrictEqual(yield* feeder.takeUpTo(9), range(4))
      assert.strictEqual((yield* Effect.flip(feeder.take))._tag, "QueueEnded")
    }))
})
