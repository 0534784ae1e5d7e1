import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, FileSystem, Latch, Logger, Queue, Random, Scheduler, Schema, Scope, Stream } from "effect"
import { Checkpoint, Feed, Feeder, RemoteDevices, ResumableSource } from "effect-feeder"
import { FaultyDevices } from "effect-feeder/testing"
import { KeyValueStore } from "effect/persistence"
import { TestClock } from "effect/testing"
import { LeastMargin } from "../../src/internal/resuming.ts"
import { noProgress } from "../fixtures/progress.ts"
import { host, Numbers, onNetwork, pass, passUntil, range, recorder, replica, tolerate } from "../network.ts"

// -----------------------------------------------------------------------------
// what lives are played with
// -----------------------------------------------------------------------------

/** What survives a process. A write first leaves half a value there, and after `millis` the whole of it. */
const makeDisk = () => {
  const files = new Map<string, string>()
  /** The store as one process has it. */
  const open = (millis = 0) => {
    const process = {
      isDead: false,
      isFull: false,
      /** It writes, and says that it has failed. */
      isLying: false,
      passing: Latch.makeUnsafe(true),
      begun: 0,
      writes: 0
    }
    const failed = new KeyValueStore.KeyValueStoreError({ method: "set", message: "the disk is full" })
    const store = KeyValueStore.makeStringOnly({
      get: (key) => Effect.sync(() => files.get(key)),
      set: (key, value) =>
        Effect.gen(function*() {
          process.begun++
          yield* process.passing.await
          if (process.isDead) return yield* Effect.never
          files.set(key, value.slice(0, value.length / 2))
          if (process.isFull) return yield* failed
          yield* Effect.sleep(millis)
          if (process.isDead) return yield* Effect.never
          files.set(key, value)
          if (process.isLying) return yield* failed
          process.writes++
        }),
      remove: (key) => Effect.sync(() => files.delete(key)),
      clear: Effect.sync(() => files.clear()),
      size: Effect.sync(() => files.size),
      keys: Effect.sync(() => [...files.keys()])
    })
    return { process, store }
  }
  return { files, open }
}

const keys = { a: "feeder/f/numbers/checkpoint/a", b: "feeder/f/numbers/checkpoint/b" }

/** One life of a feeder, in a scope of its own, which `kill` ends without a last checkpoint. */
const live = (options: {
  readonly store: ReturnType<ReturnType<typeof makeDisk>["open"]>
  readonly sources: ReadonlyArray<ResumableSource.ResumableSource<number>>
  readonly devices: ReadonlyArray<string>
  readonly options?: Feeder.Options
}) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const { process, store } = options.store
    const feeder = yield* Feeder.make(Numbers, {
      id: "f",
      store,
      tolerate: tolerate(1000),
      gracePeriod: "100 millis",
      ...options.options
    }).pipe(Scope.provide(scope))
    for (const source of options.sources) yield* passUntil(yield* Effect.forkChild(feeder.set(source)))
    yield* feeder.addRemoteDevices(options.devices)
    const run = yield* Effect.forkIn(feeder.run, scope)
    const close = Effect.gen(function*() {
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* passUntil(closing)
    })
    const kill = Effect.gen(function*() {
      process.isDead = true
      const faults = yield* FaultyDevices.FaultyDevices
      yield* faults.cut()
      yield* close
    })
    return { feeder, run, kill, close }
  })

/** A source that is read in small pieces, so that a feeder does not have all of it at once. */
const inPieces = (name: string, splits: Readonly<Record<string, ReadonlyArray<number>>>, pieces = 3) =>
  ResumableSource.make(name, {
    splits: Object.keys(splits),
    read: (split, after = -1) =>
      Stream.fromIterable(splits[split]!.map((n, i) => [i * 10, n] as const).filter(([p]) => p > after)).pipe(
        Stream.rechunk(pieces)
      )
  })

const fewReserved = Effect.provideService(LeastMargin, 0)

/** Runs consumers that note each delivery, for every feeder that comes. */
const consumers = (
  devices: ReadonlyArray<string>,
  work: (n: number) => Effect.Effect<unknown> = () => Effect.void,
  concurrency = 1
) =>
  Effect.gen(function*() {
    const { deliveries, note, seen } = recorder()
    for (const device of devices) {
      const consume = Numbers.forEach((n, delivery) => Effect.andThen(note(n, delivery), work(n)), { concurrency })
      yield* Effect.forkChild(host(device, { feeders: "forever" })(consume))
    }
    return {
      seen,
      /** What was handed out again, though not marked. */
      silent: () => seen.filter((n, i) => seen.indexOf(n) < i && !deliveries[i]!.redelivered),
      marked: () => seen.filter((_, i) => deliveries[i]!.redelivered)
    }
  })

const ascending = (numbers: Iterable<number>) => [...new Set(numbers)].toSorted((a, b) => a - b)

// -----------------------------------------------------------------------------
// tests
// -----------------------------------------------------------------------------

/** Lets time pass until something is so. */
const passUntilTrue = (isSo: () => boolean) =>
  Effect.gen(function*() {
    for (let i = 0; i < 400 && !isSo(); i++) yield* pass(10)
    assert.isTrue(isSo(), "it does not come to be so")
  })

const load = (disk: ReturnType<typeof makeDisk>) => Checkpoint.load(disk.open().store, { feeder: "f", feed: "numbers" })

describe("the next life", () => {
  it.effect("goes on where the one before was, with other devices", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      const source = ResumableSource.fromIterable("table", range(100))
      const { marked, seen, silent } = yield* consumers(range(3).map(replica), () => Effect.sleep(10))
      const first = yield* live({ store: disk.open(), sources: [source], devices: [replica(0)] })
      yield* passUntilTrue(() => seen.length > 20)
      yield* first.feeder.checkpoint
      yield* first.kill
      const second = yield* live({ store: disk.open(), sources: [source], devices: [replica(1), replica(2)] })
      const ledger = yield* passUntil(second.run)
      assert.deepStrictEqual(ascending(seen), range(100))
      assert.deepStrictEqual(silent(), [])
      assert.isBelow(ledger.delivered, 90)
      assert.isAbove(marked().length, 0)
      const { checkpoint } = yield* second.feeder.status
      assert.deepStrictEqual([checkpoint?.lastError, checkpoint?.isWaiting], [undefined, false])
      yield* second.close
      const kept = yield* load(disk)
      assert.deepStrictEqual(kept?.splits, { "table/0": { to: 99, above: [], reserved: 0, ended: true } })
      assert.strictEqual(kept?.sequence, checkpoint?.sequence)
    }).pipe(onNetwork))

  it.effect("is not fed what was acknowledged above a hole, and is fed the hole, marked", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      const source = inPieces("table", { 0: range(8) })
      const stuck = yield* consumers([replica(0)], (n) => n % 2 === 0 ? Effect.void : Effect.never, 8)
      const first = yield* live({ store: disk.open(), sources: [source], devices: [replica(0)] })
      yield* passUntilTrue(() => stuck.seen.includes(6))
      yield* pass(2000)
      const { splits } = yield* first.feeder.checkpoint
      const kept = splits["table/0"]
      assert.deepStrictEqual([kept?.to, kept?.above, kept?.ended], [0, [[10, 20], [30, 40], [50, 60]], true])
      yield* first.kill
      const { marked, seen } = yield* consumers([replica(1)])
      const second = yield* live({ store: disk.open(), sources: [source], devices: [replica(1)] })
      yield* passUntil(second.run)
      assert.deepStrictEqual(seen, [1, 3, 5, 7])
      assert.deepStrictEqual(marked(), [1, 3, 5, 7])
      yield* second.close
    }).pipe(onNetwork))

  /** A device that is busy with the first element for 3 seconds, and has others in its queue; a life that fed it. */
  const busyDevice = Effect.gen(function*() {
    const disk = makeDisk()
    const source = inPieces("table", { 0: range(12) })
    let isBusy = false
    const consumed = yield* consumers([replica(0), replica(1)], () =>
      Effect.suspend(() => {
        if (isBusy) return Effect.void
        isBusy = true
        return Effect.sleep(3000)
      }))
    const first = yield* live({ store: disk.open(), sources: [source], devices: [replica(0)] })
    yield* pass(1500)
    yield* first.kill
    assert.deepStrictEqual(consumed.seen, [0])
    const second = (devices: ReadonlyArray<string>) => live({ store: disk.open(), sources: [source], devices })
    return { ...consumed, disk, second }
  })

  it.effect("does not overtake a device of the one before, which may hand out what it has until its lease has ended", () =>
    Effect.gen(function*() {
      const { disk, second, seen, silent } = yield* busyDevice
      const { close, kill } = yield* second([replica(1)])
      yield* pass(1000)
      assert.deepStrictEqual(seen, [0])
      yield* kill
      // Nor does the life after that, which has it from the checkpoint.
      assert.deepStrictEqual((yield* load(disk))?.devices, [replica(1), replica(0)])
      const { run, ...third } = yield* second([replica(1)])
      yield* pass(3000)
      assert.isAbove(seen.length, 1)
      assert.isBelow(seen.length, 12)
      yield* passUntil(run)
      assert.deepStrictEqual([ascending(seen), silent()], [range(12), []])
      yield* third.close
      yield* close
      assert.deepStrictEqual((yield* load(disk))?.devices, [replica(1)])
    }).pipe(onNetwork))

  it.effect("feeds at once when the devices of the one before have answered, or are gone", () =>
    Effect.gen(function*() {
      const { second, seen, silent } = yield* busyDevice
      const { close, run } = yield* second([replica(0), replica(1)])
      yield* pass(100)
      assert.isAbove(seen.length, 1)
      yield* passUntil(run)
      assert.deepStrictEqual([ascending(seen), silent()], [range(12), []])
      yield* close
      const disk = makeDisk()
      const faults = yield* FaultyDevices.FaultyDevices
      const source = inPieces("table", { 0: range(12) })
      const consumed = yield* consumers([replica(3)])
      const running = yield* Effect.forkChild(
        Effect.exit(faults.run(replica(2), host(replica(2))(Numbers.forEach(() => Effect.never))))
      )
      const first = yield* live({ store: disk.open(), sources: [source], devices: [replica(2)] })
      yield* pass(1500)
      yield* first.kill
      yield* faults.crash(replica(2))
      yield* Fiber.join(running)
      const { close: closeLast } = yield* live({
        store: disk.open(),
        sources: [source],
        devices: [replica(2), replica(3)]
      })
      yield* pass(500)
      assert.deepStrictEqual(consumed.seen, range(12))
      yield* closeLast
    }).pipe(onNetwork))

  it.effect("marks nothing that a life which was stopped had not fed", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      const source = inPieces("table", { 0: range(20) })
      const first = yield* live({ store: disk.open(), sources: [source], devices: [] })
      assert.deepStrictEqual(yield* first.feeder.takeMany(3), [0, 1, 2])
      yield* first.close
      // Its queue had taken 4 more, which it might have fed.
      const kept = yield* load(disk)
      assert.deepStrictEqual(kept?.splits, { "table/0": { to: 20, above: [], reserved: 4, ended: false } })
      const { marked, seen } = yield* consumers([replica(0)])
      const second = yield* live({ store: disk.open(), sources: [source], devices: [replica(0)] })
      yield* passUntil(second.run)
      assert.deepStrictEqual(seen, range(17, 3))
      assert.deepStrictEqual(marked(), range(4, 3))
      yield* second.close
    }).pipe(onNetwork))

  it.effect("keeps what it knows of sources that it has not set", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      const [a, b] = [inPieces("a", { 0: range(5) }), inPieces("b", { 0: range(5, 5) })]
      const { seen } = yield* consumers([replica(0)])
      for (const sources of [[a], [b], [a, b]]) {
        const { close, run } = yield* live({ store: disk.open(), sources, devices: [replica(0)] })
        yield* passUntil(run)
        yield* close
      }
      assert.deepStrictEqual(seen, range(10))
    }).pipe(onNetwork))

  it.effect("reads what was added to a source that had ended", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      const { marked, seen } = yield* consumers([replica(0)])
      for (const size of [5, 9]) {
        const sources = [ResumableSource.fromIterable("log", range(size))]
        const { close, run } = yield* live({ store: disk.open(), sources, devices: [replica(0)] })
        yield* passUntil(run)
        yield* close
      }
      assert.deepStrictEqual([seen, marked()], [range(9), []])
    }).pipe(onNetwork))

  it.effect("goes on with each of many splits", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      const splits = Object.fromEntries(range(40).map((split) => [`part-${split}`, range(10, split * 10)]))
      const { seen, silent } = yield* consumers([replica(0), replica(1)], () => Effect.sleep(1))
      for (const until of [50, 200, 300]) {
        const life = yield* live({
          store: disk.open(),
          sources: [inPieces("files", splits)],
          devices: [replica(0), replica(1)],
          options: { checkpointEvery: 5 }
        })
        yield* passUntilTrue(() => ascending(seen).length > until)
        yield* life.kill
      }
      const last = yield* live({ store: disk.open(), sources: [inPieces("files", splits)], devices: [replica(0)] })
      const ledger = yield* passUntil(last.run)
      assert.deepStrictEqual(ascending(seen), range(400))
      assert.deepStrictEqual(silent(), [])
      assert.isBelow(ledger.generated, 250)
      yield* last.close
    }).pipe(onNetwork))

  const Life = Schema.Struct({
    devices: Schema.Literals([1, 2, 3]),
    millis: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 400 })),
    turns: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 30 })),
    end: Schema.Literals(["kill", "kill", "stop"]),
    every: Schema.Literals([1, 20, 150]),
    slow: Schema.Literals([0, 5, 40])
  })
  const Plan = {
    lives: Schema.Array(Life),
    splits: Schema.Literals([1, 2, 5]),
    ops: Schema.Literals([5, 2048]),
    seed: Schema.Natural
  }

  it.effect.prop(
    "lives that end anywhere feed the whole of a source, and nothing again that is not marked",
    Plan,
    ({ lives, ops, seed, splits }) =>
      Effect.gen(function*() {
        const disk = makeDisk()
        const size = 60
        const parts = Object.fromEntries(
          range(splits).map((i) => [`${i}`, range(size).filter((n) => n % splits === i)])
        )
        const sources = [inPieces("parts", parts)]
        const work = () => Effect.flatMap(Random.nextIntBetween(0, 30), (millis) => Effect.sleep(millis))
        const { seen, silent } = yield* consumers(range(3).map(replica), work, 2)
        const acknowledged = new Set<number>()
        for (const plan of lives.slice(0, 6)) {
          const life = yield* live({
            store: disk.open(plan.slow),
            sources,
            devices: range(plan.devices).map(replica),
            options: { checkpointEvery: plan.every }
          })
          for (let left = plan.millis; left > 0; left -= 10) yield* TestClock.adjust(Math.min(10, left))
          for (let i = 0; i < plan.turns; i++) yield* Effect.yieldNow
          yield* plan.end === "kill" ? life.kill : life.close
          // What a checkpoint says to be acknowledged was handed out, and stays acknowledged.
          const kept = yield* load(disk)
          if (kept === undefined) continue
          for (const [split, numbers] of Object.entries(parts)) {
            numbers.forEach((n, i) => {
              const isKept = Checkpoint.isAcknowledged(kept, `parts/${split}`, i * 10)
              if (acknowledged.has(n)) assert.isTrue(isKept, `${n} is acknowledged no more`)
              if (isKept) assert.include(seen, n, `${n} was never handed out`)
              if (isKept) acknowledged.add(n)
            })
          }
        }
        const before = seen.length
        const last = yield* live({ store: disk.open(), sources, devices: [replica(0)] })
        yield* passUntil(last.run)
        yield* last.close
        assert.deepStrictEqual(ascending(seen), range(size))
        assert.deepStrictEqual(silent(), [])
        for (const n of seen.slice(before)) {
          assert.isFalse(acknowledged.has(n), `${n} was fed after it was acknowledged`)
        }
        const { splits: ended = {} } = (yield* load(disk)) ?? {}
        for (const [split, numbers] of Object.entries(parts)) {
          const to = (numbers.length - 1) * 10
          assert.deepStrictEqual(ended[`parts/${split}`], { to, above: [], reserved: 0, ended: true })
        }
      }).pipe(
        onNetwork,
        fewReserved,
        Random.withSeed(`${seed}`),
        Effect.provideService(Scheduler.MaxOpsBeforeYield, ops)
      ),
    { arbitrary: { runs: 25 } }
  )
})

/** What a fiber fails with, as text. */
const messageOf = <A, E extends { readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => error.message)

const table = ResumableSource.fromIterable("table", range(3))

describe("the store", () => {
  /** A life that feeds 3 elements here, and takes a checkpoint of each. */
  const threeCheckpoints = (disk: ReturnType<typeof makeDisk>) =>
    Effect.scoped(Effect.gen(function*() {
      const { store } = disk.open()
      const feeder = yield* Effect.flatMap(Feeder.make(Numbers, { id: "f", store }), (made) => made.set(table))
      yield* Effect.forkChild(feeder.run)
      for (const _ of range(3)) {
        yield* feeder.take
        yield* feeder.checkpoint
      }
    }))

  it.effect("has two copies, of which the newest that is whole counts", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      yield* threeCheckpoints(disk)
      const newest = yield* load(disk)
      const copies = [...disk.files]
      assert.deepStrictEqual(copies.map(([key]) => key), [keys.a, keys.b])
      const last = copies.findIndex(([, text]) => text.includes(`"sequence":${newest?.sequence},`))
      const [key, text] = copies[last]!
      // However little of it was written, or whatever bit of it is wrong.
      for (const damaged of [...range(text.length).map((n) => text.slice(0, n)), text.replace("1", "2"), `${text}\n`]) {
        disk.files.set(key, damaged)
        assert.strictEqual((yield* load(disk))?.sequence, newest!.sequence - 1)
      }
      const other = copies[1 - last]![0]
      disk.files.set(other, "")
      const { store } = disk.open()
      const failed = yield* messageOf(
        Effect.flatMap(Feeder.make(Numbers, { id: "f", store }), (made) => made.set(table))
      )
      const says =
        "checkpoint feeder/f/numbers/checkpoint is damaged: copy \"a\" is not whole, copy \"b\" is not whole; " +
        "bring back one of its copies, or remove both to read the sources from their beginning"
      assert.strictEqual(failed, `feeder f of feed "numbers": ${says}`)
      disk.files.delete(keys.a)
      assert.include(yield* messageOf(load(disk)), "copy \"a\" is missing, copy \"b\" is not whole")
    }))

  it.live("may be a directory of files", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped()
      for (const taken of [[0, 1], [2]]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const store = yield* KeyValueStore.KeyValueStore
          const feeder = yield* Effect.flatMap(Feeder.make(Numbers, { id: "a/b", store }), (made) => made.set(table))
          yield* Effect.forkChild(feeder.run)
          assert.deepStrictEqual(yield* feeder.takeMany(taken.length), taken)
        })).pipe(Effect.provide(KeyValueStore.layerFileSystem(directory), { local: true }))
      }
      const key = encodeURIComponent("feeder/a%2Fb/numbers/checkpoint/")
      assert.deepStrictEqual((yield* fs.readDirectory(directory)).toSorted(), [`${key}a`, `${key}b`])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("counts as empty if the first checkpoint was cut off, for nothing was fed before it", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      disk.files.set(keys.a, "effect-feeder chec")
      assert.isUndefined(yield* load(disk))
      yield* threeCheckpoints(disk)
      assert.strictEqual((yield* load(disk))?.splits["table/0"]?.to, 2)
    }))

  it.effect("may fail until what is reserved is used up, then the sources wait for it", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      const { process, store } = disk.open()
      const logged: Array<string> = []
      const source = inPieces("table", { 0: range(1000) })
      yield* Effect.gen(function*() {
        const options = { id: "f", store, checkpointEvery: 50 }
        const feeder = yield* Effect.flatMap(Feeder.make(Numbers, options), (made) => made.set(source))
        yield* Effect.forkChild(feeder.run)
        assert.strictEqual(yield* feeder.take, 0)
        yield* pass(100)
        assert.deepInclude((yield* feeder.status).checkpoint, { isWaiting: false, lastError: undefined })
        process.isFull = true
        const reserved = (yield* load(disk))!.splits["table/0"]!.reserved
        let taken = 1
        const taking = yield* Effect.forkChild(
          Effect.forever(Effect.tap(feeder.take, () => Effect.sync(() => taken++)))
        )
        yield* pass(1000)
        assert.isAbove(taken, 10)
        assert.isAtMost(taken, reserved + 1)
        const says =
          "checkpoint feeder/f/numbers/checkpoint cannot be written: the disk is full; nothing is lost by that, " +
          "and it is tried again"
        assert.deepInclude((yield* feeder.status).checkpoint, { isWaiting: true, lastError: says })
        assert.strictEqual(yield* messageOf(feeder.checkpoint), says)
        yield* pass(1000)
        assert.deepStrictEqual(logged, [says, `split "table/0" waits for a checkpoint to be written: ${says}`])
        process.isFull = false
        yield* pass(100)
        assert.isAbove(taken, reserved + 1)
        assert.deepInclude((yield* feeder.status).checkpoint, { lastError: undefined })
        yield* Fiber.interrupt(taking)
      }).pipe(
        fewReserved,
        Effect.provide(Logger.layer([Logger.make(({ message }) => {
          logged.push(String(message))
        })]))
      )
    }))

  it.effect("has a first checkpoint before anything is fed, in each life", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      for (const first of [0, 2]) {
        const { process, store } = disk.open()
        const scope = yield* Scope.make()
        const made = yield* Scope.provide(Feeder.make(Numbers, { id: "f", store }), scope)
        // The next life cannot claim its id, and goes on without.
        process.isFull = first > 0
        const feeder = yield* made.set(inPieces("table", { 0: range(9) }))
        yield* Effect.forkIn(feeder.run, scope)
        process.isFull = true
        const taken = yield* Effect.forkChild(feeder.takeMany(2))
        yield* pass(5000)
        const { checkpoint, ledger } = yield* feeder.status
        assert.strictEqual(checkpoint?.isWaiting, true)
        assert.strictEqual(ledger.generated, 0)
        process.isFull = false
        yield* pass(5000)
        assert.deepStrictEqual(yield* Fiber.join(taken), range(2, first))
        yield* Scope.close(scope, Exit.void)
      }
    }).pipe(Effect.provide(Logger.layer([]))))

  it.effect("is written again in time, before what is reserved is used up", () =>
    Effect.gen(function*() {
      const { process, store } = makeDisk().open()
      const options = { id: "f", store, checkpointEvery: "1 hour" } as const
      const feeder = yield* Effect.flatMap(Feeder.make(Numbers, options), (made) =>
        made.set(inPieces("table", { 0: range(100) })))
      yield* Effect.forkChild(feeder.run)
      assert.strictEqual(yield* feeder.take, 0)
      process.passing.closeUnsafe()
      assert.strictEqual(process.begun, 1)
      for (const n of range(9, 1)) {
        assert.strictEqual(yield* feeder.take, n)
      }
      assert.strictEqual(process.begun, 2)
      assert.isFalse((yield* feeder.status).checkpoint?.isWaiting)
      process.passing.openUnsafe()
    }).pipe(fewReserved))

  it.effect("knows of a device before it is fed, so that the next life does", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      const { seen } = yield* consumers([replica(0)])
      const store = disk.open()
      const { close, feeder, run } = yield* live({ store, sources: [inPieces("table", { 0: range(9) })], devices: [] })
      yield* pass(1500)
      assert.strictEqual((yield* feeder.ledger).queued, 4)
      store.process.passing.closeUnsafe()
      yield* feeder.addRemoteDevice(replica(0))
      yield* pass(1500)
      assert.deepStrictEqual(seen, [])
      store.process.passing.openUnsafe()
      yield* passUntil(run)
      assert.deepStrictEqual(seen, range(9))
      assert.deepStrictEqual((yield* load(disk))?.devices, [replica(0)])
      yield* close
    }).pipe(onNetwork, Effect.provide(Logger.layer([]))))

  it.effect("may have what it says it has not, so that the lower reservation counts until it has another", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      const { process, store } = disk.open()
      const feeder = yield* Effect.flatMap(
        Feeder.make(Numbers, { id: "f", store }),
        (made) => made.set(inPieces("table", { 0: range(100) }))
      )
      yield* Effect.forkChild(feeder.run)
      assert.deepStrictEqual(yield* feeder.takeMany(3), range(3))
      yield* pass(2000)
      process.isLying = true
      yield* feeder.stop
      yield* pass(10)
      const { reserved, to } = (yield* load(disk))!.splits["table/0"]!
      assert.deepStrictEqual([to, reserved], [20, 4])
      yield* Effect.forkChild(feeder.run)
      assert.deepStrictEqual(yield* feeder.takeMany(4), range(4, 3))
      const more = yield* Effect.forkChild(feeder.take)
      process.passing.closeUnsafe()
      yield* pass(5000)
      assert.isUndefined(more.pollUnsafe())
      process.isLying = false
      process.passing.openUnsafe()
      yield* pass(5000)
      assert.strictEqual(yield* Fiber.join(more), 7)
    }).pipe(Effect.provide(Logger.layer([]))))

  it.effect("that was not written when a run was stopped is written when it runs again", () =>
    Effect.gen(function*() {
      const { process, store } = makeDisk().open()
      const feeder = yield* Effect.flatMap(Feeder.make(Numbers, { id: "f", store }), (made) =>
        made.set(inPieces("table", { 0: range(100) })))
      yield* Effect.forkChild(feeder.run)
      assert.deepStrictEqual(yield* feeder.takeMany(3), range(3))
      yield* pass(2000)
      process.isFull = true
      yield* feeder.stop
      yield* pass(10)
      process.isFull = false
      yield* Effect.forkChild(feeder.run)
      yield* pass(5000)
      assert.deepStrictEqual(yield* feeder.takeMany(20), range(20, 3))
    }).pipe(Effect.provide(Logger.layer([]))))

  it.effect("that hangs delays an end by the grace period at most", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      const { process, store } = disk.open()
      const options = { id: "f", store, gracePeriod: "3 seconds" } as const
      const feeder = yield* Effect.flatMap(Feeder.make(Numbers, options), (made) => made.set(table))
      const run = yield* Effect.forkChild(feeder.run)
      yield* feeder.take
      process.passing.closeUnsafe()
      yield* feeder.takeMany(2)
      yield* pass(2900)
      assert.isUndefined(run.pollUnsafe())
      yield* pass(200)
      assert.deepStrictEqual((yield* Fiber.join(run)).delivered, 3)
      process.passing.openUnsafe()
    }))

  it.effect("is asked for nothing while nothing changes", () =>
    Effect.gen(function*() {
      const { process, store } = makeDisk().open()
      const feeder = yield* Effect.flatMap(Feeder.make(Numbers, { id: "f", store }), (made) => made.set(table))
      yield* Effect.forkChild(feeder.run)
      yield* feeder.take
      yield* pass(5000)
      const { writes } = process
      yield* pass(60_000)
      assert.strictEqual(process.writes, writes)
      yield* feeder.take
      yield* pass(5000)
      assert.strictEqual(process.writes, writes + 1)
    }))

  it.effect("belongs to the newest of two feeders with one id", () =>
    Effect.gen(function*() {
      const disk = makeDisk()
      const source = inPieces("table", { 0: range(100) })
      const set = Effect.gen(function*() {
        const options = { id: "f", store: disk.open().store }
        return yield* Effect.flatMap(Feeder.make(Numbers, options), (made) => made.set(source))
      })
      const first = yield* set
      const run = yield* Effect.forkChild(Effect.exit(first.run))
      assert.deepStrictEqual(yield* first.takeMany(3), [0, 1, 2])
      yield* first.checkpoint
      yield* TestClock.adjust(1)
      const second = yield* set
      yield* Effect.forkChild(second.run)
      assert.deepStrictEqual(yield* second.takeMany(3), [3, 4, 5])
      yield* first.takeMany(2)
      assert.include(
        yield* messageOf(first.checkpoint),
        "checkpoint feeder/f/numbers/checkpoint was written by another feeder of this id: sequence"
      )
      yield* pass(10)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(run)))
      yield* second.checkpoint
      assert.strictEqual((yield* load(disk))?.splits["table/0"]?.to, 50)
    }))
})

describe("what cannot be resumed is refused", () => {
  const { store } = makeDisk().open()
  const Once = Feed.make("once", { element: Schema.Int, delivery: "atMostOnce" })
  const Effectively = Feed.make("effectively", { element: Schema.Int, delivery: "effectivelyOnce" })

  it.effect("a source, without a fixed id", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Numbers, { store })
      const failed = yield* Effect.flip(feeder.set(table))
      assert.strictEqual(
        failed.reason.message,
        "source \"table\" cannot be resumed: the feeder's id is random, and its next life would not find what this one " +
          "keeps; give it a fixed `id`, or no `store`"
      )
      assert.strictEqual(
        yield* messageOf(feeder.checkpoint),
        `checkpoint feeder/${feeder.id}/numbers/checkpoint is not taken: the feeder has no ResumableSource; give the ` +
          "feeder an `id`, a `store` and a ResumableSource"
      )
      // Another source is as welcome as without a store.
      yield* feeder.set([1])
      assert.isUndefined((yield* feeder.status).checkpoint)
    }))

  it.effect("a source of an atMostOnce feed", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Once, { id: "f", store })
      assert.include(
        yield* messageOf(feeder.set(table)),
        "source \"table\" cannot be resumed on an atMostOnce feed: a checkpoint would have to be written before each " +
          "element is sent; give the feed another delivery, or the feeder no `store`"
      )
      yield* (yield* Feeder.make(Once, { id: "f" })).set(table)
    }))

  it.effect("a second source of one name", () =>
    Effect.gen(function*() {
      const feeder = yield* Feeder.make(Numbers, { id: "f", store: makeDisk().open().store })
      yield* feeder.set(ResumableSource.make<number>("a", { splits: ["b/c"], read: () => Stream.empty }))
      for (const [name, splits] of [["a", ["d"]], ["a/b", ["c"]]] as const) {
        assert.include(
          yield* messageOf(feeder.set(ResumableSource.make<number>(name, { splits, read: () => Stream.empty }))),
          `source "${name}" has the name of another source of the feeder, or of one of its splits; give each its own`
        )
      }
    }))

  it.effect("an effectivelyOnce feed whose ids would not outlive the feeder", () =>
    Effect.gen(function*() {
      const says = "on an effectivelyOnce feed each element needs an id that outlives the feeder: give the feed " +
        "`identify`, or the feeder an `id` and a `store`, and feed it ResumableSources"
      for (const options of [{}, { id: "f" }, { store }]) {
        assert.include(yield* messageOf(Feeder.make(Effectively, options)), says)
      }
      const feeder = yield* Feeder.make(Effectively, { id: "f", store: makeDisk().open().store })
      for (const refused of [feeder.set([1, 2]), feeder.setMany([[1, 2]])]) {
        assert.strictEqual(
          yield* messageOf(refused),
          "feeder f of feed \"effectively\": source 1 gives its elements no ids that outlive the feeder, and the feed is " +
            "effectivelyOnce: give the feed `identify`, or make it a ResumableSource"
        )
      }
      yield* feeder.set(table)
      const Identified = Feed.make("identified", {
        element: Schema.Int,
        delivery: "effectivelyOnce",
        identify: (n) => `${n}`
      })
      yield* (yield* Feeder.make(Identified)).set([1, 2])
    }))

  it.effect("a position that does not come after the one before it, when what came before is fed", () =>
    Effect.gen(function*() {
      const positions = (...all: ReadonlyArray<number>) =>
        ResumableSource.make("log", { read: () => Stream.fromIterable(all.map((p) => [p, p] as const)) })
      const disk = makeDisk()
      const messages: Array<string> = []
      for (const all of [[3, 4, 4], [5, 2], [4], [6, 6.5], [NaN]]) {
        const options = { id: "f", store: disk.open().store }
        const feeder = yield* Effect.flatMap(Feeder.make(Numbers, options), (made) => made.set(positions(...all)))
        const run = yield* Effect.forkChild(Effect.flip(feeder.run))
        for (const p of all.slice(0, -1)) assert.strictEqual(yield* feeder.take, p)
        const { reason } = yield* Fiber.join(run)
        messages.push(reason.message.slice(0, reason.message.indexOf(";")))
        yield* feeder.checkpoint
        yield* TestClock.adjust(1)
      }
      assert.deepStrictEqual(messages, [
        "source \"log\", split \"0\": position 4 does not come after 4",
        "source \"log\", split \"0\": position 2 does not come after 5",
        "source \"log\", split \"0\": position 4 does not come after 5",
        "source \"log\", split \"0\": position 6.5 is no safe integer",
        "source \"log\", split \"0\": position NaN is no safe integer"
      ])
    }))
})

describe("the ids of an effectivelyOnce feed", () => {
  it.effect("are the positions of its elements, the same in each life", () =>
    Effect.gen(function*() {
      const Effectively = Feed.make("effectively", { element: Schema.Int, delivery: "effectivelyOnce" })
      const disk = makeDisk()
      const ids: Array<ReadonlyArray<string> | undefined> = []
      const deaf = RemoteDevices.RemoteDevices.of({
        open: () =>
          Effect.map(Queue.unbounded<RemoteDevices.DeviceFrame>(), (frames) => ({
            receive: Queue.take(frames),
            send: (frame) =>
              Effect.sync(() => {
                if (frame._tag === "Batch") ids.push(frame.ids)
                if (frame._tag === "Hello") Queue.offerUnsafe(frames, welcome)
              })
          }))
      })
      for (const _ of range(2)) {
        const scope = yield* Scope.make()
        const feeder = yield* Effect.flatMap(
          Feeder.make(Effectively, { id: "f", store: disk.open().store }),
          (made) => made.set(inPieces("rows", { x: [5, 6, 7] }))
        ).pipe(Scope.provide(scope))
        yield* Effect.provideService(feeder.addRemoteDevice(replica(0)), RemoteDevices.RemoteDevices, deaf)
        yield* Effect.forkIn(feeder.run, scope)
        yield* pass(10)
        yield* passUntil(yield* Effect.forkChild(Scope.close(scope, Exit.void)))
      }
      assert.deepStrictEqual(ids.flat(), [...positionIds, ...positionIds])
    }))
})

const positionIds = ["f/rows/x@0", "f/rows/x@10", "f/rows/x@20"]

const welcome: RemoteDevices.Welcome = {
  _tag: "Welcome",
  version: 2,
  device: "d",
  durable: false,
  capacity: 10,
  limits: { frameBytes: 1000, elements: 100 },
  progress: { ...noProgress, creditTo: 10, creditBytesTo: 1000 }
}
