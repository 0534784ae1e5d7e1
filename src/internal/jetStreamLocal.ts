/**
 * The link between a pipe and the device of its process: to the device it is a feeder like any other, whose sequences are
 * this module's own. What was handed out and settled is noted in the tracks, in the sequences of the feeder at the broker.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type { Any } from "../Feed.ts"
import type { Batch, DeviceFrame, FeederFrame, HostLink, Progress, Result } from "../RemoteDevices.ts"
import { DeviceLost, done, versions } from "../RemoteDevices.ts"
import { partOf } from "./jetStreamParts.ts"
import type { Track } from "./jetStreamTrack.ts"
import * as Tracks from "./jetStreamTrack.ts"

/** A link of the device within its own process. */
export interface LocalLink extends HostLink {
  readonly close: Effect.Effect<void>
}

/** What waits to be sent to the device; nothing but a place if `batch` is missing. */
export interface Parcel<M> {
  readonly track: Track<M>
  readonly batch: Batch | undefined
  /** Once the last of it is handed out, everything up to here is. */
  readonly through: number
}

/** What was sent to the device: sequences from `local` on there, from `first` on at the feeder. */
interface Segment<M> {
  readonly local: number
  readonly first: number
  readonly count: number
  readonly through: number
  readonly track: Track<M>
}

/** The link, made again whenever it is closed: see the module. */
export interface Local<M> {
  /** Sends what there is credit for. */
  readonly pumpUnsafe: () => void
  /** One link, from its Hello to its end. */
  readonly converse: Effect.Effect<void>
  /** Ends the link, so that the device lets go of what it has and does not hand it out. */
  readonly restartUnsafe: () => void
  /** Whether elements of a session are at the device. */
  readonly holds: (track: Track<M>) => boolean
  /** Whether the device was told that nothing follows. */
  readonly isEndSaid: () => boolean
  /** Up to where a take that waits for more has collected of a session. */
  readonly collectedTo: (track: Track<M>) => number
}

/** The lease of the link within the process; what counts is the one that the process has of the device. */
const leaseMillis = 60_000

/** How often a feeder was brought to the device of this process. */
let generations = 0

/** The link of one feeder. */
export const make = <M>(options: {
  readonly feed: Any
  readonly feeder: string
  readonly device: string
  readonly line: { parcels: Array<Parcel<M>> }
  readonly accept: (link: LocalLink) => Effect.Effect<void>
  /** Puts all that is not finished in line, for another link. */
  readonly refill: () => void
  /** Whether all is sent up to where the feeder said that nothing follows, for now or for good. */
  readonly isAll: (what: "flushedTo" | "last") => boolean
  readonly onChange: () => void
  /** The line may have become shorter. */
  readonly onSent: () => void
  readonly onEnd: () => void
}): Local<M> => {
  const { device, feed, feeder, line } = options
  const isProcessed = feed.acknowledge === "processed"
  const incarnation = generations++
  const restart = Latch.makeUnsafe(false)
  const lost = new DeviceLost({ device, fate: "unknown", cause: new Error("the link was closed") })

  let session = 0
  let out: Queue.Queue<FeederFrame, DeviceLost> | undefined
  let isLive = false
  let isLeaving = false
  let isEndSaid = false
  let flushed = -1
  let segments: Array<Segment<M>> = []
  let sent = 0
  let sentBytes = 0
  let elements = 0
  let progress: Progress | undefined
  /** Sequences that were told of above the watermark. */
  let resolved = new Set<number>()

  const say = (frame: FeederFrame) => {
    if (out !== undefined) Queue.offerUnsafe(out, frame)
  }

  const pumpUnsafe = (): void => {
    if (!isLive || progress === undefined) return
    pump(progress)
    options.onSent()
  }

  const pump = (progress: Progress): void => {
    const heard = progress.report
    while (line.parcels.length > 0 && !isEndSaid) {
      const { batch, through, track } = line.parcels[0]!
      const count = batch === undefined ? 0 : fitting(batch, progress)
      if (batch === undefined) {
        segments.push({ local: sent + 1, first: through, count: 0, through, track })
        line.parcels.shift()
        continue
      }
      if (count < 1) break
      const { length } = batch.chunk
      say({ ...partOf(batch, feed.info, 0, count), first: sent + 1, heard })
      const last = batch.first + count - 1
      segments.push({ local: sent + 1, first: batch.first, count, through: count === length ? through : last, track })
      sent += count
      sentBytes += count * batch.elementBytes
      if (count === length) line.parcels.shift()
      else line.parcels[0] = { track, batch: partOf(batch, feed.info, count, length), through }
    }
    if (pass(progress.delivered)) options.onChange()
    if (line.parcels.length > 0 || isEndSaid) return
    if (options.isAll("last")) {
      isEndSaid = true
      say({ _tag: "End", last: sent, heard })
    } else if (options.isAll("flushedTo") && flushed !== sent) {
      flushed = sent
      say({ _tag: "Flush", last: sent, heard })
    }
  }

  /** How many elements of a batch there is credit for. Where nothing waits, one may always go. */
  const fitting = ({ chunk, elementBytes }: Batch, known: Progress): number => {
    const waitsNothing = sent === (known.collecting === true ? known.accepted : known.delivered)
    const byBytes = elementBytes === 0 ? chunk.length : Math.floor((known.creditBytesTo - sentBytes) / elementBytes)
    return Math.min(chunk.length, known.creditTo - sent, elements, byBytes < 1 && waitsNothing ? 1 : byBytes)
  }

  /** Notes what was handed out, up to a sequence. What is finished with that is not remembered. */
  const pass = (to: number): boolean => {
    let finished = 0
    let hasChanged = false
    for (const { count, first, local, through, track } of segments) {
      const passed = to - local + 1
      if (passed < 0 || (passed === 0 && count > 0)) break
      const delivered = passed >= count ? through : first + passed - 1
      if (delivered > track.delivered) {
        track.delivered = delivered
        hasChanged = true
      }
      if (passed < count) break
      finished++
    }
    if (!isProcessed && finished > 0) segments = segments.slice(finished)
    return hasChanged
  }

  /** Notes a result, and from which segment on to look for the next one. */
  const settle = (sequence: number, result: Result, from: number): number => {
    let at = from
    while (at < segments.length && segments[at]!.local + segments[at]!.count <= sequence) at++
    const segment = segments[at]
    if (segment !== undefined && segment.local <= sequence) {
      Tracks.settle(segment.track, segment.first + sequence - segment.local, result)
    }
    return at
  }

  /** Notes what a report says is settled. */
  const settleAll = (report: Progress, before: number): boolean => {
    let hasChanged = report.settled > before
    let at = 0
    if (resolved.size === 0) {
      for (const { count, first, local, track } of segments) {
        const from = Math.max(before + 1, local)
        const to = Math.min(report.settled, local + count - 1)
        if (from <= to) Tracks.settleDone(track, first + from - local, first + to - local)
      }
    } else {
      for (let sequence = before + 1; sequence <= report.settled; sequence++) {
        if (!resolved.delete(sequence)) at = settle(sequence, done, at)
      }
    }
    at = 0
    for (const { count, from, result } of report.above) {
      for (let sequence = from; sequence < from + count; sequence++) {
        if (resolved.has(sequence)) continue
        resolved.add(sequence)
        at = settle(sequence, result, at)
        hasChanged = true
      }
    }
    const finished = segments.findIndex(({ count, local }) => local + count - 1 > report.settled)
    segments = finished < 0 ? [] : segments.slice(finished)
    return hasChanged
  }

  const absorb = (report: Progress): void => {
    const known = progress
    progress = report
    const hasPassed = pass(report.delivered)
    const hasSettled = isProcessed && settleAll(report, known?.settled ?? 0)
    // It is kept in the tracks from now on.
    if (report.above.some(({ result }) => result._tag !== "Done")) say({ _tag: "Ping", heard: report.report })
    if (hasPassed || hasSettled || report.collecting === true || known?.collecting === true) options.onChange()
    // What was accepted here and not handed out is the broker's still.
    if (report.ended && !isLeaving && isEndSaid && report.delivered === sent) options.onEnd()
    pumpUnsafe()
  }

  const received = (frame: DeviceFrame): Effect.Effect<void, DeviceLost> => {
    switch (frame._tag) {
      case "Welcome":
        isLive = true
        elements = frame.limits.elements
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
    if (progress?.ended !== true || !isEndSaid || (!isLeaving && progress.delivered < sent)) return Effect.void
    say({ _tag: "Bye" })
    return Effect.fail(lost)
  }

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
    if (session > 0) options.refill()
    session++
    segments = []
    sent = sentBytes = 0
    progress = undefined
    resolved = new Set()
    flushed = -1
    isEndSaid = isLeaving = false
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
      incarnation,
      device,
      session,
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

  return {
    pumpUnsafe,
    converse,
    restartUnsafe: () => {
      isLive = false
      restart.openUnsafe()
    },
    holds: (track) => segments.some((segment) => segment.track === track),
    isEndSaid: () => isEndSaid,
    collectedTo: (track) => {
      if (progress?.collecting !== true || !isLive) return 0
      const { accepted } = progress
      const segment = segments.findLast(({ local, track: other }) => local <= accepted && other === track)
      return segment === undefined
        ? track.delivered
        : Math.min(segment.first + accepted - segment.local, segment.through)
    }
  }
}
