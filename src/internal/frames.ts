/**
 * Frames as bytes. `docs/protocol.md` describes them.
 *
 * A frame is a header of 8 bytes (length of the body as u32, kind as u8, three zero bytes; little-endian) and a body.
 * Kind 0 is a control frame, JSON text. Kind 1 is a batch: `first` and `heard` as f64, `elementBytes` and the number of
 * runs as u32, for each run its ordinal as f64, its count and its attempt as u32, then the columns. Kind 2 is a batch
 * with ids between the runs and the columns: how many bytes of text they are, as u32, for each the end of its text, as
 * u32, and the text, UTF-8, padded with zeros to a multiple of 8.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Batch, DeviceFrame, FeederFrame, FeedInfo, Run } from "../RemoteDevices.ts"
import { Bye, End, Flush, Hello, Leaving, Ping, Refused, Report, Welcome } from "../RemoteDevices.ts"
import { align } from "./batchBuffers.ts"

/** Bytes that are not a frame of the protocol. */
export class MalformedFrame extends Schema.Error<MalformedFrame>("~effect-feeder/internal/frames/MalformedFrame")({
  _tag: Schema.tag("MalformedFrame"),
  issue: Schema.String
}) {
  override get message(): string {
    return `malformed frame: ${this.issue}; the peer does not speak this protocol, or its bytes were damaged`
  }
}

const headerBytes = 8
const batchHeaderBytes = 24
const runBytes = 16

const encodeText = new TextEncoder()

const feederControl = Schema.fromJsonString(Schema.Union([Hello, Ping, Flush, End, Bye]))
const deviceControl = Schema.fromJsonString(Schema.Union([Welcome, Refused, Report, Leaving]))
const decodeFeederControl = Schema.decodeUnknownResult(feederControl)
const decodeDeviceControl = Schema.decodeUnknownResult(deviceControl)

const header = (bytes: Uint8Array, length: number, kind: number): void => {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, length, true)
  bytes[4] = kind
}

/** A control frame as bytes. */
const encodeControl = (frame: DeviceFrame | Exclude<FeederFrame, Batch>): readonly [Uint8Array] => {
  const body = encodeText.encode(JSON.stringify(frame))
  const bytes = new Uint8Array(headerBytes + body.length)
  header(bytes, body.length, 0)
  bytes.set(body, headerBytes)
  return [bytes]
}

const encodeBatch = (frame: Batch, feed: FeedInfo): readonly [Uint8Array, ...Array<Uint8Array>] => {
  const columns = feed.codec.encode(frame.chunk)
  const ids = frame.ids === undefined ? undefined : encodeIds(frame.ids)
  const head = new Uint8Array(headerBytes + batchHeaderBytes + runBytes * frame.runs.length)
  const view = new DataView(head.buffer)
  const body = head.length - headerBytes + (ids?.length ?? 0)
  header(head, body + columns.reduce((sum, column) => sum + column.byteLength, 0), ids === undefined ? 1 : 2)
  view.setFloat64(8, frame.first, true)
  view.setFloat64(16, frame.heard, true)
  view.setUint32(24, frame.elementBytes, true)
  view.setUint32(28, frame.runs.length, true)
  frame.runs.forEach((run, i) => {
    const at = headerBytes + batchHeaderBytes + i * runBytes
    view.setFloat64(at, run.ordinal, true)
    view.setUint32(at + 8, run.count, true)
    view.setUint32(at + 12, run.attempt, true)
  })
  return ids === undefined ? [head, ...columns] : [head, ids, ...columns]
}

const encodeIds = (ids: ReadonlyArray<string>): Uint8Array => {
  const texts = ids.map((id) => encodeText.encode(id))
  const textAt = 4 + 4 * ids.length
  const length = texts.reduce((sum, text) => sum + text.length, 0)
  const bytes = new Uint8Array(align(textAt + length))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, length, true)
  let end = 0
  texts.forEach((text, i) => {
    bytes.set(text, textAt + end)
    end += text.length
    view.setUint32(4 + 4 * i, end, true)
  })
  return bytes
}

/** A feeder's frame as segments to be written one after the other. */
export const encodeFeederFrame = (
  frame: FeederFrame,
  feed: FeedInfo
): readonly [Uint8Array, ...Array<Uint8Array>] =>
  frame._tag === "Batch" ? encodeBatch(frame, feed) : encodeControl(frame)

/** A device's frame as bytes. */
export const encodeDeviceFrame = (frame: DeviceFrame): readonly [Uint8Array] => encodeControl(frame)

/** A frame that was cut out of a stream of bytes. */
export interface RawFrame {
  readonly kind: number
  readonly body: Uint8Array<ArrayBuffer>
}

/** How much of a body is allocated before more of it has arrived, and how many times what has. */
const claimBytes = 64 * 1024
const claimTimes = 32

/**
 * Cuts a stream of bytes into frames of at most `frameBytes`, and control frames of at most `controlBytes`, which may
 * change from one frame to the next. What is allocated for a body grows with what has arrived of it, so that announcing much claims nothing. A body begins at an
 * aligned address.
 */
export const makeCutter = (limits: { readonly frameBytes: number; readonly controlBytes?: number | undefined }) => {
  const head = new Uint8Array(headerBytes)
  const view = new DataView(head.buffer)
  let headLength = 0
  let length = 0
  let body: Uint8Array<ArrayBuffer> | undefined
  let bodyLength = 0
  return (bytes: Uint8Array): Result.Result<ReadonlyArray<RawFrame>, MalformedFrame> => {
    const frames: Array<RawFrame> = []
    let at = 0
    while (at < bytes.length || (body !== undefined && bodyLength === length)) {
      if (body === undefined) {
        const part = bytes.subarray(at, at + headerBytes - headLength)
        head.set(part, headLength)
        headLength += part.length
        at += part.length
        if (headLength < headerBytes) break
        length = view.getUint32(0, true)
        const kind = head[4]!
        if (kind > 2 || head[5] !== 0 || head[6] !== 0 || head[7] !== 0) {
          return Result.fail(new MalformedFrame({ issue: `kind ${kind} is unknown` }))
        }
        const limit = kind === 0 ? limits.controlBytes ?? limits.frameBytes : limits.frameBytes
        if (length > limit) {
          const issue = `length ${length} is over the limit of ${limit} bytes`
          return Result.fail(new MalformedFrame({ issue }))
        }
        body = new Uint8Array(Math.min(length, Math.max(claimBytes, claimTimes * (bytes.length - at))))
        bodyLength = 0
      } else {
        const part = bytes.subarray(at, at + length - bodyLength)
        if (bodyLength + part.length > body.length) {
          const larger = new Uint8Array(Math.min(length, claimTimes * (bodyLength + part.length)))
          larger.set(body.subarray(0, bodyLength))
          body = larger
        }
        body.set(part, bodyLength)
        bodyLength += part.length
        at += part.length
        if (bodyLength < length) break
        frames.push({ kind: head[4]!, body })
        headLength = 0
        body = undefined
      }
    }
    return Result.succeed(frames)
  }
}

const malformed = <A>(result: Result.Result<A, { readonly message: string }>): Result.Result<A, MalformedFrame> =>
  Result.mapError(result, (error) => new MalformedFrame({ issue: error.message }))

const text = new TextDecoder("utf-8", { fatal: true })

const textOf = (body: Uint8Array, what: string): Result.Result<string, MalformedFrame> =>
  Result.try({
    try: () => text.decode(body),
    catch: () => new MalformedFrame({ issue: `${what} is not UTF-8` })
  })

/** Reads a device's frame. */
export const decodeDeviceFrame = (raw: RawFrame): Result.Result<DeviceFrame, MalformedFrame> =>
  raw.kind === 0
    ? Result.flatMap(textOf(raw.body, "a control frame"), (json) => malformed(decodeDeviceControl(json)))
    : Result.fail(new MalformedFrame({ issue: "a device sends no batches" }))

/** Reads a feeder's frame. `feed` is the one its Hello named, once it is known. */
export const decodeFeederFrame = (
  raw: RawFrame,
  feed: FeedInfo | undefined,
  limits: { readonly elements: number; readonly stringBytes?: number | undefined }
): Result.Result<FeederFrame, MalformedFrame> => {
  if (raw.kind === 0) {
    return Result.flatMap(textOf(raw.body, "a control frame"), (json) => malformed(decodeFeederControl(json)))
  }
  return feed === undefined
    ? Result.fail(new MalformedFrame({ issue: "a batch came before a Hello" }))
    : decodeBatch(raw, feed, limits)
}

const decodeIds = (bytes: Uint8Array, count: number): Result.Result<DecodedIds, MalformedFrame> => {
  const fail = (issue: string) => Result.fail(new MalformedFrame({ issue }))
  const textAt = 4 + 4 * count
  if (bytes.length < textAt) return fail("its ids are shorter than their table")
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const length = view.getUint32(0, true)
  const end = align(textAt + length)
  if (end > bytes.length) return fail(`its ids announce ${length} bytes of text`)
  const ids: Array<string> = []
  let from = 0
  for (let i = 0; i < count; i++) {
    const to = view.getUint32(4 + 4 * i, true)
    if (to < from || to > length) return fail(`id ${i} ends at ${to}`)
    const id = textOf(bytes.subarray(textAt + from, textAt + to), `id ${i}`)
    if (Result.isFailure(id)) return Result.fail(id.failure)
    ids.push(id.success)
    from = to
  }
  if (from !== length) return fail(`${length - from} bytes follow the last id`)
  for (let at = textAt + length; at < end; at++) {
    if (bytes[at] !== 0) return fail("the padding of its ids is not zero")
  }
  return Result.succeed({ ids, rest: bytes.subarray(end) })
}

interface DecodedIds {
  readonly ids: ReadonlyArray<string> | undefined
  readonly rest: Uint8Array
}

const decodeBatch = (
  { body, kind }: RawFrame,
  feed: FeedInfo,
  limits: { readonly elements: number; readonly stringBytes?: number | undefined }
): Result.Result<Batch, MalformedFrame> => {
  const fail = (issue: string) => Result.fail(new MalformedFrame({ issue }))
  if (body.length < batchHeaderBytes) return fail("a batch is shorter than its header")
  const view = new DataView(body.buffer)
  const [first, heard] = [view.getFloat64(0, true), view.getFloat64(8, true)]
  const [elementBytes, count] = [view.getUint32(16, true), view.getUint32(20, true)]
  if (!Number.isSafeInteger(first) || first < 1) return fail(`first is ${first}`)
  if (!Number.isSafeInteger(heard) || heard < 0) return fail(`heard is ${heard}`)
  if (count < 1 || count > (body.length - batchHeaderBytes) / runBytes) return fail(`it announces ${count} runs`)
  const runs: Array<Run> = []
  let elements = 0
  for (let i = 0; i < count; i++) {
    const at = batchHeaderBytes + i * runBytes
    const run = {
      ordinal: view.getFloat64(at, true),
      count: view.getUint32(at + 8, true),
      attempt: view.getUint32(at + 12, true)
    }
    if (!Number.isSafeInteger(run.ordinal) || run.ordinal < 0) return fail(`run ${i} has the ordinal ${run.ordinal}`)
    if (run.count < 1 || run.attempt < 1) return fail(`run ${i} has count ${run.count} and attempt ${run.attempt}`)
    elements += run.count
    if (elements > limits.elements) return fail(`it announces over ${limits.elements} elements`)
    runs.push(run)
  }
  const afterRuns = body.subarray(batchHeaderBytes + count * runBytes)
  const decoded = kind === 2 ? decodeIds(afterRuns, elements) : Result.succeed({ ids: undefined, rest: afterRuns })
  return Result.flatMap(decoded, ({ ids, rest }) =>
    Result.flatMap(
      malformed(feed.codec.decode(rest, {
        maxElements: limits.elements,
        maxStringBytes: limits.stringBytes,
        invalid: "mark"
      })),
      (chunk) =>
        chunk.length === elements
          ? Result.succeed({
            _tag: "Batch",
            first,
            heard,
            elementBytes,
            runs,
            chunk,
            ...(ids === undefined ? {} : { ids })
          })
          : fail(`its runs count ${elements} elements, its columns ${chunk.length}`)
    ))
}
