/**
 * The links of a host that listens on a port: each connection is let in by the door, made secure if the host has a
 * certificate, and read as frames.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import type { Any } from "../Feed.ts"
import type { DeviceFrame, DeviceLinks, FeedInfo, HostLink, Peer } from "../RemoteDevices.ts"
import { DeviceLost } from "../RemoteDevices.ts"
import type { Visitor } from "./door.ts"
import * as Door from "./door.ts"
import * as Frames from "./frames.ts"
import { connect, rootOf } from "./socketLink.ts"
import { fromDuplex } from "./socketNet.ts"
import type { Secure, Secured } from "./socketTls.ts"

/** Where a host listens and what it takes. */
export interface HostConfig {
  readonly feeds: ReadonlyArray<Any>
  readonly host: string
  readonly port: number
  readonly secure: Secure | undefined
  readonly door: Door.DoorLimits
  readonly handshake: Duration.Duration
  readonly frameBytes: number
  readonly controlBytes: number
  readonly elements: number
  readonly stringBytes: number
}

/** What a batch may take beside its elements. */
const headBytes = 1024 * 1024

/** How long a connection that is closed is read on, so that what was said last arrives: reading nothing resets it. */
const lingerTime = "1 second"

const refusal = (reason: "busy" | "invalid" | "unauthenticated", detail: string): Uint8Array => {
  const frame: DeviceFrame = { _tag: "Refused", reason, detail, retry: reason === "busy" }
  return Frames.encodeDeviceFrame(frame)[0]
}

/** Ends a connection: what was written is sent, what comes is dropped, and it is closed soon whatever the peer does. */
const linger = (socket: Net.Socket): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (socket.closed) return resume(Effect.void)
    socket.once("close", () => resume(Effect.void))
    socket.end()
    socket.resume()
  }).pipe(
    Effect.timeoutOption(lingerTime),
    Effect.andThen(Effect.sync(() => socket.destroy()))
  )

interface Accepted {
  readonly socket: Net.Socket
  readonly peer: Peer
  readonly admitted: () => void
  readonly end: Deferred.Deferred<void>
}

/** Listens while the scope is open, and visits each connection that comes. */
const serve = (
  options: Net.ListenOptions,
  visit: (raw: Net.Socket) => Effect.Effect<void>
): Effect.Effect<void, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const server = Net.createServer({ noDelay: true })
    const closed = Deferred.makeUnsafe<void>()
    let isClosing = false
    yield* Effect.addFinalizer(() => Deferred.await(closed))
    const run = yield* FiberSet.makeRuntime<never>()
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isClosing = true
        server.close(() => Deferred.doneUnsafe(closed, Effect.void))
      })
    )
    server.on("connection", (raw) => {
      raw.on("error", () => {})
      // Nothing is read before somebody reads it.
      raw.pause()
      if (isClosing) raw.destroy()
      else run(visit(raw))
    })
    yield* Effect.callback<void, unknown>((resume) => {
      server.on("error", (cause) => resume(Effect.fail(cause)))
      server.listen(options, () => resume(Effect.void))
    })
  })

/** Listens, and gives the links of the connections that come. */
export const listen = (
  config: HostConfig
): Effect.Effect<DeviceLinks["Service"], unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const { secure } = config
    const clock = yield* Clock.Clock
    const feeds = new Map(config.feeds.map((feed) => [feed.name, feed.info]))
    const accepted = yield* Queue.bounded<Accepted>(16)
    const door = Door.make(config.door)

    const secured = (raw: Net.Socket): Effect.Effect<Secured | undefined> =>
      secure === undefined
        ? Effect.succeed({ socket: raw, peer: { address: raw.remoteAddress }, refusal: undefined })
        : secure(raw)

    /** Hands the connection to the device, and waits until it has finished with it. */
    const host = (
      { peer, refusal: refused, socket }: Secured,
      visitor: Visitor,
      admitted: () => void
    ): Effect.Effect<void> =>
      Effect.gen(function*() {
        if (refused !== undefined) {
          yield* Effect.logWarning(`a feeder at ${visitor.address} was refused: ${refused}`)
          socket.write(refusal("unauthenticated", refused))
          return
        }
        const end = Deferred.makeUnsafe<void>()
        yield* Queue.offer(accepted, { socket, peer, admitted, end })
        yield* Deferred.await(end)
      }).pipe(Effect.ensuring(linger(socket)))

    const visit = (raw: Net.Socket): Effect.Effect<void> =>
      Effect.suspend(() => {
        const address = raw.remoteAddress
        // It has gone already.
        if (address === undefined) return Effect.sync(() => raw.destroy())
        const visitor: Visitor = { address, evict: () => raw.destroy() }
        const issue = door.enter(visitor, Number(clock.monotonicTimeNanosUnsafe()) / 1e6)
        if (issue !== undefined) {
          if (secure === undefined) raw.write(refusal("busy", issue))
          return Effect.sync(() => raw.destroySoon())
        }
        let isStranger = true
        const admitted = () => {
          isStranger = false
          door.admit(visitor)
        }
        const late = Effect.andThen(
          Effect.sleep(config.handshake),
          Effect.suspend(() => isStranger ? Effect.void : Effect.never)
        )
        return secured(raw).pipe(
          Effect.flatMap((one) =>
            one === undefined
              ? Effect.logDebug(`a connection of ${address} ended before it was secure`)
              : host(one, visitor, admitted)
          ),
          Effect.raceFirst(late),
          Effect.ensuring(Effect.sync(() => {
            door.leave(visitor)
            raw.destroySoon()
          }))
        )
      })

    yield* serve({ host: config.host, port: config.port }, visit)

    const address = `${config.host}:${config.port}`
    const lost = (cause: unknown) => new DeviceLost({ device: address, fate: "unknown", cause: rootOf(cause) })
    const open = ({ admitted, peer, socket }: Accepted): Effect.Effect<HostLink, DeviceLost, Scope.Scope> => {
      let feed: FeedInfo | undefined
      // Only one that was admitted may send more than a Hello takes.
      const frames = { frameBytes: config.controlBytes, controlBytes: config.controlBytes }
      const limits = { elements: config.elements, stringBytes: config.stringBytes }
      return Effect.map(
        connect({
          open: fromDuplex(socket),
          lost,
          decode: (raw) =>
            Result.map(Frames.decodeFeederFrame(raw, feed, limits), (frame) => {
              if (frame._tag === "Hello") feed = feeds.get(frame.feed)
              return frame
            }),
          refusal: ({ message }) => [refusal("invalid", message)],
          limits: frames
        }),
        ({ receive, send }) => ({
          peer,
          receive,
          send: (frame) => {
            if (frame._tag === "Welcome") {
              admitted()
              frames.frameBytes = config.frameBytes + headBytes
            }
            return send(Frames.encodeDeviceFrame(frame))
          }
        })
      )
    }
    const accept: Effect.Effect<HostLink, never, Scope.Scope> = Effect.suspend(() =>
      Effect.flatMap(
        Effect.acquireRelease(Queue.take(accepted), ({ end }) => Deferred.succeed(end, undefined), {
          interruptible: true
        }),
        // A connection that broke before it was looked at is nobody's concern.
        (one) => Effect.catch(open(one), () => accept)
      )
    )
    return { accept }
  })
