import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import type { RemoteDevices } from "effect-feeder"
import { TestClock } from "effect/testing"
import * as LinkWriter from "../../src/internal/linkWriter.ts"
import { settled } from "../network.ts"

const leaving: RemoteDevices.DeviceFrame = { _tag: "Leaving", byMillis: 0 }

/** A writer that runs on a link that notes what is sent. */
const running = Effect.fnUntraced(function*(send: Effect.Effect<void> = Effect.void) {
  const sent: Array<string> = []
  const writer = yield* LinkWriter.make({
    send: (frame) => Effect.andThen(Effect.sync(() => sent.push(frame._tag)), send),
    receive: Effect.never
  })
  const report = () => {
    sent.push("report")
  }
  const fiber = yield* Effect.forkChild(writer.run({ report, hasEnded: () => false }))
  yield* settled
  return { writer, sent, fiber }
})

describe("a link's writer", () => {
  it.effect("sends frames in order, and reports of one turn as one, after them", () =>
    Effect.gen(function*() {
      const { fiber, sent, writer } = yield* running()
      writer.report()
      writer.send(leaving)
      writer.report()
      writer.send(leaving)
      yield* settled
      assert.deepStrictEqual(sent, ["Leaving", "Leaving", "report"])
      yield* writer.finished
      writer.send(leaving)
      writer.close()
      writer.send(leaving)
      writer.report()
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(sent, ["Leaving", "Leaving", "report", "Leaving"])
    }))

  it.effect("resumes no fiber in the step that tells it what to do", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      let sleeps = 0
      const counting = new Proxy(clock, {
        get: (target, key) => {
          if (key === "sleep") sleeps++
          return Reflect.get(target, key)
        }
      })
      const { fiber, sent, writer } = yield* Effect.provideService(running(Effect.never), Clock.Clock, counting)
      // It is within the hand-out step of a queue that a device closes the link of a feeder whose lease has run out.
      const seen = yield* Effect.sync(() => {
        writer.send(leaving)
        writer.report()
        writer.close()
        return [...sent, sleeps]
      })
      assert.deepStrictEqual(seen, [0])
      yield* settled
      assert.deepStrictEqual([...sent, sleeps], ["Leaving", 1])
      assert.isUndefined(fiber.pollUnsafe())
      // A peer that takes nothing does not keep the link open.
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
    }))
})
