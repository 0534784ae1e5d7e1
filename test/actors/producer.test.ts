import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Option, Schema, Scope } from "effect"
import { Feed, Feeder } from "effect-feeder"
import { KeyValueStore } from "effect/persistence"
import { endedNow, hasEnded, host, Numbers, onNetwork, pass, passUntil, range, recorder, replica } from "../network.ts"

/** A running feeder of a device with a producer whose scope is given. */
const start = (options: Feeder.Options = {}) =>
  Effect.gen(function*() {
    const feeder = yield* Feeder.make(Numbers, options)
    yield* feeder.addRemoteDevice(replica(0))
    const scope = yield* Scope.fork(yield* Effect.scope)
    const producer = yield* Scope.provide(feeder.producer, scope)
    return { feeder, producer, scope, run: yield* Effect.forkChild(feeder.run) }
  })

const close = (scope: Scope.Closeable) => Scope.close(scope, Exit.void)

const failureOf = <A, E>(exit: Exit.Exit<A, E>): E | undefined =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined

describe("a producer", () => {
  it.effect("keeps the feed from ending, and ends it", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      const loop = yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      const { producer, run, scope } = yield* start()
      yield* producer.offer(0)
      yield* producer.offerAll([1, 2])
      yield* pass(60_000)
      assert.deepStrictEqual(seen, [0, 1, 2])
      assert.isFalse(hasEnded(run))
      yield* close(scope)
      assert.deepInclude(yield* passUntil(run), { generated: 3, delivered: 3, lost: 0 })
      assert.deepInclude(yield* Fiber.join(loop), { done: 3 })
    }).pipe(onNetwork))

  it.effect("opened while the feeder runs, it keeps that run from ending", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      const { feeder, producer, run, scope } = yield* start()
      const later = yield* Scope.fork(yield* Effect.scope)
      yield* pass(100)
      const second = yield* Scope.provide(feeder.producer, later)
      yield* producer.offer(0)
      yield* close(scope)
      yield* pass(60_000)
      assert.isFalse(hasEnded(run))
      yield* second.push(1)
      yield* close(later)
      assert.deepInclude(yield* passUntil(run), { generated: 2, delivered: 2 })
      assert.deepStrictEqual(seen, [0, 1])
    }).pipe(onNetwork))

  it.effect("an offer completes when it is admitted, a push when it is acknowledged", () =>
    Effect.gen(function*() {
      const gate = Promise.withResolvers<void>()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.promise(() => gate.promise))))
      const { producer } = yield* start()
      const offered = yield* Effect.forkChild(producer.offer(0))
      const pushed = yield* Effect.forkChild(producer.push(1))
      yield* endedNow(offered)
      yield* pass(1000)
      assert.isFalse(hasEnded(pushed))
      gate.resolve()
      yield* Effect.promise(() => gate.promise)
      assert.deepStrictEqual(yield* Fiber.await(pushed), Exit.void)
    }).pipe(onNetwork))

  it.effect("an offer waits for room, and one that is interrupted meanwhile gives nothing", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Numbers)
      const producer = yield* feeder.producer
      for (const n of range(4)) yield* producer.offer(n)
      const fifth = yield* Effect.forkChild(producer.offer(4))
      const sixth = yield* Effect.forkChild(producer.push(5))
      yield* pass(1000)
      assert.isFalse(hasEnded(fifth))
      yield* Fiber.interrupt(fifth)
      assert.deepStrictEqual(yield* feeder.takeMany(4), [0, 1, 2, 3])
      assert.strictEqual(yield* feeder.take, 5)
      assert.deepStrictEqual(yield* Fiber.await(sixth), Exit.void)
      assert.strictEqual((yield* feeder.ledger).generated, 5)
    }))

  it.effect("many wait for their own elements", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(
        host(replica(0))(Numbers.forEach((n) => n % 3 === 0 ? Feed.reject("a third") : Effect.sleep(n)))
      )
      const { producer } = yield* start()
      const pushes = yield* Effect.forEach(range(60), (n) => Effect.forkChild(Effect.exit(producer.push(n))))
      const exits = yield* passUntil(yield* Effect.forkChild(Fiber.joinAll(pushes)))
      for (const [n, exit] of exits.entries()) {
        if (n % 3 !== 0) assert.deepStrictEqual(exit, Exit.void)
        else assert.deepInclude(failureOf(exit), { reason: "rejected", attempts: 1, cause: "a third" })
      }
    }).pipe(onNetwork))

  it.effect("a push of what never is acknowledged says why", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Feed.retry({ cause: "not yet" }))))
      const { feeder, producer } = yield* start({ maxAttempts: 2, id: "f" })
      const pushed = yield* Effect.forkChild(Effect.flip(producer.push(7)))
      const error = yield* passUntil(pushed)
      assert.strictEqual(
        error.message,
        `an element pushed to feeder f of feed "numbers" is a dead letter (attempts, given 2 times): not yet; ` +
          "see feeder.deadLetters"
      )
      assert.strictEqual((yield* feeder.ledger).dead, 1)
    }).pipe(onNetwork))

  it.effect("a push that overflows fails", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Numbers, { overflow: "dropping" })
      const producer = yield* feeder.producer
      yield* producer.offerAll(range(4))
      assert.deepInclude(yield* Effect.flip(producer.push(4)), { reason: "overflow" })
    }))

  it.effect("bad input fails the offer alone", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      const { producer, run, scope } = yield* start()
      for (
        const give of [
          producer.offer(0.5),
          producer.push(0.5),
          producer.offerAll([1, 0.5]),
          producer.offerAll(range(40).map((n) => n / 2))
        ]
      ) {
        assert.strictEqual((yield* Effect.flip(give))._tag, "ElementInvalid")
      }
      yield* producer.push(2)
      yield* close(scope)
      assert.deepInclude(yield* passUntil(run), { generated: 1, delivered: 1 })
      assert.deepStrictEqual(seen, [2])
    }).pipe(onNetwork))

  it.effect("gives nothing after its scope is closed", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Numbers)
      const scope = yield* Scope.fork(yield* Effect.scope)
      const producer = yield* Scope.provide(feeder.producer, scope)
      yield* close(scope)
      for (const give of [producer.offer(0), producer.push(0), producer.offerAll([0])]) {
        assert.strictEqual((yield* Effect.flip(give))._tag, "QueueClosed")
      }
      assert.strictEqual((yield* feeder.ledger).generated, 0)
    }))

  it.effect("who waits for an acknowledgement is told when the feeder closes", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.fork(yield* Effect.scope)
      const feeder = yield* Scope.provide(Feeder.make(Numbers), scope)
      const producer = yield* Scope.provide(feeder.producer, scope)
      const pushed = yield* Effect.forkChild(Effect.flip(producer.push(0)))
      yield* pass(1000)
      yield* close(scope)
      assert.deepInclude(yield* Fiber.join(pushed), { _tag: "Undelivered", reason: "feeder closed" })
    }))

  it.effect("stopped and run again, the feeder still answers", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      const { feeder, producer, run, scope } = yield* start()
      yield* pass(100)
      yield* feeder.stop
      yield* passUntil(run)
      const pushed = yield* Effect.forkChild(producer.push(0))
      yield* pass(1000)
      assert.isFalse(hasEnded(pushed))
      const second = yield* Effect.forkChild(feeder.run)
      yield* passUntil(pushed)
      yield* close(scope)
      assert.deepInclude(yield* passUntil(second), { generated: 1, delivered: 1 })
      assert.deepStrictEqual(seen, [0])
    }).pipe(onNetwork))

  it.effect("an effectivelyOnce feed needs ids that a producer cannot give", () =>
    Effect.gen(function*() {
      const Once = Feed.make("once", {
        element: Schema.Int,
        capacity: 4,
        acknowledge: "processed",
        delivery: "effectivelyOnce"
      })
      const store = yield* Effect.provide(KeyValueStore.KeyValueStore, KeyValueStore.layerMemory)
      const feeder = yield* Feeder.make(Once, { id: "f", store })
      const error = yield* Effect.flip(feeder.producer)
      assert.strictEqual(error.reason._tag, "IdsNotStable")
    }))
})
