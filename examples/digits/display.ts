/**
 * What the person sees of a run: bars on a terminal, a line every few seconds elsewhere.
 */
import * as CliProgress from "cli-progress"
import { Clock, Console, type Duration, Effect, type Scope, Stdio } from "effect"
import type { Feeder } from "effect-feeder"
import type { Tally } from "./account.ts"
import { devices } from "./feeds.ts"

/** Where a run is shown. */
export interface Display {
  /** Shows how far it is. */
  readonly show: (status: Feeder.Status) => Effect.Effect<void>
  /** How long to wait until it is worth showing more. */
  readonly pause: Duration.Input
  /** Says something in a line that stays. */
  readonly say: (line: string) => Effect.Effect<void>
}

const percent = (share: number) => `${(share * 100).toFixed(1)} %`

/** Elements per second between the last calls, about three seconds apart. */
const makeRate = () => {
  const samples: Array<readonly [millis: number, count: number]> = []
  return (millis: number, count: number) => {
    samples.push([millis, count])
    while (samples.length > 2 && samples[1]![0] <= millis - 3000) samples.shift()
    const [since, before] = samples[0]!
    return millis === since ? 0 : Math.round((count - before) / (millis - since) * 1000)
  }
}

interface Row {
  readonly name: string
  readonly done: number
  readonly rest: string
}

/** Shows a run of `total` elements; the bars are taken away when the scope closes. */
export const makeDisplay = Effect.fnUntraced(function*(options: {
  readonly total: number
  readonly tally: Tally
}): Effect.fn.Return<Display, never, Scope.Scope | Stdio.Stdio> {
  const { tally, total } = options
  const stdio = yield* Stdio.Stdio
  const rates = new Map(["all", ...devices].map((name) => [name, makeRate()]))

  const rowsOf = (status: Feeder.Status, now: number): ReadonlyArray<Row> => {
    const rate = (name: string, count: number) => `${rates.get(name)!(now, count)}/s`
    const { delivered, leased, queued } = status.ledger
    return [
      { name: "all", done: delivered, rest: `of ${total}, ${rate("all", delivered)}, ${queued} queued, ${leased} out` },
      ...status.devices.map(({ delivered, device, leased, phase }) => {
        const progress = tally.progress(device)
        const model = progress && `loss ${progress.loss.toFixed(3)}, accuracy ${percent(progress.accuracy)}`
        const state = phase === "Live" || phase === "Draining" || phase === "Ended" ? model : phase.toLowerCase()
        return {
          name: device,
          done: delivered,
          rest: [rate(device, delivered), state ?? "starting", `${leased} out`].join(", ")
        }
      })
    ]
  }

  if (!(yield* stdio.stdoutIsTerminal)) {
    return {
      show: (status) =>
        Effect.gen(function*() {
          for (const { done, name, rest } of rowsOf(status, yield* Clock.currentTimeMillis)) {
            yield* Console.log(`${name}: ${done} ${rest}`)
          }
        }),
      pause: "5 seconds",
      say: Console.log
    }
  }

  const names = ["all", ...devices]
  const width = Math.max(...names.map((name) => name.length))
  const bars = yield* Effect.acquireRelease(
    Effect.sync(() =>
      new CliProgress.MultiBar({
        format: "{name} {bar} {value} {rest}",
        stream: process.stdout,
        barsize: 12,
        hideCursor: true,
        linewrap: false,
        // the scope ends it, on signals too
        gracefulExit: false
      }, CliProgress.Presets.shades_classic)
    ),
    (bars) => Effect.sync(() => bars.stop())
  )
  const rows = new Map(names.map((name) => [name, bars.create(total, 0, { name: name.padEnd(width), rest: "" })]))
  return {
    show: (status) =>
      Effect.gen(function*() {
        for (const { done, name, rest } of rowsOf(status, yield* Clock.currentTimeMillis)) {
          rows.get(name)?.update(done, { rest })
        }
      }),
    pause: "100 millis",
    say: (line) => Effect.sync(() => bars.log(`${line}\n`))
  }
})
