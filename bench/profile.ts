/**
 * Prints where the time of a feeder's process, and of its consumer's, goes while it feeds over sockets:
 * `npx -c 'node --conditions=effect-feeder:source --expose-gc bench/profile.ts'`.
 */
/* oxlint-disable no-await-in-loop -- measurements stand in line */
import { type Name, payloads } from "./payloads.ts"
import { type Profile, profiled } from "./profiler.ts"
import { remote } from "./remote.ts"

const print = (title: string, { files, functions, idle }: Profile): void => {
  console.log(`\n## ${title}: idle ${idle.toFixed(0)} % of the time; self time in % of the rest\n`)
  for (const { name, percent } of functions.slice(0, 20)) console.log(`${percent.toFixed(1).padStart(5)}  ${name}`)
  console.log("")
  for (const { name, percent } of files.slice(0, 12)) console.log(`${percent.toFixed(1).padStart(5)}  ${name}`)
}

const profile = async (payload: Name, at: { readonly batch: number; readonly window: number }, n: number) => {
  const profiles: Array<Profile> = []
  const one = remote({
    name: "Feeder",
    way: "feeder-chunks",
    payload,
    acknowledged: "processed",
    ...at,
    onProfile: (profile) => profiles.push(profile)
  })
  for (const isWarm of [false, true]) {
    await one.before?.(n)
    const [, profile] = await profiled(async () => {
      await one.run(n)
    })
    await one.after?.()
    if (!isWarm) continue
    const title = `${payloads[payload].title}, batch ${at.batch}, capacity ${at.window}, processed`
    print(`feeder, ${title}`, profile)
    print(`consumer, ${title}`, profiles.at(-1)!)
  }
  await one.end?.()
}

await profile("small", { batch: 1024, window: 8192 }, 1_024_000)
await profile("tensor", { batch: 64, window: 1024 }, 128_000)
