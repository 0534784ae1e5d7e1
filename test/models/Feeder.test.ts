import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Pull, Schema, type Scope, Stream } from "effect"
import { Feed, Feeder, MemoryDevices } from "effect-feeder"
import { QueueEnded } from "effect-feeder/FeedQueue"
import type { RemoteDevices } from "effect-feeder/RemoteDevices"
import { ManualSource } from "effect-feeder/testing"
import * as Arbitrary from "effect/Arbitrary"
import { TestClock } from "effect/testing"
import { FeederModel, type Hand, type Result } from "./FeederModel.ts"
import * as Rules from "./FeederRules.ts"
import { between, checks, type Command, falsified, scopedInTime, scripts, settle } from "./scripts.ts"

const Feeders = scripts([
  ["push", 8],
  ["end", 1],
  ["take", 2],
  ["takeMany", 2],
  ["takeUpTo", 2],
  ["interrupt", 3],
  ["run", 6],
  ["stop", 2],
  ["add", 5],
  ["remove", 2],
  ["consume", 10],
  ["finish", 5],
  ["giveBack", 3],
  ["reject", 1],
  ["pass", 3]
], 60)
type FeederScript = typeof Feeders extends Arbitrary.Arbitrary<infer A> ? A : never
type Op = FeederScript[number]["op"]

const Numbers = Feed.make("numbers", { element: Schema.Int, capacity: Rules.capacity })
const replica = (index: number) => `/job:consumer/replica:${index}`

/** A device, and a consumer there that takes an element when it is told to. */
const consumer = (index: number) =>
  Effect.gen(function*() {
    const host = yield* Layer.build(MemoryDevices.layerHost({ feeds: [Numbers], device: replica(index) }))
    return yield* Stream.toPull(Stream.provideContext(Numbers.elements, host))
  })

const leaseMillis = 1000

/**
 * Runs a script on a feeder with two devices and its model, operation by operation: the model finds nothing wrong with
 * who was given what and who waits, and has the same account.
 */
const agree = ({ begun, make = () => new FeederModel(), script }: {
  /** How many devices are fed from the beginning, in a run; with none it does not run. */
  readonly begun: number
  readonly script: FeederScript
  readonly make?: () => FeederModel
}) =>
  Effect.gen(function*() {
    const model = make()
    const source = yield* ManualSource.make<number>()
    const consumers = [yield* consumer(0), yield* consumer(1)]
    const feeder = yield* Effect.flatMap(
      Feeder.make(Numbers, { id: "f", lease: leaseMillis, maxAttempts: 1000, backOff: { initial: 0 } }),
      (made) => made.set(source.source)
    )
    const wrong: Array<string> = []
    const check = (isRight: boolean, what: string) => {
      if (!isRight) wrong.push(what)
    }
    /** What happens to fibers, in its order. */
    let events: Array<() => void> = []
    const takes = new Map<number, Fiber.Fiber<unknown, unknown>>()
    const pulls = new Map<number, Fiber.Fiber<unknown, unknown>>()
    const leases = new Map<Hand, Feed.Leased<number>>()

    const fork = <A, E>(effect: Effect.Effect<A, E>, told: (exit: Exit.Exit<A, E>) => void) =>
      Effect.forkScoped(Effect.onExit(effect, (exit) => Effect.sync(() => events.push(() => told(exit)))), {
        startImmediately: true
      })

    const take = (
      id: number,
      kind: "many" | "upTo",
      n: number,
      effect: Effect.Effect<Iterable<number>, QueueEnded>
    ) => {
      model.takes = [...model.takes, { id, kind, n }]
      return Effect.map(
        fork(effect, (exit) => {
          takes.delete(id)
          if (Exit.isSuccess(exit)) {
            const values = [...exit.value]
            wrong.push(...Rules.ofTaken(model, id, values))
            return model.taken(id, values)
          }
          const error = Cause.squash(exit.cause)
          if (error instanceof QueueEnded) wrong.push(...Rules.ofEnded(model, id, error))
          else check(Cause.hasInterruptsOnly(exit.cause), `take ${id}: ${Cause.pretty(exit.cause)}`)
          model.hasReturned = true // what it had collected
          model.taken(id, [])
        }),
        (fiber) => {
          if (fiber.pollUnsafe() === undefined) takes.set(id, fiber)
        }
      )
    }

    const consume = (index: number) => {
      const device = model.devices[index]!
      if (device.isAwaited) return Effect.void
      device.isAwaited = device.isKnown = true
      return Effect.map(
        fork(consumers[index]!, (exit) => {
          const now = model.devices[index]!
          now.isAwaited = false
          pulls.delete(index)
          if (Exit.isSuccess(exit)) {
            for (const leased of exit.value) {
              const { value } = leased
              const delivery = leased.deliveries[0]!
              wrong.push(...Rules.ofHanded(model, index, { value, ...delivery }))
              leases.set(model.handed(index, value, delivery.attempt), leased)
            }
          } else if (Pull.isDoneCause(exit.cause)) now.isToldSo = true
          else check(Cause.hasInterruptsOnly(exit.cause), `consumer ${index}: ${Cause.pretty(exit.cause)}`)
        }),
        (fiber) => {
          if (fiber.pollUnsafe() === undefined) pulls.set(index, fiber)
        }
      )
    }

    const settleOne = (pick: number, result: Result) => {
      const hands = [...model.hands]
      const hand = hands[pick % hands.length]
      const leased = hand && leases.get(hand)
      if (hand === undefined || leased === undefined) return Effect.void
      model.settle(hand, result)
      if (result === "done") return leased.acknowledge
      return leased.settle(result === "retry" ? Feed.retry() : Feed.reject("no"))
    }

    const status = Effect.map(feeder.status, ({ devices, hasEnded, isRunning, ledger }) => ({
      ledger,
      devices: devices.map(({ device }) => device),
      hasEnded,
      isRunning,
      leased: [0, 1].map((index) => ledger.devices.find(({ device }) => device === replica(index))?.leased ?? 0)
    }))

    const act = ({ n, op, pick }: Command<Op>, id: number): Effect.Effect<void, never, RemoteDevices | Scope.Scope> =>
      Effect.gen(function*() {
        const device = pick % 2
        switch (op) {
          case "push":
            if (model.isSourceEnded) return
            yield* source.push(...Array.from({ length: n }, (_, i) => model.elements.length + i))
            return model.push(n)
          case "end":
            model.isSourceEnded = true
            return yield* source.end
          case "take":
            return yield* take(id, "many", 1, Effect.map(feeder.take, (value) => [value]))
          case "takeMany":
            return yield* take(id, "many", n + 1, feeder.takeMany(n + 1))
          case "takeUpTo":
            return yield* take(id, "upTo", n + 1, feeder.takeUpTo(n + 1))
          case "interrupt": {
            const waiting = [...takes.values(), ...pulls.values()]
            return waiting[pick % waiting.length]?.interruptUnsafe()
          }
          case "run": {
            const why = model.run()
            return yield* Effect.asVoid(fork(feeder.run, (exit) => {
              const reason = Exit.isSuccess(exit) ? "" : String(Cause.squash(exit.cause))
              check(
                reason === "" ? why === "" : why !== "" && reason.includes(why),
                `run ${id} (${why}): ${reason}`
              )
            }))
          }
          case "stop":
            model.isRunning = false
            return yield* feeder.stop
          case "add": {
            const exit = yield* Effect.exit(feeder.addRemoteDevice(replica(device)))
            return check(Exit.isSuccess(exit) === model.add(device), `add ${id}`)
          }
          case "remove": {
            const { leased } = yield* status
            const exit = yield* Effect.exit(feeder.removeRemoteDevice(replica(device)))
            return check(Exit.isSuccess(exit) === model.remove(device, leased[device]!), `remove ${id}`)
          }
          case "consume":
            return yield* consume(device)
          case "finish":
            return yield* settleOne(pick, "done")
          case "giveBack":
            return yield* settleOne(pick, "retry")
          case "reject":
            return yield* settleOne(pick, "reject")
          case "pass":
            // A lease and what a feeder adds to it, while devices hear of it.
            if (!model.isRunning) return
            for (let i = 0; i < 12; i++) {
              yield* TestClock.adjust(leaseMillis / 10)
              yield* settle
            }
            model.delayed = 0
        }
      })

    let steps = 0
    const step = (command: Command<Op>) =>
      Effect.gen(function*() {
        const acted = yield* Effect.forkChild(act(command, steps))
        yield* settle
        assert.isDefined(command.op === "pass" || acted.pollUnsafe(), `step ${steps} does not end`)
        yield* Fiber.join(acted)
        const happened = events
        events = []
        for (const tell of happened) tell()
        const { devices, hasEnded, isRunning, leased, ledger } = yield* status
        wrong.push(...Rules.ofRest(model, { generated: ledger.generated, queued: ledger.queued, leased }))
        model.rest(ledger.generated)
        wrong.push(...Rules.ofEnd(model))
        assert.strictEqual(wrong.join("; "), "", `step ${steps}`)
        const out = model.generated - model.delivered - model.dead
        const { accepted: _1, devices: _2, fenced: _4, generated: _3, inDoubt, leased: all, queued, ...counts } = ledger
        assert.deepStrictEqual(
          { ...counts, hasEnded, isRunning, devices, inDoubt, out: queued + all },
          {
            held: 0,
            heldByDead: 0,
            dropped: 0,
            lost: 0,
            delivered: model.delivered,
            dead: model.dead,
            redelivered: model.redelivered,
            hasEnded: model.hasEnded,
            isRunning: model.isRunning,
            devices: model.fed.map(replica),
            inDoubt: model.isRunning ? 0 : all,
            out
          },
          `step ${steps}`
        )
        assert.deepStrictEqual([...takes.keys()], model.takes.map(({ id }) => id), `step ${steps}`)
        steps++
      })

    const also = (op: Op, pick = 0) => step({ op, n: 0, pick })
    for (let device = 0; device < begun; device++) yield* also("add", device)
    if (begun > 0) yield* also("run")
    for (const command of script) yield* step(command)
    // Whatever happened, the feed can be brought to its end, with each element in its place.
    for (const op of ["run", "add", "end", "pass"] as const) yield* also(op)
    for (let i = 0; i < 2 * model.elements.length + 10 && !model.hasEnded; i++) {
      for (const device of model.fed) yield* also("consume", device)
      while (model.hands.size > 0) yield* also("finish")
    }
    assert.isTrue(model.hasEnded, "it does not end")
    assert.deepStrictEqual(model.elements.filter(({ isOut }) => isOut), [])
  }).pipe(scopedInTime, Effect.provide(MemoryDevices.layerNetwork))

/** Thinks that an element that a consumer gives back is finished. */
class Forgetful extends FeederModel {
  override settled(hand: Hand, result: Result) {
    super.settled(hand, result === "retry" ? "done" : result)
  }
}

describe("Feeder and its model", () => {
  const begun = between(0, 2)

  it.effect.prop(
    "after each step the account is the same, and nobody waits who could go on",
    {
      begun,
      script: Feeders
    },
    agree,
    checks(200)
  )

  it.effect("a divergence prints a short script and a token that replays it", () =>
    Effect.gen(function*() {
      const make = () => new Forgetful()
      const { input, printed } = yield* falsified(
        Arbitrary.all({ begun, script: Feeders }),
        (input) => agree({ ...input, make })
      )
      const ops = input.script.map(({ op }) => op)
      assert.isAtMost(ops.length, 5, printed)
      assert.includeMembers(ops, ["push", "consume", "giveBack"])
      assert.include(printed, "\"op\": \"giveBack\"")
    }))
})
