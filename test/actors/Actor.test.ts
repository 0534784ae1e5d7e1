import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Latch, Logger, References, Schema, Stream } from "effect"
import * as Actor from "effect-feeder/actors/Actor"
import * as Coordinator from "effect-feeder/actors/Coordinator"
import { TestClock } from "effect/testing"

class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}

const protocol = {
  Increment: { payload: Schema.Struct({ by: Schema.Int }), success: Schema.Int, error: Refused },
  Wait: {},
  Break: {},
  Abandon: {}
} satisfies Actor.Protocol

/** Counts, waits for a gate, breaks, or ends by an interruption of its own. */
const makeCounter = Effect.fnUntraced(function*(options?: { readonly mailbox?: number; readonly gate?: Latch.Latch }) {
  const coordinator = yield* Coordinator.make({ name: "actors", gracePeriod: "5 seconds" })
  const gate = options?.gate ?? (yield* Latch.make())
  const counter = yield* Actor.make(coordinator, {
    name: "counter",
    mailbox: options?.mailbox,
    protocol,
    initial: 0,
    handle: {
      Increment: (count, { by }) =>
        by < 0
          ? Effect.fail(new Refused({ why: `${by} is negative` }))
          : Effect.succeed([count + by, count + by]),
      Wait: (count) => Effect.as(gate.await, [undefined, count]),
      Break: () => Effect.die(new Error("boom")),
      Abandon: () => Effect.interrupt
    }
  })
  return { coordinator, counter, gate }
})

const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

const hasEnded = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.pollUnsafe() !== undefined

const turns = (times: number) => Effect.repeat(Effect.yieldNow, { times })

describe("Actor", () => {
  describe("ask and tell", () => {
    it.effect("ask gives the reply, and the state goes on", () =>
      Effect.gen(function*() {
        const { counter } = yield* makeCounter()
        assert.strictEqual(yield* counter.ask("Increment", { by: 2 }), 2)
        assert.strictEqual(yield* counter.ask("Increment", { by: 3 }), 5)
        assert.strictEqual(counter.protocol.Increment, protocol.Increment)
      }))

    it.effect("tell does not wait for the reply", () =>
      Effect.gen(function*() {
        const { counter, gate } = yield* makeCounter()
        yield* counter.tell("Wait")
        yield* counter.tell("Increment", { by: 1 })
        const asking = yield* fork(counter.ask("Increment", { by: 1 }))
        yield* turns(3)
        assert.isFalse(hasEnded(asking))
        yield* gate.open
        assert.strictEqual(yield* Fiber.join(asking), 2)
      }))

    it.effect("a typed error goes to the asker, and the state stays", () =>
      Effect.gen(function*() {
        const { counter } = yield* makeCounter()
        yield* counter.ask("Increment", { by: 1 })
        const error = yield* Effect.flip(counter.ask("Increment", { by: -1 }))
        assert.deepStrictEqual(error, new Refused({ why: "-1 is negative" }))
        assert.strictEqual(yield* counter.ask("Increment", { by: 1 }), 2)
      }))

    it.effect("a typed error that nobody asked for is logged", () => {
      const lines: Array<unknown> = []
      const logger = Logger.make(({ logLevel, message }) => {
        lines.push([logLevel, Array.isArray(message) ? message[0] : message])
      })
      return Effect.gen(function*() {
        const { counter } = yield* makeCounter()
        yield* counter.tell("Increment", { by: -1 })
        assert.strictEqual(yield* counter.ask("Increment", { by: 1 }), 1)
        assert.deepStrictEqual(lines, [["Debug", "actor counter failed to handle Increment, which nobody asked"]])
      }).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "Debug")
      )
    })

    it.effect("handlers use services, and may wait", () =>
      Effect.gen(function*() {
        class Rate extends Context.Service<Rate, number>()("test/Rate") {}
        class Pause extends Context.Service<Pause, number>()("test/Pause") {}
        const coordinator = yield* Coordinator.make({ name: "actors" })
        const actor = yield* Actor.make(coordinator, {
          name: "scaler",
          protocol: { Scale: { payload: Schema.Int, success: Schema.Int }, Rest: {} },
          initial: "none",
          handle: {
            Scale: (last, n) => Effect.map(Rate, (rate) => [n * rate, `${last} ${n}`] as const),
            Rest: (last) =>
              Effect.gen(function*() {
                yield* Effect.sleep(yield* Pause)
                return [undefined, last]
              })
          }
        }).pipe(Effect.provideService(Rate, 10), Effect.provideService(Pause, 1000))
        const resting = yield* fork(actor.ask("Rest"))
        const scaling = yield* fork(actor.ask("Scale", 4))
        yield* TestClock.adjust("999 millis")
        assert.isFalse(hasEnded(resting) || hasEnded(scaling))
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* Fiber.join(scaling), 40)
        assert.deepStrictEqual(yield* actor.status, { _tag: "Running", state: "none 4" })
      }))

    it.effect.prop("FIFO: commands of one sender are handled in order, for any mailbox", {
      numbers: Schema.Array(Schema.Int),
      mailbox: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4 }))
    }, ({ mailbox, numbers }) =>
      Effect.scoped(Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "actors" })
        const recorder = yield* Actor.make(coordinator, {
          name: "recorder",
          mailbox,
          protocol: { Add: { payload: Schema.Int }, Get: { success: Schema.Array(Schema.Int) } },
          initial: Array<number>(),
          handle: {
            Add: (all, n) => Effect.as(Effect.yieldNow, [undefined, [...all, n]]),
            Get: (all) => Effect.succeed([all, all])
          }
        })
        yield* Effect.forEach(numbers, (n) => recorder.tell("Add", n))
        assert.deepStrictEqual(yield* recorder.ask("Get"), numbers)
      })))
  })

  describe("a full mailbox", () => {
    it.effect("tell waits until there is room", () =>
      Effect.gen(function*() {
        const { counter, gate } = yield* makeCounter({ mailbox: 2 })
        yield* counter.tell("Wait")
        yield* turns(3)
        yield* counter.tell("Increment", { by: 1 })
        yield* counter.tell("Increment", { by: 1 })
        const telling = yield* fork(counter.tell("Increment", { by: 1 }))
        yield* turns(3)
        assert.isFalse(hasEnded(telling))
        yield* gate.open
        yield* Fiber.join(telling)
        assert.strictEqual(yield* counter.ask("Increment", { by: 0 }), 3)
      }))

    it.effect("a tell or an ask that is interrupted while it waits leaves nothing behind", () =>
      Effect.gen(function*() {
        const { counter, gate } = yield* makeCounter({ mailbox: 1 })
        yield* counter.tell("Wait")
        yield* turns(3)
        yield* counter.tell("Increment", { by: 1 })
        const telling = yield* fork(counter.tell("Increment", { by: 10 }))
        const asking = yield* fork(counter.ask("Increment", { by: 100 }))
        yield* Fiber.interruptAll([telling, asking])
        yield* gate.open
        assert.strictEqual(yield* counter.ask("Increment", { by: 0 }), 1)
      }))

    it.effect("a tell that waits fails when the actor stops", () =>
      Effect.gen(function*() {
        const { counter } = yield* makeCounter({ mailbox: 1 })
        yield* counter.tell("Wait")
        yield* turns(3)
        yield* counter.tell("Wait")
        const telling = yield* fork(Effect.flip(counter.tell("Increment", { by: 1 })))
        const asking = yield* fork(Effect.flip(counter.ask("Increment", { by: 1 })))
        yield* counter.stop
        const stopped = new Actor.ActorStopped({ actor: "counter", command: "Increment" })
        assert.deepStrictEqual([yield* Fiber.join(telling), yield* Fiber.join(asking)], [stopped, stopped])
      }))
  })

  describe("stopping", () => {
    it.effect("stop fails who is being answered, who waits, and who comes later", () =>
      Effect.gen(function*() {
        const { coordinator, counter } = yield* makeCounter()
        const handled = yield* fork(Effect.flip(counter.ask("Wait")))
        const waiting = yield* fork(Effect.flip(counter.ask("Increment", { by: 1 })))
        yield* turns(3)
        yield* counter.stop
        const late = yield* Effect.flip(counter.tell("Increment", { by: 1 }))
        assert.deepStrictEqual(
          [yield* Fiber.join(handled), yield* Fiber.join(waiting), late],
          ["Wait", "Increment", "Increment"].map((command) => new Actor.ActorStopped({ actor: "counter", command }))
        )
        assert.strictEqual(
          late.message,
          "actor counter stopped before Increment was handled; make the actor again to go on"
        )
        yield* counter.stop
        assert.isFalse(yield* coordinator.isStopping)
      }))

    it.effect("its coordinator's stop stops it within the turn", () =>
      Effect.gen(function*() {
        const { coordinator, counter } = yield* makeCounter()
        const asking = yield* fork(Effect.flip(counter.ask("Wait")))
        yield* turns(3)
        yield* coordinator.requestStop()
        assert.isTrue(hasEnded(asking))
        assert.strictEqual((yield* counter.status)._tag, "Stopped")
        yield* coordinator.join()
      }))

    it.effect("an actor of a stopping coordinator has stopped", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "actors" })
        yield* coordinator.requestStop()
        const actor = yield* Actor.make(coordinator, {
          name: "late",
          protocol: { Get: { success: Schema.Int } },
          initial: 0,
          handle: { Get: (n) => Effect.succeed([n, n]) }
        })
        assert.strictEqual((yield* Effect.flip(actor.ask("Get")))._tag, "ActorStopped")
        assert.strictEqual((yield* Effect.flip(actor.tell("Get")))._tag, "ActorStopped")
      }))

    it.effect("a stop before the first turn fails who has asked already", () =>
      Effect.gen(function*() {
        const { counter } = yield* makeCounter()
        const asking = yield* fork(Effect.flip(counter.ask("Increment", { by: 1 })))
        yield* counter.stop
        assert.strictEqual((yield* Fiber.join(asking))._tag, "ActorStopped")
      }))

    it.effect("an ask can be interrupted, and the command is handled all the same", () =>
      Effect.gen(function*() {
        const { counter, gate } = yield* makeCounter()
        yield* counter.tell("Wait")
        const asking = yield* fork(counter.ask("Increment", { by: 1 }))
        yield* turns(3)
        yield* Fiber.interrupt(asking)
        yield* gate.open
        assert.strictEqual(yield* counter.ask("Increment", { by: 1 }), 2)
      }))

    it.effect("an actor may stop itself in a handler", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "actors" })
        const self = yield* Deferred.make<Effect.Effect<void>>()
        const actor = yield* Actor.make(coordinator, {
          name: "once",
          protocol: { End: {} },
          initial: 0,
          handle: { End: (n) => Effect.as(Effect.flatten(Deferred.await(self)), [undefined, n]) }
        })
        yield* Deferred.succeed(self, actor.stop)
        assert.strictEqual((yield* Effect.flip(actor.ask("End")))._tag, "ActorStopped")
        yield* coordinator.join()
      }))
  })

  describe("defects", () => {
    it.effect("a defect stops the actor, its coordinator hears of it, and the askers learn why", () =>
      Effect.gen(function*() {
        const { coordinator, counter } = yield* makeCounter()
        const beside = yield* coordinator.fork("beside", Effect.never)
        const [first, second] = yield* Effect.all([
          Effect.flip(counter.ask("Break")),
          Effect.flip(counter.ask("Increment", { by: 1 }))
        ], { concurrency: "unbounded" })
        assert.strictEqual(
          first.message,
          "actor counter stopped on a defect (Error: boom) before Break was handled; make the actor again to go on"
        )
        assert.strictEqual(second._tag, "ActorStopped")
        assert.isTrue(hasEnded(beside))
        const exit = yield* Effect.exit(coordinator.join())
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        assert.deepStrictEqual(yield* counter.awaitExit, exit)
      }))

    it.effect("a throw in a handler is a defect", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "actors" })
        const actor = yield* Actor.make(coordinator, {
          name: "thrower",
          protocol: { Throw: {} },
          initial: 0,
          handle: {
            Throw: () => {
              throw new Error("thrown")
            }
          }
        })
        assert.instanceOf((yield* Effect.flip(actor.ask("Throw"))).cause, Error)
      }))

    it.effect("an error that comes with a defect is a defect", () =>
      Effect.gen(function*() {
        const coordinator = yield* Coordinator.make({ name: "actors" })
        const actor = yield* Actor.make(coordinator, {
          name: "both",
          protocol: { Both: { error: Schema.String } },
          initial: 0,
          handle: { Both: () => Effect.failCause(Cause.combine(Cause.fail("typed"), Cause.die("boom"))) }
        })
        yield* Effect.flip(actor.ask("Both"))
        assert.deepStrictEqual(yield* Effect.exit(coordinator.join()), Exit.die("boom"))
      }))

    it.effect("a handler that interrupts itself ends the actor cleanly", () =>
      Effect.gen(function*() {
        const { coordinator, counter } = yield* makeCounter()
        const error = yield* Effect.flip(counter.ask("Abandon"))
        assert.deepStrictEqual(error, new Actor.ActorStopped({ actor: "counter", command: "Abandon" }))
        yield* coordinator.join()
        assert.isFalse(yield* coordinator.isStopping)
      }))

    it.effect("ActorStopped crosses a wire", () =>
      Effect.gen(function*() {
        const codec = Schema.toCodecJson(Actor.ActorStopped)
        const error = new Actor.ActorStopped({ actor: "counter", command: "Get", cause: new Error("boom") })
        const back = yield* Schema.decodeEffect(codec)(yield* Schema.encodeEffect(codec)(error))
        assert.instanceOf(back, Actor.ActorStopped)
        assert.strictEqual(back.message, error.message)
      }))
  })

  describe("watching", () => {
    it.effect("awaitExit answers when the actor has ended", () =>
      Effect.gen(function*() {
        const { counter } = yield* makeCounter()
        const watching = yield* fork(counter.awaitExit)
        yield* counter.ask("Increment", { by: 1 })
        assert.isFalse(hasEnded(watching))
        yield* counter.stop
        const exit = yield* Fiber.join(watching)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      }))

    it.effect("changes begin with the status now and end with Stopped", () =>
      Effect.gen(function*() {
        const { counter } = yield* makeCounter()
        const seen: Array<Actor.Status<number>> = []
        yield* counter.ask("Increment", { by: 1 })
        const watching = yield* fork(
          Stream.runForEach(counter.changes, (status) => Effect.sync(() => seen.push(status)))
        )
        yield* turns(3)
        yield* counter.ask("Increment", { by: 1 })
        yield* turns(3)
        yield* counter.stop
        yield* Fiber.join(watching)
        assert.deepStrictEqual(seen.map(({ _tag, state }) => [_tag, state]), [
          ["Running", 1],
          ["Running", 2],
          ["Stopped", 2]
        ])
        assert.deepStrictEqual([yield* counter.status], yield* Stream.runCollect(counter.changes))
        assert.strictEqual(seen.at(-1), yield* counter.status)
      }))

    it.effect("a slow reader holds nothing up and sees the newest status", () =>
      Effect.gen(function*() {
        const { counter } = yield* makeCounter()
        const gate = yield* Latch.make()
        const seen: Array<Actor.Status<number>> = []
        const slow = Stream.runForEach(counter.changes, (status) =>
          Effect.andThen(Effect.sync(() => seen.push(status)), gate.await))
        const watching = yield* fork(slow)
        yield* turns(3)
        yield* Effect.repeat(counter.ask("Increment", { by: 1 }), { times: 99 })
        yield* counter.stop
        yield* gate.open
        yield* Fiber.join(watching)
        assert.deepStrictEqual(seen.map(({ _tag, state }) => [_tag, state]), [["Running", 0], ["Stopped", 100]])
      }))
  })

  // ---------------------------------------------------------------------------
  // random scripts
  // ---------------------------------------------------------------------------

  const Step = Schema.Union([
    Schema.TaggedStruct("Ask", { by: Schema.Int.check(Schema.isBetween({ minimum: -2, maximum: 9 })) }),
    Schema.TaggedStruct("Tell", { by: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 })) }),
    Schema.TaggedStruct("GiveUp", {}),
    Schema.TaggedStruct("Turn", {}),
    Schema.TaggedStruct("End", { how: Schema.Literals(["stop", "coordinator", "Break", "Abandon"]) })
  ])

  it.effect.prop("every ask is answered or told that the actor stopped, and the sum is that of what was handled", {
    script: Schema.Array(Step).check(Schema.isMaxLength(30)),
    mailbox: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 3 })),
    budget: Schema.Int.check(Schema.isBetween({ minimum: 3, maximum: 60 }))
  }, ({ budget, mailbox, script }) =>
    Effect.scoped(Effect.gen(function*() {
      const { coordinator, counter } = yield* makeCounter({ mailbox })
      const asks: Array<{ readonly by: number; readonly fiber: Fiber.Fiber<number, Refused | Actor.ActorStopped> }> = []
      const tells: Array<{ readonly by: number; readonly fiber: Fiber.Fiber<void, Actor.ActorStopped> }> = []
      for (const step of script) {
        switch (step._tag) {
          case "Ask":
            asks.push({ by: step.by, fiber: yield* Effect.forkChild(counter.ask("Increment", { by: step.by })) })
            break
          case "Tell":
            tells.push({ by: step.by, fiber: yield* Effect.forkChild(counter.tell("Increment", { by: step.by })) })
            break
          case "GiveUp":
            if (asks.length > 0) yield* Fiber.interrupt(asks.at(-1)!.fiber)
            break
          case "Turn":
            yield* Effect.yieldNow
            break
          case "End":
            if (step.how === "stop") yield* counter.stop
            else if (step.how === "coordinator") yield* coordinator.requestStop()
            else yield* Effect.forkChild(Effect.ignore(counter.tell(step.how)))
        }
      }
      yield* counter.stop
      const status = yield* counter.status
      assert.strictEqual(status._tag, "Stopped")
      let least = 0
      let most = 0
      for (const { by, fiber } of asks) {
        const exit = yield* Fiber.await(fiber)
        if (Exit.isSuccess(exit)) {
          least += by
          most += by
        } else if (Cause.hasInterruptsOnly(exit.cause)) {
          most += Math.max(by, 0)
        } else {
          const error = Cause.squash(exit.cause)
          assert.isTrue(error instanceof Actor.ActorStopped || (by < 0 && error instanceof Refused))
        }
      }
      for (const { by, fiber } of tells) if (Exit.isSuccess(yield* Fiber.await(fiber))) most += by
      assert.isTrue(status.state >= least && status.state <= most, `${least} <= ${status.state} <= ${most}`)
    })).pipe(Effect.provideService(References.MaxOpsBeforeYield, budget)), { arbitrary: { runs: 300 } })
})
