/**
 * The public names of `effect-feeder`.
 *
 * Layers that need more than `effect` are imported by themselves: `effect-feeder/layers/SocketDevices`.
 *
 * @since 0.1.0
 */
export * as Actor from "./actors/Actor.ts"
export * as Coordinator from "./actors/Coordinator.ts"
export * as Device from "./actors/Device.ts"
export * as Feeder from "./actors/Feeder.ts"
export * as QueueRunner from "./actors/QueueRunner.ts"
export * as RemoteFeed from "./actors/RemoteFeed.ts"
export * as BatchCodec from "./BatchCodec.ts"
export * as Checkpoint from "./Checkpoint.ts"
export * as Credentials from "./Credentials.ts"
export * as DeadLetters from "./DeadLetters.ts"
export * as DeviceSpec from "./DeviceSpec.ts"
export * as FailureTolerator from "./FailureTolerator.ts"
export * as Feed from "./Feed.ts"
export * as FeedQueue from "./FeedQueue.ts"
export * as FeedSession from "./FeedSession.ts"
export * as HostSession from "./HostSession.ts"
export * as MemoryDevices from "./layers/MemoryDevices.ts"
export * as Ledger from "./Ledger.ts"
export * as RemoteDevices from "./RemoteDevices.ts"
export * as ResumableSource from "./ResumableSource.ts"
export * as Settlements from "./Settlements.ts"
export * as Tensor from "./Tensor.ts"
export * as Wire from "./Wire.ts"
