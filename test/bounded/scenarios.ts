/**
 * Five systems of real processes over TCP, whose memory must stay within bounds however long they run.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { freePort } from "../fixtures/processes.ts"
import type { Check } from "./judge.ts"
import { atLeast, atMost, exactly, growth, median, peak } from "./judge.ts"
import type { ConsumerSettings, FeederSettings, Sample } from "./messages.ts"
import { blobBytes, Blobs } from "./messages.ts"
import type { Process } from "./processes.ts"
import { startConsumer, startFeeder } from "./processes.ts"

/** What a scenario has found: the checks it made, and the samples of each process. */
export interface Outcome {
  readonly title: string
  readonly checks: ReadonlyArray<Check>
  /** Figures that have no bound. */
  readonly figures: ReadonlyArray<readonly [what: string, value: string]>
  readonly series: ReadonlyArray<{ readonly name: string; readonly samples: ReadonlyArray<Sample> }>
}

const MB = 1_000_000

/** What a Node process takes that has loaded the library and moved some elements. */
const baseMB = 250

const windowBytes = 64 * 1024 * 1024

const inMB = (samples: ReadonlyArray<Sample>, of: (sample: Sample) => number) =>
  samples.map((sample) => of(sample) / MB)

const live = (samples: ReadonlyArray<Sample>) => inMB(samples, (sample) => sample.live)
const rss = (samples: ReadonlyArray<Sample>) => inMB(samples, (sample) => sample.rss)

/** Neither what is used nor what the system has given to the process grows. */
const flat = (name: string, samples: ReadonlyArray<Sample>, bounds: { live: number; rss: number }) => [
  atMost(`${name}: growth of what is used`, growth(live(samples)), bounds.live, "MB"),
  atMost(`${name}: growth of RSS`, growth(rss(samples)), bounds.rss, "MB")
]

const calm = (processes: ReadonlyArray<Process>) =>
  exactly(
    "processes that complained",
    processes.filter((process) => process.complaints() !== "").length,
    0
  )

const seriesOf = (processes: ReadonlyArray<Process>) =>
  processes.map((process) => ({ name: process.name, samples: process.samples() }))

const between = (samples: ReadonlyArray<Sample>, from: number, to: number) =>
  samples.filter(({ at }) => at >= from && at <= to)

const address = (port: number) => `tcp://127.0.0.1:${port}`
const deviceName = (index: number) => `/job:consumer/replica:${index}`

const consumer = (
  settings: Pick<ConsumerSettings, "feed" | "ports"> & Partial<ConsumerSettings>
): ConsumerSettings => ({
  feeders: 1,
  batch: 64,
  sampleMillis: 250,
  millis: 0,
  isCounted: true,
  ...settings
})

const feeder = (
  ports: ReadonlyArray<number>,
  settings: Pick<FeederSettings, "feed" | "count"> & Partial<FeederSettings>
): FeederSettings => ({
  devices: Object.fromEntries(ports.map((port, index) => [deviceName(index), address(port)])),
  feeders: 1,
  cycles: 0,
  leaseMillis: 10_000,
  sampleMillis: 250,
  isHeld: false,
  ...settings
})

const portsOf = (count: number) => Effect.forEach(Array.from({ length: count }), () => freePort)

type Scenario = (scale: number) => Effect.Effect<Outcome, never, Scope.Scope>

const scaled = (count: number, scale: number, least: number) => Math.max(least, Math.round(count * scale))

/** Elements of 1 MB, and a consumer that goes on with its batch for long, then is stopped by the system. */
const stopped: Scenario = Effect.fnUntraced(function*(scale) {
  const ports = yield* portsOf(1)
  const millis = scaled(60_000, scale, 2500)
  const count = scaled(1000, scale, 320)
  const batch = 4
  const process = yield* startConsumer(
    "consumer",
    consumer({ feed: "blobs", ports, batch, freely: 40, sampleMillis: 200 })
  )
  // The lease is longer than the stop: this is about memory, and every element is to come once.
  const feeding = yield* startFeeder(
    "feeder",
    feeder(ports, { feed: "blobs", count, leaseMillis: 600_000, sampleMillis: 200 })
  )
  /** The last samples, in which nothing moved. */
  const isFull = () => {
    const [first, ...others] = feeding.samples().slice(-3)
    return first !== undefined && first.queued >= Blobs.capacity && first.leased > 40 && others.length === 2 &&
      others.every(({ leased, queued }) => leased === first.leased && queued === first.queued)
  }
  yield* feeding.waitFor("its queue was full", isFull)
  const full = Date.now()
  yield* Effect.sleep(millis)
  const stoppedAt = Date.now()
  yield* process.signal("SIGSTOP")
  yield* Effect.sleep(millis)
  const continued = Date.now()
  yield* process.signal("SIGCONT")
  yield* process.signal("SIGUSR2")
  const fed = yield* feeding.printed("Fed", 300_000)
  const ended = yield* process.printed("Ended", 300_000)
  yield* Effect.all([feeding.exited, process.exited])
  const waiting = between(feeding.samples(), full, continued)
  const idle = between(process.samples(), full, stoppedAt)
  const windowMB = windowBytes / MB
  return {
    title: `${count} elements of 1 MB, a window of 64 MiB, the consumer idle for ${
      millis / 1000
    } s, then stopped as long`,
    checks: [
      // What waits at the device, what its consumer has in hand, and one element.
      atMost(
        "feeder: bytes out",
        peak(waiting.map(({ leased }) => leased * blobBytes / MB)),
        windowMB + (batch + 1) * blobBytes / MB,
        "MB"
      ),
      ...flat("feeder", waiting, { live: 2, rss: 8 }),
      // The window, the queue, and as much in the hands of the source's runner.
      atMost("feeder: most RSS", peak(rss(feeding.samples())), windowMB + 2 * Blobs.capacity + baseMB, "MB"),
      ...flat("device", idle, { live: 2, rss: 8 }),
      // The window, what is in the hands of the consumer, and what is on its way from the socket.
      atMost("device: most RSS while idle", peak(rss(idle)), 2 * windowMB + baseMB, "MB"),
      exactly("fed", fed.delivered, count),
      exactly("lost", fed.lost, 0),
      exactly("consumed", ended.consumed, count),
      exactly("given again", ended.redelivered + fed.redelivered, 0),
      exactly("out of order", ended.misplaced, 0),
      calm([process, feeding])
    ],
    figures: [
      ["feeder: used while it waits", `${median(live(waiting)).toFixed(0)} MB`],
      ["device: used while idle", `${median(live(idle)).toFixed(0)} MB`]
    ],
    series: seriesOf([feeding, process])
  }
})

/** Ten million small elements from end to end. */
const many: Scenario = Effect.fnUntraced(function*(scale) {
  const ports = yield* portsOf(1)
  const count = scaled(10_000_000, scale, 400_000)
  const sampleMillis = scaled(1000, scale, 100)
  const process = yield* startConsumer("consumer", consumer({ feed: "rows", ports, batch: 1024, sampleMillis }))
  const began = Date.now()
  const feeding = yield* startFeeder("feeder", feeder(ports, { feed: "rows", count, sampleMillis }))
  const fed = yield* feeding.printed("Fed", 1_200_000)
  const seconds = (Date.now() - began) / 1000
  const ended = yield* process.printed("Ended", 300_000)
  yield* Effect.all([feeding.exited, process.exited])
  const busy = between(process.samples(), began, began + seconds * 1000)
  return {
    title: `${count.toLocaleString("en")} elements of an id and 16 characters`,
    checks: [
      // Windows grow with the speed of the link, up to 16,384 elements.
      ...flat("feeder", feeding.samples(), { live: 8, rss: 64 }),
      atMost("feeder: most RSS", peak(rss(feeding.samples())), 400, "MB"),
      ...flat("device", busy, { live: 8, rss: 64 }),
      atMost("device: most RSS", peak(rss(process.samples())), 400, "MB"),
      exactly("fed", fed.delivered, count),
      exactly("lost", fed.lost, 0),
      exactly("consumed", ended.consumed, count),
      exactly("given again", ended.redelivered + fed.redelivered, 0),
      exactly("out of order", ended.misplaced, 0),
      calm([process, feeding])
    ],
    figures: [
      ["seconds", seconds.toFixed(1)],
      ["elements a second", Math.round(count / seconds).toLocaleString("en")]
    ],
    series: seriesOf([feeding, process])
  }
})

/** Feeders that come, each with an id of its own, and end or are interrupted. */
const cycles: Scenario = Effect.fnUntraced(function*(scale) {
  const ports = yield* portsOf(1)
  const count = scaled(1000, scale, 60)
  const leaseMillis = 1000
  const sampleMillis = scaled(500, scale, 50)
  const process = yield* startConsumer(
    "consumer",
    consumer({ feed: "shared", ports, feeders: "forever", batch: 8, sampleMillis, isCounted: false })
  )
  const feeding = yield* startFeeder(
    "feeder",
    feeder(ports, { feed: "shared", count: 20, cycles: count, leaseMillis, sampleMillis })
  )
  const fed = yield* feeding.printed("Fed", 1_200_000)
  const over = Date.now()
  yield* feeding.exited
  // Sessions of feeders that are gone are forgotten after three leases.
  yield* Effect.sleep(2 * sampleMillis)
  yield* process.signal("SIGTERM")
  const ended = yield* process.printed("Ended", 300_000)
  yield* process.exited
  const during = between(process.samples(), 0, over)
  const grown = (samples: ReadonlyArray<Sample>, of: (sample: Sample) => number) => growth(samples.map(of))
  return {
    title: `${count} feeders attach and detach, one after the other, every fourth interrupted`,
    checks: [
      ...flat("feeders", feeding.samples(), { live: 4, rss: 64 }),
      ...flat("device", during, { live: 4, rss: 64 }),
      atMost("feeders: growth of open files", grown(feeding.samples(), ({ fds }) => fds), 2),
      atMost("device: growth of open files", grown(during, ({ fds }) => fds), 2),
      atMost("feeders: growth of timers and sockets", grown(feeding.samples(), ({ resources }) => resources), 5),
      atMost("device: growth of timers and sockets", grown(during, ({ resources }) => resources), 5),
      exactly("cycles", fed.cycles, count),
      exactly("fed by those that ended", fed.delivered, (fed.cycles - fed.interrupted) * 20),
      exactly("lost", fed.lost, 0),
      atLeast("consumed", ended.consumed, fed.delivered),
      calm([process, feeding])
    ],
    figures: [["interrupted", String(fed.interrupted)]],
    series: seriesOf([feeding, process])
  }
})

/** Many feeders on one device, all at once. */
const feeders: Scenario = Effect.fnUntraced(function*(scale) {
  const ports = yield* portsOf(1)
  const processes = scale >= 0.5 ? 4 : 2
  const each = scaled(50, scale, 10)
  const all = processes * each
  const count = 1000
  const sampleMillis = scaled(1000, scale, 250)
  const process = yield* startConsumer(
    "consumer",
    consumer({ feed: "shared", ports, feeders: "forever", batch: 64, millis: 2, sampleMillis })
  )
  yield* process.waitFor("some samples", () => process.samples().length >= 4)
  const before = Date.now()
  const feeding = yield* Effect.forEach(
    Array.from({ length: processes }, (_, i) => `feeders ${i + 1}`),
    (name) =>
      startFeeder(
        name,
        feeder(ports, { feed: "shared", count, feeders: each, leaseMillis: 60_000, sampleMillis, isHeld: true })
      ),
    { concurrency: "unbounded" }
  )
  yield* Effect.forEach(feeding, (one) => one.printed("Attached", 300_000), { concurrency: "unbounded" })
  yield* Effect.forEach(feeding, (one) => one.signal("SIGUSR2"))
  const fed = yield* Effect.forEach(feeding, (one) => one.printed("Fed", 600_000), { concurrency: "unbounded" })
  const over = Date.now()
  yield* process.waitFor("samples after the end", () => between(process.samples(), over, Infinity).length >= 4)
  yield* process.signal("SIGTERM")
  const ended = yield* process.printed("Ended", 300_000)
  yield* Effect.forEach([process, ...feeding], ({ exited }) => exited)
  const sum = (of: (line: typeof fed[number]) => number) => fed.reduce((total, line) => total + of(line), 0)
  const baseline = peak(live(between(process.samples(), 0, before)))
  return {
    title: `${all} feeders on one device, ${count} elements each`,
    checks: [
      atMost(
        "device: used after the end, beyond the baseline",
        live(process.samples()).at(-1)! - baseline,
        12,
        "MB"
      ),
      atMost("device: most RSS", peak(rss(process.samples())), 400, "MB"),
      atLeast("least had of most, after half", ended.least / ended.most, 0.5),
      exactly("feeders consumed of", ended.feeders, all),
      exactly("fed", sum(({ delivered }) => delivered), all * count),
      exactly("lost", sum(({ lost }) => lost), 0),
      exactly("consumed", ended.consumed, all * count),
      exactly("given again", ended.redelivered + sum(({ redelivered }) => redelivered), 0),
      exactly("out of order", ended.misplaced, 0),
      calm([process, ...feeding])
    ],
    figures: [
      ["device: used at first", `${baseline.toFixed(1)} MB`],
      ["fewest and most elements of a feeder, after half", `${ended.least} and ${ended.most}`]
    ],
    series: seriesOf([process, ...feeding])
  }
})

/** One feeder of many devices. */
const devices: Scenario = Effect.fnUntraced(function*(scale) {
  const processes = scale >= 0.5 ? 4 : 2
  const each = scaled(50, scale, 15)
  const all = processes * each
  const ports = yield* portsOf(all)
  const count = scaled(100_000, scale, all * 200)
  const idleMillis = scaled(30_000, scale, 2000)
  const sampleMillis = scaled(1000, scale, 100)
  const consuming = yield* Effect.forEach(
    Array.from({ length: processes }, (_, i) => i),
    (i) =>
      startConsumer(
        `consumers ${i + 1}`,
        consumer({ feed: "shared", ports: ports.slice(i * each, (i + 1) * each), sampleMillis })
      ),
    { concurrency: "unbounded" }
  )
  const feeding = yield* startFeeder(
    "feeder",
    feeder(ports, { feed: "shared", count, leaseMillis: 60_000, sampleMillis, isHeld: true })
  )
  yield* feeding.printed("Attached", 300_000)
  const attached = Date.now() + 500
  yield* Effect.sleep(500 + idleMillis)
  yield* Effect.forEach(
    [feeding, ...consuming],
    (one) => one.waitFor("samples while idle", () => between(one.samples(), attached, Infinity).length >= 12)
  )
  const released = Date.now()
  yield* feeding.signal("SIGUSR2")
  const fed = yield* feeding.printed("Fed", 600_000)
  const ended = yield* Effect.forEach(consuming, (one) => one.printed("Ended", 300_000), { concurrency: "unbounded" })
  yield* Effect.forEach([feeding, ...consuming], ({ exited }) => exited)
  const idle = between(feeding.samples(), attached, released)
  const perDevice = (samples: ReadonlyArray<Sample>, count: number) =>
    (median(between(samples, attached, released).map((sample) => sample.live)) - samples[0]!.live) / count / 1000
  const sum = (of: (line: typeof ended[number]) => number) => ended.reduce((total, line) => total + of(line), 0)
  const ofFeeder = perDevice(feeding.samples(), all)
  const ofDevice = median(consuming.map((one) => perDevice(one.samples(), each)))
  return {
    title: `One feeder of ${all} devices, idle for ${idleMillis / 1000} s, then ${count.toLocaleString("en")} elements`,
    checks: [
      ...flat("feeder, while idle", idle, { live: 2, rss: 16 }),
      atMost("feeder: most RSS", peak(rss(feeding.samples())), 400, "MB"),
      ...consuming.flatMap((one) => [
        atMost(`${one.name}: growth while idle`, growth(live(between(one.samples(), attached, released))), 2, "MB"),
        atMost(`${one.name}: most RSS`, peak(rss(one.samples())), 400, "MB")
      ]),
      exactly("fed", fed.delivered, count),
      exactly("lost", fed.lost, 0),
      exactly("consumed", sum(({ consumed }) => consumed), count),
      exactly("given again", fed.redelivered + sum(({ redelivered }) => redelivered), 0),
      exactly("out of order", sum(({ misplaced }) => misplaced), 0),
      atLeast("fewest elements of a device", Math.min(...ended.map(({ leastOfDevice }) => leastOfDevice)), 1),
      calm([feeding, ...consuming])
    ],
    figures: [
      ["an idle device costs its feeder", `${ofFeeder.toFixed(1)} kB`],
      ["an idle device costs its own process", `${ofDevice.toFixed(1)} kB`],
      ["most elements of a device", String(Math.max(...ended.map(({ mostOfDevice }) => mostOfDevice)))]
    ],
    series: seriesOf([feeding, ...consuming])
  }
})

/** The scenarios by name. */
export const scenarios = { stopped, many, cycles, feeders, devices }

export type Name = keyof typeof scenarios
