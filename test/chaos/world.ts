/**
 * The processes of a run and what lies between them: a feeder, consumers, a proxy before each, and the store's disk.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Checkpoint, type RemoteDevices } from "effect-feeder"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type * as Checker from "./checker.ts"
import * as Children from "./children.ts"
import * as Disk from "./disk.ts"
import * as Element from "./element.ts"
import * as Proxy from "./proxy.ts"
import type { Database } from "./results.ts"
import type { Account, ConsumerSettings, FeederSettings, Line } from "./settings.ts"

export interface Settings {
  readonly delivery: RemoteDevices.DeliveryMode
  readonly devices: number
  readonly leaseMillis: number
  readonly elements: number
  /** 0 for as fast as they are taken. */
  readonly perSecond: number
  /** Where everything is recorded. */
  readonly directory: string
  /** Where consumers put their results; for `effectivelyOnce`. */
  readonly database?: Database | undefined
}

/** A process that can be killed and started again. */
export interface Restartable {
  /** How often it was started. */
  readonly launches: () => number
  readonly child: () => Children.Child
  /** The longest that a start took until it was up, in milliseconds. */
  readonly slowestStart: () => number
  readonly kill: Effect.Effect<void>
  readonly start: Effect.Effect<void, Children.ChildEnded>
  /** Something is being done to it, or to its link. */
  isBusy: boolean
}

export interface Device extends Restartable {
  readonly index: number
  readonly proxy: Proxy.Proxy
}

export type Life = Extract<Line, { readonly _tag: "Account" }>

/** What the processes have said. */
export interface Said {
  /** The ledger with which the feeder ended. */
  account: Account | undefined
  /** The elements that are dead letters in the end, because they were refused. */
  refused: ReadonlyArray<number>
  /** Of each life of the feeder, what it last said. */
  readonly lives: Map<number, Life>
  readonly problems: Array<string>
}

export interface World {
  readonly devices: ReadonlyArray<Device>
  readonly feeder: Restartable
  readonly disk: Disk.Disk
  readonly said: Said
}

/** The folder of a run that has the consumers' records. */
export const historyOf = (directory: string): string => Path.join(directory, "history")

/** Makes it, and starts it for the first time. */
const restartable = (
  launch: (launch: number) => Effect.Effect<Children.Child, never, Scope.Scope>
): Effect.Effect<Restartable, Children.ChildEnded, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    let launches = 0
    let slowestStart = 0
    const fresh = Effect.gen(function*() {
      // In a scope of its own, under that of the run.
      const from = Date.now()
      const own = yield* Scope.fork(scope)
      const child = yield* Scope.provide(launch(++launches), own)
      yield* child.up
      slowestStart = Math.max(slowestStart, Date.now() - from)
      return { child, own }
    })
    let current = yield* fresh
    return {
      launches: () => launches,
      child: () => current.child,
      slowestStart: () => slowestStart,
      kill: Effect.suspend(() => {
        current.child.signal("SIGKILL")
        return Scope.close(current.own, Exit.void)
      }),
      start: Effect.map(fresh, (started) => {
        current = started
      }),
      isBusy: false
    }
  })

export const make = (settings: Settings): Effect.Effect<World, Children.ChildEnded, Scope.Scope> =>
  Effect.gen(function*() {
    const { delivery, directory, leaseMillis } = settings
    const history = historyOf(directory)
    Fs.mkdirSync(history)
    // Busy enough that something waits at each device, and not so busy that the others cannot stand in for one.
    const workMillis = settings.perSecond === 0 ? 0 : 0.7 * 1000 * settings.devices / settings.perSecond
    const said: Said = { account: undefined, refused: [], lives: new Map(), problems: [] }
    const disk = yield* Disk.make(directory)

    const makeDevice = (index: number): Effect.Effect<Device, Children.ChildEnded, Scope.Scope> =>
      Effect.gen(function*() {
        const port = yield* Proxy.freePort
        const proxy = yield* Proxy.make(port)
        const consumer = yield* restartable((launch) =>
          Children.start(
            `consumer ${index}`,
            "consumer.ts",
            {
              delivery,
              device: index,
              launch,
              port,
              leaseMillis,
              workMillis,
              history,
              database: settings.database
            } satisfies ConsumerSettings,
            (line) => {
              if (line._tag === "Failed") said.problems.push(`consumer ${index} failed: ${line.message}`)
            }
          )
        )
        return Object.assign(consumer, { index, proxy })
      })
    const devices = yield* Effect.forEach(
      Array.from({ length: settings.devices }, (_, index) => index),
      makeDevice,
      { concurrency: "unbounded" }
    )

    const began = Date.now()
    const onLine = (life: number) => (line: Line) => {
      if (line._tag === "Account") said.lives.set(life, line)
      if (line._tag === "Ended") {
        said.account = line.account
        said.refused = line.refused
      }
      if (line._tag === "Failed") said.problems.push(`the feeder failed: ${line.message}`)
    }
    const feeder = yield* restartable((life) =>
      Children.start(
        `feeder ${life}`,
        "feeder.ts",
        {
          delivery,
          life,
          leaseMillis,
          devices: Object.fromEntries(
            devices.map(({ index, proxy }) => [`/job:chaos/replica:${index}`, `tcp://127.0.0.1:${proxy.port}`])
          ),
          generated: settings.elements,
          perSecond: settings.perSecond,
          began,
          store: disk.directory,
          fullFile: disk.fullFile
        } satisfies FeederSettings,
        onLine(life)
      )
    )
    return { devices, feeder, disk, said }
  })

/** The checkpoint that a life of the feeder which began now would go on from. */
export const checkpoint = ({ disk, feeder }: World): Effect.Effect<Checker.Checkpoint, Checkpoint.CheckpointFailed> =>
  Effect.gen(function*() {
    const store = yield* KeyValueStore.KeyValueStore
    const loaded = yield* Checkpoint.load(store, { feeder: Element.feeder, feed: Element.feed })
    return {
      life: feeder.launches() + 1,
      isAcknowledged: (n: number) =>
        loaded !== undefined && Checkpoint.isAcknowledged(loaded, `${Element.source}/${Element.splitOf(n)}`, n)
    }
  }).pipe(
    Effect.provide(KeyValueStore.layerFileSystem(disk.directory).pipe(Layer.provide(NodeServices.layer))),
    Effect.catchTag("PlatformError", Effect.die)
  )

/** The feeder has ended, as it should or not, and not because it was killed. */
export const hasEnded = ({ feeder, said }: World): boolean =>
  said.account !== undefined || (!feeder.isBusy && !feeder.child().isRunning())
