/**
 * Frames as bytes. `docs/protocol.md` describes them.
 *
 * A frame is a header of 8 bytes (length of the body as u32, kind as u8, three zero bytes; little-endian) and a body.
 * Kind 0 is a control frame, JSON text. Kind 1 is a batch: `first` and `heard` as f64, `elementBytes` and the number of
 * runs as u32, for each run its ordinal as f64, its count and its attempt as u32, then the columns. Kind 2 is a batch
 * with ids between the runs and the columns: how many bytes of text they are, as u32, for each the end of its text, as
 * u32, and the text, UTF-8, padded with zeros to a multiple of 8. Kind 3 is a report, see `reportFrame.ts`.
 */
import * as Result from "effect/Result"
import type { Batch, DeviceFrame, FeederFrame, FeedInfo, Run } from "../RemoteDevices.ts"
import { align } from "./batchBuffers.ts"
import { decodeDeviceControl, decodeFeederControl, encodeControl, textOf } from "./controlFrames.ts"
import type { RawFrame } from "./frameCutter.ts"
import { headerBytes } from "./frameCutter.ts"
import type { MalformedFrame } from "./malformedFrame.ts"
import { malformed } from "./malformedFrame.ts"
import { decodeReport, encodeReport, isCount, reportKind } from "./reportFrame.ts"

export { makeCutter } from "./frameCutter.ts"
export type { RawFrame } from "./frameCutter.ts"
export { MalformedFrame } from "./malformedFrame.ts"

const batchHeaderBytes = 24
const runBytes = 16

/** The longest id of an element, in bytes of UTF-8. */
const idBytes = 4096

const encodeText = new TextEncoder()

const header = (bytes: Uint8Array, length: number, kind: number): void => {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, length, true)
  bytes[4] = kind
}

const framed = (body: Uint8Array, kind: number): readonly [Uint8Array] => {
  const bytes = new Uint8Array(headerBytes + body.length)
  header(bytes, body.length, kind)
  bytes.set(body, headerBytes)
  return [bytes]
}

/** The text of a control frame as a frame. */
export const controlOf = (body: Uint8Array): readonly [Uint8Array] => framed(body, 0)

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
  frame._tag === "Batch" ? encodeBatch(frame, feed) : controlOf(encodeControl(frame))

/** A device's frame as bytes. */
export const encodeDeviceFrame = (frame: DeviceFrame): readonly [Uint8Array] => {
  const report = frame._tag === "Progress" ? encodeReport(frame.progress) : undefined
  return report === undefined ? controlOf(encodeControl(frame)) : framed(report, reportKind)
}

/** Reads a device's frame. */
export const decodeDeviceFrame = (raw: RawFrame): Result.Result<DeviceFrame, MalformedFrame> =>
  raw.kind === 0
    ? decodeDeviceControl(raw.body)
    : raw.kind === reportKind
    ? decodeReport(raw.body)
    : malformed("kind", "a device sends no batches")

/** Reads a feeder's frame. `feed` is the one its Hello named, once it is known. */
export const decodeFeederFrame = (
  raw: RawFrame,
  feed: FeedInfo | undefined,
  limits: { readonly elements: number; readonly stringBytes?: number | undefined }
): Result.Result<FeederFrame, MalformedFrame> => {
  if (raw.kind === 0) return decodeFeederControl(raw.body)
  if (raw.kind === reportKind) return malformed("kind", "a feeder sends no reports")
  return feed === undefined ? malformed("kind", "a batch came before a Hello") : decodeBatch(raw, feed, limits)
}

interface DecodedIds {
  readonly ids: ReadonlyArray<string> | undefined
  readonly rest: Uint8Array
}

const decodeIds = (bytes: Uint8Array, count: number): Result.Result<DecodedIds, MalformedFrame> => {
  const textAt = 4 + 4 * count
  if (bytes.length < textAt) return malformed("ids", "they are shorter than their table")
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const length = view.getUint32(0, true)
  const end = align(textAt + length)
  if (end > bytes.length) return malformed("ids", `they announce ${length} bytes of text`)
  const ids: Array<string> = []
  let from = 0
  for (let i = 0; i < count; i++) {
    const to = view.getUint32(4 + 4 * i, true)
    if (to < from || to > length) return malformed(`ids[${i}]`, `it ends at ${to}`)
    if (to - from > idBytes) return malformed(`ids[${i}]`, `it takes ${to - from} bytes, at most ${idBytes}`)
    const id = textOf(bytes.subarray(textAt + from, textAt + to), `ids[${i}]`)
    if (Result.isFailure(id)) return Result.fail(id.failure)
    ids.push(id.success)
    from = to
  }
  if (from !== length) return malformed("ids", `${length - from} bytes follow the last of them`)
  for (let at = textAt + length; at < end; at++) {
    if (bytes[at] !== 0) return malformed("ids", "their padding is not zero")
  }
  return Result.succeed({ ids, rest: bytes.subarray(end) })
}

const decodeRuns = (
  view: DataView,
  count: number,
  limits: { readonly elements: number }
): Result.Result<{ readonly runs: ReadonlyArray<Run>; readonly elements: number }, MalformedFrame> => {
  const runs: Array<Run> = []
  let elements = 0
  for (let i = 0; i < count; i++) {
    const at = batchHeaderBytes + i * runBytes
    const run = {
      ordinal: view.getFloat64(at, true),
      count: view.getUint32(at + 8, true),
      attempt: view.getUint32(at + 12, true)
    }
    if (!isCount(run.ordinal, 0)) return malformed(`runs[${i}].ordinal`, `it is ${run.ordinal}`)
    if (run.count < 1) return malformed(`runs[${i}].count`, "it is 0")
    if (run.attempt < 1) return malformed(`runs[${i}].attempt`, "it is 0")
    if (run.ordinal > Number.MAX_SAFE_INTEGER - run.count + 1) {
      return malformed(`runs[${i}].ordinal`, `${run.ordinal} and ${run.count} elements go beyond 2^53 - 1`)
    }
    elements += run.count
    if (elements > limits.elements) {
      return malformed(`runs[${i}].count`, `it announces over ${limits.elements} elements`)
    }
    runs.push(run)
  }
  return Result.succeed({ runs, elements })
}

const decodeBatch = (
  { body, kind, release }: RawFrame,
  feed: FeedInfo,
  limits: { readonly elements: number; readonly stringBytes?: number | undefined }
): Result.Result<Batch, MalformedFrame> => {
  if (body.length < batchHeaderBytes) return malformed("length", "a batch is shorter than its header")
  const view = new DataView(body.buffer, body.byteOffset, body.length)
  const [first, heard] = [view.getFloat64(0, true), view.getFloat64(8, true)]
  const [elementBytes, count] = [view.getUint32(16, true), view.getUint32(20, true)]
  if (!isCount(first, 1)) return malformed("first", `it is ${first}`)
  if (!isCount(heard, 0)) return malformed("heard", `it is ${heard}`)
  if (count < 1 || count > (body.length - batchHeaderBytes) / runBytes) {
    return malformed("runs", `it announces ${count} runs`)
  }
  const counted = decodeRuns(view, count, limits)
  if (Result.isFailure(counted)) return Result.fail(counted.failure)
  const { elements, runs } = counted.success
  if (first > Number.MAX_SAFE_INTEGER - elements + 1) {
    return malformed("first", `${first} and ${elements} elements go beyond 2^53 - 1`)
  }
  const afterRuns = body.subarray(batchHeaderBytes + count * runBytes)
  const decoded = kind === 2 ? decodeIds(afterRuns, elements) : Result.succeed({ ids: undefined, rest: afterRuns })
  if (Result.isFailure(decoded)) return Result.fail(decoded.failure)
  const { ids, rest } = decoded.success
  const columns = feed.codec.decode(rest, {
    maxElements: limits.elements,
    maxStringBytes: limits.stringBytes,
    invalid: "mark"
  })
  if (Result.isFailure(columns)) {
    const { field, issue } = columns.failure
    return malformed(field === "header" ? "columns" : `column ${JSON.stringify(field)}`, issue)
  }
  const chunk = columns.success
  if (chunk.length !== elements) {
    return malformed("columns", `the runs count ${elements} elements, the columns ${chunk.length}`)
  }
  const frame: Batch = { _tag: "Batch", first, heard, elementBytes, runs, chunk }
  return Result.succeed(
    ids === undefined && release === undefined
      ? frame
      : { ...frame, ...(ids === undefined ? {} : { ids }), ...(release === undefined ? {} : { release }) }
  )
}
