/**
 * Bugs that the simulator must find: each is planted in the source, alone, and must break a law within so many
 * histories.
 *
 * One that is rare says from which history on it is looked for, so that CI does not run thousands before. When a change
 * makes other histories of the seeds, and one is missed, run it without its `from` and set that anew.
 */
import type { FaultKind, Plan } from "./plan.ts"

/** A text that is once in a file, and what stands there instead. */
export type Edit = readonly [file: string, find: string, replace: string]

/** A bug to be planted in the source. */
export interface Mutation {
  readonly name: string
  /** The law that it breaks. Another may be seen to be broken first. */
  readonly law: number
  /** The first history that is tried: those before are known not to find it. By default 1. */
  readonly from?: number
  /** In how many histories, `from` on, it must be caught. */
  readonly within: number
  /** Which of these are run: a rare bug is looked for where it may be. By default all. */
  readonly where?: (plan: Plan) => boolean
  readonly edits: ReadonlyArray<Edit>
}

const session = "src/FeedSession.ts"
const outstanding = "src/internal/outstanding.ts"
const host = "src/HostSession.ts"
const hosted = "src/internal/hostedFeed.ts"
const queue = "src/FeedQueue.ts"
const lines = "src/internal/waitingLines.ts"
const books = "src/internal/feederBooks.ts"
const remote = "src/actors/RemoteFeed.ts"
const fitting = "src/internal/fitting.ts"

const isProcessed = (plan: Plan): boolean => plan.acknowledge === "processed"

/** Whether much waits at a device for long, and another is there that may be given it. */
const isSlow = (plan: Plan): boolean =>
  plan.devices > 1 && plan.capacity > 3 && plan.work === 300 && plan.faults > 4 && plan.kinds.length < 9

/** Whether any of these goes wrong. */
const knows = (plan: Plan, ...kinds: ReadonlyArray<FaultKind>): boolean =>
  kinds.some((kind) => plan.kinds.includes(kind))

/** Bugs that are caught. */
export const mutations: ReadonlyArray<Mutation> = [
  {
    name: "the feeder sends one more than was granted",
    law: 1,
    within: 500,
    edits: [[
      session,
      "progress.creditTo + Math.min(progress.window ?? 0, window) - sent",
      "progress.creditTo + Math.min(progress.window ?? 0, window) - sent + 1"
    ]]
  },
  {
    name: "the feeder sends more bytes than were granted",
    law: 1,
    within: 500,
    edits: [[fitting, "const most = Math.min(Math.max(0, bytes), frameBytes)", "const most = frameBytes"]]
  },
  {
    name: "the device grants one more than it has room for",
    law: 1,
    within: 500,
    edits: [[
      hosted,
      "elements: Math.max(1, Math.min(share, feed.capacity - promised)),",
      "elements: 1 + Math.max(1, Math.min(share, feed.capacity - promised)),"
    ]]
  },
  {
    name: "what is on its way is admitted without regard to room",
    law: 1,
    within: 500,
    edits: [[host, "Math.min(chunk.length, from + creditTo - accepted)", "chunk.length"]]
  },
  {
    name: "what comes back goes to the back",
    law: 2,
    within: 500,
    edits: [[
      books,
      "queue.restoreUnsafe(items)",
      "queue.admitUnsafe(items)"
    ]]
  },
  {
    name: "what is reclaimed goes to the back",
    law: 2,
    within: 5000,
    where: (plan) =>
      plan.supervision === "each" && plan.windowBytes === 1_000_000 && plan.devices > 1 && plan.faults > 4 &&
      plan.capacity > 3,
    edits: [[
      books,
      "return putBackUnsafe(items)",
      "inHand -= items.length\n returned += items.length\n hasReturned = true\n if (queue.isClosedUnsafe()) queue.restoreUnsafe(items)\n else queue.admitUnsafe(items.map((item) => ({ ...item })))\n return"
    ]]
  },
  {
    name: "an element that comes back for the second time is counted as generated again",
    law: 2,
    within: 500,
    edits: [[
      books,
      "if (slot.ordinal < 0) {\n        slot.ordinal",
      "if (slot.ordinal < 0 || slot.attempt > 2) {\n        slot.ordinal"
    ]]
  },
  {
    name: "the leases of a silent device are not reclaimed",
    law: 3,
    within: 500,
    edits: [[
      session,
      "if (items.length > 0) outputs.push({ _tag: \"GiveBack\", taken: true, items, afterMillis: 0, cause: why })",
      ""
    ]]
  },
  {
    name: "the leases of a failed device are not reclaimed",
    law: 3,
    within: 500,
    edits: [[
      session,
      "if (items.length > 0) outputs.push({ _tag: \"GiveBack\", taken: true, items, afterMillis: 0, cause })",
      ""
    ]]
  },
  {
    name: "what a dead device held is forgotten",
    law: 5,
    within: 500,
    edits: [[session, "heldByDead: state.heldByDead + held(state),", "heldByDead: state.heldByDead,"]]
  },
  {
    name: "what a dead device held is counted twice",
    law: 3,
    within: 500,
    edits: [[
      session,
      "progress: { ...state.progress, accepted: state.progress.delivered, carried: 0, fenced: 0 }",
      "progress: state.progress"
    ]]
  },
  {
    name: "what is settled is reclaimed too",
    law: 3,
    within: 500,
    edits: [[
      outstanding,
      "if (resolved.has(sequence)) continue\n      const next = again",
      "const next = again"
    ]]
  },
  {
    name: "what is given again is not marked",
    law: 4,
    within: 500,
    edits: [["src/internal/hostedEntry.ts", "parcel.attempt > 1 ? 0 : parcel.chunk.length", "parcel.chunk.length"]]
  },
  {
    name: "attempts are not counted",
    law: 4,
    within: 500,
    edits: [
      [outstanding, "attempt: item.attempt + 1,", "attempt: item.attempt,"],
      [books, "slot.attempt = 2", "slot.attempt = 1"]
    ]
  },
  {
    name: "what is to be given once at most is given again",
    law: 4,
    within: 2000,
    where: (plan) => plan.delivery === "atMostOnce",
    edits: [[
      books,
      "if (options.delivery === \"atMostOnce\") letGo",
      "if (options.delivery !== options.delivery) letGo"
    ]]
  },
  {
    name: "a session that is resumed begins anew",
    law: 4,
    within: 500,
    edits: [[host, "} else if (frame.session > state.session) {", "} else if (frame.session >= state.session) {"]]
  },
  {
    name: "the device forgets a feeder whose link broke",
    law: 4,
    within: 500,
    edits: [[hosted, "now > lostAt + 3 * state.leaseMillis", "now >= lostAt"]]
  },
  {
    name: "the device admits again the last element that is repeated",
    law: 4,
    from: 2800,
    within: 2000,
    edits: [[session, "Outstanding.beyond(known, frame.progress.accepted)", "Outstanding.beyond(known, 0)"], [
      host,
      "if (last <= state.received) return",
      "if (last < state.received) return"
    ], [
      host,
      "Math.max(0, accepted - first + 1)",
      "Math.max(0, accepted - first)"
    ]]
  },
  {
    name: "the device has no lease",
    law: 4,
    from: 1100,
    within: 20000,
    where: (plan) => isProcessed(plan) && isSlow(plan) && knows(plan, "freeze device", "partition", "half-open"),
    edits: [[
      host,
      "return state.acknowledge === \"processed\" && now >= state.leaseUntil ? \"lapsed\"",
      "return false ? \"lapsed\""
    ]]
  },
  {
    name: "the device counts its lease from what it receives",
    law: 4,
    from: 41000,
    within: 20000,
    where: (plan) => isProcessed(plan) && isSlow(plan) && knows(plan, "freeze device", "partition"),
    edits: [[
      hosted,
      "session.state = state\n          for (const output of outputs) {",
      "session.state = input._tag === \"Received\" ? { ...state, leaseUntil: shared.now() + state.leaseMillis } : state\n          for (const output of outputs) {"
    ]]
  },
  {
    name: "the feeder takes back before the device lets go",
    law: 4,
    from: 500,
    within: 20000,
    where: (plan) => knows(plan, "freeze device", "partition"),
    edits: [[
      session,
      "(state.heardAt ?? Number.NEGATIVE_INFINITY) + state.config.leaseMillis * 1.1",
      "(state.heardAt ?? Number.NEGATIVE_INFINITY) + state.config.leaseMillis * 0.5"
    ]]
  },
  {
    name: "what is in doubt is handed out unmarked",
    law: 4,
    from: 28000,
    within: 20000,
    where: (plan) =>
      !isProcessed(plan) && plan.devices > 1 && plan.capacity > 3 && plan.work === 300 && plan.faults > 4 &&
      knows(plan, "freeze device", "half-open", "partition"),
    edits: [
      [host, "return [next, now >= state.leaseUntil ? state.confirmed : Infinity]", "return [next, Infinity]"],
      [host, "unmarkedTo = Math.min(unmarkedTo, confirmed)", "unmarkedTo = Math.max(unmarkedTo, confirmed)"]
    ]
  },
  {
    name: "a new session does not clear the device's queue",
    law: 4,
    from: 500,
    within: 20000,
    where: (plan) => isProcessed(plan) && isSlow(plan) && knows(plan, "freeze device", "partition", "half-open"),
    edits: [[
      hosted,
      "owner === session && place.incarnation === output.incarnation &&",
      "false && place.incarnation === output.incarnation &&"
    ]]
  },
  {
    name: "what is out at a removed device is given again before its lease has ended",
    law: 4,
    from: 9300,
    within: 20000,
    where: (plan) => isProcessed(plan) && isSlow(plan) && plan.size === 1 && knows(plan, "remove device"),
    edits: [[remote, "this.#isRemoved ? Math.max(0, Math.ceil(leaseEnds - owner.now())) : 0", "0"]]
  },
  {
    name: "what is handed out is acknowledged",
    law: 5,
    within: 500,
    edits: [[host, "settled: next.settled,", "settled: next.delivered,"]]
  },
  {
    name: "the device says it has accepted one more",
    law: 5,
    within: 500,
    edits: [[
      host,
      "    accepted,\n    delivered: next.delivered,",
      "    accepted: accepted + 1,\n    delivered: next.delivered,"
    ]]
  },
  {
    name: "the handler of an interrupted loop counts as done",
    law: 5,
    within: 500,
    edits: [[
      "src/internal/consumer.ts",
      "settle(handed, givenBack(why(exit.cause)))",
      "settle(handed, done)"
    ]]
  },
  {
    name: "what was given back passes as done before the feeder heard of it",
    law: 5,
    within: 20000,
    where: (plan) => isProcessed(plan) && plan.delay === 60,
    edits: [[
      "src/internal/settled.ts",
      "(next.result._tag !== \"Done\" && (next.report === 0 || next.report > heard))",
      "(next.result._tag !== \"Done\" && next.report === 0)"
    ]]
  },
  {
    name: "the device keeps nothing that it was told to",
    law: 5,
    within: 20000,
    where: (plan) =>
      !isProcessed(plan) && plan.work === 300 && plan.faults > 4 &&
      knows(plan, "freeze device", "partition", "half-open"),
    edits: [[host, "const kept = Math.min(frame.keepTo, state.accepted)", "const kept = 0"]]
  },
  {
    name: "what is put back wakes nobody",
    law: 6,
    within: 2000,
    where: (plan) => plan.windowBytes < 1_000_000 && plan.operations < 100,
    edits: [[
      queue,
      "    putBack(elements)\n    changed()",
      "    putBack(elements)"
    ]]
  },
  {
    name: "who leaves the line wakes nobody",
    law: 6,
    within: 5000,
    where: (plan) => plan.concurrency > 1 && plan.faults > 4,
    edits: [
      [lines, "        lineChanged(line)\n        changed()", "        lineChanged(line)"],
      [lines, "    lineChanged(line)\n    changed()\n  }", "    lineChanged(line)\n  }"]
    ]
  },
  {
    name: "a report that is due wakes nobody",
    law: 6,
    within: 500,
    edits: [[
      "src/internal/linkWriter.ts",
      "          isAsked ||= asked\n          work()",
      "          isAsked ||= asked"
    ]]
  },
  {
    name: "the budget is never spent",
    law: 7,
    within: 500,
    edits: [[
      "src/internal/restarts.ts",
      "if (Exit.isFailure(exit)) return false",
      "if (Exit.isFailure(exit)) return true"
    ]]
  },
  {
    name: "no delay before a link is opened again",
    law: 7,
    from: 50,
    within: 500,
    edits: [["src/internal/restarts.ts", "opensAt = now + Duration.toMillis(exit.value[1])", "opensAt = now"]]
  },
  {
    name: "a break within the lease counts against the budget",
    law: 7,
    within: 20000,
    where: (plan) => plan.supervision === "each" && plan.faults > 4 && knows(plan, "reset"),
    edits: [[
      session,
      "return fate === \"gone\" || now >= leaseEnds(next) ? reclaim(next, fate, now)",
      "return now >= 0 ? reclaim(next, fate, now)"
    ]]
  },
  {
    name: "a stop interrupts nobody",
    law: 8,
    within: 500,
    edits: [["src/actors/Coordinator.ts", "for (const fiber of fibers.keys()) fiber.interruptUnsafe()", ""]]
  },
  {
    name: "a stop leaves the link open",
    law: 8,
    within: 500,
    edits: [[remote, "Scope.close(scope, exit)", "Effect.void"]]
  },
  {
    name: "a run ends with leases out",
    law: 9,
    within: 500,
    edits: [[
      "src/internal/feederRuns.ts",
      "if (isFed && all.every(({ failed, feed }) => failed !== undefined || feed.state().phase === \"Ended\")) {",
      "if (isAllOut()) {"
    ]]
  },
  {
    name: "credit is granted once and never again",
    law: 9,
    within: 500,
    edits: [[
      host,
      "const byRoom = room.collecting\n    ? state.accepted + Math.max(room.elements, come)\n    : state.delivered + Math.max(0, room.elements - kept(state))",
      "const byRoom = room.elements"
    ]]
  },
  {
    name: "a flush wakes nobody",
    law: 6,
    within: 2000,
    where: (plan) => plan.size > 1,
    edits: [[queue, "      isFlushing = flush\n      changed()", "      isFlushing = flush"]]
  },
  {
    name: "the feeder sends again one too few",
    law: 9,
    from: 13200,
    within: 20000,
    where: (plan) => plan.delay >= 10 && plan.faults > 6 && plan.kinds.length < 8 && knows(plan, "reset"),
    edits: [[
      outstanding,
      "const known = Math.max(accepted, base) - parcel.first + 1",
      "const known = Math.max(accepted, base) - parcel.first + 2"
    ]]
  },
  {
    name: "a device whose lease has lapsed keeps its link",
    law: 9,
    from: 8000,
    within: 20000,
    where: (plan) => isProcessed(plan) && isSlow(plan) && knows(plan, "freeze device"),
    edits: [[hosted, "if (session.state.link !== undefined) shared.writers.get(session.state.link)?.close()", ""]]
  },
  {
    name: "a loop ends with the first feeder",
    law: 9,
    within: 500,
    edits: [[hosted, "ended.size >= shared.feeders", "ended.size >= 1"]]
  },
  {
    name: "elements are not checked when they are generated",
    law: 10,
    within: 500,
    edits: [
      ["src/internal/slots.ts", "if (validate === \"edges\") return", "if (validate.length > 0) return"],
      ["src/internal/slots.ts", "validate === \"edges\" ?", "validate.length > 0 ?"]
    ]
  },
  {
    name: "the fingerprint is not checked",
    law: 10,
    within: 2000,
    where: (plan) => knows(plan, "intrude"),
    edits: [[hosted, "if (hello.fingerprint !== feed.info.fingerprint) {", "if (hello.fingerprint === \"\") {"]]
  },
  {
    name: "a device takes an older life of a feeder",
    law: 10,
    within: 2000,
    where: (plan) => knows(plan, "intrude"),
    edits: [[host, "if (frame.incarnation < state.incarnation) {", "if (frame.incarnation < 0) {"]]
  },
  {
    name: "an interrupted take drops the batch that it collects",
    law: 11,
    from: 600,
    within: 20000,
    where: (plan) => plan.size > 2 && plan.faults > 4 && plan.kinds.length < 7 && knows(plan, "interrupt loop"),
    edits: [
      [
        lines,
        "return Effect.sync(leave) // runs",
        "return Effect.sync(() => {\n        if (turn.need > 1) onNeed(-1)\n        leave()\n      }) // runs"
      ],
      [
        queue,
        "      store.capacity = capacity + need - 1",
        "      if (need < 0) MutableList.clear(stored)\n      store.capacity = capacity + need - 1"
      ]
    ]
  }
]

/** Bugs that no law, or only few histories, can tell from none. */
export const missed: ReadonlyArray<Mutation> = [
  {
    // A feeder's queue is in no frame and no account of its own; the model of the queue finds this one.
    name: "the queue admits one more than its capacity",
    law: 1,
    within: 500,
    edits: [[queue, "store.capacity = capacity + need - 1", "store.capacity = capacity + need"]]
  },
  {
    name: "each feeder is given room as if it were alone",
    law: 1,
    within: 500,
    edits: [[hosted, "elements: Math.max(1, Math.min(share, feed.capacity - promised)),", "elements: feed.capacity,"]]
  },
  {
    name: "a device takes what is beyond the credit",
    law: 1,
    within: 500,
    edits: [[host, "if (last > state.windowTo) return wrong", "if (last < 0) return wrong"]]
  },
  {
    // In a few of ten thousand histories; a test of the session finds this one.
    name: "a settlement of an older session counts",
    law: 5,
    within: 20000,
    where: (plan) => isProcessed(plan) && plan.work === 300 && plan.faults > 4,
    edits: [[
      host,
      "export const isCurrent = (state: State, place: Place): boolean =>\n  place.incarnation === state.incarnation && place.session === state.session",
      "export const isCurrent = (state: State, place: Place): boolean =>\n  place.incarnation === state.incarnation"
    ]]
  },
  {
    name: "newcomers overtake those in line",
    law: 2,
    within: 500,
    edits: [
      [lines, "const canGoOn = ({ first }: Line)", "const canGoOn = ({ last: first }: Line)"],
      [lines, "advance(line.first!)", "advance(line.last!)"]
    ]
  },
  {
    name: "a restart keeps those that are well linked",
    law: 7,
    within: 500,
    edits: [[remote, "Effect.raceFirst(restarts.ended(round), attempt)", "attempt"]]
  },
  {
    name: "a device that leaves is not heard",
    law: 9,
    within: 500,
    edits: [[session, "return drain({ ...state, leaving: true }, now)", "return [state, []]"]]
  },
  {
    name: "a source is interrupted while it gives",
    law: 9,
    within: 500,
    edits: [[
      "src/actors/QueueRunner.ts",
      "if (isPulling || worker === undefined) return Effect.void",
      "if (worker === undefined) return Effect.void"
    ]]
  },
  {
    name: "the device does not close a link that has ended",
    law: 8,
    within: 500,
    edits: [["src/actors/Device.ts", "Effect.onExit((exit) => Scope.close(own, exit)),", ""]]
  },
  {
    name: "what an interrupted fiber has taken is dropped",
    law: 11,
    within: 500,
    edits: [[
      "src/internal/received.ts",
      "taken === undefined ? Effect.failCause(cause)",
      "true ? Effect.failCause(cause)"
    ]]
  },
  {
    name: "the device confirms the end too early",
    law: 9,
    within: 500,
    edits: [[
      host,
      "(state.acknowledge === \"accepted\" ? state.accepted >= state.last : settledCount(state) >= state.last)",
      "true"
    ]]
  },
  {
    name: "the device does not check how it is acknowledged",
    law: 10,
    within: 500,
    edits: [[hosted, "if (hello.acknowledge !== feed.acknowledge) {", "if (hello.feeder === \"\") {"]]
  }
]
