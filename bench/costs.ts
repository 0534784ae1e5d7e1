/** What each Layer costs, in one table for `docs/choosing.md`, from the tables of `README.md`. */

/** The figures of a row: medians of ours and of the peer's, and the ratio, as they are printed. */
interface Figures {
  readonly ours: string
  readonly peer: string
  readonly ratio: string
}

const none: Figures = { ours: "—", peer: "—", ratio: "—" }

/** Without what stands in brackets: the spread. */
const median = (cell: string | undefined): string => cell?.replace(/\(.*\)/, "").trim() ?? "—"

/** The figures of a row of the document, if it was measured. */
const figuresOf = (readme: string, row: string): Figures => {
  const line = readme.split("\n").find((line) => line.startsWith(`| ${row} `))
  const [, , , ours, , peer, ratio] = line?.split("|") ?? []
  return ratio === undefined || ratio.trim() === ""
    ? none
    : { ours: median(ours), peer: median(peer), ratio: median(ratio) }
}

/** The Layers, and the rows that measure them: against their bare transports, and against TCP. */
const layers = [
  { layer: "`MemoryDevices`", group: "layers", row: "memory" },
  { layer: "`WorkerDevices`, a thread", group: "worker", row: "post-message" },
  { layer: "`SocketDevices`, TCP", group: "tcp", row: "net" },
  { layer: "`SocketDevices`, a Unix socket", group: "layers", row: "unix" },
  { layer: "`SocketDevices`, a WebSocket", group: "layers", row: "ws" },
  { layer: "`JetStreamDevices`, in memory", group: "jetstream", row: undefined }
] as const

const head = [
  "Layer",
  "small elements/s",
  "tensors/s",
  "ratio to the bare transport",
  "ratio to TCP, in the same run",
  "rows"
]

/** The table, from the document as it stands. */
export const costsOf = (readme: string): string => {
  const lines = layers.map(({ group, layer, row }) => {
    const nameOf = (payload: "small" | "tensor") => [group, payload, ...row === undefined ? [] : [row]].join("-")
    const [smallRow, tensorRow] = [nameOf("small"), nameOf("tensor")]
    const [small, tensor] = [figuresOf(readme, smallRow), figuresOf(readme, tensorRow)]
    const ratio = [small, tensor].map(({ peer, ratio }) => `${ratio} to ${peer}`).join(", ")
    const isToTcp = group === "layers"
    return [
      layer,
      small.ours,
      tensor.ours,
      isToTcp ? "" : ratio,
      isToTcp ? ratio : "",
      `\`${smallRow}\`, \`${tensorRow}\``
    ]
  })
  const all = [head, ...lines]
  const widths = head.map((_, i) => Math.max(...all.map((line) => line[i]!.length)))
  const text = (line: ReadonlyArray<string>) => `| ${line.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`
  const table = [text(head), text(widths.map((width) => "-".repeat(width))), ...lines.map(text)].join("\n")
  const of = (row: string) => figuresOf(readme, row)
  const [p50, p99, heap] = [of("latency-p50"), of("latency-p99"), of("devices-heap")]
  const [ten, hundred] = [of("devices-10"), of("devices-100")]
  return [
    table,
    `Over TCP, one element that is pushed, processed and acknowledged takes ${p50.ours} (median; ${p99.ours} in one of a ` +
    `hundred): ${p50.ratio} times an echo of the same bytes (\`latency-p50\`, \`latency-p99\`). A device that is idle costs ` +
    `its feeder ${heap.ours} of heap (\`devices-heap\`). With 10 devices a feeder does ${ten.ratio} of what it does with ` +
    `one, with 100 ${hundred.ratio} (\`devices-10\`, \`devices-100\`).`
  ].join("\n\n")
}
