/**
 * Prints where the time of a feeder's process, and of its consumer's, goes while it feeds, as tables:
 * `npx -c 'node --conditions=effect-feeder:source --expose-gc bench/profile.ts tcp-small devices'`. Without names it
 * profiles all of them.
 */
/* oxlint-disable no-await-in-loop -- measurements stand in line */
import { nats } from "./brokers.ts"
import type { Case } from "./harness.ts"
import { type Profile, profiled } from "./profiler.ts"
import { remote } from "./remote.ts"
import { threaded } from "./threads.ts"

type OnProfile = (profile: Profile) => void
type Remote = Omit<Parameters<typeof remote>[0], "acknowledged" | "name" | "onProfile">

/** A consumer in a process of its own, which is profiled too. */
const ofProcess = (n: number, at: Remote) => (name: string, onProfile: OnProfile) =>
  ({ n, one: remote({ ...at, name, acknowledged: "processed", onProfile }) }) as const

/** A consumer in a thread: the feeder's alone is profiled. */
const ofThread = (n: number, at: Omit<Parameters<typeof threaded>[0], "name" | "start">) => (name: string) => {
  const start = () => import("./ours/workers.ts").then(({ start }) => start)
  return { n, one: threaded({ ...at, name, start }) } as const
}

const overJetStream = async (n: number, at: Omit<Remote, "broker" | "way">) => {
  const broker = await nats()
  if (typeof broker !== "string") throw new Error(broker.missing)
  return ofProcess(n, { ...at, way: "feeder-jetstream", broker })
}

const chunks = { way: "feeder-chunks" } as const
const dialled = { way: "feeder-chunks-dialled" } as const

type Make = (name: string, onProfile: OnProfile) => { readonly n: number; readonly one: Case }

/** What is profiled, and with how many elements. */
const cases: Readonly<Record<string, () => Make | Promise<Make>>> = {
  "tcp-small": () => ofProcess(4_096_000, { ...dialled, payload: "small", batch: 8192, window: 65536 }),
  "tcp-small-one": () => ofProcess(2_048_000, { way: "feeder-iterable", payload: "small", batch: 2048, window: 16384 }),
  "tcp-tensor": () => ofProcess(256_000, { ...dialled, payload: "tensor", batch: 64, window: 1024 }),
  "tcp-image": () => ofProcess(4000, { ...dialled, payload: "image", batch: 4, window: 64 }),
  "tcp-capacity": () => ofProcess(128_000, { ...chunks, payload: "small", batch: 10, window: 10 }),
  devices: () => ofProcess(1_638_400, { ...chunks, payload: "small", batch: 64, window: 1024, devices: 100 }),
  latency: () => ofProcess(40_000, { way: "feeder-ping", payload: "small", batch: 1, window: 1 }),
  "worker-small": () => ofThread(8_192_000, { payload: "small", batch: 8192, window: 65536 }),
  "worker-tensor": () => ofThread(512_000, { payload: "tensor", batch: 256, window: 2048, young: 4 }),
  jetstream: () => overJetStream(128_000, { payload: "tensor", batch: 256, window: 4096 })
}

const names = process.argv.slice(2)
const unknown = names.filter((name) => !Object.hasOwn(cases, name))
if (unknown.length > 0) throw new Error(`there is no ${unknown.join(", ")}; there are ${Object.keys(cases).join(", ")}`)

const part = (name: string, percent: number) => `| ${name} | ${percent.toFixed(1)} |`

const print = (title: string, { files, functions, idle }: Profile): void => {
  console.log(`\n## ${title}: idle ${idle.toFixed(0)} % of the time\n`)
  console.log("| function, self time | % of the rest |\n| --- | --- |")
  for (const { name, percent } of functions.slice(0, 20)) console.log(part(name, percent))
  console.log("\n| file | % of the rest |\n| --- | --- |")
  for (const { name, percent } of files.slice(0, 12)) console.log(part(name, percent))
}

for (const [name, make] of Object.entries(cases)) {
  if (names.length > 0 && !names.includes(name)) continue
  const profiles: Array<Profile> = []
  const { n, one } = (await make())(name, (profile) => profiles.push(profile))
  for (const isWarm of [false, true]) {
    await one.before?.(n)
    const [, profile] = await profiled(async () => {
      await one.run(n)
    })
    await one.after?.()
    if (!isWarm) continue
    print(`${name}, feeder`, profile)
    const consumer = profiles.at(-1)
    if (consumer !== undefined) print(`${name}, consumer`, consumer)
  }
  await one.end?.()
}
