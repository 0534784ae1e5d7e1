/**
 * The account of a feeder: every element it generated, in exactly one class.
 *
 * `generated = queued + leased + held + delivered + heldByDead + dead + dropped`, at any moment.
 *
 * @since 0.1.0
 */

/**
 * The account of one device.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeviceLedger {
  readonly device: string
  /** Out at the device and not acknowledged as declared; `inDoubt` of them on a link that broke. */
  readonly leased: number
  readonly inDoubt: number
  /** Acknowledged as accepted, and not yet handed to a consumer. */
  readonly held: number
  /** Acknowledged as accepted, and gone with a device that died. */
  readonly heldByDead: number
  /** Elements the device's queue has taken, those that came back later included. */
  readonly accepted: number
  /** Handed to a consumer (`accepted` feeds) or finished by it (`processed` feeds). */
  readonly delivered: number
  /** Elements acknowledged that had been given before, marked. */
  readonly redelivered: number
  /** Refused for good by a consumer, or by the Schema there. */
  readonly dead: number
  /** Settlements of this feeder's elements that came after it had taken them back, so that they did not count. */
  readonly fenced: number
}

/**
 * Numbers of elements, both ends included.
 *
 * @category models
 * @since 0.1.0
 */
export type OrdinalRange = readonly [from: number, to: number]

/**
 * Which elements are where, by their ordinals, in ascending order. An element that has never left the local queue has no
 * ordinal yet.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ordinals {
  readonly queued: ReadonlyArray<OrdinalRange>
  readonly leased: ReadonlyArray<OrdinalRange>
  /** Acknowledged as declared: held, delivered, or held by a device that died. */
  readonly acknowledged: ReadonlyArray<OrdinalRange>
  readonly dead: ReadonlyArray<OrdinalRange>
  readonly dropped: ReadonlyArray<OrdinalRange>
}

/**
 * The account of a feeder.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ledger {
  /** Elements that its queue has admitted. */
  readonly generated: number
  /** In the local queue, in the feeder's hands, or waiting to be fed again. */
  readonly queued: number
  readonly leased: number
  readonly inDoubt: number
  readonly held: number
  /** Delivered to consumers, here or at a device. */
  readonly delivered: number
  readonly heldByDead: number
  /** Kept as dead letters: refused for good, given too often, or not of the Schema at a device. */
  readonly dead: number
  /** Dropped, and kept as dead letters: by the overflow policy, or since they may have been handed out once. */
  readonly dropped: number
  readonly accepted: number
  readonly redelivered: number
  readonly fenced: number
  /** Generated and in no class: always 0. */
  readonly lost: number
  readonly devices: ReadonlyArray<DeviceLedger>
  /** Where asked: see `Feeder.Options`. */
  readonly ordinals?: Ordinals
}

/**
 * Sums up: what was generated, what is queued, what this process took itself, what is dead or dropped, and the devices'
 * accounts.
 *
 * **Example** (An account that sums)
 *
 * ```ts import.meta.vitest
 * import { Ledger } from "effect-feeder"
 *
 * const ledger = Ledger.make({ generated: 5, queued: 2, taken: 3, devices: [] })
 *
 * ledger.delivered // => 3
 * ledger.lost // => 0
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (facts: {
  readonly generated: number
  readonly queued: number
  readonly taken: number
  readonly dead?: number | undefined
  readonly dropped?: number | undefined
  readonly ordinals?: Ordinals | undefined
  readonly devices: ReadonlyArray<DeviceLedger>
}): Ledger => {
  const sum = (key: Exclude<keyof DeviceLedger, "device">) =>
    facts.devices.reduce((total, device) => total + device[key], 0)
  const classes = {
    queued: facts.queued,
    leased: sum("leased"),
    held: sum("held"),
    delivered: facts.taken + sum("delivered"),
    heldByDead: sum("heldByDead"),
    dead: facts.dead ?? 0,
    dropped: facts.dropped ?? 0
  }
  return {
    generated: facts.generated,
    ...classes,
    inDoubt: sum("inDoubt"),
    accepted: sum("accepted"),
    redelivered: sum("redelivered"),
    fenced: sum("fenced"),
    lost: facts.generated - Object.values(classes).reduce((total, count) => total + count, 0),
    devices: facts.devices,
    ...(facts.ordinals === undefined ? {} : { ordinals: facts.ordinals })
  }
}
