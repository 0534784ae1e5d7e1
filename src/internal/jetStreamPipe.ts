/**
 * Brings the elements of one feeder from the broker to the device of this process, and what becomes of them back. To the
 * device it is a feeder like any other, on a link within the process; its sequences there are the pipe's own.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type { Any } from "../Feed.ts"
import type { Batch, DeviceFrame, FeederFrame, HostLink, Progress } from "../RemoteDevices.ts"
import { DeviceLost, done, versions } from "../RemoteDevices.ts"
import type { BrokerFailed } from "./jetStreamClient.ts"
import { marked, partOf } from "./jetStreamParts.ts"
import type { Fence, Told } from "./jetStreamRecords.ts"
import { isLater } from "./jetStreamRecords.ts"
import * as Tracks from "./jetStreamTrack.ts"

/** A message of the stream; acknowledged, it is gone from there. */
export interface Message {
  readonly ack: () => void
}

/** The place of a message: whose session, and whether a process before this one may have handed out some of it. */
export interface Place {
  readonly incarnation: number
  readonly session: number
  readonly wasPulled: boolean
}

export interface Pipe {
  readonly session: () => { readonly incarnation: number; readonly session: number } | undefined
  readonly fenceUnsafe: (fence: Fence) => void
  readonly feedUnsafe: (frame: FeederFrame, place: Place, message: Message) => void
  /** Waits until there is room for another message. */
  readonly room: Effect.Effect<void>
  /** Waits until all is told that there is to tell. */
  readonly flushed: Effect.Effect<void>
  readonly run: Effect.Effect<never>
}

type Track = Tracks.Track<Message>

/** What waits to be sent to the device; nothing but a place if `batch` is missing. */
interface Parcel {
  readonly track: Track
  readonly batch: Batch | undefined
  /** Once the last of it is handed out, everything up to here is. */
  readonly through: number
}

/** What was sent to the device: sequences from `local` on there, from `first` on at the feeder. */
interface Segment {
  readonly local: number
  readonly first: number
  readonly count: number
  readonly through: number
  readonly track: Track
}

interface Held {
  readonly track: Track
  readonly batch: Batch
  readonly last: number
  readonly wasPulled: boolean
  message: Message
}

/** A link of the device within its own process. */
export interface LocalLink extends HostLink {
  readonly close: Effect.Effect<void>
}

/** Parcels that wait for the device, at most. */
const mostWaiting = 16

/** The lease of the link within the process; what counts is the one that the process has of the device. */
const leaseMillis = 60_000

/** The pipe of one feeder. `told` is what a process before this one has told. */
export const make = (options: {
  readonly feed: Any
  readonly feeder: string
  readonly device: string
  readonly told: Told | undefined
  readonly accept: (link: LocalLink) => Effect.Effect<void>
  /** Waits until this process is the device. */
  readonly untilClaimed: Effect.Effect<void>
  readonly tell: (told: Omit<Told, "claim">) => Effect.Effect<void, BrokerFailed>
}): Pipe => {
  const { device, feed, feeder } = options
  const isProcessed = feed.acknowledge === "processed"
  const changed = Latch.makeUnsafe(false)
  const hasRoom = Latch.makeUnsafe(true)
  const restart = Latch.makeUnsafe(false)
  const toTell = Latch.makeUnsafe(false)
  const told = Latch.makeUnsafe(true)

  let current: Track | undefined
  let tracks: Array<Track> = []
  let keeps = new Map<number, number>()
  let held: Array<Held> = []
  let parcels: Array<Parcel> = []
  let ends: Array<Message> = []
  let ended = false
  let confirmed = 0
  let number = options.told?.number ?? 0
  let isDirty = false

  // --- the link to the device ------------------------------------------------------------------------------------------

  let out: Queue.Queue<FeederFrame, DeviceLost> | undefined
  let localSession = 0
  let isLive = false
  let isLeaving = false
  let segments: Array<Segment> = []
  let sent = 0
  let sentBytes = 0
  let elementsLimit = 0
  let progress: Progress | undefined
  let resolved = new Set<number>()
  let flushed = -1
  let isEndSaid = false

  const lost = new DeviceLost({ device, fate: "unknown", cause: new Error("the link was closed") })

  const say = (frame: FeederFrame) => {
    if (out !== undefined) Queue.offerUnsafe(out, frame)
  }

  const dirty = () => {
    isDirty = true
    told.closeUnsafe()
    toTell.openUnsafe()
  }

  /** Sends what there is credit for. */
  const pump = (): void => {
    if (!isLive || isLeaving || progress === undefined) return
    const heard = progress.report
    while (parcels.length > 0 && !isEndSaid) {
      const { batch, through, track } = parcels[0]!
      if (batch === undefined) {
        segments.push({ local: sent + 1, first: through, count: 0, through, track })
        parcels.shift()
        continue
      }
      const { chunk, elementBytes } = batch
      const waitsNothing = sent === (progress.collecting === true ? progress.accepted : progress.delivered)
      const byBytes = elementBytes === 0
        ? chunk.length
        : Math.floor((progress.creditBytesTo - sentBytes) / elementBytes)
      const room = Math.min(progress.creditTo - sent, elementsLimit, byBytes < 1 && waitsNothing ? 1 : byBytes)
      if (room < 1) break
      const count = Math.min(room, chunk.length)
      const part = partOf(batch, feed.info, 0, count)
      const isWhole = count === chunk.length
      const last = batch.first + count - 1
      say({ ...part, first: sent + 1, heard })
      segments.push({ local: sent + 1, first: batch.first, count, through: isWhole ? through : last, track })
      sent += count
      sentBytes += count * elementBytes
      if (isWhole) parcels.shift()
      else parcels[0] = { track, batch: partOf(batch, feed.info, count, chunk.length), through }
    }
    if (parcels.length < mostWaiting) hasRoom.openUnsafe()
    pass(progress.delivered)
    if (parcels.length > 0 || current === undefined || isEndSaid) return
    const all = (current.expected ?? 1) - 1
    if (current.last === all && !ended) {
      isEndSaid = true
      say({ _tag: "End", last: sent, heard })
    } else if (current.flushedTo === all && flushed !== sent) {
      flushed = sent
      say({ _tag: "Flush", last: sent, heard })
    }
  }

  /** Notes what was handed out. What is finished with that needs not be remembered. */
  const pass = (to: number): void => {
    let finished = 0
    for (const { count, first, local, through, track } of segments) {
      const passed = to - local + 1
      if (passed < 0 || (passed === 0 && count > 0)) break
      const delivered = passed >= count ? through : first + passed - 1
      if (delivered > track.delivered) {
        track.delivered = delivered
        dirty()
      }
      if (passed < count) break
      finished++
    }
    if (!isProcessed && finished > 0) segments = segments.slice(finished)
  }

  const resolve = (local: number, result: Parameters<typeof Tracks.settle>[2], from: number): number => {
    let at = from
    while (at < segments.length && segments[at]!.local + segments[at]!.count <= local) at++
    const segment = segments[at]
    if (segment !== undefined && segment.local <= local) {
      Tracks.settle(segment.track, segment.first + local - segment.local, result)
      dirty()
    }
    return at
  }

  const absorb = (report: Progress): void => {
    const known = progress
    progress = report
    pass(report.delivered)
    if (isProcessed) {
      let at = 0
      for (let local = (known?.settled ?? 0) + 1; local <= report.settled; local++) {
        if (!resolved.delete(local)) at = resolve(local, done, at)
      }
      at = 0
      for (const { count, from, result } of report.above) {
        for (let local = from; local < from + count; local++) {
          if (resolved.has(local)) continue
          resolved.add(local)
          at = resolve(local, result, at)
        }
      }
      const finished = segments.findIndex(({ count, local }) => local + count - 1 > report.settled)
      segments = finished < 0 ? [] : segments.slice(finished)
      if (current !== undefined) Tracks.hear(current, confirmed)
      // It is kept here from now on.
      if (report.above.some(({ result }) => result._tag !== "Done")) say({ _tag: "Ping", heard: report.report })
    }
    if (report.collecting === true || known?.collecting === true) dirty()
    // What was accepted here and not handed out is the broker's still.
    if (report.ended && report.delivered === sent && !isLeaving && !ended) {
      ended = true
      dirty()
    }
    pump()
  }

  /** Up to where a take that waits for more has collected, in the feeder's sequences. */
  const collectedTo = (): number => {
    if (progress?.collecting !== true || !isLive) return 0
    const { accepted } = progress
    const segment = segments.findLast(({ local, track }) => local <= accepted && track === current)
    return segment === undefined
      ? current?.delivered ?? 0
      : Math.min(segment.first + accepted - segment.local, segment.through)
  }

  const received = (frame: DeviceFrame): Effect.Effect<void, DeviceLost> => {
    switch (frame._tag) {
      case "Welcome":
        isLive = true
        elementsLimit = frame.limits.elements
        absorb(frame.progress)
        break
      case "Progress":
        absorb(frame.progress)
        break
      case "Leaving":
        // What it has is finished, and nothing more is sent there. That is not the end of the feed.
        isLeaving = true
        if (!isEndSaid) say({ _tag: "End", last: sent, heard: progress?.report ?? 0 })
        isEndSaid = true
        break
      case "Refused":
        return Effect.andThen(
          frame.retry
            ? Effect.void
            : Effect.logError(`the elements of feeder ${feeder} stay at the broker: ${frame.detail}`),
          Effect.fail(lost)
        )
    }
    if (!ended && !(isLeaving && progress?.ended === true)) return Effect.void
    say({ _tag: "Bye" })
    return Effect.fail(lost)
  }

  /** One link, from its Hello to its end. */
  const converse: Effect.Effect<void> = Effect.scoped(Effect.gen(function*() {
    const toDevice = yield* Queue.unbounded<FeederFrame, DeviceLost>()
    const toFeeder = yield* Queue.unbounded<DeviceFrame, DeviceLost>()
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        isLive = false
        out = undefined
        return Effect.andThen(Queue.fail(toDevice, lost), Queue.fail(toFeeder, lost))
      })
    )
    restart.closeUnsafe()
    if (localSession > 0) refill()
    localSession++
    segments = []
    sent = sentBytes = 0
    progress = undefined
    resolved = new Set()
    flushed = -1
    isEndSaid = false
    isLeaving = false
    yield* options.accept({
      close: Effect.asVoid(Queue.fail(toFeeder, lost)),
      receive: Queue.take(toDevice),
      send: (frame) =>
        Effect.flatMap(Queue.offer(toFeeder, frame), (isSent) => isSent ? Effect.void : Effect.fail(lost))
    })
    out = toDevice
    say({
      _tag: "Hello",
      versions: [2, versions[1]],
      feed: feed.name,
      fingerprint: feed.info.fingerprint,
      feeder,
      incarnation: 0,
      device,
      session: localSession,
      keepTo: 0,
      acknowledge: feed.acknowledge,
      delivery: feed.delivery,
      leaseMillis
    })
    const read = Effect.forever(Effect.flatMap(Queue.take(toFeeder), received), { disableYield: true })
    const ping = Effect.forever(Effect.andThen(
      Effect.sleep(leaseMillis / 4),
      Effect.sync(() => say({ _tag: "Ping", heard: progress?.report ?? 0 }))
    ))
    yield* Effect.raceAllFirst([read, ping, restart.await])
  })).pipe(Effect.ignore)

  /** All that came and is not finished, for another link: some of it may have been handed out on the one before. */
  const refill = () => {
    parcels = []
    for (const { batch, track } of held) wait(track, batch, true)
  }

  /** Puts what is not finished of a batch in line. */
  const wait = (track: Track, batch: Batch, isMarked: boolean): void => {
    const { length } = batch.chunk
    const { invalid } = batch.chunk
    const last = batch.first + length - 1
    const isFresh = track.above.size === 0 && batch.first > track.delivered && batch.first > track.settled
    if (isFresh && (isProcessed || invalid === undefined)) {
      parcels.push({ track, batch: isMarked ? marked(batch) : batch, through: last })
      return
    }
    const parts: Array<{ from: number; to: number; readonly isMarked: boolean }> = []
    for (let i = 0; i < length; i++) {
      const sequence = batch.first + i
      if (Tracks.isFinished(track, sequence, isProcessed)) continue
      // It is acknowledged already, so that the feeder cannot be told.
      if (!isProcessed && invalid?.has(i) === true) continue
      const isAgain = isMarked || sequence <= track.delivered
      const part = parts.at(-1)
      if (part !== undefined && part.to === i && part.isMarked === isAgain) part.to++
      else parts.push({ from: i, to: i + 1, isMarked: isAgain })
    }
    parts.forEach(({ from, isMarked, to }, i) => {
      const part = partOf(batch, feed.info, from, to)
      const through = i + 1 < parts.length ? batch.first + to - 1 : last
      parcels.push({ track, batch: isMarked ? marked(part) : part, through })
    })
    if (parts.length === 0) parcels.push({ track, batch: undefined, through: last })
  }

  // --- what comes from the broker ----------------------------------------------------------------------------------------

  const isOf = (track: Track, place: { readonly incarnation: number; readonly session: number }): boolean =>
    track.incarnation === place.incarnation && track.session === place.session

  const trackOf = (place: { readonly incarnation: number; readonly session: number }): Track => {
    const known = tracks.find((track) => isOf(track, place))
    if (known !== undefined) return known
    const track = Tracks.make<Message>(
      place,
      options.told,
      place.incarnation !== current?.incarnation && current !== undefined
    )
    Tracks.advance(track, isProcessed)
    tracks.push(track)
    return track
  }

  /** Up to which sequence a session's elements are handed out. */
  const keptTo = ({ incarnation, session }: { readonly incarnation: number; readonly session: number }): number => {
    if (current === undefined || (incarnation === current.incarnation && session === current.session)) return Infinity
    if (isProcessed) return 0
    return incarnation === current.incarnation ? keeps.get(session) ?? 0 : Infinity
  }

  const fenceUnsafe = (fence: Fence): void => {
    keeps = new Map(fence.kept)
    if (current !== undefined && !isLater(fence, current)) return
    const before = current
    current = undefined
    current = trackOf(fence)
    const wasTold = options.told !== undefined && options.told.ended && isOf(current, options.told)
    ended = wasTold && before === undefined
    confirmed = 0
    const isHanded = (track: Track) => segments.some((segment) => segment.track === track)
    // What is queued at the device and is not kept must not be handed out; nor, unmarked, what may have been given again.
    const isToRestart = tracks.some((track) =>
      track !== current && isHanded(track) &&
      (track.incarnation !== current?.incarnation || keptTo(track) < (track.expected ?? 1) - 1)
    )
    const upTo = (batch: Batch, track: Track) => partOf(batch, feed.info, 0, keptTo(track) - batch.first + 1)
    held = held.flatMap((one) => {
      if (one.batch.first <= keptTo(one.track)) return [{ ...one, batch: upTo(one.batch, one.track) }]
      one.message.ack()
      return []
    })
    parcels = parcels.flatMap((one) => {
      if ((one.batch?.first ?? one.through) > keptTo(one.track)) return []
      return [one.batch === undefined ? one : { ...one, batch: upTo(one.batch, one.track) }]
    })
    if (isProcessed) tracks = tracks.filter((track) => track === current)
    if (isToRestart || isEndSaid) {
      restart.openUnsafe()
      isLive = false
    }
    dirty()
    changed.openUnsafe()
  }

  const feedUnsafe: Pipe["feedUnsafe"] = (frame, place, message) => {
    if (current === undefined || isLater(place, current)) {
      // Its record is not there any more: nothing is known not to be kept.
      const kept = isProcessed ? [] : tracks.map(({ expected = 1, session }) => [session, expected - 1] as const)
      fenceUnsafe({ incarnation: place.incarnation, session: place.session, kept })
    }
    const limit = keptTo(place)
    if (frame._tag === "Batch" && frame.first <= limit) {
      const track = trackOf(place)
      const isNew = track.expected === undefined || frame.first + frame.chunk.length > track.expected
      if (!isNew) again(track, frame, message)
      else if (track.expected !== undefined && frame.first > track.expected) {
        track.ahead.set(frame.first, { batch: frame, message })
      } else {
        take(track, frame, place.wasPulled, message)
        for (let next = track.ahead.get(track.expected ?? 0); next !== undefined;) {
          track.ahead.delete(next.batch.first)
          take(track, next.batch, place.wasPulled, next.message)
          next = track.ahead.get(track.expected ?? 0)
        }
      }
    } else if (frame._tag !== "Batch" && current !== undefined && isOf(current, place)) {
      if ("heard" in frame && frame.heard > confirmed) {
        confirmed = frame.heard
        Tracks.hear(current, confirmed)
        dirty()
      }
      if (frame._tag === "Flush") current.flushedTo = frame.last
      if (frame._tag === "End" && !ended) {
        current.last = frame.last
        ends.push(message)
      } else message.ack()
    } else {
      message.ack()
    }
    pump()
    changed.openUnsafe()
  }

  /** A message that was delivered again, though this process has it. */
  const again = (track: Track, { first }: Batch, message: Message) => {
    const known = held.find((one) => one.track === track && one.batch.first === first)
    if (known === undefined) message.ack()
    else known.message = message
  }

  const take = (track: Track, frame: Batch, wasPulled: boolean, message: Message) => {
    const skipped = track.expected === undefined ? 0 : Math.max(0, track.expected - frame.first)
    const limit = Math.min(frame.chunk.length, keptTo(track) - frame.first + 1)
    const last = frame.first + frame.chunk.length - 1
    track.expected = last + 1
    if (frame.heard > confirmed && track === current) {
      confirmed = frame.heard
      Tracks.hear(track, confirmed)
    }
    const batch = partOf(frame, feed.info, 0, limit)
    held.push({ track, batch, last, wasPulled, message })
    const isForeign = track.incarnation !== current?.incarnation
    wait(track, partOf(batch, feed.info, skipped, batch.chunk.length), wasPulled || isForeign)
    Tracks.advance(track, isProcessed)
    if (parcels.length >= mostWaiting) hasRoom.closeUnsafe()
  }

  // --- what is told ------------------------------------------------------------------------------------------------------

  const isDone = ({ batch, track }: Held): boolean => {
    const last = batch.first + batch.chunk.length - 1
    if (!isProcessed) return last <= track.delivered
    if (last <= track.settled) return true
    for (let sequence = batch.first; sequence <= last; sequence++) {
      if (!Tracks.isFinished(track, sequence, true)) return false
    }
    return true
  }

  const snapshot = (track: Track): Omit<Told, "claim"> => ({
    number: ++number,
    incarnation: track.incarnation,
    session: track.session,
    delivered: tracks.filter(({ incarnation }) => incarnation === track.incarnation)
      .map(({ delivered, session }) => [session, delivered] as const),
    settled: track.settled,
    above: isProcessed ? Tracks.tell(track, number) : [],
    collectedTo: collectedTo(),
    ended
  })

  const telling: Effect.Effect<never> = Effect.suspend(() =>
    Effect.andThen(
      toTell.await,
      Effect.suspend(() => {
        toTell.closeUnsafe()
        isDirty = false
        if (current === undefined) {
          told.openUnsafe()
          return telling
        }
        // What the broker keeps no more once this is told.
        const finished = held.filter(isDone)
        const over = ended ? ends : []
        return Effect.matchEffect(options.tell(snapshot(current)), {
          onSuccess: () =>
            Effect.suspend(() => {
              const gone = new Set(finished)
              held = held.filter((one) => !gone.has(one))
              ends = ends.filter((message) => !over.includes(message))
              for (const { message } of finished) message.ack()
              for (const message of over) message.ack()
              if (!isDirty) told.openUnsafe()
              return telling
            }),
          onFailure: () => {
            isDirty = true
            toTell.openUnsafe()
            return Effect.andThen(Effect.sleep(100), telling)
          }
        })
      })
    )
  )

  const linked: Effect.Effect<never> = Effect.suspend(() => {
    const isIdle = parcels.length === 0 && (ended || (held.length === 0 && current?.last === undefined))
    if (isIdle) {
      changed.closeUnsafe()
      return Effect.andThen(changed.await, linked)
    }
    return options.untilClaimed.pipe(
      Effect.andThen(converse),
      // A device that refuses, or whose lease is over, is not asked again at once.
      Effect.andThen(Effect.suspend(() => ended ? Effect.void : Effect.sleep(50))),
      Effect.andThen(linked)
    )
  })

  for (const [session] of options.told?.delivered ?? []) {
    tracks.push(Tracks.make({ incarnation: options.told!.incarnation, session }, options.told, false))
  }
  for (const track of tracks) Tracks.advance(track, isProcessed)

  return {
    session: () => current,
    fenceUnsafe,
    feedUnsafe,
    room: hasRoom.await,
    flushed: told.await,
    run: Effect.raceFirst(telling, linked)
  }
}
