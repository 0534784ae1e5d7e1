/**
 * Control frames: all but batches, as JSON text. `docs/protocol.md` describes their fields.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import type { Batch, DeviceFrame, FeederFrame } from "../RemoteDevices.ts"
import { Bye, End, Flush, Hello, Leaving, Ping, Refused, RefusedReason, Report, Welcome } from "../RemoteDevices.ts"
import type { MalformedFrame } from "./malformedFrame.ts"
import { malformed } from "./malformedFrame.ts"

/**
 * Most bytes of a control frame from a device, whose reports list results. JSON takes many times its length when it is
 * read, so this is much less than what a batch may take. What a feeder sends is limited by the host, before it is cut.
 */
const deviceControlBytes = 8 * 1024 * 1024

const encodeText = new TextEncoder()

/** The text of a control frame. */
export const encodeControl = (frame: { readonly _tag: string }): Uint8Array => encodeText.encode(JSON.stringify(frame))

type Read<F> = (json: unknown) => Result.Result<F, Schema.SchemaError>

/** A refusal as it may come: a later version may know reasons that this one does not. */
const AnyRefused = Schema.TaggedStruct("Refused", { ...Refused.fields, reason: Schema.String })
const readRefused = Schema.decodeUnknownResult(AnyRefused)
const isReason = Schema.is(RefusedReason)

const refused: Read<DeviceFrame> = (json) =>
  Result.map(readRefused(json), (frame) =>
    isReason(frame.reason)
      ? { ...frame, reason: frame.reason }
      : { ...frame, reason: "other", detail: `${frame.reason}: ${frame.detail}` })

const feederFrames: ReadonlyMap<string, Read<Exclude<FeederFrame, Batch>>> = new Map<
  string,
  Read<Exclude<FeederFrame, Batch>>
>([
  ["Hello", Schema.decodeUnknownResult(Hello)],
  ["Ping", Schema.decodeUnknownResult(Ping)],
  ["Flush", Schema.decodeUnknownResult(Flush)],
  ["End", Schema.decodeUnknownResult(End)],
  ["Bye", Schema.decodeUnknownResult(Bye)]
])

const deviceFrames: ReadonlyMap<string, Read<DeviceFrame>> = new Map<string, Read<DeviceFrame>>([
  ["Welcome", Schema.decodeUnknownResult(Welcome)],
  ["Refused", refused],
  ["Progress", Schema.decodeUnknownResult(Report)],
  ["Leaving", Schema.decodeUnknownResult(Leaving)]
])

const issuesOf = SchemaIssue.makeFormatterStandardSchemaV1()

const place = (tag: string, path: ReadonlyArray<unknown>): string =>
  path.reduce<string>((text, key) => typeof key === "number" ? `${text}[${key}]` : `${text}.${String(key)}`, tag)

/** Where a frame is not as it should be: the first place of all. */
const explain = (tag: string, issue: SchemaIssue.Issue): Result.Result<never, MalformedFrame> => {
  const first = issuesOf(issue).issues[0]
  return malformed(place(tag, first?.path ?? []), first?.message ?? "it is not as it should be")
}

const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** Bytes as text. */
export const textOf = (bytes: Uint8Array, field: string): Result.Result<string, MalformedFrame> => {
  try {
    return Result.succeed(text.decode(bytes))
  } catch {
    return malformed(field, "it is not UTF-8")
  }
}

const parse = (json: string): Result.Result<unknown, MalformedFrame> => {
  try {
    return Result.succeed(JSON.parse(json))
  } catch {
    // What the parser says quotes the text, in which there may be a secret.
    return malformed("body", "it is not JSON")
  }
}

const tagOf = (json: unknown): unknown =>
  typeof json === "object" && json !== null && Object.hasOwn(json, "_tag") && "_tag" in json ? json._tag : undefined

/** Reads a control frame that has one of the names of `frames`. */
export const decodeControl = <F>(
  body: Uint8Array,
  frames: ReadonlyMap<string, Read<F>>
): Result.Result<F, MalformedFrame> => {
  const json = Result.flatMap(textOf(body, "body"), parse)
  if (Result.isFailure(json)) return Result.fail(json.failure)
  const tag = tagOf(json.success)
  const read = typeof tag === "string" ? frames.get(tag) : undefined
  if (typeof tag !== "string" || read === undefined) {
    const got = typeof tag === "string" ? JSON.stringify(tag) : "none"
    return malformed("_tag", `expected one of ${[...frames.keys()].join(", ")}, got ${got}`)
  }
  const frame = read(json.success)
  return Result.isSuccess(frame) ? Result.succeed(frame.success) : explain(tag, frame.failure.issue)
}

/** Reads a control frame of a feeder. */
export const decodeFeederControl = (
  body: Uint8Array
): Result.Result<Exclude<FeederFrame, Batch>, MalformedFrame> => decodeControl(body, feederFrames)

/** Reads a control frame of a device. */
export const decodeDeviceControl = (body: Uint8Array): Result.Result<DeviceFrame, MalformedFrame> =>
  body.length > deviceControlBytes
    ? malformed("length", `${body.length} bytes of a control frame, at most ${deviceControlBytes}`)
    : decodeControl(body, deviceFrames)
