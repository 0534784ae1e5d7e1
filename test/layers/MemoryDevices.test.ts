import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Schema, Scope, Stream } from "effect"
import { DeviceSpec, Feed, Feeder, MemoryDevices, RemoteDevices } from "effect-feeder"
import { greeting, Numbers, range, replica, settled } from "../network.ts"

const Words = Feed.make("words", { element: Schema.Struct({ word: Schema.String }), capacity: 4 })

const onNetwork = Effect.provide(MemoryDevices.layerNetwork)

const hello = greeting(replica(0))

describe("hosts", () => {
  it.effect("two under one name are refused, and both are named", () =>
    Effect.gen(function*() {
      const both = Layer.mergeAll(
        MemoryDevices.layerHost({ feeds: [Numbers], device: replica(0) }),
        MemoryDevices.layerHost({ feeds: [Words], device: replica(0) })
      )
      const error = yield* Effect.flip(Effect.scoped(Layer.build(both)))
      assert.strictEqual(error._tag, "DeviceNameTaken")
      if (error._tag !== "DeviceNameTaken") return
      assert.notStrictEqual(error.hosts[0], error.hosts[1])
      assert.strictEqual(
        error.message,
        `two hosts are named ${replica(0)}: ${error.hosts[0]} and ${error.hosts[1]}; give each its own name`
      )
    }).pipe(onNetwork))

  it.effect("a name is free again when its host has ended", () =>
    Effect.gen(function*() {
      const host = Layer.build(MemoryDevices.layerHost({ feeds: [Numbers], device: replica(0) }))
      yield* Effect.scoped(host)
      yield* Effect.scoped(host)
    }).pipe(onNetwork))

  it.effect("one with a name is preferred to one that answers to any", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const consume = (name: string, device?: string) =>
        Effect.forkChild(
          Effect.provide(
            Numbers.forEach(() => Effect.sync(() => seen.push(name))),
            MemoryDevices.layerHost({ feeds: [Numbers], device })
          )
        )
      yield* consume("any")
      yield* consume("named", replica(0))
      yield* settled
      for (const index of [0, 1]) yield* Feeder.run(Numbers, { source: [1, 2], devices: [replica(index)] })
      assert.deepStrictEqual(seen, ["named", "named", "any", "any"])
    }).pipe(onNetwork))

  it.effect("of several that are fed side by side none is given a mark without a failure, whatever their frames are cut at", () =>
    Effect.gen(function*() {
      const Many = Feed.make("many", { element: Schema.Int, capacity: 256, acknowledge: "processed" })
      const names = [0, 1, 2].map(replica)
      const marked: Array<number> = []
      const consume = (device: string) =>
        Many.forEachBatch(48, (_, { deliveries }) =>
          Effect.andThen(
            Effect.sync(() => {
              for (const { ordinal, redelivered } of deliveries) if (redelivered) marked.push(ordinal)
            }),
            Effect.yieldNow
          )).pipe(Effect.provide(MemoryDevices.layerHost({ feeds: [Many], device })), Effect.forkChild)
      for (const name of names) yield* consume(name)
      // Chunks of a length at which no share of a device ends.
      const source = Stream.rechunk(Stream.range(1, 20_000), 100)
      const ledger = yield* Feeder.run(Many, { source, devices: names })
      assert.deepInclude(ledger, { generated: 20_000, delivered: 20_000, redelivered: 0 })
      assert.deepStrictEqual(marked, [])
    }).pipe(onNetwork))

  it.effect("several feeds on one host do not mix", () =>
    Effect.gen(function*() {
      const numbers: Array<number> = []
      const words: Array<string> = []
      const all = yield* Effect.all([
        Feeder.run(Numbers, { source: range(20), devices: [replica(0)] }),
        Feeder.run(Words, { source: range(20).map((n) => ({ word: `w${n}` })), devices: [replica(0)] }),
        Numbers.forEach((n) => Effect.sync(() => numbers.push(n))),
        Words.forEach(({ word }) => Effect.sync(() => words.push(word)))
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual(all.slice(0, 2).map((ledger) => "delivered" in ledger && ledger.delivered), [20, 20])
      assert.deepStrictEqual(numbers, range(20))
      assert.deepStrictEqual(words, range(20).map((n) => `w${n}`))
    }).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers, Words] }))))

  it.effect("one that answers to any name is one device per name, and ends when as many feeders have", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const feed = Feeder.run(Numbers, { source: range(40), devices: DeviceSpec.replicas("consumer", 2) })
      const [ledger, consumed] = yield* Effect.all([feed, Numbers.forEach((n) => Effect.sync(() => seen.push(n)))], {
        concurrency: "unbounded"
      })
      assert.strictEqual(ledger.delivered, 40)
      assert.strictEqual(consumed.done, 40)
      assert.deepStrictEqual(seen.toSorted((a, b) => a - b), range(40))
    }).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers], feeders: 2 }))))
})

describe("links", () => {
  it.effect("one to a name that no host has is lost, and its memory gone", () =>
    Effect.gen(function*() {
      const { open } = yield* RemoteDevices.RemoteDevices
      const error = yield* Effect.flip(Effect.scoped(open(replica(0), Numbers.info)))
      assert.strictEqual(error._tag === "DeviceLost" && error.fate, "gone")
      assert.strictEqual(
        error.message,
        `device ${replica(0)} is not reachable: no host of this process has that name; ` +
          `check that its consumer is running and listens there`
      )
    }).pipe(onNetwork))

  it.effect("elements are passed by reference", () =>
    Effect.gen(function*() {
      const source = [{ word: "one" }, { word: "two" }]
      const seen: Array<{ readonly word: string }> = []
      yield* Effect.all([
        Feeder.run(Words, { source, devices: [replica(0)] }),
        Words.forEach((word) => Effect.sync(() => seen.push(word)))
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual(seen, source)
      assert.isTrue(seen.every((word, i) => word === source[i]))
    }).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Words] }))))

  it.effect("law 10: what the schema does not know does not reach a consumer", () =>
    Effect.gen(function*() {
      const read = (n: number): { readonly word: string } => {
        const row = { word: `w${n}`, secret: n }
        return row
      }
      const seen: Array<unknown> = []
      yield* Effect.all([
        Feeder.run(Words, { source: [read(1), read(2)], devices: [replica(0)] }),
        Words.forEach((word) => Effect.sync(() => seen.push(word)))
      ], { concurrency: "unbounded" })
      const made = yield* Feeder.make(Words)
      const feeder = yield* made.set([read(3)])
      yield* Effect.forkChild(feeder.run)
      seen.push(yield* feeder.take)
      assert.deepStrictEqual(seen, [{ word: "w1" }, { word: "w2" }, { word: "w3" }])
    }).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Words] }))))

  it.effect("a link ends with its scope, and is then closed for the device too", () =>
    Effect.gen(function*() {
      const { open } = yield* RemoteDevices.RemoteDevices
      const scope = yield* Scope.make()
      const link = yield* Scope.provide(open(replica(0), Numbers.info), scope)
      yield* link.send(hello)
      const welcome = yield* link.receive
      assert.strictEqual(welcome._tag, "Welcome")
      yield* Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(link.send({ _tag: "Ping", heard: 0 }))
      assert.deepStrictEqual([error.device, error.fate], [replica(0), "unknown"])
      yield* settled
      const drained = yield* Effect.exit(Effect.forever(link.receive))
      assert.isTrue(Exit.isFailure(drained))
    }).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }))))

  it.effect("a host that ends closes its links, after what it has sent", () =>
    Effect.gen(function*() {
      const { open } = yield* RemoteDevices.RemoteDevices
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(MemoryDevices.layerHost({ feeds: [Numbers], device: replica(0) }), scope)
      const link = yield* open(replica(0), Numbers.info)
      yield* link.send(hello)
      yield* settled
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      assert.strictEqual((yield* link.receive)._tag, "Welcome")
      yield* Fiber.join(closing)
      const error = yield* Effect.flip(Effect.forever(link.receive))
      assert.strictEqual(error._tag, "DeviceLost")
      const again = yield* Effect.flip(open(replica(0), Numbers.info))
      assert.strictEqual(again._tag === "DeviceLost" && again.fate, "gone")
    }).pipe(onNetwork))

  it.effect("a consumer's loop that outlives its host can be interrupted", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkScoped(Numbers.forEach(() => Effect.void), { startImmediately: true }).pipe(
        Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }))
      )
      yield* Fiber.interrupt(fiber)
      assert.isDefined(fiber.pollUnsafe())
    }))

  it.effect("two networks know nothing of each other", () =>
    Effect.gen(function*() {
      const elsewhere = Effect.provide(
        Effect.flatMap(RemoteDevices.RemoteDevices, ({ open }) => Effect.scoped(open(replica(0), Numbers.info))),
        MemoryDevices.layerNetwork,
        { local: true }
      )
      yield* Layer.build(MemoryDevices.layerHost({ feeds: [Numbers], device: replica(0) }))
      assert.strictEqual((yield* Effect.flip(elsewhere))._tag, "DeviceLost")
    }).pipe(onNetwork))
})
