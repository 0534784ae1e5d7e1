/**
 * The contract between feeders and devices: the frames they exchange, the links that move frames, the two services a
 * transport Layer provides, and the errors they fail with.
 *
 * A transport only moves frames. What a feeder and a device know of each other across links is a *session*, kept by
 * `FeedSession` on the feeder's side and `HostSession` on the device's, so that a transport needs no delivery logic of
 * its own. `docs/protocol.md` describes the conversation.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { BatchCodec, Chunk } from "./BatchCodec.ts"

const TypeId = "~effect-feeder/RemoteDevices"

/**
 * The versions of the protocol this package speaks, oldest and newest.
 *
 * @category protocol
 * @since 0.1.0
 */
export const versions: readonly [oldest: number, newest: number] = [1, 3]

/**
 * How an element is acknowledged. `accepted`: the device's queue has it. `processed`: the consumer has finished with
 * it.
 *
 * @category models
 * @since 0.1.0
 */
export const Acknowledge = Schema.Literals(["accepted", "processed"])

/**
 * @category models
 * @since 0.1.0
 */
export type Acknowledge = typeof Acknowledge.Type

/**
 * How often an element may be handed out. `atMostOnce`: what is in doubt is dropped. `atLeastOnce`: it is given again,
 * marked. `effectivelyOnce`: it is given again too, and the consumer's `Settlements` let only one of them take effect.
 *
 * @category models
 * @since 0.1.0
 */
export const DeliveryMode = Schema.Literals(["atMostOnce", "atLeastOnce", "effectivelyOnce"])

/**
 * @category models
 * @since 0.1.0
 */
export type DeliveryMode = typeof DeliveryMode.Type

/** A peer keeps it with the element. */
const Cause = Schema.String.check(Schema.isMaxLength(4096))

/** A name or an id: both sides compare it, as UTF-8 too, and keep it. */
const Text = Schema.String.check(
  Schema.makeFilter((s) => s.isWellFormed(), { expected: "text without lone surrogates" })
)
const Name = Text.check(Schema.isMaxLength(1024))

/**
 * What became of one handed-out element: finished, given back (to be fed again after `afterMillis`), or refused for
 * good; `invalid` says that it was the Schema there that did not accept it.
 *
 * @category models
 * @since 0.1.0
 */
export const Result = Schema.Union([
  Schema.TaggedStruct("Done", {}),
  Schema.TaggedStruct("Retry", { afterMillis: Schema.Natural, cause: Cause }),
  Schema.TaggedStruct("Reject", { cause: Cause, invalid: Schema.optionalKey(Schema.Boolean) })
])

/**
 * @category models
 * @since 0.1.0
 */
export type Result = typeof Result.Type

/**
 * The result of an element that was processed.
 *
 * @category models
 * @since 0.1.0
 */
export const done: Result = { _tag: "Done" }

/**
 * What a device says of one session, in absolute numbers, so that a lost or repeated report does no harm.
 *
 * Sequences count from 1 in each session. `settled` is the highest sequence up to which everything is settled and
 * known to the feeder, or done; `above` lists what is settled beyond it. `carried` counts the elements kept from
 * earlier sessions that have not been handed out. The feeder may send up to sequence `creditTo`, and up to
 * `creditBytesTo` bytes in all since the session began. `collecting`: a take that waits for more has all that is queued,
 * so that nothing waits there. `fenced` counts the settlements of this feeder that came after their session was over.
 * Since version 3, the link has brought elements up to sequence `received`, and the feeder may send `window` elements
 * beyond `creditTo`: they are on their way, and accepted when the queue has room.
 *
 * @category protocol
 * @since 0.1.0
 */
export const Progress = Schema.Struct({
  report: Schema.Natural,
  accepted: Schema.Natural,
  delivered: Schema.Natural,
  carried: Schema.Natural,
  settled: Schema.Natural,
  above: Schema.Array(Schema.Struct({ from: Schema.Natural, count: Schema.Natural, result: Result })),
  creditTo: Schema.Natural,
  creditBytesTo: Schema.Natural,
  collecting: Schema.optionalKey(Schema.Boolean),
  fenced: Schema.optionalKey(Schema.Natural),
  received: Schema.optionalKey(Schema.Natural),
  window: Schema.optionalKey(Schema.Natural),
  ended: Schema.Boolean
})

/**
 * @category protocol
 * @since 0.1.0
 */
export type Progress = typeof Progress.Type

/**
 * Opens a session on a new link, or goes on with one.
 *
 * `feed` and `fingerprint` say what will be fed; `device` is the name by which the feeder knows the device; `session`
 * grows by one at every reclaim. Of the session before, the device keeps what it accepted up to `keepTo`. `credential`
 * is what the device's `Credentials` are to check, if it asks for any. Without `delivery` it is `atLeastOnce`, the only
 * one of version 1. `settled` is how many elements of the session before the feeder knows to be settled: what the device
 * has settled beyond came too late.
 *
 * @category protocol
 * @since 0.1.0
 */
export const Hello = Schema.TaggedStruct("Hello", {
  versions: Schema.Tuple([Schema.Natural, Schema.Natural]),
  feed: Name,
  fingerprint: Text,
  feeder: Name,
  incarnation: Schema.Natural,
  device: Name,
  session: Schema.Natural,
  keepTo: Schema.Natural,
  acknowledge: Acknowledge,
  delivery: Schema.optionalKey(DeliveryMode),
  leaseMillis: Schema.Natural,
  credential: Schema.optionalKey(Text),
  settled: Schema.optionalKey(Schema.Natural)
})

/**
 * @category protocol
 * @since 0.1.0
 */
export type Hello = typeof Hello.Type

/**
 * Consecutive elements of a batch whose ordinals follow each other and that are given for the `attempt`-th time,
 * counted from 1.
 *
 * @category protocol
 * @since 0.1.0
 */
export const Run = Schema.Struct({ ordinal: Schema.Natural, count: Schema.Natural, attempt: Schema.Natural })

/**
 * @category protocol
 * @since 0.1.0
 */
export type Run = typeof Run.Type

/**
 * Elements with the sequences `first`, `first + 1`, …; each counts `elementBytes` against the byte credit. `heard` is
 * the number of the last report received: it renews the lease. `ids` has the stable id of each element, if the feed
 * takes them from the feeder.
 *
 * A link that brought the batch may have given it `release`, which is called at most once, when no element of it is used any
 * more: the memory that they lie in is the link's again. It is not called for a batch that somebody may keep.
 * Who makes several batches of one leaves it out.
 *
 * @category protocol
 * @since 0.1.0
 */
export interface Batch {
  readonly _tag: "Batch"
  readonly first: number
  readonly heard: number
  readonly elementBytes: number
  readonly runs: ReadonlyArray<Run>
  readonly chunk: Chunk
  readonly ids?: ReadonlyArray<string> | undefined
  readonly release?: (() => void) | undefined
}

/**
 * Renews the lease when there is nothing to send. A device answers with a `Progress`.
 *
 * @category protocol
 * @since 0.1.0
 */
export const Ping = Schema.TaggedStruct("Ping", { heard: Schema.Natural })

/**
 * Nothing follows sequence `last` for now: the device does not wait to fill a batch. More may follow, if elements come
 * back from somewhere.
 *
 * @category protocol
 * @since 0.1.0
 */
export const Flush = Schema.TaggedStruct("Flush", { last: Schema.Natural, heard: Schema.Natural })

/**
 * Nothing follows sequence `last` in this session, and nothing is out anywhere: the feed has ended.
 *
 * @category protocol
 * @since 0.1.0
 */
export const End = Schema.TaggedStruct("End", { last: Schema.Natural, heard: Schema.Natural })

/**
 * The feeder closes the link on purpose.
 *
 * @category protocol
 * @since 0.1.0
 */
export const Bye = Schema.TaggedStruct("Bye", {})

/**
 * What a feeder sends.
 *
 * @category protocol
 * @since 0.1.0
 */
export type FeederFrame = Hello | Batch | typeof Ping.Type | typeof Flush.Type | typeof End.Type | typeof Bye.Type

/**
 * The device answers a `Hello`. `device` is its incarnation: another number means another process, whose memory holds
 * nothing of before.
 *
 * @category protocol
 * @since 0.1.0
 */
export const Welcome = Schema.TaggedStruct("Welcome", {
  version: Schema.Natural,
  device: Name,
  durable: Schema.Boolean,
  capacity: Schema.Natural,
  limits: Schema.Struct({ frameBytes: Schema.Natural, elements: Schema.Natural }),
  progress: Progress
})

/**
 * @category protocol
 * @since 0.1.0
 */
export type Welcome = typeof Welcome.Type

/**
 * Why a device refuses a feeder. `other` stands for a reason that only a later version knows; the detail begins with it.
 *
 * @category protocol
 * @since 0.1.0
 */
export const RefusedReason = Schema.Literals([
  "version",
  "unknown feed",
  "different feed",
  "older feeder",
  "older session",
  "another device",
  "feeds itself",
  "leaving",
  "ended",
  "unauthenticated",
  "unauthorized",
  "busy",
  "invalid",
  "other"
])

/**
 * @category protocol
 * @since 0.1.0
 */
export type RefusedReason = typeof RefusedReason.Type

/**
 * The device does not take the feeder's elements; `detail` names both sides. With `retry` it may try again later. With
 * `sequence` it is that one element of an `accepted` feed that it does not take, since it does not pass its Schema: in the
 * next session the others may come again.
 *
 * @category protocol
 * @since 0.1.0
 */
export const Refused = Schema.TaggedStruct("Refused", {
  reason: RefusedReason,
  detail: Schema.String,
  retry: Schema.Boolean,
  sequence: Schema.optionalKey(Schema.Natural)
})

/**
 * @category protocol
 * @since 0.1.0
 */
export const Report = Schema.TaggedStruct("Progress", { progress: Progress })

/**
 * The device is shutting down: it finishes what it holds, at most `byMillis` longer, and takes nothing more.
 *
 * @category protocol
 * @since 0.1.0
 */
export const Leaving = Schema.TaggedStruct("Leaving", { byMillis: Schema.Natural })

/**
 * What a device sends.
 *
 * @category protocol
 * @since 0.1.0
 */
export type DeviceFrame = Welcome | typeof Refused.Type | typeof Report.Type | typeof Leaving.Type

/**
 * The link to a device broke, or could not be opened. `fate` is `gone` when the device's memory is certainly lost (its
 * process has exited, or nothing listens at an address that is its alone), else `unknown`.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeviceLost extends Schema.Error<DeviceLost>(`${TypeId}/DeviceLost`)({
  _tag: Schema.tag("DeviceLost"),
  device: Schema.String,
  fate: Schema.Literals(["gone", "unknown"]),
  cause: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    const why = this.cause instanceof Error ? `: ${this.cause.message}` : ""
    return `device ${this.device} is not reachable${why}; check that its consumer is running and listens there`
  }
}

/**
 * A feeder and a device do not fit together; trying again would not help.
 *
 * @category errors
 * @since 0.1.0
 */
export class FeedRefused extends Schema.Error<FeedRefused>(`${TypeId}/FeedRefused`)({
  _tag: Schema.tag("FeedRefused"),
  device: Schema.String,
  reason: RefusedReason,
  detail: Schema.String
}) {
  override get message(): string {
    return `device ${this.device} refused the feed (${this.reason}): ${this.detail}`
  }
}

/**
 * What is known of a feed without its types: its name, its fingerprint, how its batches become bytes, and the stable id
 * that an element has, if it has one.
 *
 * @category models
 * @since 0.1.0
 */
export interface FeedInfo {
  readonly name: string
  readonly fingerprint: string
  readonly codec: BatchCodec<unknown, unknown>
  identify?(element: unknown): string
}

/**
 * One live connection from a feeder to a device. It keeps the order of frames and lives in the scope it was opened in.
 *
 * @category models
 * @since 0.1.0
 */
export interface Link {
  /** Sends a frame; returns when the transport can take more. */
  readonly send: (frame: FeederFrame) => Effect.Effect<void, DeviceLost>
  /** The next frame from the device. */
  readonly receive: Effect.Effect<DeviceFrame, DeviceLost>
}

/**
 * Who is at the other end, as far as the connection knows: its address, and the certificate that it has proved to own
 * and an authority of the host has signed, if the host asks for one. `subject` is as in the certificate, such as
 * `"CN=crawler"`; `fingerprint` is its SHA-256, in hexadecimal with colons.
 *
 * @category models
 * @since 0.1.0
 */
export interface Peer {
  readonly address?: string | undefined
  readonly certificate?: { readonly subject: string; readonly fingerprint: string } | undefined
}

/**
 * One live connection from a feeder, as a device sees it: the mirror image of `Link`.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostLink {
  readonly peer?: Peer | undefined
  readonly send: (frame: DeviceFrame) => Effect.Effect<void, DeviceLost>
  readonly receive: Effect.Effect<FeederFrame, DeviceLost>
}

/**
 * A device has come, or gone. `feeds` names what it hosts, as far as that is known before a feed is opened there.
 *
 * @category models
 * @since 0.1.0
 */
export type Change =
  | { readonly _tag: "Joined"; readonly device: string; readonly feeds: ReadonlyArray<string> | undefined }
  | { readonly _tag: "Left"; readonly device: string }

/**
 * Opens links to devices by name. Provided by a transport Layer, such as `MemoryDevices.layer` or
 * `SocketDevices.layer`.
 *
 * **Gotchas**
 *
 * A link lives in the caller's scope. Closing that scope never closes the device's queue, because other feeders may
 * be feeding it.
 *
 * @category services
 * @since 0.1.0
 */
export class RemoteDevices extends Context.Service<RemoteDevices, {
  readonly open: (device: string, feed: FeedInfo) => Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope>
  /**
   * The devices there are, by those that join first, and then each that joins or leaves, without end. A transport that is
   * only told names does not have it. One that leaves and joins again before this is read on may have done neither.
   */
  readonly changes?: Stream.Stream<Change> | undefined
}>()("effect-feeder/RemoteDevices") {}

/**
 * Accepts links from feeders: the mirror image of `RemoteDevices`. `accept` succeeds with the next link, whose first
 * frame is a `Hello`; the link lives in the caller's scope.
 *
 * @category services
 * @since 0.1.0
 */
export class DeviceLinks extends Context.Service<DeviceLinks, {
  readonly accept: Effect.Effect<HostLink, never, Scope.Scope>
}>()("effect-feeder/DeviceLinks") {}
