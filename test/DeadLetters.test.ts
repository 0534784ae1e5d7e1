import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, FileSystem, Latch, Layer, Logger, Option, Path, Schema, Scope, Stream } from "effect"
import { Feed, Feeder, MemoryDevices } from "effect-feeder"
import { Ledgers } from "effect-feeder/testing"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import { pass, passUntil, range, replica, settled } from "./network.ts"

const Numbers = Feed.make("numbers", { element: Schema.Int, capacity: 4 })
const AtMostOnce = Feed.make("once", { element: Schema.Int, capacity: 4, delivery: "atMostOnce" })

const inMemory = Effect.provide(MemoryDevices.layer({ feeds: [Numbers, AtMostOnce] }), { local: true })
const device = replica(0)

/** A store of its own, whose writes fail, or die, while a switch is on. */
const makeStore = Effect.gen(function*() {
  const context = yield* Layer.build(Layer.fresh(KeyValueStore.layerMemory))
  const real = yield* Effect.provideContext(KeyValueStore.KeyValueStore, context)
  const state = { isFull: false, isBroken: false }
  const store: KeyValueStore.KeyValueStore = {
    ...real,
    set: (key, value) =>
      Effect.suspend(() => {
        if (state.isBroken) return Effect.die(new Error("no such method"))
        return state.isFull
          ? Effect.fail(new KeyValueStore.KeyValueStoreError({ method: "set", key, message: "no space left" }))
          : real.set(key, value)
      })
  }
  return { state, store }
})

const start = <Name extends string, Del extends "atMostOnce" | "atLeastOnce">(
  feed: Feed.Feed<Name, typeof Schema.Int, "processed", Del>,
  source: Iterable<number>,
  options: Feeder.Options = {}
) =>
  Effect.gen(function*() {
    const made = yield* Feeder.make(feed, { id: "f", ...options })
    const feeder = yield* made.set(source)
    yield* feeder.addRemoteDevice(device)
    const run = yield* Effect.forkChild(feeder.run)
    return { feeder, run }
  })

describe("dead letters", () => {
  it.effect("keep the payload, why it came back, and how often it was given", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* start(Numbers, range(4), { maxAttempts: 3 })
      let times = 0
      yield* Effect.forkChild(Numbers.forEach((n): Effect.Effect<void, Feed.Retry | Feed.Reject> => {
        if (n === 1) return Effect.fail(Feed.retry({ cause: `busy ${++times}` }))
        return n === 3 ? Effect.fail(Feed.reject("never")) : Effect.void
      }))
      const ledger = yield* passUntil(run)
      Ledgers.assertCounts(ledger, { generated: 4, delivered: 2, dead: 2, dropped: 0, lost: 0 })
      const letters = yield* feeder.deadLetters.list
      assert.deepStrictEqual(
        letters.map(({ at: _at, key: _key, ...letter }) => letter).toSorted((a, b) => a.ordinal - b.ordinal),
        [
          {
            feed: "numbers",
            feeder: "f",
            ordinal: 1,
            reason: "attempts",
            attempts: 3,
            causes: ["busy 1", "busy 2", "busy 3"],
            device,
            element: Option.some(1),
            issue: undefined,
            isRedriven: false
          },
          {
            feed: "numbers",
            feeder: "f",
            ordinal: 3,
            reason: "rejected",
            attempts: 1,
            causes: ["never"],
            device,
            element: Option.some(3),
            issue: undefined,
            isRedriven: false
          }
        ]
      )
    }).pipe(inMemory))

  it.effect("are fed again when told to, corrected if so told, and are none any more once acknowledged", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const { feeder, run } = yield* start(Numbers, [1, -2, 3, -4, 5].values(), { ordinals: true })
      // The feed goes on while the letters are looked at.
      const made = yield* feeder.set(Effect.never)
      yield* Effect.forkChild(Numbers.forEach((n, { redelivered }) =>
        n < 0
          ? Effect.fail(Feed.reject("negative"))
          : Effect.sync(() => seen.push(`${n}${redelivered ? " again" : ""}`))
      ))
      void made
      yield* settled
      const letters = yield* feeder.deadLetters.list
      assert.deepStrictEqual(letters.map(({ element }) => Option.getOrThrow(element)), [-2, -4])
      const first = letters[0]!
      assert.strictEqual(yield* feeder.deadLetters.redrive([first.key], { correct: () => 2 }), 1)
      yield* settled
      assert.deepStrictEqual(seen.filter((one) => one.endsWith("again")), ["2 again"])
      assert.deepStrictEqual((yield* feeder.deadLetters.list).map(({ ordinal }) => ordinal), [letters[1]!.ordinal])
      // As it is, it dies again, and the new letter takes the place of the old one.
      assert.strictEqual(yield* feeder.deadLetters.redrive("all"), 1)
      yield* settled
      const again = yield* feeder.deadLetters.list
      assert.deepStrictEqual(again.map(({ attempts, causes, isRedriven }) => [attempts, causes, isRedriven]), [
        [2, ["negative", "negative"], false]
      ])
      yield* Fiber.interrupt(run)
    }).pipe(inMemory))

  it.effect("a correction that is no element changes nothing", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* start(Numbers, [7])
      yield* Effect.forkChild(Numbers.forEach(() => Effect.fail(Feed.reject("seven"))))
      yield* settled
      const error = yield* Effect.flip(feeder.deadLetters.redrive("all", { correct: () => 0.5 }))
      assert.strictEqual(error._tag, "ElementInvalid")
      yield* Fiber.join(run)
      const letters = yield* feeder.deadLetters.list
      assert.deepStrictEqual(letters.map(({ isRedriven }) => isRedriven), [false])
      const ended = yield* Effect.flip(feeder.deadLetters.redrive("all"))
      assert.strictEqual(
        ended.message,
        `feeder f of feed "numbers" has ended and feeds nothing more; make another with the same id and store, ` +
          `and redrive there`
      )
      assert.strictEqual(yield* feeder.deadLetters.discard("all"), 1)
      assert.deepStrictEqual(yield* feeder.deadLetters.list, [])
    }).pipe(inMemory))

  it.effect("a store keeps them for the next life of the feeder", () =>
    Effect.gen(function*() {
      const { store } = yield* makeStore
      const loop = yield* Effect.forkChild(Numbers.forEach(() => Effect.fail(Feed.reject("not today"))))
      const former = yield* Scope.make()
      const { run } = yield* Scope.provide(start(Numbers, [1, 2], { store }), former)
      yield* Fiber.join(run)
      yield* Scope.close(former, Exit.void)
      yield* Fiber.join(loop)
      yield* pass(10)
      const seen: Array<number> = []
      const { feeder, run: second } = yield* start(Numbers, [3], { store })
      yield* settled
      yield* Effect.forkChild(Numbers.forEach((n, { attempt }) => Effect.sync(() => seen.push(n * 10 + attempt))))
      assert.strictEqual(yield* feeder.deadLetters.redrive("all"), 2)
      Ledgers.assertCounts(yield* Fiber.join(second), { generated: 3, delivered: 3, redelivered: 2 })
      assert.deepStrictEqual(seen.toSorted((a, b) => a - b), [12, 22, 31])
      assert.deepStrictEqual(yield* feeder.deadLetters.list, [])
    }).pipe(inMemory))

  it.live("a directory of files keeps them over lives, and one that a crash has torn hides no other", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const directory = yield* fs.makeTempDirectoryScoped()
      /** A life of the feeder, with a store of its own over the same files. */
      const life = <A>(
        source: Iterable<number>,
        f: (feeder: Feeder.Feeder<typeof Schema.Int>) => Effect.Effect<A, never, Feed.Host<"numbers">>
      ) =>
        Effect.scoped(Effect.gen(function*() {
          const store = yield* KeyValueStore.KeyValueStore
          const { feeder, run } = yield* start(Numbers, source, { store })
          const result = yield* f(feeder)
          Ledgers.assertConserved(yield* Fiber.join(run))
          return [result, yield* Effect.orDie(feeder.deadLetters.list)] as const
        })).pipe(
          Effect.provide(KeyValueStore.layerFileSystem(directory), { local: true }),
          Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }), { local: true })
        )
      const refuse = Effect.forkChild(Numbers.forEach((n) => Effect.fail(Feed.reject(`no ${n}`))))
      const [, letters] = yield* life([1, 2, 3], () => refuse)
      assert.deepStrictEqual(letters.map(({ element }) => Option.getOrThrow(element)), [1, 2, 3])
      const file = path.join(directory, encodeURIComponent(letters[1]!.key))
      yield* fs.truncate(file, 20)

      const logged: Array<string> = []
      const log = Logger.layer([Logger.make(({ message }) => void logged.push(String(message)))])
      const seen: Array<readonly [number, boolean]> = []
      const consume = Effect.forkChild(
        Numbers.forEach((n, { redelivered }) => Effect.sync(() => seen.push([n, redelivered])))
      )
      const [found, left] = yield* life([7].values(), (feeder) =>
        Effect.gen(function*() {
          const found = yield* feeder.deadLetters.list
          yield* feeder.deadLetters.redrive("all", { correct: ({ element }) => Option.getOrThrow(element) * 10 })
          yield* consume
          return found
        }).pipe(Effect.orDie)).pipe(Effect.provide(log))
      assert.deepStrictEqual(
        found.map(({ causes, element }) => [Option.getOrThrow(element), causes]),
        [[1, ["no 1"]], [3, ["no 3"]]]
      )
      assert.include(logged, `dead letter ${letters[1]!.key} was written by half, and is passed over`)
      assert.deepStrictEqual(seen.toSorted(([a], [b]) => a - b), [[7, false], [10, true], [30, true]])
      assert.deepStrictEqual(left, [])
      // What is left of it is the user's to look at, and nothing is written over it.
      assert.deepStrictEqual(yield* fs.readDirectory(directory), [path.basename(file)])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("one that dies again is not written over: a crash in the middle leaves it, or the new one", () =>
    Effect.gen(function*() {
      const { store } = yield* makeStore
      const over: Array<string> = []
      const careful: KeyValueStore.KeyValueStore = {
        ...store,
        set: (key, value) =>
          Effect.flatMap(store.has(key), (isThere) => {
            if (isThere) over.push(key)
            return store.set(key, value)
          })
      }
      const { feeder } = yield* start(Numbers, [7], { store: careful })
      yield* feeder.set(Effect.never)
      yield* Effect.forkChild(Numbers.forEach(() => Effect.fail(Feed.reject("seven"))))
      for (let i = 1; i <= 3; i++) {
        yield* settled
        const letters = yield* feeder.deadLetters.list
        assert.deepStrictEqual(letters.map(({ attempts, isRedriven }) => [attempts, isRedriven]), [[i, false]])
        assert.strictEqual(yield* feeder.deadLetters.redrive("all"), 1)
      }
      assert.deepStrictEqual(over, [])
    }).pipe(inMemory))

  it.effect("one that dies again takes no room of another that dies with it", () =>
    Effect.gen(function*() {
      const { store } = yield* makeStore
      const writing = Latch.makeUnsafe(true)
      const slow = {
        ...store,
        set: (key: string, value: string | Uint8Array) => writing.whenOpen(store.set(key, value))
      }
      const { feeder, run } = yield* start(Numbers, [1].values(), { store: slow, maxDeadLetters: 2 })
      const second = Latch.makeUnsafe(false)
      yield* feeder.set(Stream.concat(Stream.fromEffect(Effect.as(second.await, 2)), Stream.never))
      yield* Effect.forkChild(Numbers.forEach(() => Effect.fail(Feed.reject("no"))))
      yield* settled
      writing.closeUnsafe()
      assert.strictEqual(yield* feeder.deadLetters.redrive("all"), 1)
      yield* pass(100)
      second.openUnsafe()
      yield* pass(100)
      assert.strictEqual((yield* feeder.status).deadLetters.pending, 2)
      writing.openUnsafe()
      yield* pass(100)
      const letters = yield* feeder.deadLetters.list
      assert.deepStrictEqual(letters.map(({ element, isRedriven }) => [Option.getOrThrow(element), isRedriven]), [
        [1, false],
        [2, false]
      ])
      assert.isUndefined(run.pollUnsafe(), "the run goes on")
      yield* Fiber.interrupt(run)
    }).pipe(inMemory))

  it.effect("one that is acknowledged is not fed again while the store does not let it be removed", () =>
    Effect.gen(function*() {
      const { store } = yield* makeStore
      const failure = new KeyValueStore.KeyValueStoreError({ method: "remove", message: "read-only" })
      let isReadOnly = true
      const stuck: KeyValueStore.KeyValueStore = {
        ...store,
        remove: (key) => Effect.suspend(() => isReadOnly ? Effect.fail(failure) : store.remove(key))
      }
      const seen: Array<number> = []
      const { feeder } = yield* start(Numbers, [7], { store: stuck })
      yield* feeder.set(Effect.never)
      yield* Effect.forkChild(
        Numbers.forEach((n, { attempt }) =>
          attempt === 1 ? Effect.fail(Feed.reject("first")) : Effect.sync(() => seen.push(n))
        )
      )
      yield* settled
      assert.strictEqual(yield* feeder.deadLetters.redrive("all"), 1)
      yield* settled
      assert.deepStrictEqual(seen, [7])
      assert.strictEqual(yield* feeder.deadLetters.redrive("all"), 0)
      isReadOnly = false
      yield* pass(1000)
      assert.deepStrictEqual([seen, yield* feeder.deadLetters.list], [[7], []])
    }).pipe(inMemory))

  it.effect("feeders that share a store keep theirs apart", () =>
    Effect.gen(function*() {
      const { store } = yield* makeStore
      yield* Effect.forkChild(Numbers.forEach((n) => Effect.fail(Feed.reject(`no ${n}`))))
      const feeders = yield* Effect.forEach([0, 10], (from) =>
        Effect.gen(function*() {
          const feeder = yield* Effect.flatMap(Feeder.make(Numbers, { store }), (made) => made.set(range(4, from)))
          yield* feeder.set(Effect.never)
          yield* feeder.addRemoteDevice(device)
          yield* Effect.forkChild(feeder.run)
          return feeder
        }))
      yield* pass(5000)
      // Without an id of their own they see each other's, and overwrite none.
      for (const { deadLetters } of feeders) {
        const elements = (yield* deadLetters.list).map(({ element }) => Option.getOrThrow(element))
        assert.deepStrictEqual(elements.toSorted((a, b) => a - b), [...range(4), ...range(4, 10)])
      }
      // With ids, and feeds, that only look alike, not even that.
      const nested = Feed.make("numbers/dead", { element: Schema.Int, capacity: 4 })
      const a = yield* Feeder.make(nested, { id: "x", store, overflow: "dropping" })
      yield* Effect.forkChild((yield* a.set(range(5).values())).run)
      yield* settled
      const others = yield* Effect.forEach([["x", "numbers"], ["x/numbers", "dead"]] as const, ([id, name]) =>
        Feeder.make(Feed.make(name, { element: Schema.Int }), { id, store }))
      const counts = yield* Effect.forEach([a, ...others], ({ deadLetters }) =>
        deadLetters.list)
      assert.deepStrictEqual(counts.map((letters) => letters.length), [1, 0, 0])
    }).pipe(inMemory))

  it.effect("a store that dies is tried again like one that fails", () =>
    Effect.gen(function*() {
      const { state, store } = yield* makeStore
      state.isBroken = true
      const { feeder, run } = yield* start(Numbers, [1], { store })
      yield* Effect.forkChild(Numbers.forEach(() => Effect.fail(Feed.reject("no"))))
      yield* settled
      assert.include((yield* feeder.status).deadLetters.lastError, "no such method")
      state.isBroken = false
      yield* pass(1000)
      Ledgers.assertCounts(yield* Fiber.join(run), { generated: 1, delivered: 0, dead: 1 })
    }).pipe(inMemory))

  it.effect("a store that is full loses nothing: they wait, and the feed ends when they are kept", () =>
    Effect.gen(function*() {
      const { state, store } = yield* makeStore
      state.isFull = true
      const { feeder, run } = yield* start(Numbers, range(3), { store })
      yield* Effect.forkChild(Numbers.forEach((n) => n === 1 ? Effect.fail(Feed.reject("one")) : Effect.void))
      yield* pass(5000)
      assert.isUndefined(run.pollUnsafe())
      const { deadLetters, ledger } = yield* feeder.status
      Ledgers.assertCounts(ledger, { generated: 3, delivered: 2, queued: 1, dead: 0 })
      assert.strictEqual(deadLetters.pending, 1)
      assert.match(deadLetters.lastError ?? "", /no space left; look after the store, nothing is lost meanwhile$/)
      state.isFull = false
      Ledgers.assertCounts(yield* passUntil(run), { generated: 3, delivered: 2, dead: 1 })
      assert.isUndefined((yield* feeder.status).deadLetters.lastError)
    }).pipe(inMemory))

  it.effect("more than fit fail the run, and are still the feeder's", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* start(Numbers, range(3), { maxDeadLetters: 1 })
      yield* Effect.forkChild(Numbers.forEach(() => Effect.fail(Feed.reject("no"))))
      const error = yield* Effect.flip(Fiber.join(run))
      assert.match(String(error), /1 dead letters are kept, and no more fit: mend the consumer/)
      Ledgers.assertCounts(yield* feeder.ledger, { generated: 3, delivered: 0, dead: 1, queued: 2, lost: 0 })
    }).pipe(inMemory))
})

describe("what a consumer gives back", () => {
  it.effect("waits, longer each time, but never longer than it is told", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const { run } = yield* start(Numbers, [1], { maxAttempts: 6, backOff: { initial: 100, most: 300 } })
      yield* Effect.forkChild(Numbers.forEach(() =>
        Effect.clockWith((clock) => {
          times.push(clock.currentTimeMillisUnsafe())
          return Effect.fail(Feed.retry())
        })
      ))
      yield* passUntil(run, 400, 10)
      assert.deepStrictEqual(times.slice(1).map((time, i) => time - times[i]!), [100, 200, 300, 300, 300])
    }).pipe(inMemory))
})

describe("at most once", () => {
  it.effect("what is given back is dropped, and kept as a dead letter", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const { feeder, run } = yield* start(AtMostOnce, range(3), { ordinals: true })
      yield* Effect.forkChild(AtMostOnce.forEach((n) =>
        Effect.suspend(() => {
          seen.push(n)
          return n === 1 ? Effect.fail(Feed.retry({ cause: "busy" })) : Effect.void
        })
      ))
      const ledger = yield* Fiber.join(run)
      Ledgers.assertCounts(ledger, { generated: 3, delivered: 2, dropped: 1, dead: 0 })
      assert.deepStrictEqual(ledger.ordinals, {
        queued: [],
        leased: [],
        acknowledged: [[0, 0], [2, 2]],
        dead: [],
        dropped: [[1, 1]]
      })
      assert.deepStrictEqual(seen, [0, 1, 2])
      const [letter] = yield* feeder.deadLetters.list
      assert.deepInclude(letter, { ordinal: 1, reason: "at most once", attempts: 1, causes: ["busy"] })
    }).pipe(inMemory))
})

describe("overflow", () => {
  const fill = (overflow: "dropping" | "sliding") =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers, { id: "f", overflow, ordinals: true })
      const feeder = yield* made.set(range(10).values())
      yield* Effect.forkChild(feeder.run)
      yield* settled
      const taken = yield* feeder.takeUpTo(10)
      const letters = yield* feeder.deadLetters.list
      const ledger = yield* feeder.ledger
      Ledgers.assertCounts(ledger, { generated: 10, delivered: 4, dropped: 6, dead: 0, queued: 0 })
      assert.deepStrictEqual(
        letters.map(({ attempts, reason }) => [reason, attempts]),
        range(6).map(() => ["overflow", 0])
      )
      return { taken, dropped: letters.map(({ element }) => Option.getOrThrow(element)).toSorted((a, b) => a - b) }
    })

  it.effect("dropping: what does not fit is dropped, and kept as dead letters", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* fill("dropping"), { taken: [0, 1, 2, 3], dropped: [4, 5, 6, 7, 8, 9] })
    }))

  it.effect("sliding: the oldest make room", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* fill("sliding"), { taken: [6, 7, 8, 9], dropped: [0, 1, 2, 3, 4, 5] })
    }))

  it.effect("of what is dropped the last are kept, and the feed goes on", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers, { overflow: "sliding", maxDeadLetters: 3 })
      const feeder = yield* made.set(range(20).values())
      yield* Effect.forkChild(feeder.run)
      yield* settled
      assert.deepStrictEqual(yield* feeder.takeUpTo(10), [16, 17, 18, 19])
      const kept = (yield* feeder.deadLetters.list).map(({ element }) => Option.getOrThrow(element))
      assert.deepStrictEqual(kept, [13, 14, 15])
    }))
})
