/**
 * A peer in Python, written from `docs/protocol.md` alone, with a feeder and a host of this package, over TCP.
 */
import { assert, describe, it } from "@effect/vitest"
import { FailureTolerator, Feed, Feeder } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { RemoteDevices } from "effect-feeder/RemoteDevices"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { freePort } from "../fixtures/processes.ts"
import { asJson, columns, Kept, Kinds, kindsColumns, kindsOf, sample, Samples } from "./feeds.ts"
import * as Python from "./python.ts"

const device = "/job:consumer/replica:0"

const samples = function*(count: number) {
  for (let i = 0; i < count; i++) yield sample(i)
}

/** What the peer tells of elements, as numbers. */
const ordinals = (lines: ReadonlyArray<Python.Line>) => lines.map((line) => Number(line["ordinal"]))

const range = (count: number) => Array.from({ length: count }, (_, i) => i)

const sorted = (numbers: ReadonlyArray<number>) => numbers.toSorted((a, b) => a - b)

describe("a device in Python", () => {
  const feedTo = (
    feed: typeof Samples | typeof Kept,
    port: number,
    count: number
  ) =>
    Effect.suspend(() => {
      const options = {
        id: "feeder-1",
        source: samples(count),
        devices: [device],
        lease: "3 seconds",
        tolerate: FailureTolerator.make({ limit: 20, initDelay: 20, backoffFactor: 1 })
      } as const
      return feed.acknowledge === "processed" ? Feeder.run(Samples, options) : Feeder.run(Kept, options)
    }).pipe(Effect.provide(SocketDevices.layer({ [device]: `tcp://127.0.0.1:${port}` })))

  it.live(
    "is fed through cuts, and every element is finished once, or given again as it asks",
    () =>
      Effect.gen(function*() {
        const port = yield* freePort
        const count = 1000
        const peer = yield* Python.start("device", {
          port,
          feed: "samples",
          columns,
          acknowledge: "processed",
          capacity: 12,
          cutAt: [100, 101, 400, 700],
          retryEvery: 50,
          rejectEvery: 100
        })
        yield* peer.printed("Up")
        const ledger = yield* feedTo(Samples, port, count)
        assert.strictEqual(yield* peer.exited, 0)
        assert.deepStrictEqual(peer.lines("Broken"), [])
        assert.strictEqual(peer.lines("Cuts").length, 4)
        assert.deepStrictEqual([ledger.generated, ledger.lost], [count, 0])
        assert.strictEqual(ledger.dead, 10)
        assert.strictEqual(ledger.delivered, count - 10)
        // Those that were given back come again, marked; all others come once, though links broke.
        const handed = peer.lines("Handed")
        const retried = range(count).filter((i) => i % 50 === 1)
        assert.deepStrictEqual(sorted(ordinals(handed)), sorted([...range(count), ...retried]))
        assert.strictEqual(ledger.redelivered, retried.length)
        for (const { attempt, element, ordinal } of handed) {
          const { pixel, ...rest } = sample(Number(ordinal))
          assert.deepStrictEqual(element, { ...rest, pixel: [...pixel] })
          assert.isTrue(attempt === 1 || (attempt === 2 && retried.includes(Number(ordinal))))
        }
        assert.isTrue(peer.lines("Welcomes").every((line) => line["session"] === 1 && line["version"] === 2))
      }),
    60_000
  )

  it.live("that acknowledges what it has accepted", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const peer = yield* Python.start("device", {
        port,
        feed: "kept",
        columns,
        acknowledge: "accepted",
        cutAt: [50, 200],
        windowBytes: 300
      })
      yield* peer.printed("Up")
      const ledger = yield* feedTo(Kept, port, 500)
      assert.strictEqual(yield* peer.exited, 0)
      assert.deepStrictEqual(peer.lines("Broken"), [])
      assert.deepStrictEqual([ledger.delivered + ledger.held, ledger.lost, ledger.redelivered], [500, 0, 0])
      assert.deepStrictEqual(ordinals(peer.lines("Handed")), range(500))
    }), 60_000)

  it.live("of version 1 is fed as such, and sent no ids", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const settings = { port, feed: "samples", columns, acknowledge: "processed", versions: [1, 1] }
      const peer = yield* Python.start("device", settings)
      yield* peer.printed("Up")
      const ledger = yield* feedTo(Samples, port, 50)
      assert.strictEqual(yield* peer.exited, 0)
      assert.strictEqual(ledger.delivered, 50)
      assert.deepStrictEqual(peer.lines("Broken"), [])
      assert.isTrue(peer.lines("Welcomes").every((line) => line["version"] === 1))
      assert.isTrue(peer.lines("Accepted").every((line) => line["kind"] === 1))
    }), 60_000)

  it.live("of version 1 refuses a feed that needs version 2", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const settings = { port, feed: "samples", columns, acknowledge: "processed", versions: [1, 1] }
      const peer = yield* Python.start("device", settings)
      yield* peer.printed("Up")
      const once = Feed.make("samples", { element: Samples.element, delivery: "atMostOnce" })
      const error = yield* Feeder.run(once, { source: samples(5), devices: [device] }).pipe(
        Effect.provide(SocketDevices.layer({ [device]: `tcp://127.0.0.1:${port}` })),
        Effect.flip
      )
      assert.include(error.message, "refused the feed (version)")
      yield* peer.printed("Refuses")
      assert.deepStrictEqual(peer.lines("Refuses").map((line) => line["reason"]), ["version"])
    }), 60_000)

  it.live("is fed columns of every kind", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const peer = yield* Python.start("device", {
        port,
        feed: "kinds",
        columns: kindsColumns,
        acknowledge: "processed",
        capacity: 12
      })
      yield* peer.printed("Up")
      const ledger = yield* Feeder.run(Kinds, { source: range(100).map(kindsOf), devices: [device] }).pipe(
        Effect.provide(SocketDevices.layer({ [device]: `tcp://127.0.0.1:${port}` }))
      )
      assert.strictEqual(yield* peer.exited, 0)
      assert.deepStrictEqual(peer.lines("Broken"), [])
      assert.strictEqual(ledger.delivered, 100)
      assert.deepStrictEqual(
        peer.lines("Handed").map(({ element }) => element),
        range(100).map((i) => asJson(kindsOf(i)))
      )
    }), 60_000)

  it.live("of another layout names what differs", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const others = columns.map((column) => column.name === "pixel" ? { ...column, shape: [4] } : column)
      const peer = yield* Python.start("device", { port, feed: "samples", columns: others, acknowledge: "processed" })
      yield* peer.printed("Up")
      const error = yield* Effect.flip(feedTo(Samples, port, 5))
      assert.include(error.message, "refused the feed (different feed)")
      assert.deepStrictEqual(peer.lines("Handed"), [])
    }), 60_000)

  it.live("reads ids", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const peer = yield* Python.start("device", { port, feed: "samples", columns, acknowledge: "processed" })
      yield* peer.printed("Up")
      const address = SocketDevices.layer({ [device]: `tcp://127.0.0.1:${port}` })
      const { open } = yield* Effect.provide(Effect.service(RemoteDevices), address)
      const link = yield* open(device, Samples.info)
      yield* link.send({
        _tag: "Hello",
        versions: [2, 2],
        feed: "samples",
        fingerprint: Samples.info.fingerprint,
        feeder: "feeder-1",
        incarnation: 1,
        device,
        session: 1,
        keepTo: 0,
        acknowledge: "processed",
        leaseMillis: 5000
      })
      assert.strictEqual((yield* link.receive)._tag, "Welcome")
      const chunk = Samples.codec.fromElements([sample(0), sample(1)])
      yield* link.send({
        _tag: "Batch",
        first: 1,
        heard: 1,
        elementBytes: 200,
        runs: [{ ordinal: 0, count: 2, attempt: 1 }],
        chunk,
        ids: ["\ufeffé", ""]
      })
      yield* link.send({ _tag: "End", last: 2, heard: 1 })
      let frame = yield* link.receive
      while (frame._tag !== "Progress" || !frame.progress.ended) frame = yield* link.receive
      yield* link.send({ _tag: "Bye" })
      assert.strictEqual(yield* peer.exited, 0)
      assert.deepStrictEqual(peer.lines("Handed").map((line) => line["id"]), ["\ufeffé", ""])
    }), 60_000)
})

describe("a feeder in Python", () => {
  const hosted = <A, E>(
    port: number,
    work: Effect.Effect<A, E, Feed.Host<"samples"> | Feed.Host<"kept"> | Feed.Host<"kinds">>
  ) =>
    Effect.forkChild(Effect.provide(work, SocketDevices.layerHost({ feeds: [Samples, Kept, Kinds], port })), {
      startImmediately: true
    })

  const settings = {
    device,
    columns,
    feeder: "python-1",
    incarnation: 3,
    leaseMillis: 3000
  }

  it.live(
    "feeds a host through cuts: every element once, with its id, and again what was given back",
    () =>
      Effect.gen(function*() {
        const port = yield* freePort
        const count = 600
        const seen: Array<{ readonly id: number; readonly delivery: Feed.Delivery }> = []
        const consumer = yield* hosted(
          port,
          Samples.forEach((element, delivery) =>
            Effect.suspend((): Effect.Effect<void, Feed.Retry | Feed.Reject> => {
              assert.deepStrictEqual(element, sample(element.id))
              seen.push({ id: element.id, delivery })
              if (delivery.attempt === 1 && element.id % 50 === 7) return Effect.fail(Feed.retry())
              return element.id % 100 === 8 ? Effect.fail(Feed.reject("no")) : Effect.void
            })
          )
        )
        const peer = yield* Python.start("feeder", {
          ...settings,
          port,
          feed: "samples",
          acknowledge: "processed",
          count,
          ids: true,
          batch: 5,
          cutAt: [60, 200, 201, 450]
        })
        assert.strictEqual(yield* peer.exited, 0)
        const consumed = yield* Fiber.join(consumer)
        const [fed] = peer.lines("Fed")
        assert.strictEqual(peer.lines("Cuts").length, 4)
        assert.deepStrictEqual(
          [fed?.["generated"], fed?.["delivered"], fed?.["rejected"], fed?.["retried"]],
          [count, count - 6, 6, 12]
        )
        assert.deepStrictEqual([consumed.done, consumed.rejected, consumed.retried], [count - 6, 6, 12])
        const retried = range(count).filter((i) => i % 50 === 7)
        assert.deepStrictEqual(sorted(seen.map(({ id }) => id)), sorted([...range(count), ...retried]))
        for (const { delivery, id } of seen) {
          assert.deepStrictEqual([delivery.id, delivery.ordinal, delivery.feeder], [`id-${id}é`, id, "python-1"])
          assert.strictEqual(delivery.redelivered, delivery.attempt > 1)
        }
      }),
    60_000
  )

  it.live("of version 1 feeds a host that is of version 2", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      let count = 0
      const consumer = yield* hosted(port, Kept.forEach(() => Effect.sync(() => count++)))
      const peer = yield* Python.start("feeder", {
        ...settings,
        port,
        feed: "kept",
        acknowledge: "accepted",
        count: 200,
        versions: [1, 1],
        ids: true,
        cutAt: [50]
      })
      assert.strictEqual(yield* peer.exited, 0)
      yield* Fiber.join(consumer)
      assert.strictEqual(count, 200)
      assert.deepStrictEqual(peer.lines("Welcomed").map((line) => line["version"]), [1, 1])
    }), 60_000)

  it.live("feeds columns of every kind", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const seen: Array<unknown> = []
      const consumer = yield* hosted(port, Kinds.forEach((element) => Effect.sync(() => seen.push(element))))
      const peer = yield* Python.start("feeder", {
        ...settings,
        columns: kindsColumns,
        port,
        feed: "kinds",
        acknowledge: "processed",
        count: 100,
        elements: range(100).map((i) => asJson(kindsOf(i)))
      })
      assert.strictEqual(yield* peer.exited, 0)
      yield* Fiber.join(consumer)
      assert.deepStrictEqual(seen, range(100).map(kindsOf))
    }), 60_000)

  it.live("is refused by name for what differs", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* hosted(port, Kept.forEach(() => Effect.void))
      const others = columns.map((column) => column.name === "pixel" ? { ...column, dtype: "int16" } : column)
      const peer = yield* Python.start("feeder", {
        ...settings,
        columns: others,
        port,
        feed: "kept",
        acknowledge: "accepted",
        count: 5
      })
      yield* peer.printed("Refused")
      const [refused] = peer.lines("Refused")
      assert.strictEqual(refused?.["reason"], "different feed")
      assert.strictEqual(
        refused?.["detail"],
        `feed "kept": field "pixel".dtype is "uint8" here, "int16" at the feeder`
      )
      yield* Fiber.interrupt(consumer)
    }), 60_000)
})
