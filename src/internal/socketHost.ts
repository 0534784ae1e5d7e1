/**
 * The links of a host that listens: what its callers send is read as frames of feeders.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { Any } from "../Feed.ts"
import type { DeviceLinks, HostLink } from "../RemoteDevices.ts"
import { DeviceLost } from "../RemoteDevices.ts"
import * as Frames from "./frames.ts"
import { connect, rootOf } from "./socketLink.ts"
import type { Caller, ListenerConfig } from "./socketListener.ts"
import * as Listener from "./socketListener.ts"
import type { FrameLimits } from "./socketReader.ts"
import { makeReader } from "./socketReader.ts"

interface Accepted extends Caller {
  readonly end: Deferred.Deferred<void>
}

/** Listens, and gives the links of the connections that come. */
export const listen = (
  config: ListenerConfig & { readonly feeds: ReadonlyArray<Any>; readonly limits: FrameLimits }
): Effect.Effect<DeviceLinks["Service"], unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const accepted = yield* Queue.bounded<Accepted>(16)
    yield* Listener.listen(config, (caller) => {
      const end = Deferred.makeUnsafe<void>()
      return Effect.andThen(Queue.offer(accepted, { ...caller, end }), Deferred.await(end))
    })
    const device = config.address.text
    const lost = (cause: unknown) => new DeviceLost({ device, fate: "unknown", cause: rootOf(cause) })
    const open = ({ admitted, open, peer }: Accepted): Effect.Effect<HostLink, DeviceLost, Scope.Scope> => {
      const reader = makeReader(config.feeds, config.limits)
      return Effect.map(
        connect({
          open,
          lost,
          decode: reader.decode,
          refusal: ({ message }) => [Listener.refusal("invalid", message)],
          limits: reader.limits
        }),
        ({ receive, send }) => ({
          peer,
          receive,
          send: (frame) => {
            if (frame._tag === "Welcome") {
              admitted()
              reader.welcomed()
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
