/**
 * One link of a device, from its Hello to its end.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as HostSession from "../HostSession.ts"
import type { DeviceLost, HostLink, RefusedReason } from "../RemoteDevices.ts"
import type { HostedFeed, Shared } from "./hostedFeed.ts"
import * as LinkWriter from "./linkWriter.ts"

let linkCount = 0

/** Serves a link until it ends: admits the feeder that says Hello, and takes what it sends. */
export const serve = (
  shared: Shared,
  hosts: ReadonlyMap<string, HostedFeed>,
  link: HostLink,
  handshake: Duration.Duration
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const first = yield* Effect.timeoutOption(link.receive, handshake)
    if (Option.isNone(first)) return
    const refuse = (reason: RefusedReason, detail: string, retry = false) =>
      link.send({ _tag: "Refused", reason, detail, retry })
    const hello = first.value
    if (hello._tag !== "Hello") {
      return yield* refuse("invalid", `_tag: a link begins with Hello, not with ${hello._tag}`)
    }
    const host = hosts.get(hello.feed)
    if (host === undefined) {
      const names = [...hosts.keys()].map((name) => `"${name}"`).join(", ")
      return yield* refuse("unknown feed", `it hosts ${names}, the feeder has "${hello.feed}"`)
    }
    // A feeder whose link was cut meanwhile still hears of what is finished.
    if (shared.isLeaving && !host.isKnown(hello)) {
      return yield* refuse("leaving", `device ${shared.id} is shutting down`, true)
    }
    if (shared.name !== undefined && hello.device !== shared.name) {
      return yield* refuse(
        "another device",
        `${shared.name} (${shared.id}) answers at this address, the feeder asked for ${hello.device}`
      )
    }
    const refusal = host.refuses(hello)
    if (refusal !== undefined) return yield* refuse(refusal.reason, refusal.detail, refusal.retry)
    const number = ++linkCount
    const writer = yield* LinkWriter.make(link)
    shared.writers.set(number, writer)
    const session = yield* host.join(hello, number)
    if (shared.isLeaving) {
      writer.send({ _tag: "Leaving", byMillis: Math.max(0, Math.ceil(shared.leaveBy - shared.now())) })
    }
    let silence = 0
    const receive: Effect.Effect<void, DeviceLost> = Effect.flatMap(link.receive, (frame) => {
      silence = 0
      if (frame._tag === "Hello") return refuse("invalid", "_tag: a second Hello on one link")
      session.apply({ _tag: "Received", frame, link: number })
      writer.report()
      return receive
    })
    // A live feeder says something every quarter of its lease. One that is silent for three has taken everything back:
    // it must not keep its share of the queue, nor others waiting for it. Counted in turns, because after a stop of this
    // process only one is due before what waits on the link is read.
    const silent: Effect.Effect<void> = Effect.suspend(() =>
      silence++ < 3
        ? Effect.andThen(Effect.sleep(Math.min(Math.max(hello.leaseMillis, 100), 86_400_000)), silent)
        : Effect.void
    )
    yield* Effect.raceAllFirst([
      writer.run({ report: session.report, hasEnded: () => HostSession.hasEnded(session.state) }),
      receive,
      silent
    ]).pipe(
      Effect.ensuring(Effect.sync(() => {
        shared.writers.delete(number)
        session.apply({ _tag: "Lost", link: number })
      }))
    )
  }).pipe(
    // A link that breaks is the ordinary end of one; a defect is not.
    Effect.catch((lost) => Effect.logDebug(lost.message)),
    Effect.catchDefect((defect) => Effect.logError("a link ended with a defect", defect))
  )
