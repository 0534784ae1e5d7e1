/**
 * One history: feeders, devices and consumers in processes of their own, on a network that breaks, for as long as the
 * faults last and then until everything has come to its end. A seed decides all of it.
 */
import { Effect } from "effect"
import * as Consumers from "./consumers.ts"
import * as Faults from "./faults.ts"
import * as Feeders from "./feeders.ts"
import { lease } from "./plan.ts"
import * as World from "./world.ts"

/** What a history was. */
export interface Told {
  readonly steps: number
  /** How long it took on its own clock. */
  readonly millis: number
  readonly given: number
  readonly redelivered: number
}

/** Runs the history of a seed to its end. Throws a `Violation` if a law was broken. `say` is told what happens. */
export const run = (seed: number, say?: (line: string) => void): Told => {
  const world = World.make(seed, say)
  const { below, laws, names, network, pick, plan, simulation } = world
  const consumers = Consumers.make(world)
  const feeders = Feeders.make(world)
  const fault = Faults.make(world, consumers, feeders)
  const lookedAt = new Map<string, number>()

  const stuck = (): string =>
    JSON.stringify({
      feeders: feeders.lives.filter(Feeders.isFeeding).map(({ feeder, key }) => ({
        key,
        ...(feeder === undefined ? {} : Effect.runSync(feeder.status))
      })),
      devices: consumers.lives.filter(({ process }) => process.isAlive()).map(({ busy, device, name }) => ({
        name,
        busy,
        ...(device === undefined ? {} : Effect.runSync(device.status)[0])
      }))
    })

  /** What must hold at every moment. */
  const look = (): void => {
    const violation = laws.violation()
    if (violation !== undefined) throw violation
    for (const { feeder, key, process } of feeders.lives) {
      const turns = process.turns()
      if (feeder === undefined || !process.isAlive() || lookedAt.get(key) === turns) continue
      lookedAt.set(key, turns)
      laws.looked(key, Effect.runSync(feeder.ledger))
    }
    for (const { device, name, process } of consumers.lives) {
      const turns = process.turns()
      if (device === undefined || !process.isAlive() || lookedAt.get(name) === turns) continue
      lookedAt.set(name, turns)
      const { feeders, queued } = Effect.runSync(device.status)[0]!
      laws.lookedAtDevice(name, queued, feeders.length)
    }
  }

  /** What must hold when nothing goes on without the time: nobody waits for what is there. */
  const lookIdle = (): void => {
    for (const { feeder, key, process, run, runs, stopAskedAt, ...self } of feeders.lives) {
      if (self.isDone || !process.isAlive() || process.isFrozen() || run === undefined || feeder === undefined) continue
      if (stopAskedAt !== undefined) continue
      const { devices, ledger } = Effect.runSync(feeder.status)
      laws.lookedAt(key, runs, devices)
      const links = network.connections().filter((one) => one.feeder === process && one.isOpen("feeder"))
      // What a feed holds in its hand, and puts back since it does not fit, stands before what came back meanwhile.
      laws.lookedAtFront(
        key,
        links.map(({ id }) => id).join(),
        self.removedAt > 0 || plan.windowBytes < 1_000_000 || plan.supervision === "all" ||
          links.some(({ isFull }) => isFull("feeder"))
      )
      // What waits for its time to be given again counts as queued, and so does what was out at a removed device.
      const mayWait = plan.isPatient || self.removed.size > 0 || simulation.now() < self.removedAt + 1.2 * lease
      if (mayWait || ledger.queued === 0) continue
      for (const { device, phase, session } of devices) {
        const link = links.findLast((one) => one.device === device)
        if (phase !== "Live" || link === undefined || link.isFull("feeder")) continue
        if (laws.canSend(link, session)) {
          laws.fail(6, `${key} sends nothing to ${device}, which granted more: ${stuck()}`)
        }
      }
    }
    for (const { busy, device, isAtEnd, loop, name, process } of consumers.lives) {
      if (device === undefined || loop?.pollUnsafe() !== undefined || !process.isAlive() || process.isFrozen()) continue
      if (isAtEnd || busy >= plan.concurrency) continue
      const queued = Effect.runSync(device.status)[0]!.queued
      if (queued > 0) laws.fail(6, `consumers wait at ${name}, where ${queued} are queued`)
    }
  }

  let deadline = Infinity
  let steps = 0
  const go = (until: () => boolean, what: string): void => {
    while (!until()) {
      if (!simulation.isBusy()) lookIdle()
      if (!simulation.step()) break
      look()
      steps++
      if (simulation.now() > deadline || steps > 1_000_000) laws.fail(9, `${what} does not end: ${stuck()}`)
    }
  }

  const numbers = Array.from({ length: plan.feeders }, (_, i) => i)
  names.forEach(consumers.start)
  numbers.forEach(feeders.start)
  for (let i = 0; i < plan.faults; i++) {
    simulation.after(below(plan.faultMillis), () => {
      const kind = world.isOver() ? undefined : pick(plan.kinds)
      if (kind !== undefined) fault(kind)
    })
  }
  deadline = plan.faultMillis + 10 * lease + plan.total * plan.feeders * (3 * plan.work + 500) + 60_000
  const isEnded = () =>
    simulation.now() > plan.faultMillis && !feeders.lives.some(Feeders.isFeeding) &&
    numbers.every((number) => feeders.current(number).isDone)
  go(isEnded, "feeding")
  // What is held is still consumed, what was held back arrives, then everything is closed.
  world.finish()
  const rest = simulation.now() + 4 * lease
  deadline += 60_000
  go(() => simulation.now() > rest, "consuming")
  for (const life of consumers.lives) if (life.process.isAlive()) consumers.close(life)
  go(() => false, "closing")
  for (const { process } of [...consumers.lives, ...feeders.lives]) {
    if (!process.isAlive()) continue
    if (process.fibers() > 0) laws.fail(8, `${process.fibers()} fibers are left in ${process.name}`)
    if (process.timers() > 0) laws.fail(8, `${process.timers()} timers are left in ${process.name}`)
  }
  for (const { device, feeder, host } of network.connections()) {
    if (feeder.isAlive() && host.isAlive()) laws.fail(8, `a link of ${feeder.name} and ${device} is open`)
  }
  look()
  return { steps: simulation.steps(), millis: simulation.now(), ...laws.sums() }
}
