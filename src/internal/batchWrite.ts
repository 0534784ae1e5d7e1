/** A batch as bytes: the header and the bodies of the columns, as `BatchCodec` describes them. */
import type { Columns } from "../BatchCodec.ts"
import { align, cutBuffer } from "./batchBuffers.ts"
import { ElementInvalid } from "./batchErrors.ts"
import type { Layout } from "./batchLayout.ts"
import { writeRest } from "./batchRest.ts"
import { writeText } from "./batchText.ts"
import { bytesOf } from "./tensorStorage.ts"

/** "EFB1" */
export const magic = 0x31424645
/** Size of the header without its table of columns. */
export const headerBytes = 16
const largestU32 = 2 ** 32 - 1

// Columns below this many bytes are copied together, so that a small batch is one write.
const copyBelow = 16_384

const bodyOf = (layout: Layout, columns: Columns, k: number): ReadonlyArray<Uint8Array> => {
  const column = columns[k]!
  if (column._tag === "Fixed") return [bytesOf(column.data)]
  if (column.body !== undefined) return column.body
  return k < layout.leaves.length
    ? writeText(column.values as ReadonlyArray<string>) // a leaf with values is a column of strings
    : writeRest(layout.rest!, column.values)
}

/** Size of a column in bytes, without padding. */
export const bodySize = (body: ReadonlyArray<Uint8Array>): number => {
  let size = 0
  for (const part of body) size += part.byteLength
  return size
}

/** The segments of a batch. Throws `ElementInvalid`. */
export const write = (layout: Layout, columns: Columns, length: number): ReadonlyArray<Uint8Array> => {
  const bodies = columns.map((_, k) => bodyOf(layout, columns, k))
  const header = new Uint32Array(headerBytes / 4 + bodies.length)
  let total = align(header.byteLength)
  bodies.forEach((body, k) => {
    const size = bodySize(body)
    header[4 + k] = size
    total += align(size)
  })
  if (total > largestU32) {
    throw new ElementInvalid({
      issue: `${length} elements take ${total} bytes, more than a batch can hold; send fewer`
    })
  }
  header[0] = magic
  header[1] = bodies.length
  header[2] = length
  header[3] = total

  const segments: Array<Uint8Array> = []
  // Small parts wait in `run`, with their places, until a large one or the end cuts it.
  let run: Array<readonly [part: Uint8Array, at: number]> = [[bytesOf(header), 0]]
  let start = 0
  const cut = (end: number): void => {
    if (end > start) {
      const segment = bytesOf(cutBuffer("uint8", end - start))
      for (const [part, at] of run) segment.set(part, at - start)
      segments.push(segment)
    }
    run = []
  }
  let at = align(header.byteLength)
  for (const body of bodies) {
    const size = bodySize(body)
    const isLarge = size >= copyBelow
    if (isLarge) cut(at)
    let end = at
    for (const part of body) {
      if (isLarge) segments.push(part)
      else run.push([part, end])
      end += part.byteLength
    }
    if (isLarge) start = end
    at = align(end)
  }
  cut(total)
  return segments
}
