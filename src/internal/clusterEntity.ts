/**
 * A device as an entity of Effect's cluster: it can be asked where its feeders are to go.
 */
import * as ClusterSchema from "effect/cluster/ClusterSchema"
import * as Entity from "effect/cluster/Entity"
import * as Rpc from "effect/rpc/Rpc"
import * as Schema from "effect/Schema"

/** Answers the address of the runner in which the device lives, and starts it there if it is not. */
export const Locate = Rpc.make("Locate", { success: Schema.String })

/** The devices of a job: the cluster finds each by its name, on the runners of the shard group. */
export type Devices = Entity.Entity<`effect-feeder/${string}`, typeof Locate>

export const devicesOf = (job: string, shardGroup: string): Devices =>
  Entity.make(`effect-feeder/${job}`, [Locate]).annotate(ClusterSchema.ShardGroup, () => shardGroup)
