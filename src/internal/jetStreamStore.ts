/**
 * The feeder's side of one device at the broker. It answers the feeder as a device does: an element counts as accepted
 * once the stream has it, and what the consumers made of it is read from what the device tells.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import type { Batch, DeviceFrame, FeederFrame, FeedInfo, Hello, Progress, RefusedReason } from "../RemoteDevices.ts"
import { DeviceLost, versions } from "../RemoteDevices.ts"
import { differences } from "./fingerprint.ts"
import type { Client } from "./jetStreamClient.ts"
import * as Outbox from "./jetStreamOutbox.ts"
import type { Fence, HostRecord, Names, Told } from "./jetStreamRecords.ts"
import { isLater, write } from "./jetStreamRecords.ts"
import type { View } from "./jetStreamView.ts"

export interface Store {
  readonly feeder: string
  /** Whether something of its last session may still be handed out that the feeder may give to others. */
  readonly isUnfenced: () => boolean
  readonly hello: (frame: Hello, link: StoreLink) => Effect.Effect<void>
  readonly send: (frame: Exclude<FeederFrame, Hello>, link: StoreLink) => Effect.Effect<void, DeviceLost>
  /** The link was closed. */
  readonly unlinkUnsafe: (link: StoreLink) => void
  /** Fences a session that was left for half of its lease, if it was. */
  readonly lapse: () => Effect.Effect<void> | undefined
  readonly changedUnsafe: () => void
  /** Whether it waits for the end. */
  readonly isEnding: () => boolean
}

/** What a store says on a link: frames in order, and a report if one is due. */
export interface StoreLink {
  readonly frames: Array<DeviceFrame>
  readonly wake: Latch.Latch
  isClosed: boolean
  report: (() => DeviceFrame) | undefined
}

/** A link that nothing was said on. */
export const makeLink = (): StoreLink => ({
  frames: [],
  wake: Latch.makeUnsafe(false),
  isClosed: false,
  report: undefined
})

/** Why a device does not take a feed, if so. */
export const refusal = (
  host: HostRecord,
  feed: FeedInfo
): { readonly reason: RefusedReason; readonly detail: string } | undefined => {
  const hosted = host.feeds[feed.name]
  if (hosted === undefined) {
    const known = Object.keys(host.feeds).map((name) => `"${name}"`).join(", ")
    return { reason: "unknown feed", detail: `it hosts ${known}, the feeder has "${feed.name}"` }
  }
  if (hosted.fingerprint !== feed.fingerprint) {
    return {
      reason: "different feed",
      detail: `feed "${feed.name}": ${differences(hosted.fingerprint, feed.fingerprint)}`
    }
  }
  if (hosted.delivery === "atMostOnce") {
    const detail = `feed "${feed.name}" is atMostOnce, and what is stored is handed out again when a consumer dies; ` +
      `declare it atLeastOnce or effectivelyOnce, or use another transport`
    return { reason: "invalid", detail }
  }
  return undefined
}

/** The store of one feeder for one feed of a device. */
export const make = (options: {
  readonly client: Client
  readonly names: Names
  readonly view: View
  readonly device: string
  readonly feed: FeedInfo
  readonly feeder: string
  /** Waits until nothing that the feeder gives again may be handed out elsewhere, too. */
  readonly untilFenced: Effect.Effect<void>
}): Store => {
  const { client, device, feed, feeder, names, view } = options
  const subject = names.fed(feed.name, device, feeder)
  const fenceSubject = names.fence(device, feed.name, feeder)
  const toldSubject = names.told(device, feed.name, feeder)

  let hello: Hello | undefined
  let link: StoreLink | undefined
  let leftAt: number | undefined
  let outbox: Outbox.Outbox | undefined
  /** The session was left and is over; and no process hands out anything of it any more. */
  let isOver = false
  let isFenced = false
  /** The last fence that was written when a feeder said Hello. */
  let begun: Fence | undefined
  /** Up to which sequence the feeder was told that all is stored. */
  let reported = 0
  let delivered = 0
  let deliveredAt = 0
  let settled = 0
  let creditTo = 0
  let creditBytesTo = 0
  /** What is kept of earlier sessions of this incarnation. */
  let kept: ReadonlyArray<readonly [session: number, keepTo: number]> = []
  let carried = 0
  let isEndSent = false
  let isEndStored = false
  let last = 0
  let number = 0
  /** Which numbers of the device's records the reports told, if they told of something other than done. */
  let telling: Array<{ readonly report: number; readonly told: number }> = []
  let confirmed = 0
  let isConfirmed = true

  const told = (): Told | undefined => {
    const record = view.told(toldSubject)
    return record !== undefined && record.incarnation === hello?.incarnation ? record : undefined
  }

  const ofSession = (record: Told | undefined, session: number): number =>
    record?.delivered.find(([each]) => each === session)?.[1] ?? 0

  /** How much of what is kept was not handed out. */
  const keptLeft = (record: Told | undefined): number =>
    kept.reduce((sum, [session, to]) => sum + Math.max(0, to - ofSession(record, session)), 0)

  /** How much the feeder may take back. */
  const unsettled = (): number =>
    outbox === undefined ? 0 : outbox.sent() - (hello?.acknowledge === "processed" ? settled : reported)

  const progress = (outbox: Outbox.Outbox): Progress => {
    const hosted = view.host()?.feeds[feed.name]
    const record = told()
    const session = hello?.session ?? 0
    const mine = record?.session === session ? record : undefined
    // The consumer may have it before the broker's answer has come.
    outbox.acceptUnsafe(ofSession(record, session))
    const accepted = outbox.accepted()
    const now = Math.max(delivered, Math.min(accepted, ofSession(record, session)))
    const left = keptLeft(record)
    if (now > delivered || left < carried) deliveredAt = client.now()
    delivered = now
    carried = Math.min(carried, left)
    const isProcessed = hello?.acknowledge === "processed"
    settled = isProcessed ? Math.max(settled, Math.min(mine?.settled ?? 0, delivered)) : 0
    const above = (isProcessed ? mine?.above ?? [] : [])
      .filter(({ count, from }) => from > settled && from + count - 1 <= accepted)
    number++
    if (mine !== undefined && above.some(({ result }) => result._tag !== "Done")) {
      telling = [...telling.slice(-63), { report: number, told: mine.number }]
    }
    const capacity = hosted?.capacity ?? 1
    const collectedTo = Math.min(accepted, mine?.collectedTo ?? 0)
    const isCollecting = collectedTo > delivered
    creditTo = Math.max(creditTo, isCollecting ? collectedTo + capacity : delivered + Math.max(0, capacity - carried))
    creditBytesTo = Math.max(
      creditBytesTo,
      (isCollecting ? outbox.acceptedBytes() : outbox.deliveredBytes(delivered)) + (hosted?.windowBytes ?? 0)
    )
    reported = accepted
    return {
      report: number,
      accepted,
      delivered,
      carried,
      settled,
      above,
      creditTo,
      creditBytesTo,
      ...(isCollecting ? { collecting: true } : {}),
      ended: isEndStored && accepted >= last && hasEnded(accepted, mine)
    }
  }

  /** An `accepted` feed has ended once all is stored. While a consumer takes it, it is waited for, each time for a lease. */
  const hasEnded = (accepted: number, mine: Told | undefined): boolean => {
    if (hello?.acknowledge === "processed") {
      return settled + (mine?.above.reduce((sum, { count }) => sum + count, 0) ?? 0) >= last
    }
    return accepted - delivered + carried === 0 || view.awaySince() !== undefined ||
      client.now() - deliveredAt >= (view.host()?.leaseMillis ?? 0)
  }

  const changedUnsafe = () => {
    const from = outbox
    if (link === undefined || from === undefined || link.report !== undefined) return
    const newest = view.fence(fenceSubject)
    if (newest !== undefined && hello !== undefined && newest.incarnation > hello.incarnation) {
      return refuse(link, "older feeder", twoFeeders(hello.incarnation, newest.incarnation))
    }
    link.report = () => ({ _tag: "Progress", progress: progress(from) })
    link.wake.openUnsafe()
  }

  const twoFeeders = (mine: number, other: number): string =>
    `two feeders have one id: ${feeder}#${mine} and ${feeder}#${other}; give each its own id`

  const say = (to: StoreLink, frame: DeviceFrame) => {
    to.frames.push(frame)
    to.wake.openUnsafe()
  }

  const close = (to: StoreLink, frame: DeviceFrame) => {
    say(to, frame)
    to.isClosed = true
    if (link === to) unlinkUnsafe(to)
  }

  const unlinkUnsafe = (closed: StoreLink) => {
    if (link !== closed) return
    link = undefined
    leftAt = client.now()
  }

  const refuse = (to: StoreLink, reason: RefusedReason, detail: string, retry = false) =>
    close(to, { _tag: "Refused", reason, detail, retry })

  // --- sessions ------------------------------------------------------------------------------------------------------

  /** Writes the fence, and waits until no process hands out what is before it. */
  const fence = (next: Fence): Effect.Effect<void> =>
    Effect.gen(function*() {
      const known = view.fence(fenceSubject)
      yield* Effect.retry(client.put(fenceSubject, write(next)), Schedule.spaced("250 millis"))
      if (known === undefined && view.told(toldSubject) === undefined) return
      const host = view.host()
      const isHeard = () => {
        const record = view.told(toldSubject)
        return view.awaySince() !== undefined || (record !== undefined && !isLater(next, record))
      }
      // By then a process that has not heard of it does not hand out any more.
      yield* Effect.timeoutOption(view.until(isHeard), (host?.leaseMillis ?? 0) * 1.1)
    }).pipe(Effect.ignore)

  /** What is kept of this life of the feeder when a session ends. */
  const keptWith = (session: number, keepTo: number): Fence["kept"] => {
    const record = view.told(toldSubject)
    const earlier = (hello === undefined ? view.fence(fenceSubject)?.kept ?? [] : kept)
      .filter(([each, to]) => each !== session && ofSession(record, each) < to)
    return keepTo === 0 ? earlier : [...earlier, [session, keepTo]]
  }

  const begin = (frame: Hello, from: Fence) => {
    hello = frame
    isOver = isFenced = false
    outbox = Outbox.make({
      client,
      subject,
      device,
      feed,
      hello: frame,
      onStored: () => changedUnsafe()
    })
    reported =
      delivered =
      settled =
      creditTo =
      creditBytesTo =
        0
    kept = from.kept
    carried = keptLeft(told())
    isEndSent = isEndStored = false
    last = 0
    telling = []
    confirmed = 0
    isConfirmed = true
  }

  const greet = (frame: Hello, to: StoreLink): Effect.Effect<void> =>
    Effect.gen(function*() {
      const host = view.host()
      const hosted = host?.feeds[feed.name]
      if (host === undefined || hosted === undefined) {
        return refuse(to, "unknown feed", "it is not hosted any more", true)
      }
      if (frame.acknowledge !== hosted.acknowledge || (frame.delivery ?? "atLeastOnce") !== hosted.delivery) {
        const [there, here] = [hosted, frame].map(({ acknowledge, delivery = "atLeastOnce" }) =>
          `${acknowledge} and ${delivery}`
        )
        return refuse(to, "different feed", `feed "${feed.name}": it is ${there} there, and ${here} at the feeder`)
      }
      if (subject.length > 2000) return refuse(to, "invalid", "Hello.feeder: it is too long for a subject of NATS")
      const known = hello ?? view.fence(fenceSubject)
      if (known !== undefined && known.incarnation > frame.incarnation) {
        return refuse(to, "older feeder", twoFeeders(frame.incarnation, known.incarnation))
      }
      const isSame = hello?.incarnation === frame.incarnation && hello.session === frame.session
      const wasBegun = begun?.incarnation === frame.incarnation && begun.session === frame.session
      const isPast = known?.incarnation === frame.incarnation && known.session >= frame.session
      if (isPast && (isSame ? isOver : !wasBegun)) {
        return refuse(to, "busy", `session ${frame.session} is over, what is out is to be given again`, true)
      }
      if (link !== undefined) link.isClosed = true
      link?.wake.openUnsafe()
      link = undefined
      if (outbox !== undefined) yield* outbox.untilStored
      if (!isSame) {
        const before = known?.incarnation === frame.incarnation && known.session < frame.session
          ? known.session
          : undefined
        const next: Fence = wasBegun && begun !== undefined ? begun : {
          incarnation: frame.incarnation,
          session: frame.session,
          kept: before === undefined ? [] : keptWith(before, frame.keepTo)
        }
        begun = next
        yield* fence(next)
        begin(frame, next)
      }
      if (to.isClosed || outbox === undefined) return
      link = to
      leftAt = undefined
      to.report = undefined
      say(to, {
        _tag: "Welcome",
        version: Math.min(frame.versions[1], versions[1]),
        device: host.born,
        durable: true,
        capacity: hosted.capacity,
        limits: { frameBytes: Outbox.columnBytes(client.maxPayload()), elements: 1024 * 1024 },
        progress: progress(outbox)
      })
    })

  // --- elements ------------------------------------------------------------------------------------------------------

  /** The feeder echoes a report: what it told of needs not be told again. */
  const hear = (heard: number) => {
    const known = telling.findLast(({ report }) => report <= heard)
    if (known === undefined || known.told <= confirmed) return
    confirmed = known.told
    isConfirmed = false
    telling = telling.filter(({ report }) => report > heard)
  }

  const confirm = () => {
    if (isConfirmed) return
    isConfirmed = true
    outbox?.tell({ _tag: "Ping", heard: confirmed }, `heard/${confirmed}`)
  }

  const batch = (frame: Batch, from: StoreLink): Effect.Effect<void, DeviceLost> => {
    const to = outbox
    if (to === undefined) return Effect.fail(lost("it was not greeted"))
    const isAgain = frame.runs.some(({ attempt }) => attempt > 1)
    return Effect.andThen(
      isAgain ? Effect.andThen(options.untilFenced, to.room) : to.room,
      Effect.suspend(() => {
        if (from.isClosed || link !== from) return Effect.fail(lost("the link was closed"))
        hear(frame.heard)
        isConfirmed = true
        to.store(frame, confirmed)
        return Effect.void
      })
    )
  }

  const lost = (why: string) => new DeviceLost({ device, fate: "unknown", cause: new Error(why) })

  return {
    feeder,
    isUnfenced: () => link === undefined && hello !== undefined && !isFenced && unsettled() > 0 && !isEndSent,
    hello: greet,
    unlinkUnsafe,
    changedUnsafe,
    isEnding: () => isEndSent,
    lapse: () => {
      const frame = hello
      if (frame === undefined || leftAt === undefined || isOver || isEndSent || unsettled() === 0) return undefined
      if (client.now() - leftAt < frame.leaseMillis / 2) return undefined
      isOver = true
      // What the feeder knows to be accepted is the device's.
      kept = keptWith(frame.session, frame.acknowledge === "processed" ? 0 : reported)
      return Effect.map(fence({ incarnation: frame.incarnation, session: frame.session + 1, kept }), () => {
        if (hello === frame) isFenced = true
      })
    },
    send: (frame, from) =>
      Effect.suspend(() => {
        if (from.isClosed || (link !== from && frame._tag !== "Bye")) return Effect.fail(lost("the link was closed"))
        switch (frame._tag) {
          case "Batch":
            return batch(frame, from)
          case "Ping":
            hear(frame.heard)
            confirm()
            changedUnsafe()
            return Effect.void
          case "Flush":
            hear(frame.heard)
            confirm()
            outbox?.tell({ ...frame, heard: confirmed }, `flush/${frame.last}/${number}`)
            return Effect.void
          case "End":
            isEndSent = true
            last = frame.last
            deliveredAt = client.now()
            outbox?.tell({ ...frame, heard: confirmed }, `end/${frame.last}`, () => {
              isEndStored = true
              changedUnsafe()
            })
            return Effect.void
          case "Bye":
            from.isClosed = true
            unlinkUnsafe(from)
            return Effect.void
        }
      })
  }
}
