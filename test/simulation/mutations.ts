/**
 * Bugs that the simulator must find: each is planted in the source, alone, and must break a law within so many
 * histories.
 */

/** A text that is once in a file, and what stands there instead. */
export type Edit = readonly [file: string, find: string, replace: string]

/** A bug to be planted in the source. */
export interface Mutation {
  readonly name: string
  /** The law that it breaks. Another may be seen to be broken first. */
  readonly law: number
  /** In how many histories, from the first, it must be caught. */
  readonly within: number
  readonly edits: ReadonlyArray<Edit>
}

const session = "src/FeedSession.ts"
const host = "src/HostSession.ts"
const hosted = "src/internal/hostedFeed.ts"
const queue = "src/FeedQueue.ts"
const books = "src/internal/feederBooks.ts"

/** Bugs that are caught. */
export const mutations: ReadonlyArray<Mutation> = [
  {
    name: "the feeder sends one more than was granted",
    law: 1,
    within: 300,
    edits: [[
      session,
      "Math.min(progress.creditTo - sent, limits.elements)",
      "Math.min(progress.creditTo - sent + 1, limits.elements)"
    ]]
  },
  {
    name: "the feeder sends more bytes than were granted",
    law: 1,
    within: 300,
    edits: [[
      "src/actors/RemoteFeed.ts",
      "const most = Math.min(window, credit.bytes, frameBytes)",
      "const most = frameBytes"
    ]]
  },
  {
    name: "what is handed out is acknowledged",
    law: 5,
    within: 300,
    edits: [[
      host,
      "settled: next.settled,",
      "settled: next.delivered,"
    ]]
  },
  {
    name: "the device says it has accepted one more",
    law: 5,
    within: 300,
    edits: [[
      host,
      "accepted: next.accepted,",
      "accepted: next.accepted + 1,"
    ]]
  },
  {
    name: "the credit of what was settled is not returned",
    law: 9,
    within: 300,
    edits: [[
      host,
      "settledCount(state) + room.unsettled",
      "room.unsettled"
    ]]
  },
  {
    name: "what is given again is not marked",
    law: 4,
    within: 300,
    edits: [[
      "src/internal/hostedEntry.ts",
      "this.isMarked = attempt > 1",
      "this.isMarked = false"
    ]]
  },
  {
    name: "attempts are not counted",
    law: 4,
    within: 300,
    edits: [[
      session,
      "({ ...item, attempt: item.attempt + 1 })",
      "({ ...item })"
    ]]
  },
  {
    name: "what comes back goes to the back",
    law: 2,
    within: 300,
    edits: [[
      books,
      "queue.restoreUnsafe(items.map((item) => ({ ...item })))",
      "queue.admitUnsafe(items.map((item) => ({ ...item })))"
    ]]
  },
  {
    name: "the leases of a silent device are not reclaimed",
    law: 3,
    within: 300,
    edits: [[
      session,
      "if (items.length > 0) outputs.push({ _tag: \"GiveBack\", items, afterMillis: 0, cause: why })",
      ""
    ]]
  },
  {
    name: "a run ends with leases out",
    law: 9,
    within: 300,
    edits: [[
      "src/internal/feederRuns.ts",
      "if (isFinished && all.every(({ failed, feed }) => failed !== undefined || feed.state().phase === \"Ended\")) {",
      "if (isAllOut) {"
    ]]
  },
  {
    name: "what is out counts as acknowledged",
    law: 9,
    within: 300,
    edits: [[
      books,
      "every((feed) => FeedSession.leased(feed.state()) === 0)",
      "every((feed) => FeedSession.leased(feed.state()) >= 0)"
    ]]
  },
  {
    name: "what is put back wakes nobody",
    law: 6,
    within: 300,
    edits: [[
      queue,
      "    MutableList.prependAll(stored, elements)\n    changed()",
      "    MutableList.prependAll(stored, elements)"
    ]]
  },
  {
    name: "a flush wakes nobody",
    law: 6,
    within: 300,
    edits: [[
      queue,
      "      isFlushing = flush\n      changed()",
      "      isFlushing = flush"
    ]]
  },
  {
    name: "what a dead device held is forgotten",
    law: 5,
    within: 300,
    edits: [[
      session,
      "heldByDead: state.heldByDead + held(state),",
      "heldByDead: state.heldByDead,"
    ]]
  },
  {
    name: "what a dead device held is counted twice",
    law: 3,
    within: 300,
    edits: [[
      session,
      "progress: { ...state.progress, accepted: state.progress.delivered, carried: 0 }",
      "progress: state.progress"
    ]]
  },
  {
    name: "what is settled is reclaimed too",
    law: 3,
    within: 300,
    edits: [[
      session,
      "if (!state.resolved.has(parcel.first + i)) items.push(again(parcel.items[i]!))",
      "items.push(again(parcel.items[i]!))"
    ]]
  },
  {
    name: "a stop interrupts nobody",
    law: 8,
    within: 300,
    edits: [[
      "src/actors/Coordinator.ts",
      "for (const fiber of fibers.keys()) fiber.interruptUnsafe()",
      ""
    ]]
  },
  {
    name: "a report that is due wakes nobody",
    law: 6,
    within: 300,
    edits: [[
      "src/internal/linkWriter.ts",
      "          isDue = true\n          work()",
      "          isDue = true"
    ]]
  },
  {
    name: "the handler of an interrupted loop counts as done",
    law: 5,
    within: 300,
    edits: [[
      "src/internal/consumer.ts",
      "settle(handed, () => givenBack(Cause.pretty(outcome)))",
      "settle(handed, () => done)"
    ]]
  },
  {
    name: "an element that comes back for the second time is counted as generated again",
    law: 3,
    within: 300,
    edits: [[
      books,
      "if (slot.ordinal < 0) slot.ordinal = nextOrdinal++\n          else returned--",
      "if (slot.ordinal < 0 || slot.attempt > 2) slot.ordinal = nextOrdinal++\n          else returned--"
    ]]
  },
  {
    name: "the queue admits one more than its capacity",
    law: 1,
    within: 300,
    edits: [[
      queue,
      "return store.capacity - stored.length",
      "return store.capacity + 1 - stored.length"
    ]]
  },
  {
    name: "a session that is resumed begins anew",
    law: 4,
    within: 300,
    edits: [[
      host,
      "} else if (frame.session > state.session) {",
      "} else if (frame.session >= state.session) {"
    ]]
  },
  {
    name: "the device forgets a feeder whose link broke",
    law: 4,
    within: 300,
    edits: [[
      hosted,
      "now > lostAt + 3 * state.leaseMillis",
      "now >= lostAt"
    ]]
  },
  {
    name: "the feeder sends again one too few",
    law: 9,
    within: 300,
    edits: [[
      session,
      "const known = Math.max(accepted, state.base) - parcel.first + 1",
      "const known = Math.max(accepted, state.base) - parcel.first + 2"
    ]]
  },
  {
    name: "credit is granted once and never again",
    law: 9,
    within: 300,
    edits: [[
      host,
      "const byRoom = room.collecting\n    ? state.accepted + room.elements\n    : state.delivered + Math.max(0, room.elements - kept(state))",
      "const byRoom = room.elements"
    ]]
  },
  {
    name: "the device admits again the last element that is repeated",
    law: 4,
    within: 1000,
    edits: [
      [session, "...resend(known, frame.progress.accepted)", "...resend(known, 0)"],
      [host, "if (last <= state.accepted) return", "if (last < state.accepted) return"],
      [host, "const from = state.accepted - frame.first + 1", "const from = Math.max(0, state.accepted - frame.first)"]
    ]
  }
]

/** Bugs that no law finds yet. */
export const missed: ReadonlyArray<Mutation> = [
  {
    name: "what is reclaimed goes to the back",
    law: 2,
    within: 300,
    edits: [[
      books,
      "if (afterMillis === 0) return putBackUnsafe(items)",
      "if (afterMillis === 0) {\n inHand -= items.length\n returned += items.length\n hasReturned = true\n if (queue.isClosedUnsafe()) queue.restoreUnsafe(items)\n else queue.admitUnsafe(items.map((item) => ({ ...item })))\n return\n}"
    ]]
  },
  {
    name: "the budget is never spent",
    law: 7,
    within: 300,
    edits: [[
      "src/internal/restarts.ts",
      "if (Exit.isFailure(exit)) return false",
      "if (Exit.isFailure(exit)) return true"
    ]]
  },
  {
    name: "no delay before a link is opened again",
    law: 7,
    within: 300,
    edits: [[
      "src/internal/restarts.ts",
      "opensAt = now + Duration.toMillis(exit.value[1])",
      "opensAt = now"
    ]]
  },
  {
    name: "a break within the lease counts against the budget",
    law: 7,
    within: 300,
    edits: [[
      session,
      "return fate === \"gone\" || now >= leaseEnds(next) ? reclaim(next, fate, now)",
      "return now >= 0 ? reclaim(next, fate, now)"
    ]]
  },
  {
    name: "newcomers overtake those in line",
    law: 2,
    within: 300,
    edits: [[
      queue,
      "line.size === 0 ? undefined : line.values().next().value",
      "[...line].at(-1)"
    ]]
  },
  {
    name: "elements are not checked when they are generated",
    law: 10,
    within: 300,
    edits: [[
      "src/actors/Feeder.ts",
      "feed.validate === \"edges\"\n",
      "feed.validate !== undefined\n"
    ]]
  },
  {
    name: "the fingerprint is not checked",
    law: 10,
    within: 300,
    edits: [[
      hosted,
      "if (hello.fingerprint !== feed.info.fingerprint) {",
      "if (hello.fingerprint === \"\") {"
    ]]
  },
  {
    name: "each feeder is given room as if it were alone",
    law: 1,
    within: 300,
    edits: [[
      hosted,
      "elements: Math.max(1, Math.min(share, feed.capacity - promised)),",
      "elements: feed.capacity,"
    ]]
  },
  {
    name: "the device grants one more than it has room for",
    law: 1,
    within: 300,
    edits: [[
      hosted,
      "elements: Math.max(1, Math.min(share, feed.capacity - promised)),",
      "elements: 1 + Math.max(1, Math.min(share, feed.capacity - promised)),"
    ]]
  }
]
