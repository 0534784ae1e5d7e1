import { assert, describe, it } from "@effect/vitest"
import { Cause, type Duration, Effect, Exit, Fiber, Option } from "effect"
import * as Coordinator from "effect-feeder/actors/Coordinator"
import type * as Arbitrary from "effect/Arbitrary"
import { TestClock } from "effect/testing"
import { CoordinatorModel, type Kind, type Node } from "./CoordinatorModel.ts"
import { checks, falsified, scopedInTime, scripts, settle } from "./scripts.ts"

const Coordinators = scripts([
  ["ends", 3],
  ["fails", 2],
  ["dies", 1],
  ["waits", 3],
  ["slow", 3],
  ["stuck", 2],
  ["stuckFails", 2],
  ["failsLate", 2],
  ["interrupt", 3],
  ["child", 3],
  ["stopClean", 1],
  ["stopCause", 1],
  ["join", 5],
  ["pass", 6]
])
type CoordinatorScript = typeof Coordinators extends Arbitrary.Arbitrary<infer A> ? A : never

/** Sleeps in a fiber of its own, because the first sleep of a TestClock lets an interruption through a finalizer. */
const linger = (duration: Duration.Input) => Effect.flatMap(Effect.forkDetach(Effect.sleep(duration)), Fiber.join)

const behaviour = (kind: Kind, name: string, takes: number): Effect.Effect<unknown, string> => {
  const after = <E>(end: Effect.Effect<void, E>) => Effect.andThen(linger(takes), end)
  switch (kind) {
    case "ends":
      return Effect.sleep(takes)
    case "fails":
      return Effect.delay(Effect.fail(name), takes)
    case "dies":
      return Effect.delay(Effect.die(name), takes)
    case "waits":
      return Effect.never
    case "slow":
      return Effect.onInterrupt(Effect.never, () => linger(takes))
    case "stuck":
      return Effect.uninterruptible(after(Effect.void))
    case "stuckFails":
      return Effect.uninterruptible(after(Effect.fail(name)))
    case "failsLate":
      return Effect.onInterrupt(Effect.never, () => Effect.die(name))
  }
}

const answerOf = (fiber: Fiber.Fiber<void, string | Coordinator.StragglersLeft>): string | undefined => {
  const exit = fiber.pollUnsafe()
  if (exit === undefined || Exit.isSuccess(exit)) return exit && "done"
  const reason = Cause.squash(exit.cause)
  return reason instanceof Coordinator.StragglersLeft ? `left: ${reason.names.join()}` : String(reason)
}

/**
 * Runs a script on coordinators and their model, operation by operation: the same fibers run, each node stopped for the
 * same reason, and knows the same late failures; the same joins wait, and the others have the same answer.
 */
const agree = ({ make = () => new CoordinatorModel(), script }: {
  readonly script: CoordinatorScript
  readonly make?: () => CoordinatorModel
}) =>
  Effect.gen(function*() {
    const model = make()
    const coordinators = [yield* Coordinator.make<string>({ name: "0" })]
    const joins = new Map<number, Fiber.Fiber<void, string | Coordinator.StragglersLeft>>()
    const works: Array<{ readonly name: string; readonly fiber: Fiber.Fiber<unknown, string> }> = []

    for (const [index, { n, op, pick }] of script.entries()) {
      const on = pick % coordinators.length
      const coordinator = coordinators[on]!
      const node: Node = model.nodes[on]!
      const name = `${op} ${index}`
      // No two things happen at one moment: fibers end at .0xx, slow ones at .1xx, grace periods at .2xx or .3xx.
      const takes = n * 1000 + index + 1
      switch (op) {
        case "interrupt": {
          const running = works.filter(({ fiber }) => fiber.pollUnsafe() === undefined)
          const work = running[pick % running.length]
          if (work === undefined) break
          work.fiber.interruptUnsafe()
          for (const node of model.nodes) {
            for (const each of node.running.filter(({ name }) => name === work.name)) model.interrupt(node, each)
          }
          break
        }
        case "child":
          coordinators.push(yield* coordinator.child({ name: String(coordinators.length) }))
          model.child(node)
          break
        case "stopClean":
          assert.strictEqual(yield* coordinator.requestStop(), model.stop(node, ""), name)
          break
        case "stopCause":
          assert.strictEqual(yield* coordinator.requestStop(Cause.fail(name)), model.stop(node, name), name)
          break
        case "join":
          joins.set(index, yield* Effect.forkChild(coordinator.join({ gracePeriod: takes + 200 })))
          model.join(node, index, takes + 200)
          break
        case "pass":
          yield* TestClock.adjust(n * 1000)
          model.pass(n * 1000)
          break
        default: {
          const lasts = op === "slow" ? takes + 100 : takes
          works.push({ name, fiber: yield* coordinator.fork(name, behaviour(op, name, lasts)) })
          model.fork(node, name, op, lasts)
        }
      }
      yield* settle
      for (const [i, coordinator] of coordinators.entries()) {
        const { first, late, running } = model.nodes[i]!
        const isStopping = yield* coordinator.isStopping
        const why = isStopping
          ? Option.match(yield* coordinator.awaitStop, { onNone: () => "", onSome: (c) => String(Cause.squash(c)) })
          : undefined
        const lateFailures = yield* coordinator.lateFailures
        assert.deepStrictEqual(
          {
            running: yield* coordinator.running,
            first: why,
            late: lateFailures.map(({ cause, fiber }) => [fiber, Cause.squash(cause)])
          },
          { running: running.map(({ name }) => name), first, late: late.map((name) => [name, name]) },
          `node ${i} after step ${index}`
        )
      }
      const alive = works.filter(({ fiber }) => fiber.pollUnsafe() === undefined).map(({ name }) => name)
      const names = new Set(model.nodes.flatMap((node) => node.running).map(({ name }) => name))
      assert.deepStrictEqual(alive, works.map(({ name }) => name).filter((name) => names.has(name)))
      for (const [id, fiber] of joins) {
        assert.strictEqual(answerOf(fiber), model.answers.get(id), `join ${id} after step ${index}`)
      }
    }
  }).pipe(scopedInTime)

/** Thinks that a stop concerns only the node that is asked. */
class Unlinked extends CoordinatorModel {
  override child(of: Node) {
    super.child(of)
    of.children.pop()
  }
}

describe("Coordinator and its model", () => {
  it.effect.prop(
    "after each operation the same fibers run, and who joined has the same answer",
    {
      script: Coordinators
    },
    agree,
    checks(400)
  )

  it.effect("a divergence prints a short script and a token that replays it", () =>
    Effect.gen(function*() {
      const { input, printed } = yield* falsified(
        Coordinators,
        (script) => agree({ script, make: () => new Unlinked() })
      )
      assert.match(input.map(({ op }) => op).join(), /^child,stop(Clean|Cause)$/, printed)
      assert.include(printed, "\"op\": \"child\"")
    }))
})
