/**
 * Draws lines over time as SVG.
 */

/** A line: its name, and its points in seconds and megabytes. */
export interface Line {
  readonly name: string
  readonly points: ReadonlyArray<readonly [seconds: number, megabytes: number]>
}

const width = 760
const height = 320
const margin = { top: 36, right: 16, bottom: 40, left: 56 }
const colors = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#17becf", "#7f7f7f"]

/** The next of 1, 2, 5, 10, 20 … at or above a number. */
const round = (n: number): number => {
  const power = 10 ** Math.floor(Math.log10(n))
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= n) ?? n
}

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

/** The plot as the text of an SVG file. */
export const plot = (title: string, lines: ReadonlyArray<Line>): string => {
  const all = lines.flatMap(({ points }) => points)
  const most = (index: 0 | 1) => all.reduce((sofar, point) => Math.max(sofar, point[index]), 1)
  const steps = { x: round(most(0) / 8), y: round(most(1) / 6) }
  const top = { x: most(0), y: Math.ceil(most(1) / steps.y) * steps.y }
  const x = (seconds: number) => (margin.left + seconds / top.x * (width - margin.left - margin.right)).toFixed(1)
  const y = (megabytes: number) =>
    (height - margin.bottom - megabytes / top.y * (height - margin.top - margin.bottom)).toFixed(1)
  const text = (at: readonly [string | number, string | number], anchor: string, content: string) =>
    `<text x="${at[0]}" y="${at[1]}" text-anchor="${anchor}">${escape(content)}</text>`
  const svg = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text([margin.left, 14], "start", title),
    text([width - margin.right, height - 6], "end", "seconds"),
    text([4, margin.top - 8], "start", "MB")
  ]
  for (let at = 0; at <= top.y + 1e-9; at += steps.y) {
    svg.push(`<path d="M${margin.left} ${y(at)}H${width - margin.right}" stroke="#dddddd"/>`)
    svg.push(text([margin.left - 6, y(at)], "end", String(Math.round(at * 10) / 10)))
  }
  for (let at = 0; at <= top.x + 1e-9; at += steps.x) {
    svg.push(text([x(at), height - margin.bottom + 16], "middle", String(Math.round(at * 10) / 10)))
  }
  lines.forEach(({ name, points }, i) => {
    const color = colors[i % colors.length]!
    const path = points.map(([seconds, megabytes]) => `${x(seconds)},${y(megabytes)}`).join(" ")
    svg.push(`<polyline points="${path}" fill="none" stroke="${color}" stroke-width="1.5"/>`)
    svg.push(`<rect x="${margin.left + i * 170}" y="20" width="10" height="3" fill="${color}"/>`)
    svg.push(text([margin.left + i * 170 + 14, 25], "start", name))
  })
  return [...svg, "</svg>", ""].join("\n")
}
