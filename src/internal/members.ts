/**
 * The devices that a transport knows to be there, as they join and leave.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Change } from "../RemoteDevices.ts"
import * as Changes from "./changes.ts"

/** What they host, if that is known. */
type Feeds = ReadonlyArray<string> | undefined

/** The devices: see the module. */
export interface Members {
  /** They are these now. Resumes fibers, which run at once: only to be called when all is in order. */
  readonly setUnsafe: (device: string, feeds: Feeds) => void
  readonly deleteUnsafe: (device: string) => void
  readonly names: () => ReadonlyArray<string>
  /** Looks again whenever something may have changed, until something is so. */
  readonly until: (isSo: () => boolean) => Effect.Effect<void>
  /** See `RemoteDevices`. What is to be told is no more than the devices are, however slowly it is read. */
  readonly changes: Stream.Stream<Change>
}

const isSame = (a: Feeds, b: Feeds): boolean =>
  a === b || (a !== undefined && b !== undefined && a.length === b.length && a.every((name, i) => name === b[i]))

/** Nobody is there yet. */
export const make = (): Members => {
  const members = new Map<string, Feeds>()
  const { tellUnsafe, until, watch } = Changes.make()

  const differences = (known: Map<string, Feeds>): ReadonlyArray<Change> => {
    const all: Array<Change> = []
    for (const device of known.keys()) {
      if (members.has(device)) continue
      known.delete(device)
      all.push({ _tag: "Left", device })
    }
    for (const [device, feeds] of members) {
      if (known.has(device) && isSame(known.get(device), feeds)) continue
      known.set(device, feeds)
      all.push({ _tag: "Joined", device, feeds })
    }
    return all
  }

  return {
    setUnsafe: (device, feeds) => {
      members.set(device, feeds)
      tellUnsafe()
    },
    deleteUnsafe: (device) => {
      members.delete(device)
      tellUnsafe()
    },
    names: () => [...members.keys()],
    until,
    changes: Stream.unwrap(Effect.map(watch, (changed) => {
      const known = new Map<string, Feeds>()
      return Stream.flattenIterable(Stream.fromEffectRepeat(Effect.map(changed.await, () => {
        changed.closeUnsafe()
        return differences(known)
      })))
    }))
  }
}
