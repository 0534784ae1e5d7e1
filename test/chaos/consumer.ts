/**
 * A consumer's process: `node consumer.ts '<ConsumerSettings as JSON>'`. It records what it is handed and what becomes
 * of it.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Feed } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Element from "./element.ts"
import * as History from "./history.ts"
import { endWithParent, say } from "./process.ts"
import * as Results from "./results.ts"
import { ConsumerSettings } from "./settings.ts"

endWithParent()

const settings = Schema.decodeUnknownSync(Schema.fromJsonString(ConsumerSettings))(process.argv[2])
const feed = Element.feedOf(settings.delivery)
const append = History.append(settings.history, settings.device, settings.launch)

/** Without a turn for so long, what was handed out before it may have been taken back since. */
const pauseMillis = settings.leaseMillis / 20
const tickMillis = 10
let ticked = Date.now()
/** The next batch was perhaps handed out before a pause. */
let isLate = false

const noticePause = (now: number): void => {
  if (now - ticked > pauseMillis) isLate = true
  ticked = now
}

setInterval(() => noticePause(Date.now()), tickMillis).unref()

type Batch = { readonly [K in keyof Element.Element]: ArrayLike<Element.Element[K]> }

const kindOf = (n: number, attempt: number): History.Kind => {
  if (Element.isRefused(n)) return "Refused"
  return attempt === 1 && Element.isGivenBack(n) ? "GivenBack" : "Done"
}

const outcomes: Record<Exclude<History.Kind, "Handed">, Feed.Outcome> = {
  Done: Feed.done,
  Refused: Feed.reject("this number is not wanted"),
  GivenBack: Feed.retry({ cause: "not now" })
}

/** What was last handed out. The part of a batch that is done is worked on again, without the rest, to be settled. */
let known = new Set<string>()

const work = (elements: ReadonlyArray<Element.Element>, deliveries: ReadonlyArray<Feed.Delivery>) =>
  Effect.gen(function*() {
    const at = Date.now()
    noticePause(at)
    const handed = elements.map((element, i): History.Event => {
      const { attempt, ordinal, redelivered } = deliveries[i]!
      const { life, n } = element
      const isCorrupt = !Element.isIntact(element)
      return { kind: "Handed", n, life, ordinal, attempt, redelivered, isLate, isCorrupt, at }
    })
    const keys = handed.map(({ attempt, life, ordinal }) => `${life} ${ordinal} ${attempt}`)
    const isAgain = keys.every((key) => known.has(key))
    isLate = false
    known = new Set(keys)
    const left = handed.map((event) => ({ ...event, kind: kindOf(event.n, event.attempt) }))
    const done = left.filter(({ kind }) => kind === "Done")
    if (!isAgain) append(handed)
    const areDone = done.length === left.length
    if (areDone) yield* Results.Results.use(({ add }) => add(done.map(({ n }) => n)))
    yield* Effect.sleep(handed.length * settings.workMillis)
    if (!isAgain) append(left.map((event) => ({ ...event, at: Date.now() })))
    // What comes next is taken after this: a pause before now does not excuse it.
    noticePause(Date.now())
    isLate = false
    if (areDone) return
    return yield* Feed.outcomes(left.map(({ kind }) => outcomes[kind === "Handed" ? "Done" : kind]))
  }).pipe(Effect.catchTag("SqlError", (error) => Effect.fail(Feed.retry({ cause: error.message }))))

const main = Effect.gen(function*() {
  say({ _tag: "Up" })
  const { done, fenced } = yield* feed.forEachBatch(
    Element.batch,
    (batch: Batch, { deliveries }) =>
      work(
        deliveries.map((_, i) => ({
          n: batch.n[i]!,
          life: batch.life[i]!,
          payload: batch.payload[i]!,
          checksum: batch.checksum[i]!
        })),
        deliveries
      ),
    { within: 20 }
  )
  say({ _tag: "Consumed", done, fenced })
}).pipe(
  Effect.provide([
    SocketDevices.layerHost({ feeds: [feed], port: settings.port }),
    Results.layer(settings.delivery, settings.database, settings.leaseMillis)
  ]),
  Effect.tapError((error) => Effect.sync(() => say({ _tag: "Failed", message: error.message }))),
  Effect.provide(Logger.layer([]))
)

NodeRuntime.runMain(main, { disableErrorReporting: true })
