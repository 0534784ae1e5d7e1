import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Schema, Stream } from "effect"
import * as FeedQueue from "effect-feeder/FeedQueue"
import * as Arbitrary from "effect/Arbitrary"
import * as Scheduler from "effect/Scheduler"
import { TestClock } from "effect/testing"
import { chance } from "../chance.ts"
import { takeThrough as through } from "../fixtures/takeThrough.ts"
import { type Answer, FeedQueueModel, type Kind } from "./FeedQueueModel.ts"
import { between, checks, falsified, scripts, settle } from "./scripts.ts"

const { QueueClosed, QueueEnded } = FeedQueue

/** A queue of numbers, each an entry of its own. */
const plain = FeedQueue.make<number>

type Numbers = FeedQueue.FeedQueue<number>

/** A queue of numbers that are offered and put back in spans of up to `longest`. */
const spanned = (longest: number) => (options: FeedQueue.Options<number>): Effect.Effect<Numbers> => {
  const { capacity, isCurrent, onHandOut } = options
  type Span = ReadonlyArray<number>
  const apart = (spans: ReadonlyArray<Span>) => spans.flat()
  const together = (numbers: ReadonlyArray<number>) => {
    const spans: Array<Span> = []
    for (let i = 0; i < numbers.length; i += longest) spans.push(numbers.slice(i, i + longest))
    return spans
  }
  return Effect.map(
    FeedQueue.make<Span>({
      capacity,
      spans: { lengthOf: (span) => span.length, slice: (span, from, to) => span.slice(from, to) },
      ...(isCurrent === undefined ? {} : { isCurrent: (span) => span.length > 1 || isCurrent(span[0]!) }),
      ...(onHandOut === undefined ? {} : { onHandOut: (spans, isCut) => onHandOut(apart(spans), isCut) })
    }),
    (queue): Numbers => ({
      ...queue,
      offer: (element) => queue.offer([element]),
      offerAll: (elements, onAdmit) => queue.offerAll(together(elements), onAdmit),
      take: Effect.map(queue.take, ([element]) => element!),
      takeMany: (n) => Effect.map(queue.takeMany(n), apart),
      takeUpTo: (n) => Effect.map(queue.takeUpTo(n), apart),
      takeWithin: (n, duration) => Effect.map(queue.takeWithin(n, duration), apart),
      takeAvailable: (n) => Effect.map(queue.takeAvailable(n), apart),
      taker: ({ most, onTake, onTurn }) => queue.taker({ most, onTake: (spans) => onTake(apart(spans)), onTurn }),
      elements: Stream.flatMap(queue.elements, Stream.fromIterable),
      batches: () => Stream.die("not used"),
      restore: (elements) => queue.restore(together(elements)),
      restoreUnsafe: (elements) => queue.restoreUnsafe(together(elements)),
      admitUnsafe: (elements) => queue.admitUnsafe(together(elements)),
      removeWhereUnsafe: (predicate) => apart(queue.removeWhereUnsafe((span, index) => predicate(span[index]!, 0)))
    })
  )
}

const start = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })
const isWaiting = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.pollUnsafe() === undefined

type Operation = Effect.Effect<number | ReadonlyArray<number> | void, FeedQueue.QueueClosed | FeedQueue.QueueEnded>
type Running = Fiber.Fiber<Effect.Success<Operation>, Effect.Error<Operation>>

const answerOf = (fiber: Running): Answer | undefined => {
  const exit = fiber.pollUnsafe()
  if (exit === undefined) return undefined
  if (Exit.isSuccess(exit)) {
    if (exit.value === undefined) return { _tag: "Done" }
    return {
      _tag: "Taken",
      elements: typeof exit.value === "number" ? [exit.value] : exit.value as ReadonlyArray<number>
    }
  }
  if (Cause.hasInterruptsOnly(exit.cause)) return { _tag: "Interrupted" }
  const error = Cause.squash(exit.cause)
  if (error instanceof QueueClosed) return { _tag: "Closed" }
  if (error instanceof QueueEnded) return { _tag: "Ended", requested: error.requested, left: error.left }
  throw error
}

const Queues = scripts([
  ["offer", 4],
  ["offerAll", 5],
  ["take", 4],
  ["takeMany", 4],
  ["takeUpTo", 2],
  ["takeAvailable", 2],
  ["takeWithin", 3],
  ["interrupt", 6],
  ["restore", 2],
  ["removeWhere", 2],
  ["admit", 1],
  ["flush", 1],
  ["tick", 3],
  ["close", 1],
  ["closeNow", 1]
])
type QueueScript = typeof Queues extends Arbitrary.Arbitrary<infer A> ? A : never
const capacities = between(1, 4)

/** Runs a script on a queue and its model, operation by operation: the same fibers wait, the others have the same answer. */
const agree = ({ capacity, make = (capacity) => new FeedQueueModel(capacity), open = plain, script }: {
  readonly capacity: number
  readonly script: QueueScript
  readonly open?: typeof plain
  readonly make?: (capacity: number) => FeedQueueModel
}) =>
  Effect.gen(function*() {
    const queue = yield* open({ capacity })
    const model = make(capacity)
    const fibers: Array<Running> = []
    const admitted: Array<number> = []
    const outside: Array<number> = [] // taken or removed, to be restored
    const known = new Set<number>()
    let element = 0
    const fresh = (count: number) => Array.from({ length: count }, () => ++element)

    for (const { n, op, pick } of script) {
      const id = fibers.length
      const run = (operation: Operation) =>
        Effect.map(start(operation), (fiber) => {
          fibers.push(fiber)
        })
      const take = (kind: Kind, n: number, millis = 0) => model.take(id, kind, n, millis)
      switch (op) {
        case "offer": {
          const [a] = fresh(1)
          yield* run(queue.offer(a!))
          model.offer(id, [a!])
          break
        }
        case "offerAll": {
          const as = fresh(n)
          admitted[id] = 0
          yield* run(queue.offerAll(as, (count) => admitted[id]! += count))
          model.offer(id, as)
          break
        }
        case "take":
          yield* run(queue.take)
          take("many", 1)
          break
        case "takeMany":
          yield* run(queue.takeMany(n))
          take("many", n)
          break
        case "takeUpTo":
          yield* run(queue.takeUpTo(n))
          take("upTo", n)
          break
        case "takeAvailable":
          yield* run(queue.takeAvailable(n))
          take("available", n)
          break
        case "takeWithin":
          yield* run(queue.takeWithin(n, pick % 4))
          take("within", n, pick % 4)
          break
        case "interrupt": {
          const waiting = fibers.flatMap((fiber, id) => isWaiting(fiber) ? [id] : [])
          if (waiting.length > 0) {
            const id = waiting[pick % waiting.length]!
            yield* Fiber.interrupt(fibers[id]!)
            model.interrupt(id)
          }
          break
        }
        case "restore": {
          const back = n === 0 ? [] : outside.splice(-n)
          yield* queue.restore(back)
          model.restore(back)
          break
        }
        case "removeWhere": {
          const matches = (element: number) => element % 3 === pick % 3
          const removed = queue.removeWhereUnsafe(matches)
          assert.deepStrictEqual(removed, model.remove(matches))
          outside.push(...removed)
          break
        }
        case "admit": {
          const as = fresh(n)
          assert.strictEqual(queue.admitUnsafe(as), !model.isClosed)
          model.admit(as)
          break
        }
        case "flush":
          queue.flushUnsafe(pick < 3)
          model.flush(pick < 3)
          break
        case "tick":
          yield* TestClock.adjust(1)
          model.tick()
          break
        case "close":
          yield* run(queue.close())
          model.offer(id, "close")
          break
        case "closeNow":
          yield* queue.close({ cancelPending: true })
          model.closeNow()
          break
      }
      yield* settle
      for (const [id, fiber] of fibers.entries()) {
        if (known.has(id)) continue
        const answer = answerOf(fiber)
        assert.deepStrictEqual(answer, model.answers.get(id), `operation ${id}`)
        if (admitted[id] !== undefined) assert.strictEqual(admitted[id], model.admitted.get(id))
        if (answer !== undefined) known.add(id)
        if (answer?._tag === "Taken") outside.push(...answer.elements)
      }
      assert.deepStrictEqual(
        [queue.sizeUnsafe(), queue.heldUnsafe(), queue.isClosedUnsafe()],
        [model.size(), model.stored.length, model.isClosed]
      )
    }
    assert.deepStrictEqual(queue.removeWhereUnsafe(() => true), model.stored)
  })

/** The reference: an interrupted batch drops what it has collected. */
class Dropping extends FeedQueueModel {
  override interrupt(id: number) {
    const [take] = this.takes
    if (take?.id === id) this.stored.splice(0, take.n)
    super.interrupt(id)
  }
}

describe("FeedQueue and its model", () => {
  it.effect.prop(
    "after each operation the same fibers wait and the others have the same answer",
    {
      capacity: capacities,
      script: Queues
    },
    agree,
    checks(300)
  )

  it.effect.prop(
    "so it is with elements in spans",
    {
      capacity: capacities,
      longest: between(1, 5),
      script: Queues
    },
    ({ capacity, longest, script }) => agree({ capacity, script, open: spanned(longest) }),
    checks(300)
  )

  for (const preemption of [0, 0.05, 0.4]) {
    it.effect.prop(`conserved, in order, bounded and awake, with fibers that are preempted at ${preemption}`, {
      capacity: capacities,
      longest: between(1, 4),
      seed: Arbitrary.schema(Schema.Natural),
      script: Queues
    }, ({ capacity, longest, script, seed }) => {
      const { next } = chance(seed)
      const open = longest === 1 ? plain : spanned(longest)
      const raced = race({ capacity, open, script, chance: next })
      return Effect.provideService(raced, Scheduler.Scheduler, preempting(preemption, next))
    }, checks(300))
  }

  it.effect("a divergence prints a short script and a token that replays it", () =>
    Effect.gen(function*() {
      const make = (capacity: number) => new Dropping(capacity)
      const { input, printed } = yield* falsified(
        Arbitrary.all({ capacity: capacities, script: Queues }),
        (input) => agree({ ...input, make })
      )
      const ops = input.script.map(({ op }) => op)
      assert.isAtMost(ops.length, 3, printed)
      assert.include(ops, "interrupt")
      for (const op of ops) assert.include(printed, `"op": "${op}"`)
    }))
})

/**
 * Preempts by chance, but never the first step of a fiber: Effect 4.1 starts a fiber that is interrupted before that
 * step and preempted there, as if it had not been interrupted.
 */
const preempting = (probability: number, chance: () => number) => {
  const started = new WeakSet<Fiber.Fiber<unknown, unknown>>()
  return new (class extends Scheduler.MixedScheduler {
    override shouldYield(fiber: Fiber.Fiber<unknown, unknown>) {
      if (started.has(fiber)) return chance() < probability || super.shouldYield(fiber)
      started.add(fiber)
      return false
    }
  })()
}

/**
 * Runs a script without waiting for its operations. `held` follows the queue in the very steps that move elements, so
 * whatever is lost, doubled or out of order shows at once; when all is quiet nobody may wait who could go on.
 */
const race = ({ capacity, chance, open: make, script }: {
  readonly capacity: number
  readonly open: typeof plain
  readonly script: QueueScript
  readonly chance: () => number
}) =>
  Effect.gen(function*() {
    const wrong: Array<string> = []
    const check = (isRight: boolean, what: string) => {
      if (!isRight) wrong.push(what)
    }
    let held: Array<number> = []
    let onTheWay: ReadonlyArray<number> = []
    const discarded = new Set<number>() // by a take that takes through, before it is told that they were admitted
    const outside: Array<number> = []
    let excess = false
    let most = 1
    let last = 0
    let open: number | undefined // the offer that has admitted a part of its elements
    const interrupted = new Set<number>()
    const fresh = (count: number) => Array.from({ length: count }, () => ++last)

    const queue = yield* make({
      capacity,
      isCurrent(element) {
        if (chance() > 0.05) return true
        if (!held.includes(element)) discarded.add(element)
        held = held.filter((other) => other !== element)
        return false
      },
      onHandOut(batch) {
        check(onTheWay.length === 0, `${onTheWay} was handed out and did not arrive`)
        check(String(held.splice(0, batch.length)) === String(batch), `${batch} was not in front`)
        onTheWay = batch
      }
    })

    const offers: Array<Running> = []
    const takes: Array<{ readonly fiber: Running; readonly least: number }> = []
    const interruptOne = () => {
      const waiting = [...offers, ...takes.map(({ fiber }) => fiber)].filter(isWaiting)
      if (waiting.length === 0) return
      const fiber = waiting[Math.floor(chance() * waiting.length)]!
      interrupted.add(offers.indexOf(fiber))
      fiber.interruptUnsafe()
    }
    const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: chance() < 0.7 })
    const admit = (offer: number, elements: ReadonlyArray<number>, isLast: boolean) => {
      check(
        open === undefined || open === offer || interrupted.has(open),
        `${elements} came between the parts of others`
      )
      open = isLast ? undefined : offer
      held.push(...elements.filter((element) => !discarded.has(element)))
      check(excess || held.length <= capacity + most - 1, `${held} is too much`)
    }
    const offer = (effect: Effect.Effect<void, FeedQueue.QueueClosed>) =>
      Effect.map(fork(effect), (fiber) => {
        offers.push(fiber)
      })
    const arrive = (taken: number | ReadonlyArray<number>) => {
      check(String(taken) === String(onTheWay), `${taken} arrived instead of ${onTheWay}`)
      outside.push(...onTheWay)
      onTheWay = []
    }
    const take = (
      effect: Effect.Effect<number | ReadonlyArray<number>, FeedQueue.QueueEnded>,
      least: number,
      need = least
    ) => {
      most = Math.max(most, need)
      // `map` goes on in the step of the take: nothing can come in between.
      const arrived = Effect.map(effect, (taken) => {
        arrive(taken)
        if (chance() < 0.2) interruptOne()
      })
      return Effect.map(fork(arrived), (fiber) => {
        takes.push({ fiber, least })
      })
    }
    /** It is told in the step that takes, and what comes with it from an offer before that. */
    const takeThrough = (n: number) => {
      most = Math.max(most, n + 1)
      return Effect.map(fork(through(queue, () => n, arrive)), (fiber) => {
        takes.push({ fiber, least: 1 })
      })
    }

    for (const { n, op, pick } of script) {
      switch (op) {
        case "offer": {
          const [id, elements] = [offers.length, fresh(1)]
          yield* offer(Effect.map(queue.offer(elements[0]!), () => {
            admit(id, elements, true)
            if (chance() < 0.2) interruptOne()
          }))
          break
        }
        case "offerAll": {
          const id = offers.length
          let rest: ReadonlyArray<number> = fresh(n)
          yield* offer(queue.offerAll(rest, (count) => {
            admit(id, rest.slice(0, count), count === rest.length)
            rest = rest.slice(count)
          }))
          break
        }
        case "take":
          yield* take(queue.take, 1)
          break
        case "takeMany":
          yield* take(queue.takeMany(n), n)
          break
        case "takeUpTo":
          yield* take(queue.takeUpTo(n), n)
          break
        case "takeAvailable":
          if (n === 0 || pick % 2 === 0) yield* take(queue.takeAvailable(n), 1)
          else yield* takeThrough(n)
          break
        case "takeWithin":
          yield* take(queue.takeWithin(n, pick % 4), 1, n)
          break
        case "interrupt":
          interruptOne()
          break
        case "restore": {
          const back = n === 0 ? [] : outside.splice(-n)
          excess ||= back.length > 0
          held.unshift(...back)
          queue.restoreUnsafe(back)
          break
        }
        case "removeWhere": {
          const matches = (element: number) => element % 3 === pick % 3
          check(String(queue.removeWhereUnsafe(matches)) === String(held.filter(matches)), "removed something else")
          outside.push(...held.filter(matches))
          held = held.filter((element) => !matches(element))
          break
        }
        case "admit": {
          const elements = fresh(n)
          excess ||= n > 0
          if (queue.admitUnsafe(elements)) held.push(...elements)
          break
        }
        case "flush":
          queue.flushUnsafe(pick < 3)
          break
        case "tick":
          yield* TestClock.adjust(1)
          break
        case "close":
          yield* offer(queue.close())
          break
        case "closeNow":
          queue.closeNowUnsafe()
          break
      }
      for (let turns = pick % 3; turns > 0; turns--) yield* Effect.yieldNow
    }

    const quiet = Effect.repeat(Effect.andThen(TestClock.adjust(4), settle), { times: 5 })
    yield* quiet
    const waitingTakes = takes.filter(({ fiber }) => isWaiting(fiber))
    const isOfferWaiting = offers.some(isWaiting)
    check(!(isOfferWaiting && waitingTakes.length > 0), "offers and takes both wait")
    check(!isOfferWaiting || held.length >= capacity, `offers wait beside ${held}`)
    check(
      waitingTakes.length === 0 || held.length < Math.max(...waitingTakes.map(({ least }) => least)),
      `takes wait beside ${held}`
    )
    if (queue.isClosedUnsafe()) check(!isOfferWaiting && waitingTakes.length === 0, "someone waits at a closed queue")
    check(queue.heldUnsafe() === held.length, `it holds ${queue.heldUnsafe()} instead of ${held}`)

    queue.closeNowUnsafe()
    yield* quiet
    for (const fiber of [...offers, ...takes.map(({ fiber }) => fiber)]) check(answerOf(fiber) !== undefined, "waits")
    check(onTheWay.length === 0, `${onTheWay} was handed out and did not arrive`)
    assert.deepStrictEqual(wrong, [])
    assert.deepStrictEqual(queue.removeWhereUnsafe(() => true), held)
  })
