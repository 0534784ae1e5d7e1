/**
 * The processes of a run and what lies between them: a feeder, consumers, a proxy before each, and the store's disk.
 */
import type { RemoteDevices } from "effect-feeder"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Children from "./children.ts"
import * as Disk from "./disk.ts"
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
    const fresh = Effect.gen(function*() {
      // In a scope of its own, under that of the run.
      const own = yield* Scope.fork(scope)
      const child = yield* Scope.provide(launch(++launches), own)
      yield* child.up
      return { child, own }
    })
    let current = yield* fresh
    return {
      launches: () => launches,
      child: () => current.child,
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

/** The feeder has ended, as it should or not, and not because it was killed. */
export const hasEnded = ({ feeder, said }: World): boolean =>
  said.account !== undefined || (!feeder.isBusy && !feeder.child().isRunning())
