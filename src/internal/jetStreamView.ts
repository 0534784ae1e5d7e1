/**
 * What a feeder sees of a device at the broker: the record of its host, and what it tells of its feeders.
 */
import type { JsMsg } from "@nats-io/jetstream"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { Changes } from "./changes.ts"
import * as ChangesOf from "./changes.ts"
import type { Client } from "./jetStreamClient.ts"
import type { Fence, HostRecord, Names, Told } from "./jetStreamRecords.ts"
import { readFence, readHost, readTold } from "./jetStreamRecords.ts"

/** A device as it is seen: see the module. */
export interface View {
  /** Waits until all that is there has been read. */
  readonly ready: Effect.Effect<void>
  readonly host: () => HostRecord | undefined
  readonly told: (subject: string) => Told | undefined
  readonly fence: (subject: string) => Fence | undefined
  /** The subjects of all fences. */
  readonly fences: () => Iterable<string>
  /** Since when no process is the device, if none is; in milliseconds of a monotonic clock. */
  readonly awaySince: () => number | undefined
  readonly until: Changes["until"]
  readonly watch: Changes["watch"]
}

/** Watches a device until the scope closes. */
export const make = (
  client: Client,
  names: Names,
  device: string,
  onValue: (message: JsMsg) => void = () => {}
): Effect.Effect<View, never, Scope.Scope> =>
  Effect.gen(function*() {
    const changes = ChangesOf.make()
    const ready = Latch.makeUnsafe(false)
    /** As it came, until it is asked for: a device hears of all that it tells itself. */
    const told = new Map<string, Uint8Array | Told>()
    const fences = new Map<string, Fence>()
    let host: HostRecord | undefined
    let seenAt = 0
    const hostSubject = names.host(device)
    const part = names.device(device).slice(0, -1)
    yield* Effect.forkScoped(client.watch({
      stream: names.stateStream,
      subject: names.device(device),
      onValue: (message) => {
        const { data, subject } = message
        if (subject === hostSubject) {
          host = readHost(data)
          seenAt = client.now()
        } else if (subject.startsWith(`${part}told.`)) {
          told.set(subject, data.slice())
        } else {
          const record = readFence(data)
          if (record !== undefined) fences.set(subject, record)
        }
        onValue(message)
        changes.tellUnsafe()
      },
      onCaughtUp: () => {
        ready.openUnsafe()
      }
    }))
    return {
      ready: ready.await,
      host: () => host,
      told: (subject) => {
        const known = told.get(subject)
        if (!(known instanceof Uint8Array)) return known
        const record = readTold(known)
        if (record === undefined) told.delete(subject)
        else told.set(subject, record)
        return record
      },
      fence: (subject) => fences.get(subject),
      fences: () => fences.keys(),
      awaySince: () => {
        if (host === undefined || !client.isConnected()) return undefined
        if (!host.isOpen) return seenAt
        const until = Math.max(seenAt, client.connectedSince()) + host.leaseMillis * 1.1
        return client.now() >= until ? until : undefined
      },
      until: changes.until,
      watch: changes.watch
    }
  })
