/**
 * The reference's Feeder: its own test cases, by number, and what its words promise.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Schema, Scope, Stream } from "effect"
import { DeviceSpec, Feed, Feeder, MemoryDevices, RemoteDevices, Tensor } from "effect-feeder"
import { FaultyDevices, Ledgers, ManualSource } from "effect-feeder/testing"
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
  tolerate
} from "../network.ts"

const pair = (i: number) => ({ a: `a${i}`, b: `b${i}` })

/** The source of the reference's cases: three pairs, over and over. */
const pairs = Stream.forever(Stream.fromIterable(range(3).map(pair)))

const sorted = (numbers: ReadonlyArray<number>) => numbers.toSorted((a, b) => a - b)

const started = Effect.fnUntraced(function*(
  source: Iterable<number>,
  devices: ReadonlyArray<string> = []
) {
  const made = yield* Feeder.make(Numbers, { id: "f" })
  const feeder = yield* made.set(source)
  yield* feeder.addRemoteDevices(devices)
  const run = yield* Effect.forkChild(feeder.run)
  yield* settled
  return { feeder, run }
})

describe("the reference's cases", () => {
  it.effect("1: it acts like a queue: pairs come in order and stay together, and the source goes round", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Pairs)
      const feeder = yield* made.set(pairs)
      const run = yield* Effect.forkChild(feeder.run)
      const taken = [yield* feeder.take, yield* feeder.take, yield* feeder.take, yield* feeder.take]
      assert.deepStrictEqual(taken, [pair(0), pair(1), pair(2), pair(0)])
      yield* feeder.stop
      assert.isTrue(Exit.isSuccess(yield* endedNow(run)))
    }))

  it.effect("1: with setMany too, through a queue smaller than the batch", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Pairs)
      const feeder = yield* made.setMany(
        Stream.forever(Stream.succeed({ a: ["a0", "a1", "a2"], b: ["b0", "b1", "b2"] }))
      )
      const run = yield* Effect.forkChild(feeder.run)
      const taken = [yield* feeder.take, yield* feeder.take, yield* feeder.take, yield* feeder.take]
      assert.deepStrictEqual(taken, [pair(0), pair(1), pair(2), pair(0)])
      yield* feeder.stop
      yield* Fiber.join(run)
    }))

  // 2 and 3 differ in the reference by how a consumer finds the queue, by its shared name or by a device's. Here it is
  // always at a device, which may be in the feeder's own process or in another.
  const layers = {
    "2: a feeder feeds a consumer in its own process, through one queue": MemoryDevices.layer({ feeds: [Pairs] }),
    "3: a feeder feeds a consumer at a device of its own": MemoryDevices.layerHost({
      feeds: [Pairs],
      device: "/job:consumer/task:0"
    }).pipe(Layer.provideMerge(MemoryDevices.layerNetwork))
  }
  for (const [name, layer] of Object.entries(layers)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const made = yield* Feeder.make(Pairs)
        const feeder = yield* made.set(pairs)
        yield* feeder.addRemoteDevice("/job:consumer/task:0")
        const run = yield* Effect.forkChild(feeder.run)
        yield* feeder.feeding
        const read = Pairs.elements.pipe(
          Stream.tap(({ acknowledge }) => acknowledge),
          Stream.map(({ value }) => value),
          Stream.take(2),
          Stream.runCollect
        )
        assert.deepStrictEqual(yield* read, [pair(0), pair(1)])
        yield* feeder.stop
        assert.isTrue(Exit.isSuccess(yield* endedNow(run)))
      }).pipe(Effect.provide(layer)))
  }
})

describe("taking in the feeder's own process", () => {
  it.effect("an element of one component is a bare value, not a list of one", () =>
    Effect.gen(function*() {
      const { feeder } = yield* started(range(5))
      assert.strictEqual(yield* feeder.take, 0)
      assert.deepStrictEqual(yield* feeder.takeMany(2), [1, 2])
      assert.deepStrictEqual(yield* Stream.runCollect(feeder.elements), [3, 4])
    }).pipe(onNetwork))

  it.effect("each take is a consumer of its own, and takes one element", () =>
    Effect.gen(function*() {
      const { feeder } = yield* started(range(12))
      const streams = [feeder.elements, feeder.elements, feeder.elements].map((elements) => Stream.runCollect(elements))
      const taken = yield* Effect.all(streams, { concurrency: "unbounded" })
      assert.deepStrictEqual(sorted(taken.flat()), range(12))
      for (const one of taken) assert.deepStrictEqual(one, sorted(one))
    }).pipe(onNetwork))

  it.effect("takeMany waits for exactly n, which may exceed the capacity, and stacks each field", () =>
    Effect.gen(function*() {
      const Points = Feed.make("points", {
        element: Schema.Struct({ at: Tensor.float32([2]), name: Schema.String }),
        capacity: 2
      })
      const manual = yield* ManualSource.make<typeof Points.element.Type>()
      const made = yield* Feeder.make(Points)
      const feeder = yield* made.set(manual.source)
      yield* Effect.forkChild(feeder.run)
      const point = (i: number) => ({ at: Float32Array.of(i, -i), name: `p${i}` })
      const batch = yield* Effect.forkChild(feeder.takeMany(5))
      yield* manual.push(...range(4).map(point))
      yield* settled
      assert.isFalse(hasEnded(batch))
      yield* manual.push(point(4))
      const { at, name } = yield* Fiber.join(batch)
      assert.deepStrictEqual(name, ["p0", "p1", "p2", "p3", "p4"])
      assert.deepStrictEqual([...at], [0, -0, 1, -1, 2, -2, 3, -3, 4, -4])
    }))

  it.effect("a take here competes with the devices, and each element goes to one of them", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      yield* Effect.forkChild(
        host(replica(0))(Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), Effect.sleep(10))))
      )
      const { feeder, run } = yield* started(range(40), [replica(0)])
      const here = yield* Effect.forkChild(
        Stream.runCollect(Stream.tap(feeder.elements, () => Effect.sleep(10)))
      )
      Ledgers.assertCounts(yield* passUntil(run, 1000, 5), { delivered: 40 })
      const taken = yield* passUntil(here)
      assert.isNotEmpty(taken)
      assert.isNotEmpty(seen)
      assert.deepStrictEqual(sorted([...taken, ...seen]), range(40))
    }).pipe(onNetwork))
})

describe("devices", () => {
  it.effect("elements are partitioned among devices, never broadcast, and each sees them in order", () =>
    Effect.gen(function*() {
      const all = range(3).map(() => recorder())
      for (const [at, { note }] of all.entries()) {
        yield* Effect.forkChild(
          host(replica(at))(
            Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), Effect.sleep(10 * (at + 1))))
          )
        )
      }
      const { run } = yield* started(range(100), range(3).map(replica))
      Ledgers.assertCounts(yield* passUntil(run), { delivered: 100, redelivered: 0 })
      assert.deepStrictEqual(sorted(all.flatMap(({ seen }) => seen)), range(100))
      for (const { seen } of all) assert.deepStrictEqual(seen, sorted(seen))
      // By demand: the faster one is given more.
      const [first, second, third] = all.map(({ seen }) => seen.length)
      assert.isTrue(first! > second! && second! > third!, `${first} > ${second} > ${third}`)
    }).pipe(onNetwork))

  it.effect("the capacity is that of the local queue and of each device's, and bounds what is generated ahead", () =>
    Effect.gen(function*() {
      for (const at of [0, 1]) yield* Effect.forkChild(host(replica(at))(Numbers.forEach(() => Effect.never)))
      const { feeder } = yield* started(range(1000), [replica(0), replica(1)])
      yield* pass(1000)
      const { generated, leased, queued } = yield* feeder.ledger
      assert.deepStrictEqual([queued, generated], [Numbers.capacity, queued + leased])
      // What a device's one consumer has in hand comes on top of its queue.
      assert.strictEqual(leased, 2 * (Numbers.capacity + 1))
    }).pipe(onNetwork))

  it.effect("a feeder never closes a device's queue while others may feed it: not at its end, not at a stop", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      const loop = yield* Effect.forkChild(host(replica(0), { feeders: 2 })(Numbers.forEach(note)))
      const manual = yield* ManualSource.make<number>()
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(manual.source)
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* feeder.stop
      yield* Fiber.join(run)
      yield* Feeder.run(Numbers, { source: [1, 2], devices: [replica(0)] })
      assert.isFalse(hasEnded(loop))
      const again = yield* Effect.forkChild(feeder.run)
      yield* manual.push(3)
      yield* manual.end
      yield* passUntil(again)
      yield* passUntil(loop)
      assert.deepStrictEqual(seen, [1, 2, 3])
    }).pipe(onNetwork))

  it.effect("addRemoteReplicas names the replicas of a job, or a feeder's share of them", () =>
    Effect.gen(function*() {
      const devicesOf = (...args: Parameters<typeof DeviceSpec.replicas>) =>
        Effect.gen(function*() {
          const feeder = yield* Feeder.make(Numbers)
          yield* feeder.addRemoteReplicas(...args)
          return (yield* feeder.status).devices.map(({ device }) => device)
        })
      assert.deepStrictEqual(yield* devicesOf("consumer", 2), [replica(0), replica(1)])
      assert.deepStrictEqual(yield* devicesOf("consumer", 3, { feederTask: 1, replicasPerFeeder: 2 }), [
        replica(2),
        replica(0)
      ])
      assert.deepStrictEqual(yield* devicesOf("consumer", 1, { base: "/job:x/task:1/device:cpu:0" }), [
        "/job:consumer/replica:0/task:1/device:cpu:0"
      ])
    }).pipe(onNetwork))

  it.effect("addRemoteDevices adds each in order", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Numbers)
      yield* feeder.addRemoteDevices([replica(1), DeviceSpec.make({ job: "other", task: 3 }), replica(0)])
      const { devices } = yield* feeder.status
      assert.deepStrictEqual(devices.map(({ device }) => device), [replica(1), "/job:other/task:3", replica(0)])
    }).pipe(onNetwork))

  it.effect("one that is added to a feeder that runs without any is fed at once", () =>
    Effect.gen(function*() {
      const { note, seen } = recorder()
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(note)))
      const { feeder, run } = yield* started(range(20))
      assert.isFalse(hasEnded(run))
      yield* feeder.addRemoteDevice(replica(0))
      assert.isTrue(Exit.isSuccess(yield* endedNow(run)))
      assert.deepStrictEqual(seen, range(20))
    }).pipe(onNetwork))

  it.effect("one to which nothing is fed is not opened before the run", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const feeder = yield* (yield* Feeder.make(Numbers)).set(range(3))
      yield* feeder.addRemoteDevice(replica(0))
      yield* pass(10_000)
      assert.strictEqual(yield* faults.attempts(replica(0)), 0)
      assert.strictEqual((yield* feeder.ledger).generated, 0)
    }).pipe(onNetwork))
})

describe("how a run ends", () => {
  it.effect("by a stop from outside: cleanly, at once, with the account", () =>
    Effect.gen(function*() {
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const { feeder, run } = yield* started(range(100), [replica(0), replica(1)])
      yield* feeder.stop
      const exit = yield* endedNow(run)
      assert.isTrue(Exit.isSuccess(exit))
      if (Exit.isSuccess(exit)) Ledgers.assertConserved(exit.value)
    }).pipe(onNetwork))

  it.effect("by a stop while nothing runs: nothing happens, and the next run is not stopped by it", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set([1, 2])
      yield* feeder.stop
      const run = yield* Effect.forkChild(feeder.run)
      assert.deepStrictEqual(yield* feeder.takeMany(2), [1, 2])
      Ledgers.assertCounts(yield* Fiber.join(run), { delivered: 2 })
    }))

  it.effect("by a failing source: with its error, whose links are closed, whatever the budget handles", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never)))
      const manual = yield* ManualSource.make<number, "disk full">()
      const made = yield* Feeder.make(Numbers, { tolerate: tolerate(100) })
      const feeder = yield* made.set(manual.source)
      yield* feeder.addRemoteDevice(replica(0))
      const run = yield* Effect.forkChild(feeder.run)
      yield* manual.push(1)
      yield* settled
      yield* manual.fail("disk full")
      assert.deepStrictEqual(yield* endedNow(run), Exit.fail("disk full" as const))
      assert.strictEqual(yield* faults.open(replica(0)), 0)
      assert.strictEqual(yield* faults.attempts(replica(0)), 1)
    }).pipe(onNetwork))

  it.effect("by devices that fail with what is not tolerated: at once, without a retry", () =>
    Effect.gen(function*() {
      const refused = Layer.succeed(RemoteDevices.RemoteDevices, {
        open: (device) =>
          Effect.fail(new RemoteDevices.FeedRefused({ device, reason: "unknown feed", detail: "it hosts none" }))
      })
      const error = yield* Effect.flip(
        Feeder.run(Numbers, { source: [1], devices: [replica(0)] }).pipe(Effect.provide(refused))
      )
      assert.strictEqual(error.reason._tag, "NoDeviceLeft")
      assert.match(error.message, /has failed after 1 failure\(s\): .* refused the feed \(unknown feed\)/)
    }))

  it.effect("feeding is told once, and stays told after a stop and for the next run", () =>
    Effect.gen(function*() {
      const { feeder, run } = yield* started(range(10))
      yield* feeder.take
      yield* feeder.feeding
      yield* feeder.stop
      yield* Fiber.join(run)
      yield* feeder.feeding
      yield* Effect.forkChild(feeder.run)
      yield* feeder.feeding
    }).pipe(onNetwork))

  it.effect("W16: feeding is waited for over a stop with nothing fed, and no longer than the feeder's scope", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const made = yield* Scope.provide(Feeder.make(Numbers), scope)
      const feeder = yield* made.set(range(3))
      const waiting = yield* Effect.forkChild(feeder.feeding)
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* feeder.stop
      yield* Fiber.join(run)
      yield* settled
      assert.isUndefined(waiting.pollUnsafe())
      const again = yield* Effect.forkChild(feeder.run)
      yield* settled
      yield* Fiber.interrupt(again)
      assert.isUndefined(waiting.pollUnsafe())
      yield* Effect.forkChild(feeder.run)
      yield* feeder.take
      yield* Fiber.join(waiting)
      const other = yield* Scope.provide(Feeder.make(Numbers), scope)
      const left = yield* Effect.forkChild(other.feeding)
      yield* settled
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(left)))
    }))

  it.effect("feeding can be waited for with a timeout", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Numbers)
      const waiting = yield* Effect.forkChild(Effect.timeoutOption(feeder.feeding, "2 seconds"))
      yield* pass(1999)
      assert.isFalse(hasEnded(waiting))
      yield* pass(1)
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "None")
    }))
})
