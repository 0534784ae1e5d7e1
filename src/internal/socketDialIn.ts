/**
 * A device that dials feeders: with each it keeps one link ready, over which a feeder may say Hello, and dials again when
 * that one is used or broken.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { Any } from "../Feed.ts"
import type { DeviceLinks, FeederFrame, HostLink } from "../RemoteDevices.ts"
import { DeviceLost, versions } from "../RemoteDevices.ts"
import * as Frames from "./frames.ts"
import type { Answer } from "./registration.ts"
import * as Registration from "./registration.ts"
import { connect, rootOf } from "./socketLink.ts"
import type { FrameLimits } from "./socketReader.ts"
import { makeReader } from "./socketReader.ts"
import type { Open } from "./socketWire.ts"

/** How long to wait before dialling again; it begins anew with each link that a feeder has accepted. */
export type Reconnect = Schedule.Schedule<unknown, unknown>

/** From a tenth of a second to ten, give or take a fifth. */
export const reconnect: Reconnect = Schedule.jittered(
  Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("10 seconds")])
)

/** Where a feeder listens. */
export interface Place {
  readonly text: string
  readonly open: Open
  /** What a failure to get there says, if more than the system does. */
  readonly explain?: ((cause: unknown) => unknown) | undefined
}

/** Who dials whom. */
export interface DialInConfig {
  readonly device: string
  readonly feeds: ReadonlyArray<Any>
  readonly credential: Redacted.Redacted<string> | undefined
  readonly places: ReadonlyArray<Place>
  readonly reconnect: Reconnect
  readonly limits: FrameLimits
  /** How long a feeder may take to answer. */
  readonly handshake: Duration.Duration
}

interface Taken {
  readonly link: HostLink
  readonly end: Deferred.Deferred<void>
}

/** Dials while the scope is open, and gives the links over which feeders say Hello. */
export const dialIn = (config: DialInConfig): Effect.Effect<DeviceLinks["Service"], never, Scope.Scope> =>
  Effect.gen(function*() {
    const { credential, device, feeds } = config
    // Links end after all that is added to the scope later, such as a device that still has something to say.
    const scope = yield* Scope.fork(yield* Effect.scope)
    const clock = yield* Clock.Clock
    const accepted = yield* Queue.bounded<Taken>(16)

    /** One link. Says when it was registered, and when it is used. */
    const dial = (
      { explain = (cause) => cause, open, text }: Place,
      registered: Deferred.Deferred<void>,
      used: Deferred.Deferred<void>
    ): Effect.Effect<void, DeviceLost> =>
      Effect.scoped(Effect.gen(function*() {
        const lost = (cause: unknown) =>
          new DeviceLost({ device: text, fate: "unknown", cause: explain(rootOf(cause)) })
        const reader = makeReader(feeds, config.limits)
        let isRegistered = false
        const { receive, send } = yield* connect<Answer | FeederFrame>({
          open,
          lost,
          decode: (raw) => isRegistered ? reader.decode(raw) : Registration.decodeAnswer(raw),
          refusal: ({ message }) =>
            isRegistered
              ? Frames.encodeDeviceFrame({ _tag: "Refused", reason: "invalid", detail: message, retry: false })
              : undefined,
          limits: reader.limits
        })
        yield* send(Registration.encode({
          _tag: "Register",
          versions,
          device,
          feeds: feeds.map(({ name }) => name),
          ...(credential === undefined ? {} : { credential: Redacted.value(credential) })
        }))
        const answer = yield* Effect.timeoutOrElse(receive, {
          duration: config.handshake,
          orElse: () => Effect.fail(lost(new Error("it did not answer in time; does a feeder listen there?")))
        })
        if (answer._tag !== "Registered") {
          const why = answer._tag === "Refused" ? `${answer.reason}: ${answer.detail}` : answer._tag
          return yield* lost(new Error(`it refused this device (${why})`))
        }
        isRegistered = true
        yield* Deferred.succeed(registered, undefined)
        const next = Effect.flatMap(receive, (frame): Effect.Effect<FeederFrame, DeviceLost> =>
          frame._tag === "Registered" || frame._tag === "Refused"
            ? Effect.fail(lost(new Error(`it sent ${frame._tag} on a link that was registered`)))
            : Effect.succeed(frame))
        let first: FeederFrame | undefined = yield* next
        yield* Deferred.succeed(used, undefined)
        const end = Deferred.makeUnsafe<void>()
        const link: HostLink = {
          peer: { address: text },
          send: (frame) => {
            if (frame._tag === "Welcome") {
              reader.welcomed()
            }
            return send(Frames.encodeDeviceFrame(frame))
          },
          receive: Effect.suspend(() => {
            if (first === undefined) {
              return next
            }
            const frame = first
            first = undefined
            return Effect.succeed(frame)
          })
        }
        yield* Queue.offer(accepted, { link, end })
        yield* Deferred.await(end)
      }))

    /** Keeps a link ready at one place. */
    const keep = (place: Place): Effect.Effect<void> =>
      Effect.gen(function*() {
        let step = yield* Schedule.toStep(config.reconnect)
        let isAway = false
        while (true) {
          const registered = Deferred.makeUnsafe<void>()
          const used = Deferred.makeUnsafe<void>()
          const fiber = yield* Effect.forkIn(dial(place, registered, used), scope, { startImmediately: true })
          const exit = yield* Effect.raceFirst(
            Effect.as(Deferred.await(used), undefined),
            Fiber.await(fiber)
          ).pipe(Effect.onInterrupt(() => Fiber.interrupt(fiber)))
          if (Deferred.isDoneUnsafe(registered)) {
            if (isAway) yield* Effect.logInfo(`device ${device} is registered at ${place.text}`)
            isAway = false
            step = yield* Schedule.toStep(config.reconnect)
          }
          if (exit === undefined) continue
          if (Exit.hasInterrupts(exit)) return
          const lost = Exit.findErrorOption(exit)
          const why = lost._tag === "Some" ? lost.value.message : "the link was closed"
          // Said once for each time that it is away.
          yield* isAway ? Effect.logDebug(why) : Effect.logWarning(why)
          isAway = true
          const next = yield* Effect.exit(step(clock.currentTimeMillisUnsafe(), why))
          if (Exit.isFailure(next)) {
            return yield* Effect.logError(`${place.text} is dialled no more, since its schedule has ended`)
          }
          yield* Effect.sleep(next.value[1])
        }
      })

    yield* Effect.forEach(config.places, (place) => Effect.forkIn(keep(place), scope), { discard: true })
    return {
      accept: Effect.map(
        Effect.acquireRelease(Queue.take(accepted), ({ end }) => Deferred.succeed(end, undefined), {
          interruptible: true
        }),
        ({ link }) => link
      )
    }
  })
