/**
 * grpc-js: a client stream of batches, as protobuf messages of their elements (small ones only) or as our columns. It is
 * acknowledged when the stream ends.
 */
/* oxlint-disable no-await-in-loop -- it has to wait for room */
import * as Grpc from "@grpc/grpc-js"
import { once } from "node:events"
import protobuf from "protobufjs"
import * as Codecs from "../messageCodecs.ts"
import { digestAll, some } from "../payloads.ts"
import type { Way } from "../ways.ts"

const { root } = protobuf.parse(`
  syntax = "proto3";
  message Small { int32 id = 1; string label = 2; }
  message Batch { repeated Small elements = 1; }
`)
const Batch = root.lookupType("Batch")

const protobufs: Codecs.MessageCodec = {
  encode: (_, elements) => Batch.encode({ elements }).finish(),
  decode: (payload, message) => {
    const { elements } = Batch.decode(message) as unknown as { readonly elements: ReadonlyArray<unknown> }
    return { elements: elements.length, digest: digestAll(payload, elements) }
  }
}

const identity = (bytes: Buffer): Buffer => bytes

/** Messages are bytes, made and read by the codec. */
const push = {
  path: "/bench.Feed/Push",
  requestStream: true,
  responseStream: false,
  requestSerialize: identity,
  requestDeserialize: identity,
  responseSerialize: identity,
  responseDeserialize: identity
} as const

const way = ({ decode, encode }: Codecs.MessageCodec): Way => ({
  consume: async ({ n, payload }, ready, done, closed) => {
    const server = new Grpc.Server({ "grpc.max_receive_message_length": -1 })
    const handle: Grpc.handleClientStreamingCall<Buffer, Buffer> = (call, answer) => {
      const count = Codecs.counter(n, done)
      call.on("data", (message: Buffer) => count(decode(payload, message)))
      call.on("end", () => answer(null, Buffer.alloc(0)))
    }
    server.addService({ push }, { push: handle })
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(
        "127.0.0.1:0",
        Grpc.ServerCredentials.createInsecure(),
        (error, port) => error === null ? resolve(port) : reject(error)
      )
    })
    ready(`127.0.0.1:${port}`)
    await closed
    server.forceShutdown()
  },
  connect: async ({ batch, n, payload }, address) => {
    const client = new Grpc.Client(address, Grpc.credentials.createInsecure(), {
      "grpc.max_send_message_length": -1
    })
    await new Promise<void>((resolve, reject) => {
      client.waitForReady(Date.now() + 5000, (error) => error === undefined ? resolve() : reject(error))
    })
    return {
      send: async () => {
        const answered = Promise.withResolvers<void>()
        const call = client.makeClientStreamRequest(
          push.path,
          identity,
          identity,
          (error) => error === null ? answered.resolve() : answered.reject(error)
        )
        for (let sent = 0; sent < n; sent += batch) {
          const bytes = encode(payload, some(payload.pool, sent, Math.min(batch, n - sent)))
          if (!call.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))) await once(call, "drain")
        }
        call.end()
        await answered.promise
      },
      close: async () => client.close()
    }
  }
})

export const messages = way(protobufs)

export const columns = way(Codecs.columns)
