/**
 * Which device is at which address: as it was written, or as the DNS says it now.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as DeviceSpec from "../DeviceSpec.ts"
import * as Members from "./members.ts"
import type { Address } from "./socketAddress.ts"
import { parse } from "./socketAddress.ts"
import { AddressInvalid } from "./socketErrors.ts"

/** Where devices are: see the module. */
export interface Directory {
  readonly find: (device: string) => Address | undefined
  /** Whether a device that is not there now may be there later. */
  readonly mayChange: boolean
  readonly members: Members.Members
  /** A link to it is open, or has ended, or could not be opened. */
  readonly linked: (device: string) => void
  readonly unlinked: (device: string) => void
  readonly failed: (device: string) => void
}

/** Reads the addresses of devices, each once. */
export const read = (
  addresses: Readonly<Record<string, string>>
): Effect.Effect<ReadonlyMap<string, Address>, AddressInvalid> =>
  Effect.gen(function*() {
    const known = new Map<string, Address>()
    const used = new Map<string, string>()
    for (const [name, address] of Object.entries(addresses)) {
      const spec = DeviceSpec.fromString(name)
      if (Result.isFailure(spec)) {
        return yield* new AddressInvalid({ device: name, address, issue: spec.failure.issue })
      }
      const device = DeviceSpec.canonicalName(spec.success)
      const parsed = parse(address)
      if (Result.isFailure(parsed)) return yield* new AddressInvalid({ device, address, issue: parsed.failure })
      const place = parsed.success.text.replace(/^(tls|wss):/, (_, secure: string) => secure === "tls" ? "tcp:" : "ws:")
      const other = used.get(place) ?? (known.has(device) ? device : undefined)
      if (other !== undefined) return yield* new AddressInvalid({ device, address, issue: `${other} has it too` })
      known.set(device, parsed.success)
      used.set(place, device)
    }
    return known
  })

/** Addresses that stay as they are. */
export const fixed = (addresses: ReadonlyMap<string, Address>): Directory => {
  const members = Members.make()
  for (const device of addresses.keys()) members.setUnsafe(device, undefined)
  const nothing = () => {}
  return {
    find: (device) => addresses.get(device),
    mayChange: false,
    members,
    linked: nothing,
    unlinked: nothing,
    failed: nothing
  }
}
