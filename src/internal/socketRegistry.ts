/**
 * A feeder that listens: devices dial it, say who they are and what they host, and keep a link ready for each feed that is
 * opened there.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Credentials } from "../Credentials.ts"
import * as DeviceSpec from "../DeviceSpec.ts"
import type { DeviceFrame, FeedInfo, Link, Peer, RefusedReason, RemoteDevices } from "../RemoteDevices.ts"
import { DeviceLost, FeedRefused, versions } from "../RemoteDevices.ts"
import * as Frames from "./frames.ts"
import * as Members from "./members.ts"
import type { Register } from "./registration.ts"
import * as Registration from "./registration.ts"
import type { Connection } from "./socketLink.ts"
import { connect, rootOf } from "./socketLink.ts"
import type { Caller, ListenerConfig } from "./socketListener.ts"
import * as Listener from "./socketListener.ts"

/** How long a device that has no link ready is waited for before that is a failure. */
const patience = "1 second"

/** A link that a device keeps ready. */
interface Ready {
  readonly feeds: ReadonlyArray<string>
  readonly connection: Connection<Register | DeviceFrame>
  /** It is to be used, and nobody else reads it any more. */
  readonly taken: Deferred.Deferred<void>
  readonly released: Deferred.Deferred<boolean>
  /** It is used no more. */
  readonly end: Deferred.Deferred<void>
}

/** A device with at least one link, ready or in use. */
interface Present {
  readonly ready: Array<Ready>
  /** What it said last that it hosts. */
  feeds: ReadonlyArray<string>
  links: number
}

const reasons = { Unauthenticated: "unauthenticated", Unauthorized: "unauthorized" } as const

/** Listens, and gives the devices that come. */
export const listen = (
  config: ListenerConfig & {
    readonly credentials: Credentials["Service"] | undefined
    /** Most bytes of a frame of a stranger, and of a device that was admitted. */
    readonly controlBytes: number
    readonly frameBytes: number
  }
): Effect.Effect<RemoteDevices["Service"], unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const devices = new Map<string, Present>()
    const members = Members.make()

    /** Why a device may not come in. It is told so, and nothing else. */
    const refuses = (
      { credential, device, feeds, versions: [oldest, newest] }: Register,
      peer: Peer
    ): Effect.Effect<{ readonly reason: RefusedReason; readonly detail: string } | undefined> =>
      Effect.gen(function*() {
        if (newest < versions[0] || oldest > versions[1]) {
          const detail = `it speaks versions ${oldest} to ${newest}, the feeder ${versions[0]} to ${versions[1]}`
          return { reason: "version", detail }
        }
        const spec = DeviceSpec.fromString(device)
        if (Result.isFailure(spec)) return { reason: "invalid", detail: `Register.device: ${spec.failure.issue}` }
        if (config.credentials === undefined) return undefined
        const presented = credential === undefined ? undefined : Redacted.make(credential, { label: "credential" })
        for (const feed of feeds) {
          const error = yield* config.credentials.check({ credential: presented, feed, feeder: "", device, peer }).pipe(
            Effect.match({ onSuccess: () => undefined, onFailure: (error) => error })
          )
          if (error !== undefined) return { reason: reasons[error._tag], detail: error.detail }
        }
        return undefined
      })

    /** Keeps a link ready until it is taken, then until it is used no more. */
    const keep = (device: string, one: Ready): Effect.Effect<void, DeviceLost> =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          const present = devices.get(device) ?? { ready: [], feeds: one.feeds, links: 0 }
          devices.set(device, present)
          present.ready.push(one)
          present.feeds = one.feeds
          present.links++
          members.setUnsafe(device, one.feeds)
          return present
        }),
        () =>
          Effect.raceFirst(
            Effect.as(Deferred.await(one.taken), true),
            Effect.flatMap(one.connection.receive, ({ _tag }) => {
              const detail = `_tag: a device says nothing before a Hello, and this one has sent ${_tag}`
              return Effect.as(one.connection.send([Listener.refusal("invalid", detail)]), false)
            })
          ).pipe(
            Effect.onExit((exit) => Deferred.succeed(one.released, exit._tag === "Success" && exit.value)),
            Effect.flatMap((isTaken) => isTaken ? Deferred.await(one.end) : Effect.void)
          ),
        (present) =>
          Effect.sync(() => {
            const at = present.ready.indexOf(one)
            if (at >= 0) present.ready.splice(at, 1)
            present.links--
            if (present.links > 0) return
            devices.delete(device)
            members.deleteUnsafe(device)
          })
      )

    const welcome = ({ admitted, open, peer }: Caller): Effect.Effect<void, DeviceLost, Scope.Scope> =>
      Effect.gen(function*() {
        let device = peer.address ?? "a device"
        let isKnown = false
        const limits = { frameBytes: 0, controlBytes: config.controlBytes }
        const connection = yield* connect<Register | DeviceFrame>({
          open,
          lost: (cause) => new DeviceLost({ device, fate: "unknown", cause: rootOf(cause) }),
          decode: (raw) => isKnown ? Frames.decodeDeviceFrame(raw) : Registration.decodeRegister(raw),
          refusal: ({ message }) => isKnown ? undefined : [Listener.refusal("invalid", message)],
          limits
        })
        const register = yield* connection.receive
        if (register._tag !== "Register") return
        const refused = yield* refuses(register, peer)
        if (refused !== undefined) {
          const { detail, reason } = refused
          yield* Effect.logWarning(`a device at ${peer.address ?? "an unknown address"} was refused: it is ${reason}`)
          return yield* connection.send(Frames.encodeDeviceFrame({ _tag: "Refused", reason, detail, retry: false }))
        }
        device = DeviceSpec.canonicalName(DeviceSpec.fromStringUnsafe(register.device))
        isKnown = true
        limits.controlBytes = config.frameBytes
        admitted()
        yield* connection.send(Registration.encode({ _tag: "Registered" }))
        yield* keep(device, {
          feeds: register.feeds,
          connection,
          taken: Deferred.makeUnsafe(),
          released: Deferred.makeUnsafe(),
          end: Deferred.makeUnsafe()
        })
      })

    yield* Listener.listen(config, (caller) =>
      Effect.scoped(welcome(caller)).pipe(
        // A link that breaks is the ordinary end of one.
        Effect.catch((lost) => Effect.logDebug(lost.message))
      ))

    /** The link that came last: of a device that has dialled again, those before may be dead. */
    const find = (device: string, feed: string): Ready | undefined =>
      devices.get(device)?.ready.findLast(({ feeds }) => feeds.includes(feed))

    const take = (device: string, feed: string): Effect.Effect<Ready, DeviceLost | FeedRefused> =>
      Effect.suspend((): Effect.Effect<Ready, DeviceLost | FeedRefused> => {
        const one = find(device, feed)
        const present = devices.get(device)
        if (present === undefined || one === undefined) {
          if (present !== undefined && !present.feeds.includes(feed)) {
            const names = present.feeds.map((name) => `"${name}"`).join(", ")
            const detail = `it hosts ${names}, the feeder has "${feed}"`
            return Effect.fail(new FeedRefused({ device, reason: "unknown feed", detail }))
          }
          return Effect.flatMap(
            Effect.timeoutOption(members.until(() => find(device, feed) !== undefined), patience),
            (found) => {
              if (Option.isSome(found)) return take(device, feed)
              const known = members.names().join(", ") || "none"
              const cause = new Error(
                `it has dialled no link for feed "${feed}" to ${config.address.text}; ` +
                  `connected are ${known}`
              )
              return Effect.fail(new DeviceLost({ device, fate: "unknown", cause }))
            }
          )
        }
        present.ready.splice(present.ready.indexOf(one), 1)
        Deferred.doneUnsafe(one.taken, Effect.void)
        return Effect.succeed(one)
      })

    const open = (device: string, feed: FeedInfo): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> =>
      Effect.gen(function*() {
        const one = yield* Effect.acquireRelease(
          take(device, feed.name),
          ({ end }) => Deferred.succeed(end, undefined),
          { interruptible: true }
        )
        // One that broke in the same moment is none.
        if (!(yield* Deferred.await(one.released))) return yield* open(device, feed)
        const { receive, send } = one.connection
        return {
          send: (frame) => send(Frames.encodeFeederFrame(frame, feed)),
          receive: Effect.flatMap(receive, (frame) =>
            frame._tag === "Register"
              ? Effect.fail(new DeviceLost({ device, fate: "unknown", cause: new Error("it registers twice") }))
              : Effect.succeed(frame))
        }
      })

    return { open, changes: members.changes }
  })
