/**
 * The devices that former lives of a feeder have fed. Until such a device has answered this life, or is proven gone, or
 * its lease has ended, it may hand out what it has of them, not knowing that it comes again. So nothing that they may
 * have is fed before.
 */
import * as Effect from "effect/Effect"
import type { Books } from "./feederBooks.ts"

/** The devices: see the module. */
export interface FormerDevices {
  /** Those that may still hand out something. */
  readonly names: () => ReadonlyArray<string>
  /** Waits until there are none. */
  readonly untilNone: Effect.Effect<void>
}

/** The devices that were fed until now, at the latest. */
export const make = <A>(options: {
  readonly books: Books<A>
  readonly devices: ReadonlyArray<string>
  /** Of the life before. */
  readonly leaseMillis: number
}): FormerDevices => {
  const { books } = options
  // A tenth later than the devices stop, as a session has it.
  const ends = books.owner.now() + options.leaseMillis * 1.1
  let devices = options.devices

  const mayHandOut = (device: string): boolean => {
    const feed = books.remotes.get(device)?.feed
    const failure = feed?.failures().last
    const isGone = failure?._tag === "DeviceLost" && failure.fate === "gone"
    return !isGone && feed?.state().device === undefined
  }

  const names = (): ReadonlyArray<string> => {
    if (devices.length > 0) devices = books.owner.now() >= ends ? [] : devices.filter(mayHandOut)
    return devices
  }

  const answered = books.until(() => names().length === 0)

  return {
    names,
    untilNone: Effect.suspend(() => {
      const left = Math.ceil(ends - books.owner.now())
      return left <= 0 ? Effect.void : Effect.raceFirst(Effect.sleep(left), answered)
    })
  }
}
