/**
 * One feed of a device: its queue, the sessions of its feeders, and what its consumers take and settle.
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Credentials } from "../Credentials.ts"
import type { Any } from "../Feed.ts"
import * as FeedQueue from "../FeedQueue.ts"
import * as HostSession from "../HostSession.ts"
import type { Hello, RefusedReason, Result } from "../RemoteDevices.ts"
import { done } from "../RemoteDevices.ts"
import { differences } from "./fingerprint.ts"
import type { Handed, Hosted, Results, Take } from "./hosted.ts"
import { CurrentFeeder, FeedsItself } from "./hosted.ts"
import type { Parcel, Session } from "./hostedEntry.ts"
import { entriesOf, Entry, Lent, spans, together } from "./hostedEntry.ts"
import * as Items from "./items.ts"
import type { LinkWriter } from "./linkWriter.ts"

/**
 * What a device knows of one feeder.
 *
 * @category models
 * @since 0.1.0
 */
export interface FeederStatus {
  readonly feeder: string
  readonly isLinked: boolean
  readonly session: number
  readonly accepted: number
  readonly delivered: number
  readonly settled: number
  readonly fenced: number
  readonly hasEnded: boolean
}

/**
 * One hosted feed, as it stands.
 *
 * @category models
 * @since 0.1.0
 */
export interface FeedStatus {
  readonly feed: string
  readonly queued: number
  readonly feeders: ReadonlyArray<FeederStatus>
}

/** What all feeds of a device share. */
export interface Shared {
  readonly id: string
  readonly name: string | undefined
  readonly feeders: number | "forever"
  readonly window: number
  readonly windowBytes: number
  readonly frameBytes: number
  readonly elements: number
  /** How many feeders each feed knows at most. */
  readonly knownFeeders: number
  /** The longest lease. */
  readonly leaseMillis: number
  readonly handshake: Duration.Duration
  readonly credentials: Credentials["Service"] | undefined
  /** Whether this process is the device still. */
  readonly mayHandOut: () => boolean
  readonly now: () => number
  readonly abandoned: Deferred.Deferred<void>
  isLeaving: boolean
  leaveBy: number
  readonly writers: Map<number, LinkWriter>
}

/** One feed of a device. */
export interface HostedFeed {
  readonly hosted: Hosted<unknown>
  readonly status: () => FeedStatus
  /** Why a feeder is not admitted, if so. */
  readonly refuses: (hello: Hello) => { reason: RefusedReason; detail: string; retry: boolean } | undefined
  /** Whether a feeder goes on with a session that is here. */
  readonly isKnown: (hello: Hello) => boolean
  readonly join: (hello: Hello, link: number) => Effect.Effect<Session>
  readonly closeIfFinished: () => void
  /** Until when a feeder that was cut off keeps the loops of a process that leaves. */
  readonly awaitedUntil: () => number
}

/** A report tells of all results that the feeder may not know, so their causes must not make it too long for a frame. */
const brief = (cause: string): string => cause.length <= 500 ? cause : `${cause.slice(0, 500).toWellFormed()} …`

const areEntries = (handed: ReadonlyArray<Handed<unknown>>): handed is ReadonlyArray<Entry> =>
  handed.every((one) => one instanceof Entry)

type Admit = Extract<HostSession.Output, { readonly _tag: "Admit" }>

/** Opens one feed of a device. */
export const open = (shared: Shared, feed: Any): Effect.Effect<HostedFeed> =>
  Effect.gen(function*() {
    const sessions = new Map<string, Session>()
    const ended = new Set<string>()
    /** For each consumer that has begun, the feeders in this process whose sources it takes for. */
    const readers = new Set<Set<string>>()
    let demand = 0
    /** Bytes of all that waits in the queue. */
    let waitingBytes = 0
    /** As many feeders as expected have ended. */
    let isFinishing = false

    const wakeAll = () => {
      for (const { state } of sessions.values()) {
        if (state.link !== undefined) shared.writers.get(state.link)?.report()
      }
    }

    /** The time at which a take looks for elements: the same for all that it hands out. */
    let lookedAt = 0
    let mayHandOut = true

    const openQueue = FeedQueue.make<Entry>({
      capacity: feed.capacity,
      name: feed.name,
      spans,
      onCollect: wakeAll,
      onShort: () => {
        for (const session of sessions.values()) session.refill()
      },
      onLook: () => {
        lookedAt = shared.now()
        mayHandOut = shared.mayHandOut()
      },
      isCurrent: ({ count, parcel: { place, session } }) => {
        const verdict = mayHandOut ? HostSession.verdict(session.state, place, lookedAt) : "lapsed"
        if (verdict === "hand out") return true
        if (verdict === "lapsed") {
          session.state = HostSession.lapse(session.state)
          if (session.state.link !== undefined) shared.writers.get(session.state.link)?.close()
        }
        waitingBytes -= count * place.bytes
        return false
      },
      isAlone: ({ parcel }) => parcel.isAlone,
      onHandOut: (entries, isCut) => {
        if (isCut) entries.at(-1)!.isCut = true
        for (let i = 0; i < entries.length;) {
          const [{ count, parcel: { session }, place }, end] = together(entries, i)
          const [state, unmarkedTo] = HostSession.handOut(session.state, place, count, lookedAt)
          session.state = state
          waitingBytes -= count * place.bytes
          for (; i < end; i++) entries[i]!.markBeyond(unmarkedTo)
          if (state.link !== undefined) shared.writers.get(state.link)?.report()
        }
      }
    })
    let queue = yield* openQueue

    const config: HostSession.Config = {
      device: shared.id,
      capacity: feed.capacity,
      frameBytes: shared.frameBytes,
      elements: shared.elements
    }

    /** Room for one feeder: an even share of the capacity, of what the others have not been promised, at least one. */
    const roomOf = (session: Session | undefined): HostSession.Room => {
      const missing = queue.missingUnsafe()
      const collecting = missing > 0
      let linked = 1
      let promised = 0
      for (const other of sessions.values()) {
        if (other === session) continue
        const { state } = other
        if (state.link === undefined) {
          promised += HostSession.queued(state)
        } else {
          linked++
          promised += Math.max(0, state.creditTo - (collecting ? state.accepted : state.delivered))
          if (!collecting) promised += HostSession.queued(state) - (state.accepted - state.delivered)
        }
      }
      const share = Math.floor(feed.capacity / linked)
      // Of bytes only those count that wait: how many there will be of what is promised, nobody knows.
      const own = session === undefined ? 0 : session.state.acceptedBytes - session.state.deliveredBytes
      const others = collecting ? 0 : waitingBytes - own
      return {
        collecting,
        elements: Math.max(1, Math.min(share, feed.capacity - promised)),
        // With none left it may still send one element alone.
        bytes: Math.max(0, Math.min(Math.floor(shared.windowBytes / linked), shared.windowBytes - others)),
        missing: Math.floor(Math.max(0, missing - 1) / linked),
        unsettled: feed.capacity + demand,
        window: Math.floor(shared.window / linked)
      }
    }

    /** What a feeder that was cut off has sent may still come while something of it is unfinished here. */
    const isAwaited = ({ state }: Session): boolean =>
      state.link === undefined && state.acknowledge === "processed" &&
      HostSession.settledCount(state) < state.accepted && shared.now() < state.leaseUntil

    const awaited = (): ReadonlyArray<Session> =>
      shared.isLeaving && !Deferred.isDoneUnsafe(shared.abandoned) ? [...sessions.values()].filter(isAwaited) : []

    const closeIfFinished = () => {
      let areLinked = false
      let areFlushed = true
      let haveEnded = true
      for (const { state } of sessions.values()) {
        if (state.link === undefined) continue
        areLinked = true
        areFlushed &&= HostSession.isFlushed(state)
        haveEnded &&= HostSession.hasEnded(state)
      }
      queue.flushUnsafe(areLinked && areFlushed)
      if (!isFinishing && shared.feeders !== "forever" && ended.size >= shared.feeders) {
        isFinishing = true
        // A feeder more than was expected is told to send nothing more, and what it has sent is finished.
        for (const { state } of sessions.values()) {
          if (state.link === undefined || HostSession.hasEnded(state)) continue
          shared.writers.get(state.link)?.send({ _tag: "Leaving", byMillis: 0 })
        }
      }
      if ((isFinishing || shared.isLeaving) && haveEnded && awaited().length === 0) queue.closeNowUnsafe()
    }

    /** The parcels of a batch: what it has of one run, with the place of its first element. */
    const parcelsOf = (session: Session, { batch, first, from }: Admit): ReadonlyArray<Parcel> => {
      const { chunk, ids, release, runs } = batch
      const lent = release === undefined ? undefined : new Lent(release)
      const idOf = (index: number) => ids?.[index] ?? feed.info.identify?.(chunk.elements[index])
      let end = 0
      return runs.map(({ attempt, count, ordinal }) => {
        const start = end
        end += count
        return {
          session,
          chunk,
          lent,
          from: start,
          to: end,
          place: { ...first, sequence: first.sequence + start - from },
          ordinal,
          attempt,
          isAlone: attempt > 2 && session.state.acknowledge === "processed",
          idOf
        }
      })
    }

    const admit = (session: Session, output: Admit): boolean => {
      const { batch, first, from, to } = output
      // Of a batch that is admitted bit by bit the bits are of the same parcels, and so are settled together.
      if (session.admitting?.batch !== batch) session.admitting = { batch, parcels: parcelsOf(session, output) }
      const { parcels } = session.admitting
      const lent = parcels[0]?.lent
      const entries: Array<Entry> = []
      for (const parcel of parcels) {
        const some = entriesOf(parcel, from, to, (index, issue) => {
          const refused = { ...parcel.place, sequence: parcel.place.sequence + index - parcel.from }
          session.state = HostSession.refuseInvalid(session.state, refused, brief(issue))
        })
        for (const entry of some) entries.push(entry)
      }
      lent?.add(Items.size(entries))
      if (to === batch.chunk.length) {
        session.admitting = undefined
        lent?.remove(1)
      }
      if (!queue.admitUnsafe(entries)) return false
      waitingBytes += Items.size(entries) * first.bytes
      return true
    }

    const finishing = `the feeders of feed "${feed.name}" have ended and its consumers are finishing`

    const turnAway = ({ link }: HostSession.State) => {
      const writer = link === undefined ? undefined : shared.writers.get(link)
      writer?.send({ _tag: "Refused", reason: "ended", detail: finishing, retry: true })
      writer?.close()
    }

    const makeSession = (feeder: string, key: string): Session => {
      const session: Session = {
        state: HostSession.make(feeder),
        lostAt: shared.now(),
        admitting: undefined,
        apply: (input) => {
          const wasLinked = session.state.link !== undefined
          const [state, outputs] = HostSession.step(session.state, input, config)
          session.state = state
          for (const output of outputs) {
            switch (output._tag) {
              case "Send":
                shared.writers.get(output.link)?.send(output.frame)
                break
              case "CloseLink":
                shared.writers.get(output.link)?.close()
                break
              case "Admit":
                if (!admit(session, output)) {
                  // The queue has closed meanwhile: nothing of it is accepted here. And what is queued to be processed is
                  // not handed out any more, since a feeder that is turned away gives it again, elsewhere.
                  session.state = session.state.acknowledge === "processed"
                    ? HostSession.lapse(session.state)
                    : HostSession.withdraw(session.state, output.first)
                  turnAway(session.state)
                }
                break
              case "Discard":
                for (
                  const { count, parcel } of queue.removeWhereUnsafe((
                    { parcel: { place, session: owner }, sequence },
                    nth
                  ) =>
                    owner === session && place.incarnation === output.incarnation &&
                    place.session === output.session && sequence + nth > output.above
                  )
                ) waitingBytes -= count * parcel.place.bytes
                break
            }
          }
          // Also by a Bye, before its link is lost: a session that is thought long lost is forgotten.
          if (wasLinked && session.state.link === undefined) {
            session.lostAt = shared.now()
            session.admitting = undefined
          }
          if (input._tag === "Lost") wakeAll()
          // Of those that are not waited for, nobody counts how many have ended.
          if (shared.feeders !== "forever" && HostSession.hasEnded(session.state)) ended.add(key)
          closeIfFinished()
        },
        report: (isAsked) => {
          session.refill()
          const room = roomOf(session)
          const now = shared.now()
          if (isAsked || HostSession.isReportDue(session.state, room, now)) session.apply({ _tag: "Report", room, now })
        },
        refill: () => {
          let isShort = true
          // What a take collects leaves room for more, while it still misses some.
          while (session.state.transit.length > 0 && isShort) {
            const { accepted } = session.state
            session.apply({ _tag: "Room", room: roomOf(session) })
            isShort = session.state.accepted > accepted && queue.missingUnsafe() > 0
          }
        }
      }
      sessions.set(key, session)
      return session
    }

    const keyOf = (hello: Hello) => JSON.stringify([hello.feeder, hello.device])

    const isKnown = (hello: Hello): boolean => {
      const state = sessions.get(keyOf(hello))?.state
      return state?.incarnation === hello.incarnation && state.session === hello.session
    }

    /** Forgets feeders that have been away for long and left nothing here. */
    const forget = () => {
      const now = shared.now()
      for (const [key, { lostAt, state }] of sessions) {
        const isAway = state.link === undefined && now > lostAt + 3 * state.leaseMillis
        if (isAway && HostSession.queued(state) === 0) sessions.delete(key)
      }
    }

    const settleTogether = ({ count, parcel: { session }, place }: Entry, result: Result): number => {
      if (session.state.acknowledge !== "processed") return 0
      const fenced = HostSession.isCurrent(session.state, place) ? 0 : count
      session.apply({
        _tag: "Settle",
        place,
        count,
        result: result._tag === "Done" ? result : { ...result, cause: brief(result.cause) }
      })
      if (session.state.link !== undefined) shared.writers.get(session.state.link)?.report()
      return fenced
    }

    const settle = (entries: ReadonlyArray<Handed<unknown>>, results: Results) =>
      Effect.sync(() => {
        if (!areEntries(entries)) throw new TypeError("what is settled must have been handed out by this device")
        let fenced = 0
        let before = 0 // elements of the entries before
        for (let i = 0; i < entries.length;) {
          const [whole, end] = together(entries, i)
          if (typeof results === "function") {
            let from = 0
            for (let nth = 0; nth < whole.count; nth++) {
              const result = results(before + nth)
              if (result._tag === "Done") continue
              if (nth > from) fenced += settleTogether(whole.slice(from, nth), done)
              from = nth + 1
              fenced += settleTogether(whole.slice(nth, from), result)
            }
            if (whole.count > from) fenced += settleTogether(whole.slice(from, whole.count), done)
          } else {
            fenced += settleTogether(whole, results)
          }
          before += whole.count
          i = end
        }
        return fenced
      })

    const takeFrom = (queue: FeedQueue.FeedQueue<Entry>, own: Set<string>): Take<unknown> => ({ n, within }, onTake) =>
      Effect.flatMap(
        CurrentFeeder,
        (reader): Effect.Effect<ReadonlyArray<Entry>, FeedQueue.QueueEnded | FeedsItself> => {
          if (reader !== undefined) {
            own.add(reader)
            const fed = [...sessions.values()].find(({ state }) => state.feeder === reader)
            if (fed !== undefined) {
              return Effect.fail(new FeedsItself({ feed: feed.name, feeder: reader, device: shared.id }))
            }
          }
          return within === undefined ? queue.takeUpTo(n, onTake) : queue.takeWithin(n, within, onTake)
        }
      )

    const hosted: Hosted<unknown> = {
      begin: (n) =>
        Effect.suspend(() => {
          const own = new Set<string>()
          return Effect.acquireRelease(
            Effect.sync(() => {
              demand += n
              readers.add(own)
              wakeAll()
              return takeFrom(queue, own)
            }),
            () =>
              Effect.sync(() => {
                demand -= n
                readers.delete(own)
              })
          )
        }),
      settle,
      isLeaving: Effect.sync(() => shared.isLeaving),
      awaitAbandoned: Deferred.await(shared.abandoned)
    }

    return {
      hosted,
      closeIfFinished,
      awaitedUntil: () => Math.max(0, ...awaited().map(({ state }) => state.leaseUntil)),
      isKnown,
      status: () => ({
        feed: feed.name,
        queued: queue.sizeUnsafe(),
        feeders: [...sessions.values()].map(({ state }) => ({
          feeder: state.feeder,
          isLinked: state.link !== undefined,
          session: state.session,
          accepted: state.accepted,
          delivered: state.delivered,
          settled: HostSession.settledCount(state),
          fenced: state.fenced,
          hasEnded: HostSession.hasEnded(state)
        }))
      }),
      refuses: (hello) => {
        if (hello.fingerprint !== feed.info.fingerprint) {
          const detail = differences(feed.info.fingerprint, hello.fingerprint)
          return { reason: "different feed", detail: `feed "${feed.name}": ${detail}`, retry: false }
        }
        if (hello.acknowledge !== feed.acknowledge) {
          const detail = `it acknowledges ${feed.acknowledge} elements, the feeder ${hello.acknowledge} ones`
          return { reason: "different feed", detail: `feed "${feed.name}": ${detail}`, retry: false }
        }
        const { delivery = "atLeastOnce" } = hello
        if (delivery !== feed.delivery) {
          const detail = `it is delivered ${feed.delivery} here, by the feeder ${delivery}`
          return { reason: "different feed", detail: `feed "${feed.name}": ${detail}`, retry: false }
        }
        if ([...readers].some((own) => own.has(hello.feeder))) {
          const { message } = new FeedsItself({ feed: feed.name, feeder: hello.feeder, device: shared.id })
          return { reason: "feeds itself", detail: message, retry: false }
        }
        if (isFinishing && !isKnown(hello) && (!queue.isClosedUnsafe() || queue.heldUnsafe() > 0)) {
          return { reason: "ended", detail: finishing, retry: true }
        }
        forget()
        if (!sessions.has(keyOf(hello)) && sessions.size >= shared.knownFeeders) {
          const detail = `feed "${feed.name}" has ${sessions.size} feeders, which is its limit`
          return { reason: "busy", detail, retry: true }
        }
        return undefined
      },
      join: (hello, link) =>
        Effect.gen(function*() {
          if (queue.isClosedUnsafe() && !isKnown(hello)) {
            // The feeders had ended and everything was taken: this is the start of another feeding.
            queue = yield* openQueue
            waitingBytes = 0
            ended.clear()
            isFinishing = false
          }
          const key = keyOf(hello)
          const known = sessions.get(key)
          const session = known ?? makeSession(hello.feeder, key)
          session.apply({ _tag: "Hello", frame: hello, link, room: roomOf(session), now: shared.now() })
          // It may have left room to the others. One that is new leaves none, and of many that come each would tell all.
          if (known !== undefined) wakeAll()
          return session
        })
    }
  })
