/** One element at a time over an idle link, each when the former is acknowledged. */
/* oxlint-disable no-await-in-loop -- measurements stand in line */
import { remote } from "../remote.ts"
import { type Group, type Numbers, rowOf, sideOf } from "../rows.ts"
import type { WayName } from "../ways.ts"

const pings = 1000

const goals = { "latency-p50": 1.2, "latency-p99": 2 } as const

const percentile = (values: ReadonlyArray<number>, part: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))]!

const caseOf = (name: string, way: WayName) => {
  const p50: Array<number> = []
  const p99: Array<number> = []
  const one = remote({
    name,
    way,
    payload: "small",
    batch: 1,
    window: 1,
    acknowledged: "processed",
    onSent: (producer) => {
      // In microseconds, without those of the first moments.
      const micros = (producer.latencies?.() ?? []).slice(50).map((millis) => millis * 1000)
      p50.push(percentile(micros, 0.5))
      p99.push(percentile(micros, 0.99))
    }
  })
  return {
    run: async () => {
      await one.before?.(pings)
      globalThis.gc?.()
      await one.run(pings)
      await one.after?.()
    },
    end: one.end,
    /** The first round is not counted. */
    numbers: (row: keyof typeof goals): Numbers => {
      const { acknowledged, batch, payload, window } = one
      const values = (row === "latency-p50" ? p50 : p99).slice(1)
      return { name: `${name}, ${row.slice(-3)}`, acknowledged, batch, payload, window, values, lost: 0 }
    }
  }
}

const latency: Group = {
  name: "latency",
  title: "One element pushed and acknowledged over an idle link",
  unit: "µs",
  rows: ["latency-p50", "latency-p99"],
  run: async (rows, { rounds }, report) => {
    const ours = caseOf("Feeder", "feeder-ping")
    const peer = caseOf("node:net echo", "net-ping")
    for (let round = 0; round <= rounds; round++) {
      for (const one of round % 2 === 0 ? [ours, peer] : [peer, ours]) await one.run()
    }
    await ours.end?.()
    await peer.end?.()
    for (const row of ["latency-p50", "latency-p99"] as const) {
      if (!rows.includes(row)) continue
      const [left, right] = [ours.numbers(row), peer.numbers(row)]
      report.measured(sideOf(left), true)
      report.measured(sideOf(right), false)
      report.row(rowOf(row, left, right, { goal: goals[row], better: "less", unit: "µs" }))
    }
  }
}

export const groups: ReadonlyArray<Group> = [latency]
