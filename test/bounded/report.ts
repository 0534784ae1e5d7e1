/**
 * What the scenarios found, as text and as plots.
 */
import type { Check } from "./judge.ts"
import { isKept } from "./judge.ts"
import { plot } from "./plot.ts"
import type { Outcome } from "./scenarios.ts"

const number = (value: number): string =>
  Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(Math.abs(value) < 10 ? 2 : 1)

const withUnit = (value: number, unit: Check["unit"]): string =>
  unit === "" ? number(value) : `${number(value)} ${unit}`

/** Rows as the columns of a Markdown table. */
const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = rows[0]!.map((_, k) => rows.reduce((most, row) => Math.max(most, row[k]!.length), 3))
  const lines = rows.map((row) => `| ${row.map((cell, k) => cell.padEnd(widths[k]!)).join(" | ")} |`)
  return [lines[0], `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...lines.slice(1)].join("\n")
}

/** The figures of a scenario. */
export const tableOf = ({ checks, figures }: Outcome): string =>
  table([
    ["what", "found", "bound", ""],
    ...checks.map((check) => [
      check.what,
      withUnit(check.value, check.unit),
      `${check.rule} ${withUnit(check.bound, check.unit)}`,
      isKept(check) ? "kept" : "BROKEN"
    ]),
    ...figures.map(([what, value]) => [what, value, "", ""])
  ])

/** The memory of the processes of a scenario over time. */
export const plotOf = ({ series, title }: Outcome): string => {
  const first = Math.min(...series.flatMap(({ samples }) => samples.map(({ at }) => at)))
  // Of many alike the first two are enough.
  const shown = series.slice(0, 2)
  return plot(
    title,
    shown.flatMap(({ name, samples }) => [
      { name: `${name}: RSS`, points: samples.map(({ at, rss }) => [(at - first) / 1000, rss / 1e6] as const) },
      { name: `${name}: used`, points: samples.map(({ at, live }) => [(at - first) / 1000, live / 1e6] as const) }
    ])
  )
}

export const brokenOf = ({ checks }: Outcome): ReadonlyArray<Check> => checks.filter((check) => !isKept(check))
