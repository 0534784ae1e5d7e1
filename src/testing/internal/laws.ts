/**
 * The laws of feeding, each as an effect that dies with `LawBroken` where it does not hold.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Feeder from "../../actors/Feeder.ts"
import * as FailureTolerator from "../../FailureTolerator.ts"
import type { Delivery } from "../../Feed.ts"
import * as Feed from "../../Feed.ts"
import type { Ledger } from "../../Ledger.ts"
import { DeviceLost, RemoteDevices } from "../../RemoteDevices.ts"
import * as Ledgers from "../Ledgers.ts"
import * as ManualSource from "../ManualSource.ts"
import type { Bench, Kind } from "./lawBench.ts"
import * as Laws from "./lawBench.ts"

const { check, checkSame, range, show } = Laws

type Trial = Effect.Effect<void, unknown, Scope.Scope>

const unbounded = { concurrency: "unbounded" } as const

/** A feeder of a source, with its devices. */
const feederOf = (
  bench: Bench,
  kind: Kind,
  source: Effect.Effect<number, Cause.Done> | Iterable<number>,
  devices: ReadonlyArray<string>,
  options?: Feeder.Options
) =>
  Effect.gen(function*() {
    const made = yield* kind.make(options)
    const feeder = yield* made.set(source)
    yield* Effect.provideService(feeder.addRemoteDevices(devices), RemoteDevices, bench.remote)
    return feeder
  })

/** Every delivery, checked as it comes: only the first of an ordinal may be unmarked. */
const makeSeen = () => {
  const values: Array<number> = []
  const known = new Set<number>()
  return {
    values,
    known,
    note: (n: number, { ordinal, redelivered }: Delivery) =>
      Effect.sync(() => {
        check(redelivered || !known.has(ordinal), () => `element #${ordinal} came a second time, unmarked`)
        known.add(ordinal)
        values.push(n)
      })
  }
}

/**
 * Every element is delivered, and none a second time. A run of an `accepted` feed may end while the last are held by the
 * queue of a device that lives: these are handed out after it.
 */
const assertFinished = (ledger: Ledger, { acknowledge }: Kind, total: number): void => {
  Ledgers.assertCounts(ledger, { generated: total, redelivered: 0, lost: 0 })
  const held = acknowledge === "processed" ? 0 : ledger.held
  check(
    ledger.delivered + held === total,
    () => `${ledger.delivered} delivered + ${held} held are not the ${total} elements`
  )
}

export const bounded = (bench: Bench, kind: Kind): Trial =>
  Effect.gen(function*() {
    let made = 0
    const source = Effect.sync(() => made++)
    const feeder = yield* feederOf(bench, kind, source, [bench.device])
    yield* Effect.forkScoped(bench.host(bench.device, Effect.never))
    yield* Effect.forkScoped(feeder.run)
    yield* Laws.until("a device accepted an element", Effect.map(feeder.ledger, ({ accepted }) => accepted > 0))
    yield* Laws.settled(Effect.map(feeder.ledger, ({ generated }) => generated))
    const { held, leased, queued } = yield* feeder.ledger
    check(leased + held <= Laws.capacity, () =>
      `${leased + held} elements are out at a device of capacity ${Laws.capacity} whose consumer takes nothing`)
    check(queued <= Laws.capacity, () =>
      `${queued} elements are in a queue of capacity ${Laws.capacity}`)
    check(made <= 2 * Laws.capacity + 1, () =>
      `the source was asked for ${made} elements, and ${2 * Laws.capacity + 1} have a place`)
  })

export const fifo = (bench: Bench, kind: Kind): Trial =>
  Effect.gen(function*() {
    const seen = makeSeen()
    const feeder = yield* feederOf(bench, kind, range(200), [bench.device])
    const [ledger] = yield* Effect.all([feeder.run, bench.host(bench.device, kind.consume(seen.note))], unbounded)
    checkSame("the order of arrival", seen.values, range(200))
    assertFinished(ledger, kind, 200)
  })

const tensorOf = (id: number): typeof Laws.Tensors.element.Type => ({
  id,
  image: Float32Array.from(range(6), (i) => Math.fround(id + i / 7)),
  mask: Uint8Array.from(range(5), (i) => (id >> i) & 1),
  words: range(id % 4).map((i) => `${id}·${i}`)
})

export const intact = (bench: Bench): Trial =>
  Effect.gen(function*() {
    const ids: Array<number> = []
    const feed = Feeder.run(Laws.Tensors, { source: range(50).map(tensorOf), devices: [bench.device] })
    const consume = Laws.Tensors.forEachBatch(8, (batch, { size }) =>
      Effect.sync(() => {
        for (let i = 0; i < size; i++) {
          const sent = tensorOf(batch.id[i] ?? -1)
          ids.push(sent.id)
          checkSame(`the image of element ${sent.id}`, [...batch.image.subarray(6 * i, 6 * i + 6)], [...sent.image])
          checkSame(`the mask of element ${sent.id}`, [...batch.mask.subarray(5 * i, 5 * i + 5)], [...sent.mask])
          checkSame(`the words of element ${sent.id}`, batch.words[i] ?? [], sent.words)
        }
      }))
    yield* Effect.all([
      Effect.provideService(feed, RemoteDevices, bench.remote),
      bench.host(bench.device, consume)
    ], unbounded)
    checkSame("the elements in their batches", ids, range(50))
  })

export const once = (bench: Bench, kind: Kind): Trial =>
  Effect.gen(function*() {
    const seen = makeSeen()
    const { device, faults } = bench
    const feeder = yield* feederOf(bench, kind, range(360), [device])
    let sums = 0
    yield* Effect.forkScoped(
      Stream.runForEach(feeder.changes, ({ ledger }) =>
        Effect.sync(() => {
          Ledgers.assertConserved(ledger)
          sums++
        })),
      { startImmediately: true }
    )
    const consume = kind.consume((n, delivery) => {
      const fault = n % 20 === 3
        ? faults.cut(device)
        : n % 20 === 10
        ? faults.failAfter(device, 3)
        : n % 40 === 17
        ? faults.stallFor(device, 30)
        : Effect.void
      return Effect.andThen(seen.note(n, delivery), fault)
    })
    const [ledger] = yield* Effect.all([feeder.run, bench.host(device, consume)], unbounded)
    checkSame("what came over links that broke", seen.values, range(360))
    assertFinished(ledger, kind, 360)
    check((yield* faults.attempts(device)) > 5 && sums > 5, () => "the links did not break")
  })

export const acknowledged = (bench: Bench, kind: Kind): Trial =>
  Effect.gen(function*() {
    const seen = makeSeen()
    const { device, faults } = bench
    const feeder = yield* feederOf(bench, kind, range(60), [device], { lease: "1 second" })
    let isFirst = true
    const consume = kind.consume((n, delivery) =>
      Effect.gen(function*() {
        yield* seen.note(n, delivery)
        if (n !== 20 || !isFirst) return
        isFirst = false
        yield* faults.crash(device)
      })
    )
    const life = Effect.retry(faults.run(device, bench.host(device, consume)), { times: 1 })
    const [ledger] = yield* Effect.all([feeder.run, life], unbounded)
    // An accepted feed may end while its last elements wait in the queue of a device that lives.
    const held = kind.acknowledge === "processed" ? { held: 0 } : {}
    Ledgers.assertCounts(ledger, { generated: 60, queued: 0, leased: 0, dead: 0, ...held })
    const never = range(60).filter((n) => !seen.values.includes(n))
    if (kind.acknowledge === "processed") {
      checkSame("what was never processed, though a device crashed", never, [])
      check(seen.values.filter((n) => n === 20).length === 2, () => "what was in hand at a crash did not come again")
    } else {
      check(never.length <= ledger.heldByDead, () =>
        `${show(never)} never came, and ${ledger.heldByDead} elements are counted as held by a dead device`)
    }
    check(ledger.delivered + ledger.held + ledger.heldByDead === 60, () =>
      `${ledger.delivered} delivered + ${ledger.held} held + ${ledger.heldByDead} held by a dead device are not the 60 ` +
      `that were generated`)
  })

export const settledAs = (bench: Bench): Trial =>
  Effect.gen(function*() {
    const attempts: Array<string> = []
    const made = yield* Feeder.make(Laws.Processed)
    const feeder = yield* made.set(range(6))
    yield* Effect.provideService(feeder.addRemoteDevice(bench.device), RemoteDevices, bench.remote)
    const consume = Laws.Processed.forEach((n, { attempt, redelivered }) =>
      Effect.suspend((): Effect.Effect<void, Feed.Retry | Feed.Reject> => {
        attempts.push(`${n}/${attempt}${redelivered ? " again" : ""}`)
        if (n === 2 && attempt === 1) return Effect.fail(Feed.retry({ cause: "not now" }))
        return n === 4 ? Effect.fail(Feed.reject("never: ✗")) : Effect.void
      })
    )
    const [ledger] = yield* Effect.all([feeder.run, bench.host(bench.device, consume)], unbounded)
    Ledgers.assertCounts(ledger, { generated: 6, delivered: 5, redelivered: 1, dead: 1 })
    const { dead } = yield* feeder.status
    checkSame("what was refused for good", dead.map(({ cause, ordinal }) => `${ordinal} ${cause}`), ["4 never: ✗"])
    checkSame("the deliveries", attempts.toSorted(), ["0/1", "1/1", "2/1", "2/2 again", "3/1", "4/1", "5/1"])
  })

export const isolated = (bench: Bench, kind: Kind): Trial =>
  Effect.gen(function*() {
    const seen = makeSeen()
    const { device, faults, other } = bench
    const manual = yield* ManualSource.make<number>()
    const feeder = yield* feederOf(bench, kind, manual.source, [device, other], {
      lease: "1 second",
      tolerate: FailureTolerator.make({ limit: 2, initDelay: 10 })
    })
    // The other's consumer takes one element and never ends.
    const stuck = faults.run(other, bench.host(other, kind.consume(() => Effect.never)))
    yield* Effect.forkScoped(Effect.exit(stuck))
    const well = yield* Effect.forkScoped(bench.host(device, kind.consume(seen.note)))
    const run = yield* Effect.forkScoped(feeder.run)
    // Else the one that is linked first may be fed everything.
    yield* Laws.until(
      "both devices were linked",
      Effect.map(feeder.status, ({ devices }) => devices.every(({ phase }) => phase === "Live"))
    )
    yield* Effect.andThen(manual.push(...range(150)), manual.end)
    const accountOf = (ledger: Ledger, name: string) => ledger.devices.find((one) => one.device === name)
    yield* Laws.until(
      "one device was fed all that is not out at the one that is stuck",
      Effect.map(feeder.ledger, (ledger) => {
        const own = accountOf(ledger, device)
        const stuck = accountOf(ledger, other)
        return ledger.generated === 150 && ledger.queued === 0 && own?.leased === 0 && own.held === 0 &&
          stuck !== undefined && stuck.accepted > 0
      })
    )
    checkSame("the order of arrival beside a device that is stuck", seen.values, seen.values.toSorted((a, b) => a - b))
    yield* faults.crash(other)
    const ledger = yield* Fiber.join(run)
    yield* Fiber.join(well)
    Ledgers.assertCounts(ledger, { generated: 150, queued: 0, leased: 0 })
    if (kind.acknowledge === "processed") {
      checkSame("what came when the other had failed", seen.values.toSorted((a, b) => a - b), range(150))
    } else {
      const never = 150 - seen.known.size
      const { delivered, held, heldByDead } = ledger
      check(delivered + held + heldByDead === 150 && never <= (accountOf(ledger, other)?.accepted ?? 0), () =>
        `${never} elements never came; ${delivered} delivered + ${held} held + ${heldByDead} held by a dead device`)
    }
  })

export const tolerated = (bench: Bench, kind: Kind): Trial =>
  Effect.gen(function*() {
    const { device, faults } = bench
    const strict = yield* feederOf(bench, kind, range(5), [device], {
      lease: "1 second",
      tolerate: FailureTolerator.make({ limit: 3, initDelay: 10, backoffFactor: 1 })
    })
    const error = yield* Effect.flip(strict.run)
    check(error.reason._tag === "NoDeviceLeft" && error.message.includes(device), () =>
      `a feeder without devices failed with: ${error.message}`)
    Ledgers.assertCounts(yield* strict.ledger, { accepted: 0, delivered: 0 })
    // One that comes late is found.
    const seen = makeSeen()
    const feeder = yield* feederOf(bench, kind, range(5), [device])
    const run = yield* Effect.forkScoped(feeder.run)
    const before = yield* faults.attempts(device)
    yield* Laws.until(
      "a link was tried",
      Effect.map(faults.attempts(device), (attempts) =>
        attempts > before + 1)
    )
    yield* bench.host(device, kind.consume(seen.note))
    assertFinished(yield* Fiber.join(run), kind, 5)
    checkSame("what a device that came late was fed", seen.values, range(5))
  })

export const stoppable = (bench: Bench, kind: Kind): Trial =>
  Effect.gen(function*() {
    const { device, faults } = bench
    const feeder = yield* feederOf(bench, kind, range(100), [device])
    const consumer = yield* Effect.forkScoped(bench.host(device, kind.consume(() => Effect.never)))
    const run = yield* Effect.forkScoped(feeder.run)
    yield* feeder.feeding
    yield* Laws.within(3, "to stop a feeder", Effect.andThen(feeder.stop, Fiber.join(run)))
    Ledgers.assertConserved(yield* feeder.ledger)
    yield* Laws.until("no link was open after a stop", Effect.map(faults.open(device), (open) => open === 0))
    const again = yield* Effect.forkScoped(feeder.run)
    yield* Laws.until("a link was open again", Effect.map(faults.open(device), (open) => open === 1))
    yield* Laws.within(3, "to interrupt a feeder", Fiber.interrupt(again))
    yield* Laws.within(3, "to interrupt a consumer that never ends", Fiber.interrupt(consumer))
    check((yield* faults.open(device)) === 0, () => "a link outlived its feeder")
  })

export const ending = (bench: Bench, kind: Kind): Trial =>
  Effect.gen(function*() {
    for (const total of [25, 0]) {
      const seen = makeSeen()
      const devices = [bench.device, bench.other]
      const feeder = yield* feederOf(bench, kind, range(total), devices)
      const loops = Effect.forEach(devices, (device) => bench.host(device, kind.consume(seen.note)), unbounded)
      const [ledger, consumed] = yield* Effect.all([feeder.run, loops], unbounded)
      assertFinished(ledger, kind, total)
      const done = consumed.reduce((sum, { done }) => sum + done, 0)
      check(done === total, () => `the consumers finished ${done} elements of ${total}`)
    }
  })

export const typed = (bench: Bench): Trial =>
  Effect.gen(function*() {
    yield* Effect.forkScoped(bench.host(bench.device, Effect.never))
    const options = { devices: [bench.device], tolerate: Laws.patient }
    const refusalOf = (exit: Effect.Effect<Ledger, Feeder.FeedError, RemoteDevices>) =>
      Effect.map(Effect.flip(Effect.provideService(exit, RemoteDevices, bench.remote)), reasonOf)
    const Words = Feed.make(Laws.Processed.name, { element: Schema.Struct({ word: Schema.String }) })
    const different = yield* refusalOf(Feeder.run(Words, { source: [{ word: "one" }], ...options }))
    check(
      different.reason === "different feed" && different.message.includes("word") &&
        different.message.includes(bench.device),
      () => `a feed of other elements under the same name: ${different.message}`
    )
    const Unknown = Feed.make("laws/unknown", { element: Schema.Int })
    const unknown = yield* refusalOf(Feeder.run(Unknown, { source: [1], ...options }))
    check(
      unknown.reason === "unknown feed" && unknown.message.includes("laws/unknown") &&
        unknown.message.includes(Laws.Processed.name),
      () => `a feed that is not hosted: ${unknown.message}`
    )
  })

/** Why the devices of a run refused it, if they did. */
const reasonOf = (error: Feeder.FeedError): { readonly reason: string | undefined; readonly message: string } => {
  const causes = error.reason._tag === "NoDeviceLeft" ? error.reason.devices.map(({ cause }) => cause) : []
  const refused = causes.find((cause) => cause._tag === "FeedRefused")
  return { reason: refused?.reason, message: error.message }
}

export const restored = (bench: Bench, kind: Kind): Trial =>
  Effect.gen(function*() {
    const seen = makeSeen()
    const manual = yield* ManualSource.make<number>()
    const feeder = yield* feederOf(bench, kind, manual.source, [bench.device])
    const run = yield* Effect.forkScoped(feeder.run)
    yield* manual.push(0, 1, 2)
    yield* bench.host(
      bench.device,
      Effect.gen(function*() {
        const collecting = yield* Effect.forkChild(kind.batches(8, (batch) =>
          Effect.die(new Laws.LawBroken(`a batch of 8 was handed out with ${batch.length} elements`))))
        yield* Laws.until(
          "three elements were there",
          Effect.map(feeder.ledger, ({ accepted }) =>
            accepted === 3)
        )
        yield* Effect.sleep(20)
        yield* Fiber.interrupt(collecting)
        yield* Effect.forEach(range(7), (n) => manual.push(n + 3), { discard: true })
        yield* manual.end
        yield* kind.consume(seen.note)
      })
    )
    assertFinished(yield* Fiber.join(run), kind, 10)
    checkSame("what came after a take that was interrupted", seen.values, range(10))
  })

export const again = (bench: Bench, kind: Kind): Trial =>
  Effect.gen(function*() {
    const seen = makeSeen()
    const feeder = yield* feederOf(bench, kind, range(100), [bench.device])
    const consume = kind.consume((n, delivery) =>
      Effect.andThen(seen.note(n, delivery), n === 30 ? feeder.stop : Effect.void)
    )
    const consumer = yield* Effect.forkScoped(bench.host(bench.device, consume))
    const stopped = yield* feeder.run
    check(stopped.delivered < 100, () => "a feeder that was asked to stop went on to the end")
    assertFinished(yield* feeder.run, kind, 100)
    yield* Fiber.join(consumer)
    checkSame("what came in two runs", seen.values, range(100))
  })

export const unclaimed = (bench: Bench, kind: Kind): Trial =>
  Effect.gen(function*() {
    yield* Effect.forkScoped(bench.host(bench.device, Effect.never))
    const feeder = yield* feederOf(bench, kind, range(5), [bench.device])
    const error = yield* Laws.within(3, "to refuse what is not claimed", Effect.flip(feeder.run))
    const { message, reason } = reasonOf(error)
    check(reason !== undefined, () => `${kind.acknowledge} feeds are not claimed, and one was not refused: ${message}`)
    Ledgers.assertCounts(yield* feeder.ledger, { accepted: 0, delivered: 0 })
  })

export const gone = (bench: Bench, isClaimed: boolean): Trial =>
  Effect.gen(function*() {
    yield* bench.host(bench.device, Effect.void)
    const { codec, fingerprint, name } = Laws.Processed.info
    const contact = Effect.scoped(Effect.gen(function*() {
      const link = yield* bench.remote.open(bench.device, { name, fingerprint, codec })
      yield* link.receive
    }))
    const error = yield* Laws.within(5, "to find out that a device has ended", Effect.flip(contact))
    const fate = error instanceof DeviceLost ? error.fate : `no DeviceLost, but ${String(error)}`
    check(fate === (isClaimed ? "gone" : "unknown"), () =>
      `${
        isClaimed ? "to know" : "not to know"
      } the fate of a device is claimed; one that has ended is said to be ${fate}`)
  })
