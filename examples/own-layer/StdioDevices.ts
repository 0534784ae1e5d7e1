/**
 * Devices that are programs which the feeder starts, linked to it by their standard input and output: on this machine, or
 * on any that `ssh` gets to. A Layer of one's own: it uses what the package exports, and nothing else.
 */
import { Deferred, type Duration, Effect, Layer, RcMap, type Scope, Stdio, Stream } from "effect"
import { Device, type Feed, RemoteDevices, Wire } from "effect-feeder"
import { type ChildProcess, ChildProcessSpawner } from "effect/process"
import { type Pipes, share } from "./pipes.ts"

const { DeviceLost, FeedRefused } = RemoteDevices

/** What feeders are told of, and what is held to. */
const limits = { frameBytes: 64 * 1024 * 1024 }

/**
 * The feeder's side: a command for each device. Its program is started when a link is opened and it does not run, and
 * is stopped with this Layer. What it writes to its standard error goes to the log.
 */
export const layer = (
  commands: Readonly<Record<string, ChildProcess.Command>>
): Layer.Layer<RemoteDevices.RemoteDevices, never, ChildProcessSpawner.ChildProcessSpawner> =>
  Layer.effect(
    RemoteDevices.RemoteDevices,
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      const spawner = yield* ChildProcessSpawner.ChildProcessSpawner

      /** One life of a program. */
      const start = Effect.fnUntraced(function*(
        device: string
      ): Effect.fn.Return<Pipes, RemoteDevices.DeviceLost | RemoteDevices.FeedRefused, Scope.Scope> {
        const command = commands[device]
        if (command === undefined) {
          const detail = `it has no command; known are ${Object.keys(commands).join(", ")}`
          return yield* new FeedRefused({ device, reason: "invalid", detail })
        }
        const lost = (fate: "gone" | "unknown", cause: unknown) => new DeviceLost({ device, fate, cause })
        const child = yield* Effect.mapError(spawner.spawn(command), (error) => lost("unknown", error))
        const log = Stream.runForEach(Stream.splitLines(Stream.decodeText(child.stderr)), (line) =>
          Effect.logInfo(`${device}: ${line}`))
        yield* Effect.forkScoped(log)
        const end = child.exitCode.pipe(
          Effect.match({
            // A program that was killed has ended, but may have been the `ssh` to one that lives; so says ssh with 255.
            onFailure: (error) =>
              lost("unknown", error),
            onSuccess: (code) => lost(code === 255 ? "unknown" : "gone", new Error(`it ended with exit code ${code}`))
          }),
          // The next link starts it again. Its own scope is not closed from within.
          Effect.tap(() => Effect.forkIn(RcMap.invalidate(running, device), scope, { startImmediately: true }))
        )
        // At the end of its input a program finishes what it has, and ends; after five seconds it is told to by a signal.
        yield* Effect.addFinalizer(() => Effect.timeoutOption(Effect.exit(child.exitCode), "5 seconds"))
        return yield* share(device, child.stdout, child.stdin, end)
      })
      const running = yield* RcMap.make({ lookup: start, idleTimeToLive: Infinity })

      return {
        open: (device, feed) =>
          Effect.gen(function*() {
            const pipes = yield* Effect.tapError(
              RcMap.get(running, device),
              () => RcMap.invalidate(running, device)
            )
            return Wire.link(yield* pipes.open, { device, feed })
          })
      }
    })
  )

/**
 * The consumer's side: hosts feeds in a program that was started by `layer`. When its input ends, its feeder has gone, and
 * its consumers finish what they hold. Nothing else may write to the standard output.
 */
export const layerHost = <const Feeds extends ReadonlyArray<Feed.Any>>(
  options: Omit<Device.Options<Feeds>, "credentials" | "limits"> & { readonly gracePeriod?: Duration.Input }
): Layer.Layer<Feed.HostsOf<Feeds>, Device.FeedNameTaken, Stdio.Stdio> =>
  Layer.effectContext(Effect.gen(function*() {
    const { feeds, gracePeriod = "5 seconds" } = options
    const stdio = yield* Stdio.Stdio
    const ended = yield* Deferred.make<void>()
    const gone = new DeviceLost({ device: "here", fate: "unknown", cause: new Error("the feeder has ended") })
    const pipes = yield* share("here", stdio.stdin, stdio.stdout(), Effect.as(Deferred.succeed(ended, undefined), gone))
    const [device, hosts] = yield* Effect.provideService(
      Device.make({ ...options, limits }),
      RemoteDevices.DeviceLinks,
      { accept: Effect.map(pipes.accept, (wire) => Wire.hostLink(wire, { feeds, limits })) }
    )
    yield* Effect.forkScoped(Effect.andThen(Deferred.await(ended), device.leave(gracePeriod)))
    return hosts
  }))
