/**
 * Devices that are worker threads or child processes, which the Layer starts, looks after, starts again and stops.
 *
 * The feeder's program has `layer`, which is given a worker file; the worker file has `layerHost`. A TypeScript file runs as
 * it is. `docs/workers.md` tells all of it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs"
import { fileURLToPath, pathToFileURL } from "node:url"
import * as Device from "../actors/Device.ts"
import * as DeviceSpec from "../DeviceSpec.ts"
import * as FailureTolerator from "../FailureTolerator.ts"
import type { Any, HostsOf } from "../Feed.ts"
import * as Frames from "../internal/frames.ts"
import { onSigterm } from "../internal/processSignals.ts"
import type { NotAWorker } from "../internal/workerErrors.ts"
import { WorkerInvalid } from "../internal/workerErrors.ts"
import * as WorkerHost from "../internal/workerHost.ts"
import type { PlaceStatus } from "../internal/workerPool.ts"
import * as WorkerPool from "../internal/workerPool.ts"
import type { FeedInfo, Link } from "../RemoteDevices.ts"
import { DeviceLinks, DeviceLost, FeedRefused, RemoteDevices } from "../RemoteDevices.ts"

export { NotAWorker, WorkerEnded, WorkerInvalid } from "../internal/workerErrors.ts"

/** Most bytes of one frame unless a host says otherwise: 1 GiB. */
const frameBytes = 1024 * 1024 * 1024

// -----------------------------------------------------------------------------
// the feeder's side
// -----------------------------------------------------------------------------

/**
 * Which workers there are, and how they are looked after.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The worker file, such as `new URL("./consumer.ts", import.meta.url)`. A string is a path. */
  readonly worker: URL | string
  /** How many workers. They are the replicas of the job, from 0: those of `DeviceSpec.replicas(job, count)`. */
  readonly count: number
  /** Default `"consumer"`. */
  readonly job?: string | undefined
  /** Threads of this process, the default, or processes of their own. */
  readonly kind?: "thread" | "process" | undefined
  /**
   * When a worker that ended before its feed is started again, stepped with the `DeviceLost` that feeders hear of: its
   * cause is a `WorkerEnded`. When it is over, the device refuses its feeders. Each worker has one of its own. Default
   * `FailureTolerator.make({ limit: 5, initDelay: "100 millis", forgiveAfter: "1 minute" })`.
   */
  readonly restart?: Schedule.Schedule<unknown, DeviceLost> | undefined
  /** Most MiB of JavaScript objects in a worker, which does not count tensors. A worker that needs more ends. */
  readonly memoryLimit?: number | undefined
  /**
   * Most MiB of new JavaScript objects in a worker, which are collected whenever it is full; default Node's, some 48. A
   * frame is freed with the objects that view it: where tensors are large, those are few, and 4 keeps V8 from marking the
   * whole heap each time that 64 MiB of frames have come. Consumers that make many objects of their own want more.
   */
  readonly youngMemoryLimit?: number | undefined
  /** For how long a worker's event loop may be blocked before the worker is ended, and another started. Default 10 seconds. */
  readonly unresponsiveAfter?: Duration.Input | undefined
  /** How long a worker may take from its start to hosting its feeds. Default 30 seconds. */
  readonly startWithin?: Duration.Input | undefined
  /** When the scope closes, how long workers may take to finish what they hold. Default 5 seconds. */
  readonly gracePeriod?: Duration.Input | undefined
  /** Arguments of the worker file: its `process.argv` from the third on. */
  readonly argv?: ReadonlyArray<string> | undefined
  /** Goes on top of the environment of this process. */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Node's own arguments. Default: those of this process, so that conditions and loaders are the same. */
  readonly execArgv?: ReadonlyArray<string> | undefined
}

/**
 * How a worker is.
 *
 * @category models
 * @since 0.1.0
 */
export interface WorkerStatus extends PlaceStatus {}

/**
 * The workers of a `layer`.
 *
 * @category services
 * @since 0.1.0
 */
export class Workers extends Context.Service<Workers, {
  /** How each is now, in the order of their replicas. */
  readonly status: Effect.Effect<ReadonlyArray<WorkerStatus>>
}>()("effect-feeder/layers/WorkerDevices/Workers") {}

/** The file of a worker, and what is wrong with the options if anything is. */
const check = (options: Options): Effect.Effect<URL, WorkerInvalid> =>
  Effect.suspend(() => {
    const { count, memoryLimit, worker, youngMemoryLimit } = options
    const name = worker instanceof URL && worker.protocol === "file:" ? fileURLToPath(worker) : String(worker)
    const issue = (issue: string) => Effect.fail(new WorkerInvalid({ worker: name, issue }))
    const url = typeof worker === "string" && !worker.startsWith("file:") ? pathToFileURL(worker) : new URL(worker)
    if (!Number.isSafeInteger(count) || count < 1) return issue(`\`count\` must be a positive integer, and is ${count}`)
    if (memoryLimit !== undefined && !(memoryLimit > 0)) {
      return issue(`\`memoryLimit\` must be a positive number, and is ${memoryLimit}`)
    }
    if (youngMemoryLimit !== undefined && !(youngMemoryLimit > 0)) {
      return issue(`\`youngMemoryLimit\` must be a positive number, and is ${youngMemoryLimit}`)
    }
    if (url.protocol !== "file:") return issue(`it is no file, but ${url.protocol}`)
    return fs.existsSync(url) ? Effect.succeed(url) : issue("there is no such file")
  })

const millisOf = (input: Duration.Input): Duration.Duration => Duration.fromInputUnsafe(input)

/**
 * `RemoteDevices` that are workers: started with the Layer, ended with it.
 *
 * **Details**
 *
 * A worker that ends is gone: what it had is given to others at once, while it is started again. It costs the feeder's
 * budget for its device (`tolerate`) one failure, after which the device waits the budget's delay. A worker whose feeds
 * have ended may end too; it is started when it is fed again.
 *
 * **Gotchas**
 *
 * `tolerate` waits five seconds by default before it tries a device again, which is long for workers.
 *
 * **Example** (Four threads, and how they are)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { DeviceSpec, FailureTolerator, Feed, Feeder } from "effect-feeder"
 * import * as WorkerDevices from "effect-feeder/layers/WorkerDevices"
 *
 * const Pages = Feed.make("pages", { element: Schema.String })
 *
 * const program = Effect.gen(function*() {
 *   const ledger = yield* Feeder.run(Pages, {
 *     source: ["one", "two"],
 *     devices: DeviceSpec.replicas("consumer", 4),
 *     tolerate: FailureTolerator.make({ initDelay: "200 millis" })
 *   })
 *   const { status } = yield* WorkerDevices.Workers
 *   return [ledger, yield* status] as const
 * }).pipe(Effect.provide(WorkerDevices.layer({
 *   worker: new URL("./consumer.ts", import.meta.url),
 *   count: 4,
 *   memoryLimit: 512
 * })))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<RemoteDevices | Workers, WorkerInvalid> =>
  Layer.effectContext(Effect.gen(function*() {
    const url = yield* check(options)
    const care: WorkerPool.Care = {
      restart: options.restart ??
        FailureTolerator.make({ limit: 5, initDelay: "100 millis", forgiveAfter: "1 minute" }),
      unresponsiveAfter: millisOf(options.unresponsiveAfter ?? "10 seconds"),
      startWithin: millisOf(options.startWithin ?? "30 seconds"),
      gracePeriod: millisOf(options.gracePeriod ?? "5 seconds")
    }
    const names = DeviceSpec.replicas(options.job ?? "consumer", options.count).map(DeviceSpec.canonicalName)
    const places = new Map<string, WorkerPool.Place>()
    for (const device of names) {
      const start = {
        device,
        url,
        kind: options.kind ?? "thread",
        memoryLimit: options.memoryLimit,
        youngMemoryLimit: options.youngMemoryLimit,
        argv: options.argv ?? [],
        env: options.env ?? {},
        execArgv: options.execArgv
      }
      places.set(device, yield* WorkerPool.make(start, care))
    }
    // In one fiber, so that all are told to end at once.
    yield* Effect.forkScoped(
      Effect.forEach(places.values(), (place) => place.run, { concurrency: "unbounded", discard: true }),
      { startImmediately: true }
    )
    const open = (device: string, feed: FeedInfo): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> =>
      Effect.gen(function*() {
        const place = places.get(device)
        if (place === undefined) {
          const detail = `it is none of the workers, which are ${names.join(", ")}`
          return yield* new FeedRefused({ device, reason: "invalid", detail })
        }
        const { lost, pipe } = yield* place.open
        return {
          send: (frame) => pipe.write(Frames.encodeFeederFrame(frame, feed)),
          receive: pipe.read.pipe(
            Effect.catch(() => Effect.flatMap(lost, Effect.fail)),
            Effect.flatMap((raw) =>
              Effect.mapError(
                Effect.fromResult(Frames.decodeDeviceFrame(raw)),
                (cause) => new DeviceLost({ device, fate: "unknown", cause })
              )
            )
          )
        }
      })
    const status = Effect.sync(() => [...places.values()].map((place) => place.status()))
    return Context.make(RemoteDevices, { open }).pipe(Context.add(Workers, { status }))
  }))

// -----------------------------------------------------------------------------
// the consumer's side
// -----------------------------------------------------------------------------

/**
 * How much a worker takes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits extends Omit<Device.Limits, "frameBytes"> {
  /** Most bytes of one frame, told to feeders. Default 1 GiB. */
  readonly frameBytes?: number | undefined
  /** Most bytes of one string of an element. Default 16 MiB. */
  readonly stringBytes?: number | undefined
}

/**
 * What a worker hosts its feeds with.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostOptions<Feeds extends ReadonlyArray<Any>>
  extends Omit<Device.Options<Feeds>, "credentials" | "device" | "limits">
{
  readonly limits?: Limits | undefined
  /**
   * A process that gets a SIGTERM itself tells feeders that it is leaving, and its consumers finish what is held for at most
   * this long. A second signal ends them at once. Default 30 seconds.
   */
  readonly gracePeriod?: Duration.Input | undefined
}

/**
 * The name of the device that this worker is.
 *
 * @category accessors
 * @since 0.1.0
 */
export const device: Effect.Effect<string, NotAWorker> = Effect.map(WorkerHost.here, ({ device }) => device)

/**
 * Hosts feeds in a worker that `layer` has started. A worker hosts once: when its consumers have ended, let it end.
 *
 * **Example** (A worker file)
 *
 * ```ts import.meta.vitest
 * import { Console, Effect, Schema } from "effect"
 * import { Feed } from "effect-feeder"
 * import * as WorkerDevices from "effect-feeder/layers/WorkerDevices"
 *
 * const Pages = Feed.make("pages", { element: Schema.String })
 *
 * const index = Pages.forEach((page) => Console.log(page.length)).pipe(
 *   Effect.provide(WorkerDevices.layerHost({ feeds: [Pages] }))
 * )
 *
 * // This program is no worker: nothing has started it as one.
 * const error = await Effect.runPromise(Effect.flip(index))
 * error._tag // => "NotAWorker"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerHost = <const Feeds extends ReadonlyArray<Any>>(
  options: HostOptions<Feeds>
): Layer.Layer<HostsOf<Feeds>, NotAWorker | Device.FeedNameTaken> =>
  Layer.unwrap(Effect.map(WorkerHost.take, (place) => layerHostAt(place, options)))

/**
 * Hosts feeds at the end of a wire.
 *
 * @internal
 */
export const layerHostAt = <const Feeds extends ReadonlyArray<Any>>(
  place: WorkerHost.Here,
  options: HostOptions<Feeds>
): Layer.Layer<HostsOf<Feeds>, Device.FeedNameTaken> =>
  Layer.effectContext(Effect.gen(function*() {
    const { limits = {} } = options
    const worker = yield* WorkerHost.connect(place, {
      feeds: options.feeds,
      elements: limits.elements ?? 1024 * 1024,
      stringBytes: limits.stringBytes ?? 16 * 1024 * 1024
    })
    const [device, hosts] = yield* Effect.provideService(
      Device.make({
        ...options,
        device: place.device,
        limits: { ...limits, frameBytes: limits.frameBytes ?? frameBytes }
      }),
      DeviceLinks,
      worker.links
    )
    yield* Effect.forkScoped(Effect.flatMap(worker.leave, (millis) => device.leave(millis)))
    if (place.kind === "process") {
      yield* onSigterm({ gently: device.leave(options.gracePeriod ?? "30 seconds"), atOnce: device.abandon })
    }
    yield* worker.ready
    return hosts
  }))
