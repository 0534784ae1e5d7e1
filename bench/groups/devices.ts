/** One feeder with 1, 10 and 100 devices, which are all in one process of consumers. */
/* oxlint-disable no-await-in-loop -- measurements stand in line */
import { type Case, measure } from "../harness.ts"
import { remote } from "../remote.ts"
import { type Group, type Numbers, numbersOf, rowOf, sideOf, skippedRow } from "../rows.ts"

const at = { payload: "small", batch: 64, window: 1024, acknowledged: "processed", way: "feeder-chunks" } as const

/** How near the device with the least, or the most, is to an even share: 1 is all alike. */
const fairness = (shares: ReadonlyArray<number>): number => {
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length
  return Math.min(Math.min(...shares) / mean, mean / Math.max(...shares))
}

const caseOf = (devices: number, onShares: (shares: ReadonlyArray<number>) => void = () => {}): Case =>
  remote({
    ...at,
    name: `Feeder with ${devices} device${devices === 1 ? "" : "s"}`,
    devices,
    // What first fills the windows is no fair share of anything: each is to be filled four times at least.
    start: 4 * at.window * devices,
    onSent: ({ shares }) => onShares(shares?.() ?? [])
  })

const goals: Readonly<Record<string, number | null>> = {
  "devices-10": null,
  "devices-100": 0.9,
  "devices-fair": 0.9,
  "devices-heap": 1
}

/** Bytes of heap that an attached device costs its feeder while nothing is fed. */
const heapOf = async (devices: number): Promise<number> => {
  const one = caseOf(devices)
  const used = async () => {
    for (let i = 0; i < 4; i++) {
      globalThis.gc?.()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const { external, heapUsed } = process.memoryUsage()
    return heapUsed + external
  }
  const n = at.batch * devices
  // What is loaded, or compiled, for the first of them is not the devices'.
  await one.before?.(n)
  await one.run(n)
  await one.after?.()
  const former = await used()
  await one.before?.(n)
  const bytes = (await used() - former) / devices
  await one.run(n)
  await one.after?.()
  await one.end?.()
  return bytes
}

const devices: Group = {
  name: "devices",
  title: "Many devices on one feeder, small elements",
  unit: "elements/s",
  rows: Object.keys(goals),
  options: { millis: 250 },
  run: async (rows, options, report) => {
    const setting = { payload: "small", batch: at.batch, window: at.window, acknowledged: at.acknowledged, lost: 0 }
    const fair: Array<number> = []
    const wanted = rows.filter((row) => row !== "devices-heap")
    if (wanted.length > 0) {
      const counts = [1, ...wanted.includes("devices-10") ? [10] : [], 100]
      const measured = await measure(
        counts.map((count) => caseOf(count, count === 100 ? (shares) => fair.push(fairness(shares)) : undefined)),
        options,
        report.progress
      )
      const numbers = new Map<number, Numbers>(counts.map((count, i) => [count, numbersOf(measured[i]!)]))
      const failed = measured.find((one) => one.failed !== undefined)?.failed
      for (const row of wanted) {
        const goal = goals[row]!
        if (failed !== undefined) {
          report.row(skippedRow(row, goal, failed))
        } else if (row === "devices-fair") {
          const values = fair.slice(-options.rounds)
          const ours = { ...setting, name: "least or most of a device, to an even share", values }
          const peer = { ...setting, name: "an even share", values: values.map(() => 1) }
          report.row(rowOf(row, ours, peer, { goal, unit: "of a share" }))
        } else {
          report.row(rowOf(row, numbers.get(row === "devices-10" ? 10 : 100)!, numbers.get(1)!, { goal }))
        }
      }
      for (const one of numbers.values()) if (one.values.length > 0) report.measured(sideOf(one), true)
    }
    if (rows.includes("devices-heap")) {
      const values: Array<number> = []
      for (let i = 0; i < 3; i++) values.push(await heapOf(100))
      const ours = { ...setting, name: "heap of the feeder for each of 100 idle devices", values }
      const peer = { ...setting, name: "8 kB", values: values.map(() => 8000) }
      report.row(rowOf("devices-heap", ours, peer, { goal: goals["devices-heap"]!, better: "less", unit: "bytes" }))
    }
  }
}

export const groups: ReadonlyArray<Group> = [devices]
