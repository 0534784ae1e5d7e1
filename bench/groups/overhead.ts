/**
 * What acknowledgements, sequence numbers, metrics and status cost. Two answers:
 *
 * * `overhead`: while a feeder feeds over TCP, a profile of its process and of its consumer's counts the time of the files
 *   that do nothing else, and, at the consumer, that of writing to the socket, since only reports are written there. What
 *   counts is the larger of the two shares of the time in which a process was busy: no throughput depends more on it.
 * * `overhead-bare`: the throughput of a feeder against that of a bare socket with the same columns, validated on both sides,
 *   without acknowledgements. The difference is all that a feeder is, its queue and Effect included.
 */
/* oxlint-disable no-await-in-loop -- measurements stand in line */
import { measure, type Options } from "../harness.ts"
import { type Profile, profiled } from "../profiler.ts"
import { remote } from "../remote.ts"
import { type Group, numbersOf, type Report, rowOf, sideOf, skippedRow } from "../rows.ts"

const at = { payload: "small", batch: 2048, window: 16384 } as const

const goal = 0.9

/** The sessions, the ledger and its books, the status, and the reports on their way. */
const accounting = new RegExp(
  "^src/(FeedSession|HostSession|Ledger|internal/(items|outstanding|ranges|settled|given|feederBooks|feederAccount|changes|" +
    "splitProgress|reportFrame|controlFrames))\\.ts$"
)

const writing = /^(writev|writeBuffer|writeUtf8String)\b/

const shareOf = ({ files, functions }: Profile, isConsumer: boolean): number => {
  const accounted = files.filter(({ name }) => accounting.test(name))
  const written = isConsumer ? functions.filter(({ name }) => writing.test(name)) : []
  return [...accounted, ...written].reduce((sum, { percent }) => sum + percent, 0) / 100
}

const counted = async ({ millis, rounds }: Options, report: Report): Promise<void> => {
  const consumers: Array<Profile> = []
  const one = remote({
    ...at,
    name: "Feeder",
    way: "feeder-chunks",
    acknowledged: "processed",
    onProfile: (profile) => consumers.push(profile)
  })
  const shares: Array<number> = []
  let n: number = at.window * 8
  for (let round = -3; round < rounds; round++) {
    await one.before?.(n)
    const start = performance.now()
    const [, feeder] = await profiled(async () => {
      await one.run(n)
    })
    const taken = performance.now() - start
    await one.after?.()
    if (round < 0) n = Math.max(at.batch, Math.round(n * 2 * millis / taken / at.batch) * at.batch)
    else shares.push(1 - Math.max(shareOf(feeder, false), shareOf(consumers.at(-1)!, true)))
  }
  await one.end?.()
  const setting = { payload: one.payload, batch: at.batch, window: at.window, acknowledged: "processed", lost: 0 }
  const ours = { ...setting, name: "busy time of a feeder or its consumer, without accounting", values: shares }
  const all = { ...setting, name: "all of the busy time", values: shares.map(() => 1) }
  report.row(rowOf("overhead", ours, all, { goal, unit: "of the time" }))
}

const compared = async (options: Options, report: Report): Promise<void> => {
  const measured = await measure(
    [
      remote({ ...at, name: "Feeder, source of chunks", way: "feeder-chunks", acknowledged: "processed" }),
      remote({
        ...at,
        name: "node:net, our columns, validated",
        way: "net-columns-unacknowledged",
        acknowledged: "none"
      })
    ],
    options,
    report.progress
  )
  const failed = measured.find((one) => one.failed !== undefined)?.failed
  const [ours, peer] = measured.map(numbersOf)
  if (failed !== undefined || ours === undefined || peer === undefined) {
    report.row(skippedRow("overhead-bare", null, failed ?? "nothing was measured"))
    return
  }
  report.measured(sideOf(ours), true)
  report.measured(sideOf(peer), false)
  report.row(rowOf("overhead-bare", ours, peer, { goal: null }))
}

const overhead: Group = {
  name: "overhead",
  title: "What accounting for every element costs",
  unit: "elements/s",
  rows: ["overhead", "overhead-bare"],
  options: { millis: 250 },
  run: async (rows, options, report) => {
    if (rows.includes("overhead")) await counted(options, report)
    if (rows.includes("overhead-bare")) await compared(options, report)
  }
}

export const groups: ReadonlyArray<Group> = [overhead]
