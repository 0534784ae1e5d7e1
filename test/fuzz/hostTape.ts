/**
 * A device's session with a feeder that may say anything: it never throws, and holds no more than was granted.
 */
import { Schema } from "effect"
import * as BatchCodec from "effect-feeder/BatchCodec"
import type { Chunk } from "effect-feeder/BatchCodec"
import * as HostSession from "effect-feeder/HostSession"
import type { Acknowledge, Batch, FeederFrame, Hello, Result } from "effect-feeder/RemoteDevices"
import { done } from "effect-feeder/RemoteDevices"
import { makeTape, type Tape } from "./tape.ts"

const codec = BatchCodec.make(Schema.Int)

/** Elements, of which one may not pass the Schema. */
const chunkOf = (tape: Tape, length: number): Chunk => {
  const { byteLength, columns, elements } = codec.fromElements(Array.from({ length }, (_, i) => i))
  const invalid = length > 0 && tape.below(6) === 0 ? new Map([[tape.below(length), "id: no"]]) : undefined
  return { length, byteLength, columns, elements, invalid }
}
const config: HostSession.Config = { device: "device", capacity: 6, frameBytes: 1e6, elements: 1000 }
const elements = 6
const bytes = 64
/** What one element alone may count when nothing waits. */
const largest = 100

interface Held {
  readonly place: HostSession.Place
}

const fail = (what: string): never => {
  throw new Error(what)
}

const helloOf = (tape: Tape, state: HostSession.State, acknowledge: Acknowledge): Hello => ({
  _tag: "Hello",
  versions: [tape.number(1), tape.number(2)],
  feed: "f",
  fingerprint: "p",
  feeder: "feeder",
  incarnation: tape.number(Math.max(1, state.incarnation)),
  device: "d",
  session: tape.number(Math.max(1, state.session) + tape.below(2)),
  keepTo: acknowledge === "processed" ? tape.number(0) : tape.number(state.accepted),
  acknowledge,
  leaseMillis: tape.number(1000),
  ...(tape.below(8) === 0 ? { delivery: "effectivelyOnce" } : {})
})

const batchOf = (tape: Tape, state: HostSession.State): Batch => {
  const count = 1 + tape.below(5)
  const length = tape.below(16) === 0 ? tape.below(6) : count
  const chunk = chunkOf(tape, length)
  return {
    _tag: "Batch",
    first: Math.max(1, tape.number(state.next ?? state.accepted + 1)),
    heard: tape.number(state.report),
    elementBytes: Math.min(tape.number(8), 2 ** 32 - 1),
    runs: [{ ordinal: tape.number(state.accepted), count, attempt: 1 + tape.below(3) }],
    chunk,
    ...(tape.below(4) === 0 ? { ids: Array.from({ length: tape.below(8) === 0 ? 1 : length }, String) } : {})
  }
}

const frameOf = (tape: Tape, state: HostSession.State): Exclude<FeederFrame, Hello> => {
  const heard = tape.number(state.report)
  const last = tape.number((state.next ?? state.accepted + 1) - 1)
  switch (tape.below(5)) {
    case 0:
      return { _tag: "Ping", heard }
    case 1:
      return { _tag: "Flush", last, heard }
    case 2:
      return { _tag: "End", last, heard }
    case 3:
      return { _tag: "Bye" }
    default:
      return batchOf(tape, state)
  }
}

const resultOf = (tape: Tape): Result => {
  const choice = tape.below(4)
  return choice === 0
    ? { _tag: "Retry", afterMillis: tape.below(3), cause: "busy" }
    : choice === 1
    ? { _tag: "Reject", cause: `no ${tape.below(3)}` }
    : done
}

const isKept = (output: Extract<HostSession.Output, { _tag: "Discard" }>) => ({ place }: Held): boolean =>
  place.incarnation !== output.incarnation || place.session !== output.session || place.sequence <= output.above

/** Plays a tape to its end. How many elements were handed out. */
export const playHost = (input: Uint8Array, acknowledge: Acknowledge): number => {
  const tape = makeTape(input)
  let state = HostSession.make("feeder")
  let queue: Array<Held> = []
  /** What a take that waits for four has so far. */
  let collected: Array<Held> = []
  const hands: Array<Held> = []
  const closed = new Set<number>()
  let link = 0
  let now = 0
  let handed = 0

  const room = (): HostSession.Room => ({
    collecting: queue.length === 0 && collected.length > 0,
    elements,
    bytes,
    unsettled: 10
  })

  const apply = (input: HostSession.Input): void => {
    const before = state
    const [next, outputs] = HostSession.step(state, input, config)
    state = next
    for (const output of outputs) {
      switch (output._tag) {
        case "Send":
          if (output.frame._tag === "Progress" || output.frame._tag === "Welcome") check(output.frame.progress)
          if (
            output.frame._tag === "Refused" && output.frame.reason === "invalid" && !output.frame.detail.includes(":")
          ) {
            fail(`a refusal that names no field: ${output.frame.detail}`)
          }
          break
        case "CloseLink":
          closed.add(output.link)
          break
        case "Admit":
          if (input._tag !== "Received" || closed.has(input.link)) fail("taken from a link that is closed")
          admit(before, output)
          break
        case "Discard":
          queue = queue.filter(isKept(output))
          collected = collected.filter(isKept(output))
          break
      }
    }
    if (state.accepted < state.delivered || state.settled > state.delivered) fail("more settled than was accepted")
    if (state.sent.length > 64) fail("reports are kept for ever")
  }

  const check = (
    { above, accepted, delivered, settled }: {
      accepted: number
      delivered: number
      settled: number
      above: ReadonlyArray<{ from: number; count: number }>
    }
  ): void => {
    if (!(settled <= delivered && delivered <= accepted)) fail("a report that contradicts itself")
    let last = settled
    for (const { count, from } of above) {
      if (from <= last || count < 1) fail("ranges out of order")
      last = from + count - 1
    }
    if (last > accepted && above.length > 0) fail("settled before it was accepted")
  }

  const admit = (
    before: HostSession.State,
    { batch, first, from, to }: Extract<HostSession.Output, { _tag: "Admit" }>
  ): void => {
    const added = to - from
    if (added < 1 || from < 0 || first.sequence !== before.accepted + 1) fail("not what comes next")
    if (state.accepted > state.creditTo) fail("beyond the credit")
    if (batch.ids !== undefined && (state.version < 2 || batch.ids.length !== batch.chunk.length)) fail("ids of no one")
    for (let i = 0; i < added; i++) {
      const place = { ...first, sequence: first.sequence + i }
      const issue = batch.chunk.invalid?.get(from + i)
      if (issue === undefined) queue.push({ place })
      else if (acknowledge === "accepted") fail("an element that is none was accepted for good")
      else state = HostSession.refuseInvalid(state, place, issue)
    }
    const current = [...queue, ...collected].filter(({ place }) =>
      HostSession.isCurrent(state, place) && place.epoch === state.epoch
    )
    // A take has at most three more than what the credit counts.
    if (current.length > elements + 3) fail(`${current.length} elements wait`)
    const sizes = current.map(({ place }) => place.bytes).toSorted((a, b) => b - a)
    const small = sizes.filter((size) => size <= largest).reduce((sum, size) => sum + size, 0)
    if (sizes.length - sizes.filter((size) => size <= largest).length > 4 || small > 4 * bytes + 4 * largest) {
      fail(`${small} bytes wait`)
    }
  }

  const handOut = (held: Held): void => {
    const verdict = HostSession.verdict(state, held.place, now)
    if (verdict === "lapsed") {
      const { link } = state
      state = HostSession.lapse(state)
      if (link !== undefined && tape.flag()) {
        closed.add(link)
        apply({ _tag: "Lost", link })
      }
    }
    if (verdict !== "hand out") return
    state = HostSession.handOut(state, held.place, 1, now)[0]
    handed++
    if (state.carried < 0 || state.foreign < 0) fail("more handed out than was kept")
    if (hands.length < 20 && acknowledge === "processed") hands.push(held)
  }

  while (!tape.isOver()) {
    switch (tape.below(10)) {
      case 0:
        apply({ _tag: "Hello", frame: helloOf(tape, state, acknowledge), link: ++link, room: room(), now })
        break
      case 1:
      case 2:
      case 3: {
        const from = tape.below(16) === 0 ? link - 1 : link
        const frame = tape.flag() ? batchOf(tape, state) : frameOf(tape, state)
        if (!closed.has(from)) apply({ _tag: "Received", frame, link: from })
        break
      }
      case 4:
        apply({ _tag: "Report", room: room(), now })
        break
      case 5:
        // Who waits for four comes before who takes one.
        if (queue.length > 0 && collected.length === 0) handOut(queue.shift()!)
        break
      case 6:
        if (queue.length > 0) collected.push(queue.shift()!)
        if (collected.length === 4) {
          const all = collected
          collected = []
          for (const held of all) handOut(held)
        }
        break
      case 7:
        if (hands.length > 0) {
          const [held] = hands.splice(tape.below(hands.length), 1)
          apply({ _tag: "Settle", place: held!.place, count: 1, result: resultOf(tape) })
        }
        break
      case 8:
        now += tape.number(200) % 5000
        break
      case 9:
        closed.add(link)
        apply({ _tag: "Lost", link })
        break
    }
  }
  return handed
}
