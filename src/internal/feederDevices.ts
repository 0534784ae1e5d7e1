/**
 * The devices of a feeder: adding them, removing them, and feeding them in a run.
 */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberMap from "effect/FiberMap"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as RemoteFeed from "../actors/RemoteFeed.ts"
import * as DeviceSpec from "../DeviceSpec.ts"
import type * as FeedSession from "../FeedSession.ts"
import type { Change, FeedInfo } from "../RemoteDevices.ts"
import { RemoteDevices } from "../RemoteDevices.ts"
import type { Books, Remote } from "./feederBooks.ts"
import type { Devices as Given } from "./feederModels.ts"
import type { FeedError } from "./feedError.ts"
import { DeviceInvalid } from "./feedError.ts"

/** The devices: see the module. */
export interface Devices {
  readonly add: (device: DeviceSpec.Input) => Effect.Effect<void, FeedError, RemoteDevices>
  readonly addAll: (devices: Given) => Effect.Effect<void, FeedError, RemoteDevices>
  readonly addReplicas: (
    ...args: Parameters<typeof DeviceSpec.replicas>
  ) => Effect.Effect<void, FeedError, RemoteDevices>
  readonly remove: (device: DeviceSpec.Input) => Effect.Effect<void, FeedError>
  /** Feeds all devices in the run that goes on, unless it feeds them already. */
  readonly start: Effect.Effect<void>
}

/** The devices of a new feeder. */
export const make = <A>(options: {
  readonly books: Books<A>
  /** Of every session. */
  readonly config: FeedSession.Config<A>
  readonly info: FeedInfo
  readonly tolerate: RemoteFeed.Tolerator
  readonly isTogether: boolean
  readonly gracePeriod: Duration.Input
  readonly scope: Scope.Scope
  /** Waits until the device may be fed. */
  readonly untilKnown: (device: string) => Effect.Effect<void>
}): Devices => {
  const { books, config, gracePeriod, info, isTogether, tolerate } = options
  const { error, owner, remotes, removed } = books
  const id = config.feeder
  /** One device is added or removed at a time. */
  const changing = Semaphore.makeUnsafe(1)

  const startRemote = (device: string, remote: Remote<A>): Effect.Effect<void> => {
    const running = books.run
    if (running === undefined || books.hasEnded || remote.startedIn === running) return Effect.void
    remote.startedIn = running
    remote.failed = undefined
    const fed = Effect.suspend(() =>
      // It may have been removed meanwhile.
      remotes.get(device) === remote
        ? Effect.flatMap(options.untilKnown(device), () => remote.feed.run(running.shared))
        : Effect.void
    )
    const supervised = Effect.catchCause(fed, (cause) => {
      const failed = Cause.findErrorOption(cause)
      if (Option.isSome(failed)) {
        remote.failed = failed.value
        if (isTogether) books.failUnsafe(failed.value)
        else books.changedUnsafe()
        return Effect.logWarning(failed.value.message)
      }
      // A device that fails is its own affair; a defect is the feeder's.
      const told = Cause.hasInterruptsOnly(cause) ? Effect.void : running.outer.requestStop(cause)
      return Effect.andThen(told, Effect.failCause(cause))
    })
    // One that runs is known, so that it can be removed.
    return Effect.uninterruptible(Effect.map(running.links.fork(device, supervised), (fiber) => {
      remote.fiber = fiber
    }))
  }

  const nameOf = (input: DeviceSpec.Input, change: "added" | "removed"): Effect.Effect<string, FeedError> => {
    const parsed = typeof input === "string" ? DeviceSpec.fromString(input) : Result.succeed(input)
    return Result.isFailure(parsed)
      ? Effect.fail(error(new DeviceInvalid({ device: String(input), issue: parsed.failure.issue, change })))
      : Effect.succeed(DeviceSpec.canonicalName(parsed.success))
  }

  const add = (input: DeviceSpec.Input): Effect.Effect<void, FeedError, RemoteDevices> =>
    changing.withPermits(1)(Effect.gen(function*() {
      const device = yield* nameOf(input, "added")
      if (remotes.has(device)) {
        const issue = `feeder ${id} feeds it already`
        return yield* error(new DeviceInvalid({ device, issue, change: "added" }))
      }
      const devices = yield* RemoteDevices
      const remote: Remote<A> = {
        feed: RemoteFeed.make<A>({
          config,
          device,
          info,
          devices,
          tolerate,
          owner,
          state: removed.get(device)?.state()
        }),
        startedIn: undefined,
        fiber: undefined,
        failed: undefined
      }
      removed.delete(device)
      remotes.set(device, remote)
      yield* startRemote(device, remote)
    }))

  const addAll = (devices: Given): Effect.Effect<void, FeedError, RemoteDevices> => {
    if (devices === "all") return follow(() => true)
    return typeof devices === "function" ? follow(devices) : Effect.forEach(devices, add, { discard: true })
  }

  /** Adds the devices that join and host the feed, and removes them when they have left, while the feeder's scope is open. */
  const follow = (
    isWanted: (device: DeviceSpec.DeviceSpec) => boolean
  ): Effect.Effect<void, FeedError, RemoteDevices> =>
    Effect.gen(function*() {
      const { changes } = yield* RemoteDevices
      if (changes === undefined) {
        const issue = "this transport does not tell which devices there are; name them"
        return yield* error(new DeviceInvalid({ device: "*", issue, change: "added" }))
      }
      const context = yield* Effect.context<RemoteDevices>()
      const leaving = yield* Scope.provide(FiberMap.make<string>(), options.scope)
      const followed = new Set<string>()

      const leave = (device: string): Effect.Effect<void> =>
        Effect.suspend(() => {
          const remote = remotes.get(device)
          if (remote === undefined) return Effect.void
          // Its link may be live although nothing is known of it any more.
          const isLive = remote.feed.state().phase === "Live"
          return isLive
            ? Effect.andThen(Effect.sleep(config.leaseMillis), leave(device))
            : Effect.ignore(remove(device))
        })

      const apply = (change: Change): Effect.Effect<void> => {
        const { device } = change
        if (change._tag === "Left") {
          return followed.has(device)
            ? Effect.asVoid(
              FiberMap.run(leaving, device, Effect.andThen(Effect.sleep(config.leaseMillis), leave(device)))
            )
            : Effect.void
        }
        return Effect.gen(function*() {
          yield* FiberMap.remove(leaving, device)
          const spec = DeviceSpec.fromString(device)
          if (Result.isFailure(spec) || !isWanted(spec.success)) return
          if (change.feeds !== undefined && !change.feeds.includes(info.name)) return
          const remote = remotes.get(device)
          if (remote !== undefined && remote.failed === undefined) return
          if (remote !== undefined) yield* remove(device)
          followed.add(device)
          yield* Effect.provideContext(add(device), context)
        }).pipe(Effect.catch((invalid) => Effect.logWarning(invalid.message)))
      }

      yield* Effect.forkIn(Stream.runForEach(changes, apply), options.scope, { startImmediately: true })
    })

  const remove = (input: DeviceSpec.Input): Effect.Effect<void, FeedError> =>
    changing.withPermits(1)(Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const device = yield* nameOf(input, "removed")
        const remote = remotes.get(device)
        if (remote === undefined) {
          const issue = `feeder ${id} does not feed it`
          return yield* error(new DeviceInvalid({ device, issue, change: "removed" }))
        }
        remotes.delete(device)
        removed.set(device, remote.feed)
        const interrupted = remote.fiber === undefined
          ? Effect.void
          : Effect.timeoutOption(Fiber.interrupt(remote.fiber), gracePeriod)
        yield* Effect.ensuring(restore(interrupted), Effect.sync(() => remote.feed.removeUnsafe()))
      })
    ))

  return {
    add,
    addAll,
    addReplicas: (...args) =>
      Effect.try({
        try: () => DeviceSpec.replicas(...args),
        catch: (thrown) => error(new DeviceInvalid({ device: `/job:${args[0]}`, issue: issueOf(thrown) }))
      }).pipe(Effect.flatMap(addAll)),
    remove,
    start: Effect.suspend(() =>
      Effect.forEach(remotes, ([device, remote]) => startRemote(device, remote), { discard: true })
    )
  }
}

const issueOf = (thrown: unknown): string =>
  thrown instanceof DeviceSpec.DeviceSpecError ? thrown.issue : String(thrown)
