/**
 * The claim of a process to be a device: a record at the broker that it renews. It is held for a lease after a renewal
 * was *sent*, once everything that was written before that renewal has been seen, fences of feeders among it.
 */
import type { ConsumerInfo } from "@nats-io/jetstream"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Any } from "../Feed.ts"
import { DeviceNameTaken } from "../layers/MemoryDevices.ts"
import type { Client } from "./jetStreamClient.ts"
import { ask, BrokerFailed, codeOf, codes } from "./jetStreamClient.ts"
import type { HostRecord, Names } from "./jetStreamRecords.ts"
import { readHost, write } from "./jetStreamRecords.ts"
import { randomId } from "./randomId.ts"

/** A claim: see the module. */
export interface Claim {
  /** Grows with each process that takes the device over. */
  readonly number: number
  readonly isHeld: () => boolean
  readonly untilHeld: Effect.Effect<void>
  /** Up to which message of the stream of a feed a process before this one may have handed out what it had read. */
  readonly pulled: (feed: string) => number
  /** This process has read the stream of a feed up to a message. */
  readonly readUnsafe: (feed: string, message: number) => void
  /** Keeps what was read, for a process that comes after this one was killed. */
  readonly keepRead: (feed: string) => Effect.Effect<void, BrokerFailed>
  /** All up to this revision of the records has been seen. */
  readonly seenUnsafe: (revision: number) => void
  /** Another process is the device: it is not this one any more. */
  readonly lost: Effect.Effect<never>
  readonly release: Effect.Effect<void, BrokerFailed>
}

/** What is claimed. */
export interface Claimed {
  readonly device: string
  readonly feeds: ReadonlyArray<Any>
  readonly leaseMillis: number
  readonly stored: number | undefined
  readonly windowBytes: number
}

type Found = readonly [host: HostRecord | undefined, revision: number]

/**
 * Takes a device over, and renews the claim until the scope closes. A process that was the device and has not said that it
 * ended is waited for: until its lease is over, it may hand out.
 */
export const take = (
  client: Client,
  names: Names,
  claimed: Claimed
): Effect.Effect<Claim, BrokerFailed | DeviceNameTaken, Scope.Scope> =>
  Effect.gen(function*() {
    const { device, feeds, leaseMillis } = claimed
    const subject = names.host(device)
    const id = yield* randomId
    const born = yield* randomId
    const held = Latch.makeUnsafe(false)
    /** Renewals that have not been seen yet, by their revision: when they were sent. */
    const renewals = new Map<number, number>()
    let seen = 0
    let until = Number.NEGATIVE_INFINITY
    let isLost = false

    const read: Effect.Effect<Found, BrokerFailed> = Effect.map(
      ask(() => client.manager.streams.getMessage(names.stateStream, { last_by_subj: subject })),
      (message) => message === null ? [undefined, 0] : [readHost(message.data), message.seq]
    )
    const since = client.now()
    const untilVacant = (first: Found): Effect.Effect<Found, BrokerFailed | DeviceNameTaken> =>
      Effect.suspend(() => {
        const [host, revision] = first
        if (host?.isOpen !== true || client.now() - since >= host.leaseMillis * 1.1) return Effect.succeed(first)
        return Effect.flatMap(Effect.andThen(Effect.sleep(50), read), (now) => {
          const [other] = now
          return now[1] === revision || other?.isOpen !== true
            ? untilVacant(now)
            : Effect.fail(new DeviceNameTaken({ device, hosts: [other.id, id] }))
        })
      })
    const [former, found] = yield* Effect.flatMap(read, untilVacant)
    const number = (former?.claim ?? 0) + 1

    const pulled = new Map<string, number>()
    for (const { name } of feeds) {
      const before = former?.feeds[name]?.pulled ?? 0
      // One that was killed may have handed out all that it had read.
      pulled.set(name, former?.isOpen === true ? Math.max(before, yield* readOf(client, names, name, device)) : before)
    }
    /** What this process has read, and what its record says of that. */
    const readTo = new Map<string, number>()
    let kept: ReadonlyMap<string, number> = new Map()
    // What it had read and told nobody of matters if it is killed, and not if it ends.
    const record = (isOpen: boolean): HostRecord => ({
      born: former?.born ?? born,
      id,
      claim: number,
      isOpen,
      leaseMillis,
      feeds: {
        ...former?.feeds,
        ...Object.fromEntries(feeds.map(({ acknowledge, capacity, delivery, info, name }) => [name, {
          fingerprint: info.fingerprint,
          acknowledge,
          delivery,
          capacity: claimed.stored ?? capacity,
          windowBytes: claimed.windowBytes,
          pulled: Math.max(pulled.get(name) ?? 0, isOpen ? readTo.get(name) ?? 0 : 0)
        }]))
      }
    })

    let revision = found
    const confirm = () => {
      for (const [renewal, sentAt] of renewals) {
        if (renewal > seen) continue
        renewals.delete(renewal)
        until = Math.max(until, sentAt + leaseMillis)
      }
      if (isHeld()) held.openUnsafe()
    }
    const isHeld = () => !isLost && client.now() < until
    // One at a time, since each goes by the revision of the one before.
    const turn = yield* Semaphore.make(1)
    const renew = (isOpen: boolean) =>
      turn.withPermit(Effect.suspend(() => {
        const sentAt = client.now()
        const keeping = new Map(readTo)
        return Effect.map(client.put(subject, write(record(isOpen)), revision), (next) => {
          revision = next
          kept = keeping
          renewals.set(next, sentAt)
          confirm()
        })
      }))
    const lose = (other: string) =>
      Effect.suspend(() => {
        const wasLost = isLost
        isLost = true
        return wasLost
          ? Effect.void
          : Effect.logError(`device ${device} was taken over by ${other}; this process, ${id}, takes nothing more`)
      })
    /** An answer of the broker may have been lost; or there is another process. */
    const recover = Effect.flatMap(read, ([other, now]) => {
      if (other !== undefined && other.id !== id) return lose(other.id)
      revision = now
      return Effect.void
    })
    const isConflict = (failed: BrokerFailed) => codeOf(failed) === codes.otherRevision
    const renewed = Effect.suspend(() => isLost ? Effect.never : Effect.catchIf(renew(true), isConflict, () => recover))
    const keepRead = (feed: string): Effect.Effect<void, BrokerFailed> =>
      Effect.suspend(() =>
        (kept.get(feed) ?? 0) >= (readTo.get(feed) ?? 0) ? Effect.void : Effect.andThen(renewed, keepRead(feed))
      )

    yield* Effect.catchIf(renew(true), isConflict, () =>
      Effect.flatMap(read, ([other]) =>
        Effect.fail(new DeviceNameTaken({ device, hosts: [other?.id ?? "unknown", id] }))))
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(leaseMillis / 4), Effect.ignore(renewed))))

    const untilHeld: Effect.Effect<void> = Effect.suspend(() => {
      if (isHeld()) {
        return Effect.void
      }
      held.closeUnsafe()
      return Effect.andThen(held.await, untilHeld)
    })
    return {
      number,
      isHeld,
      untilHeld,
      pulled: (feed) =>
        pulled.get(feed) ?? 0,
      readUnsafe: (feed, message) => {
        readTo.set(feed, Math.max(readTo.get(feed) ?? 0, message))
      },
      keepRead,
      seenUnsafe: (to) => {
        seen = Math.max(seen, to)
        confirm()
      },
      lost: Effect.andThen(lose("another process"), Effect.never),
      release: Effect.suspend(() =>
        isLost ? Effect.void : renew(false)
      )
    }
  })

/** The consumers of a device in the stream of a feed. */
export const consumersOf = (client: Client, names: Names, feed: string, device: string) => {
  const subject = names.fed(feed, device)
  const all = Stream.suspend(() =>
    Stream.fromAsyncIterable(
      client.manager.consumers.list(names.feedStream(feed)),
      (cause) => new BrokerFailed({ cause })
    )
  )
  return Effect.map(
    Stream.runCollect(all),
    // One that is being deleted at that moment, be it another device's, is listed as nothing.
    (all) => all.flatMap((each: ConsumerInfo | null) => each?.config.filter_subject === subject ? [each] : [])
  )
}

/** Up to where they have read it. */
const readOf = (client: Client, names: Names, feed: string, device: string): Effect.Effect<number, BrokerFailed> =>
  Effect.map(
    consumersOf(client, names, feed, device),
    (all) => all.reduce((most, { delivered }) => Math.max(most, delivered.stream_seq), 0)
  )
