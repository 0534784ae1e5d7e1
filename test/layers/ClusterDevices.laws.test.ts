/**
 * The laws of feeding over a cluster whose runners are in this process: each hosts the devices of a job of its own, in a
 * group of shards of its own, so that a law decides what runs where.
 */
import { it } from "@effect/vitest"
import { type Context, Deferred, Effect, Layer, Logger } from "effect"
import { DeviceSpec, RemoteDevices } from "effect-feeder"
import * as ClusterDevices from "effect-feeder/layers/ClusterDevices"
import { FeedingLaws } from "effect-feeder/testing"
import type { MessageStorage, RunnerStorage } from "effect/cluster"
import * as Cluster from "../fixtures/cluster.ts"
import { freePort } from "../fixtures/processes.ts"

const devices = ["/job:one/replica:0", "/job:two/replica:0"] as const

const jobOf = (device: string): string => DeviceSpec.fromStringUnsafe(device).job ?? ""

const groups = { all: devices.map(jobOf), own: [] }

type Storage = RunnerStorage.RunnerStorage | MessageStorage.MessageStorage

/** A runner whose device does nothing but lend its hosts to the law, from when it is found by the feeder's side. */
const host = (device: string): Layer.Layer<FeedingLaws.Hosts, unknown, RemoteDevices.RemoteDevices | Storage> =>
  Layer.effectContext(Effect.gen(function*() {
    const hosts = Deferred.makeUnsafe<Context.Context<FeedingLaws.Hosts>>()
    const job = jobOf(device)
    const runner = ClusterDevices.layerHost({
      feeds: FeedingLaws.feeds,
      job,
      shardGroup: job,
      port: yield* freePort,
      feeders: 1,
      gracePeriod: 0,
      consume: () =>
        Effect.flatMap(
          Effect.context<FeedingLaws.Hosts>(),
          (context) => Effect.andThen(Deferred.succeed(hosts, context), Effect.never)
        )
    })
    yield* Layer.build(
      runner.pipe(
        Layer.provide(Cluster.layerRunner(yield* freePort, { ...groups, own: [job] })),
        Layer.provide(Logger.layer([]))
      )
    )
    const remote = yield* RemoteDevices.RemoteDevices
    yield* Effect.scoped(remote.open(device, FeedingLaws.feeds[0].info))
    return yield* Deferred.await(hosts)
  }))

FeedingLaws.suite<RemoteDevices.RemoteDevices | Storage, unknown, unknown>("ClusterDevices", it, {
  devices,
  layer: ClusterDevices.layer({
    shardGroups: Object.fromEntries(groups.all.map((job) => [job, job])),
    locateWithin: "1 second"
  }).pipe(
    Layer.provide(Cluster.layerClient(groups)),
    Layer.provideMerge(Cluster.layerStorage)
  ),
  host
})
