/** Bars with their spread, as plain SVG. */
import { short } from "./report.ts"

export interface Bar {
  readonly name: string
  readonly median: number
  readonly min: number
  readonly max: number
  readonly isOurs: boolean
}

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

const [width, left, right, top, step] = [960, 400, 90, 44, 26]

/** Horizontal bars on a linear scale from 0, the longest first, with a line from the least to the most. */
export const plotOf = (title: string, unit: string, bars: ReadonlyArray<Bar>): string => {
  const sorted = bars.toSorted((a, b) => b.median - a.median)
  const most = Math.max(...sorted.map(({ max }) => max), Number.MIN_VALUE)
  const height = top + sorted.length * step + 10
  const scale = (value: number) => Math.round((left + value / most * (width - left - right)) * 10) / 10
  const lines = sorted.flatMap(({ isOurs, max, median, min, name }, i) => {
    const y = top + i * step
    const middle = y + 9
    return [
      `<text x="${left - 8}" y="${y + 13}" text-anchor="end"${isOurs ? ` font-weight="bold"` : ""}>${
        escape(name)
      }</text>`,
      `<rect x="${left}" y="${y}" width="${Math.round((scale(median) - left) * 10) / 10}" height="18" fill="${
        isOurs ? "#2563a8" : "#9aa5b1"
      }"/>`,
      `<path d="M${scale(min)} ${middle}H${scale(max)}M${scale(min)} ${middle - 4}v8M${scale(max)} ${
        middle - 4
      }v8" stroke="#111" fill="none"/>`,
      `<text x="${scale(max) + 6}" y="${y + 13}">${short(median)}</text>`
    ]
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="13">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="12" y="24" font-size="15">${escape(title)} (${escape(unit)})</text>`,
    ...lines,
    "</svg>",
    ""
  ].join("\n")
}
