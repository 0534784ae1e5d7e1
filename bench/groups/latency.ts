/** One element at a time over an idle link, each when the former is acknowledged. */
import { remote } from "../remote.ts"
import { type Group, type Numbers, rowOf, sideOf } from "../rows.ts"
import type { WayName } from "../ways.ts"

/** Elements of a round. */
const pings = 2000

/** So many before those that are measured: it takes them for V8 to have compiled, for good, what a push runs through. */
const warmUp = 25_000

const goals = { "latency-p50": 1.2, "latency-p99": 2 } as const

const percentile = (values: ReadonlyArray<number>, part: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))]!

/** Gives two cases the turn, by rounds: both stay connected, and the one that waits is idle. */
const makeTurns = (): ReadonlyArray<{ readonly take: () => Promise<void>; readonly pass: () => void }> => {
  const given = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  given[0]!.resolve()
  return given.map((_, i) => ({
    take: () => given[i]!.promise,
    pass: () => {
      given[i] = Promise.withResolvers()
      given[1 - i]!.resolve()
    }
  }))
}

const caseOf = (name: string, way: WayName, rounds: number, { pass, take }: ReturnType<typeof makeTurns>[number]) => {
  const micros: Array<ReadonlyArray<number>> = []
  const one = remote({
    name,
    way,
    payload: "small",
    batch: 1,
    window: 1,
    acknowledged: "processed",
    turn: (sent) => {
      if (sent === 0) return take()
      if (sent < warmUp || (sent - warmUp) % pings !== 0) return undefined
      pass()
      return take()
    },
    onSent: (producer) => {
      const all = (producer.latencies?.() ?? []).map((millis) => millis * 1000)
      for (let i = warmUp; i < all.length; i += pings) micros.push(all.slice(i, i + pings))
    }
  })
  return {
    run: async () => {
      const n = warmUp + rounds * pings
      await one.before?.(n)
      await one.run(n)
      pass()
      await one.after?.()
      await one.end?.()
    },
    numbers: (row: keyof typeof goals): Numbers => {
      const { acknowledged, batch, payload, window } = one
      const values = micros.map((round) => percentile(round, row === "latency-p50" ? 0.5 : 0.99))
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
    const [first, second] = makeTurns()
    const ours = caseOf("Feeder", "feeder-ping", rounds, first!)
    const peer = caseOf("node:net echo", "net-ping", rounds, second!)
    await Promise.all([ours.run(), peer.run()])
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
