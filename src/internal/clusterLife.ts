/**
 * The life of a device in a runner: from when somebody asks where it is, or it moves here, until its consumer ends or it
 * moves away.
 */
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Device from "../actors/Device.ts"
import type { Any, HostsOf } from "../Feed.ts"
import { DeviceLinks } from "../RemoteDevices.ts"
import type { Routes } from "./clusterRoutes.ts"

/** What all devices of a runner are made with. */
export interface Settings<Feeds extends ReadonlyArray<Any>> {
  readonly device: Omit<Device.Options<Feeds>, "device">
  readonly consume: (device: string, hosts: Context.Context<HostsOf<Feeds>>) => Effect.Effect<unknown, unknown>
  readonly routes: Routes
  readonly gracePeriod: Duration.Duration
  /** The devices that live in the runner now. */
  readonly living: Set<Device.Device>
}

/** One incarnation. */
interface Life {
  /** Resolved once it takes links, with nothing if it never does. */
  readonly begun: Deferred.Deferred<Device.Device | undefined>
  readonly fiber: Fiber.Fiber<void>
  readonly isOver: () => boolean
}

/**
 * Makes an entity that lives while the scope is open, and leaves gently when it closes. The effect returns when the device
 * takes links, in a new life if the one before is over.
 */
export const make = <const Feeds extends ReadonlyArray<Any>>(
  name: string,
  { consume, device: options, gracePeriod, living, routes }: Settings<Feeds>
): Effect.Effect<Effect.Effect<void>, never, Scope.Scope> =>
  Effect.gen(function*() {
    // Of its own, so that it closes after the device has left.
    const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
    let life: Life | undefined

    // Whoever asked may have lost patience meanwhile: the device begins all the same, and only once.
    const begin = Effect.uninterruptible(Effect.gen(function*() {
      const begun = Deferred.makeUnsafe<Device.Device | undefined>()
      let isOver = false
      const live = Effect.scoped(Effect.gen(function*() {
        const links = yield* routes.to(name)
        const [device, hosts] = yield* Effect.provideService(
          Device.make({ ...options, device: name }),
          DeviceLinks,
          links
        )
        yield* Effect.acquireRelease(
          Effect.sync(() => living.add(device)),
          () => Effect.sync(() => living.delete(device))
        )
        yield* Deferred.succeed(begun, device)
        yield* Effect.suspend(() => consume(name, hosts)).pipe(
          Effect.ensuring(Effect.sync(() => {
            isOver = true
          }))
        )
      })).pipe(
        Effect.catchCause((cause) => Effect.logError(`the consumer of device ${name} failed`, cause)),
        Effect.ensuring(Effect.suspend(() => {
          isOver = true
          return Deferred.succeed(begun, undefined)
        })),
        Effect.asVoid
      )
      life = { begun, fiber: yield* Effect.forkIn(Effect.interruptible(live), scope), isOver: () => isOver }
      return life
    }))

    yield* Effect.addFinalizer(() =>
      Effect.gen(function*() {
        const device = life === undefined ? undefined : yield* Deferred.await(life.begun)
        if (life === undefined || device === undefined) return
        yield* device.leave(gracePeriod)
        yield* Fiber.await(life.fiber)
      }).pipe(Effect.interruptible, Effect.timeoutOption(gracePeriod))
    )
    return Effect.gen(function*() {
      if (life?.isOver() === true) yield* Fiber.await(life.fiber)
      const { begun } = life === undefined || life.isOver() ? yield* begin : life
      yield* Deferred.await(begun)
    })
  })
