/** Cases whose consumer is another process. */
import { type ChildProcess, fork } from "node:child_process"
import * as path from "node:path"
import type { Closed, Reply, Request } from "./consumer.ts"
import { type Case, expect } from "./harness.ts"
import { digestOf, type Name, payloads } from "./payloads.ts"
import type { Profile } from "./profiler.ts"
import { type Producer, type Sum, type WayName, ways } from "./ways.ts"

interface Exchange {
  readonly ready: PromiseWithResolvers<string>
  readonly done: PromiseWithResolvers<Sum>
  readonly closed: PromiseWithResolvers<Profile | undefined>
}

interface Consumer {
  readonly request: (request: Request) => Exchange
  /** Tells it that the producer has closed its side. */
  readonly close: () => void
  readonly end: () => void
}

const startConsumer = (): Consumer => {
  const child: ChildProcess = fork(path.join(import.meta.dirname, "consumer.ts"), { execArgv: process.execArgv })
  let current: Exchange | undefined
  const fail = (error: Error) => {
    current?.ready.reject(error)
    current?.done.reject(error)
    current?.closed.reject(error)
  }
  child.on("message", (reply: Reply) => {
    if (reply._tag === "Ready") current?.ready.resolve(reply.address)
    else if (reply._tag === "Done") current?.done.resolve({ elements: reply.elements, digest: reply.digest })
    else if (reply._tag === "Closed") current?.closed.resolve(reply.profile)
    else fail(new Error(`the consumer failed: ${reply.cause}`))
  })
  child.on("exit", (code, signal) => fail(new Error(`the consumer ended with ${code ?? signal}`)))
  return {
    request: (request) => {
      const exchange = {
        ready: Promise.withResolvers<string>(),
        done: Promise.withResolvers<Sum>(),
        closed: Promise.withResolvers<Profile | undefined>()
      }
      // Whoever waits for one of them hears of a failure; the others may have nobody who waits.
      for (const { promise } of Object.values(exchange)) promise.catch(() => {})
      current = exchange
      child.send(request)
      return exchange
    },
    close: () => {
      const closed: Closed = { _tag: "Closed" }
      child.send(closed)
    },
    end: () => child.kill()
  }
}

/**
 * A case of a way. A run is from the first element to the moment when the consumer has said that all have come and the
 * producer, where the way tells it, knows.
 */
export const remote = (options: {
  readonly name: string
  readonly way: WayName
  readonly payload: Name
  readonly batch: number
  readonly window: number
  readonly acknowledged: string
  readonly broker?: string
  readonly devices?: number
  readonly start?: number
  readonly turn?: (sent: number) => Promise<void> | undefined
  /** The address to dial, in place of the consumer's own. */
  readonly via?: (address: string) => Promise<string>
  /** Takes the producer when it has sent all. */
  readonly onSent?: (producer: Producer) => void
  /** Has the consumer profiled, and takes what comes of it. */
  readonly onProfile?: (profile: Profile) => void
}): Case => {
  const { acknowledged, batch, broker = "", devices = 1, name, way, window } = options
  const payload = payloads[options.payload]
  const setting = { batch, window, broker, devices }
  let consumer: Consumer | undefined
  let exchange: Exchange | undefined
  let producer: Producer | undefined
  let count = 0
  return {
    name,
    payload: payload.title,
    batch,
    window,
    acknowledged,
    clock: "wall",
    ...(options.start === undefined ? {} : { start: options.start }),
    before: async (n) => {
      consumer ??= startConsumer()
      count = n
      exchange = consumer.request({
        ...setting,
        _tag: "Consume",
        way,
        payload: payload.name,
        n,
        isProfiled: options.onProfile !== undefined
      })
      const { connect } = await ways[way]()
      const address = await exchange.ready.promise
      producer = await connect({ ...setting, payload, n, turn: options.turn }, await options.via?.(address) ?? address)
    },
    run: async () => {
      await Promise.all([producer!.send(), exchange!.done.promise])
    },
    after: async () => {
      options.onSent?.(producer!)
      await producer!.close()
      consumer!.close()
      const { digest, elements } = await exchange!.done.promise
      const profile = await exchange!.closed.promise
      if (profile !== undefined) options.onProfile?.(profile)
      if (elements === count) expect(`${name}: sum of digests`, digest, digestOf(payload, count))
      return count - elements
    },
    end: async () => consumer?.end()
  }
}
