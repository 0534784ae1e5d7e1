/** The batch as the user sees it: each field stacked. */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Tensor from "../Tensor.ts"
import { atPath, ElementInvalid } from "./batchErrors.ts"
import { FixedColumn, ofArray, viewsOf } from "./batchFixed.ts"
import { absent, isChecked, type Kind, type Stored } from "./batchKind.ts"
import type { Layout } from "./batchLayout.ts"
import type { Row } from "./batchPlaces.ts"
import { fieldOf, RestColumn } from "./batchRest.ts"
import { isOptional } from "./batchSchemas.ts"
import { groupsOf, ofStrings, TextColumn } from "./batchText.ts"
import { storages, type TypedArray } from "./tensorStorage.ts"

/** How one field of a struct, or the whole element, stands in a batch. */
export interface StackField {
  readonly name: string
  /** Which column is its; the last one if that is the rest. */
  readonly at: number
  /** None if it is in the rest. */
  readonly kind: Kind | undefined
  /** What it is, if it is a typed array in the batch, or an array of all strings. */
  readonly tensor: Tensor.Spec | undefined
  /** Entries per element of such an array. */
  readonly width: number
  readonly isOptional: boolean
}

export interface Stacking {
  readonly isObject: boolean
  readonly fields: ReadonlyArray<StackField>
}

/** Follows the schema's static type, as `Stacked` does, so that both always agree. */
export const stackingOf = (schema: Schema.Constraint, { isStruct, shape }: Layout): Stacking => {
  const columns = shape.fields
  const fieldFor = (name: string, of: Schema.Constraint): StackField => {
    const at = columns.findIndex((field) => field.name === name)
    const kind = columns[at]?.kind
    const tensor = Tensor.isTensor(of) ? kind?.tensor : undefined
    return {
      name,
      at: at === -1 ? columns.length : at,
      kind,
      tensor,
      width: tensor === undefined ? 1 : Tensor.sizeOf(tensor.shape),
      isOptional: isOptional(of.ast)
    }
  }
  if (!isStruct || !("fields" in schema)) return { isObject: false, fields: [fieldFor("", schema)] }
  const { fields } = schema as Schema.Struct<Schema.Struct.Fields> // what has fields and a struct's AST is a struct
  return { isObject: true, fields: Object.entries(fields).map(([name, field]) => fieldFor(name, field)) }
}

/** A batch of what each field is stacked to. */
const assemble = ({ fields, isObject }: Stacking, stacked: (field: StackField) => unknown): unknown =>
  isObject ? Object.fromEntries(fields.map((field) => [field.name, stacked(field)])) : stacked(fields[0]!)

const whole = (field: StackField, stored: Stored): unknown =>
  stored instanceof FixedColumn ? stored.data : stored instanceof TextColumn ? stored.strings : refuseField(field)

// A tensor's column is one of both.
const refuseField = ({ name }: StackField): never => {
  throw new ElementInvalid({ issue: atPath([name], "its column is no tensor's") })
}

/** Stacks elements. Throws `ElementInvalid` when a tensor that was not validated does not fit its shape. */
export const stackElements = (stacking: Stacking, elements: ReadonlyArray<unknown>): unknown => {
  const { isObject } = stacking
  return assemble(stacking, (field) => {
    const values = isObject ? elements.map((element) => fieldOf(element, field.name)) : elements
    return field.tensor === undefined ? values : whole(field, field.kind!.gather(values))
  })
}

/** Stacks columns. */
export const stackColumns = (stacking: Stacking, columns: ReadonlyArray<Stored>): unknown => {
  const { isObject } = stacking
  return assemble(stacking, (field) => {
    const stored = columns[field.at]!
    if (field.tensor !== undefined) return whole(field, stored)
    if (field.kind === undefined && isObject) return stored.values.map((row) => fieldOf(row, field.name))
    return field.isOptional ? stored.values.map((value) => value === absent ? undefined : value) : stored.values
  })
}

/** One field of a batch: what it has, and for how many elements if that can be told. */
interface Unstacked {
  readonly field: StackField
  readonly given: ReadonlyArray<unknown> | TypedArray
  readonly length: number | undefined
}

const unstackField = (field: StackField, u: unknown): Result.Result<Unstacked, string> => {
  const { name, tensor, width } = field
  const invalid = (expected: string) => Result.fail(atPath([name], `expected ${expected}`))
  if (tensor === undefined) {
    return Array.isArray(u)
      ? Result.succeed({ field, given: u, length: u.length })
      : invalid("an array with one value per element")
  }
  const { dtype } = tensor
  const given: ReadonlyArray<unknown> | TypedArray | undefined = dtype === "string"
    ? Array.isArray(u) ? u : undefined
    : storages[dtype].is(u)
    ? u
    : undefined
  if (given === undefined || (width === 0 ? given.length !== 0 : given.length % width !== 0)) {
    const array = dtype === "string" ? "an array of strings" : `a ${storages[dtype].name}`
    return invalid(`${array} with ${width} entries per element`)
  }
  return Result.succeed({ field, given, length: width === 0 ? undefined : given.length / width })
}

/** A batch whose fields are what they must be, and agree on the number of elements. */
export interface Parts {
  readonly fields: ReadonlyArray<Unstacked>
  readonly length: number
}

/** Takes a batch apart into its fields, whose values are not validated yet. */
export const partsOf = (
  { fields, isObject }: Stacking,
  batch: unknown,
  given: number | undefined
): Result.Result<Parts, string> => {
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
  return length === undefined
    ? Result.fail("no field tells how many elements there are; pass the length")
    : Result.succeed({ fields: parts, length })
}

const columnOf = ({ field, given }: Unstacked, length: number): Stored | undefined => {
  const { isOptional, kind, name, tensor } = field
  if (tensor === undefined) {
    const values = given as ReadonlyArray<unknown> // as the field is no tensor
    return kind!.gather(isOptional ? values.map((value) => value === undefined ? absent : value) : values)
  }
  const { dtype, shape } = tensor
  return dtype === "string"
    ? ofStrings(name, tensor, given as ReadonlyArray<unknown>, length)
    : ofArray({ dtype, shape }, given as TypedArray, length) // it was matched with the dtype
}

/**
 * The columns of a batch, if its values fit the layout and pass the checks of the fields. No element is made. Throws
 * `ElementInvalid` when they do not fit.
 */
export const columnsOfParts = (layout: Layout, parts: Parts): ReadonlyArray<Stored> | undefined => {
  const { rest, shape } = layout
  const columns: Array<Stored> = []
  for (const part of parts.fields) {
    const { at, kind } = part.field
    if (kind === undefined) continue
    const column = columnOf(part, parts.length)
    if (column === undefined || !isChecked(kind, column)) return undefined
    columns[at] = column
  }
  if (rest === undefined) return columns
  const rows = rest.names === undefined
    ? parts.fields[0]!.given as ReadonlyArray<unknown> // the rest is no tensor
    : rowsOfFields(parts.fields.filter(({ field }) => field.kind === undefined), parts.length)
  if (!rows.every(rest.accepts)) return undefined
  columns[shape.fields.length] = new RestColumn(rest, rows.map(rest.trim))
  return columns
}

/** The elements of a batch, not validated yet; their tensors are views of it. */
export const rowsOfParts = ({ isObject }: Stacking, parts: Parts): ReadonlyArray<unknown> =>
  isObject ? rowsOfFields(parts.fields, parts.length) : valuesOf(parts.fields[0]!, parts.length)

const valuesOf = ({ field: { tensor }, given }: Unstacked, length: number): ReadonlyArray<unknown> => {
  if (tensor === undefined) return given as ReadonlyArray<unknown> // as the field is no tensor
  const { dtype, shape } = tensor
  return dtype === "string"
    ? groupsOf(tensor, given as ReadonlyArray<string>, length) // or what else it holds
    : viewsOf({ dtype, shape }, given as TypedArray, length) // it was matched with the dtype
}

const rowsOfFields = (fields: ReadonlyArray<Unstacked>, length: number): ReadonlyArray<unknown> => {
  const rows = Array.from({ length }, (): Row => ({}))
  for (const part of fields) {
    const { isOptional, name } = part.field
    const values = valuesOf(part, length)
    for (let i = 0; i < length; i++) {
      if (!isOptional || values[i] !== undefined) rows[i]![name] = values[i]
    }
  }
  return rows
}
