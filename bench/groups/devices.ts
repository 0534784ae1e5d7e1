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
    start: 4 * at.window * devices,
    onSent: ({ shares }) => onShares(shares?.() ?? [])
  })

const goals: Readonly<Record<string, number | null>> = {
  "devices-10": null,
  "devices-100": 0.9,
  "devices-fair": 0.9,
  "devices-heap": 1
}

/** What first fills the windows is no fair share of anything: each is filled many times, by one run for each round. */
const fairnessOf = async (devices: number, rounds: number): Promise<ReadonlyArray<number>> => {
  const fair: Array<number> = []
  const one = caseOf(devices, (shares) => fair.push(fairness(shares)))
  const n = 128 * at.window * devices
  for (let round = 0; round < rounds; round++) {
    await one.before?.(n)
    await one.run(n)
    await one.after?.()
  }
  await one.end?.()
  return fair
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
  options: { millis: 1000 },
  run: async (rows, options, report) => {
    const setting = { payload: "small", batch: at.batch, window: at.window, acknowledged: at.acknowledged, lost: 0 }
    const wanted = rows.filter((row) => row === "devices-10" || row === "devices-100")
    if (wanted.length > 0) {
      const counts = [1, ...wanted.includes("devices-10") ? [10] : [], 100]
      const measured = await measure(
        counts.map((count) => caseOf(count)),
        options,
        report.progress
      )
      const numbers = new Map<number, Numbers>(counts.map((count, i) => [count, numbersOf(measured[i]!)]))
      const failed = measured.find((one) => one.failed !== undefined)?.failed
      for (const row of wanted) {
        const goal = goals[row]!
        report.row(
          failed === undefined
            ? rowOf(row, numbers.get(row === "devices-10" ? 10 : 100)!, numbers.get(1)!, { goal })
            : skippedRow(row, goal, failed)
        )
      }
      for (const one of numbers.values()) if (one.values.length > 0) report.measured(sideOf(one), true)
    }
    if (rows.includes("devices-fair")) {
      const values = await fairnessOf(100, options.rounds)
      const ours = { ...setting, name: "least or most of a device, to an even share", values }
      const peer = { ...setting, name: "an even share", values: values.map(() => 1) }
      report.row(rowOf("devices-fair", ours, peer, { goal: goals["devices-fair"]!, unit: "of a share" }))
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
