/**
 * The laws of feeding, as something that watches a history: it is told of every frame and of every delivery, looks at
 * every account, and throws at the first thing that must not be.
 */
import type { Delivery } from "effect-feeder/Feed"
import type { Ledger } from "effect-feeder/Ledger"
import type { Acknowledge, Result } from "effect-feeder/RemoteDevices"
import type { Connection, Seen } from "effect-feeder/testing/SimulatedDevices"

/** A law was broken. */
export class Violation extends Error {
  readonly law: number
  constructor(law: number, what: string) {
    super(`law ${law}: ${what}`)
    this.law = law
  }
}

/** An element names where it comes from, so that a delivery can be checked by itself. */
export interface Element {
  readonly feeder: number
  readonly life: number
  readonly n: number
  readonly text: string
}

/** What is known of the elements of one life of one feeder. */
class Account {
  readonly total: number
  /** By ordinal: which element it is, and how often it was given. */
  readonly elements = new Map<number, number>()
  readonly given = new Map<number, number>()
  readonly finished = new Set<number>()
  readonly refused = new Set<number>()
  redelivered = 0

  constructor(total: number) {
    this.total = total
  }
}

/** What the frames of one session say: what the device has granted and received, and what the feeder has sent. */
interface Session {
  creditTo: number
  creditBytesTo: number
  sent: number
  sentBytes: number
  /** Up to where nothing waits at the device. */
  idle: number
}

export interface Config {
  readonly acknowledge: Acknowledge
}

export const make = (config: Config, say: (what: () => string) => void) => {
  const accounts = new Map<string, Account>()
  const sessions = new Map<string, Session>()
  /** What each life of a device has received of each session. */
  const received = new Map<string, number>()
  const lastFirst = new Map<string, number>()
  const leaving = new Set<number>()
  const sessionOf = new Map<number, { readonly key: string; readonly atDevice: string }>()

  let violation: Violation | undefined

  /** What a handler or a fiber throws might be taken for a failure of its own: the first violation is remembered. */
  const fail = (law: number, what: string): never => {
    violation ??= new Violation(law, what)
    throw violation
  }

  const feederKey = (feeder: number, life: number) => `feeder-${feeder} life ${life}`

  const open = (feeder: number, life: number, total: number): Account => {
    const account = new Account(total)
    accounts.set(feederKey(feeder, life), account)
    return account
  }

  /** A device hands an element out, in this very step. `device` names the life of the process. */
  const given = (device: string, element: Element, delivery: Delivery): void => {
    const key = feederKey(element.feeder, element.life)
    const account = accounts.get(key)
    const { attempt, ordinal, redelivered } = delivery
    const what = `#${ordinal} (element ${element.n}, attempt ${attempt}) of ${key} at ${device}`
    if (account === undefined) return fail(10, `${what}: nobody generated it`)
    if (!Number.isInteger(element.n) || element.n < 0 || element.n >= account.total) {
      return fail(10, `${what} is no element of the feed`)
    }
    if (element.text !== "x".repeat(element.n % 7)) fail(10, `${what} was damaged: "${element.text}"`)
    const known = account.elements.get(ordinal)
    if (known !== undefined && known !== element.n) fail(2, `${what} was element ${known} before`)
    account.elements.set(ordinal, element.n)
    if (ordinal !== element.n) fail(2, `${what}: ordinals follow the order of the source`)
    const count = account.given.get(ordinal) ?? 0
    account.given.set(ordinal, count + 1)
    if (count > 0 && !redelivered) fail(4, `${what} was given ${count} times before and is not marked`)
    if (redelivered) account.redelivered++
    if (attempt === 1) {
      const place = `${key} ${device}`
      const last = lastFirst.get(place) ?? -1
      if (ordinal <= last) fail(2, `${what} came after #${last}`)
      lastFirst.set(place, ordinal)
    }
    say(() => `${device} is given ${what}${redelivered ? ", marked" : ""}`)
  }

  /** A consumer is about to give this result. */
  const settling = (element: Element, ordinal: number, result: Result["_tag"]): void => {
    const account = accounts.get(feederKey(element.feeder, element.life))
    if (result === "Done") account?.finished.add(ordinal)
    if (result === "Reject") account?.refused.add(ordinal)
  }

  /** Looks at every frame. */
  const watch = ({ connection, frame, from, what }: Seen): void => {
    const link = () => sessionOf.get(connection.id)
    if (frame._tag === "Hello") {
      if (what === "received") return
      const key = `${frame.feeder} ${frame.incarnation} ${frame.session} ${frame.device}`
      sessionOf.set(connection.id, { key, atDevice: `${key} at ${connection.host.name}` })
      if (!sessions.has(key)) sessions.set(key, { creditTo: 0, creditBytesTo: 0, sent: 0, sentBytes: 0, idle: 0 })
      return
    }
    const names = link()
    if (names === undefined) return
    const session = sessions.get(names.key)!
    if (frame._tag === "Batch") {
      const count = frame.runs.reduce((sum, run) => sum + run.count, 0)
      const last = frame.first + count - 1
      if (what === "received") {
        received.set(names.atDevice, Math.max(received.get(names.atDevice) ?? 0, last))
        return
      }
      say(() => `${names.key} sends ${frame.first}..${last}`)
      if (last > session.creditTo) {
        fail(1, `${names.key} sends sequence ${last}, granted were ${session.creditTo}`)
      }
      if (last > session.sent) {
        const fresh = last - session.sent
        const isAlone = fresh === 1 && session.sent === session.idle
        session.sent = last
        session.sentBytes += fresh * frame.elementBytes
        if (session.sentBytes > session.creditBytesTo && !isAlone) {
          fail(1, `${names.key} sends ${session.sentBytes} bytes, granted were ${session.creditBytesTo}`)
        }
      }
      return
    }
    if (frame._tag === "Leaving") leaving.add(connection.id)
    if (from === "device" && (frame._tag === "Progress" || frame._tag === "Welcome")) {
      const { progress } = frame
      if (what === "sent") {
        const most = received.get(names.atDevice) ?? 0
        if (progress.accepted > most) {
          fail(5, `${names.atDevice} says it has accepted ${progress.accepted}, it was sent ${most}`)
        }
        if (progress.delivered > progress.accepted) fail(3, `${names.atDevice} delivered more than it accepted`)
        if (progress.settled > progress.delivered) fail(5, `${names.atDevice} settled what it did not hand out`)
        return
      }
      // A new device knows nothing of what was granted before.
      session.creditTo = Math.max(session.creditTo, progress.creditTo)
      session.creditBytesTo = Math.max(session.creditBytesTo, progress.creditBytesTo)
      session.idle = progress.collecting === true ? progress.accepted : progress.delivered
    }
  }

  /** The account of a feeder at any moment. */
  const looked = (feeder: number, life: number, ledger: Ledger): void => {
    const account = accounts.get(feederKey(feeder, life))!
    if (ledger.lost !== 0) fail(3, `the account does not sum: ${JSON.stringify(ledger)}`)
    for (const [name, count] of Object.entries(ledger)) {
      if (typeof count === "number" && count < 0) fail(3, `${name} is ${count}`)
    }
    if (ledger.generated > account.total) fail(3, `${ledger.generated} were generated of ${account.total}`)
    if (config.acknowledge === "processed") {
      if (ledger.delivered > account.finished.size) {
        fail(5, `${ledger.delivered} are delivered, consumers have finished ${account.finished.size}`)
      }
      if (ledger.dead > account.refused.size) fail(5, `${ledger.dead} are dead, ${account.refused.size} were refused`)
      if (ledger.held + ledger.heldByDead > 0) fail(5, "nothing of a processed feed is only held")
    }
  }

  /** The account of a feeder that has ended. */
  const ended = (feeder: number, life: number, ledger: Ledger): void => {
    const key = feederKey(feeder, life)
    const account = accounts.get(key)!
    looked(feeder, life, ledger)
    if (ledger.generated !== account.total) fail(9, `${key} ended with ${ledger.generated} of ${account.total}`)
    if (ledger.queued + ledger.leased > 0) fail(9, `${key} ended with ${ledger.queued + ledger.leased} to do`)
    const { finished, refused } = account
    if (config.acknowledge === "processed") {
      for (let ordinal = 0; ordinal < account.total; ordinal++) {
        if (!finished.has(ordinal) && !refused.has(ordinal)) fail(5, `${key} ended, nobody finished #${ordinal}`)
      }
    } else {
      const missing = account.total - account.given.size
      if (missing > ledger.held + ledger.heldByDead) {
        fail(
          5,
          `${key} ended, ${missing} were never given; held are ${ledger.held}, lost with devices ${ledger.heldByDead}`
        )
      }
    }
  }

  /** Whether a device has granted what any element would need. */
  const canSend = ({ id }: Connection): boolean => {
    const names = sessionOf.get(id)
    const session = names === undefined ? undefined : sessions.get(names.key)
    return session !== undefined && !leaving.has(id) && session.creditTo > session.sent &&
      session.creditBytesTo > session.sentBytes + 100
  }

  const sums = () => {
    let given = 0
    let redelivered = 0
    for (const account of accounts.values()) {
      for (const count of account.given.values()) given += count
      redelivered += account.redelivered
    }
    return { given, redelivered }
  }

  return { open, given, settling, watch, looked, ended, fail, violation: () => violation, canSend, sums, feederKey }
}

export type Laws = ReturnType<typeof make>
