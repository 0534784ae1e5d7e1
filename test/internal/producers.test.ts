import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { BatchCodec, type QueueRunner } from "effect-feeder"
import * as Producers from "../../src/internal/producers.ts"
import { reader } from "../../src/internal/slots.ts"

it.effect("a producer that is closed leaves nothing: one may be opened for each request", () =>
  Effect.gen(function*() {
    const runners: Array<QueueRunner.QueueRunner<unknown>> = []
    const codec = BatchCodec.make(Schema.Int)
    const producers = Producers.make<number>({
      feed: "numbers",
      feeder: "f",
      books: { afterUnsafe: (task) => task(), changedSoonUnsafe: () => {} },
      runners,
      read: reader(codec, "always"),
      admit: (slots, onAdmit) => Effect.sync(() => onAdmit(slots.length)),
      join: () => Effect.void
    })
    const open = yield* producers.open
    for (let i = 0; i < 3; i++) yield* Effect.scoped(Effect.flatMap(producers.open, ({ offer }) => offer(i)))
    assert.deepStrictEqual(runners.map(({ isDone }) => isDone()), [false])
    yield* open.offer(3)
  }))
