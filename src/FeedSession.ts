/**
 * What a feeder knows of one device across links, as a pure state machine: `step(state, input)` gives the next state
 * and what to do. It holds no Effect, no clock and no socket; `RemoteFeed` drives it.
 *
 * ```text
 * Idle ──▶ Opening ──▶ Live ──▶ Draining ──▶ Ended
 *            ▲  │        │          │
 *            │  ▼        ▼          │
 *            │ BackOff ◀─ Resuming ◀┘        any ──▶ Failed
 *            └────┴──────────┘
 * ```
 *
 * Elements are numbered twice. The *ordinal* is an element's identity in its feed. The *sequence* counts from 1 in each
 * session and is what acknowledgement, credit and resending speak of. A session ends when its leases are reclaimed: all
 * that is unsettled goes back to the feeder, to be given again with a higher attempt, and the next session begins.
 *
 * @since 0.1.0
 */
import type { BatchCodec, Chunk } from "./BatchCodec.ts"
import type { Item } from "./internal/items.ts"
import * as Items from "./internal/items.ts"
import * as Outstanding from "./internal/outstanding.ts"
import type { Parcel } from "./internal/outstanding.ts"
import { wrongReport } from "./internal/violations.ts"
import type {
  Acknowledge,
  DeliveryMode,
  DeviceFrame,
  FeederFrame,
  Progress,
  RefusedReason,
  Welcome
} from "./RemoteDevices.ts"
import { versions } from "./RemoteDevices.ts"

export type { Item, Origin, Part } from "./internal/items.ts"

/**
 * Where a session stands.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase = "Idle" | "Opening" | "Live" | "Resuming" | "BackOff" | "Draining" | "Ended" | "Failed"

/**
 * What never changes in a session, and is the same for all devices of a feeder.
 *
 * @category models
 * @since 0.1.0
 */
export interface Config<A> {
  readonly feed: string
  readonly fingerprint: string
  readonly feeder: string
  readonly incarnation: number
  readonly acknowledge: Acknowledge
  readonly delivery: DeliveryMode
  readonly leaseMillis: number
  readonly codec: Pick<BatchCodec<A, unknown>, "fromElements" | "slice" | "concat">
}

/**
 * Everything the feeder knows of one device, with what is out there. The counts are totals over all sessions.
 *
 * @category models
 * @since 0.1.0
 */
export interface State<A> extends Outstanding.Outstanding<A> {
  readonly config: Config<A>
  /** The device's name. */
  readonly name: string
  readonly phase: Phase
  readonly session: number
  /** Whether the device has answered the Hello of this session. */
  readonly welcomed: boolean
  /** The version that is spoken on the link, once the device has answered. */
  readonly version: number
  readonly keepTo: number
  /** How many elements of the session before were known to be settled when it ended. */
  readonly settledBefore: number
  /** The device's incarnation, once it is known, and the ones it replaced. */
  readonly device: string | undefined
  readonly replaced: ReadonlyArray<string>
  readonly progress: Progress
  /** What was last known of a device that was thought gone while the feed ended there. */
  readonly buried: Progress | undefined
  /** What the device takes in one frame. */
  readonly limits: Welcome["limits"]
  /** The most the device has accepted in this session: a device that stops holding elements may report less later. */
  readonly acceptedMost: number
  /** When the link was opened, and when the last report came. */
  readonly openedAt: number
  readonly heardAt: number | undefined
  /** What was the last sequence sent when the device was told not to wait for more, on this link. */
  readonly flushedAt: number | undefined
  /** When a drain was asked for, and whether the device has said that it is leaving. */
  readonly drainingSince: number | undefined
  readonly leaving: boolean
  readonly accepted: number
  readonly delivered: number
  readonly redelivered: number
  readonly heldByDead: number
  readonly dead: number
  /** Settlements that came after their session was over, as the device's process has counted them. */
  readonly fenced: number
}

/**
 * What happens to a session. `now` is in milliseconds of a monotonic clock. `Push` may bring the chunk of its items, if that
 * was made already. `Refused`: the transport knows that the
 * device does not fit. `GiveUp`: the device's budget is spent. `Begin`: the feeder runs again, with a new budget.
 *
 * @category models
 * @since 0.1.0
 */
export type Input<A> =
  | { readonly _tag: "Opened"; readonly now: number }
  | { readonly _tag: "Received"; readonly frame: DeviceFrame; readonly now: number }
  | { readonly _tag: "Lost"; readonly fate: "gone" | "unknown"; readonly now: number }
  | { readonly _tag: "Push"; readonly items: ReadonlyArray<Item<A>>; readonly chunk?: Chunk<A> | undefined }
  | { readonly _tag: "Tick"; readonly now: number }
  | { readonly _tag: "Flush" }
  | { readonly _tag: "Drain"; readonly now: number }
  | { readonly _tag: "Stop" }
  | { readonly _tag: "Refused"; readonly reason: RefusedReason; readonly detail: string }
  | { readonly _tag: "GiveUp" }
  | { readonly _tag: "Begin" }

/**
 * What a session asks its driver to do, in order.
 *
 * `Acknowledged`: the items are acknowledged as declared, for good. `GiveBack`: they were not, and are to be given again,
 * each element by itself and no sooner than `afterMillis`: a consumer gave them back, or they were `taken` back from the
 * device. `Rejected`: one was refused for good, by a consumer, or by the device because it is `invalid` there.
 * `Reclaimed`: the session was given up; count it against the device's budget and wait its delay before the next link.
 * `Failed`: the device cannot be used.
 *
 * @category models
 * @since 0.1.0
 */
export type Output<A> =
  | { readonly _tag: "Send"; readonly frame: FeederFrame }
  | { readonly _tag: "CloseLink" }
  | { readonly _tag: "Acknowledged"; readonly items: ReadonlyArray<Item<A>> }
  | {
    readonly _tag: "GiveBack"
    readonly taken: boolean
    readonly items: ReadonlyArray<Item<A>>
    readonly afterMillis: number
    readonly cause: string
  }
  | { readonly _tag: "Rejected"; readonly item: Item<A>; readonly cause: string; readonly invalid: boolean }
  | { readonly _tag: "Reclaimed"; readonly fate: "gone" | "unknown"; readonly why: string }
  | { readonly _tag: "Failed"; readonly reason: RefusedReason; readonly detail: string }

/**
 * A new state and what to do.
 *
 * @category models
 * @since 0.1.0
 */
export type Step<A> = readonly [state: State<A>, outputs: ReadonlyArray<Output<A>>]

const none: ReadonlyArray<never> = []

const noProgress: Progress = {
  report: 0,
  accepted: 0,
  delivered: 0,
  carried: 0,
  settled: 0,
  above: none,
  creditTo: 0,
  creditBytesTo: 0,
  ended: false
}

/**
 * The state before the first link to the device of this name.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(config: Config<A>, name: string): State<A> => {
  const { base, out, resolved, sent, sentBytes } = Outstanding.none
  return {
    config,
    name,
    phase: "Idle",
    session: 1,
    welcomed: false,
    version: versions[0],
    keepTo: 0,
    settledBefore: 0,
    device: undefined,
    replaced: none,
    out,
    base,
    sent,
    sentBytes,
    resolved,
    progress: noProgress,
    buried: undefined,
    limits: { frameBytes: 0, elements: 0 },
    acceptedMost: 0,
    openedAt: 0,
    heardAt: undefined,
    flushedAt: undefined,
    drainingSince: undefined,
    leaving: false,
    accepted: 0,
    delivered: 0,
    redelivered: 0,
    heldByDead: 0,
    dead: 0,
    fenced: 0
  }
}

/**
 * How many elements are out at the device and not acknowledged as declared.
 *
 * @category accessors
 * @since 0.1.0
 */
export const leased = <A>(state: State<A>): number => Outstanding.count(state)

/**
 * The ordinals of what is leased.
 *
 * @category accessors
 * @since 0.1.0
 */
export const leasedOrdinals = <A>(state: State<A>): ReadonlyArray<number> =>
  Outstanding.unsettled(state, "", 0).map((item) => item.ordinal)

/**
 * How many leased elements are in doubt: sent on a link that broke, so that their acknowledgement may be lost.
 *
 * @category accessors
 * @since 0.1.0
 */
export const inDoubt = <A>(state: State<A>): number => isLinked(state) ? 0 : leased(state)

/**
 * How many elements the device's queue has accepted, for good, and not yet handed out. Always 0 when `processed`.
 *
 * @category accessors
 * @since 0.1.0
 */
export const held = <A>(state: State<A>): number =>
  state.config.acknowledge === "accepted"
    ? state.progress.accepted - state.progress.delivered + state.progress.carried
    : 0

/**
 * How many elements may be sent now, of which up to `window` are on their way beyond the room of the device's queue, and
 * how many bytes. `largest` is the size one element may have: when nothing waits at the device it may be as large as a
 * frame, or it would wait for ever.
 *
 * @category accessors
 * @since 0.1.0
 */
export const credit = <A>(
  state: State<A>,
  window = 0
): { readonly elements: number; readonly bytes: number; readonly largest: number } => {
  if (state.phase !== "Live") return { elements: 0, bytes: 0, largest: 0 }
  const { limits, progress, sent, sentBytes } = state
  const bytes = Math.min(progress.creditBytesTo - sentBytes, limits.frameBytes)
  return {
    elements: Math.min(progress.creditTo + Math.min(progress.window ?? 0, window) - sent, limits.elements),
    bytes,
    largest: sent === (progress.collecting === true ? progress.accepted : progress.delivered)
      ? limits.frameBytes
      : bytes
  }
}

/**
 * When the feeder takes back what is out: a tenth later than the device stops handing it out, so that no difference
 * between two clocks lets both have an element.
 *
 * @category accessors
 * @since 0.1.0
 */
export const leaseEnds = <A>(state: State<A>): number =>
  (state.heardAt ?? Number.NEGATIVE_INFINITY) + state.config.leaseMillis * 1.1

const isLinked = <A>(state: State<A>): boolean =>
  state.phase === "Opening" || state.phase === "Live" || state.phase === "Draining"

const drainEnds = <A>(state: State<A>): number => (state.drainingSince ?? 0) + state.config.leaseMillis * 1.1

/**
 * The transition function.
 *
 * @category transitions
 * @since 0.1.0
 */
export const step = <A>(state: State<A>, input: Input<A>): Step<A> => {
  if (state.phase === "Failed" && input._tag === "Begin") {
    return [{ ...state, phase: "Idle", heardAt: undefined, drainingSince: undefined, leaving: false }, []]
  }
  if (state.phase === "Ended" || state.phase === "Failed") return [state, []]
  switch (input._tag) {
    case "Opened":
      return [{ ...state, phase: "Opening", openedAt: input.now, leaving: false }, [{
        _tag: "Send",
        frame: hello(state)
      }]]
    case "Received":
      return isLinked(state) ? received(state, input.frame, input.now) : [state, []]
    case "Lost":
      return lost(state, input.fate, input.now)
    case "Push":
      return push(state, input.items, input.chunk ?? chunkOf(state, input.items))
    case "Tick":
      return tick(state, input.now)
    case "Flush":
      return state.phase === "Live" && state.flushedAt !== state.sent
        ? [{ ...state, flushedAt: state.sent }, [{
          _tag: "Send",
          frame: { _tag: "Flush", last: state.sent, heard: state.progress.report }
        }]]
        : [state, []]
    case "Drain":
      return drain({ ...state, drainingSince: state.drainingSince ?? input.now }, input.now)
    case "Refused":
      return fail(state, input.reason, input.detail)
    case "GiveUp":
      return giveUp(state)
    case "Begin":
      return [state, []]
    case "Stop":
      return isLinked(state)
        ? [{ ...state, phase: "Resuming" }, [{ _tag: "Send", frame: { _tag: "Bye" } }, { _tag: "CloseLink" }]]
        : [{ ...state, phase: state.heardAt === undefined ? "Idle" : "Resuming", drainingSince: undefined }, []]
  }
}

/** Version 1 knows no other delivery than `atLeastOnce`. */
const oldest = <A>(state: State<A>): number => state.config.delivery === "atLeastOnce" ? versions[0] : 2

const hello = <A>(state: State<A>): FeederFrame => ({
  _tag: "Hello",
  versions: [oldest(state), versions[1]],
  feed: state.config.feed,
  fingerprint: state.config.fingerprint,
  feeder: state.config.feeder,
  incarnation: state.config.incarnation,
  device: state.name,
  session: state.session,
  keepTo: state.keepTo,
  acknowledge: state.config.acknowledge,
  ...(state.config.delivery === "atLeastOnce" ? {} : { delivery: state.config.delivery }),
  leaseMillis: state.config.leaseMillis,
  ...(state.session > 1 && state.config.acknowledge === "processed" ? { settled: state.settledBefore } : {})
})

const push = <A>(state: State<A>, items: ReadonlyArray<Item<A>>, chunk: Chunk<A>): Step<A> => {
  const [outstanding, parcel] = Outstanding.send(state, items, chunk.byteLength)
  const next: State<A> = { ...state, ...outstanding }
  return [next, [batch(next, parcel, chunk)]]
}

const chunkOf = <A>(state: State<A>, items: ReadonlyArray<Item<A>>): Chunk<A> => Items.gather(state.config.codec, items)

const batch = <A>(state: State<A>, { elementBytes, first, items, runs }: Parcel<A>, chunk: Chunk<A>): Output<A> => {
  const ids = state.version < 2 ? undefined : Outstanding.ids(items)
  return {
    _tag: "Send",
    frame: {
      _tag: "Batch",
      first,
      heard: state.progress.report,
      elementBytes,
      runs,
      chunk,
      ...(ids === undefined ? {} : { ids })
    }
  }
}

const received = <A>(state: State<A>, frame: DeviceFrame, now: number): Step<A> => {
  switch (frame._tag) {
    case "Welcome":
      return welcome(state, frame, now)
    case "Progress": {
      if (!state.welcomed || state.phase === "Opening") {
        return fail(state, "invalid", "_tag: a Progress before the Welcome")
      }
      const [next, outputs] = absorb(state, frame.progress, now)
      if (next.phase === "Failed") return [next, outputs]
      const [ended, more] = drain(next, now)
      return [ended, [...outputs, ...more]]
    }
    case "Leaving":
      return drain({ ...state, leaving: true }, now)
    case "Refused":
      if (frame.sequence !== undefined) return refusedOne(state, frame.sequence, frame.detail)
      if (!frame.retry) return fail(state, frame.reason, frame.detail)
      return reclaim(state, "unknown", now, `it refuses for now (${frame.reason}): ${frame.detail}`)
  }
}

/** One element was not accepted, and all after it: the others are given again in the next session. */
const refusedOne = <A>(state: State<A>, sequence: number, cause: string): Step<A> => {
  const item = Outstanding.at(state, sequence)
  if (item === undefined || state.config.acknowledge === "processed") {
    return fail(state, "invalid", `Refused.sequence: ${sequence} is not one that it may refuse`)
  }
  // Elements are accepted in order: all before it are.
  const accepted = Math.max(state.progress.accepted, sequence - 1)
  const [known, outputs] = acceptedUpTo(
    countAccepted({ ...state, progress: { ...state.progress, accepted } }),
    state.progress
  )
  const why = "another element of its batch was refused"
  const items = Outstanding.unsettled(known, why, known.progress.delivered).filter(({ ordinal }) =>
    ordinal !== item.ordinal
  )
  return [{ ...nextSession(known), phase: "Idle", heardAt: undefined, dead: state.dead + 1 }, [
    ...outputs,
    { _tag: "CloseLink" },
    { _tag: "Rejected", item, cause, invalid: true },
    ...items.length > 0 ? [{ _tag: "GiveBack", taken: true, items, afterMillis: 0, cause: why } as const] : []
  ]]
}

const welcome = <A>(state: State<A>, frame: Welcome, now: number): Step<A> => {
  if (state.phase !== "Opening") return fail(state, "invalid", "_tag: a second Welcome on one link")
  if (frame.version < oldest(state) || frame.version > versions[1]) {
    return fail(state, "version", `it speaks version ${frame.version}, this feeder ${oldest(state)} to ${versions[1]}`)
  }
  if (frame.limits.frameBytes < 1) return fail(state, "invalid", "Welcome.limits.frameBytes: it is 0")
  if (frame.limits.elements < 1) return fail(state, "invalid", "Welcome.limits.elements: it is 0")
  if (state.replaced.includes(frame.device)) {
    return fail(
      state,
      "another device",
      `two processes answer to the name ${state.name}: ${frame.device} and ${state.device}; give each its own`
    )
  }
  if (state.device === frame.device && frame.progress.report <= state.progress.report) return forgotten(state, now)
  let next = state.device === frame.device ? exhume(state) : state
  if (state.device !== undefined && state.device !== frame.device) {
    // Another incarnation: what the one before held is gone with it.
    next = { ...bury(state), replaced: [...state.replaced.slice(-15), state.device], device: frame.device }
    if (leased(next) > 0) return reclaim(next, "gone", now, "another process answers in its place")
    next = fresh(next)
  }
  if (leased(next) > 0 && now >= leaseEnds(next)) return reclaim(next, "unknown", now)
  const live: State<A> = {
    ...next,
    phase: "Live",
    device: frame.device,
    welcomed: true,
    version: frame.version,
    limits: frame.limits,
    flushedAt: undefined
  }
  const [known, outputs] = absorb(live, frame.progress, now)
  if (known.phase === "Failed") return [known, outputs]
  const [ended, more] = drain(known, now)
  const again = Outstanding.beyond(known, frame.progress.accepted)
    .map((parcel) => batch(known, parcel, chunkOf(known, parcel.items)))
  return [ended, [...outputs, ...again, ...more]]
}

/** What a device held for good is gone with it. */
const bury = <A>(state: State<A>): State<A> => ({
  ...state,
  heldByDead: state.heldByDead + held(state),
  progress: { ...state.progress, accepted: state.progress.delivered, carried: 0, fenced: 0 }
})

/** The device was not gone after all: what it held was not gone with it. */
const exhume = <A>(state: State<A>): State<A> => {
  const { buried } = state
  if (buried === undefined) return state
  const { accepted, carried, delivered } = buried
  return {
    ...state,
    heldByDead: state.heldByDead - (accepted - delivered + carried),
    progress: buried,
    buried: undefined
  }
}

/** The device counts its reports anew: it has forgotten a session of which everything was handed out. */
const forgotten = <A>(state: State<A>, now: number): Step<A> => {
  const next: State<A> = {
    ...state,
    delivered: state.delivered + held(state),
    progress: { ...state.progress, delivered: state.progress.accepted, carried: 0 }
  }
  return leased(next) > 0
    ? reclaim(next, "unknown", now, "it has forgotten the session")
    : [{ ...nextSession(next), phase: "Idle", heardAt: undefined }, [{ _tag: "CloseLink" }]]
}

/** What a device has counted of its own process goes on from one session to the next. */
const fencedOf = ({ fenced }: Progress): { readonly fenced?: number } => fenced === undefined ? {} : { fenced }

/** A session that has sent nothing. */
const fresh = <A>(state: State<A>): State<A> => ({
  ...state,
  ...Outstanding.none,
  acceptedMost: 0,
  buried: undefined,
  progress: { ...noProgress, carried: held(state), ...fencedOf(state.progress) },
  welcomed: false
})

const absorb = <A>(state: State<A>, report: Progress, now: number): Step<A> => {
  const known = state.progress
  if (report.report <= known.report) return [state, []]
  const wrong = wrongReport(report, known, state.sent, state.config.acknowledge)
  if (wrong !== undefined) return fail(state, "invalid", `progress.${wrong}`)
  const fenced = state.fenced + Math.max(0, (report.fenced ?? 0) - (known.fenced ?? 0))
  const heard = countAccepted({ ...state, progress: report, heardAt: now, fenced })
  return state.config.acknowledge === "accepted" ? acceptedUpTo(heard, known) : settledUpTo(heard)
}

const acknowledged = <A>(items: ReadonlyArray<Item<A>>): ReadonlyArray<Output<A>> =>
  items.length === 0 ? [] : [{ _tag: "Acknowledged", items }]

const countAccepted = <A>(state: State<A>): State<A> => {
  const most = Math.max(state.acceptedMost, state.progress.accepted)
  return { ...state, accepted: state.accepted + most - state.acceptedMost, acceptedMost: most }
}

const acceptedUpTo = <A>(state: State<A>, known: Progress): Step<A> => {
  const report = state.progress
  const [outstanding, settlement] = Outstanding.accept(state, report.accepted)
  return [{
    ...state,
    ...outstanding,
    delivered: state.delivered + (report.delivered - known.delivered) + (known.carried - report.carried),
    redelivered: state.redelivered + settlement.redelivered
  }, acknowledged(settlement.acknowledged)]
}

const settledUpTo = <A>(state: State<A>): Step<A> => {
  const [outstanding, settlement] = Outstanding.settle(state, state.progress)
  const { back, redelivered, rejected } = settlement
  const next: State<A> = {
    ...state,
    ...outstanding,
    dead: state.dead + rejected.length,
    delivered: state.delivered + Items.size(settlement.acknowledged),
    redelivered: state.redelivered + redelivered
  }
  // Each group is put at the front of the queue: the last one goes first, so that they stand there in order.
  const givenBack = back.toReversed().map((group): Output<A> => ({ _tag: "GiveBack", taken: false, ...group }))
  return [next, [
    ...acknowledged(settlement.acknowledged),
    ...rejected.map((one): Output<A> => ({ _tag: "Rejected", ...one })),
    ...givenBack
  ]]
}

const lost = <A>(state: State<A>, fate: "gone" | "unknown", now: number): Step<A> => {
  const next: State<A> = { ...(fate === "gone" ? bury(state) : state), leaving: false }
  if (next.drainingSince !== undefined && leased(next) === 0) {
    // Also for one that is gone: a process that takes its place waits to hear of the end.
    const buried = next.buried ?? (held(next) < held(state) ? state.progress : undefined)
    return [{ ...next, buried, phase: now < drainEnds(next) ? "Resuming" : "Ended" }, []]
  }
  if (state.leaving && leased(next) === 0 && held(next) === 0) {
    return [{ ...nextSession(next), phase: "Idle", heardAt: undefined }, []]
  }
  return fate === "gone" || now >= leaseEnds(next) ? reclaim(next, fate, now) : [{ ...next, phase: "Resuming" }, []]
}

const tick = <A>(state: State<A>, now: number): Step<A> => {
  const silent = !isLinked(state) || now >= Math.max(leaseEnds(state), state.openedAt + state.config.leaseMillis)
  if (state.drainingSince !== undefined && leased(state) === 0 && now >= drainEnds(state) && silent) {
    return [{ ...state, phase: "Ended" }, [{ _tag: "CloseLink" }]]
  }
  switch (state.phase) {
    case "Idle":
    case "BackOff":
      return [state, []]
    case "Resuming":
      return now >= leaseEnds(state) && !(state.drainingSince !== undefined && leased(state) === 0)
        ? reclaim(state, "unknown", now)
        : [state, []]
    case "Opening":
      return silent ? reclaim(state, "unknown", now) : [state, []]
    default:
      return silent
        ? reclaim(state, "unknown", now)
        : [state, [{ _tag: "Send", frame: { _tag: "Ping", heard: state.progress.report } }]]
  }
}

/** Says `End` when the feed has ended, or when the device is leaving, and goes when the device has finished. */
const drain = <A>(state: State<A>, now: number): Step<A> => {
  if (state.drainingSince === undefined && !state.leaving) return [state, []]
  if (!isLinked(state)) return tick(state, now)
  if (state.phase === "Live") {
    const frame: FeederFrame = { _tag: "End", last: state.sent, heard: state.progress.report }
    return [{ ...state, phase: "Draining" }, [{ _tag: "Send", frame }]]
  }
  if (state.phase !== "Draining" || leased(state) > 0 || !state.progress.ended) return [state, []]
  const bye: ReadonlyArray<Output<A>> = [{ _tag: "Send", frame: { _tag: "Bye" } }, { _tag: "CloseLink" }]
  if (state.drainingSince !== undefined) return [{ ...state, phase: "Ended" }, bye]
  // A device that leaves still hands out what it has accepted for good.
  return held(state) > 0
    ? [state, []]
    : [{ ...nextSession(state), phase: "Idle", heardAt: undefined, leaving: false }, bye]
}

/** Gives up the session: what is unsettled goes back, and the next session keeps what was certainly accepted. */
const reclaim = <A>(
  state: State<A>,
  fate: "gone" | "unknown",
  now: number,
  why = "it was silent for longer than its lease"
): Step<A> => {
  const items = Outstanding.unsettled(state, why, state.progress.delivered)
  const next: State<A> = {
    ...nextSession(state),
    phase: state.drainingSince !== undefined && items.length === 0 && now >= drainEnds(state) ? "Ended" : "BackOff",
    heardAt: undefined,
    leaving: false
  }
  const outputs: Array<Output<A>> = [{ _tag: "CloseLink" }]
  if (items.length > 0) outputs.push({ _tag: "GiveBack", taken: true, items, afterMillis: 0, cause: why })
  if (next.phase === "BackOff") outputs.push({ _tag: "Reclaimed", fate, why })
  return [next, outputs]
}

/** A device that has not answered the Hello of this session may know only the one before: what to keep is said of that. */
const nextSession = <A>(state: State<A>): State<A> =>
  state.welcomed
    ? {
      ...fresh(state),
      session: state.session + 1,
      settledBefore: state.base + state.resolved.size,
      keepTo: state.config.acknowledge === "accepted" ? state.progress.accepted : 0
    }
    : state

const giveUp = <A>(state: State<A>): Step<A> => {
  const cause = "the device has failed"
  const items = Outstanding.unsettled(state, cause, state.progress.delivered)
  const outputs: Array<Output<A>> = [{ _tag: "CloseLink" }]
  if (items.length > 0) outputs.push({ _tag: "GiveBack", taken: true, items, afterMillis: 0, cause })
  return [{ ...nextSession(state), phase: "Failed" }, outputs]
}

const fail = <A>(state: State<A>, reason: RefusedReason, detail: string): Step<A> => {
  const [next, outputs] = giveUp(state)
  return [next, [...outputs, { _tag: "Failed", reason, detail }]]
}
