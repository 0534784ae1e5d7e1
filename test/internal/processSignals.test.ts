import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { listen } from "../../src/internal/processSignals.ts"

describe("processSignals", () => {
  it.effect("however many listen, Node sees one, and all are told", () =>
    Effect.gen(function*() {
      const before = process.listenerCount("SIGTERM")
      const told: Array<string> = []
      yield* Effect.scoped(Effect.gen(function*() {
        for (let i = 0; i < 200; i++) yield* listen((signal) => void told.push(`${signal} ${i}`))
        assert.strictEqual(process.listenerCount("SIGTERM"), before + 1)
        assert.strictEqual(process.listenerCount("SIGINT"), before + 1)
        yield* Effect.scoped(listen(() => assert.fail("its scope is closed")))
        // Ours alone: a real signal would end the tests.
        process.rawListeners("SIGTERM")[0]!("SIGTERM")
        assert.strictEqual(told.length, 200)
        assert.strictEqual(told[199], "SIGTERM 199")
      }))
      assert.strictEqual(process.listenerCount("SIGTERM"), before)
    }))
})
