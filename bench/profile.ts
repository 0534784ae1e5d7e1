/**
 * Prints where the time of a feeder's process, and of its consumer's, goes while it feeds over sockets or a broker, as tables:
 * `npx -c 'node --conditions=effect-feeder:source --expose-gc bench/profile.ts tcp-small devices'`. Without names it
 * profiles all of them.
 */
/* oxlint-disable no-await-in-loop -- measurements stand in line */
import { nats } from "./brokers.ts"
import { type Profile, profiled } from "./profiler.ts"
import { remote } from "./remote.ts"

const processed = { way: "feeder-chunks", acknowledged: "processed" } as const
const dialled = { ...processed, way: "feeder-chunks-dialled" } as const

/** What is profiled, and with how many elements. */
const cases = {
  "tcp-small": [4_096_000, { ...dialled, payload: "small", batch: 8192, window: 65536 }],
  "tcp-tensor": [256_000, { ...dialled, payload: "tensor", batch: 64, window: 1024 }],
  "tcp-image": [4000, { ...dialled, payload: "image", batch: 4, window: 64 }],
  "tcp-capacity": [128_000, { ...processed, payload: "small", batch: 10, window: 10 }],
  devices: [1_638_400, { ...processed, payload: "small", batch: 64, window: 1024, devices: 100 }],
  latency: [40_000, { ...processed, way: "feeder-ping", payload: "small", batch: 1, window: 1 }],
  jetstream: [128_000, { ...processed, way: "feeder-jetstream", payload: "tensor", batch: 256, window: 4096 }]
} as const

const isCase = (name: string): name is keyof typeof cases => Object.hasOwn(cases, name)

const names = process.argv.slice(2)
const unknown = names.filter((name) => !isCase(name))
if (unknown.length > 0) throw new Error(`there is no ${unknown.join(", ")}; there are ${Object.keys(cases).join(", ")}`)

const part = (name: string, percent: number) => `| ${name} | ${percent.toFixed(1)} |`

const print = (title: string, { files, functions, idle }: Profile): void => {
  console.log(`\n## ${title}: idle ${idle.toFixed(0)} % of the time\n`)
  console.log("| function, self time | % of the rest |\n| --- | --- |")
  for (const { name, percent } of functions.slice(0, 20)) console.log(part(name, percent))
  console.log("\n| file | % of the rest |\n| --- | --- |")
  for (const { name, percent } of files.slice(0, 12)) console.log(part(name, percent))
}

for (const name of names.length > 0 ? names.filter(isCase) : Object.keys(cases).filter(isCase)) {
  const [n, at] = cases[name]
  const broker = name === "jetstream" ? await nats() : ""
  if (typeof broker !== "string") {
    console.log(`\n## ${name}: skipped, ${broker.missing}`)
    continue
  }
  const profiles: Array<Profile> = []
  const one = remote({ name, ...at, broker, onProfile: (profile) => profiles.push(profile) })
  for (const isWarm of [false, true]) {
    await one.before?.(n)
    const [, profile] = await profiled(async () => {
      await one.run(n)
    })
    await one.after?.()
    if (!isWarm) continue
    print(`${name}, feeder`, profile)
    print(`${name}, consumer`, profiles.at(-1)!)
  }
  await one.end?.()
}
