/** Elements to columns, and back. */
import type { Column, Columns } from "../BatchCodec.ts"
import { arrayOf, cutBuffer } from "./batchBuffers.ts"
import { atPath, ElementInvalid } from "./batchErrors.ts"
import type { Layout, Leaf } from "./batchLayout.ts"
import { fieldOf, writeRest } from "./batchRest.ts"
import { writeText } from "./batchText.ts"
import { mismatch, type TypedArray } from "./tensorStorage.ts"

/** The values of one field. */
export const pick = ({ isStruct }: Layout, name: string, elements: ReadonlyArray<unknown>): ReadonlyArray<unknown> => {
  if (!isStruct) return elements
  const values = arrayOf<unknown>(elements.length)
  for (let i = 0; i < elements.length; i++) values[i] = fieldOf(elements[i], name)
  return values
}

const requireMatch = (leaf: Leaf, value: unknown): void => {
  if (!leaf.matches(value)) {
    throw new ElementInvalid({ issue: atPath([leaf.name], mismatch(leaf.spec, value)) })
  }
}

/** Puts values into a typed array; the one place where tensors are copied. */
export const pack = (leaf: Leaf, values: ReadonlyArray<unknown>, data: TypedArray): TypedArray => {
  const { isScalar, width } = leaf
  const isBool = leaf.spec.dtype === "bool"
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    requireMatch(leaf, value)
    // The match proves that the value belongs in this array, which its dtype chose.
    if (isScalar) data[i] = (isBool ? Number(value) : value) as never
    else data.set(value as never, i * width)
  }
  return data
}

/** What `pack` is for strings, which have no typed array. */
export const packStrings = (leaf: Leaf, values: ReadonlyArray<unknown>): ReadonlyArray<string> => {
  for (let i = 0; i < values.length; i++) requireMatch(leaf, values[i])
  // The match proves strings, or arrays of strings.
  return (leaf.isScalar ? values : values.flat()) as ReadonlyArray<string>
}

/** A column to its values, as views where they are tensors. */
export const unpack = (leaf: Leaf, column: Column, length: number): ReadonlyArray<unknown> => {
  const { isScalar, spec, width } = leaf
  if (column._tag === "Values" && isScalar) return column.values
  const values = arrayOf<unknown>(length)
  if (column._tag === "Values") {
    for (let i = 0; i < length; i++) values[i] = column.values.slice(i * width, (i + 1) * width)
    return values
  }
  const { data } = column
  if (!isScalar) {
    for (let i = 0; i < length; i++) values[i] = data.subarray(i * width, (i + 1) * width)
  } else if (spec.dtype === "bool") {
    for (let i = 0; i < length; i++) values[i] = data[i] === 1
  } else {
    for (let i = 0; i < length; i++) values[i] = data[i]
  }
  return values
}

/** The columns of elements. Throws `ElementInvalid`. */
export const gather = (layout: Layout, elements: ReadonlyArray<unknown>): Columns => {
  const columns: Array<Column> = layout.leaves.map((leaf) => {
    const values = pick(layout, leaf.name, elements)
    const { dtype } = leaf.spec
    if (dtype !== "string") {
      return { _tag: "Fixed", data: pack(leaf, values, cutBuffer(dtype, values.length * leaf.width)) }
    }
    const strings = packStrings(leaf, values)
    return { _tag: "Values", values: strings, body: writeText(strings) }
  })
  if (layout.rest !== undefined) {
    columns.push({ _tag: "Values", values: elements, body: writeRest(layout.rest, elements) })
  }
  return columns
}

/** The elements of columns. */
export const scatter = (layout: Layout, columns: Columns, length: number): ReadonlyArray<unknown> => {
  const { isStruct, leaves, rest } = layout
  if (!isStruct) return leaves[0] === undefined ? valuesOf(columns[0]!) : unpack(leaves[0], columns[0]!, length)
  const rows = arrayOf<{ [name: string]: unknown }>(length)
  for (let i = 0; i < length; i++) rows[i] = {}
  leaves.forEach((leaf, k) => {
    const { name } = leaf
    const values = unpack(leaf, columns[k]!, length)
    for (let i = 0; i < length; i++) rows[i]![name] = values[i]
  })
  if (rest !== undefined) {
    const values = valuesOf(columns[leaves.length]!)
    for (let i = 0; i < length; i++) {
      const value = values[i]
      for (const name of rest.names!) {
        if (Object.hasOwn(value as object, name)) rows[i]![name] = fieldOf(value, name) // a decoded struct
      }
    }
  }
  return rows
}

/** The values of a column known to hold them. */
export const valuesOf = (column: Column): ReadonlyArray<unknown> => column._tag === "Values" ? column.values : []

/** The entries of the elements from one index up to another; shares the data. */
export const sliceColumn = (column: Column, from: number, to: number, width: number): Column =>
  column._tag === "Fixed"
    ? { _tag: "Fixed", data: column.data.subarray(from * width, to * width) }
    : { _tag: "Values", values: column.values.slice(from * width, to * width), body: undefined }
