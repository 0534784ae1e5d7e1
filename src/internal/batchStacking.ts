/** The batch as the user sees it: each field stacked. */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type { Column, Columns } from "../BatchCodec.ts"
import * as Tensor from "../Tensor.ts"
import { pack, packStrings, unpack, valuesOf } from "./batchColumns.ts"
import { atPath } from "./batchErrors.ts"
import { isOptional, type Layout, type Leaf } from "./batchLayout.ts"
import { fieldOf } from "./batchRest.ts"
import { storages, type TypedArray } from "./tensorStorage.ts"

/** How one field of a struct, or the whole element, stands in a batch. */
export interface StackField {
  readonly name: string
  /** Its column, if it has one of its own. */
  readonly leaf: Leaf | undefined
  /** The same, if it is one typed array in the batch. */
  readonly tensor: Leaf | undefined
  readonly isOptional: boolean
}

export interface Stacking {
  readonly isObject: boolean
  readonly fields: ReadonlyArray<StackField>
}

/** Follows the schema's static type, as `Stacked` does, so that both always agree. */
export const stackingOf = (schema: Schema.Constraint, layout: Layout): Stacking => {
  const fieldFor = (name: string, of: Schema.Constraint, leaf: Leaf | undefined): StackField => ({
    name,
    leaf,
    tensor: Tensor.isTensor(of) ? leaf : undefined,
    isOptional: isOptional(of.ast)
  })
  if (!layout.isStruct || !("fields" in schema)) {
    return { isObject: false, fields: [fieldFor("", schema, layout.leaves[0])] }
  }
  const { fields } = schema as Schema.Struct<Schema.Struct.Fields> // what has fields and a struct's AST is a struct
  return {
    isObject: true,
    fields: Object.entries(fields).map(([name, field]) =>
      fieldFor(name, field, layout.leaves.find((leaf) => leaf.name === name))
    )
  }
}

/** A batch of what each field is stacked to. */
export const assemble = ({ fields, isObject }: Stacking, stacked: (field: StackField) => unknown): unknown =>
  isObject ? Object.fromEntries(fields.map((field) => [field.name, stacked(field)])) : stacked(fields[0]!)

/** Stacks the values of one field. Throws `ElementInvalid`. */
export const stackValues = ({ tensor }: StackField, values: ReadonlyArray<unknown>): unknown => {
  if (tensor === undefined) return values
  const { spec: { dtype }, width } = tensor
  return dtype === "string"
    ? packStrings(tensor, values)
    : pack(tensor, values, storages[dtype].make(values.length * width))
}

/** One field, stacked already as it is a column. */
export const stackColumn = (layout: Layout, field: StackField, columns: Columns, length: number): unknown => {
  const { leaf, name, tensor } = field
  if (leaf === undefined) return valuesOf(columns[layout.leaves.length]!).map((row) => fieldOf(row, name))
  const column = columns[layout.leaves.indexOf(leaf)]!
  if (tensor === undefined) return unpack(leaf, column, length)
  return column._tag === "Fixed" ? column.data : column.values
}

/** One field of a batch that is taken apart: its column, and how many elements it has if that can be told. */
interface Unstacked {
  readonly column: Column
  readonly length: number | undefined
}

const unstackField = ({ name, tensor }: StackField, u: unknown): Result.Result<Unstacked, string> => {
  const invalid = (expected: string) => Result.fail(atPath([name], `expected ${expected}`))
  if (tensor === undefined) {
    return Array.isArray(u)
      ? Result.succeed({ column: { _tag: "Values", values: u, body: undefined }, length: u.length })
      : invalid("an array with one value per element")
  }
  const { spec: { dtype }, width } = tensor
  const entries = dtype === "string"
    ? Array.isArray(u) ? u.length : undefined
    : storages[dtype].is(u)
    ? u.length
    : undefined
  if (entries === undefined || (width === 0 ? entries !== 0 : entries % width !== 0)) {
    const array = dtype === "string" ? "an array of strings" : `a ${storages[dtype].name}`
    return invalid(`${array} with ${width} entries per element`)
  }
  return Result.succeed({
    // Its dtype was matched just above.
    column: dtype === "string"
      ? { _tag: "Values", values: u as ReadonlyArray<unknown>, body: undefined }
      : { _tag: "Fixed", data: u as TypedArray },
    length: width === 0 ? undefined : entries / width
  })
}

/** Takes a batch apart into rows that are not validated yet. */
export const unstackRows = (
  { fields, isObject }: Stacking,
  batch: unknown,
  given: number | undefined
): Result.Result<ReadonlyArray<unknown>, string> => {
  if (isObject && !Predicate.isObject(batch)) return Result.fail("expected an object of stacked fields")
  if (given !== undefined && !(Number.isSafeInteger(given) && given >= 0)) {
    return Result.fail(`expected a length of 0 or more, got ${given}`)
  }
  let length = given
  let owner = "the given length"
  const parts: Array<Unstacked> = []
  for (const field of fields) {
    const part = unstackField(field, isObject ? fieldOf(batch, field.name) : batch)
    if (Result.isFailure(part)) return Result.fail(part.failure)
    parts.push(part.success)
    if (part.success.length === undefined) continue
    if (length === undefined) {
      length = part.success.length
      owner = field.name
    } else if (length !== part.success.length) {
      return Result.fail(
        atPath([field.name], `expected ${length} elements, as many as ${owner}, got ${part.success.length}`)
      )
    }
  }
  if (length === undefined) return Result.fail("no field tells how many elements there are; pass the length")
  const count = length
  const values = fields.map(({ tensor }, k) => {
    const { column } = parts[k]!
    return tensor === undefined ? valuesOf(column) : unpack(tensor, column, count)
  })
  if (!isObject) return Result.succeed(values[0]!)
  return Result.succeed(Array.from({ length: count }, (_, i) => {
    const row: { [name: string]: unknown } = {}
    fields.forEach(({ isOptional, name }, k) => {
      const value = values[k]![i]
      if (value !== undefined || !isOptional) row[name] = value
    })
    return row
  }))
}
