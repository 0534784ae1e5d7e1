/**
 * Tries settings of one way over TCP or a broker against each other, to find those that `groups` pins:
 * `npx -c 'node --conditions=effect-feeder:source --expose-gc bench/settings.ts zeromq-columns small 64,512,2048 16384'`.
 * The last two are batches and windows.
 */
import { nats, redis } from "./brokers.ts"
import { type Case, measure, spread } from "./harness.ts"
import { type Name, payloads } from "./payloads.ts"
import { remote } from "./remote.ts"
import { short } from "./report.ts"
import { type WayName, ways } from "./ways.ts"

const [way = "", payload = "", batches = "", windows = "", millis = "300"] = process.argv.slice(2)

const isWay = (name: string): name is WayName => name in ways
const isPayload = (name: string): name is Name => name in payloads
if (!isWay(way) || !isPayload(payload)) {
  throw new Error(`give one of ${Object.keys(ways).join(", ")}; one of ${Object.keys(payloads).join(", ")}`)
}

const brokerOf = (way: WayName): Promise<unknown> =>
  way.startsWith("nats") || way.endsWith("jetstream")
    ? nats()
    : way.startsWith("redis") || way === "bullmq"
    ? redis()
    : Promise.resolve("")

const broker = await brokerOf(way)
if (typeof broker !== "string") throw new Error("its broker is not installed")

const cases = batches.split(",").flatMap((batch) =>
  windows.split(",").map((window): Case =>
    remote({
      name: `batch ${batch}, window ${window}`,
      way,
      payload,
      batch: Number(batch),
      window: Number(window),
      acknowledged: "",
      broker,
      start: payload === "image" ? 8 : 64
    })
  )
)

for (const { failed, name, perSecond } of await measure(cases, { rounds: 5, millis: Number(millis) })) {
  if (failed !== undefined) {
    console.log(`${name}: ${failed}`)
    continue
  }
  const { max, median, min } = spread(perSecond)
  console.log(`${name}: ${short(median)} (${short(min)}..${short(max)})`)
}

process.exit()
