/**
 * What a feeder keeps of its resumable sources in a `KeyValueStore`: how far each split is acknowledged, so that its next
 * life goes on from there. A feeder takes checkpoints by itself; this module is for who wants to read them.
 *
 * There are two copies, under the keys `feeder/<feeder id>/<feed>/checkpoint/a` and `…/b`, which are written in turn: a
 * write that is cut off damages the older one only. The newest that is whole counts.
 *
 * @since 0.1.0
 */
export { Checkpoint, CheckpointFailed, isAcknowledged, keyOf, load, Split } from "./internal/checkpoints.ts"
