/**
 * One link of a device, from its Hello to its end.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as HostSession from "../HostSession.ts"
import type { DeviceFrame, DeviceLost, Hello, HostLink, RefusedReason } from "../RemoteDevices.ts"
import type { HostedFeed, Shared } from "./hostedFeed.ts"
import * as LinkWriter from "./linkWriter.ts"

let linkCount = 0

const refusal = (reason: RefusedReason, detail: string, retry = false): DeviceFrame => ({
  _tag: "Refused",
  reason,
  detail,
  retry
})

const reasons = { Unauthenticated: "unauthenticated", Unauthorized: "unauthorized" } as const

/**
 * The Hello of a feeder that may feed. One that may not is told so, and nothing else: not even which feeds there are. The
 * credential goes no further.
 */
const greet = (shared: Shared, link: HostLink): Effect.Effect<Hello | undefined, DeviceLost> =>
  Effect.gen(function*() {
    const frame = yield* link.receive
    if (frame._tag !== "Hello") {
      return yield* Effect.as(
        link.send(refusal("invalid", `_tag: a link begins with Hello, not with ${frame._tag}`)),
        undefined
      )
    }
    const { credential, ...hello } = frame
    if (shared.credentials === undefined) return hello
    const peer = link.peer ?? {}
    const error = yield* shared.credentials.check({
      credential: credential === undefined ? undefined : Redacted.make(credential, { label: "credential" }),
      feed: hello.feed,
      feeder: hello.feeder,
      device: hello.device,
      peer
    }).pipe(Effect.match({ onSuccess: () => undefined, onFailure: (error) => error }))
    if (error === undefined) return hello
    const reason = reasons[error._tag]
    // Nothing of what the stranger says is written to a log.
    yield* Effect.logWarning(`a feeder at ${peer.address ?? "an unknown address"} was refused: it is ${reason}`)
    return yield* Effect.as(link.send(refusal(reason, error.detail)), undefined)
  })

/** Serves a link until it ends: admits the feeder that says Hello, and takes what it sends. */
export const serve = (
  shared: Shared,
  hosts: ReadonlyMap<string, HostedFeed>,
  link: HostLink
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const hello = Option.getOrUndefined(yield* Effect.timeoutOption(greet(shared, link), shared.handshake))
    if (hello === undefined) return
    const refuse = (reason: RefusedReason, detail: string, retry = false) => link.send(refusal(reason, detail, retry))
    if (hello.leaseMillis < 1 || hello.leaseMillis > shared.leaseMillis) {
      return yield* refuse(
        "invalid",
        `Hello.leaseMillis: it is ${hello.leaseMillis}, and may be 1 to ${shared.leaseMillis}`
      )
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
    const refused = host.refuses(hello)
    if (refused !== undefined) return yield* refuse(refused.reason, refused.detail, refused.retry)
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
      writer.report(frame._tag !== "Batch")
      return receive
    })
    // A live feeder says something every quarter of its lease. One that is silent for three has taken everything back:
    // it must not keep its share of the queue, nor others waiting for it. Counted in turns, because after a stop of this
    // process only one is due before what waits on the link is read.
    const silent: Effect.Effect<void> = Effect.suspend(() =>
      silence++ < 3
        ? Effect.andThen(Effect.sleep(Math.max(hello.leaseMillis, 100)), silent)
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
