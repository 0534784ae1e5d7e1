/**
 * One listener for all devices of a runner: each link goes to the device that its Hello asks for.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import type { DeviceFrame, DeviceLinks, FeederFrame, HostLink } from "../RemoteDevices.ts"

/** A link that waits for its device, and the scope it lives in. */
interface Caller {
  readonly link: HostLink
  readonly scope: Scope.Closeable
}

/** The devices of a runner. */
export interface Routes {
  /** The links of the feeders that ask for a device, while the scope is open. */
  readonly to: (device: string) => Effect.Effect<DeviceLinks["Service"], never, Scope.Scope>
}

const hangUp = ({ scope }: Caller): Effect.Effect<void> => Scope.close(scope, Exit.void)

/** A link whose first frame was read already. */
const unread = (first: FeederFrame, link: HostLink): HostLink => {
  let isRead = false
  return {
    ...link,
    receive: Effect.suspend(() => {
      if (isRead) return link.receive
      isRead = true
      return Effect.succeed(first)
    })
  }
}

/** Sends links their ways until the scope closes. One that says nothing in time is closed. */
export const make = (
  links: DeviceLinks["Service"],
  handshake: Duration.Input
): Effect.Effect<Routes, never, Scope.Scope> =>
  Effect.gen(function*() {
    // Of their own, so that links outlive the devices that are made after this.
    const outer = yield* Effect.flatMap(Effect.scope, Scope.fork)
    const devices = new Map<string, Queue.Queue<Caller>>()

    /** Whether the link has found its device. */
    const route = (link: HostLink, scope: Scope.Closeable): Effect.Effect<boolean> =>
      Effect.gen(function*() {
        const first = Option.getOrUndefined(yield* Effect.timeoutOption(link.receive, handshake))
        if (first === undefined) return false
        const callers = first._tag === "Hello" ? devices.get(first.device) : undefined
        if (callers !== undefined) return yield* Queue.offer(callers, { link: unread(first, link), scope })
        const refused: DeviceFrame = first._tag === "Hello"
          ? { _tag: "Refused", reason: "another device", detail: "it does not live here any more", retry: true }
          : {
            _tag: "Refused",
            reason: "invalid",
            detail: `_tag: a link begins with Hello, not with ${first._tag}`,
            retry: false
          }
        yield* link.send(refused)
        return false
      }).pipe(Effect.catch((lost) => Effect.as(Effect.logDebug(lost.message), false)))

    yield* Effect.forever(
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const scope = yield* Scope.fork(outer)
          const link = yield* restore(Scope.provide(links.accept, scope)).pipe(
            Effect.onExit((exit) => Exit.isFailure(exit) ? Scope.close(scope, exit) : Effect.void)
          )
          yield* restore(route(link, scope)).pipe(
            Effect.onExit((exit) => Exit.isSuccess(exit) && exit.value ? Effect.void : Scope.close(scope, exit)),
            Effect.forkIn(outer)
          )
        })
      ),
      { disableYield: true }
    ).pipe(Effect.forkIn(outer))

    return {
      to: (device) =>
        Effect.map(
          Effect.acquireRelease(
            Effect.flatMap(
              Queue.unbounded<Caller>(),
              (callers) => Effect.as(Effect.sync(() => devices.set(device, callers)), callers)
            ),
            (callers) =>
              Effect.gen(function*() {
                devices.delete(device)
                yield* Effect.forEach(yield* Queue.clear(callers), hangUp, { discard: true })
                yield* Queue.shutdown(callers)
              })
          ),
          (callers) => ({
            accept: Effect.map(
              Effect.acquireRelease(Queue.take(callers), hangUp, { interruptible: true }),
              ({ link }) => link
            )
          })
        )
    }
  })
