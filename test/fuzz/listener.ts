/**
 * Strangers that send anything to a host that listens, while an honest feeder feeds another feed of it: that one is exact.
 */
import { Feed, Feeder } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import type { Hello } from "effect-feeder/RemoteDevices"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import * as Frames from "../../src/internal/frames.ts"
import { chance } from "../chance.ts"
import { freePort } from "../fixtures/processes.ts"
import { feeds } from "./feeds.ts"
import { mutate } from "./mutate.ts"
import { targetOf } from "./targets.ts"

const honest = Feed.make("honest", { element: Schema.Int, capacity: 64 })
const strange = Feed.make("pixels", { element: feeds[0]!.schema, capacity: 32, acknowledge: "accepted" })
const device = "/job:consumer/replica:0"

/** What strangers have met with. */
export interface Attack {
  readonly streams: number
  /** Of them, those that were told why they are refused. */
  readonly refused: number
  /** What the honest feeder fed meanwhile. */
  readonly delivered: number
  readonly findings: ReadonlyArray<string>
}

const helloOf = (feeder: string): Uint8Array => {
  const frame: Hello = {
    _tag: "Hello",
    versions: [1, 2],
    feed: strange.name,
    fingerprint: strange.info.fingerprint,
    feeder,
    incarnation: 1,
    device,
    session: 1,
    keepTo: 0,
    acknowledge: "accepted",
    leaseMillis: 200
  }
  return Buffer.concat(Frames.encodeFeederFrame(frame, strange.info))
}

/** Sends bytes and reads what is answered, until the host closes or some time has passed. */
const visit = (port: number, bytes: Uint8Array, findings: Array<string>): Effect.Effect<boolean> =>
  Effect.callback<boolean>((resume) => {
    const cut = Frames.makeCutter({ frameBytes: 1e6 })
    let isRefused = false
    const socket = Net.connect({ port, host: "127.0.0.1", noDelay: true })
    const timer = setTimeout(() => socket.destroy(), 150)
    socket.on("data", (chunk) => {
      const frames = cut(chunk)
      if (Result.isFailure(frames)) return findings.push(`the host sent what is no frame: ${frames.failure.message}`)
      for (const raw of frames.success) {
        const frame = Frames.decodeDeviceFrame(raw)
        if (Result.isFailure(frame)) findings.push(`the host sent what is no frame: ${frame.failure.message}`)
        else if (frame.success._tag === "Refused") isRefused = true
      }
      return undefined
    })
    socket.on("error", () => {})
    socket.on("close", () => {
      clearTimeout(timer)
      resume(Effect.succeed(isRefused))
    })
    socket.write(bytes)
    return Effect.sync(() => {
      clearTimeout(timer)
      socket.destroy()
    })
  })

export const attack = (options: {
  readonly streams: number
  readonly seed: number
  readonly corpus: ReadonlyArray<Uint8Array>
}): Effect.Effect<Attack, never, Scope.Scope> =>
  Effect.gen(function*() {
    const random = chance(options.seed)
    const findings: Array<string> = []
    const logged = Logger.make(({ logLevel, message }) => {
      if (logLevel === "Error" || logLevel === "Fatal") findings.push(`it logged ${String(message)}`)
    })
    const logger = Logger.layer([logged])
    const port = yield* freePort
    let isOver = false
    let next = 0
    const source = function*() {
      while (!isOver) yield next++
    }
    const seen = new Set<number>()
    const consume = Effect.all([
      honest.forEach((n) => Effect.sync(() => seen.has(n) ? findings.push(`${n} came twice`) : seen.add(n))),
      strange.forEach(() => Effect.void)
    ], { concurrency: "unbounded" }).pipe(
      Effect.provide([SocketDevices.layerHost({ feeds: [honest, strange], port, feeders: "forever" }), logger])
    )
    yield* Effect.forkScoped(
      Effect.catchCause(consume, (cause) => Effect.sync(() => findings.push(`the host ended: ${String(cause)}`))),
      { startImmediately: true }
    )
    const fed = yield* Feeder.run(honest, { source: source(), devices: [device] }).pipe(
      Effect.provide(SocketDevices.layer({ [device]: `tcp://127.0.0.1:${port}` })),
      Effect.forkScoped({ startImmediately: true })
    )
    const streams = options.corpus.filter((input) => targetOf(input) === 1)
    const makeStream = (i: number): Uint8Array => {
      const hello = helloOf(`stranger-${i % 50}`)
      const rest = mutate(random.pick(streams), random.pick(options.corpus), random).subarray(1)
      const all = Buffer.concat([Uint8Array.of(1), hello, rest])
      return (random.below(3) === 0 ? mutate(all, random.pick(streams), random) : all).subarray(1)
    }
    const visits = yield* Effect.forEach(
      Array.from({ length: options.streams }, (_, i) => i),
      (i) => visit(port, makeStream(i), findings),
      { concurrency: 8 }
    )
    isOver = true
    const ledger = yield* Fiber.join(fed).pipe(
      Effect.timeout("20 seconds"),
      Effect.catchCause((cause) => {
        findings.push(`the honest feeder failed: ${String(cause)}`)
        return Effect.succeed(undefined)
      })
    )
    if (ledger !== undefined && (ledger.delivered !== next || seen.size !== next || ledger.redelivered > 0)) {
      findings.push(`the honest feeder: ${JSON.stringify(ledger)}, ${seen.size} seen`)
    }
    return {
      streams: options.streams,
      refused: visits.filter(Boolean).length,
      delivered: seen.size,
      findings
    }
  })
