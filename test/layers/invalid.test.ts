/**
 * What passes the Schema of the feeder and not that of a device, which runs another version of the program.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option } from "effect"
import { Feed, Feeder } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { Ledgers } from "effect-feeder/testing"
import { element, elements, good } from "../fixtures/checked.ts"
import { freePort } from "../fixtures/processes.ts"

const device = "/job:consumer"

for (const acknowledge of ["processed", "accepted"] as const) {
  describe(`an element that the Schema at the device does not accept (${acknowledge})`, () => {
    it.live("is a dead letter, and all others arrive, once and in order", () =>
      Effect.gen(function*() {
        const Ours = Feed.make("checked", { element: element(1000), capacity: 16, acknowledge })
        const Theirs = Feed.make("checked", { element: element(50), capacity: 16, acknowledge })
        const port = yield* freePort
        const seen: Array<number> = []
        const loop = yield* Theirs.forEach(({ n }) => Effect.sync(() => seen.push(n))).pipe(
          Effect.provide(SocketDevices.layerHost({ feeds: [Theirs], port })),
          Effect.forkScoped
        )
        const made = yield* Feeder.make(Ours, { id: "f" })
        const feeder = yield* made.set(elements)
        yield* feeder.addRemoteDevice(device).pipe(
          Effect.provide(SocketDevices.layer({ [device]: `tcp://127.0.0.1:${port}` }))
        )
        const ledger = yield* Effect.timeout(feeder.run, "20 seconds")
        yield* Fiber.join(loop)
        Ledgers.assertCounts(ledger, { generated: 40, delivered: 37, dead: 3, dropped: 0, heldByDead: 0 })
        assert.deepStrictEqual(seen, good)
        const letters = yield* feeder.deadLetters.list
        assert.deepStrictEqual(
          letters.map(({ element, reason }) => [Option.getOrThrow(element).n, reason]),
          [[7, "invalid"], [8, "invalid"], [21, "invalid"]]
        )
        assert.match(letters[0]?.causes.at(-1) ?? "", /^rest: m: Expected a value less than 50/)
        assert.match(letters[2]?.causes.at(-1) ?? "", /^size: Expected a value less than 50/)
      }))
  })
}
