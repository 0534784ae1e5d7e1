/** The fields of a struct that have columns: rows to their columns, and back. */
import * as Predicate from "effect/Predicate"
import type * as SchemaAST from "effect/SchemaAST"
import { absent, type Kind } from "./batchKind.ts"
import { holds, makeRows, takeFields } from "./batchRows.ts"

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
  readonly accepts: (u: { readonly [name: string]: unknown }) => boolean
  /** The values of each field; `absent` where it is. */
  readonly take: (rows: ReadonlyArray<unknown>) => ReadonlyArray<ReadonlyArray<unknown>>
  /** Rows of the values of each field. */
  readonly make: (
    columns: ReadonlyArray<ReadonlyArray<unknown>>,
    length: number
  ) => Array<{ [name: string]: unknown }>
}

/** In the order of their names. */
export const byName = (self: { readonly name: string }, that: { readonly name: string }): number =>
  self.name < that.name ? -1 : self.name > that.name ? 1 : 0

export const shapeOf = (unordered: ReadonlyArray<Field>): Shape => {
  const fields = unordered.toSorted(byName)
  const names = fields.map(({ name }) => name)
  const required = fields.filter(({ isOptional }) => !isOptional)
  const requiredNames = required.map(({ name }) => name)
  const requiredAccept = required.map(({ kind }) => kind.accepts)
  const optional = fields.filter(({ isOptional }) => isOptional)
  return {
    fields,
    accepts: (u) => {
      if (!holds(u, requiredNames, requiredAccept)) return false
      for (const { kind, name } of optional) {
        const value = u[name]
        if (!(value === undefined && !(name in u)) && !kind.accepts(value)) return false
      }
      return true
    },
    take: (rows) => {
      const columns = takeFields(rows, names)
      for (const field of optional) markAbsent(rows, field.name, columns[fields.indexOf(field)]!)
      return columns
    },
    make: (columns, length) => {
      if (optional.length === 0) return makeRows(names, columns, length)
      const rows = makeRows(requiredNames, columns.filter((_, k) => !fields[k]!.isOptional), length)
      for (const field of optional) addWherePresent(rows, field.name, columns[fields.indexOf(field)]!)
      return rows
    }
  }
}

const markAbsent = (rows: ReadonlyArray<unknown>, name: string, values: Array<unknown>): void => {
  for (let i = 0; i < values.length; i++) {
    if (values[i] === undefined && !(name in (rows[i] as object))) values[i] = absent // its fields were read before
  }
}

const addWherePresent = (
  rows: ReadonlyArray<{ [name: string]: unknown }>,
  name: string,
  values: ReadonlyArray<unknown>
): void => {
  for (let i = 0; i < rows.length; i++) {
    if (values[i] !== absent) rows[i]![name] = values[i]
  }
}

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
