/**
 * Assertions on the account of a feeder. They throw, as those of a test runner do.
 *
 * @since 0.1.0
 */
import type { Ledger } from "../Ledger.ts"

/**
 * The counts of a ledger.
 *
 * @category models
 * @since 0.1.0
 */
export type Counts = Omit<Ledger, "devices" | "ordinals">

/**
 * An account is not as it was asserted to be. `actual` and `expected` are what test runners show side by side.
 *
 * @category errors
 * @since 0.1.0
 */
export class LedgerMismatch extends Error {
  override readonly name = "LedgerMismatch"
  readonly actual: Partial<Counts>
  readonly expected: Partial<Counts>

  constructor(message: string, actual: Partial<Counts>, expected: Partial<Counts>) {
    super(message)
    this.actual = actual
    this.expected = expected
  }
}

const countsOf = (ledger: Ledger): Counts => {
  const counts: Counts & { devices?: unknown; ordinals?: unknown } = { ...ledger }
  delete counts.devices
  delete counts.ordinals
  return counts
}

/**
 * Throws a `LedgerMismatch` unless every generated element is in exactly one class, in the whole and with the devices'
 * own accounts summed up.
 *
 * **Example** (An account that sums)
 *
 * ```ts import.meta.vitest
 * import { Ledger } from "effect-feeder"
 * import { Ledgers } from "effect-feeder/testing"
 *
 * const ledger = Ledger.make({ generated: 3, queued: 1, taken: 2, devices: [] })
 *
 * Ledgers.assertConserved(ledger) // => undefined
 * ```
 *
 * @category assertions
 * @since 0.1.0
 */
export const assertConserved = (ledger: Ledger): void => {
  const { dead, delivered, dropped, generated, held, heldByDead, leased, queued } = ledger
  const classes = { queued, leased, held, delivered, heldByDead, dead, dropped }
  const counts = countsOf(ledger)
  for (const [name, count] of Object.entries(counts)) {
    if (name !== "lost" && !(count >= 0)) {
      throw new LedgerMismatch(`the ledger has ${count} elements ${name}`, counts, { ...counts, [name]: 0 })
    }
  }
  const sum = Object.values(classes).reduce((total, count) => total + count, 0)
  if (sum !== generated || ledger.lost !== 0) {
    const terms = Object.entries(classes).map(([name, count]) => `${count} ${name}`).join(" + ")
    throw new LedgerMismatch(
      `${generated} elements were generated, and the classes of the ledger hold ${sum}: ${terms}`,
      { ...counts, generated: sum },
      { ...counts, lost: 0 }
    )
  }
  for (const name of ["leased", "held", "heldByDead", "redelivered", "accepted", "inDoubt", "fenced"] as const) {
    const total = ledger.devices.reduce((total, device) => total + device[name], 0)
    if (total !== ledger[name]) {
      throw new LedgerMismatch(
        `the devices of the ledger have ${total} elements ${name}, the whole has ${ledger[name]}`,
        { [name]: ledger[name] },
        { [name]: total }
      )
    }
  }
}

/**
 * Throws a `LedgerMismatch` unless the account is conserved, as `assertConserved` has it, and has the counts given here.
 * Others may be anything.
 *
 * **Example** (What a run should come to)
 *
 * ```ts import.meta.vitest
 * import { Ledger } from "effect-feeder"
 * import { Ledgers } from "effect-feeder/testing"
 *
 * const ledger = Ledger.make({ generated: 3, queued: 0, taken: 3, devices: [] })
 *
 * Ledgers.assertCounts(ledger, { delivered: 3, redelivered: 0 }) // => undefined
 * ```
 *
 * @category assertions
 * @since 0.1.0
 */
export const assertCounts = (ledger: Ledger, expected: Partial<Counts>): void => {
  assertConserved(ledger)
  const counts = countsOf(ledger)
  const actual = Object.fromEntries(Object.entries(counts).filter(([name]) => name in expected))
  const wrong = Object.entries(actual).filter(([name, count]) =>
    Object.entries(expected).some(([other, asked]) => other === name && asked !== undefined && asked !== count)
  )
  if (wrong.length === 0) return
  const found = wrong.map(([name, count]) => `${count} ${name}`).join(", ")
  const asked = Object.entries(expected).map(([name, count]) => `${count} ${name}`).join(", ")
  throw new LedgerMismatch(`the ledger has ${found}; asserted were ${asked}`, actual, expected)
}
