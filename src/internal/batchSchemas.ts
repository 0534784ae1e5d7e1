/** What a Schema says of itself. */
import * as Predicate from "effect/Predicate"
import type * as SchemaAST from "effect/SchemaAST"

export type Filter = SchemaAST.Filter<unknown>

/** The checks of a Schema, one by one. */
export const filtersOf = (checks: ReadonlyArray<SchemaAST.Check<unknown>> | undefined): ReadonlyArray<Filter> =>
  checks === undefined
    ? []
    : checks.flatMap((check) => check._tag === "Filter" ? [check] : filtersOf(check.checks))

/** Whether all checks pass. */
export const passesAll = (filters: ReadonlyArray<Filter>, u: unknown, ast: SchemaAST.AST): boolean => {
  for (let i = 0; i < filters.length; i++) {
    if (filters[i]!.run(u, ast, {}) !== undefined) return false
  }
  return true
}

export const isOptional = (ast: SchemaAST.AST): boolean => ast.context?.isOptional === true

/** Whether a Schema is that of byte strings. */
export const isBytes = ({ annotations }: SchemaAST.AST): boolean => {
  const representation = annotations?.["representation"]
  return Predicate.hasProperty(representation, "id") && representation.id === "effect/schema/Uint8Array"
}
