/**
 * What the feeder and the runners both know: the feed, the devices, and the database of the cluster.
 */
import { PgClient } from "@effect/sql-pg"
import { Config, Schema } from "effect"
import { DeviceSpec, Feed } from "effect-feeder"

/** Something that takes a while for each element. */
export const Pages = Feed.make("pages", { element: Schema.Struct({ number: Schema.Int, text: Schema.String }) })

/** More devices than runners, so that each runner has some, wherever the names fall. */
export const devices: ReadonlyArray<string> = DeviceSpec.replicas("indexer", 8).map(DeviceSpec.canonicalName)

/** Such as `postgres://user:password@localhost:5432/database`. */
export const database = PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL") })

/** What all of a cluster must agree on, and how soon it notices that a runner has died. */
export const shardingConfig = { shardsPerGroup: 100, runnerHealthCheckInterval: "2 seconds" } as const
