import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Scheduler, Schema, Scope, Stream } from "effect"
import { Feed, Feeder, Tensor } from "effect-feeder"
import { ManualSource } from "effect-feeder/testing"
import { TestClock } from "effect/testing"
import { chance } from "../chance.ts"
import { Numbers, range, settled } from "../network.ts"

const Digits = Feed.make("digits", {
  element: Schema.Struct({ image: Tensor.float32([2]), label: Tensor.int32([]) }),
  capacity: 4
})

class Broken extends Schema.TaggedError<Broken>()("Broken", { at: Schema.Int }) {}
class Start extends Context.Service<Start, number>()("test/Start") {}

/** An effect that gives 0, 1, … and then ends. */
const counter = (count: number): Effect.Effect<number, Cause.Done> => {
  let next = 0
  return Effect.suspend(() => next < count ? Effect.succeed(next++) : Cause.done())
}

async function* slowly(count: number): AsyncGenerator<number> {
  for (let i = 0; i < count; i++) yield i
}

function* generate(count: number, onReturn: () => void = () => {}): Generator<number> {
  try {
    for (let i = 0; i < count; i++) yield i
  } finally {
    onReturn()
  }
}

/** Runs a feeder and takes everything it gives in its own process. */
const collect = <E>(feeder: Feeder.Feeder<typeof Schema.Int, E>) =>
  Effect.map(
    Effect.all([Stream.runCollect(feeder.elements), feeder.run], { concurrency: "unbounded" }),
    ([elements, ledger]) => {
      assert.strictEqual(ledger.delivered, elements.length)
      assert.strictEqual(ledger.lost, 0)
      return elements
    }
  )

describe("sources", () => {
  it.effect("an effect is run again and again until it ends with Done", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      assert.deepStrictEqual(yield* collect(yield* made.set(counter(10))), range(10))
    }))

  it.effect("a stream gives its elements", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      assert.deepStrictEqual(yield* collect(yield* made.set(Stream.range(0, 9))), range(10))
    }))

  it.effect("an iterable gives its elements", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      assert.deepStrictEqual(yield* collect(yield* made.set(new Set(range(10)))), range(10))
    }))

  it.effect("an async iterable gives its elements", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      assert.deepStrictEqual(yield* collect(yield* made.set(slowly(10))), range(10))
    }))

  it.effect("an empty source of each kind ends the run at once", () =>
    Effect.gen(function*() {
      for (const source of [Effect.asSome(Cause.done()), [], Stream.empty, slowly(0)]) {
        const made = yield* Feeder.make(Numbers)
        const feeder = yield* made.set(source as Iterable<number>)
        const ledger = yield* feeder.run
        assert.strictEqual(ledger.generated, 0)
        assert.deepStrictEqual(yield* Stream.runCollect(feeder.elements), [])
      }
    }))

  it.effect("no source at all ends the run at once", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Numbers)
      assert.strictEqual((yield* feeder.run).generated, 0)
    }))

  it.effect("an effect with a concurrency is run by as many runners at once", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      const count = counter(12)
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(
        Effect.acquireUseRelease(
          Effect.sync(() => {
            most = Math.max(most, ++running)
          }),
          () => Effect.andThen(Effect.sleep(100), count),
          () =>
            Effect.sync(() => {
              running--
            })
        ),
        { concurrency: 3 }
      )
      const fiber = yield* Effect.forkChild(collect(feeder))
      yield* settled
      yield* TestClock.adjust(1000)
      assert.deepStrictEqual((yield* Fiber.join(fiber)).toSorted((a, b) => a - b), range(12))
      assert.strictEqual(most, 3)
      assert.strictEqual(running, 0)
    }))

  it.effect("several sources are mixed, each in its order", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      yield* made.set(range(20))
      yield* made.set(Stream.range(100, 119))
      const elements = yield* collect(yield* made.set(slowly(0)))
      assert.deepStrictEqual(elements.filter((n) => n < 100), range(20))
      assert.deepStrictEqual(elements.filter((n) => n >= 100), range(20).map((n) => n + 100))
    }))

  it.effect("setMany takes stacked batches apart", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Digits)
      const feeder = yield* made.setMany([
        { image: Float32Array.of(0, 1, 2, 3), label: Int32Array.of(0, 1) },
        { image: Float32Array.of(4, 5), label: Int32Array.of(2) }
      ])
      yield* Effect.forkChild(feeder.run)
      const first = yield* feeder.take
      assert.deepStrictEqual([[...first.image], first.label], [[0, 1], 0])
      const rest = yield* feeder.takeUpTo(9)
      assert.deepStrictEqual([[...rest.image], [...rest.label]], [[2, 3, 4, 5], [1, 2]])
    }))

  it.effect("a source's services are those of where it was set", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      const source = Stream.fromIterableEffect(Effect.map(Start, (start) => [start, start + 1]))
      const one = yield* made.set(source).pipe(Effect.provideService(Start, 7))
      const two = yield* one.set(Stream.runCollect(source).pipe(Effect.andThen(Cause.done()))).pipe(
        Effect.provideService(Start, 8)
      )
      assert.deepStrictEqual(yield* collect(two), [7, 8])
    }))

  it.effect("an element that a manual source gives is taken one at a time, as there is room", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number>()
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(manual.source)
      yield* Effect.forkChild(feeder.run)
      yield* manual.push(...range(10))
      yield* settled
      // 4 in the queue and one in the runner's hand.
      assert.strictEqual(yield* manual.pending, 5)
      assert.strictEqual((yield* feeder.ledger).generated, 4)
      yield* feeder.take
      yield* settled
      assert.strictEqual(yield* manual.pending, 4)
    }))
})

describe("sources that fail", () => {
  it.effect("the run fails with the source's own error, and what came before is kept", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number, Broken>()
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(manual.source)
      yield* manual.push(1, 2)
      yield* manual.fail(new Broken({ at: 2 }))
      const error: Feeder.FeedError | Broken = yield* Effect.flip(feeder.run)
      assert.deepStrictEqual(error, new Broken({ at: 2 }))
      assert.strictEqual((yield* feeder.ledger).queued, 2)
      assert.deepStrictEqual([yield* feeder.take, yield* feeder.take], [1, 2])
    }))

  it.effect("a failure of one source stops the others, in a blocked offer too", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number, Broken>()
      const made = yield* Feeder.make(Numbers)
      const one = yield* made.set(range(100))
      const feeder = yield* one.set(manual.source)
      const run = yield* Effect.forkChild(Effect.exit(feeder.run))
      yield* settled
      assert.strictEqual(run.pollUnsafe(), undefined)
      yield* manual.fail(new Broken({ at: 0 }))
      assert.deepStrictEqual(yield* Fiber.join(run), Exit.fail(new Broken({ at: 0 })))
    }))

  it.effect("an effect that failed is run again by the next run", () =>
    Effect.gen(function*() {
      let runs = 0
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(Effect.suspend((): Effect.Effect<number, Broken | Cause.Done> => {
        runs++
        return runs === 2 ? Effect.fail(new Broken({ at: 2 })) : runs < 5 ? Effect.succeed(runs) : Cause.done()
      }))
      assert.deepStrictEqual(yield* Effect.flip(feeder.run), new Broken({ at: 2 }))
      assert.deepStrictEqual(yield* collect(feeder), [1, 3, 4])
    }))

  it.effect("a rejection of an async iterable is an UnknownError", () =>
    Effect.gen(function*() {
      const boom = new Error("boom")
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set({
        [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(boom) })
      })
      const error = yield* Effect.flip(feeder.run)
      assert.isTrue(Cause.isUnknownError(error))
      assert.strictEqual((error as Cause.UnknownError).cause, boom)
    }))

  it.effect("what an iterable gave before it threw is fed", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set((function*() {
        yield 1
        yield 2
        throw new Error("boom")
      })())
      const exit = yield* Effect.exit(feeder.run)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.strictEqual((yield* feeder.ledger).queued, 2)
    }))

  for (const kind of ["iterable", "stream", "effect", "batches"] as const) {
    it.effect(`an invalid element fails the run, by name, and costs no other (${kind})`, () =>
      Effect.gen(function*() {
        const made = yield* Feeder.make(Numbers)
        const given = [0, 1, 2, 3.5, 4, "five", 6, 7] as Array<number>
        const feeder = kind === "iterable"
          ? yield* made.set(given)
          : kind === "stream"
          ? yield* made.set(Stream.fromIterable(given))
          : kind === "batches"
          ? yield* made.setMany([given.slice(0, 3), [3.5], [4], given.slice(5, 6), given.slice(6)])
          : yield* made.set(Effect.suspend(() => given.length > 0 ? Effect.succeed(given.shift()!) : Cause.done()))
        const taken: Array<number> = []
        const taker = yield* Effect.forkChild(
          Stream.runForEach(feeder.elements, (n) => Effect.sync(() => taken.push(n)))
        )
        for (let i = 0; i < 2; i++) {
          const error = yield* Effect.flip(feeder.run) as Effect.Effect<Feeder.FeedError>
          assert.strictEqual(error.reason._tag, "ElementInvalid")
          assert.include(error.message, "numbers")
        }
        assert.strictEqual((yield* feeder.run).delivered, 6)
        yield* Fiber.join(taker)
        assert.deepStrictEqual(taken, [0, 1, 2, 4, 6, 7])
      }))
  }

  it.effect("with validate: \"edges\" the elements of a typed source are not looked at", () =>
    Effect.gen(function*() {
      const Trusting = Feed.make("trusting", { element: Schema.Int, validate: "edges" })
      const made = yield* Feeder.make(Trusting)
      assert.deepStrictEqual(yield* collect(yield* made.set([1.5])), [1.5])
    }))
})

describe("sources that are stopped", () => {
  const sources = {
    effect: () => counter(40),
    "effect in steps": () => {
      const count = counter(40)
      return Effect.andThen(Effect.yieldNow, count)
    },
    iterable: () => range(40),
    generator: () => generate(40),
    stream: () => Stream.range(0, 39),
    "stream with effects": () => Stream.mapEffect(Stream.range(0, 39), (n) => Effect.as(Effect.yieldNow, n)),
    "stream in chunks": () => Stream.rechunk(Stream.range(0, 39), 3),
    "async iterable": () => slowly(40)
  }
  for (const [kind, source] of Object.entries(sources)) {
    it.effect(`stop and run again, at any moment, without loss or repeat: ${kind}`, () =>
      Effect.gen(function*() {
        for (let seed = 1; seed <= 60; seed++) {
          const random = chance(seed)
          yield* Effect.scoped(Effect.gen(function*() {
            const made = yield* Feeder.make(Numbers)
            const feeder = yield* made.set(source())
            const taken: Array<number> = []
            const taker = yield* Effect.forkChild(
              Stream.runForEach(feeder.elements, (n) =>
                Effect.andThen(
                  random.below(3) === 0 ? Effect.yieldNow : Effect.void,
                  Effect.sync(() => taken.push(n))
                ))
            )
            // A scheduler that takes turns after a few operations is interrupted everywhere.
            const run = feeder.run.pipe(
              Effect.provideService(Scheduler.MaxOpsBeforeYield, 4 + random.below(12))
            )
            const turn = kind === "async iterable"
              ? Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
              : Effect.yieldNow
            for (let i = 0; i < 400; i++) {
              const before = taken.length
              const fiber = yield* Effect.forkChild(Effect.exit(run), { startImmediately: true })
              for (let turns = random.below(30); turns > 0; turns--) yield* Effect.yieldNow
              if (kind === "async iterable") yield* turn
              // A run may be stopped before it has begun, and all of them so. Every eighth goes on until it has given
              // something, which makes 400 enough.
              for (let turns = 0; i % 8 === 7 && taken.length === before && fiber.pollUnsafe() === undefined; turns++) {
                assert.isBelow(turns, 1000, `seed ${seed}: run ${i} gives nothing`)
                yield* turn
              }
              if (random.below(2) === 0) yield* Fiber.interrupt(fiber)
              else yield* Effect.andThen(feeder.stop, Fiber.await(fiber))
              if ((yield* feeder.status).hasEnded) break
              assert.isBelow(i, 399, `seed ${seed}: it does not end`)
            }
            yield* Fiber.join(taker)
            assert.deepStrictEqual(taken, range(40), `seed ${seed}`)
          }))
        }
      }))
  }

  it.effect("a stop does not wait for a source, nor interrupt it: the next run has what it gave meanwhile", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const manual = yield* ManualSource.make<number>()
      const scope = yield* Scope.make()
      const made = yield* Scope.provide(Feeder.make(Numbers), scope)
      const feeder = yield* made.set(
        Effect.onInterrupt(
          Effect.andThen(Effect.sync(() => log.push("begun")), manual.source),
          () => Effect.sync(() => log.push("interrupted"))
        )
      )
      for (let i = 0; i < 3; i++) {
        const run = yield* Effect.forkChild(feeder.run)
        yield* settled
        yield* feeder.stop
        yield* Fiber.join(run)
      }
      yield* manual.push(7, 8)
      yield* settled
      assert.deepStrictEqual(log, ["begun"])
      assert.strictEqual(yield* manual.pending, 1)
      yield* Effect.forkChild(feeder.run)
      assert.deepStrictEqual([yield* feeder.take, yield* feeder.take], [7, 8])
      yield* settled
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(log, ["begun", "begun", "begun", "interrupted"])
    }))

  it.effect("a source that failed after a stop fails the next run", () =>
    Effect.gen(function*() {
      const manual = yield* ManualSource.make<number, Broken>()
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(manual.source)
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* feeder.stop
      yield* Fiber.join(run)
      yield* manual.fail(new Broken({ at: 0 }))
      yield* settled
      assert.deepStrictEqual(yield* Effect.flip(feeder.run), new Broken({ at: 0 }))
    }))

  it.effect("closing the feeder's scope ends a run", () =>
    Effect.gen(function*() {
      for (const source of [Effect.never, range(100), Stream.never]) {
        const scope = yield* Scope.make()
        const made = yield* Scope.provide(Feeder.make(Numbers), scope)
        const feeder = yield* made.set(source as Iterable<number>)
        const run = yield* Effect.forkChild(Effect.exit(feeder.run))
        yield* settled
        yield* Scope.close(scope, Exit.void)
        yield* settled
        assert.isDefined(run.pollUnsafe())
      }
    }))

  it.effect("a stream and what it holds last as long as the feeder, not as long as a run", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const scope = yield* Scope.make()
      const made = yield* Scope.provide(Feeder.make(Numbers), scope)
      yield* made.set(generate(100, () => log.push("generator")))
      yield* made.set({
        [Symbol.asyncIterator]: () => ({
          next: () => new Promise<never>(() => {}),
          return: () => {
            log.push("async iterator")
            return Promise.resolve({ done: true, value: undefined })
          }
        })
      })
      const feeder = yield* made.set(
        Stream.ensuring(
          Stream.fromEffectRepeat(Effect.onInterrupt(Effect.never, () => Effect.sync(() => log.push("pull")))),
          Effect.sync(() => log.push("stream"))
        )
      )
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* feeder.stop
      yield* Fiber.join(run)
      assert.deepStrictEqual(log, [])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(log.toSorted(), ["async iterator", "generator", "pull", "stream"])
    }))

  it.effect("what a stream was asked for before a stop is not asked for twice", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      let asked = 0
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(
        Stream.mapEffect(Stream.make(1, 2), (n) => {
          asked++
          return Effect.as(Deferred.await(gate), n)
        })
      )
      for (let i = 0; i < 3; i++) {
        const run = yield* Effect.forkChild(feeder.run)
        yield* settled
        yield* feeder.stop
        yield* Fiber.join(run)
      }
      assert.strictEqual(asked, 1)
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* collect(feeder), [1, 2])
      assert.strictEqual(asked, 2)
    }))
})
