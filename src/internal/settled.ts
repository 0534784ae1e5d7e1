/**
 * The sequences that a device has settled and that its watermark has not passed, with their results. Its functions take a
 * session's sequence numbers, and change nothing that they are given but a map that is named `above`.
 */
import type { Progress, Result } from "../RemoteDevices.ts"
import { done } from "../RemoteDevices.ts"

/**
 * What became of one: the first report that told of it, or 0; and, if it was refused before it was queued, the bytes it
 * counts.
 */
interface One {
  readonly result: Result
  readonly report: number
  readonly refusedBytes: number
}

/** Those that are settled, by their sequence: see the module. */
export type Settled = ReadonlyMap<number, One>

/** The bytes of what was refused beyond a sequence, before it was queued. */
export const refusedBeyond = (above: Settled, sequence: number): number => {
  let bytes = 0
  for (const [each, { refusedBytes }] of above) if (each > sequence) bytes += refusedBytes
  return bytes
}

/** Moves the watermark over what is done, and over other results once the feeder has heard of them. */
export const advance = (
  { accepted, settled }: { readonly accepted: number; readonly settled: number },
  above: Map<number, One>,
  heard: number
): number => {
  let watermark = settled
  while (watermark < accepted) {
    const next = above.get(watermark + 1)
    if (next === undefined || (next.result._tag !== "Done" && (next.report === 0 || next.report > heard))) break
    above.delete(++watermark)
  }
  return watermark
}

/** Whether there is one that no report has told of, and that is not simply done. */
export const hasNews = (above: Settled): boolean => {
  for (const { report, result } of above.values()) if (report === 0 && result._tag !== "Done") return true
  return false
}

/** Most that one report tells: ranges, and the sizes of causes. What is beyond is told once this is known. */
export interface Most {
  readonly ranges: number
  readonly text: number
  readonly sizeOf: (cause: string) => number
}

const mostOfFrame: Most = { ranges: 4096, text: 524_288, sizeOf: (cause) => cause.length }

/** What the report of this number tells of them, and they, with what it tells of for the first time. */
export const tell = (
  settled: { readonly above: Settled; readonly accepted: number },
  report: number,
  most: Most = mostOfFrame
): readonly [told: Progress["above"], above: Settled] => {
  if (settled.above.size === 0) return [[], settled.above]
  const [told, toldTo] = ranges(settled, most)
  const above = new Map<number, One>()
  for (const [sequence, one] of settled.above) {
    above.set(sequence, one.report === 0 && sequence <= toldTo ? { ...one, report } : one)
  }
  return [told, above]
}

/**
 * What is settled above the watermark, and up to which sequence it is told. What was refused, and was let go of with the
 * rest, is told when it has come again.
 */
const ranges = (
  { above, accepted }: { readonly above: Settled; readonly accepted: number },
  most: Most
): readonly [Progress["above"], toldTo: number] => {
  const all: Array<{ from: number; count: number; result: Result }> = []
  let text = 0
  for (const sequence of [...above.keys()].toSorted((a, b) => a - b)) {
    if (sequence > accepted) break
    const result = above.get(sequence)?.result ?? done
    const last = all.at(-1)
    if (last !== undefined && last.from + last.count === sequence && sameResult(last.result, result)) last.count++
    else {
      text += result._tag === "Done" ? 0 : most.sizeOf(result.cause)
      if (all.length === most.ranges || (text > most.text && all.length > 0)) return [all, sequence - 1]
      all.push({ from: sequence, count: 1, result })
    }
  }
  return [all, accepted]
}

const sameResult = (a: Result, b: Result): boolean =>
  a === b || (a._tag === "Done" && b._tag === "Done") ||
  (a._tag === "Retry" && b._tag === "Retry" && a.afterMillis === b.afterMillis && a.cause === b.cause) ||
  (a._tag === "Reject" && b._tag === "Reject" && a.cause === b.cause && a.invalid === b.invalid)
