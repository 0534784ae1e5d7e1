/** What a Schema says of itself. */
import * as Predicate from "effect/Predicate"
import type * as SchemaAST from "effect/SchemaAST"

type Filter = SchemaAST.Filter<unknown>

/** The checks of a Schema, one by one. */
const filtersOf = (checks: ReadonlyArray<SchemaAST.Check<unknown>> | undefined): ReadonlyArray<Filter> =>
  checks === undefined
    ? []
    : checks.flatMap((check) => check._tag === "Filter" ? [check] : filtersOf(check.checks))

/** Whether a value passes all checks of a Schema, those of what is in it aside; none if there are no checks. */
export const checksOf = (ast: SchemaAST.AST): ((u: unknown) => boolean) | undefined => {
  const passes = filtersOf(ast.checks).map((filter) =>
    // Of nearly every Schema, and many times as fast by itself.
    filter.annotations?.representation?.id === "effect/schema/isInt"
      ? Number.isSafeInteger
      : (u: unknown) => filter.run(u, ast, {}) === undefined
  )
  return passes.length < 2 ? passes[0] : (u) => {
    for (let i = 0; i < passes.length; i++) if (!passes[i]!(u)) return false
    return true
  }
}

export const isOptional = (ast: SchemaAST.AST): boolean => ast.context?.isOptional === true

/** Whether a Schema is that of byte strings. */
export const isBytes = ({ annotations }: SchemaAST.AST): boolean => {
  const representation = annotations?.["representation"]
  return Predicate.hasProperty(representation, "id") && representation.id === "effect/schema/Uint8Array"
}
