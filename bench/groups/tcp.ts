/** To one consumer in a process of its own, over TCP on the loopback interface, each side with what was best for it. */
import { nats } from "../brokers.ts"
import type { Name } from "../payloads.ts"
import { remote } from "../remote.ts"
import { comparing, type Group, type Maker, type Missing } from "../rows.ts"
import type { WayName } from "../ways.ts"

export interface At {
  readonly batch: number
  readonly window: number
}

/** Makers of cases, by when an element counts as done; with the address of a broker, where one is needed. */
export const makers = (payload: Name) => {
  const of =
    (acknowledged: string) =>
    (name: string, way: WayName, at: At, broker: () => Promise<string | Missing> = () =>
      Promise.resolve("")): Maker =>
    async () => {
      const address = await broker()
      return typeof address === "string"
        ? remote({ name, way, payload, acknowledged, broker: address, start: payload === "image" ? 8 : 64, ...at })
        : address
    }
  return { processed: of("processed"), accepted: of("accepted"), none: of("none") }
}

// Batches of 64 to 8192 were tried with each of them, with windows of 4 or more batches; those here were best.
const small = (): Group => {
  const { none, processed } = makers("small")
  const at = { batch: 2048, window: 16384 }
  const large = { batch: 8192, window: 65536 }
  const fastest = ["chunks", "stacked", "chunks-large", "stacked-large"]
  return comparing({
    name: "tcp-small",
    title: "TCP, small elements",
    cases: {
      chunks: processed("Feeder, source of chunks", "feeder-chunks", at),
      stacked: processed("Feeder, source of stacked batches", "feeder-stacked", at),
      "chunks-large": processed("Feeder, source of chunks, dialled", "feeder-chunks-dialled", large),
      "stacked-large": processed("Feeder, source of stacked batches, dialled", "feeder-stacked-dialled", large),
      iterable: processed("Feeder, source of single elements", "feeder-iterable", at),
      effect: processed("Feeder, an Effect for each element", "feeder-effect", at),
      "zeromq-columns": none("ZeroMQ, our columns, validated", "zeromq-columns", { batch: 2048, window: 16384 }),
      "zeromq-columns-large": none("ZeroMQ, our columns, validated", "zeromq-columns", { batch: 8192, window: 32768 }),
      "zeromq-msgpackr": none("ZeroMQ, msgpackr", "zeromq-msgpackr", { batch: 512, window: 16384 }),
      "zeromq-element": none("ZeroMQ, a message for each element", "zeromq-element", { batch: 1, window: 1000 }),
      "grpc-protobuf": processed("grpc-js, protobuf", "grpc-protobuf", { batch: 1024, window: 16384 }),
      "grpc-columns": processed("grpc-js, our columns, validated", "grpc-columns", { batch: 1024, window: 16384 }),
      rpc: processed("Effect rpc, same Schema", "rpc", { batch: 1024, window: 8192 }),
      "rpc-element": processed("Effect rpc, a call for each element", "rpc-element", { batch: 1, window: 64 }),
      "nats-columns": processed(
        "NATS core, our columns, validated",
        "nats-columns",
        { batch: 512, window: 8192 },
        nats
      ),
      "nats-msgpackr": processed("NATS core, msgpackr", "nats-msgpackr", { batch: 512, window: 32768 }, nats),
      columns: processed("node:net, our columns, validated", "net-columns", at),
      bytes: none("node:net, bare bytes", "net-bytes", { batch: 3276, window: 3276 })
    },
    rows: [
      {
        row: "tcp-small-zeromq",
        ours: fastest,
        peer: ["zeromq-columns", "zeromq-columns-large"],
        goal: 1
      },
      { row: "tcp-small-zeromq-msgpackr", ours: fastest, peer: ["zeromq-msgpackr"], goal: 2.5 },
      { row: "tcp-small-grpc", ours: fastest, peer: ["grpc-protobuf", "grpc-columns"], goal: 5 },
      { row: "tcp-small-rpc", ours: fastest, peer: ["rpc"], goal: 10 },
      { row: "tcp-small-nats", ours: fastest, peer: ["nats-columns", "nats-msgpackr"], goal: 2 },
      { row: "tcp-small-rpc-element", ours: ["iterable"], peer: ["rpc-element"], goal: null },
      { row: "tcp-small-net", ours: fastest, peer: ["columns"], goal: null },
      { row: "tcp-small-bytes", ours: fastest, peer: ["bytes"], goal: null },
      { row: "tcp-small-one-zeromq", ours: ["iterable"], peer: ["zeromq-element"], goal: 30 },
      { row: "tcp-small-effect-zeromq", ours: ["effect"], peer: ["zeromq-element"], goal: null }
    ],
    options: { millis: 350 }
  })
}

const tensor = (): Group => {
  const { none, processed } = makers("tensor")
  const at = { batch: 64, window: 1024 }
  const fastest = ["chunks", "stacked", "chunks-dialled", "stacked-dialled"]
  return comparing({
    name: "tcp-tensor",
    title: "TCP, tensors",
    cases: {
      chunks: processed("Feeder, source of chunks", "feeder-chunks", at),
      stacked: processed("Feeder, source of stacked batches", "feeder-stacked", at),
      "chunks-dialled": processed("Feeder, source of chunks, dialled", "feeder-chunks-dialled", at),
      "stacked-dialled": processed("Feeder, source of stacked batches, dialled", "feeder-stacked-dialled", at),
      kept: processed("Feeder, source of chunks, dialled, not transient", "feeder-chunks-kept", at),
      "zeromq-columns": none("ZeroMQ, our columns, validated", "zeromq-columns", { batch: 64, window: 1024 }),
      "zeromq-msgpackr": none("ZeroMQ, msgpackr", "zeromq-msgpackr", { batch: 64, window: 1024 }),
      "zeromq-element": none("ZeroMQ, a message for each element", "zeromq-element", { batch: 1, window: 1000 }),
      grpc: processed("grpc-js, our columns, validated", "grpc-columns", { batch: 64, window: 1024 }),
      rpc: processed("Effect rpc, same Schema", "rpc", { batch: 16, window: 128 }),
      columns: processed("node:net, our columns, validated", "net-columns", at),
      bytes: none("node:net, bare bytes", "net-bytes", { batch: 20, window: 20 })
    },
    rows: [
      { row: "tcp-tensor-zeromq", ours: fastest, peer: ["zeromq-columns", "zeromq-msgpackr"], goal: 1.3 },
      { row: "tcp-tensor-zeromq-element", ours: fastest, peer: ["zeromq-element"], goal: 5 },
      { row: "tcp-tensor-grpc", ours: fastest, peer: ["grpc"], goal: 6 },
      { row: "tcp-tensor-rpc", ours: fastest, peer: ["rpc"], goal: null },
      { row: "tcp-tensor-bytes", ours: fastest, peer: ["bytes"], goal: 0.75 },
      { row: "tcp-tensor-kept", ours: ["kept"], peer: ["zeromq-columns", "zeromq-msgpackr"], goal: null },
      { row: "tcp-tensor-net", ours: fastest, peer: ["columns"], goal: null }
    ],
    options: { millis: 300 }
  })
}

const image = (): Group => {
  const { none, processed } = makers("image")
  const at = { batch: 4, window: 64 }
  const fastest = ["chunks", "stacked", "chunks-dialled", "stacked-dialled"]
  return comparing({
    name: "tcp-image",
    title: "TCP, images",
    cases: {
      chunks: processed("Feeder, source of chunks", "feeder-chunks", at),
      stacked: processed("Feeder, source of stacked batches", "feeder-stacked", at),
      "chunks-dialled": processed("Feeder, source of chunks, dialled", "feeder-chunks-dialled", at),
      "stacked-dialled": processed("Feeder, source of stacked batches, dialled", "feeder-stacked-dialled", at),
      kept: processed("Feeder, source of chunks, dialled, not transient", "feeder-chunks-kept", at),
      "zeromq-element": none("ZeroMQ, a message for each element", "zeromq-element", { batch: 1, window: 64 }),
      "zeromq-columns": none("ZeroMQ, our columns, validated", "zeromq-columns", { batch: 4, window: 64 }),
      bytes: none("node:net, bare bytes", "net-bytes", { batch: 1, window: 1 })
    },
    rows: [
      { row: "tcp-image-zeromq", ours: fastest, peer: ["zeromq-element"], goal: 1.2 },
      { row: "tcp-image-bytes", ours: fastest, peer: ["bytes"], goal: 1 },
      { row: "tcp-image-kept", ours: ["kept"], peer: ["zeromq-element"], goal: null },
      { row: "tcp-image-zeromq-columns", ours: fastest, peer: ["zeromq-columns"], goal: null }
    ],
    options: { millis: 250 }
  })
}

/** The default capacity of a feed against a larger one. */
const capacity = (): Group => {
  const { processed } = makers("small")
  return comparing({
    name: "tcp-capacity",
    title: "TCP, small elements, the default capacity",
    cases: {
      ten: processed("Feeder, capacity 10", "feeder-chunks", { batch: 64, window: 10 }),
      thousand: processed("Feeder, capacity 1000", "feeder-chunks", { batch: 64, window: 1000 })
    },
    rows: [{ row: "tcp-capacity-10", ours: ["ten"], peer: ["thousand"], goal: 0.5 }],
    options: { millis: 250 }
  })
}

export const groups: ReadonlyArray<Group> = [small(), tensor(), image(), capacity()]
