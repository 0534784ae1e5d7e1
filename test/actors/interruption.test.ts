/** Whatever a feed waits for, an interruption ends it while no time passes. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { Feeder } from "effect-feeder"
import { FaultyDevices } from "effect-feeder/testing"
import { endedNow, host, Numbers, onNetwork, pass, replica, settled } from "../network.ts"

const endless = function*() {
  for (let n = 0;; n++) yield n
}

const feed = Effect.suspend(() => Feeder.run(Numbers, { source: endless(), devices: [replica(0)] }))

/** What becomes of a device while a feed waits, and what of it the feed waits for. */
const situations = {
  "for a device that is not there": Effect.void,
  "for room in a full window": Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.never))),
  "for a link that takes no more": Effect.gen(function*() {
    const faults = yield* FaultyDevices.FaultyDevices
    yield* Effect.forkChild(host(replica(0))(Numbers.forEach(() => Effect.sleep(100))))
    yield* pass(50)
    yield* Effect.forkChild(Effect.andThen(Effect.sleep(150), faults.freeze(replica(0))))
  })
}

describe("a feed that waits", () => {
  for (const [what, device] of Object.entries(situations)) {
    it.effect(`${what} ends at once`, () =>
      Effect.gen(function*() {
        yield* device
        const run = yield* Effect.forkChild(feed)
        for (let i = 0; i < 10; i++) yield* pass(100)
        run.interruptUnsafe()
        assert.isTrue(Exit.hasInterrupts(yield* endedNow(run)))
      }).pipe(onNetwork))
  }

  it.effect("for room in its own queue ends at once, and its source goes on where it was", () =>
    Effect.gen(function*() {
      const made = yield* Feeder.make(Numbers)
      const feeder = yield* made.set(endless())
      const run = yield* Effect.forkChild(feeder.run)
      yield* settled
      assert.strictEqual((yield* feeder.ledger).queued, 4)
      run.interruptUnsafe()
      assert.isTrue(Exit.hasInterrupts(yield* endedNow(run)))
      const again = yield* Effect.forkChild(feeder.run)
      assert.deepStrictEqual(yield* feeder.takeMany(12), Array.from({ length: 12 }, (_, i) => i))
      yield* Fiber.interrupt(again)
    }))
})
