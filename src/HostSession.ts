/**
 * What a device knows of one feeder across links, for one feed, as a pure state machine: `step(state, input)` gives
 * the next state and what to do. It holds no Effect, no clock and no queue; `Device` drives it.
 *
 * The device enforces the feeder's lease too, at the moment of handing out: the lease counts from when the device
 * *sent* the report that the feeder last echoed, so that a process that was stopped and wakes hands out nothing that
 * the feeder may have taken back.
 *
 * @since 0.1.0
 */
import * as Settled from "./internal/settled.ts"
import { wrongHello } from "./internal/violations.ts"
import type {
  Acknowledge,
  Batch,
  DeviceFrame,
  FeederFrame,
  Hello,
  Progress,
  RefusedReason,
  Result
} from "./RemoteDevices.ts"
import { versions } from "./RemoteDevices.ts"

/**
 * The place of one accepted element in its session. The element itself waits in the device's queue, beside this.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly incarnation: number
  readonly session: number
  readonly epoch: number
  readonly sequence: number
  /** What it counts against the byte credit, and how much more than it may by that it takes. */
  readonly bytes: number
  readonly excess?: number | undefined
}

/** A batch that came, of which not all is admitted yet. */
interface InTransit {
  readonly batch: Batch
  /** What each of its elements takes beyond what it counts. */
  readonly excess: number
}

/** What the last report on the link told, and when. */
interface Told {
  readonly at: number
  readonly to: number
  readonly bytesTo: number
  readonly acknowledged: number
  readonly collecting: boolean
}

/** A report that was sent and not echoed yet: what it said, and when. */
interface Sent {
  readonly report: number
  readonly at: number
  readonly accepted: number
}

/**
 * Everything a device knows of one feeder. `link` is the number of the link it speaks on.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  readonly feeder: string
  readonly incarnation: number
  readonly session: number
  readonly acknowledge: Acknowledge
  readonly leaseMillis: number
  readonly link: number | undefined
  /** The version that is spoken on the link. */
  readonly version: number
  /** The sequence that the next batch on the link begins with; none may come once `End` was said there. */
  readonly next: number | undefined
  /** Up to where the link has brought elements, how many bytes they count in all, and those that are not admitted yet. */
  readonly received: number
  readonly receivedBytes: number
  readonly transit: ReadonlyArray<InTransit>
  readonly told: Told | undefined
  /** The link on which the session lapsed, if it did: what is still on its way there comes for nothing. */
  readonly lapsedOn: number | undefined
  /** Up to where all was accepted when a report last said that a take collects. */
  readonly collectedTo: number
  /** By how many bytes what is queued is larger than it may be by what it counts. */
  readonly excessBytes: number
  /** Elements accepted, handed out and kept from earlier sessions; `epoch` grows when accepted ones are let go. */
  readonly accepted: number
  readonly acceptedBytes: number
  readonly epoch: number
  readonly delivered: number
  readonly deliveredBytes: number
  readonly carried: number
  /** Elements kept from earlier lives of the feeder, which its present life knows nothing of. */
  readonly foreign: number
  /** Of which lives not all was known to them to be accepted, and up to where it was. */
  readonly doubted: ReadonlyArray<
    { readonly incarnation: number; readonly session: number; readonly confirmed: number }
  >
  readonly settled: number
  readonly above: Settled.Settled
  readonly report: number
  readonly sent: ReadonlyArray<Sent>
  /** How much the feeder is known to know is accepted, and until when the device may hand out. */
  readonly confirmed: number
  readonly leaseUntil: number
  /** Up to where elements are admitted, and up to where they may come. */
  readonly creditTo: number
  readonly windowTo: number
  readonly creditBytesTo: number
  /** Up to where the feeder has sent everything: for now, and for good. */
  readonly flushedTo: number | undefined
  readonly last: number | undefined
  /** Settlements that came after their session was over. */
  readonly fenced: number
}

/**
 * What the device's side of a link starts with, told in `Welcome`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Config {
  readonly device: string
  readonly capacity: number
  readonly frameBytes: number
  readonly elements: number
}

/**
 * How far a feeder's credit may go: `elements` and `bytes` beyond what was handed out, and `unsettled` elements beyond
 * what is settled; and how many elements may be on their way beyond that, none by default. While a take is `collecting` a
 * batch, what it has collected does not fill the queue, nor do so many elements more that it is still `missing`, as soon as
 * they have come.
 *
 * @category models
 * @since 0.1.0
 */
export interface Room {
  readonly collecting: boolean
  readonly missing?: number | undefined
  readonly elements: number
  readonly bytes: number
  readonly unsettled: number
  readonly window?: number | undefined
}

/**
 * What happens to a session. `now` is in milliseconds of a monotonic clock. `Room`: elements may be admitted that are on
 * their way. `Report` is that too, and says so.
 *
 * @category models
 * @since 0.1.0
 */
export type Input =
  | { readonly _tag: "Hello"; readonly frame: Hello; readonly link: number; readonly room: Room; readonly now: number }
  | { readonly _tag: "Received"; readonly frame: Exclude<FeederFrame, Hello>; readonly link: number }
  | { readonly _tag: "Lost"; readonly link: number }
  | { readonly _tag: "Settle"; readonly place: Place; readonly count: number; readonly result: Result }
  | { readonly _tag: "Room"; readonly room: Room }
  | { readonly _tag: "Report"; readonly room: Room; readonly now: number }

/**
 * What a session asks its driver to do, in order. `Admit`: put the batch's elements, from index `from` up to, not
 * including, `to`, into the queue, the first with the place `first`; those that are `invalid` are refused instead.
 * `Discard`: remove what is queued of that session above `above`.
 *
 * @category models
 * @since 0.1.0
 */
export type Output =
  | { readonly _tag: "Send"; readonly link: number; readonly frame: DeviceFrame }
  | { readonly _tag: "CloseLink"; readonly link: number }
  | {
    readonly _tag: "Admit"
    readonly batch: Batch
    readonly from: number
    readonly to: number
    readonly first: Place
  }
  | { readonly _tag: "Discard"; readonly incarnation: number; readonly session: number; readonly above: number }

/**
 * A new state and what to do.
 *
 * @category models
 * @since 0.1.0
 */
export type Step = readonly [state: State, outputs: ReadonlyArray<Output>]

/**
 * The state of a feeder that has not been heard of.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (feeder: string): State => ({
  feeder,
  incarnation: -1,
  session: 0,
  acknowledge: "accepted",
  leaseMillis: 0,
  link: undefined,
  version: versions[0],
  next: undefined,
  received: 0,
  receivedBytes: 0,
  transit: [],
  told: undefined,
  lapsedOn: undefined,
  collectedTo: 0,
  excessBytes: 0,
  accepted: 0,
  epoch: 0,
  delivered: 0,
  deliveredBytes: 0,
  acceptedBytes: 0,
  carried: 0,
  foreign: 0,
  doubted: [],
  settled: 0,
  above: new Map(),
  report: 0,
  sent: [],
  confirmed: 0,
  leaseUntil: Number.NEGATIVE_INFINITY,
  creditTo: 0,
  windowTo: 0,
  creditBytesTo: 0,
  flushedTo: undefined,
  last: undefined,
  fenced: 0
})

/**
 * How many elements of this feeder wait in the device's queue, those kept from earlier sessions and lives included.
 *
 * @category accessors
 * @since 0.1.0
 */
export const queued = (state: State): number => state.accepted - state.delivered + kept(state)

/** What is queued from before this session. */
const kept = (state: State): number => state.carried + state.foreign

/**
 * How many elements of this session are settled.
 *
 * @category accessors
 * @since 0.1.0
 */
export const settledCount = (state: State): number => state.settled + state.above.size

/**
 * Whether the feeder has ended and everything of it was accepted, or settled, as declared.
 *
 * @category accessors
 * @since 0.1.0
 */
export const hasEnded = (state: State): boolean =>
  state.last !== undefined &&
  (state.acknowledge === "accepted" ? state.accepted >= state.last : settledCount(state) >= state.last)

/**
 * Whether the feeder has nothing more to send for now.
 *
 * @category accessors
 * @since 0.1.0
 */
export const isFlushed = (state: State): boolean =>
  state.last !== undefined || (state.flushedTo !== undefined && state.accepted >= state.flushedTo)

/**
 * Whether a queued element may be handed out now; asked at the very moment of handing out.
 *
 * `drop`: its session is over, so the feeder has taken it back. `lapsed`: it is to be acknowledged as processed and the
 * feeder's lease has run out, so the feeder may have taken it back; `lapse` then lets go of all that is queued, and the
 * link must be closed, so that the feeder sends again what is still its own.
 *
 * @category accessors
 * @since 0.1.0
 */
export const verdict = (state: State, place: Place, now: number): "hand out" | "drop" | "lapsed" => {
  if (place.incarnation !== state.incarnation || place.session !== state.session) return "hand out"
  if (place.epoch !== state.epoch) return "drop"
  return state.acknowledge === "processed" && now >= state.leaseUntil ? "lapsed" : "hand out"
}

/**
 * Lets go of everything that is queued of this session. The feeder sends it again when it resumes.
 *
 * @category transitions
 * @since 0.1.0
 */
export const lapse = (state: State): State => ({
  ...state,
  accepted: state.delivered,
  // What was refused beyond comes again as well, and counts then.
  acceptedBytes: state.deliveredBytes - Settled.refusedBeyond(state.above, state.delivered),
  received: state.delivered,
  receivedBytes: state.deliveredBytes - Settled.refusedBeyond(state.above, state.delivered),
  transit: [],
  lapsedOn: state.link,
  excessBytes: 0,
  epoch: state.epoch + 1
})

const lessExcess = ({ excessBytes }: State, { excess = 0 }: Place, count: number): number =>
  Math.max(0, excessBytes - count * excess)

/** What is on its way is let go of: it comes again on the next link. */
const nothingInTransit = (state: State): Pick<State, "excessBytes" | "transit"> => ({
  transit: [],
  excessBytes: state.transit.reduce(
    (rest, { batch, excess }) => Math.max(0, rest - excess * (batch.chunk.length - firstNew(state.accepted, batch))),
    state.excessBytes
  )
})

/** The index of the first element of a batch that is not accepted yet. */
const firstNew = (accepted: number, { first }: Batch): number => Math.max(0, accepted - first + 1)

/**
 * Takes back that elements were accepted, from the place of the first of a batch on: the queue has not admitted them.
 *
 * @category transitions
 * @since 0.1.0
 */
export const withdraw = (state: State, { bytes, sequence }: Place): State => ({
  ...state,
  accepted: sequence - 1,
  acceptedBytes: state.acceptedBytes - (state.accepted - sequence + 1) * bytes,
  ...nothingInTransit(state)
})

/**
 * Notes that `count` elements were handed out, whose sequences follow each other from `place` on, and says up to which
 * sequence they need no mark. One must be marked when the feeder does not know that it was accepted, and the lease has run
 * out, or another life of the feeder has begun: then the life that sent it, if it goes on somewhere, may have given it
 * again.
 *
 * @category transitions
 * @since 0.1.0
 */
export const handOut = (
  state: State,
  place: Place,
  count: number,
  now: number
): readonly [state: State, unmarkedTo: number] => {
  if (place.incarnation !== state.incarnation) {
    const foreign = state.foreign - count
    let unmarkedTo = Infinity
    for (const { confirmed, incarnation, session } of state.doubted) {
      if (place.incarnation === incarnation && place.session === session) unmarkedTo = Math.min(unmarkedTo, confirmed)
    }
    return [{ ...state, foreign, doubted: foreign === 0 ? [] : state.doubted }, unmarkedTo]
  }
  if (place.session !== state.session) return [{ ...state, carried: state.carried - count }, Infinity]
  const delivered = place.sequence + count - 1
  const deliveredBytes = state.deliveredBytes + count * place.bytes
  const next: State = {
    ...state,
    accepted: Math.max(state.accepted, delivered),
    acceptedBytes: Math.max(state.acceptedBytes, deliveredBytes),
    received: Math.max(state.received, delivered),
    receivedBytes: Math.max(state.receivedBytes, deliveredBytes),
    excessBytes: lessExcess(state, place, count),
    delivered,
    deliveredBytes
  }
  return [next, now >= state.leaseUntil ? state.confirmed : Infinity]
}

/**
 * Settles an element that is none by the Schema here, and is not queued.
 *
 * @category transitions
 * @since 0.1.0
 */
export const refuseInvalid = (state: State, place: Place, cause: string): State => {
  if (state.above.has(place.sequence) || place.sequence <= state.settled) return state
  const result: Result = { _tag: "Reject", cause, invalid: true }
  const deliveredBytes = state.deliveredBytes + place.bytes
  return settle({ ...state, deliveredBytes, excessBytes: lessExcess(state, place, 1) }, place, 1, result)[0]
}

/**
 * Whether a settlement of this place still counts. It does not once the feeder has taken its leases back.
 *
 * @category accessors
 * @since 0.1.0
 */
export const isCurrent = (state: State, place: Place): boolean =>
  place.incarnation === state.incarnation && place.session === state.session

/**
 * The transition function.
 *
 * @category transitions
 * @since 0.1.0
 */
export const step = (state: State, input: Input, config: Config): Step => {
  switch (input._tag) {
    case "Hello":
      return hello(state, input.frame, input.link, input.room, input.now, config)
    case "Received":
      return input.link === state.link ? received(state, input.frame, input.link, config) : [state, [{
        _tag: "CloseLink",
        link: input.link
      }]]
    case "Lost":
      return [unlinked(state, input.link), []]
    case "Settle":
      return settle(state, input.place, input.count, input.result)
    case "Room":
      return admit(granted(state, input.room))
    case "Report": {
      if (state.link === undefined) return [state, []]
      const [next, outputs] = admit(granted(state, input.room))
      if (next.link === undefined) return [next, outputs]
      const [told, progress] = report(next, input.room, input.now)
      return [told, [...outputs, { _tag: "Send", link: state.link, frame: { _tag: "Progress", progress } }]]
    }
  }
}

const hello = (state: State, frame: Hello, link: number, room: Room, now: number, config: Config): Step => {
  const version = Math.min(frame.versions[1], versions[1])
  if (version < frame.versions[0] || version < versions[0]) {
    return refuse(
      link,
      state,
      "version",
      `it speaks ${frame.versions.join(" to ")}, this device ${versions.join(" to ")}`
    )
  }
  const wrong = wrongHello(frame, version)
  if (wrong !== undefined) return violation(state, link, ...wrong)
  if (frame.incarnation < state.incarnation) {
    const [mine, newer] = [`${frame.feeder}#${frame.incarnation}`, `${state.feeder}#${state.incarnation}`]
    return refuse(link, state, "older feeder", `two feeders have one id: ${mine} and ${newer}; give each its own id`)
  }
  if (frame.incarnation === state.incarnation && frame.session < state.session) {
    return refuse(
      link,
      state,
      "older session",
      `session ${frame.session} is over, the device is in session ${state.session}`
    )
  }
  const outputs: Array<Output> = state.link === undefined || state.link === link
    ? []
    : [{ _tag: "CloseLink", link: state.link }]
  let next: State = { ...state, ...nothingInTransit(state), link, version, told: undefined }
  if (frame.incarnation > state.incarnation) {
    // The feeder was started anew. What waits to be processed is its to give again; what was accepted is kept.
    if (state.acknowledge === "processed" && state.incarnation >= 0) {
      outputs.push({ _tag: "Discard", incarnation: state.incarnation, session: state.session, above: 0 })
    }
    const { confirmed, incarnation, session } = state
    const isDoubted = state.accepted > Math.max(state.delivered, confirmed)
    next = state.acknowledge === "processed" ? begin(next, frame) : {
      ...begin(next, frame),
      foreign: queued(state),
      doubted: isDoubted ? [...state.doubted, { incarnation, session, confirmed }] : state.doubted
    }
  } else if (frame.session > state.session) {
    const kept = Math.min(frame.keepTo, state.accepted)
    outputs.push({ _tag: "Discard", incarnation: state.incarnation, session: state.session, above: kept })
    next = {
      ...begin(next, frame),
      fenced: state.fenced + tooLate(state, frame),
      foreign: state.foreign,
      doubted: state.doubted,
      carried: state.carried + Math.max(0, kept - state.delivered)
    }
  }
  // What was on its way comes again.
  next = { ...next, next: next.accepted + 1, received: next.accepted, receivedBytes: next.acceptedBytes }
  const [welcomed, progress] = report(granted(next, room), room, now)
  outputs.push({
    _tag: "Send",
    link,
    frame: {
      _tag: "Welcome",
      version,
      device: config.device,
      durable: false,
      capacity: config.capacity,
      limits: { frameBytes: config.frameBytes, elements: config.elements },
      progress
    }
  })
  return [welcomed, outputs]
}

/** How much was settled after the feeder had taken it back, though the next session had not begun here yet. */
const tooLate = (state: State, { session, settled }: Hello): number =>
  settled === undefined || session !== state.session + 1 ? 0 : Math.max(0, settledCount(state) - settled)

const begin = (state: State, frame: Hello): State => ({
  ...make(state.feeder),
  incarnation: frame.incarnation,
  session: frame.session,
  acknowledge: frame.acknowledge,
  leaseMillis: frame.leaseMillis,
  link: state.link,
  version: state.version,
  report: state.report,
  fenced: state.fenced
})

const refuse = (link: number, state: State, reason: RefusedReason, detail: string, retry = false): Step => [state, [
  { _tag: "Send", link, frame: { _tag: "Refused", reason, detail, retry } },
  { _tag: "CloseLink", link }
]]

/** A frame that no feeder sends: its field, and why. Nothing more is taken from that link. */
const violation = (state: State, link: number, field: string, issue: string, retry = false): Step =>
  refuse(link, unlinked(state, link), "invalid", `${field}: ${issue}`, retry)

const unlinked = (state: State, link: number): State =>
  state.link === link ? { ...state, ...nothingInTransit(state), link: undefined } : state

const received = (state: State, frame: Exclude<FeederFrame, Hello>, link: number, config: Config): Step => {
  if (frame._tag === "Bye") return [unlinked(state, link), [{ _tag: "CloseLink", link }]]
  if (frame.heard > state.report) {
    return violation(state, link, "heard", `it is ${frame.heard}, but the last report was ${state.report}`)
  }
  if (frame._tag === "Batch") return batch(hear(state, frame.heard), frame, link, config)
  if (frame._tag === "Ping") return [hear(state, frame.heard), []]
  if (state.next === undefined) return violation(state, link, "_tag", `${frame._tag} after End`)
  if (frame.last !== state.next - 1) {
    return violation(state, link, "last", `it is ${frame.last}, but ${state.next - 1} were sent`)
  }
  return frame._tag === "Flush"
    ? [{ ...hear(state, frame.heard), flushedTo: frame.last }, []]
    : [{ ...hear(state, frame.heard), last: frame.last, next: undefined }, []]
}

/** The feeder echoes a report: the lease counts from when that report, or the one kept before it, was sent. */
const hear = (state: State, heard: number): State => {
  const echoed = state.sent.findLast((sent) => sent.report <= heard)
  if (echoed === undefined) return state
  const above = new Map(state.above)
  const next = {
    ...state,
    above,
    sent: state.sent.filter((sent) => sent.report > echoed.report),
    confirmed: Math.max(state.confirmed, echoed.accepted),
    leaseUntil: Math.max(state.leaseUntil, echoed.at + state.leaseMillis)
  }
  return passed({ ...next, settled: Settled.advance(next, above, echoed.report) })
}

/**
 * A batch may be this many times larger than what it counts: a feeder may estimate how long its text is. And what is
 * queued may be larger by a frame in all, since a feeder that sends again the end of a batch counts as it did for the
 * whole, and does not see into every element.
 */
const estimate = 4

/** The first element of a batch, between two indices, that is none by the Schema here. */
const firstInvalid = ({ chunk: { invalid } }: Batch, from: number, to: number): number | undefined =>
  invalid === undefined
    ? undefined
    : [...invalid.keys()].filter((index) => index >= from && index < to).toSorted((a, b) => a - b)[0]

const batch = (state: State, frame: Batch, link: number, config: Config): Step => {
  const count = frame.chunk.length
  const last = frame.first + count - 1
  const wrong = (field: string, issue: string, retry = false) => violation(state, link, field, issue, retry)
  if (frame.ids !== undefined && state.version < 2) return wrong("kind", `version ${state.version} knows no ids`)
  if (count < 1 || frame.runs.reduce((sum, run) => sum + run.count, 0) !== count) {
    return wrong("runs", `they do not count the ${count} elements of the batch`)
  }
  if (frame.ids !== undefined && frame.ids.length !== count) {
    return wrong("ids", `there are ${frame.ids.length} for ${count} elements`)
  }
  if (state.next === undefined) return wrong("first", "a batch after End")
  // The link keeps the order, so that this is a bug of the feeder, or of what is between. It may try again.
  if (frame.first !== state.next) return wrong("first", `it is ${frame.first}, expected ${state.next}`, true)
  if (last > state.windowTo) return wrong("first", `sequence ${last} is beyond the credit of ${state.windowTo}`)
  if (frame.first > state.received + 1) {
    // It was on its way when the session lapsed: the feeder sends it again on its next link.
    return state.lapsedOn === link
      ? [unlinked(state, link), [{ _tag: "CloseLink", link }]]
      : wrong("first", `it is ${frame.first}, but ${state.received} were accepted`, true)
  }
  const next: State = { ...state, next: last + 1 }
  if (last <= state.received) return [next, []]
  const added = last - state.received
  const receivedBytes = state.receivedBytes + added * frame.elementBytes
  const isAlone = added === 1 && (state.received === state.delivered || state.received === state.collectedTo)
  if (receivedBytes > state.creditBytesTo && !isAlone) {
    return wrong("elementBytes", `${receivedBytes} bytes are beyond the credit of ${state.creditBytesTo}`)
  }
  const excess = Math.max(0, frame.chunk.byteLength - estimate * count * frame.elementBytes)
  if (state.excessBytes + excess > config.frameBytes) {
    return wrong("elementBytes", `it is ${frame.elementBytes}, but ${count} elements take ${frame.chunk.byteLength}`)
  }
  return admit({
    ...next,
    received: last,
    receivedBytes,
    excessBytes: state.excessBytes + excess * added / count,
    flushedTo: undefined,
    transit: [...state.transit, { batch: frame, excess: excess / count }]
  })
}

/** Admits what is on its way, as far as there is credit. */
const admit = (state: State): Step => {
  const { acknowledge, creditTo, epoch, incarnation, link, session, transit } = state
  const outputs: Array<Output> = []
  let { accepted, acceptedBytes } = state
  let refused: { readonly sequence: number; readonly detail: string } | undefined
  let i = 0
  for (; i < transit.length && accepted < creditTo && refused === undefined; i++) {
    const { batch, excess } = transit[i]!
    const { chunk, elementBytes } = batch
    const from = firstNew(accepted, batch)
    const to = Math.min(chunk.length, from + creditTo - accepted)
    // What is accepted is acknowledged: of an element that is none nothing after it can be. To be processed, each is
    // settled by itself.
    const invalid = acknowledge === "accepted" ? firstInvalid(batch, from, to) : undefined
    const end = invalid ?? to
    if (end > from) {
      const first = { incarnation, session, epoch, sequence: accepted + 1, bytes: elementBytes }
      outputs.push({ _tag: "Admit", batch, from, to: end, first: excess > 0 ? { ...first, excess } : first })
      accepted += end - from
      acceptedBytes += (end - from) * elementBytes
    }
    if (invalid !== undefined) refused = { sequence: accepted + 1, detail: chunk.invalid?.get(invalid) ?? "" }
    if (end < chunk.length) break
  }
  if (i === 0 && outputs.length === 0 && refused === undefined) return [state, outputs]
  const next: State = { ...state, accepted, acceptedBytes, transit: transit.slice(i) }
  if (refused === undefined || link === undefined) return [next, outputs]
  outputs.push(
    { _tag: "Send", link, frame: { _tag: "Refused", reason: "invalid", retry: true, ...refused } },
    { _tag: "CloseLink", link }
  )
  return [unlinked(next, link), outputs]
}

const settle = (state: State, place: Place, count: number, result: Result): Step => {
  if (!isCurrent(state, place)) return [{ ...state, fenced: state.fenced + count }, []]
  // In order, as most are, they only move the watermark.
  if (result._tag === "Done" && state.above.size === 0 && place.sequence === state.settled + 1) {
    const settled = state.settled + count
    if (settled <= state.accepted) return [passed({ ...state, settled }), []]
  }
  const above = new Map(state.above)
  for (let i = 0; i < count; i++) {
    const sequence = place.sequence + i
    if (sequence > state.settled && !above.has(sequence)) {
      const refusedBytes = result._tag === "Reject" && result.invalid === true ? place.bytes : 0
      above.set(sequence, { result, report: 0, refusedBytes })
    }
  }
  return [passed({ ...state, above, settled: Settled.advance(state, above, 0) }), []]
}

/** What was refused before it was queued is passed when all before it is settled. */
const passed = (state: State): State => state.settled > state.delivered ? { ...state, delivered: state.settled } : state

/** What a feeder may send, by the room that there is. */
const grant = (
  state: State,
  room: Room
): Pick<State, "creditTo" | "windowTo" | "collectedTo" | "creditBytesTo"> => {
  // What is kept from before this session fills the queue too, unless a take is collecting it.
  const come = Math.min(state.received - state.accepted, room.elements + (room.missing ?? 0))
  const byRoom = room.collecting
    ? state.accepted + Math.max(room.elements, come)
    : state.delivered + Math.max(0, room.elements - kept(state))
  const creditTo = Math.max(
    state.creditTo,
    state.acknowledge === "processed" ? Math.min(byRoom, settledCount(state) + room.unsettled) : byRoom
  )
  return {
    creditTo,
    windowTo: Math.max(state.windowTo, creditTo + (state.version < 3 ? 0 : room.window ?? 0)),
    collectedTo: room.collecting ? state.accepted : state.collectedTo,
    creditBytesTo: Math.max(
      state.creditBytesTo,
      (room.collecting ? state.acceptedBytes : state.deliveredBytes) + room.bytes
    )
  }
}

const granted = (state: State, room: Room): State => ({ ...state, ...grant(state, room) })

/** What is acknowledged as declared. */
const acknowledged = (state: State): number => state.acknowledge === "accepted" ? state.accepted : settledCount(state)

/** A report that tells little may wait so long, in milliseconds, for there to be more to tell. */
const pace = 2

/**
 * Whether the feeder is to be told how things stand. It is at once when it may have nothing else to do than to wait for
 * it, when an element came back or was refused, and when a quarter of what it may send has come since it was told; else
 * not more often than the pace.
 *
 * @category accessors
 * @since 0.1.0
 */
export const isReportDue = (state: State, room: Room, now: number): boolean => {
  const { told } = state
  if (told === undefined || told.collecting !== room.collecting) return true
  // A clock that stands still, as in a test, paces nothing.
  if (now - told.at >= pace || now === told.at) return true
  if (hasEnded(state) || Settled.hasNews(state.above)) return true
  const isQueueIdle = state.acknowledge === "accepted" || room.collecting || queued(state) === 0
  if (state.transit.length === 0 && isQueueIdle) return true
  const { creditBytesTo, windowTo } = grant(state, room)
  const isStarved = state.received >= told.to && windowTo > told.to
  const quarter = (windowTo - state.delivered) / 4
  return isStarved || windowTo - told.to >= quarter || acknowledged(state) - told.acknowledged >= quarter ||
    creditBytesTo - told.bytesTo >= (creditBytesTo - state.deliveredBytes) / 4
}

const report = (state: State, room: Room, now: number): readonly [State, Progress] => {
  const number = state.report + 1
  const [told, above] = Settled.tell(state, number)
  const { accepted, creditBytesTo, creditTo, windowTo } = state
  const next: State = {
    ...state,
    report: number,
    above,
    told: {
      at: now,
      to: windowTo,
      bytesTo: creditBytesTo,
      acknowledged: acknowledged(state),
      collecting: room.collecting
    },
    // A feeder that echoes nothing for long is given no more than the oldest of these: forgetting newer ones only
    // shortens its lease.
    sent: state.sent.length < 64 ? [...state.sent, { report: number, at: now, accepted }] : state.sent
  }
  return [next, {
    report: number,
    accepted,
    delivered: next.delivered,
    carried: next.carried,
    settled: next.settled,
    above: told,
    creditTo,
    creditBytesTo,
    ...(room.collecting ? { collecting: true } : {}),
    ...(next.fenced > 0 ? { fenced: next.fenced } : {}),
    ...(next.version < 3 ? {} : { received: next.received, window: windowTo - creditTo }),
    ended: hasEnded(next)
  }]
}
