/**
 * The devices of a feeder: adding them, removing them, and feeding them in a run.
 */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as RemoteFeed from "../actors/RemoteFeed.ts"
import * as DeviceSpec from "../DeviceSpec.ts"
import type * as FeedSession from "../FeedSession.ts"
import type { FeedInfo } from "../RemoteDevices.ts"
import { RemoteDevices } from "../RemoteDevices.ts"
import type { Books, Remote } from "./feederBooks.ts"
import type { FeedError } from "./feedError.ts"
import { DeviceInvalid } from "./feedError.ts"

/** The devices: see the module. */
export interface Devices {
  readonly add: (device: DeviceSpec.Input) => Effect.Effect<void, FeedError, RemoteDevices>
  readonly addAll: (devices: Iterable<DeviceSpec.Input>) => Effect.Effect<void, FeedError, RemoteDevices>
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
  readonly config: Omit<FeedSession.Config<A>, "device">
  readonly info: FeedInfo
  readonly tolerate: RemoteFeed.Tolerator
  readonly isTogether: boolean
  readonly gracePeriod: Duration.Input
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
    const registered = Effect.withFiber<void, RemoteFeed.DeviceFailed>((fiber) => {
      if (remotes.get(device) !== remote) return Effect.void // it was removed meanwhile
      remote.fiber = fiber
      return Effect.andThen(options.untilKnown(device), remote.feed.run)
    })
    const supervised = registered.pipe(
      Effect.catch((failed) => {
        remote.failed = failed
        if (isTogether) books.failUnsafe(failed)
        else books.changedUnsafe()
        return Effect.logWarning(failed.message)
      }),
      // A device that fails is its own affair; a defect is the feeder's.
      Effect.onError((cause) => Cause.hasInterruptsOnly(cause) ? Effect.void : running.outer.requestStop(cause))
    )
    return Effect.asVoid(running.links.fork(device, supervised))
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
          config: { ...config, device },
          info,
          devices,
          tolerate,
          owner,
          restarts: () => books.run?.restarts,
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

  const addAll = (devices: Iterable<DeviceSpec.Input>) => Effect.forEach(devices, add, { discard: true })

  return {
    add,
    addAll,
    addReplicas: (...args) =>
      Effect.try({
        try: () => DeviceSpec.replicas(...args),
        catch: (thrown) => error(new DeviceInvalid({ device: `/job:${args[0]}`, issue: issueOf(thrown) }))
      }).pipe(Effect.flatMap(addAll)),
    remove: (input) =>
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
          yield* Effect.ensuring(restore(interrupted), Effect.sync(remote.feed.removeUnsafe))
        })
      )),
    start: Effect.suspend(() =>
      Effect.forEach(remotes, ([device, remote]) => startRemote(device, remote), { discard: true })
    )
  }
}

const issueOf = (thrown: unknown): string =>
  thrown instanceof DeviceSpec.DeviceSpecError ? thrown.issue : String(thrown)
