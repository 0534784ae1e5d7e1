/**
 * The laws of feeding among hosts of their own: network namespaces with addresses, cables that are pulled, delay and lose,
 * and a host that loses its power and comes back. What is sent to a host that is not there is lost without a word, which no
 * connection within one machine shows.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Logger, Redacted, type Schema, Stream } from "effect"
import { FailureTolerator, type Feed, Feeder, type RemoteDevices } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as Net from "node:net"
import * as Lab from "../fixtures/lab.ts"
import { Kept, Numbers } from "../fixtures/messages.ts"
import { type Process, startConsumerWithin, until } from "../fixtures/processes.ts"
import { assertEachSeen, type Handed, handed } from "../fixtures/seen.ts"

/** Long enough for a busy machine and a lost frame, short enough to wait for. */
const lease = 3000

/** It tries every 50 ms, for far longer than a host is away. */
const tolerate = FailureTolerator.make({ limit: 400, initDelay: 50, backoffFactor: 1 })

/** The network is the lab's own, so that it may go over it. */
const secret = "correct horse battery staple"

const port = 4001

/** Two on each host: a host is `[2 * number, 2 * number + 1]`. */
const nameOf = (replica: number) => `/job:consumer/replica:${replica}`

const replicasOf = (number: number): ReadonlyArray<number> => [2 * number, 2 * number + 1]

/** Feeds as many elements as consumers take, until told that it is enough. */
const startFeed = <Name extends string, Ack extends RemoteDevices.Acknowledge>(
  feed: Feed.Feed<Name, typeof Schema.Int, Ack>,
  addresses: Readonly<Record<string, string>>
) =>
  Effect.gen(function*() {
    let isEnough = false
    const source = function*() {
      for (let n = 0; !isEnough; n++) yield n
    }
    const made = yield* Feeder.make(feed, { lease, tolerate })
    const feeder = yield* made.set(source())
    yield* feeder.addRemoteDevices(Object.keys(addresses))
    const fiber = yield* Effect.forkScoped(feeder.run)
    return {
      feeder,
      finish: Effect.suspend(() => {
        isEnough = true
        return Effect.timeoutOrElse(Fiber.join(fiber), {
          duration: "40 seconds",
          orElse: () =>
            Effect.flatMap(feeder.status, (status) =>
              Effect.die(new Error(`the feed of ${feed.name} did not end: ${JSON.stringify(status, undefined, 1)}`)))
        })
      })
    }
  }).pipe(
    Effect.provide([
      SocketDevices.layer(addresses, { credential: Redacted.make(secret), allowPlaintextCredential: true }),
      Logger.layer([])
    ])
  )

/** Waits until all of these devices are so. */
const when = <S extends Feed.ElementSchema, E>(
  feeder: Feeder.Feeder<S, E>,
  replicas: ReadonlyArray<number>,
  check: (device: Feeder.Status["devices"][number]) => boolean
) =>
  feeder.changes.pipe(
    Stream.takeUntil(({ devices }) => replicas.every((replica) => check(devices[replica]!))),
    Stream.runDrain,
    Effect.timeout("20 seconds")
  )

/** How long it takes to connect there: once there and back. */
const connectMillis = (host: string, port: number): Effect.Effect<number> =>
  Effect.callback<number>((resume) => {
    const began = performance.now()
    const socket = Net.connect({ host, port })
    socket.once("error", (error) => resume(Effect.die(error)))
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed(performance.now() - began))
    })
    return Effect.sync(() => socket.destroy())
  }).pipe(Effect.timeout("20 seconds"), Effect.orDie)

/** From a host that was never away nothing is taken back: no element is handed out there twice. */
const assertOnceAt = (consumers: ReadonlyArray<Process>, feed: Handed["feed"]) => {
  const ordinals = handed(consumers, feed).map(({ ordinal }) => ordinal)
  assert.strictEqual(new Set(ordinals).size, ordinals.length)
}

it.live("three hosts: one is cut off, one is far and loses frames, one loses its power and comes back", ({ skip }) => {
  const missing = Lab.missing()
  // Where the tests must all run, there must be what they need.
  assert.isTrue(missing === undefined || process.env["CI"] === undefined, missing)
  if (missing !== undefined) skip(missing)
  return Effect.gen(function*() {
    const lab = yield* Lab.make
    const [cut, far, gone] = yield* Effect.all([
      lab.host(0),
      lab.host(1, { delayMillis: 20, loss: 0.015 }),
      lab.host(2)
    ])
    const startOn = (number: number, { within }: Lab.Host) =>
      Effect.forEach(replicasOf(number), (replica) =>
        startConsumerWithin(within, {
          port: 0,
          url: `tcp://0.0.0.0:${port + replica}`,
          credential: secret,
          device: nameOf(replica),
          feeds: ["numbers", "kept"],
          concurrency: 2,
          // The host that is cut off still has something to hand out when its lease has ended.
          millis: number === 0 ? 150 : 20
        }), { concurrency: "unbounded" })
    const consumers = yield* Effect.all([startOn(0, cut), startOn(1, far), startOn(2, gone)], {
      concurrency: "unbounded"
    })
    const [onCut, onFar, onGone] = consumers
    assert.isAtLeast(yield* connectMillis(far.address, port + 2), 40)

    const addresses = Object.fromEntries(
      [cut, far, gone].flatMap(({ address }, number) =>
        replicasOf(number).map((replica) => [nameOf(replica), `tcp://${address}:${port + replica}`])
      )
    )
    const processed = yield* startFeed(Numbers, addresses)
    const accepted = yield* startFeed(Kept, addresses)
    /** Both feeders wait for the same. */
    const whenBoth = (number: number, check: (device: Feeder.Status["devices"][number]) => boolean) =>
      Effect.all([
        when(processed.feeder, replicasOf(number), check),
        when(accepted.feeder, replicasOf(number), check)
      ], { concurrency: "unbounded" })
    /** Each of them is handed so many more elements of each feed. */
    const areFed = (consumers: ReadonlyArray<Process>, more = 20) =>
      Effect.forEach(consumers, (consumer) => {
        const before = (["numbers", "kept"] as const).map((feed) => [feed, handed([consumer], feed).length] as const)
        return until(`${consumer.name} is fed`, () =>
          before.every(([feed, count]) => handed([consumer], feed).length >= count + more))
      }, { concurrency: "unbounded" })

    yield* areFed(consumers.flat(), 10)

    yield* cut.unplug
    yield* whenBoth(0, ({ session }) => session === 2)
    yield* areFed([...onFar, ...onGone])
    const lapsed = handed(onCut, "numbers").length
    yield* areFed([...onFar, ...onGone])
    assert.strictEqual(handed(onCut, "numbers").length, lapsed, "what was taken back is not handed out")
    yield* cut.plug
    yield* whenBoth(0, ({ phase }) => phase === "Live")
    yield* areFed(onCut, 5)

    yield* gone.destroy
    yield* whenBoth(2, ({ session }) => session === 2)
    yield* areFed(onFar)
    const onAgain = yield* startOn(2, yield* lab.host(2))
    yield* whenBoth(2, ({ phase }) => phase === "Live")
    yield* areFed(onAgain)

    const ledgers = yield* Effect.all([processed.finish, accepted.finish], { concurrency: "unbounded" })
    const living = [...onCut, ...onFar, ...onAgain]
    const all = [...living, ...onGone]
    // They finish what they have accepted.
    for (const consumer of living) assert.deepStrictEqual(yield* consumer.exited, { code: 0, signal: null })

    const [ofProcessed, ofAccepted] = ledgers
    const even = { lost: 0, queued: 0, leased: 0, inDoubt: 0, dead: 0, dropped: 0 }
    const { generated } = ofProcessed
    assert.deepInclude(ofProcessed, { ...even, delivered: generated, held: 0, heldByDead: 0 })
    assertEachSeen(all, generated, 0, "numbers")
    assert.isAbove(ofProcessed.redelivered, 0)

    const { delivered, held, heldByDead } = ofAccepted
    assert.deepInclude(ofAccepted, { ...even, generated: delivered + held + heldByDead })
    assert.isAbove(heldByDead, 0)
    assertEachSeen(all, ofAccepted.generated, heldByDead, "kept")

    // Neither the distance nor what was lost on the way cost a link, and nobody else's fall did.
    for (const { devices } of [yield* processed.feeder.status, yield* accepted.feeder.status]) {
      for (const replica of replicasOf(1)) assert.deepInclude(devices[replica], { session: 1, failures: 0 })
    }
    for (const feed of ["numbers", "kept"] as const) assertOnceAt(onFar, feed)
    const { carried, lost } = yield* far.carried
    assert.isAbove(lost, 0, `of ${carried} frames`)
  }).pipe(Effect.scoped)
}, 120_000)
