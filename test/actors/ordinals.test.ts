/** Which element is where: by ordinal, at every change, whatever happens to devices. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, Stream } from "effect"
import type { Ledger } from "effect-feeder"
import { Feed, Feeder, MemoryDevices } from "effect-feeder"
import { FaultyDevices, Ledgers } from "effect-feeder/testing"
import { TestClock } from "effect/testing"
import { chance } from "../chance.ts"
import { onNetwork, passUntil, range, replica, settled, tolerate } from "../network.ts"

const sizeOf = (ranges: ReadonlyArray<Ledger.OrdinalRange>) =>
  ranges.reduce((total, [from, to]) => total + to - from + 1, 0)

/** Each ordinal that was given is in one class, and the classes are as large as the counts say. */
const assertPartition = (ledger: Ledger.Ledger): void => {
  Ledgers.assertConserved(ledger)
  assert.isDefined(ledger.ordinals)
  const { acknowledged, dead, dropped, leased, queued } = ledger.ordinals
  let next = 0
  for (const [from, to] of Object.values(ledger.ordinals).flat().toSorted(([a], [b]) => a - b)) {
    assert.strictEqual(from, next, "they overlap, or leave something out")
    assert.isAtLeast(to, from)
    next = to + 1
  }
  assert.deepStrictEqual({
    acknowledged: sizeOf(acknowledged),
    leased: sizeOf(leased),
    dead: sizeOf(dead),
    dropped: sizeOf(dropped)
  }, {
    acknowledged: ledger.delivered + ledger.held + ledger.heldByDead,
    leased: ledger.leased,
    dead: ledger.dead,
    dropped: ledger.dropped
  })
  assert.isAtMost(sizeOf(queued), ledger.queued)
  assert.isAtMost(next, ledger.generated)
}

const Processed = Feed.make("processed", { element: Schema.Int, capacity: 4 })
const AtMostOnce = Feed.make("once", { element: Schema.Int, capacity: 4, delivery: "atMostOnce" })
const Accepted = Feed.make("accepted", { element: Schema.Int, capacity: 4, acknowledge: "accepted" })

/** A feed's feeder, and a process that consumes it. */
interface Case {
  readonly make: (options: Feeder.Options) => ReturnType<typeof Feeder.make<string, typeof Schema.Int, "processed">>
  readonly consume: (
    device: string,
    outcome: Effect.Effect<void, Feed.Retry | Feed.Reject>
  ) => Effect.Effect<unknown, never, MemoryDevices.Network>
}

const host = <F extends Feed.Any>(feed: F, device: string) =>
  Effect.provide(MemoryDevices.layerHost({ feeds: [feed], device, feeders: "forever" }))

const cases: Record<string, Case> = {
  "processed, at least once": {
    make: (options) => Feeder.make(Processed, options),
    consume: (device, outcome) => Effect.orDie(host(Processed, device)(Processed.forEach(() => outcome)))
  },
  "processed, at most once": {
    make: (options) => Feeder.make(AtMostOnce, options),
    consume: (device, outcome) => Effect.orDie(host(AtMostOnce, device)(AtMostOnce.forEach(() => outcome)))
  },
  "accepted": {
    make: (options) => Feeder.make(Accepted, options),
    consume: (device) => Effect.orDie(host(Accepted, device)(Accepted.forEach(() => Effect.sleep(5))))
  }
}

describe("the ordinals of a ledger", () => {
  for (const [name, { consume, make }] of Object.entries(cases)) {
    for (const seed of range(2)) {
      it.effect(`${name}: each is in one class, and as many as are counted, history ${seed}`, () =>
        Effect.gen(function*() {
          const faults = yield* FaultyDevices.FaultyDevices
          const { below, next, pick } = chance(seed)
          const devices = [0, 1, 2].map(replica)
          const outcome = Effect.suspend((): Effect.Effect<void, Feed.Retry | Feed.Reject> => {
            const at = next()
            if (at < 0.15) return Effect.fail(Feed.retry({ after: below(30) }))
            return at < 0.2 ? Effect.fail(Feed.reject("no")) : Effect.sleep(below(12))
          })
          for (const device of devices) {
            yield* Effect.forkChild(Effect.eventually(faults.run(device, consume(device, outcome))))
          }
          const made = yield* make({
            lease: 200,
            maxAttempts: 3,
            ordinals: true,
            overflow: seed % 2 === 0 ? "suspend" : "sliding",
            backOff: { initial: 10, most: 50 },
            tolerate: tolerate(1000)
          })
          // It gives some now and then, so that a feed that drops what does not fit goes on, too.
          const source = Stream.fromIterable(range(40)).pipe(
            Stream.flatMap((n) => Stream.fromEffect(Effect.as(Effect.sleep(10), [n, n, n]))),
            Stream.flatMap(Stream.fromIterable)
          )
          const feeder = yield* made.set(source)
          yield* feeder.addRemoteDevices(devices)
          const watching = yield* Effect.forkChild(
            Stream.runForEach(feeder.changes, ({ ledger }) => Effect.sync(() => assertPartition(ledger)))
          )
          let run = yield* Effect.forkChild(feeder.run)
          for (let i = 0; i < 30; i++) {
            yield* settled
            yield* TestClock.adjust(1 + below(25))
            if ((yield* feeder.status).hasEnded) break
            const what = next()
            if (what < 0.25) yield* faults.cut(pick(devices))
            else if (what < 0.4) yield* faults.crash(pick(devices))
            else if (what < 0.5) yield* faults.stallFor(pick(devices), below(600))
            else if (what < 0.6) yield* Effect.forkChild(Effect.exit(feeder.take))
            else if (what < 0.7) {
              yield* feeder.stop
              yield* Fiber.await(run)
              run = yield* Effect.forkChild(feeder.run)
            } else if (what < 0.8) yield* Effect.forkChild(Effect.exit(feeder.deadLetters.redrive("all")))
            assertPartition(yield* feeder.ledger)
          }
          const ledger = yield* passUntil(run)
          assertPartition(ledger)
          assert.deepStrictEqual([ledger.ordinals?.queued, ledger.ordinals?.leased], [[], []])
          assert.isUndefined(watching.pollUnsafe(), "an account was wrong")
          yield* Fiber.interrupt(watching)
        }).pipe(onNetwork))
    }
  }
})
