/**
 * Listens at an address: each connection is let in by the door, made secure if there is a certificate, and a WebSocket
 * where the address says so.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import type { DeviceFrame, Peer } from "../RemoteDevices.ts"
import type { Visitor } from "./door.ts"
import * as Door from "./door.ts"
import * as Frames from "./frames.ts"
import type { Address } from "./socketAddress.ts"
import { fromDuplex } from "./socketNet.ts"
import type { Secure, Secured } from "./socketTls.ts"
import type { Upgrade } from "./socketWeb.ts"
import type { Open } from "./socketWire.ts"
import { messagesOf } from "./socketWire.ts"

/** Where it listens, and what it asks of who comes. */
export interface ListenerConfig {
  readonly address: Address
  readonly secure: Secure | undefined
  readonly upgrade: Upgrade | undefined
  readonly door: Door.DoorLimits
  /** How long one may take until it is admitted. */
  readonly handshake: Duration.Duration
}

/** One that has come in, as a stranger. */
export interface Caller {
  readonly open: Open
  readonly peer: Peer
  /** It is no stranger any more. */
  readonly admitted: () => void
}

/** How long a connection that is closed is read on, so that what was said last arrives: reading nothing resets it. */
const lingerTime = "1 second"

/** What one is told that is sent away. */
export const refusal = (
  reason: "busy" | "invalid" | "unauthenticated" | "unauthorized",
  detail: string
): Uint8Array => {
  const frame: DeviceFrame = { _tag: "Refused", reason, detail, retry: reason === "busy" }
  return Frames.encodeDeviceFrame(frame)[0]
}

/** Ends a connection: what was written is sent, what comes is dropped, and it is closed soon whatever the peer does. */
const linger = (duplex: Duplex): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (duplex.closed) return resume(Effect.void)
    duplex.once("close", () => resume(Effect.void))
    duplex.end()
    duplex.resume()
  }).pipe(
    Effect.timeoutOption(lingerTime),
    Effect.andThen(Effect.sync(() => duplex.destroy()))
  )

/** A file that nobody listens at any more was left by a process that was killed. */
const removeStale = (path: string): Effect.Effect<boolean> =>
  Effect.callback<boolean>((resume) => {
    const socket = Net.connect({ path })
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed(false))
    })
    socket.once("error", (error) => {
      const isStale = "code" in error && error.code === "ECONNREFUSED" && Fs.statSync(path).isSocket()
      if (isStale) Fs.unlinkSync(path)
      resume(Effect.succeed(isStale))
    })
  })

const isTaken = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null && "code" in cause && cause.code === "EADDRINUSE"

/** Listens while the scope is open, and visits each connection that comes. */
const serve = (
  address: Address,
  visit: (raw: Net.Socket) => Effect.Effect<void>
): Effect.Effect<void, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const server = Net.createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 })
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
    const listen = Effect.callback<void, unknown>((resume) => {
      server.once("error", (cause) => resume(Effect.fail(cause)))
      server.listen(
        address._tag === "Unix" ? { path: address.path } : { host: address.host, port: address.port },
        () => resume(Effect.void)
      )
    })
    yield* Effect.catch(listen, (cause) =>
      address._tag === "Unix" && isTaken(cause)
        ? Effect.flatMap(removeStale(address.path), (isGone) => isGone ? listen : Effect.fail(cause))
        : Effect.fail(cause))
    server.on("error", () => {})
  })

/** Listens, and uses each caller until it is finished with. */
export const listen = (
  config: ListenerConfig,
  use: (caller: Caller) => Effect.Effect<void>
): Effect.Effect<void, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const { secure, upgrade } = config
    const clock = yield* Clock.Clock
    const door = Door.make(config.door)
    const addressOf = (raw: Net.Socket) => config.address._tag === "Unix" ? config.address.path : raw.remoteAddress

    const secured = (raw: Net.Socket): Effect.Effect<Secured | undefined> =>
      secure === undefined
        ? Effect.succeed({ socket: raw, peer: { address: addressOf(raw) }, refusal: undefined })
        : secure(raw)

    const upgraded = (socket: Net.Socket): Effect.Effect<Duplex | undefined> =>
      upgrade === undefined ? Effect.succeed(socket) : upgrade(socket)

    const host = (
      { peer, refusal: refused, socket }: Secured,
      visitor: Visitor,
      admitted: () => void
    ): Effect.Effect<void> =>
      Effect.flatMap(upgraded(socket), (duplex) => {
        if (duplex === undefined) return Effect.logDebug(`a connection of ${visitor.address} became no WebSocket`)
        const writesOf = upgrade === undefined ? undefined : messagesOf
        const used = refused === undefined
          ? use({ open: fromDuplex(duplex, writesOf), peer, admitted })
          : Effect.andThen(
            Effect.logWarning(`a peer at ${visitor.address} was refused: ${refused}`),
            Effect.sync(() => duplex.write(refusal("unauthenticated", refused)))
          )
        return Effect.ensuring(Effect.asVoid(used), linger(duplex))
      })

    const visit = (raw: Net.Socket): Effect.Effect<void> =>
      Effect.suspend(() => {
        const address = addressOf(raw)
        // It has gone already.
        if (address === undefined) return Effect.sync(() => raw.destroy())
        const visitor: Visitor = { address, evict: () => raw.destroy() }
        const issue = door.enter(visitor, Number(clock.monotonicTimeNanosUnsafe()) / 1e6)
        if (issue !== undefined) {
          if (secure === undefined && upgrade === undefined) raw.write(refusal("busy", issue))
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

    yield* serve(config.address, visit)
  })
