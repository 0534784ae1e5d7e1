import { it } from "@effect/vitest"
import { Effect, Fiber, Scheduler, Schema, Stream } from "effect"
import { Feed, Feeder } from "effect-feeder"
import { chance } from "../chance.ts"
const Numbers = Feed.make("numbers", { element: Schema.Int, capacity: 4 })
it.effect("dbg", () => Effect.gen(function*() {
  for (let seed = 1; seed <= 600; seed++) {
          const random = chance(seed)
            const made = yield* Feeder.make(Numbers)
            const feeder = yield* made.set(Stream.range(0, 39))
            const taken: Array<number> = []
            const taker = yield* Effect.forkChild(
              Stream.runForEach(feeder.elements, (n) =>
                Effect.andThen(
                  random.below(3) === 0 ? Effect.yieldNow : Effect.void,
                  Effect.sync(() => taken.push(n))
                ))
            )
            for (let i = 0; i < 400; i++) {
              const ops = 4 + random.below(12)
              const fiber = yield* Effect.forkChild(Effect.exit(feeder.run.pipe(Effect.provideService(Scheduler.MaxOpsBeforeYield, ops))), { startImmediately: true })
              for (let turns = random.below(30); turns > 0; turns--) yield* Effect.yieldNow
              const how = random.below(2)
              
              const away = how === 0 ? Fiber.interrupt(fiber) : Effect.andThen(feeder.stop, Fiber.await(fiber))
              const f = yield* Effect.forkChild(away)
              for (let k = 0; k < 3000 && f.pollUnsafe() === undefined; k++) yield* Effect.yieldNow
              if (f.pollUnsafe() === undefined) console.log(seed, i, ops, how, JSON.stringify(yield* feeder.status), fiber.pollUnsafe())
              if (f.pollUnsafe() === undefined) return yield* Effect.die("hang")
              if ((yield* feeder.status).hasEnded) break
            }
            for (let k = 0; k < 3000 && taker.pollUnsafe() === undefined; k++) yield* Effect.yieldNow
            if (taker.pollUnsafe() === undefined) console.log(seed, "taker", taker.pollUnsafe(), taken)
          }
}), 60000)
