/**
 * What the processes of a run are started with, and what they say.
 */
import { Schema } from "effect"
import { Database } from "./results.ts"

export const Delivery = Schema.Literals(["atMostOnce", "atLeastOnce", "effectivelyOnce"])

export const ConsumerSettings = Schema.Struct({
  delivery: Delivery,
  device: Schema.Natural,
  /** Which start of this device it is. */
  launch: Schema.Natural,
  port: Schema.Natural,
  leaseMillis: Schema.Natural,
  /** How long it works on each element of a batch. */
  workMillis: Schema.Finite,
  /** Where it records what it does. */
  history: Schema.String,
  /** Where it puts its results, if it has any. */
  database: Schema.optional(Database)
})

export type ConsumerSettings = typeof ConsumerSettings.Type

export const FeederSettings = Schema.Struct({
  delivery: Delivery,
  /** Which start of the feeder it is. */
  life: Schema.Natural,
  leaseMillis: Schema.Natural,
  devices: Schema.Record(Schema.String, Schema.String),
  generated: Schema.Natural,
  /** Element `n` is generated `n / perSecond` seconds after `began`, or at once if that has passed. */
  perSecond: Schema.Natural,
  /** Milliseconds since the epoch. */
  began: Schema.Finite,
  /** Where it keeps what its next life needs, and the file that says that there is no room there. */
  store: Schema.String,
  fullFile: Schema.String
})

export type FeederSettings = typeof FeederSettings.Type

const Account = Schema.Struct({
  generated: Schema.Natural,
  queued: Schema.Natural,
  leased: Schema.Natural,
  held: Schema.Natural,
  delivered: Schema.Natural,
  heldByDead: Schema.Natural,
  dead: Schema.Natural,
  dropped: Schema.Natural,
  redelivered: Schema.Natural,
  fenced: Schema.Natural,
  lost: Schema.Int
})

/** A ledger without its parts. */
export type Account = typeof Account.Type

/** A line that a process prints. */
export const Line = Schema.Union([
  Schema.TaggedStruct("Up", {}),
  /** The feeder tells this every second, and at its end. */
  Schema.TaggedStruct("Account", { account: Account, sessions: Schema.Natural, failures: Schema.Natural }),
  /** With the numbers of the elements that are dead letters because they were refused. */
  Schema.TaggedStruct("Ended", { account: Account, refused: Schema.Array(Schema.Natural) }),
  /** A consumer's loop has ended. */
  Schema.TaggedStruct("Consumed", { done: Schema.Natural, fenced: Schema.Natural }),
  Schema.TaggedStruct("Failed", { message: Schema.String })
])

export type Line = typeof Line.Type

export const lineFromJson = Schema.fromJsonString(Line)
