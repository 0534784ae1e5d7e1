import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { DeviceSpec, FailureTolerator, Feed, Feeder, MemoryDevices, RemoteDevices } from "effect-feeder"
import { FaultyDevices, Ledgers } from "effect-feeder/testing"
import { TestClock } from "effect/testing"
import { greeting, settled } from "../network.ts"

const Numbers = Feed.make("numbers", { element: Schema.Int })
const faulty = Effect.provide(FaultyDevices.layer.pipe(Layer.provideMerge(MemoryDevices.layer({ feeds: [Numbers] }))))

const device = "/job:consumer/replica:0"
const other = "/job:consumer/replica:1"

const open = (name: string) =>
  Effect.flatMap(RemoteDevices.RemoteDevices, (devices) => devices.open(name, Numbers.info))

const hello = (name: string) => greeting(name, Numbers)

describe("FaultyDevices", () => {
  it.effect("without faults it passes everything", () =>
    Effect.gen(function*() {
      const link = yield* open(device)
      yield* link.send(hello(device))
      assert.strictEqual((yield* link.receive)._tag, "Welcome")
    }).pipe(faulty))

  it.effect("cut breaks what is open to one device, a waiting receive too, and nothing else", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const one = yield* open(device)
      const two = yield* open(other)
      const waiting = yield* Effect.forkChild(Effect.flip(one.receive))
      yield* settled
      yield* faults.cut(device)
      const error = yield* Fiber.join(waiting)
      assert.deepStrictEqual([error.device, error.fate], [device, "unknown"])
      assert.include(error.message, "the test cut the link")
      assert.isTrue(Exit.isFailure(yield* Effect.exit(one.send(hello(device)))))
      yield* two.send(hello(other))
      assert.strictEqual((yield* two.receive)._tag, "Welcome")
      const again = yield* open(device)
      yield* again.send(hello(device))
      assert.strictEqual((yield* again.receive)._tag, "Welcome")
    }).pipe(faulty))

  it.effect("cut without a name breaks all, each by its name and with the fate it is given", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const links = [yield* open(device), yield* open(other)]
      yield* faults.cut(undefined, "gone")
      const errors = yield* Effect.forEach(links, (link) => Effect.flip(link.receive))
      assert.deepStrictEqual(errors.map(({ device, fate }) => [device, fate]), [[device, "gone"], [other, "gone"]])
    }).pipe(faulty))

  it.effect("refuse fails as many opens as it says", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* faults.refuse(DeviceSpec.make({ job: "consumer", replica: 0 }), 2, "gone")
      for (let i = 0; i < 2; i++) {
        const error = yield* Effect.flip(open(device))
        assert.strictEqual(error._tag === "DeviceLost" && error.fate, "gone")
        assert.include(error.message, "the test refused the link")
      }
      yield* open(other)
      yield* open(device)
      assert.deepStrictEqual([yield* faults.attempts(device), yield* faults.open(device)], [3, 1])
      yield* faults.refuse(device, 5)
      yield* faults.refuse(device, 0)
      yield* open(device)
    }).pipe(faulty))

  it.effect("freeze stops frames both ways while the link stays open, thaw lets them go on in order", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const link = yield* open(device)
      yield* link.send(hello(device))
      const received: Array<string> = []
      yield* Effect.forkChild(
        Effect.forever(Effect.map(link.receive, ({ _tag }) => received.push(_tag)), { disableYield: true })
      )
      yield* faults.freeze(device)
      const sending = yield* Effect.forkChild(link.send({ _tag: "Ping", heard: 0 }))
      yield* settled
      assert.deepStrictEqual(received, [])
      assert.isUndefined(sending.pollUnsafe())
      assert.strictEqual(yield* faults.open(device), 1)
      yield* faults.thaw(device)
      yield* settled
      yield* Fiber.join(sending)
      assert.deepStrictEqual(received.slice(0, 2), ["Welcome", "Progress"])
    }).pipe(faulty))

  it.effect("a frozen link can be cut, and loses what was held", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const link = yield* open(device)
      yield* link.send(hello(device))
      yield* faults.freeze(device)
      const sending = yield* Effect.forkChild(Effect.flip(link.send({ _tag: "Ping", heard: 0 })))
      const receiving = yield* Effect.forkChild(Effect.flip(link.receive))
      yield* settled
      yield* faults.cut(device)
      assert.strictEqual((yield* Fiber.join(sending))._tag, "DeviceLost")
      assert.strictEqual((yield* Fiber.join(receiving))._tag, "DeviceLost")
      assert.strictEqual(yield* faults.open(device), 0)
    }).pipe(faulty))

  it.effect("a link that ends with its scope is not counted any more", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      yield* Effect.scoped(Effect.andThen(open(device), Effect.void))
      assert.strictEqual(yield* faults.open(device), 0)
    }).pipe(faulty))
})

const tolerate = FailureTolerator.make({ limit: 100, initDelay: 1, backoffFactor: 1 })
const range = (count: number) => Array.from({ length: count }, (_, i) => i)

describe("scripts", () => {
  it.effect("failAfter breaks the link after exactly as many elements, within a batch too, and once", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const link = yield* open(device)
      yield* link.send(hello(device))
      const first = yield* link.receive
      const heard = first._tag === "Welcome" ? first.progress.report : 0
      const batch = (first: number, values: ReadonlyArray<number>): RemoteDevices.Batch => ({
        _tag: "Batch",
        first,
        heard,
        elementBytes: 8,
        runs: [{ ordinal: first - 1, count: 1, attempt: 1 }, {
          ordinal: first,
          count: values.length - 1,
          attempt: 1
        }],
        chunk: Numbers.codec.fromElements(values)
      })
      yield* faults.failAfter(device, 5, "gone")
      yield* link.send(batch(1, [0, 1, 2]))
      const error = yield* Effect.flip(link.send(batch(4, [3, 4, 5, 6])))
      assert.deepStrictEqual([error.device, error.fate], [device, "gone"])
      assert.include(error.message, "the test broke the link")
      const hosted = yield* Numbers.host
      const take = yield* hosted.begin(5)
      const handed = yield* take({ n: 5, within: undefined })
      assert.deepStrictEqual(
        handed.flatMap(({ chunk, count, index }) => chunk.elements.slice(index, index + count)),
        range(5)
      )
      const again = yield* open(device)
      yield* again.send(hello(device))
      const welcome = yield* again.receive
      assert.strictEqual(welcome._tag === "Welcome" && welcome.progress.accepted, 5)
      yield* again.send(batch(6, [5, 6]))
    }).pipe(faulty))

  it.effect("a run goes on over links that break after so many elements, each element once", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const seen: Array<number> = []
      const consume = Numbers.forEach((n) =>
        Effect.andThen(n % 7 === 0 ? faults.failAfter(device, 3) : Effect.void, Effect.sync(() => seen.push(n)))
      )
      const feed = Feeder.run(Numbers, { source: range(50), devices: [device], tolerate })
      const running = yield* Effect.forkChild(Effect.all([feed, consume], { concurrency: "unbounded" }))
      while (running.pollUnsafe() === undefined) yield* TestClock.adjust(20)
      const [ledger] = yield* Fiber.join(running)
      Ledgers.assertCounts(ledger, { generated: 50, delivered: 50, redelivered: 0 })
      assert.deepStrictEqual(seen, range(50))
      assert.isAtLeast(yield* faults.attempts(device), 3)
    }).pipe(faulty))

  it.effect("stallFor freezes for a time, and a freeze after it stays", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const link = yield* open(device)
      yield* faults.stallFor(device, "1 second")
      const stalled = yield* Effect.forkChild(link.send(hello(device)))
      yield* TestClock.adjust(999)
      assert.isUndefined(stalled.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(stalled)
      yield* faults.stallFor(device, "1 second")
      yield* faults.freeze(device)
      const frozen = yield* Effect.forkChild(link.send({ _tag: "Ping", heard: 0 }))
      yield* TestClock.adjust("2 seconds")
      assert.isUndefined(frozen.pollUnsafe())
      yield* faults.thaw(device)
      yield* Fiber.join(frozen)
    }).pipe(faulty))
})

describe("crash", () => {
  const consume = (f: (n: number, delivery: Feed.Delivery) => Effect.Effect<unknown>) =>
    Effect.provide(Numbers.forEach(f), MemoryDevices.layerHost({ feeds: [Numbers], device }))
  const feed = (source: Iterable<number>) => Feeder.run(Numbers, { source, devices: [device], tolerate })

  it.live("what the device had not finished is given again, marked, and nothing else", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const finished: Array<number> = []
      const given: Array<readonly [number, boolean]> = []
      const worker = consume((n, { redelivered }) =>
        Effect.gen(function*() {
          given.push([n, redelivered])
          if (n === 12 && !redelivered) {
            yield* Effect.yieldNow
            yield* faults.crash(device)
            finished.push(-1)
          }
          finished.push(n)
        })
      )
      const [ledger] = yield* Effect.all([feed(range(20)), Effect.retry(faults.run(device, worker), { times: 1 })], {
        concurrency: "unbounded"
      })
      Ledgers.assertCounts(ledger, { generated: 20, delivered: 20 })
      assert.isAbove(ledger.redelivered, 0)
      assert.deepStrictEqual(finished.toSorted((a, b) => a - b).filter((n, i, all) => n !== all[i - 1]), range(20))
      const twice = given.filter(([n], i) => given.slice(0, i).some(([other]) => other === n))
      assert.include(twice.map(([n]) => n), 12)
      assert.isTrue(twice.every(([, redelivered]) => redelivered))
    }).pipe(Effect.provide(FaultyDevices.layerMemory)))

  it.effect("a device that is down cannot be reached until it runs again; its effect ends with DeviceCrashed", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const running = yield* Effect.forkChild(Effect.flip(faults.run(device, consume(() => Effect.void))))
      yield* settled
      const link = yield* open(device)
      yield* faults.crash(device)
      const crashed = yield* Fiber.join(running)
      assert.strictEqual(crashed.message, `the test crashed device ${device}; retry its effect to start it again`)
      const error = yield* Effect.flip(link.receive)
      assert.strictEqual(error.fate, "gone")
      const refused = yield* Effect.flip(open(device))
      assert.strictEqual(refused._tag === "DeviceLost" && refused.fate, "gone")
      yield* faults.crash(device)
      yield* Effect.forkChild(faults.run(device, consume(() => Effect.void)))
      yield* settled
      yield* open(device)
    }).pipe(Effect.provide(FaultyDevices.layerMemory)))

  it.effect("to crash what never ran, or to run one device twice, is a mistake of the test", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const why = (exit: Exit.Exit<unknown, unknown>) => Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""
      assert.strictEqual(
        why(yield* Effect.exit(faults.crash(device))),
        `Error: device ${device} cannot crash: run its effect with faults.run`
      )
      yield* Effect.forkChild(faults.run(device, Effect.never))
      yield* settled
      assert.strictEqual(
        why(yield* Effect.exit(faults.run(device, Effect.never))),
        `Error: device ${device} runs already; a test runs one effect as a device`
      )
    }).pipe(Effect.provide(FaultyDevices.layerMemory)))
})
