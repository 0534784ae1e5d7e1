/**
 * What a seed decides: which faults come when, where, and how hard.
 */
import { chance } from "../chance.ts"

/** What may go wrong. `kill`, `stop` and those of links are a device's. */
export const faultKinds = [
  "kill",
  "stop",
  "reset",
  "halfOpen",
  "delay",
  "slow",
  "disk",
  "killFeeder",
  "stopFeeder"
] as const

export type FaultKind = typeof faultKinds[number]

/** How often each comes, against the others. */
const weights: Record<FaultKind, number> = {
  kill: 8,
  stop: 3,
  reset: 8,
  halfOpen: 3,
  delay: 4,
  slow: 3,
  disk: 2,
  killFeeder: 2,
  stopFeeder: 1
}

export interface Fault {
  readonly kind: FaultKind
  /** After the one before, in milliseconds. */
  readonly afterMillis: number
  /** The device it is meant for; if that one has enough to bear, the next that has not. */
  readonly device: number
  /** How long it lasts, or a killed process stays away. */
  readonly millis: number
  /** A reset comes after so many more bytes. */
  readonly bytes: number
  /** Whether the address of a killed process refuses at once, which proves that it is gone. */
  readonly isProven: boolean
}

/** Faults without end. The same seed, devices, lease and kinds give the same. */
export const faults = function*(options: {
  readonly seed: number
  readonly devices: number
  readonly leaseMillis: number
  readonly kinds: ReadonlyArray<FaultKind>
}): Generator<Fault, void> {
  const random = chance(options.seed)
  const between = (from: number, to: number) => from + random.below(Math.max(1, Math.round(to - from)))
  const lease = options.leaseMillis
  const millisOf: Record<FaultKind, () => number> = {
    kill: () => between(100, 2000),
    stop: () => 3 * lease,
    reset: () => 0,
    halfOpen: () => between(lease / 4, 2 * lease),
    delay: () => between(500, 2 * lease),
    slow: () => between(500, 2 * lease),
    disk: () => between(500, 2 * lease),
    killFeeder: () => between(100, lease),
    stopFeeder: () => between(lease / 2, 2 * lease)
  }
  const total = options.kinds.reduce((sum, kind) => sum + weights[kind], 0)
  while (total > 0) {
    let at = random.below(total)
    const kind = options.kinds.find((kind) => (at -= weights[kind]) < 0) ?? "reset"
    yield {
      kind,
      afterMillis: between(100, 1300),
      device: random.below(options.devices),
      millis: millisOf[kind](),
      bytes: random.below(random.below(2) === 0 ? 200 : 200_000),
      isProven: random.below(2) === 0
    }
  }
}
