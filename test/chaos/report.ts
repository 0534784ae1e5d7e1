/**
 * What a run comes to: a table for people, a line for programs.
 */
import type { Verdict } from "./checker.ts"
import type { Outcome, Settings } from "./run.ts"

const percentile = (values: ReadonlyArray<number>, part: number): number => {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)] ?? 0
}

/** The broken promises: those of the record, of the ledger, and what should not have happened at all. */
export const broken = ({ elements }: Settings, outcome: Outcome, verdict: Verdict): ReadonlyArray<string> => {
  const { account, problems, restarts } = outcome
  const ledger: Array<string> = []
  if (account !== undefined) {
    const { dead, delivered, dropped, generated, held, heldByDead, leased, lost, queued } = account
    if (lost !== 0) ledger.push(`the ledger has lost ${lost}`)
    if (queued + leased + held + delivered + heldByDead + dead + dropped !== generated) {
      ledger.push(`the ledger does not sum up: ${JSON.stringify(account)}`)
    }
    if (restarts.feeder === 0 && generated !== elements) {
      ledger.push(`the ledger has ${generated} generated of ${elements}`)
    }
    if (restarts.feeder === 0 && verdict.unknown.elements > dropped) {
      ledger.push(`nobody finished ${verdict.unknown.elements}, of which the ledger has ${dropped} dropped`)
    }
    if (restarts.feeder === 0 && dead !== verdict.dead) {
      ledger.push(`the ledger has ${dead} dead, consumers refused ${verdict.dead}`)
    }
  }
  return [...problems, ...ledger, ...verdict.violations]
}

export interface Summary {
  readonly generated: number
  readonly acknowledged: number
  readonly dead: number
  readonly lost: number
  readonly duplicated: number
  readonly redelivered: number
  readonly fencedAcks: number
  readonly kills: number
  readonly stops: number
  readonly resets: number
  readonly longestStallMs: number
  readonly p99RefeedMs: number
  readonly peakRssMb: number
  readonly longestFedStallMs: number
  readonly unknown: number
  readonly again: number
  readonly corrupt: number
  readonly disordered: number
  readonly feederKills: number
  readonly peakHandles: number
  readonly seconds: number
  readonly seed: number
  readonly broken: number
}

export const summarize = (settings: Settings, outcome: Outcome, verdict: Verdict): Summary => ({
  generated: settings.elements,
  acknowledged: verdict.acknowledged,
  dead: verdict.dead,
  lost: verdict.lost,
  duplicated: verdict.duplicated,
  redelivered: verdict.redelivered,
  fencedAcks: Math.max(outcome.fenced, verdict.late),
  kills: outcome.counts.kill,
  stops: outcome.counts.stop,
  resets: outcome.resets,
  longestStallMs: Math.round(verdict.longestStallMillis),
  p99RefeedMs: Math.round(percentile(verdict.refeedMillis, 0.99)),
  peakRssMb: Math.round(
    Math.max(0, ...outcome.peaks.filter(({ role }) => role !== "the runner").map((one) => one.rssMb))
  ),
  longestFedStallMs: Math.round(verdict.longestFedStallMillis),
  unknown: verdict.unknown.handOuts + verdict.unknown.elements,
  again: verdict.again,
  corrupt: verdict.corrupt,
  disordered: verdict.disordered,
  feederKills: outcome.restarts.feeder,
  peakHandles: Math.max(0, ...outcome.peaks.map(({ handles }) => handles)),
  seconds: Math.round(outcome.millis / 1000),
  seed: settings.seed,
  broken: broken(settings, outcome, verdict).length
})

const seconds = (millis: number): string => (millis / 1000).toFixed(1)

const table = (rows: ReadonlyArray<readonly [string, string | number]>): string => {
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join("\n")
}

export const render = (settings: Settings, outcome: Outcome, verdict: Verdict): string => {
  const summary = summarize(settings, outcome, verdict)
  const { counts, restarts } = outcome
  const { refeedMillis, unknown } = verdict
  const promises = broken(settings, outcome, verdict)
  const times = (all: ReadonlyArray<number>) =>
    `${Math.round(percentile(all, 0.5))} ms median, ${Math.round(percentile(all, 0.99))} ms p99, ` +
    `of ${all.length} elements in hand`
  return [
    `${settings.delivery}, ${settings.devices} devices, seed ${settings.seed}, lease ${settings.leaseMillis} ms, ` +
    `${summary.seconds} s`,
    "",
    "elements",
    table([
      ["generated", summary.generated],
      ["acknowledged", summary.acknowledged],
      ["dead", summary.dead],
      ["lost", summary.lost],
      ["duplicated", summary.duplicated],
      ["corrupt", summary.corrupt],
      ["out of order", summary.disordered],
      ["unknown", `${unknown.elements}, and ${unknown.handOuts} hand-outs of which no more is known`],
      ["handed out", `${verdict.handOuts}, ${verdict.redelivered} of them marked`],
      ["attempts", `${verdict.mostAttempts} at most, ${verdict.thirdOrLater} hand-outs were the third or later`],
      ["by a later life", `${verdict.again} handed out again`],
      ["fenced", `${summary.fencedAcks} finished too late to count`]
    ]),
    "",
    "the feeder's ledger in the end",
    table(
      outcome.account === undefined
        ? [["none", "it has not ended"]]
        : Object.entries(outcome.account).map(([name, value]) => [name, value] as const)
    ),
    "",
    "faults",
    table([
      ["consumers killed", `${counts.kill}, started again ${restarts.consumers} times`],
      ["consumers stopped", `${counts.stop}, for three leases each`],
      ["resets", `${summary.resets} of ${counts.reset} asked for`],
      ["half-open", counts.halfOpen],
      ["delays", counts.delay],
      ["slow links", counts.slow],
      ["full disks", `${counts.disk}${outcome.isDiskReal ? "" : ", simulated"}`],
      ["feeders killed", `${counts.killFeeder}, started again ${restarts.feeder} times`],
      ["feeders stopped", counts.stopFeeder],
      ["sessions", `${outcome.sessions}, failures ${outcome.failures}`]
    ]),
    "",
    "times and means",
    table([
      ["longest stall", `${summary.longestStallMs} ms, from ${seconds(verdict.stalledAt - outcome.startedAt)} s on`],
      ["while a feeder was there", `${Math.round(verdict.longestFedStallMillis)} ms`],
      [
        "slowest start",
        `${outcome.slowestStart.consumer} ms of a consumer, ${outcome.slowestStart.feeder} ms of a feeder`
      ],
      ["re-feed time", times(refeedMillis)],
      ["after a proven death", times(verdict.provenRefeedMillis)],
      ...outcome.peaks.map(({ handles, role, rssMb }) =>
        [`most of ${role}`, `${Math.round(rssMb)} MB, ${handles} open handles`] as const
      )
    ]),
    "",
    promises.length === 0
      ? "No promise was broken."
      : `${promises.length} promises were broken:\n${promises.map((text) => `  ${text}`).join("\n")}`
  ].join("\n")
}
