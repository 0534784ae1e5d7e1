/**
 * The consumer's side of a feed: an actor that hosts one queue for each of its feeds, admits feeders on the links it is
 * given, hands elements to consumers and reports what became of them.
 *
 * What it knows of each feeder is a `HostSession`; this module gives that state machine a queue, a clock and links. A
 * device is made by a transport's Layer, which provides the links.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { Any, Delivery, Handed, Hosted, HostsOf } from "../Feed.ts"
import { CurrentFeeder, FeedsItself } from "../Feed.ts"
import * as FeedQueue from "../FeedQueue.ts"
import * as HostSession from "../HostSession.ts"
import { differences } from "../internal/fingerprint.ts"
import * as LinkWriter from "../internal/linkWriter.ts"
import { randomId } from "../internal/randomId.ts"
import type { DeviceLost, Hello, HostLink, RefusedReason, Result } from "../RemoteDevices.ts"
import { DeviceLinks } from "../RemoteDevices.ts"

const TypeId = "~effect-feeder/actors/Device"

/**
 * What a device is made with.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Feeds extends ReadonlyArray<Any>> {
  /** The feeds it hosts; their names must differ. */
  readonly feeds: Feeds
  /** The name feeders must know it by, such as `/job:consumer/replica:0`. By default it answers to any. */
  readonly device?: string | undefined
  /** How many feeders must have ended before a consumer's loop ends. Default 1. */
  readonly feeders?: number | "forever" | undefined
  /** Bytes that may wait in each feed's queue, shared among its feeders. Default 64 MiB. */
  readonly windowBytes?: number | undefined
  /** Most bytes of one frame, told to feeders. By default no limit. */
  readonly frameBytes?: number | undefined
  /** How long a link may take to say `Hello`. Default 10 seconds. */
  readonly handshakeTimeout?: Duration.Input | undefined
}

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

/**
 * A device: see the module.
 *
 * @category models
 * @since 0.1.0
 */
export interface Device {
  readonly [TypeId]: typeof TypeId
  /** Its incarnation: random, so that no two processes have the same. */
  readonly id: string
  readonly status: Effect.Effect<ReadonlyArray<FeedStatus>>
  /**
   * Says that the process is leaving: feeders send nothing more, what is held is finished, then the loops end. Loops
   * that have not finished `within` that time are interrupted.
   */
  readonly leave: (within: Duration.Input) => Effect.Effect<void>
  /** Ends a leave at once. */
  readonly abandon: Effect.Effect<void>
}

/**
 * Two feeds of one device have the same name.
 *
 * @category errors
 * @since 0.1.0
 */
export class FeedNameTaken extends Schema.Error<FeedNameTaken>(`${TypeId}/FeedNameTaken`)({
  _tag: Schema.tag("FeedNameTaken"),
  feed: Schema.String
}) {
  override get message(): string {
    return `a device cannot host two feeds named "${this.feed}"; rename one of them`
  }
}

/**
 * Makes a device in a scope. It admits feeders until the scope closes; then it flushes what it has to report, at most
 * for a second.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const Feeds extends ReadonlyArray<Any>>(
  options: Options<Feeds>
): Effect.Effect<
  readonly [device: Device, hosts: Context.Context<HostsOf<Feeds>>],
  FeedNameTaken,
  Scope.Scope | DeviceLinks
> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const links = yield* DeviceLinks
    const id = yield* randomId
    const shared: Shared = {
      id,
      name: options.device,
      feeders: options.feeders ?? 1,
      windowBytes: options.windowBytes ?? 64 * 1024 * 1024,
      frameBytes: options.frameBytes ?? Number.MAX_SAFE_INTEGER,
      now: () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6,
      abandoned: Deferred.makeUnsafe(),
      isLeaving: false,
      leaveBy: 0,
      writers: new Map()
    }
    const hosts = new Map<string, HostedFeed>()
    let context = Context.empty() as Context.Context<unknown>
    for (const feed of options.feeds) {
      if (hosts.has(feed.name)) return yield* new FeedNameTaken({ feed: feed.name })
      const host = yield* openFeed(shared, feed)
      hosts.set(feed.name, host)
      context = Context.add(context, feed.host, host.hosted)
    }
    // Everything that runs does so in a scope of its own, so that it can be flushed before it is closed.
    const outer = yield* Effect.scope
    const scope = yield* Scope.fork(outer)
    const handshake = Duration.fromInputUnsafe(options.handshakeTimeout ?? "10 seconds")
    yield* Effect.forever(
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const own = yield* Scope.fork(scope)
          const link = yield* restore(Scope.provide(links.accept, own)).pipe(
            Effect.onExit((exit) => Exit.isFailure(exit) ? Scope.close(own, exit) : Effect.void)
          )
          yield* restore(serve(shared, hosts, link, handshake)).pipe(
            Effect.onExit((exit) => Scope.close(own, exit)),
            Effect.forkIn(scope)
          )
        })
      ),
      { disableYield: true }
    ).pipe(Effect.forkIn(scope))
    // What was settled last is still reported, and a feeder that has ended still told so.
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        // What a newcomer sent now, nobody would take; and a loop that outlives its device has nothing to finish.
        shared.isLeaving = true
        Deferred.doneUnsafe(shared.abandoned, Effect.void)
        return Effect.timeoutOption(
          Effect.forEach([...shared.writers.values()], (writer) => writer.finished, { discard: true }),
          "1 second"
        )
      })
    )
    const device: Device = {
      [TypeId]: TypeId,
      id,
      status: Effect.sync(() => [...hosts.values()].map((host) => host.status())),
      leave: (within) =>
        Effect.suspend(() => {
          const millis = Math.ceil(Duration.toMillis(Duration.fromInputUnsafe(within)))
          shared.isLeaving = true
          shared.leaveBy = shared.now() + millis
          for (const writer of shared.writers.values()) writer.send({ _tag: "Leaving", byMillis: millis })
          for (const host of hosts.values()) host.closeIfFinished()
          return Effect.asVoid(
            Effect.forkIn(Effect.andThen(Effect.sleep(millis), Deferred.succeed(shared.abandoned, undefined)), scope)
          )
        }),
      abandon: Effect.asVoid(Deferred.succeed(shared.abandoned, undefined))
    }
    // Each feed's own key was added above, which is what HostsOf says.
    return [device, context as Context.Context<HostsOf<Feeds>>] as const
  })

/**
 * A device that hosts `feeds` on the links of a transport.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const Feeds extends ReadonlyArray<Any>>(
  options: Options<Feeds>
): Layer.Layer<HostsOf<Feeds>, FeedNameTaken, DeviceLinks> =>
  Layer.effectContext(Effect.map(make(options), ([, hosts]) => hosts))

// -----------------------------------------------------------------------------
// links
// -----------------------------------------------------------------------------

/** What all feeds of a device share. */
interface Shared {
  readonly id: string
  readonly name: string | undefined
  readonly feeders: number | "forever"
  readonly windowBytes: number
  readonly frameBytes: number
  readonly now: () => number
  readonly abandoned: Deferred.Deferred<void>
  isLeaving: boolean
  leaveBy: number
  readonly writers: Map<number, LinkWriter.LinkWriter>
}

/** A report tells of all results that the feeder may not know, so their causes must not make it too long for a frame. */
const brief = (result: Result): Result =>
  result._tag === "Done" || result.cause.length <= 500
    ? result
    : { ...result, cause: `${result.cause.slice(0, 500)} …` }

let linkCount = 0

const serve = (
  shared: Shared,
  hosts: ReadonlyMap<string, HostedFeed>,
  link: HostLink,
  handshake: Duration.Duration
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const first = yield* Effect.timeoutOption(link.receive, handshake)
    if (Option.isNone(first)) return
    const refuse = (reason: RefusedReason, detail: string, retry = false) =>
      link.send({ _tag: "Refused", reason, detail, retry })
    const hello = first.value
    if (hello._tag !== "Hello") return yield* refuse("invalid", `a link begins with Hello, not with ${hello._tag}`)
    const host = hosts.get(hello.feed)
    if (host === undefined) {
      const names = [...hosts.keys()].map((name) => `"${name}"`).join(", ")
      return yield* refuse("unknown feed", `it hosts ${names}, the feeder has "${hello.feed}"`)
    }
    // A feeder whose link was cut meanwhile still hears of what is finished.
    if (shared.isLeaving && !host.isKnown(hello)) {
      return yield* refuse("leaving", `device ${shared.id} is shutting down`, true)
    }
    if (shared.name !== undefined && hello.device !== shared.name) {
      return yield* refuse(
        "another device",
        `${shared.name} (${shared.id}) answers at this address, the feeder asked for ${hello.device}`
      )
    }
    const refusal = host.refuses(hello)
    if (refusal !== undefined) return yield* refuse(refusal.reason, refusal.detail, refusal.retry)
    const number = ++linkCount
    const writer = yield* LinkWriter.make(link)
    shared.writers.set(number, writer)
    const session = yield* host.join(hello, number)
    if (shared.isLeaving) {
      writer.send({ _tag: "Leaving", byMillis: Math.max(0, Math.ceil(shared.leaveBy - shared.now())) })
    }
    let silence = 0
    const receive: Effect.Effect<void, DeviceLost> = Effect.flatMap(link.receive, (frame) => {
      silence = 0
      if (frame._tag === "Hello") return refuse("invalid", "a second Hello on one link")
      session.apply({ _tag: "Received", frame, link: number })
      writer.report()
      return receive
    })
    // A live feeder says something every quarter of its lease. One that is silent for three has taken everything back:
    // it must not keep its share of the queue, nor others waiting for it. Counted in turns, because after a stop of this
    // process only one is due before what waits on the link is read.
    const silent: Effect.Effect<void> = Effect.suspend(() =>
      silence++ < 3
        ? Effect.andThen(Effect.sleep(Math.min(Math.max(hello.leaseMillis, 100), 86_400_000)), silent)
        : Effect.void
    )
    yield* Effect.raceAllFirst([
      writer.run({ report: session.report, hasEnded: () => HostSession.hasEnded(session.state) }),
      receive,
      silent
    ]).pipe(
      Effect.ensuring(Effect.sync(() => {
        shared.writers.delete(number)
        session.apply({ _tag: "Lost", link: number })
      }))
    )
  }).pipe(
    // A link that breaks is the ordinary end of one; a defect is not.
    Effect.catch((lost) => Effect.logDebug(lost.message)),
    Effect.catchDefect((defect) => Effect.logError("a link ended with a defect", defect))
  )

// -----------------------------------------------------------------------------
// feeds
// -----------------------------------------------------------------------------

/** One feed of a device. */
interface HostedFeed {
  readonly hosted: Hosted<unknown>
  readonly status: () => FeedStatus
  /** Why a feeder is not admitted, if so. */
  readonly refuses: (hello: Hello) => { reason: RefusedReason; detail: string; retry: boolean } | undefined
  /** Whether a feeder goes on with a session that is here. */
  readonly isKnown: (hello: Hello) => boolean
  readonly join: (hello: Hello, link: number) => Effect.Effect<Session>
  readonly closeIfFinished: () => void
}

/** A feeder's session, with the effects of its outputs. */
interface Session {
  state: HostSession.State
  lostAt: number
  readonly apply: (input: HostSession.Input) => void
  readonly report: () => void
}

/** An element in a device's queue, and later in the hands of a consumer. */
class Entry implements Handed<unknown> {
  readonly session: Session
  readonly place: HostSession.Place
  readonly element: unknown
  readonly ordinal: number
  readonly attempt: number
  isMarked: boolean

  constructor(session: Session, place: HostSession.Place, element: unknown, ordinal: number, attempt: number) {
    this.session = session
    this.place = place
    this.element = element
    this.ordinal = ordinal
    this.attempt = attempt
    this.isMarked = attempt > 1
  }

  get delivery(): Delivery {
    return {
      feeder: this.session.state.feeder,
      ordinal: this.ordinal,
      attempt: this.attempt,
      redelivered: this.isMarked
    }
  }
}

const openFeed = (shared: Shared, feed: Any): Effect.Effect<HostedFeed> =>
  Effect.gen(function*() {
    const sessions = new Map<string, Session>()
    const ended = new Set<string>()
    /** Feeders in this process whose sources take from this feed. */
    const readers = new Set<string>()
    let demand = 0
    /** As many feeders as expected have ended. */
    let isFinishing = false

    const wakeAll = () => {
      for (const { state } of sessions.values()) {
        if (state.link !== undefined) shared.writers.get(state.link)?.report()
      }
    }

    const openQueue = FeedQueue.make<Entry>({
      capacity: feed.capacity,
      name: feed.name,
      onCollect: wakeAll,
      isCurrent: ({ place, session }) => {
        const verdict = HostSession.verdict(session.state, place, shared.now())
        if (verdict === "lapsed") {
          session.state = HostSession.lapse(session.state)
          if (session.state.link !== undefined) shared.writers.get(session.state.link)?.close()
        }
        return verdict === "hand out"
      },
      onHandOut: (entries) => {
        const now = shared.now()
        for (const entry of entries) {
          const [state, isMarked] = HostSession.handOut(entry.session.state, entry.place, now)
          entry.session.state = state
          if (isMarked) entry.isMarked = true
          if (state.link !== undefined) shared.writers.get(state.link)?.report()
        }
      }
    })
    let queue = yield* openQueue

    const config: HostSession.Config = {
      device: shared.id,
      capacity: feed.capacity,
      frameBytes: shared.frameBytes,
      elements: 1048576
    }

    /** Room for one feeder: an even share of the capacity, of what the others have not been promised, at least one. */
    const roomOf = (session: Session | undefined): HostSession.Room => {
      const collecting = queue.isCollectingUnsafe()
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
      return {
        collecting,
        elements: Math.max(1, Math.min(share, feed.capacity - promised)),
        bytes: Math.floor(shared.windowBytes / linked),
        unsettled: feed.capacity + demand
      }
    }

    const closeIfFinished = () => {
      const all = [...sessions.values()]
      const linked = all.filter(({ state }) => state.link !== undefined)
      queue.flushUnsafe(linked.length > 0 && linked.every(({ state }) => HostSession.isFlushed(state)))
      if (!isFinishing && shared.feeders !== "forever" && ended.size >= shared.feeders) {
        isFinishing = true
        // A feeder more than was expected is told to send nothing more, and what it has sent is finished.
        for (const { state } of linked) {
          if (!HostSession.hasEnded(state)) shared.writers.get(state.link ?? 0)?.send({ _tag: "Leaving", byMillis: 0 })
        }
      }
      if (!isFinishing && !shared.isLeaving) return
      if (linked.every(({ state }) => HostSession.hasEnded(state))) queue.closeNowUnsafe()
    }

    const admit = (session: Session, output: Extract<HostSession.Output, { readonly _tag: "Admit" }>): boolean => {
      const { elements } = output.batch.chunk
      const entries: Array<Entry> = []
      let index = 0
      for (const run of output.batch.runs) {
        for (let i = 0; i < run.count; i++, index++) {
          if (index < output.from) continue
          const place = { ...output.first, sequence: output.first.sequence + entries.length }
          entries.push(new Entry(session, place, elements[index], run.ordinal + i, run.attempt))
        }
      }
      return queue.admitUnsafe(entries)
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
        lostAt: 0,
        apply: (input) => {
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
                  // The queue has closed meanwhile: nothing of it is accepted here.
                  session.state = { ...session.state, accepted: output.first.sequence - 1 }
                  turnAway(session.state)
                }
                break
              case "Discard":
                queue.removeWhereUnsafe(({ place, session: owner }) =>
                  owner === session && place.incarnation === output.incarnation &&
                  place.session === output.session && place.sequence > output.above
                )
                break
            }
          }
          if (input._tag === "Lost") {
            session.lostAt = shared.now()
            wakeAll()
          }
          if (HostSession.hasEnded(session.state)) ended.add(key)
          closeIfFinished()
        },
        report: () => session.apply({ _tag: "Report", room: roomOf(session), now: shared.now() })
      }
      sessions.set(key, session)
      return session
    }

    const keyOf = (hello: Hello) => `${hello.feeder}\n${hello.device}`

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

    const settle = (handed: ReadonlyArray<Handed<unknown>>, resultOf: (index: number) => Result) =>
      Effect.sync(() => {
        let fenced = 0
        let i = 0
        /** The result of the next one, which was asked for already. */
        let ahead: Result | undefined
        while (i < handed.length) {
          const entry = handed[i]
          if (!(entry instanceof Entry)) throw new TypeError("what is settled must have been handed out by this device")
          const { place, session } = entry
          const result = ahead ?? resultOf(i)
          ahead = undefined
          let count = 1
          // Consecutive sequences with the same result are settled at once.
          while (i + count < handed.length && result._tag === "Done") {
            const follower = handed[i + count]
            const follows = follower instanceof Entry && follower.session === session &&
              follower.place.session === place.session && follower.place.sequence === place.sequence + count
            if (!follows) break
            ahead = resultOf(i + count)
            if (ahead._tag !== "Done") break
            ahead = undefined
            count++
          }
          if (session.state.acknowledge === "processed") {
            if (!HostSession.isCurrent(session.state, place)) fenced += count
            session.apply({ _tag: "Settle", place, count, result: brief(result) })
            if (session.state.link !== undefined) shared.writers.get(session.state.link)?.report()
          }
          i += count
        }
        return fenced
      })

    const hosted: Hosted<unknown> = {
      take: ({ n, within }) =>
        Effect.flatMap(
          CurrentFeeder,
          (reader): Effect.Effect<ReadonlyArray<Entry>, FeedQueue.QueueEnded | FeedsItself> => {
            if (reader !== undefined) {
              readers.add(reader)
              const fed = [...sessions.values()].find(({ state }) => state.feeder === reader)
              if (fed !== undefined) {
                return Effect.fail(new FeedsItself({ feed: feed.name, feeder: reader, device: shared.id }))
              }
            }
            return within === undefined ? queue.takeUpTo(n) : queue.takeWithin(n, within)
          }
        ),
      settle,
      expect: (n) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            demand += n
            wakeAll()
          }),
          () =>
            Effect.sync(() => {
              demand -= n
            })
        ),
      isLeaving: Effect.sync(() => shared.isLeaving),
      awaitAbandoned: Deferred.await(shared.abandoned)
    }

    return {
      hosted,
      closeIfFinished,
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
        if (readers.has(hello.feeder)) {
          const { message } = new FeedsItself({ feed: feed.name, feeder: hello.feeder, device: shared.id })
          return { reason: "feeds itself", detail: message, retry: false }
        }
        if (isFinishing && !isKnown(hello) && (!queue.isClosedUnsafe() || queue.heldUnsafe() > 0)) {
          return { reason: "ended", detail: finishing, retry: true }
        }
        return undefined
      },
      join: (hello, link) =>
        Effect.gen(function*() {
          forget()
          if (queue.isClosedUnsafe() && !isKnown(hello)) {
            // The feeders had ended and everything was taken: this is the start of another feeding.
            queue = yield* openQueue
            ended.clear()
            isFinishing = false
          }
          const key = keyOf(hello)
          const session = sessions.get(key) ?? makeSession(hello.feeder, key)
          session.apply({ _tag: "Hello", frame: hello, link, room: roomOf(session), now: shared.now() })
          wakeAll()
          return session
        })
    }
  })
