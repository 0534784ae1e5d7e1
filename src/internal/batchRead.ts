/** Bytes as a batch: refuses all that `write` does not make. */
import type { Chunk, Limits } from "../BatchCodec.ts"
import { align } from "./batchBuffers.ts"
import { Batch, rowsOf } from "./batchChunk.ts"
import { mark, refuse } from "./batchErrors.ts"
import { Source, type Stored } from "./batchKind.ts"
import { passesAll } from "./batchKinds.ts"
import { explain, type Layout } from "./batchLayout.ts"
import { readRest } from "./batchRest.ts"
import type { Field } from "./batchShape.ts"
import { headerBytes, magic } from "./batchWrite.ts"

const defaultMaxElements = 2 ** 20

/** Throws `MalformedBatch`, and what the checks of the Schema throw. */
export const read = (layout: Layout, received: Uint8Array, limits: Limits | undefined): Chunk => {
  // A plain Uint8Array, because a Buffer's `slice` does not copy.
  const bytes = new Uint8Array(received.buffer, received.byteOffset, received.byteLength)
  const { filters, rest, shape: { fields } } = layout
  const count = layout.bodies.length
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
    const field = layout.bodies[k]!
    const size = header.getUint32(headerBytes + 4 * k, true)
    if (size > bytes.byteLength - at) refuse(field, `${size} bytes do not fit into the payload`)
    const body = bytes.subarray(at, at + size)
    at += size
    skipPadding(field)
    return body
  })
  if (at !== bytes.byteLength) refuse("header", `${bytes.byteLength - at} bytes follow the last column`)

  const invalid = limits?.invalid === "mark" ? new Map<number, string>() : undefined
  const source = new Source(bodies, limits?.maxStringBytes ?? Infinity)
  const columns = fields.map((field): Stored => {
    const column = field.kind.read(source, length)
    const { passes } = field.kind
    if (passes !== undefined) readChecks({ ...field, passes }, column.values, invalid)
    return column
  })
  if (rest !== undefined) columns.push(readRest(rest, source.next(), length, invalid))
  const rows = filters.length === 0 ? undefined : rowsOf(layout, columns, length)
  if (rows !== undefined) {
    readChecks({ ast: layout.ast, name: "", passes: (u) => passesAll(filters, u, layout.ast) }, rows, invalid)
  }
  return new Batch(layout, length, rows, columns, invalid?.size === 0 ? undefined : invalid)
}

// Runs what the layout does not prove, on what nothing is known against yet. Refuses the batch, or marks the element.
const readChecks = (
  { ast, name, passes }: Pick<Field, "ast" | "name"> & { readonly passes: (u: unknown) => boolean },
  values: ReadonlyArray<unknown>,
  invalid: Map<number, string> | undefined
): void => {
  for (let i = 0; i < values.length; i++) {
    if (invalid?.has(i) === true || passes(values[i])) continue
    if (invalid === undefined) refuse(name, `element ${i}: ${explain(ast, values[i])}`)
    else mark(invalid, i, () => `${name === "" ? "" : `${name}: `}${explain(ast, values[i])}`)
  }
}
