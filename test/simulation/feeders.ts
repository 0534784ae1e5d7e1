/**
 * The feeders of a history: one process after the other, which runs its feeder again and again until its feed has ended.
 */
import { Array as Arr, Cause, type Context, Effect, Exit, Fiber, Option, Schema, Stream } from "effect"
import { FailureTolerator, Feeder, type RemoteDevices } from "effect-feeder"
import { SimulatedDevices, type Simulation } from "effect-feeder/testing"
import { type Element, failureDelay, lease } from "./plan.ts"
import type { World } from "./world.ts"

/** One life of a feeder. */
export interface FeederLife {
  readonly number: number
  readonly life: number
  /** What the laws know it by. */
  readonly key: string
  readonly process: Simulation.Process
  feeder: Feeder.Feeder<typeof Element> | undefined
  devices: Context.Context<RemoteDevices.RemoteDevices> | undefined
  /** The run that goes on, and how many there were. */
  run: Fiber.Fiber<unknown, unknown> | undefined
  runs: number
  stopAskedAt: number | undefined
  /** Devices that were removed, to be added again. */
  readonly removed: Set<string>
  removedAt: number
  /** Another process has its id, though it lives. */
  isReplaced: boolean
  isDone: boolean
}

/** How long a stop may take: two links may each hold a second of what is to be written. */
const stopMillis = 2500

const isFeedError = Schema.is(Feeder.FeedError)

export const make = (world: World) => {
  const { below, feed, laws, names, network, plan, simulation, tell, yes } = world
  const lives: Array<FeederLife> = []

  /** What a run may fail with, and whether the feeder goes on after it. */
  const goesOnAfter = (self: FeederLife, cause: Cause.Cause<unknown>): boolean => {
    const error = Option.getOrUndefined(Cause.findErrorOption(cause))
    const reason = isFeedError(error) ? error.reason._tag : undefined
    const isAllowed = reason === "ElementInvalid"
      ? plan.invalid > 0
      : (plan.limit < 1000 || self.isReplaced) &&
        reason === (plan.supervision === "all" ? "DeviceFailed" : "NoDeviceLeft")
    if (!isAllowed) laws.fail(7, `${self.key} failed: ${Cause.pretty(cause)}`)
    return reason === "ElementInvalid"
  }

  /** After a run, whatever its end, no link is open. */
  const lookAfterRun = (self: FeederLife): void => {
    const open = network.connections().filter((one) => one.feeder === self.process && one.isOpen("feeder"))
    if (open.length > 0) laws.fail(8, `${self.key} does not run, its link to ${open[0]!.device} is open`)
    const late = self.stopAskedAt === undefined ? 0 : simulation.now() - self.stopAskedAt
    if (late > stopMillis) laws.fail(8, `a stop of ${self.key} took ${late} ms`)
  }

  const start = (number: number): void => {
    const life = lives.filter((one) => one.number === number).length + 1
    const key = laws.feederKey(number, life)
    const self: FeederLife = {
      number,
      life,
      key,
      process: simulation.process(key),
      feeder: undefined,
      devices: undefined,
      run: undefined,
      runs: 0,
      stopAskedAt: undefined,
      removed: new Set(),
      removedAt: -Infinity,
      isReplaced: false,
      isDone: false
    }
    for (const one of lives) one.isReplaced ||= one.number === number
    lives.push(self)
    laws.open(key, plan.total)
    let n = 0
    const next = () =>
      yes(plan.invalid)
        ? { feeder: number, life, n: n + 0.5, text: "no element" }
        : { feeder: number, life, n, text: "x".repeat(n++ % 7) }
    const slowly = <A>(given: () => A) =>
      Effect.suspend(() => {
        if (n === plan.total) return Cause.done()
        const element = Effect.sync(given)
        return yes(0.1) ? Effect.andThen(Effect.sleep(below(50)), element) : element
      })
    const chunk = (): Arr.NonEmptyArray<ReturnType<typeof next>> => {
      const elements = Arr.of(next())
      while (elements.length < plan.together && n < plan.total) elements.push(next())
      return elements
    }
    const program = Effect.scoped(Effect.gen(function*() {
      self.devices = yield* Effect.context<RemoteDevices.RemoteDevices>()
      const made = yield* Feeder.make(feed, {
        id: `feeder-${number}`,
        lease,
        maxAttempts: 1_000_000,
        backOff: { initial: 0 },
        tolerate: FailureTolerator.make({ limit: plan.limit, initDelay: failureDelay, backoffFactor: 1 }),
        supervision: plan.supervision
      })
      const feeder = yield* plan.together === 1
        ? made.set(slowly(next))
        : made.set(Stream.fromPull(Effect.succeed(slowly(chunk))))
      yield* feeder.addRemoteDevices(names)
      self.feeder = feeder
      while (true) {
        laws.runBegins(key, ++self.runs, (yield* feeder.status).devices)
        self.run = yield* Effect.forkChild(feeder.run)
        const exit = yield* Fiber.await(self.run)
        self.run = undefined
        lookAfterRun(self)
        self.stopAskedAt = undefined
        tell(() => `${key} pauses: ${Exit.isSuccess(exit) ? "stopped" : Cause.pretty(exit.cause)}`)
        if ((yield* feeder.status).hasEnded) return laws.ended(key, yield* feeder.ledger)
        if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause) && !goesOnAfter(self, exit.cause)) return
        yield* Effect.sleep(below(100))
      }
    }))
    tell(() => `${key} begins`)
    self.process.run(program.pipe(
      Effect.provide(SimulatedDevices.layer),
      Effect.provideService(SimulatedDevices.Network, {
        ...network,
        connect: (device, process, info) =>
          Effect.suspend(() => {
            const known = self.feeder === undefined ? [] : Effect.runSync(self.feeder.status).devices
            laws.connecting(key, device, self.runs, known.find((one) => one.device === device)?.failures ?? 0)
            return network.connect(device, process, info)
          }).pipe(Effect.tapError(({ fate }) => Effect.sync(() => fate === "gone" && laws.gone(key, device))))
      }),
      Effect.onExit((exit) =>
        Effect.sync(() => {
          self.isDone = true
          lookAfterRun(self)
          if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) {
            laws.fail(8, `${key} ended with a defect: ${Cause.pretty(exit.cause)}`)
          }
        })
      )
    ))
  }

  return {
    lives,
    start,
    /** The last life of a feeder. */
    current: (number: number): FeederLife => lives.findLast((one) => one.number === number)!
  }
}

/** Whether a feeder has not come to its end. */
export const isFeeding = ({ isDone, process }: FeederLife): boolean => !isDone && process.isAlive()

export type Feeders = ReturnType<typeof make>
