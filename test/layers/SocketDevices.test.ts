/**
 * The laws of feeding over real sockets: consumers, and where it matters feeders, are processes of their own that are
 * killed, stopped and cut off.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Logger } from "effect"
import { FailureTolerator, type Feed, Feeder, type Ledger, type RemoteDevices } from "effect-feeder"
import type { Source } from "effect-feeder/actors/QueueRunner"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import type * as Schema from "effect/Schema"
import { Kept, Numbers } from "../fixtures/messages.ts"
import { freePort, makeProxy, type Process, startConsumer, until } from "../fixtures/processes.ts"

const lease = 1000

const nameOf = (replica: number) => `/job:consumer/replica:${replica}`

/** Patient enough for any test: it tries every 50 ms, for 20 seconds. */
const patient = FailureTolerator.make({ limit: 400, initDelay: 50, backoffFactor: 1 })

const numbers = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: to - from }, (_, i) => from + i)

/** Feeds in this process to replicas at ports of this machine; gives the feeder and, once it has ended, its account. */
const feed = <Name extends string, Ack extends RemoteDevices.Acknowledge, S extends Source<number, never, never>>(
  feed: Feed.Feed<Name, typeof Schema.Int, Ack>,
  source: S,
  ports: ReadonlyArray<number>,
  options: Feeder.Options = {}
) =>
  Effect.gen(function*() {
    const made = yield* Feeder.make(feed, { lease, tolerate: patient, ...options })
    const feeder = yield* made.set(source)
    yield* feeder.addRemoteReplicas("consumer", ports.length)
    const fiber = yield* Effect.forkScoped(feeder.run)
    return { feeder, ledger: Fiber.join(fiber) }
  }).pipe(
    Effect.provide(SocketDevices.layer(
      Object.fromEntries(ports.map((port, i) => [nameOf(i), `tcp://127.0.0.1:${port}`]))
    )),
    Effect.provide(Logger.layer([]))
  )

const handed = (consumers: ReadonlyArray<Process>) => consumers.flatMap((consumer) => consumer.all("Handed"))

/** Laws 3 and 4, by what the consumers saw: no element unseen, none doubled without a mark, and each is what it was. */
const assertEachSeen = (consumers: ReadonlyArray<Process>, count: number, mayBeUnseen = 0) => {
  const unmarked = new Map<number, number>()
  const seen = new Set<number>()
  for (const { attempt, element, ordinal, redelivered } of handed(consumers)) {
    assert.strictEqual(element, ordinal)
    if (attempt > 1) assert.isTrue(redelivered)
    seen.add(ordinal)
    if (!redelivered) unmarked.set(ordinal, (unmarked.get(ordinal) ?? 0) + 1)
  }
  const doubled = [...unmarked].filter(([, times]) => times > 1).map(([ordinal]) => ordinal)
  assert.deepStrictEqual(doubled, [], "handed out twice without a mark")
  const unseen = numbers(0, count).filter((ordinal) => !seen.has(ordinal))
  assert.isAtMost(unseen.length, mayBeUnseen, `never handed out: ${unseen.slice(0, 20).join(", ")}`)
  return unseen.length
}

const assertExact = (ledger: Ledger.Ledger, count: number) => {
  const { accepted, dead, delivered, dropped, generated, heldByDead, inDoubt, leased, lost, queued, redelivered } = ledger
  assert.deepStrictEqual(
    { accepted, dead, delivered, dropped, generated, heldByDead, inDoubt, leased, lost, queued, redelivered },
    {
      accepted: count,
      dead: 0,
      delivered: count,
      dropped: 0,
      generated: count,
      heldByDead: 0,
      inDoubt: 0,
      leased: 0,
      lost: 0,
      queued: 0,
      redelivered: 0
    }
  )
}

const failuresOf = <S extends Feed.ElementSchema, E>(feeder: Feeder.Feeder<S, E>) =>
  Effect.map(feeder.status, ({ devices }) => devices.map(({ failures }) => failures))

it.live("two consumers share a feed", () =>
  Effect.gen(function*() {
    const ports = [yield* freePort, yield* freePort]
    const consumers = yield* Effect.forEach(ports, (port) => startConsumer({ port, feeds: ["numbers"] }), {
      concurrency: "unbounded"
    })
    const { feeder, ledger } = yield* feed(Numbers, numbers(0, 4000), ports)
    assertExact(yield* ledger, 4000)
    for (const consumer of consumers) assert.deepStrictEqual(yield* consumer.exited, { code: 0, signal: null })
    assertEachSeen(consumers, 4000)
    assert.strictEqual(handed(consumers).length, 4000)
    for (const consumer of consumers) assert.isAbove(handed([consumer]).length, 100)
    assert.deepStrictEqual(yield* failuresOf(feeder), [0, 0])
  }))
