/**
 * What the parts of a history share.
 */
import { SimulatedDevices, Simulation } from "effect-feeder/testing"
import * as Laws from "./laws.ts"
import * as Plan from "./plan.ts"

/** A line of what happens, made only if somebody listens. */
export type Tell = (what: () => string) => void

export const make = (seed: number, say: ((line: string) => void) | undefined) => {
  const plan = Plan.make(seed)
  const simulation = Simulation.make({ seed: seed ^ 0x5eed, operations: plan.operations })
  const tell: Tell = (what) => say?.(`${simulation.now().toFixed(1)} ${what()}`)
  tell(() => JSON.stringify({ seed, ...plan }))
  const next = simulation.random
  const below = (n: number) => Math.floor(next() * n)
  const yes = (probability: number) => next() < probability
  let isOver = false
  const laws = Laws.make(plan, simulation.now, tell)
  return {
    plan,
    simulation,
    tell,
    below,
    yes,
    next,
    pick: <T>(all: ReadonlyArray<T>): T | undefined => all[below(all.length)],
    /** How long something that goes wrong lasts, in milliseconds: often longer than a lease. */
    span: () => yes(0.3) ? Plan.lease * (1 + 2 * next()) : below(Plan.lease),
    feed: Plan.feedOf(plan.capacity, plan.acknowledge, plan.delivery),
    laws,
    /** Whether feeding has ended, so that nothing more begins or goes wrong. */
    isOver: () => isOver,
    finish: () => {
      isOver = true
    },
    network: SimulatedDevices.make({
      simulation,
      delay: () => next() * plan.delay,
      frames: plan.frames,
      asBytes: plan.asBytes,
      isExitProven: plan.isExitProven,
      isSilent: () => yes(plan.silence),
      watch: laws.watch
    }),
    /** The names of the devices. */
    names: Array.from({ length: plan.devices }, (_, i) => `/job:consumer/replica:${i}`)
  }
}

export type World = ReturnType<typeof make>
