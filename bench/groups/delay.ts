/** Behind a network that is far away: what a window and a round trip allow is what can be had. */
import { measure } from "../harness.ts"
import { startProxy } from "../proxy.ts"
import { remote } from "../remote.ts"
import { type Group, numbersOf, rowOf, sideOf, skippedRow } from "../rows.ts"

const [row, goal, window, roundTrip] = ["delay-40", 0.8, 1024, 40]

const delay: Group = {
  name: "delay",
  title: `TCP behind a round trip of ${roundTrip} ms, small elements, one at a time`,
  unit: "elements/s",
  rows: [row],
  options: { millis: 1500 },
  run: async (_, options, report) => {
    const proxy = startProxy(roundTrip / 2)
    const one = remote({
      name: "Feeder, an Effect for each element",
      way: "feeder-effect",
      payload: "small",
      batch: 1,
      window,
      acknowledged: "processed",
      start: window,
      via: proxy.via
    })
    const [measured] = await measure([one], options, report.progress)
    proxy.end()
    if (measured === undefined || measured.perSecond.length === 0) {
      report.row(skippedRow(row, goal, measured?.failed ?? "nothing was measured"))
      return
    }
    const ours = numbersOf(measured)
    const values = measured.perSecond.map(() => window / roundTrip * 1000)
    const limit = { ...ours, name: `${window} elements in ${roundTrip} ms`, values, lost: 0 }
    report.measured(sideOf(ours), true)
    report.measured(sideOf(limit), false)
    report.row(rowOf(row, ours, limit, { goal }))
  }
}

export const groups: ReadonlyArray<Group> = [delay]
