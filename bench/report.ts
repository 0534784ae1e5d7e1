/** Rows as tables of Markdown, and documents that have them between marks. */
import type { Row, Side } from "./rows.ts"

/** A number in a few digits: `1.23 M`, `45.6 k`, `789`. */
export const short = (n: number): string =>
  n >= 1e6 ? `${(n / 1e6).toPrecision(3)} M` : n >= 1e3 ? `${(n / 1e3).toPrecision(3)} k` : n.toPrecision(3)

/** A number of a unit that is not counted in thousands. */
const plain = (n: number): string => n >= 100 ? n.toFixed(0) : n.toPrecision(3)

export const ratioText = (n: number): string => n >= 10 ? n.toFixed(0) : n >= 2 ? n.toFixed(1) : n.toFixed(2)

const number = ({ unit }: Row, { max, median, min }: Side): string =>
  unit === "elements/s"
    ? `${short(median)} (${short(min)}..${short(max)})`
    : `${plain(median)} ${unit} (${plain(min)}..${plain(max)})`

/** Payload, batch, window, when an element is acknowledged, and how many were lost. */
export const settingText = ({ acknowledged, batch, lost, window }: Side): string =>
  `batch ${batch}, window ${window}, ack ${acknowledged}, lost ${lost}`

const goalText = ({ better, goal }: Row): string => goal === null ? "" : `${better === "more" ? "≥" : "≤"} ${goal}`

const reachedText = ({ reached }: Row): string => reached === null ? "" : reached ? "yes" : "**no**"

const cells = (row: Row): ReadonlyArray<string> => {
  const { max, min, ratio, sides: { ours, peer } } = row
  if (ours === null || peer === null || ratio === null) {
    return [row.row, `not measured: ${row.skipped?.split("\n", 1)[0]}`, "", "", "", "", goalText(row), ""]
  }
  const sideText = (side: Side) => `${side.name}: ${settingText(side)}`
  return [
    row.row,
    sideText(ours),
    number(row, ours),
    sideText(peer),
    number(row, peer),
    `${ratioText(ratio)} (${ratioText(min!)}..${ratioText(max!)})`,
    goalText(row),
    reachedText(row)
  ]
}

const head = ["row", "ours", "median (min..max)", "peer", "median (min..max)", "ratio (min..max)", "goal", "reached"]

export const tableOf = (rows: ReadonlyArray<Row>): string => {
  const lines = [head, ...rows.map(cells)]
  const widths = head.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)))
  const text = (line: ReadonlyArray<string>) => `| ${line.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`
  return [text(head), text(widths.map((width) => "-".repeat(width))), ...lines.slice(1).map(text)].join("\n")
}

const marks = (name: string) => [`<!-- ${name} -->`, `<!-- end of ${name} -->`] as const

/** A document with another text between the marks of that name; a document without them is left as it is. */
export const between = (document: string, name: string, text: string): string => {
  const [from, to] = marks(name)
  const start = document.indexOf(from)
  const end = document.indexOf(to)
  if (start < 0 || end < start) return document
  return `${document.slice(0, start + from.length)}\n\n${text}\n\n${document.slice(end)}`
}

/** A document that has the marks of all those names between others, in their order. */
export const withMarks = (document: string, around: string, names: ReadonlyArray<string>): string => {
  const former = (name: string): string => {
    const [from, to] = marks(name)
    const start = document.indexOf(from)
    const end = document.indexOf(to)
    return start < 0 || end < start ? `${from}\n\n${to}` : document.slice(start, end + to.length)
  }
  return between(document, around, names.map(former).join("\n\n"))
}
