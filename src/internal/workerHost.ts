/**
 * The worker's own side of its wire: the links that the layer opens, as a device accepts them.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import { MessagePort, workerData } from "node:worker_threads"
import type { Any } from "../Feed.ts"
import type { DeviceFrame, DeviceLinks, FeedInfo, HostLink } from "../RemoteDevices.ts"
import { DeviceLost } from "../RemoteDevices.ts"
import * as Frames from "./frames.ts"
import { NotAWorker } from "./workerErrors.ts"
import { deviceData, environmentName, wireFd } from "./workerPlace.ts"
import * as Port from "./workerPort.ts"
import * as Stream from "./workerStream.ts"
import type { Listener, Pipe, Wire } from "./workerWire.ts"
import { ToWorker } from "./workerWire.ts"

/** Where this program is a worker. */
export interface Here {
  readonly device: string
  readonly kind: "thread" | "process"
  readonly connect: (listener: Listener) => Wire
}

const property = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined

let isTaken = false

/** The wire of this worker can be connected once. */
export const take: Effect.Effect<Here, NotAWorker> = Effect.flatMap(
  Effect.suspend(() => here),
  (place) =>
    Effect.suspend(() => {
      if (isTaken) return new NotAWorker({ issue: "this worker has hosted its feeds before, and its wire is closed" })
      isTaken = true
      return Effect.succeed(place)
    })
)

/** Where this program is a worker, if `WorkerDevices.layer` has started it. */
export const here: Effect.Effect<Here, NotAWorker> = Effect.suspend((): Effect.Effect<Here, NotAWorker> => {
  const data = property(workerData, deviceData)
  const [device, port] = [property(data, "device"), property(data, "port")]
  if (typeof device === "string" && port instanceof MessagePort) {
    return Effect.succeed({ device, kind: "thread", connect: (listener) => Port.wireOf(port, listener) })
  }
  const [, parent, name] = /^(\d+) (.*)$/.exec(process.env[environmentName] ?? "") ?? []
  // What a worker starts inherits its environment, and is none.
  if (name === undefined || Number(parent) !== process.ppid) {
    return Effect.fail(new NotAWorker({ issue: "this program was not started by `WorkerDevices.layer`" }))
  }
  return Effect.succeed({
    device: name,
    kind: "process",
    connect: (listener) => Stream.wireOf(new Net.Socket({ fd: wireFd }), listener)
  })
})

/** The links of this worker, and what it is told. */
export interface WorkerHost {
  readonly links: DeviceLinks["Service"]
  /** Says that its feeds are hosted now. */
  readonly ready: Effect.Effect<void>
  /** Waits until the worker is told to finish what it holds and go, and gives for how many milliseconds it may. */
  readonly leave: Effect.Effect<number>
}

const isWord = Schema.is(ToWorker)

/** Connects the wire of a worker until the scope closes. */
export const connect = (place: Here, options: {
  readonly feeds: ReadonlyArray<Any>
  readonly elements: number
  readonly stringBytes: number
}): Effect.Effect<WorkerHost, never, Scope.Scope> =>
  Effect.gen(function*() {
    const feeds = new Map(options.feeds.map((feed) => [feed.name, feed.info]))
    const accepted = yield* Queue.unbounded<Pipe>()
    const told = Deferred.makeUnsafe<number>()
    const wire = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const wire: Wire = place.connect({
          said: (word) => {
            if (!isWord(word)) return
            if (word._tag === "Ping") wire.say({ _tag: "Pong" })
            else Deferred.doneUnsafe(told, Effect.succeed(word.byMillis))
          },
          opened: (pipe) => void Queue.offerUnsafe(accepted, pipe),
          closed: () => {}
        })
        return wire
      }),
      (wire) =>
        Effect.sync(() => {
          wire.say({ _tag: "Left" })
          wire.closeUnsafe()
        })
    )
    const linkOf = (pipe: Pipe): HostLink => {
      let feed: FeedInfo | undefined
      const lost = (cause: unknown) => new DeviceLost({ device: place.device, fate: "unknown", cause })
      const closed = lost(new Error("the feeder has closed the link"))
      const send = (frame: DeviceFrame) => pipe.write(Frames.encodeDeviceFrame(frame))
      const receive: HostLink["receive"] = Effect.flatMap(Effect.mapError(pipe.read, () => closed), (raw) => {
        const frame = Frames.decodeFeederFrame(raw, feed, options)
        if (Result.isFailure(frame)) {
          const detail = frame.failure.message
          return Effect.andThen(
            send({ _tag: "Refused", reason: "invalid", detail, retry: false }),
            Effect.fail(lost(frame.failure))
          )
        }
        if (frame.success._tag === "Hello") feed = feeds.get(frame.success.feed)
        return Effect.succeed(frame.success)
      })
      return { send, receive }
    }
    return {
      links: {
        accept: Effect.map(
          Effect.acquireRelease(Queue.take(accepted), (pipe) => Effect.sync(pipe.closeUnsafe), { interruptible: true }),
          linkOf
        )
      },
      ready: Effect.sync(() => wire.say({ _tag: "Ready" })),
      leave: Deferred.await(told)
    }
  })
