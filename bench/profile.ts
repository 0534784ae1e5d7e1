/** Prints where the time of a feeder's process, and of its consumer's, goes while it feeds over sockets. */
/* oxlint-disable no-await-in-loop -- measurements stand in line */
import { startConsumer, viaSockets } from "./links.ts"
import { batch, capacity, each } from "./payloads.ts"
import { type Profile, profiled } from "./profiler.ts"

const consumer = startConsumer()

const print = (title: string, { files, functions, idle }: Profile): void => {
  console.log(`\n## ${title}: idle ${idle.toFixed(0)} % of the time; self time in % of the rest\n`)
  for (const { name, percent } of functions.slice(0, 20)) console.log(`${percent.toFixed(1).padStart(5)}  ${name}`)
  console.log("")
  for (const { name, percent } of files.slice(0, 12)) console.log(`${percent.toFixed(1).padStart(5)}  ${name}`)
}

await each(async (payload) => {
  const profiles: Array<Profile> = []
  const { after, before, run } = viaSockets(payload, consumer, (profile) => profiles.push(profile))
  const n = payload.feed.name === "small" ? 640_000 : 128_000
  for (const isWarm of [false, true]) {
    await before?.(n)
    const [, profile] = await profiled(async () => {
      await run(n)
    })
    await after?.()
    if (!isWarm) continue
    const title = `${payload.title}, batch ${batch}, capacity ${capacity}, processed`
    print(`feeder, ${title}`, profile)
    print(`consumer, ${title}`, profiles.at(-1)!)
  }
})

consumer.end()
