/**
 * A report in binary, kind 3, since version 3: one whose results are all `Done`. The others are JSON. All numbers are
 * little-endian: ten f64 in the order of `numbers`, the flags and the number of ranges as u32, and for each range `from` and
 * `count` as f64.
 */
import * as Result from "effect/Result"
import type { DeviceFrame, Progress } from "../RemoteDevices.ts"
import { done } from "../RemoteDevices.ts"
import type { MalformedFrame } from "./malformedFrame.ts"
import { malformed } from "./malformedFrame.ts"

/** The kind of the frame. */
export const reportKind = 3

const numbers = [
  "report",
  "accepted",
  "delivered",
  "carried",
  "settled",
  "creditTo",
  "creditBytesTo",
  "fenced",
  "received",
  "window"
] as const

const headBytes = 8 * numbers.length + 8
const rangeBytes = 16
const collecting = 1
const ended = 2

/** The body of a report, if it can be one: of version 3, and with nothing in it that is as if it were absent. */
export const encodeReport = (progress: Progress): Uint8Array | undefined => {
  const { above, collecting: isCollecting, fenced, received, window } = progress
  if (received === undefined || window === undefined || isCollecting === false || fenced === 0) return undefined
  if (above.some(({ result }) => result._tag !== "Done")) return undefined
  const bytes = new Uint8Array(headBytes + rangeBytes * above.length)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < numbers.length; i++) view.setFloat64(8 * i, progress[numbers[i]!] ?? 0, true)
  const flags = (progress.collecting === true ? collecting : 0) | (progress.ended ? ended : 0)
  view.setUint32(headBytes - 8, flags, true)
  view.setUint32(headBytes - 4, above.length, true)
  for (let i = 0; i < above.length; i++) {
    view.setFloat64(headBytes + rangeBytes * i, above[i]!.from, true)
    view.setFloat64(headBytes + rangeBytes * i + 8, above[i]!.count, true)
  }
  return bytes
}

/** Whether a number counts something: an f64 may be anything. */
export const isCount = (n: number, least: number): boolean => Number.isSafeInteger(n) && n >= least && !Object.is(n, -0)

/** Reads the body of a report. */
export const decodeReport = (body: Uint8Array): Result.Result<DeviceFrame, MalformedFrame> => {
  if (body.length < headBytes) return malformed("length", `a report takes ${headBytes} bytes, got ${body.length}`)
  const view = new DataView(body.buffer, body.byteOffset, body.length)
  for (let i = 0; i < numbers.length; i++) {
    const n = view.getFloat64(8 * i, true)
    if (!isCount(n, 0)) return malformed(`Progress.progress.${numbers[i]}`, `it is ${n}`)
  }
  const at = (i: number) => view.getFloat64(8 * i, true)
  const flags = view.getUint32(headBytes - 8, true)
  if (flags > (collecting | ended)) return malformed("flags", `they are ${flags}`)
  const ranges = view.getUint32(headBytes - 4, true)
  if (body.length !== headBytes + rangeBytes * ranges) {
    return malformed("length", `a report of ${ranges} ranges does not take ${body.length} bytes`)
  }
  const above: Array<Progress["above"][number]> = []
  for (let i = 0; i < ranges; i++) {
    const from = view.getFloat64(headBytes + rangeBytes * i, true)
    const count = view.getFloat64(headBytes + rangeBytes * i + 8, true)
    if (!isCount(from, 0)) return malformed(`Progress.progress.above[${i}].from`, `it is ${from}`)
    if (!isCount(count, 0)) return malformed(`Progress.progress.above[${i}].count`, `it is ${count}`)
    above.push({ from, count, result: done })
  }
  const fenced = at(7)
  return Result.succeed({
    _tag: "Progress",
    progress: {
      report: at(0),
      accepted: at(1),
      delivered: at(2),
      carried: at(3),
      settled: at(4),
      above,
      creditTo: at(5),
      creditBytesTo: at(6),
      ...((flags & collecting) === 0 ? {} : { collecting: true }),
      ...(fenced === 0 ? {} : { fenced }),
      received: at(8),
      window: at(9),
      ended: (flags & ended) !== 0
    }
  })
}
