import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Schema } from "effect"
import { DeviceSpec, Feed, MemoryDevices, RemoteDevices } from "effect-feeder"
import { FaultyDevices } from "effect-feeder/testing"

const Numbers = Feed.make("numbers", { element: Schema.Int })
const settled = Effect.forEach(Array.from({ length: 50 }), () => Effect.yieldNow, { discard: true })
const faulty = Effect.provide(FaultyDevices.layer.pipe(Layer.provideMerge(MemoryDevices.layer({ feeds: [Numbers] }))))

const device = "/job:consumer/replica:0"
const other = "/job:consumer/replica:1"

const open = (name: string) =>
  Effect.flatMap(RemoteDevices.RemoteDevices, (devices) => devices.open(name, Numbers.info))

const hello = (name: string): RemoteDevices.Hello => ({
  _tag: "Hello",
  versions: [1, 1],
  feed: Numbers.name,
  fingerprint: Numbers.info.fingerprint,
  feeder: "f",
  incarnation: 1,
  device: name,
  session: 1,
  keepTo: 0,
  acknowledge: "processed",
  leaseMillis: 1000
})

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

  it.effect("hold stops frames both ways while the link stays open, release lets them go on in order", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const link = yield* open(device)
      yield* link.send(hello(device))
      const received: Array<string> = []
      yield* Effect.forkChild(
        Effect.forever(Effect.map(link.receive, ({ _tag }) => received.push(_tag)), { disableYield: true })
      )
      yield* faults.hold(device)
      const sending = yield* Effect.forkChild(link.send({ _tag: "Ping", heard: 0 }))
      yield* settled
      assert.deepStrictEqual(received, [])
      assert.isUndefined(sending.pollUnsafe())
      assert.strictEqual(yield* faults.open(device), 1)
      yield* faults.release(device)
      yield* settled
      yield* Fiber.join(sending)
      assert.deepStrictEqual(received.slice(0, 2), ["Welcome", "Progress"])
    }).pipe(faulty))

  it.effect("a held link can be cut, and loses what was held", () =>
    Effect.gen(function*() {
      const faults = yield* FaultyDevices.FaultyDevices
      const link = yield* open(device)
      yield* link.send(hello(device))
      yield* faults.hold(device)
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
