/**
 * A way from a producer to a consumer, in two roles: the consumer runs in a process of its own (`consumer.ts`), the
 * producer in the one that measures.
 */
import type { Payload } from "./payloads.ts"

/** What both roles know of a run. */
export interface Run {
  readonly payload: Payload
  /** How many elements. */
  readonly n: number
  readonly batch: number
  readonly window: number
  /** Where the broker listens, for ways that have one. */
  readonly broker: string
  /** How many consumers, all in one process, for ways that can have more than one. */
  readonly devices: number
  /** Waits until the next element may be sent, after so many, for ways that send one after the other. */
  readonly turn?: ((sent: number) => Promise<void> | undefined) | undefined
}

export interface Sum {
  readonly elements: number
  readonly digest: number
}

export interface Producer {
  /** Sends all elements, and returns when the way knows that they have arrived, or when they are sent. */
  readonly send: () => Promise<void>
  readonly close: () => Promise<void>
  /** How many elements each device had, once all are sent. */
  readonly shares?: () => ReadonlyArray<number>
  /** How long each element took until it was acknowledged, in milliseconds, for ways that send one after the other. */
  readonly latencies?: () => ReadonlyArray<number>
}

export interface Way {
  /**
   * Calls `ready` with the address for the producer, and `done` with what has come when everything has. `closed` is there
   * when the producer has closed its side. Returns when everything is closed.
   */
  readonly consume: (
    run: Run,
    ready: (address: string) => void,
    done: (sum: Sum) => void,
    closed: Promise<void>
  ) => Promise<void>
  readonly connect: (run: Run, address: string) => Promise<Producer>
}

/** The ways, loaded where they are used. */
export const ways = {
  "feeder-chunks": () => import("./ours/sockets.ts").then(({ chunks }) => chunks),
  "feeder-unix": () => import("./ours/sockets.ts").then(({ unix }) => unix),
  "feeder-ws": () => import("./ours/sockets.ts").then(({ ws }) => ws),
  "feeder-stacked": () => import("./ours/sockets.ts").then(({ stacked }) => stacked),
  "feeder-chunks-dialled": () => import("./ours/sockets.ts").then(({ chunksDialled }) => chunksDialled),
  "feeder-chunks-kept": () => import("./ours/sockets.ts").then(({ chunksKept }) => chunksKept),
  "feeder-stacked-dialled": () => import("./ours/sockets.ts").then(({ stackedDialled }) => stackedDialled),
  "feeder-iterable": () => import("./ours/sockets.ts").then(({ iterable }) => iterable),
  "feeder-effect": () => import("./ours/sockets.ts").then(({ effect }) => effect),
  "feeder-jetstream": () => import("./ours/jetStream.ts").then(({ chunks }) => chunks),
  "feeder-ping": () => import("./ours/ping.ts").then(({ ping }) => ping),
  "net-ping": () => import("./peers/nodeNet.ts").then(({ echo }) => echo),
  "net-bytes": () => import("./peers/nodeNet.ts").then(({ bytes }) => bytes),
  "net-columns": () => import("./peers/nodeNet.ts").then(({ columns }) => columns),
  "net-columns-unacknowledged": () => import("./peers/nodeNet.ts").then(({ unacknowledged }) => unacknowledged),
  "rpc": () => import("./peers/rpc.ts").then(({ batches }) => batches),
  "rpc-element": () => import("./peers/rpc.ts").then(({ elements }) => elements),
  "grpc-protobuf": () => import("./peers/grpc.ts").then(({ messages }) => messages),
  "grpc-columns": () => import("./peers/grpc.ts").then(({ columns }) => columns),
  "nats-columns": () => import("./peers/nats.ts").then(({ columns }) => columns),
  "nats-msgpackr": () => import("./peers/nats.ts").then(({ msgpackr }) => msgpackr),
  "jetstream": () => import("./peers/jetStream.ts").then(({ columns }) => columns),
  "redis-streams": () => import("./peers/redisStreams.ts").then(({ columns }) => columns),
  "bullmq": () => import("./peers/bullmq.ts").then(({ jobs }) => jobs),
  "zeromq-columns": () => import("./peers/zeromq.ts").then(({ columns }) => columns),
  "zeromq-msgpackr": () => import("./peers/zeromq.ts").then(({ msgpackr }) => msgpackr),
  "zeromq-element": () => import("./peers/zeromq.ts").then(({ element }) => element)
} satisfies Readonly<Record<string, () => Promise<Way>>>

export type WayName = keyof typeof ways
