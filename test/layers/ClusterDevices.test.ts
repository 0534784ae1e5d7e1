/**
 * What a feeder and a runner are told when something is amiss, over a cluster in this process.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Logger, Redacted } from "effect"
import { Credentials, FailureTolerator, Feed, Feeder, RemoteDevices } from "effect-feeder"
import * as ClusterDevices from "effect-feeder/layers/ClusterDevices"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { Ledgers } from "effect-feeder/testing"
import * as Schema from "effect/Schema"
import * as Cluster from "../fixtures/cluster.ts"
import { freePort } from "../fixtures/processes.ts"

const Numbers = Feed.make("numbers", { element: Schema.Int, capacity: 4 })

const device = "/job:consumer/replica:0"
const quiet = Logger.layer([])
const patient = FailureTolerator.make({ limit: 100, initDelay: 20, backoffFactor: 1 })

/** The feeder's side, in the scope of the test, and the storage. */
const client = (options?: ClusterDevices.Options) =>
  Layer.build(
    ClusterDevices.layer(options).pipe(
      Layer.provide(Cluster.layerClient()),
      Layer.provideMerge(Cluster.layerStorage),
      Layer.provide(quiet)
    )
  )

const runner = <E>(options: {
  readonly port: number
  readonly consume: (device: string) => Effect.Effect<unknown, E, Feed.Host<"numbers">>
  readonly feeders?: number
}) =>
  Effect.gen(function*() {
    const host = ClusterDevices.layerHost({ feeds: [Numbers], gracePeriod: 0, ...options })
    return yield* Layer.build(host.pipe(Layer.provide(Cluster.layerRunner(yield* freePort)), Layer.provide(quiet)))
  })

const open = (name: string) =>
  Effect.scoped(Effect.flatMap(RemoteDevices.RemoteDevices, (remote) => remote.open(name, Numbers.info)))

it.live("a device that no runner hosts is not found, and one without a job is refused", () =>
  Effect.gen(function*() {
    const services = yield* client({ locateWithin: "200 millis" })
    const lost = yield* Effect.flip(Effect.provideContext(open(device), services))
    assert.strictEqual(lost._tag === "DeviceLost" && lost.fate, "unknown")
    assert.include(lost.message, "the cluster has not placed it within 200ms; is there a runner for it?")
    const refused = yield* Effect.flip(Effect.provideContext(open("/replica:0"), services))
    assert.include(refused.message, "the cluster finds devices by their jobs; name it \"/job:consumer/replica:0\"")
  }).pipe(Effect.scoped))

it.live("a consumer that fails begins anew, and what it had is fed again, marked", () =>
  Effect.gen(function*() {
    const services = yield* client()
    const seen: Array<string> = []
    const consume = (name: string) =>
      Numbers.forEach((n, { redelivered }) => {
        seen.push(`${name} ${n}${redelivered ? " again" : ""}`)
        return n === 1 && !redelivered ? Effect.fail("no") : Effect.void
      })
    yield* Effect.provideContext(runner({ port: yield* freePort, consume }), services)
    const ledger = yield* Feeder.run(Numbers, { source: [0, 1, 2], devices: [device], tolerate: patient }).pipe(
      Effect.provideContext(services)
    )
    Ledgers.assertCounts(ledger, { generated: 3, delivered: 3, lost: 0 })
    assert.deepStrictEqual(seen.slice(0, 2), [`${device} 0`, `${device} 1`])
    // What is given back waits before it comes again.
    assert.deepStrictEqual(seen.slice(2).toSorted(), [`${device} 1 again`, `${device} 2 again`])
  }).pipe(Effect.scoped))

it.live("a consumer that ends with its feeder begins again with the next", () =>
  Effect.gen(function*() {
    const services = yield* client()
    let lives = 0
    const consume = () => Effect.andThen(Effect.sync(() => lives++), Numbers.forEach(() => Effect.void))
    yield* Effect.provideContext(runner({ port: yield* freePort, consume, feeders: 1 }), services)
    const feed = Effect.provideContext(
      Feeder.run(Numbers, { source: [0, 1, 2], devices: [device], tolerate: patient }),
      services
    )
    for (const life of [1, 2]) {
      Ledgers.assertCounts(yield* feed, { generated: 3, delivered: 3, redelivered: 0 })
      assert.strictEqual(lives, life)
    }
  }).pipe(Effect.scoped))

it.live("who dials a runner for a device that does not live there may try elsewhere", () =>
  Effect.gen(function*() {
    const services = yield* client()
    const port = yield* freePort
    yield* Effect.provideContext(runner({ port, consume: () => Effect.never }), services)
    const error = yield* Feeder.run(Numbers, {
      source: [0],
      devices: ["/job:consumer/replica:7"],
      tolerate: FailureTolerator.make({ limit: 2, initDelay: 10 })
    }).pipe(
      Effect.provide([SocketDevices.layer({ "/job:consumer/replica:7": `tcp://127.0.0.1:${port}` }), quiet]),
      Effect.flip
    )
    assert.include(error.message, "it refuses for now (another device): it does not live here any more")
  }).pipe(Effect.scoped))

it.live("devices are named, since a cluster has all that are asked for and tells of none", () =>
  Effect.gen(function*() {
    const services = yield* client()
    const error = yield* Feeder.run(Numbers, { source: [0], devices: "all" }).pipe(
      Effect.provideContext(services),
      Effect.flip
    )
    assert.strictEqual(error.reason._tag, "DeviceInvalid")
    assert.include(error.message, "this transport does not tell which devices there are; name them")
  }).pipe(Effect.scoped))

it.live("credentials are asked for, and are not sent where others could read them", () =>
  Effect.gen(function*() {
    const secret = Redacted.make("open sesame")
    const services = yield* client({ credential: secret })
    const seen: Array<number> = []
    const port = yield* freePort
    const consume = () => Numbers.forEach((n) => Effect.sync(() => seen.push(n)))
    yield* runner({ port, consume }).pipe(
      Effect.provideContext(services),
      Effect.provide(Credentials.layerSecret(secret))
    )
    const feed = Feeder.run(Numbers, { source: [0, 1], devices: [device], tolerate: patient })
    Ledgers.assertCounts(yield* Effect.provideContext(feed, services), { delivered: 2 })
    assert.deepStrictEqual(seen, [0, 1])
  }).pipe(Effect.scoped))

it.live("a runner does not begin where anyone could feed it, nor with two feeds of one name", () =>
  Effect.gen(function*() {
    const services = yield* client()
    const port = yield* freePort
    const cluster = Layer.provideMerge(Cluster.layerRunner(yield* freePort), quiet)
    const tried = (options: { readonly host?: string; readonly feeds: ReadonlyArray<typeof Numbers> }) =>
      Layer.build(ClusterDevices.layerHost({ port, consume: () => Effect.never, ...options })).pipe(
        Effect.provide(cluster),
        Effect.provideContext(services),
        Effect.flip
      )
    assert.include((yield* tried({ host: "0.0.0.0", feeds: [Numbers] })).message, "would be unprotected")
    const taken = yield* tried({ feeds: [Numbers, Numbers] })
    assert.include(taken.message, "a device cannot host two feeds named \"numbers\"")
  }).pipe(Effect.scoped))
