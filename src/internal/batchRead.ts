/** Bytes as a batch: refuses all that `write` does not make. */
import type * as SchemaAST from "effect/SchemaAST"
import type { Chunk, Limits } from "../BatchCodec.ts"
import { align, viewOf } from "./batchBuffers.ts"
import { Batch, rowsOf } from "./batchChunk.ts"
import { mark, refuse } from "./batchErrors.ts"
import { Source, type Stored } from "./batchKind.ts"
import { explain, type Layout } from "./batchLayout.ts"
import { readRest } from "./batchRest.ts"
import { headerBytes, magic } from "./batchWrite.ts"

const defaultMaxElements = 2 ** 20

/** Throws `MalformedBatch`, and what the checks of the Schema throw. */
export const read = (layout: Layout, received: Uint8Array, limits: Limits | undefined): Chunk => {
  const { passes, rest, shape: { fields } } = layout
  const invalid = limits?.invalid === "mark" ? new Map<number, string>() : undefined
  const { length, source } = readHeader(layout, received, limits)
  const columns: Array<Stored> = []
  for (let k = 0; k < fields.length; k++) {
    const { ast, kind: { check, read }, name } = fields[k]!
    const column = read(source, length)
    check?.(column, (i) => refuseElement(name, ast, i, column.values[i], invalid))
    columns.push(column)
  }
  if (rest !== undefined) columns.push(readRest(rest, source, length, invalid))
  const rows = passes === undefined ? undefined : rowsOf(layout, columns, length)
  rows?.forEach((row, i) => {
    if (invalid?.has(i) !== true && !passes!(row)) refuseElement("", layout.ast, i, row, invalid)
  })
  return new Batch(layout, length, rows, columns, invalid?.size === 0 ? undefined : invalid)
}

const readHeader = (
  layout: Layout,
  received: Uint8Array,
  limits: Limits | undefined
): { readonly source: Source; readonly length: number } => {
  const { byteLength } = received
  const count = layout.bodies.length
  const tableEnd = headerBytes + 4 * count
  if (byteLength < align(tableEnd)) refuse("header", `${byteLength} bytes are too few`)
  const header = viewOf(received, 0, "uint32", tableEnd / 4) as Uint32Array // by its dtype
  if (header[0] !== magic) refuse("header", "it does not start with EFB1")
  if (header[1] !== count) {
    refuse("header", `expected ${count} columns, got ${header[1]}`)
  }
  const length = header[2]!
  const maxElements = limits?.maxElements ?? defaultMaxElements
  if (length > maxElements) refuse("header", `${length} elements are more than the ${maxElements} allowed`)
  if (header[3] !== byteLength) {
    refuse("header", `it declares ${header[3]} bytes, got ${byteLength}`)
  }
  let at = tableEnd
  const skipPadding = (field: string): void => {
    for (const end = align(at); at < end; at++) {
      if (at >= byteLength || received[at] !== 0) refuse(field, "its padding is missing or not zero")
    }
  }
  skipPadding("header")
  const starts: Array<number> = []
  const sizes: Array<number> = []
  for (let k = 0; k < count; k++) {
    const field = layout.bodies[k]!
    const size = header[headerBytes / 4 + k]!
    if (size > byteLength - at) refuse(field, `${size} bytes do not fit into the payload`)
    starts.push(at)
    sizes.push(size)
    at += size
    skipPadding(field)
  }
  if (at !== byteLength) refuse("header", `${byteLength - at} bytes follow the last column`)
  return { source: new Source(received, starts, sizes, limits?.maxStringBytes ?? Infinity), length }
}

// Refuses the batch, or marks the element, if nothing is known against it yet.
const refuseElement = (
  name: string,
  ast: SchemaAST.AST,
  i: number,
  value: unknown,
  invalid: Map<number, string> | undefined
): void => {
  if (invalid === undefined) refuse(name, `element ${i}: ${explain(ast, value)}`)
  else if (!invalid.has(i)) mark(invalid, i, () => `${name === "" ? "" : `${name}: `}${explain(ast, value)}`)
}
