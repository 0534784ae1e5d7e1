/**
 * What feeders and devices keep at the broker beside the elements: one record for each subject, of which the last value
 * counts; and the names of streams and subjects.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Acknowledge, DeliveryMode, Progress } from "../RemoteDevices.ts"

/** A feed as a device hosts it. `pulled`: what has a higher number in the stream no former process of the device has seen. */
const HostedFeed = Schema.Struct({
  fingerprint: Schema.String,
  acknowledge: Acknowledge,
  delivery: DeliveryMode,
  capacity: Schema.Natural,
  windowBytes: Schema.Natural,
  pulled: Schema.Natural
})

/**
 * Written by the process that is a device. `born` stays as long as the record is there; `claim` grows with each process
 * that takes the device over. It is renewed while the process lives, and closed when it ends.
 */
export const HostRecord = Schema.Struct({
  born: Schema.String,
  id: Schema.String,
  claim: Schema.Natural,
  isOpen: Schema.Boolean,
  leaseMillis: Schema.Natural,
  feeds: Schema.Record(Schema.String, HostedFeed)
})

export type HostRecord = typeof HostRecord.Type

/** Numbers of a session, by session. */
const BySession = Schema.Array(Schema.Tuple([Schema.Natural, Schema.Natural]))

/**
 * Written by a feeder: the session it is in at a device. What came before it is not handed out any more, except, on an
 * `accepted` feed, up to the sequence that is kept of each earlier session.
 */
export const Fence = Schema.Struct({ incarnation: Schema.Natural, session: Schema.Natural, kept: BySession })

export type Fence = typeof Fence.Type

/**
 * Written by a device: what became of a feeder's elements. `claim` is that of the process that writes it; `number` grows;
 * `delivered` is told of each session.
 */
export const Told = Schema.Struct({
  claim: Schema.Natural,
  number: Schema.Natural,
  incarnation: Schema.Natural,
  session: Schema.Natural,
  delivered: BySession,
  settled: Schema.Natural,
  above: Progress.fields.above,
  collectedTo: Schema.Natural,
  ended: Schema.Boolean
})

export type Told = typeof Told.Type

const reader = <A, I>(schema: Schema.ConstraintCodec<A, I>) => {
  const decode = Schema.decodeUnknownOption(Schema.fromJsonString(schema))
  return (bytes: Uint8Array): A | undefined => Option.getOrUndefined(decode(new TextDecoder().decode(bytes)))
}

/** Read a record; nothing if it is none of ours. */
export const readHost = reader(HostRecord)
export const readFence = reader(Fence)
export const readTold = reader(Told)

const encodeText = new TextEncoder()

/** A record as it is written. */
export const write = (record: HostRecord | Fence | Told): Uint8Array => encodeText.encode(JSON.stringify(record))

/** What a text takes in a record. */
export const textBytes = (text: string): number => encodeText.encode(JSON.stringify(text)).length

/** Which of two sessions of a feeder is the later one. */
export const isLater = (
  a: { readonly incarnation: number; readonly session: number },
  b: { readonly incarnation: number; readonly session: number }
): boolean => a.incarnation > b.incarnation || (a.incarnation === b.incarnation && a.session > b.session)

/** A name as a part of a subject: what may not stand in one is written as its bytes, `=2F` for a slash. */
export const token = (name: string): string =>
  encodeURIComponent(name)
    .replace(/[!'()*.~]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`)
    .replaceAll("%", "=")

/** The name that was written as a token. */
export const nameOf = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text.replaceAll("=", "%"))
  } catch {
    return undefined
  }
}

/** The streams and subjects under a prefix. */
export const names = (prefix: string) => ({
  stateStream: `${prefix}_state`,
  stateSubjects: `${prefix}.state.>`,
  feedStream: (feed: string) => `${prefix}_feed_${token(feed)}`,
  feedSubjects: (feed: string) => `${prefix}.feed.${token(feed)}.*.*`,
  /** What is fed to a device, and what one feeder feeds. */
  fed: (feed: string, device: string, feeder?: string) =>
    `${prefix}.feed.${token(feed)}.${token(device)}.${feeder === undefined ? "*" : token(feeder)}`,
  /** All that is kept of a device. */
  device: (device: string) => `${prefix}.state.${token(device)}.>`,
  host: (device: string) => `${prefix}.state.${token(device)}.host`,
  fence: (device: string, feed: string, feeder: string) =>
    `${prefix}.state.${token(device)}.fence.${token(feed)}.${token(feeder)}`,
  told: (device: string, feed: string, feeder: string) =>
    `${prefix}.state.${token(device)}.told.${token(feed)}.${token(feeder)}`
})

export type Names = ReturnType<typeof names>
