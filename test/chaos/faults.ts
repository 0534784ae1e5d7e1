/**
 * Does to a world what the plan says.
 */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Checker from "./checker.ts"
import type * as Children from "./children.ts"
import type * as Plan from "./plan.ts"
import { checkpoint, type Device, hasEnded, type World } from "./world.ts"

/** What was done. */
export interface Done {
  readonly counts: Record<Plan.FaultKind, number>
  /** Kills and stops of consumers, for the checker. */
  readonly faults: ReadonlyArray<Checker.Fault>
  /** What each further life of the feeder went on from, and when there was none. */
  readonly checkpoints: ReadonlyArray<Checker.Checkpoint>
  readonly unfed: ReadonlyArray<Checker.Interval>
}

type Doing = Effect.Effect<void, Children.ChildEnded>

/** Begins something that lasts, and ends it whatever happens. */
const during = (fault: Plan.Fault, begin: () => void, end: () => void): Effect.Effect<void> =>
  Effect.andThen(Effect.sync(begin), Effect.sleep(fault.millis)).pipe(Effect.ensuring(Effect.sync(end)))

const toDevice = (device: Device, fault: Plan.Fault, told: (kind: Checker.Fault["kind"]) => void): Doing => {
  const { proxy } = device
  switch (fault.kind) {
    case "kill":
      return Effect.gen(function*() {
        told("kill")
        yield* device.kill
        if (fault.isProven) yield* proxy.close
        yield* Effect.sleep(fault.millis)
        yield* device.start
        yield* proxy.open
      })
    case "stop":
      return during(fault, () => {
        told("stop")
        device.child().signal("SIGSTOP")
      }, () => device.child().signal("SIGCONT"))
    case "halfOpen":
      return during(fault, proxy.freeze, proxy.thaw)
    case "delay":
      return during(fault, () => proxy.delay(20 + fault.bytes % 200), () => proxy.delay(0))
    case "slow":
      return during(fault, () => proxy.throttle(10_000 + fault.bytes), () => proxy.throttle(Infinity))
    default:
      return Effect.sync(() => proxy.resetAfter(fault.bytes))
  }
}

const toFeeder = (
  world: World,
  fault: Plan.Fault,
  found: { readonly checkpoints: Array<Checker.Checkpoint>; readonly unfed: Array<Checker.Interval> }
): Doing => {
  const { feeder, said } = world
  const from = Date.now()
  const doing: Doing = fault.kind === "killFeeder"
    ? Effect.gen(function*() {
      yield* feeder.kill
      yield* Effect.sleep(fault.millis)
      // It may have ended before it was killed.
      if (said.account !== undefined) return
      found.checkpoints.push(yield* Effect.orDie(checkpoint(world)))
      yield* feeder.start
    })
    : during(fault, () => feeder.child().signal("SIGSTOP"), () => feeder.child().signal("SIGCONT"))
  return Effect.ensuring(doing, Effect.sync(() => found.unfed.push({ from, to: Date.now() })))
}

/** Keeps what a fault is done to from others, until it is over. */
const keeping = (busy: { isBusy: boolean }, doing: Doing): Doing => {
  busy.isBusy = true
  return Effect.ensuring(
    doing,
    Effect.sync(() => {
      busy.isBusy = false
    })
  )
}

/** Does faults, which may overlap, until the feeder has ended, and no longer than so; then all are over. */
export const doAll = (
  world: World,
  plan: Iterable<Plan.Fault>,
  options: { readonly millis: number; readonly log: (text: string) => void }
): Effect.Effect<Done, Children.ChildEnded> =>
  Effect.scoped(Effect.gen(function*() {
    const counts: Record<Plan.FaultKind, number> = {
      kill: 0,
      stop: 0,
      reset: 0,
      halfOpen: 0,
      delay: 0,
      slow: 0,
      disk: 0,
      killFeeder: 0,
      stopFeeder: 0
    }
    const faults: Array<Checker.Fault> = []
    const found = { checkpoints: Array.of<Checker.Checkpoint>(), unfed: Array.of<Checker.Interval>() }
    /** The fault, unless whom it is meant for has enough to bear. Half of the devices are left in peace. */
    const begin = (fault: Plan.Fault): readonly [where: string, doing: Doing] | undefined => {
      switch (fault.kind) {
        case "disk":
          return world.disk.isBusy
            ? undefined
            : ["", keeping(world.disk, during(fault, world.disk.fill, world.disk.free))]
        case "killFeeder":
        case "stopFeeder":
          return world.feeder.isBusy ? undefined : ["", keeping(world.feeder, toFeeder(world, fault, found))]
        default: {
          const free = world.devices.filter(({ isBusy }) => !isBusy)
          const device = free.find(({ index }) => index >= fault.device) ?? free[0]
          if (device === undefined || free.length <= Math.floor(world.devices.length / 2)) return undefined
          const told = (kind: Checker.Fault["kind"]) =>
            faults.push({
              kind,
              isProven: kind === "kill" && fault.isProven,
              device: device.index,
              launch: device.launches(),
              at: Date.now()
            })
          return [` device ${device.index}`, keeping(device, toDevice(device, fault, told))]
        }
      }
    }
    const running = yield* FiberSet.make<void, Children.ChildEnded>()
    const last = Date.now() + options.millis
    for (const fault of plan) {
      yield* Effect.sleep(fault.afterMillis)
      if (Date.now() > last || hasEnded(world)) break
      const begun = begin(fault)
      if (begun === undefined) continue
      counts[fault.kind]++
      options.log(`${fault.kind}${begun[0]}${fault.millis === 0 ? "" : ` for ${fault.millis} ms`}`)
      yield* FiberSet.run(running, begun[1])
    }
    yield* Effect.raceFirst(FiberSet.awaitEmpty(running), FiberSet.join(running))
    return { counts, faults, ...found }
  }))
