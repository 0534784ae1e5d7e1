/**
 * A feeder's session with a device that may say anything: it never throws, and every element stays in one class.
 */
import { Schema } from "effect"
import * as BatchCodec from "effect-feeder/BatchCodec"
import * as FeedSession from "effect-feeder/FeedSession"
import type { Acknowledge, DeviceFrame, Progress, Result } from "effect-feeder/RemoteDevices"
import { makeTape, type Tape } from "./tape.ts"

const codec = BatchCodec.make(Schema.Int)

const fail = (what: string): never => {
  throw new Error(what)
}

const resultOf = (tape: Tape): Result => {
  const choice = tape.below(3)
  return choice === 0
    ? { _tag: "Retry", afterMillis: tape.number(1), cause: "busy" }
    : choice === 1
    ? { _tag: "Reject", cause: "no" }
    : { _tag: "Done" }
}

const progressOf = (tape: Tape, { progress, sent }: FeedSession.State<number>): Progress => {
  const accepted = tape.number(Math.max(progress.accepted, sent - tape.below(4)))
  const delivered = tape.number(Math.max(progress.delivered, accepted - tape.below(3)))
  const settled = tape.number(Math.max(progress.settled, Math.min(delivered, progress.settled + tape.below(4))))
  return {
    report: tape.number(progress.report + 1),
    accepted,
    delivered,
    carried: tape.number(Math.max(0, progress.carried - tape.below(2))),
    settled,
    above: Array.from({ length: tape.below(4) }, (_, i) => ({
      from: tape.number(settled + 1 + i * 2),
      count: tape.number(1),
      result: resultOf(tape)
    })),
    creditTo: tape.number(sent + 5),
    creditBytesTo: tape.number(1000 + sent * 16),
    ended: tape.flag(),
    ...(tape.below(4) === 0 ? { collecting: true } : {}),
    ...(tape.below(4) === 0 ? { fenced: tape.number(1) } : {})
  }
}

const frameOf = (tape: Tape, state: FeedSession.State<number>): DeviceFrame => {
  const choice = tape.below(state.phase === "Opening" ? 4 : 12)
  if (choice === 0) {
    const one = tape.below(2) === 0 ? { sequence: tape.number(state.progress.accepted + 1) } : {}
    return { _tag: "Refused", reason: "invalid", detail: "later", retry: tape.below(4) !== 0, ...one }
  }
  if (choice === 1) return { _tag: "Leaving", byMillis: tape.number(10) }
  return choice === 2 || (choice === 3 && state.phase === "Opening")
    ? {
      _tag: "Welcome",
      version: tape.number(2),
      device: `device-${tape.below(8) === 0 ? tape.below(4) : 0}`,
      durable: false,
      capacity: 5,
      limits: { frameBytes: tape.number(10_000), elements: tape.number(100) },
      progress: progressOf(tape, state)
    }
    : { _tag: "Progress", progress: progressOf(tape, state) }
}

/** Plays a tape to its end. How many elements were delivered. */
export const playFeeder = (input: Uint8Array, acknowledge: Acknowledge): number => {
  const tape = makeTape(input)
  let state = FeedSession.make<number>({
    feed: "f",
    fingerprint: "p",
    feeder: "feeder",
    incarnation: 1,
    acknowledge,
    delivery: "atLeastOnce",
    leaseMillis: 1000,
    codec
  }, "d")
  let generated = 0
  let queue: Array<FeedSession.Item<number>> = []
  let isOpen = false
  let now = 0

  const apply = (input: FeedSession.Input<number>): void => {
    const [next, outputs] = FeedSession.step(state, input)
    state = next
    for (const output of outputs) {
      switch (output._tag) {
        case "Send":
          if (output.frame._tag === "Batch") {
            const { chunk, first, ids, runs } = output.frame
            if (runs.reduce((sum, run) => sum + run.count, 0) !== chunk.length) fail("runs that do not count")
            if (first < 1 || first + chunk.length - 1 > state.sent) fail("sequences that were not sent")
            if (ids !== undefined && state.version < 2) fail("ids to a device of version 1")
          }
          break
        case "CloseLink":
          isOpen = false
          break
        case "GiveBack":
          queue.unshift(...output.items)
          break
        case "Rejected":
          break
        case "Failed":
          if (output.reason === "invalid" && !/:|later/.test(output.detail)) fail(`no field is named: ${output.detail}`)
          break
        case "Reclaimed":
          break
      }
    }
    const { accepted, dead, delivered, heldByDead, redelivered } = state
    for (const count of [accepted, dead, delivered, heldByDead, redelivered, FeedSession.leased(state)]) {
      if (!Number.isSafeInteger(count) || count < 0) fail(`a count of ${count}`)
    }
    const held = FeedSession.held(state)
    const all = queue.length + FeedSession.leased(state) + held + delivered + dead + heldByDead
    if (all !== generated) fail(`law 3: ${generated} generated, ${all} accounted for`)
  }

  while (!tape.isOver()) {
    switch (tape.below(10)) {
      case 0:
        if (!isOpen && !["Ended", "Failed"].includes(state.phase)) {
          isOpen = true
          apply({ _tag: "Opened", now })
        }
        break
      case 1:
      case 2: {
        const credit = FeedSession.credit(state)
        const most = Math.min(credit.elements, Math.floor(credit.bytes / 40), 5)
        if (most <= 0) break
        while (queue.length < most) {
          queue.push({ ordinal: generated, attempt: 1, element: generated, ...(tape.flag() ? { id: "x" } : {}) })
          generated++
        }
        const items = queue.splice(0, 1 + tape.below(most))
        apply({ _tag: "Push", items })
        break
      }
      case 3:
      case 4:
      case 5:
        if (isOpen) apply({ _tag: "Received", frame: frameOf(tape, state), now })
        break
      case 6:
        now += tape.number(100) % 3000
        apply({ _tag: "Tick", now })
        break
      case 7:
        isOpen = false
        apply({ _tag: "Lost", fate: tape.below(4) === 0 ? "gone" : "unknown", now })
        break
      case 8:
        apply(tape.flag() ? { _tag: "Flush" } : { _tag: "Drain", now })
        break
      case 9: {
        const choice = tape.below(6)
        if (choice === 0) apply({ _tag: "GiveUp" })
        else if (choice === 1) apply({ _tag: "Stop" })
        else apply({ _tag: "Begin" })
        break
      }
    }
  }
  return state.delivered
}
