/**
 * Brings the elements of one feeder from the broker to the device of this process, and tells what becomes of them.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Any } from "../Feed.ts"
import type { Batch, FeederFrame } from "../RemoteDevices.ts"
import type { BrokerFailed } from "./jetStreamClient.ts"
import * as Local from "./jetStreamLocal.ts"
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
  /** Whether all that came is finished, and told: another pipe can go on from what was told. */
  readonly isIdle: () => boolean
  /** Waits until there is room for another message. */
  readonly room: Effect.Effect<void>
  /** Waits until all is told that there is to tell. */
  readonly flushed: Effect.Effect<void>
  readonly run: Effect.Effect<never>
}

type Track = Tracks.Track<Message>

interface Held {
  readonly track: Track
  readonly batch: Batch
  message: Message
}

/** Parcels that wait for the device, at most. */
const mostWaiting = 16

/** The pipe of one feeder. `told` is what a process before this one has told. */
export const make = (options: {
  readonly feed: Any
  readonly feeder: string
  readonly device: string
  readonly told: Told | undefined
  /** Most bytes of what is told at once. */
  readonly maxPayload: number
  readonly accept: (link: Local.LocalLink) => Effect.Effect<void>
  /** Waits until this process is the device. */
  readonly untilClaimed: Effect.Effect<void>
  readonly tell: (told: Omit<Told, "claim">) => Effect.Effect<void, BrokerFailed>
}): Pipe => {
  const { device, feed, feeder } = options
  const isProcessed = feed.acknowledge === "processed"
  const changed = Latch.makeUnsafe(false)
  const shortened = Latch.makeUnsafe(false)
  const toTell = Latch.makeUnsafe(false)
  const told = Latch.makeUnsafe(true)

  let current: Track | undefined
  let tracks: Array<Track> = []
  let keeps = new Map<number, number>()
  let held: Array<Held> = []
  const line: { parcels: Array<Local.Parcel<Message>> } = { parcels: [] }
  let ends: Array<Message> = []
  let ended = false
  let confirmed = 0
  let number = options.told?.number ?? 0
  let isDirty = false

  const dirty = () => {
    isDirty = true
    told.closeUnsafe()
    toTell.openUnsafe()
  }

  const local = Local.make<Message>({
    feed,
    feeder,
    device,
    accept: options.accept,
    onChange: () => {
      if (isProcessed && current !== undefined) Tracks.hear(current, confirmed)
      dirty()
    },
    onSent: () => shortened.openUnsafe(),
    line,
    // All that came is not finished, for another link: some of it may have been handed out on the one before.
    refill: () => {
      line.parcels = []
      for (const { batch, track } of held) wait(track, batch, true)
    },
    isAll: (what) => current !== undefined && current[what] === (current.expected ?? 1) - 1,
    onEnd: () => {
      ended = true
      dirty()
    }
  })

  /** Puts what is not finished of a batch in line. */
  const wait = (track: Track, batch: Batch, isMarked: boolean): void => {
    const { length } = batch.chunk
    const { invalid } = batch.chunk
    const last = batch.first + length - 1
    const isFresh = track.above.size === 0 && batch.first > track.delivered && batch.first > track.settled
    if (isFresh && (isProcessed || invalid === undefined)) {
      line.parcels.push({ track, batch: isMarked ? marked(batch) : batch, through: last })
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
      line.parcels.push({ track, batch: isMarked ? marked(part) : part, through })
    })
    if (parts.length === 0) line.parcels.push({ track, batch: undefined, through: last })
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
    // What is queued at the device and is not kept must not be handed out; nor, unmarked, what may have been given again.
    const isToRestart = tracks.some((track) =>
      track !== current && local.holds(track) &&
      (track.incarnation !== current?.incarnation || keptTo(track) < (track.expected ?? 1) - 1)
    )
    const upTo = (batch: Batch, track: Track) => partOf(batch, feed.info, 0, keptTo(track) - batch.first + 1)
    held = held.flatMap((one) => {
      if (one.batch.first <= keptTo(one.track)) return [{ ...one, batch: upTo(one.batch, one.track) }]
      one.message.ack()
      return []
    })
    line.parcels = line.parcels.flatMap((one) => {
      if ((one.batch?.first ?? one.through) > keptTo(one.track)) return []
      return [one.batch === undefined ? one : { ...one, batch: upTo(one.batch, one.track) }]
    })
    tracks = tracks.filter((track) => {
      const isKept = track === current || keeps.has(track.session) || held.some((one) => one.track === track)
      // What came out of order, and never in it, was never accepted.
      if (!isKept) { for (const { message } of track.ahead.values()) message.ack() }
      return isKept
    })
    if (isToRestart || local.isEndSaid()) local.restartUnsafe()
    dirty()
    changed.openUnsafe()
    shortened.openUnsafe()
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
    local.pumpUnsafe()
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
    track.expected = frame.first + frame.chunk.length
    if (frame.heard > confirmed && track === current) {
      confirmed = frame.heard
      Tracks.hear(track, confirmed)
    }
    const batch = partOf(frame, feed.info, 0, limit)
    held.push({ track, batch, message })
    const isForeign = track.incarnation !== current?.incarnation
    wait(track, partOf(batch, feed.info, skipped, batch.chunk.length), wasPulled || isForeign)
    Tracks.advance(track, isProcessed)
  }

  const room: Effect.Effect<void> = Effect.suspend(() => {
    if (line.parcels.length < mostWaiting) return Effect.void
    shortened.closeUnsafe()
    return Effect.andThen(shortened.await, room)
  })

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
    above: isProcessed ? Tracks.tell(track, number, options.maxPayload) : [],
    collectedTo: local.collectedTo(track),
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
    const isIdle = line.parcels.length === 0 && (ended || (held.length === 0 && current?.last === undefined))
    if (isIdle) {
      changed.closeUnsafe()
      return Effect.andThen(changed.await, linked)
    }
    return options.untilClaimed.pipe(
      Effect.andThen(local.converse),
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
    isIdle: () => !isDirty && held.length + ends.length === 0 && tracks.every(({ ahead }) => ahead.size === 0),
    room,
    flushed: told.await,
    run: Effect.raceFirst(telling, linked)
  }
}
