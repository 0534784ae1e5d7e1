/** The implementation of `Chunk`: elements, columns or both, and their size. */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { Chunk, Columns } from "../BatchCodec.ts"
import { arrayOf } from "./batchBuffers.ts"
import { isChecked, type Stored } from "./batchKind.ts"
import type { Layout } from "./batchLayout.ts"
import { fieldOf, RestColumn } from "./batchRest.ts"
import { only } from "./batchShape.ts"
import { headerSize } from "./batchWrite.ts"

export class Batch implements Chunk {
  readonly layout: Layout
  readonly length: number
  readonly invalid: ReadonlyMap<number, string> | undefined
  #elements: ReadonlyArray<unknown> | undefined
  /** Those known so far, in the order of the fields, the rest last. */
  readonly #columns: Array<Stored | undefined>
  #isStored: boolean
  /** The values of each field, until all columns are known. */
  #values: ReadonlyArray<ReadonlyArray<unknown>> | undefined
  #byteLength: number | undefined

  constructor(
    layout: Layout,
    length: number,
    elements: ReadonlyArray<unknown> | undefined,
    columns: ReadonlyArray<Stored> | undefined,
    invalid?: ReadonlyMap<number, string>
  ) {
    this.layout = layout
    this.length = length
    this.invalid = invalid
    this.#elements = elements
    this.#columns = columns?.slice() ?? []
    this.#isStored = columns !== undefined
  }
  get elements(): ReadonlyArray<unknown> {
    return this.#elements ??= rowsOf(this.layout, this.stored, this.length)
  }
  /** Whether the columns are known, so that nothing of them has to be made of elements. */
  get isStored(): boolean {
    return this.#isStored
  }
  /** Throws `ElementInvalid` when an element that was not validated does not fit the layout. */
  get stored(): ReadonlyArray<Stored> {
    if (!this.#isStored) {
      const { rest, shape: { fields } } = this.layout
      for (let k = 0; k < fields.length; k++) this.#columnOf(k)
      if (rest !== undefined) this.#columns[fields.length] ??= new RestColumn(rest, this.elements)
      this.#isStored = true
      this.#values = undefined
    }
    return this.#columns as ReadonlyArray<Stored> // each of them, since it is stored
  }
  get columns(): Columns {
    return this.stored.map(({ column }) => column)
  }
  get byteLength(): number {
    return this.#byteLength ??= this.#measure()
  }
  slice(from: number, to: number): Batch {
    if (from === 0 && to === this.length) return this
    return new Batch(
      this.layout,
      to - from,
      this.#elements?.slice(from, to),
      this.#isStored ? this.stored.map((column) => column.slice(from, to)) : undefined,
      this.invalid && sliceInvalid(this.invalid, from, to)
    )
  }
  #columnOf(k: number): Stored {
    const known = this.#columns[k]
    if (known !== undefined) return known
    const { isStruct, shape: { fields, take } } = this.layout
    this.#values ??= isStruct ? take(this.elements) : [this.elements]
    return this.#columns[k] = fields[k]!.kind.gather(this.#values[k]!)
  }
  // A column whose size depends on its values is made to tell it, and kept: whoever asks is about to send it.
  #measure(): number {
    const { bodies, rest, shape: { fields } } = this.layout
    let bytes = headerSize(bodies.length)
    for (let k = 0; k < fields.length; k++) {
      const { sizeOf } = fields[k]!.kind
      bytes += sizeOf === undefined ? this.#weigh(k) : sizeOf(this.length)
    }
    if (rest !== undefined) {
      bytes += (this.#columns[fields.length] ??= new RestColumn(rest, this.elements)).byteLength
    }
    return bytes
  }
  // What cannot be written is refused when it is, and weighs something where it never is.
  #weigh(k: number): number {
    return Result.getOrElse(Result.try(() => this.#columnOf(k).byteLength), () => 64 * this.length)
  }
}

/**
 * The columns of values that may be anything, if all fit the layout and pass the checks of the fields. Throws, too, where
 * they do not.
 */
export const columnsOfValues = (
  layout: Layout,
  values: ReadonlyArray<unknown>
): ReadonlyArray<Stored> | undefined => {
  const { isStruct, rest, shape: { fields, take } } = layout
  if (isStruct && (fields.length === 0 || !areObjects(values))) return undefined
  const taken = isStruct ? take(values) : [values]
  const columns: Array<Stored> = []
  for (let k = 0; k < fields.length; k++) {
    const { kind } = fields[k]!
    const column = kind.gather(taken[k]!)
    if (!isChecked(kind, column)) return undefined
    columns.push(column)
  }
  if (rest === undefined) return columns
  if (!values.every(rest.accepts)) return undefined
  const { names } = rest
  // Of a struct only the fields of the rest, since what is left out of others is no part of it.
  const rows = names === undefined ? values : values.map((value) => only(value as object, names)) // as looked at
  columns.push(new RestColumn(rest, rows.map(rest.trim)))
  return columns
}

// A loop of its own, since `every` calls what it is given for each of them.
const areObjects = (values: ReadonlyArray<unknown>): boolean => {
  for (let i = 0; i < values.length; i++) if (!Predicate.isObject(values[i])) return false
  return true
}

/** The elements of columns. */
export const rowsOf = (layout: Layout, columns: ReadonlyArray<Stored>, length: number): ReadonlyArray<unknown> => {
  const { isStruct, rest, shape: { fields, make } } = layout
  if (!isStruct) return columns[0]!.values
  const values = arrayOf<ReadonlyArray<unknown>>(fields.length)
  for (let k = 0; k < fields.length; k++) values[k] = columns[k]!.values
  const rows = make(values, length)
  if (rest !== undefined) {
    const others = columns[fields.length]!.values
    for (let i = 0; i < length; i++) {
      const other = others[i]
      for (const name of rest.names!) {
        if (Object.hasOwn(other as object, name)) rows[i]![name] = fieldOf(other, name) // a decoded struct
      }
    }
  }
  return rows
}

/** One batch of all these of one layout, in order; of columns if all have them, else of elements. */
export const join = (layout: Layout, batches: ReadonlyArray<Batch>): Batch => {
  const length = batches.reduce((sum, batch) => sum + batch.length, 0)
  const first = batches[0]
  const isStored = first !== undefined && batches.every((batch) => batch.isStored)
  return new Batch(
    layout,
    length,
    isStored ? undefined : batches.flatMap((batch) => batch.elements),
    isStored ? first.stored.map((column, k) => column.join(batches.map((batch) => batch.stored[k]!))) : undefined,
    joinInvalid(batches)
  )
}

const sliceInvalid = (
  invalid: ReadonlyMap<number, string>,
  from: number,
  to: number
): ReadonlyMap<number, string> | undefined => {
  const some = new Map<number, string>()
  for (const [i, issue] of invalid) if (i >= from && i < to) some.set(i - from, issue)
  return some.size === 0 ? undefined : some
}

const joinInvalid = (batches: ReadonlyArray<Batch>): ReadonlyMap<number, string> | undefined => {
  if (batches.every((batch) => batch.invalid === undefined)) return undefined
  const invalid = new Map<number, string>()
  let at = 0
  for (const batch of batches) {
    for (const [i, issue] of batch.invalid ?? []) invalid.set(at + i, issue)
    at += batch.length
  }
  return invalid
}
