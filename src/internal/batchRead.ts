/** Bytes as a batch: refuses all that `write` does not make. */
import type { Chunk, Column, Limits } from "../BatchCodec.ts"
import { align, viewOf } from "./batchBuffers.ts"
import { Batch } from "./batchChunk.ts"
import { unpack } from "./batchColumns.ts"
import { refuse } from "./batchErrors.ts"
import { columnCount, explain, type Layout, type Leaf, passes } from "./batchLayout.ts"
import { readRest } from "./batchRest.ts"
import { readText } from "./batchText.ts"
import { headerBytes, magic } from "./batchWrite.ts"
import { storages, type StoredDType } from "./tensorStorage.ts"

const defaultMaxElements = 2 ** 20

const readFixed = (name: string, dtype: StoredDType, bytes: Uint8Array, entries: number): Column => {
  const expected = entries * storages[dtype].bytes
  if (bytes.byteLength !== expected) {
    refuse(name, `expected ${entries} × ${dtype} in ${expected} bytes, got ${bytes.byteLength} bytes`)
  }
  const data = viewOf(bytes, dtype, entries)
  if (dtype === "bool" && !bytes.every((byte) => byte <= 1)) refuse(name, "a boolean is neither 0 nor 1")
  return { _tag: "Fixed", data }
}

/** Throws `MalformedBatch`, and what the checks of the Schema throw. */
export const read = (layout: Layout, received: Uint8Array, limits: Limits | undefined): Chunk => {
  // A plain Uint8Array, because a Buffer's `slice` does not copy.
  const bytes = new Uint8Array(received.buffer, received.byteOffset, received.byteLength)
  const { leaves, rest } = layout
  const count = columnCount(layout)
  const tableEnd = headerBytes + 4 * count
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.byteLength < align(tableEnd)) refuse("header", `${bytes.byteLength} bytes are too few`)
  if (header.getUint32(0, true) !== magic) refuse("header", "it does not start with EFB1")
  if (header.getUint32(4, true) !== count) {
    refuse("header", `expected ${count} columns, got ${header.getUint32(4, true)}`)
  }
  const length = header.getUint32(8, true)
  const maxElements = limits?.maxElements ?? defaultMaxElements
  if (length > maxElements) refuse("header", `${length} elements are more than the ${maxElements} allowed`)
  if (header.getUint32(12, true) !== bytes.byteLength) {
    refuse("header", `it declares ${header.getUint32(12, true)} bytes, got ${bytes.byteLength}`)
  }

  let at = tableEnd
  const skipPadding = (field: string): void => {
    for (const end = align(at); at < end; at++) {
      if (at >= bytes.byteLength || bytes[at] !== 0) refuse(field, "its padding is missing or not zero")
    }
  }
  skipPadding("header")
  const bodies = Array.from({ length: count }, (_, k) => {
    const field = leaves[k]?.name ?? rest!.name
    const size = header.getUint32(headerBytes + 4 * k, true)
    if (size > bytes.byteLength - at) refuse(field, `${size} bytes do not fit into the payload`)
    const body = bytes.subarray(at, at + size)
    at += size
    skipPadding(field)
    return body
  })
  if (at !== bytes.byteLength) refuse("header", `${bytes.byteLength - at} bytes follow the last column`)

  const invalid = limits?.invalid === "mark" ? new Map<number, string>() : undefined
  const columns = leaves.map((leaf, k) => {
    const { dtype } = leaf.spec
    const entries = length * leaf.width
    const column = dtype === "string"
      ? readText(leaf.name, bodies[k]!, entries, limits?.maxStringBytes ?? Infinity)
      : readFixed(leaf.name, dtype, bodies[k]!, entries)
    if (leaf.filters.length > 0) readChecks(leaf, unpack(leaf, column, length), invalid)
    return column
  })
  if (rest !== undefined) columns.push(readRest(rest, bodies[leaves.length]!, length, invalid))
  const chunk = new Batch(layout, length, undefined, columns)
  if (layout.filters.length > 0) readChecks({ ...layout, name: "" }, chunk.elements, invalid)
  return invalid === undefined || invalid.size === 0 ? chunk : new Batch(layout, length, undefined, columns, invalid)
}

// Runs what the layout does not prove, on what nothing is known against yet. Refuses the batch, or marks the element.
const readChecks = (
  { ast, filters, name }: Pick<Leaf, "ast" | "filters" | "name">,
  values: ReadonlyArray<unknown>,
  invalid: Map<number, string> | undefined
): void => {
  for (let i = 0; i < values.length; i++) {
    if (invalid?.has(i) === true || passes(filters, values[i], ast)) continue
    if (invalid === undefined) refuse(name, `element ${i}: ${explain(ast, values[i])}`)
    else invalid.set(i, `${name === "" ? "" : `${name}: `}${explain(ast, values[i])}`)
  }
}
