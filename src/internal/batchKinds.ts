/** Which kind of column a Schema gets. */
import type * as SchemaAST from "effect/SchemaAST"
import * as Tensor from "../Tensor.ts"
import { fixedKind } from "./batchFixed.ts"
import type { Kind } from "./batchKind.ts"
import { textKind } from "./batchText.ts"

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

/** A kind that also holds to checks on the values themselves. */
const withChecks = (kind: Kind, ast: SchemaAST.AST): Kind => {
  const filters = filtersOf(ast.checks)
  if (filters.length === 0) return kind
  const { accepts, passes } = kind
  return {
    ...kind,
    accepts: (u) => accepts(u) && passesAll(filters, u, ast),
    passes: (u) => (passes === undefined || passes(u)) && passesAll(filters, u, ast)
  }
}

const unchecked = (path: string, ast: SchemaAST.AST): Kind | undefined => {
  const tensor = Tensor.fromAST(ast)
  if (tensor !== undefined) {
    const { dtype, shape } = tensor
    const print = { kind: "tensor", dtype, shape }
    return dtype === "string" ? textKind(path, tensor, print, tensor) : fixedKind(path, { dtype, shape }, print, tensor)
  }
  switch (ast._tag) {
    case "Number":
      return fixedKind(path, { dtype: "float64", shape: [] }, { kind: "number" }, undefined)
    case "Boolean":
      return fixedKind(path, { dtype: "bool", shape: [] }, { kind: "boolean" }, undefined)
    case "String":
      return textKind(path, { dtype: "string", shape: [] }, { kind: "string" }, undefined)
    default:
      return undefined
  }
}

/** The kind of column for a Schema; none for what is transformed, and for what has none. */
export const kindOf = (path: string, ast: SchemaAST.AST): Kind | undefined => {
  if (ast.encoding !== undefined || ast.context?.isOptional === true) return undefined
  const kind = unchecked(path, ast)
  return kind === undefined ? undefined : withChecks(kind, ast)
}
