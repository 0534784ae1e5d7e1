/**
 * One run: starts the processes, does to them what the plan says, waits until the feeder has ended, and gives what
 * became of it beside the consumers' records.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Children from "./children.ts"
import * as Faults from "./faults.ts"
import * as Plan from "./plan.ts"
import type { Account } from "./settings.ts"
import * as World from "./world.ts"

export interface Settings extends World.Settings {
  readonly seed: number
  /** Faults come until the feeder ends, and no longer than so. */
  readonly faultMillis: number
  readonly kinds: ReadonlyArray<Plan.FaultKind>
  /** Is told what happens. */
  readonly log: (line: string) => void
}

/** What the processes of one role used at most. */
export interface Peak extends Children.Usage {
  readonly role: string
}

export interface Outcome extends Faults.Done {
  /** Resets that took place: they wait for the bytes. */
  readonly resets: number
  readonly restarts: { readonly consumers: number; readonly feeder: number }
  /** The ledger of the feeder's last life, if it has ended well. */
  readonly account: Account | undefined
  /** Sessions that feeders began, and failures they counted, in all their lives. */
  readonly sessions: number
  readonly failures: number
  /** Settlements that came too late, as far as the feeders were told in time. */
  readonly fenced: number
  /** Whether the last checkpoint says that an element is acknowledged. */
  readonly isAcknowledged: ((n: number) => boolean) | undefined
  /** The elements that are dead letters in the end, because they were refused. */
  readonly refused: ReadonlyArray<number>
  readonly peaks: ReadonlyArray<Peak>
  readonly slowestStart: { readonly consumer: number; readonly feeder: number }
  readonly isDiskReal: boolean
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  readonly millis: number
  /** What went wrong beside the record. */
  readonly problems: ReadonlyArray<string>
}

/** How long the feeder may take after the last fault. */
const patienceMillis = ({ elements, leaseMillis }: Settings): number => 30_000 + 10 * leaseMillis + elements / 2

/** Looks every second what the processes use, and keeps the most of each role. */
const watchUsage = ({ devices, feeder }: World.World) =>
  Effect.gen(function*() {
    const peaks = new Map<string, Peak>()
    const look = Effect.sync(() => {
      for (
        const [role, pid] of [
          ["the runner", process.pid] as const,
          ["a feeder", feeder.child().pid] as const,
          ...devices.map((device) => ["a consumer", device.child().pid] as const)
        ]
      ) {
        const usage = Children.usageOf(pid)
        if (usage === undefined) continue
        const { handles, rssMb } = peaks.get(role) ?? { handles: 0, rssMb: 0 }
        peaks.set(role, { role, rssMb: Math.max(rssMb, usage.rssMb), handles: Math.max(handles, usage.handles) })
      }
    })
    yield* look.pipe(Effect.repeat(Schedule.spaced(1000)), Effect.forkScoped)
    return peaks
  })

export const run = (settings: Settings): Effect.Effect<Outcome, Children.ChildEnded, Scope.Scope> =>
  Effect.gen(function*() {
    const started = Date.now()
    const log = (text: string) => settings.log(`${((Date.now() - started) / 1000).toFixed(1).padStart(7)} s  ${text}`)
    const world = yield* World.make(settings)
    const { devices, feeder, said } = world
    const peaks = yield* watchUsage(world)
    log("everything is up")
    const done = yield* Faults.doAll(world, Plan.faults(settings), { millis: settings.faultMillis, log })
    log("no more faults")

    const patience = patienceMillis(settings)
    yield* Effect.sync(() => World.hasEnded(world)).pipe(
      Effect.repeat({ schedule: Schedule.spaced(20), until: (hasEnded) => hasEnded }),
      Effect.timeoutOption(patience)
    )
    if (said.account === undefined) {
      said.problems.push(
        feeder.child().isRunning()
          ? `the feeder has not ended in the ${Math.round(patience / 1000)} s after the last fault`
          : `the feeder ended by itself: ${feeder.child().describe()}`
      )
    }
    log("the feeder has ended")
    // Consumers end with the feeder; one that was started after its end waits for ever.
    yield* Effect.forEach(devices, (device) => device.child().exited, { concurrency: "unbounded" }).pipe(
      Effect.timeoutOption(5 * settings.leaseMillis)
    )
    const last = said.account === undefined || settings.delivery === "atMostOnce"
      ? undefined
      : yield* Effect.orDie(World.checkpoint(world))
    const lives = [...said.lives.values()]
    return {
      ...done,
      isAcknowledged: last?.isAcknowledged,
      slowestStart: {
        consumer: Math.max(...devices.map((device) => device.slowestStart())),
        feeder: feeder.slowestStart()
      },
      resets: devices.reduce((sum, { proxy }) => sum + proxy.resets(), 0),
      restarts: {
        consumers: devices.reduce((sum, device) => sum + device.launches() - 1, 0),
        feeder: feeder.launches() - 1
      },
      account: said.account,
      sessions: lives.reduce((sum, { sessions }) => sum + sessions, 0),
      failures: lives.reduce((sum, { failures }) => sum + failures, 0),
      fenced: lives.reduce((sum, { account }) => sum + account.fenced, 0),
      refused: said.refused,
      peaks: [...peaks.values()],
      isDiskReal: world.disk.isReal,
      startedAt: started,
      millis: Date.now() - started,
      problems: said.problems
    }
  })
