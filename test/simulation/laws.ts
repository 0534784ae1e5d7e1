/**
 * The laws of feeding, as something that watches a history: it is told of every frame and of every delivery, looks at
 * every account, and throws at the first thing that must not be.
 */
import type { Feeder } from "effect-feeder"
import type { Delivery } from "effect-feeder/Feed"
import type { Ledger } from "effect-feeder/Ledger"
import type { Batch, DeviceFrame, Progress, Result } from "effect-feeder/RemoteDevices"
import type { Connection, Seen } from "effect-feeder/testing/SimulatedDevices"
import { failureDelay, lease, type Plan } from "./plan.ts"

/** A law was broken. */
export class Violation extends Error {
  readonly law: number
  constructor(law: number, at: number, what: string) {
    super(`law ${law} is broken at ${at.toFixed(1)}: ${what}`)
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
  generated = 0
  /** By ordinal: the device it was last sent to. */
  readonly sentTo = new Map<number, string>()
  /** Taken back and not sent again; those of them that waited in the queue already when the time last went on. */
  readonly back = new Set<number>()
  waiting: ReadonlyArray<number> = []
  /** What was sent for the first time meanwhile, and the links that were open before. */
  overtaking: number | undefined
  links = ""

  constructor(total: number) {
    this.total = total
  }
}

/** What the frames of one session say: what the device has granted and received, and what the feeder has sent. */
interface Session {
  creditTo: number
  /** The same with what may be on its way beyond the room of the device's queue. */
  windowTo: number
  creditBytesTo: number
  sent: number
  sentBytes: number
  /** Up to where nothing waits at the device. */
  idle: number
}

const brief = (frame: Seen["frame"]): string =>
  JSON.stringify(frame, (key, value) => key === "chunk" || key === "fingerprint" ? undefined : value)

/** What one life of a feeder has learned of a device, and what of its failures was looked at. */
class Peer {
  incarnation: string | undefined
  /** When it last heard of the device since its last failure. */
  heardAt: number | undefined
  /** When it last heard of it after a silence that was too long. */
  lateAt = -Infinity
  /** Whether it learned that the device is gone, that another took its place, or that it refuses for now. */
  hasReason = true
  /** Whether the device refused it for good. */
  isRefused = false
  /** Whether it said on its last link that it leaves, and how often it did in this run. */
  isLeaving = false
  leaves = 0
  /** The number of its last report, and how often it began to count anew. */
  report = 0
  forgotten = 0
  /** What is out in the current session: ordinals by sequence. */
  readonly out = new Map<number, number>()
  outIn = 0
  /** The run that it was looked at in, and the session that this run began with. */
  run = 0
  session = 0
  failures = 0
  failedAt: number | undefined
}

export const make = (plan: Plan, now: () => number, say: (what: () => string) => void) => {
  const accounts = new Map<string, Account>()
  const sessions = new Map<string, Session>()
  /** What each life of a device has received of each session. */
  const received = new Map<string, number>()
  const lastFirst = new Map<string, number>()
  const leaving = new Set<number>()
  const welcomedAt = new Map<number, number>()
  const sessionOf = new Map<number, { readonly key: string; readonly session: number }>()
  const peers = new Map<string, Peer>()

  let violation: Violation | undefined

  /** What a handler or a fiber throws might be taken for a failure of its own: the first violation is remembered. */
  const fail = (law: number, what: string): never => {
    violation ??= new Violation(law, now(), what)
    throw violation
  }

  const feederKey = (feeder: number, life: number) => `feeder-${feeder} life ${life}`

  const open = (key: string, total: number): void => {
    accounts.set(key, new Account(total))
  }

  const peerOf = (key: string, device: string): Peer => {
    const name = `${key} ${device}`
    const known = peers.get(name) ?? new Peer()
    peers.set(name, known)
    return known
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
    if (count > 0 && plan.delivery === "atMostOnce") {
      fail(4, `${what} was given before, and is to be given once at most`)
    }
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

  const sending = ({ device, feeder, id }: Connection, { first, runs }: Batch): void => {
    // What was about to be sent on another link is sent first on this one.
    const isNew = now() > (welcomedAt.get(id) ?? Infinity)
    const account = accounts.get(feeder.name)!
    const { out } = peerOf(feeder.name, device)
    let sequence = first
    for (const { attempt, count, ordinal } of runs) {
      for (let i = ordinal; i < ordinal + count; i++) {
        if (isNew && attempt === 1 && !account.sentTo.has(i) && account.waiting.length > 0) account.overtaking ??= i
        account.sentTo.set(i, device)
        account.back.delete(i)
        out.set(sequence++, i)
      }
    }
  }

  /** What a report settles as declared is out no more. */
  const settle = ({ out }: Peer, { above, accepted, settled }: Progress): void => {
    const to = plan.acknowledge === "accepted" ? accepted : settled
    for (const sequence of out.keys()) if (sequence <= to) out.delete(sequence)
    for (const { count, from } of above) for (let i = from; i < from + count; i++) out.delete(i)
  }

  /** What came back stands at the front: nothing new is sent while it waits. `links` names those that are open. */
  const lookedAtFront = (key: string, links: string, isStuck: boolean): void => {
    const account = accounts.get(key)!
    // What may be given once does not come back.
    if (plan.delivery === "atMostOnce") return
    const left = account.waiting.filter((ordinal) => account.back.has(ordinal))
    if (account.overtaking !== undefined && left.length > 0 && links === account.links && !isStuck) {
      fail(2, `${key} sends #${account.overtaking} while #${left.join(", #")} stand before it in the queue`)
    }
    // What was about to be sent on a link that has broken is out there, though no frame told of it.
    if (links !== account.links) { for (const ordinal of account.waiting) account.back.delete(ordinal) }
    account.waiting = isStuck ? [] : [...account.back]
    account.overtaking = undefined
    account.links = links
  }

  const hear = (peer: Peer, frame: DeviceFrame): void => {
    if (frame._tag === "Welcome" || frame._tag === "Progress") settle(peer, frame.progress)
    if (frame._tag === "Leaving") peer.leaves++
    if (frame._tag === "Leaving" || frame._tag === "Welcome") peer.isLeaving = frame._tag === "Leaving"
    if (frame._tag === "Refused" && !frame.retry) peer.isRefused = true
    const isOther = frame._tag === "Welcome" && peer.incarnation !== undefined && peer.incarnation !== frame.device
    // What comes too late is no excuse for the silence before it.
    if (now() >= (peer.heardAt ?? 0) + lease) peer.lateAt = now()
    if (isOther || frame._tag === "Leaving" || frame._tag === "Refused") peer.hasReason = true
    if (frame._tag === "Welcome" || frame._tag === "Progress") {
      // One that counts its reports anew has forgotten a session; that of which nothing was out just ends.
      if (!isOther && frame.progress.report <= peer.report) peer.forgotten++
      peer.report = frame.progress.report
    }
    if (frame._tag === "Welcome") peer.incarnation = frame.device
    if (frame._tag === "Welcome" || frame._tag === "Progress") peer.heardAt = now()
  }

  /** A feeder opens a link, and has counted so many failures in this run until now. */
  const connecting = (key: string, device: string, run: number, failures: number): void => {
    if (plan.supervision === "all") return
    const peer = peerOf(key, device)
    const failedAt = peer.run === run && failures > peer.failures ? now() : peer.failedAt
    if (failedAt !== undefined && now() < failedAt + failureDelay) {
      fail(7, `${key} tries ${device} again ${now() - failedAt} ms after its failure`)
    }
  }

  /** A feeder learns that a device has gone. */
  const gone = (key: string, device: string): void => {
    peerOf(key, device).hasReason = true
  }

  const goneForAll = (device: string): void => {
    for (const key of accounts.keys()) gone(key, device)
  }

  /** A feeder is told to feed a device no more: what is known of its failures begins again if it is added again. */
  const removed = (key: string, device: string): void => {
    peers.delete(`${key} ${device}`)
  }

  const begin = (peer: Peer, run: number, session: number): void => {
    // Its session ends with its link, which a stop may have closed before this run.
    const leaves = Number(peer.isLeaving)
    Object.assign(peer, { run, session, failures: 0, failedAt: undefined, leaves, forgotten: 0 })
  }

  /** A run begins: each device has a new budget. */
  const runBegins = (key: string, run: number, devices: ReadonlyArray<Feeder.DeviceStatus>): void => {
    for (const { device, session } of devices) begin(peerOf(key, device), run, session)
  }

  /**
   * What a device has in its queue: of each feeder at most its capacity, and what was put back there. Two feeders share
   * the capacity; but one that was cut off has been promised its part, and may come back for it.
   */
  const lookedAtDevice = (device: string, queued: number, feeders: number): void => {
    const most = plan.capacity * Math.max(1, feeders) + (plan.size - 1) * plan.concurrency
    if (queued > most) fail(1, `${device} has ${queued} elements in its queue, at most ${most} may be there`)
  }

  /** What a feeder says of its devices, whenever the time is about to go on: `run` is the number of its run. */
  const lookedAt = (key: string, run: number, devices: ReadonlyArray<Feeder.DeviceStatus>): void => {
    for (const { device, failures, phase, session } of devices) {
      const peer = peerOf(key, device)
      const what = `${key} and ${device}`
      if (failures > Math.max(1, plan.limit)) fail(7, `${what}: ${failures} failures of ${plan.limit}`)
      if (session !== peer.outIn) {
        const { back, sentTo } = accounts.get(key)!
        for (const ordinal of peer.out.values()) if (sentTo.get(ordinal) === device) back.add(ordinal)
        peer.out.clear()
        peer.outIn = session
      }
      if (peer.run !== run) begin(peer, run, session)
      const isFresh = failures > peer.failures
      if (plan.supervision === "each") {
        // A failure counts when its link is closed, for which there is a second.
        const isLapsed = peer.heardAt === undefined || now() >= peer.heardAt + lease || now() <= peer.lateAt + 1000
        if (isFresh && !isLapsed && !peer.hasReason) fail(7, `${what}: a failure was counted without a reason`)
        // What was out is given back at once; the failure counts when the link is closed, before the next is opened.
        const isCounted = phase !== "BackOff" && phase !== "Failed" && phase !== "Ended"
        if (isCounted && session - peer.session > failures + peer.leaves + peer.forgotten) {
          fail(7, `${what}: a session ended, no failure was counted`)
        }
        if (phase === "Failed" && !peer.isRefused && failures < plan.limit) {
          fail(7, `${what}: it has failed after ${failures} failures`)
        }
      }
      if (isFresh) {
        peer.heardAt = undefined
        peer.hasReason = false
        peer.failedAt = now()
      }
      peer.failures = failures
    }
  }

  /** A consumer's loop has come to its end by itself: all feeders that it expects had nothing more to give. */
  const loopEnded = (device: string, isLeaving: boolean): void => {
    if (isLeaving) return
    if (!plan.expectsAll) fail(9, `a loop at ${device} has ended, it was to go on for ever`)
    const done = [...accounts.values()].filter(({ generated, total }) => generated === total).length
    if (done < plan.feeders) fail(9, `a loop at ${device} has ended, ${done} feeders have given everything`)
  }

  /** Looks at every frame. */
  const watch = ({ connection, frame, from, what }: Seen): void => {
    const [feeder, device] = [connection.feeder.name, connection.host.name]
    say(() => `link ${connection.id}, ${feeder} ${from === "feeder" ? "▶" : "◀"} ${device}, ${what}: ${brief(frame)}`)
    if (!accounts.has(connection.feeder.name)) return // an intruder
    const link = () => sessionOf.get(connection.id)
    if (frame._tag === "Hello") {
      if (what === "received") return
      const key = `${frame.feeder} ${frame.incarnation} ${frame.session} at ${connection.host.name}`
      sessionOf.set(connection.id, { key, session: frame.session })
      if (!sessions.has(key)) {
        sessions.set(key, { creditTo: 0, windowTo: 0, creditBytesTo: 0, sent: 0, sentBytes: 0, idle: 0 })
      }
      return
    }
    const names = link()
    if (names === undefined) return
    const session = sessions.get(names.key)!
    if (frame._tag === "Batch" && what === "sent") sending(connection, frame)
    if (frame._tag === "Batch") {
      const count = frame.runs.reduce((sum, run) => sum + run.count, 0)
      const last = frame.first + count - 1
      if (what === "received") {
        received.set(names.key, Math.max(received.get(names.key) ?? 0, last))
        return
      }
      if (last > session.windowTo) {
        fail(1, `${names.key} sends sequence ${last}, granted were ${session.windowTo}`)
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
    if (from === "device" && what === "received") hear(peerOf(connection.feeder.name, connection.device), frame)
    if (frame._tag === "Leaving") leaving.add(connection.id)
    if (frame._tag === "Welcome" && what === "received") welcomedAt.set(connection.id, now())
    if (from === "device" && (frame._tag === "Progress" || frame._tag === "Welcome")) {
      const { progress } = frame
      if (what === "sent") {
        const most = received.get(names.key) ?? 0
        if (progress.accepted > most) {
          fail(5, `${names.key} says it has accepted ${progress.accepted}, it was sent ${most}`)
        }
        if (progress.delivered > progress.accepted) fail(3, `${names.key} delivered more than it accepted`)
        if (progress.settled > progress.delivered) fail(5, `${names.key} settled what it did not hand out`)
        return
      }
      session.creditTo = Math.max(session.creditTo, progress.creditTo)
      session.windowTo = Math.max(session.windowTo, progress.creditTo + (progress.window ?? 0))
      session.creditBytesTo = Math.max(session.creditBytesTo, progress.creditBytesTo)
      session.idle = progress.collecting === true ? progress.accepted : progress.delivered
    }
  }

  /** The account of a feeder at any moment. */
  const looked = (key: string, ledger: Ledger): void => {
    const account = accounts.get(key)!
    account.generated = ledger.generated
    if (ledger.lost !== 0) fail(3, `the account does not sum: ${JSON.stringify(ledger)}`)
    for (const [name, count] of Object.entries(ledger)) {
      if (typeof count === "number" && count < 0) fail(3, `${name} is ${count}`)
    }
    if (plan.delivery === "atLeastOnce" && ledger.dropped > 0) fail(3, `${ledger.dropped} were dropped`)
    if (ledger.generated > account.total) fail(3, `${ledger.generated} were generated of ${account.total}`)
    if (plan.acknowledge === "processed") {
      if (ledger.delivered > account.finished.size) {
        fail(5, `${ledger.delivered} are delivered, consumers have finished ${account.finished.size}`)
      }
      if (ledger.dead > account.refused.size) fail(5, `${ledger.dead} are dead, ${account.refused.size} were refused`)
      if (ledger.held + ledger.heldByDead > 0) fail(5, "nothing of a processed feed is only held")
    }
  }

  /** The account of a feeder that has ended. */
  const ended = (key: string, ledger: Ledger): void => {
    const account = accounts.get(key)!
    looked(key, ledger)
    if (ledger.generated !== account.total) fail(9, `${key} ended with ${ledger.generated} of ${account.total}`)
    if (ledger.queued + ledger.leased > 0) fail(9, `${key} ended with ${ledger.queued + ledger.leased} to do`)
    const { finished, refused } = account
    if (plan.acknowledge === "processed") {
      let { dropped } = ledger
      for (let ordinal = 0; ordinal < account.total; ordinal++) {
        if (finished.has(ordinal) || refused.has(ordinal)) continue
        if (dropped-- === 0) fail(5, `${key} ended, nobody finished #${ordinal}`)
      }
    } else {
      const missing = account.total - account.given.size
      if (missing > ledger.held + ledger.heldByDead + ledger.dropped) {
        fail(
          5,
          `${key} ended, ${missing} were never given; held are ${ledger.held}, lost with devices ${ledger.heldByDead}`
        )
      }
    }
  }

  /** Whether a device has granted what any element would need, on a link of this session. */
  const canSend = ({ id }: Connection, number: number): boolean => {
    const names = sessionOf.get(id)
    const session = names?.session === number ? sessions.get(names.key) : undefined
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

  return {
    violation: () => violation,
    fail,
    feederKey,
    open,
    given,
    settling,
    watch,
    connecting,
    gone,
    goneForAll,
    removed,
    runBegins,
    looked,
    lookedAt,
    lookedAtFront,
    lookedAtDevice,
    loopEnded,
    ended,
    canSend,
    sums
  }
}

export type Laws = ReturnType<typeof make>
