/** The fields of a struct that have columns: rows to their columns, and back. */
import * as Predicate from "effect/Predicate"
import type * as SchemaAST from "effect/SchemaAST"
import { arrayOf } from "./batchBuffers.ts"
import { absent, type Kind } from "./batchKind.ts"
import { type Place, placeFor, type Row } from "./batchPlaces.ts"

/** A field that has a column of its own. */
export interface Field {
  readonly name: string
  readonly kind: Kind
  readonly ast: SchemaAST.AST
  /** Whether it may be absent. */
  readonly isOptional: boolean
}

export interface Shape {
  /** In the order of their names. */
  readonly fields: ReadonlyArray<Field>
  /** Whether an object has all that it must have, and only what the fields accept. */
  readonly accepts: (u: Row) => boolean
  /** The values of each field; `absent` where it is. */
  readonly take: (rows: ReadonlyArray<unknown>) => ReadonlyArray<ReadonlyArray<unknown>>
  /** Rows of the values of each field. */
  readonly make: (
    columns: ReadonlyArray<ReadonlyArray<unknown>>,
    length: number
  ) => Array<Row>
  /** A row and a column of each field, see `keep`. */
  readonly kept: ReadonlyArray<unknown>
}

/** In the order of their names. */
export const byName = (self: { readonly name: string }, that: { readonly name: string }): number =>
  self.name < that.name ? -1 : self.name > that.name ? 1 : 0

export const shapeOf = (unordered: ReadonlyArray<Field>): Shape => {
  const fields = unordered.toSorted(byName)
  const places = fields.map(({ isOptional, kind, name }) =>
    isOptional ? optionally(name, kind.accepts) : placeFor(name, kind.accepts)
  )
  const make: Shape["make"] = (columns, length) => {
    const rows = arrayOf<Row>(length)
    for (let i = 0; i < length; i++) rows[i] = {}
    for (let k = 0; k < places.length; k++) places[k]!.write(rows, columns[k]!)
    return rows
  }
  return {
    fields,
    accepts: (u) => {
      for (let k = 0; k < places.length; k++) if (!places[k]!.accepts(u)) return false
      return true
    },
    take: (elements) => {
      const rows = elements as ReadonlyArray<Row> // fields of elements are read by the names of their Schema
      return places.map(({ read }) => {
        const values = arrayOf<unknown>(rows.length)
        read(rows, values)
        return values
      })
    },
    make,
    // Of undefined, since a class of which a field held an integer is replaced when one holds a fraction.
    kept: [...make(fields.map(() => [undefined]), 1), ...fields.map(({ kind }) => kind.gather([]))]
  }
}

/** The place of a field that may be absent. */
const optionally = (name: string, accept: (u: unknown) => boolean): Place => ({
  read: (rows, values) => {
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!
      const value = row[name]
      values[i] = value === undefined && !(name in row) ? absent : value
    }
  },
  write: (rows, values) => {
    for (let i = 0; i < rows.length; i++) {
      if (values[i] !== absent) rows[i]![name] = values[i]
    }
  },
  accepts: (row) => {
    const value = row[name]
    return value === undefined && !(name in row) || accept(value)
  }
})

/** Whether an object has no fields but these. Those it has usually come in this order. */
export const hasOnly = (u: object, names: ReadonlyArray<string>, set: ReadonlySet<string>): boolean => {
  let k = 0
  for (const key in u) {
    if (key !== names[k++] && !set.has(key)) return false
  }
  return Object.getOwnPropertySymbols(u).length === 0
}

/** The fields of these names that an object has. */
export const only = (u: object, names: Iterable<string>): { [name: string]: unknown } => {
  const fields: { [name: string]: unknown } = {}
  for (const name of names) if (name in u) fields[name] = (u as { readonly [name: string]: unknown })[name]
  return fields
}

/** What is declared of an object: the object itself if that is all of it. */
export const trimmer = (
  fields: ReadonlyArray<Field>,
  names: ReadonlyArray<string>
): (u: unknown) => unknown => {
  const set = new Set(names)
  const deep = fields.flatMap(({ kind: { trim }, name }) => trim === undefined ? [] : [{ name, trim }])
  return (u) => {
    if (!Predicate.isObject(u)) return u
    let copy = hasOnly(u, names, set) ? undefined : only(u, names)
    for (const { name, trim } of deep) {
      const value = u[name]
      const trimmed = trim(value)
      if (trimmed === value) continue
      copy ??= only(u, names)
      copy[name] = trimmed
    }
    return copy ?? u
  }
}
