/** The layout of a Schema: which columns it gets, and which values they accept. */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { atPath, inLine, LayoutUnsupported } from "./batchErrors.ts"
import { kindOf } from "./batchKinds.ts"
import { type Rest, restOf } from "./batchRest.ts"
import { checksOf, isOptional } from "./batchSchemas.ts"
import { type Field, only, type Shape, shapeOf, trimmer } from "./batchShape.ts"
import { isWellFormed } from "./batchUtf8.ts"

/** How the elements of a Schema become columns. */
export interface Layout {
  readonly isStruct: boolean
  /** The fields that have columns; one named "" where the element is a column. */
  readonly shape: Shape
  readonly rest: Rest | undefined
  /** For each body, the name of its field. */
  readonly bodies: ReadonlyArray<string>
  /** Whether a struct passes the checks on it as a whole, if there are any. */
  readonly passes: ((u: unknown) => boolean) | undefined
  readonly ast: SchemaAST.AST
  /** Whether a value is an element. */
  readonly accepts: (u: unknown) => boolean
  /** What is declared of an element that is accepted: the element itself if that is all of it. */
  readonly trim: (u: unknown) => unknown
}

const layoutOf = (
  isStruct: boolean,
  shape: Shape,
  rest: Rest | undefined,
  ast: SchemaAST.AST,
  rules: Pick<Layout, "accepts" | "trim" | "passes">
): Layout => {
  const bodies = shape.fields.flatMap(({ kind, name }) => Array.from({ length: kind.bodies }, () => name))
  return { isStruct, shape, rest, bodies: rest === undefined ? bodies : [...bodies, rest.name], ast, ...rules }
}

const compileWhole = (ast: SchemaAST.AST): Layout => {
  const kind = kindOf("", ast)
  if (kind !== undefined) {
    const trim = kind.trim ?? ((u: unknown) => u)
    const field = { name: "", kind, ast, isOptional: false }
    return layoutOf(false, shapeOf([field]), undefined, ast, { accepts: kind.accepts, trim, passes: undefined })
  }
  const rest = restOf(undefined, ast)
  const { accepts, trim } = rest
  return layoutOf(false, shapeOf([]), rest, ast, { accepts, trim, passes: undefined })
}

/** Lays a Schema out. Throws `LayoutUnsupported`. */
export const compile = (ast: SchemaAST.AST): Layout => {
  if (
    !SchemaAST.isObjects(ast) || ast.encoding !== undefined || ast.encodingChecks !== undefined ||
    ast.indexSignatures.length > 0
  ) {
    return compileWhole(ast)
  }
  const fields: Array<Field> = []
  const others: Array<SchemaAST.PropertySignature> = []
  for (const property of ast.propertySignatures) {
    if (typeof property.name === "symbol" || property.name === "__proto__") {
      throw new LayoutUnsupported({ issue: `field ${String(property.name)} cannot be sent; rename it` })
    }
    const name = String(property.name)
    const kind = kindOf(name, property.type)
    if (kind === undefined) others.push(property)
    else fields.push({ name, kind, ast: property.type, isOptional: isOptional(property.type) })
  }
  const rest = others.length === 0
    ? undefined
    : restOf(others.map(({ name }) => String(name)), new SchemaAST.Objects(others, []))
  const shape = shapeOf(fields)
  return layoutOf(true, shape, rest, ast, rulesOf(ast, shape, rest))
}

const rulesOf = (
  ast: SchemaAST.Objects,
  shape: Shape,
  rest: Rest | undefined
): Pick<Layout, "accepts" | "trim" | "passes"> => {
  const names = ast.propertySignatures.map(({ name }) => String(name))
  const passes = checksOf(ast)
  const passesAll = passes ?? (() => true)
  const trim = trimmer(shape.fields, names)
  return {
    passes,
    accepts: names.length === 0
      ? (u) => Predicate.isNotNullish(u) && passesAll(u)
      : (u) =>
        Predicate.isObject(u) && shape.accepts(u) && (rest === undefined || rest.accepts(u)) &&
        passesAll(u),
    trim: rest === undefined ? trim : (u) => {
      if (!Predicate.isObject(u)) return u
      const others = only(u, rest.names!)
      const trimmed = rest.trim(others)
      const element = trim(u)
      return trimmed === others ? element : { ...only(element as object, names), ...trimmed as object }
    }
  }
}

/** Why a value does not satisfy a Schema. */
export const explain = (ast: SchemaAST.AST, u: unknown): string => {
  const type = Schema.make<Schema.Codec<unknown>>(SchemaAST.toType(ast))
  return Result.match(Schema.decodeUnknownResult(type)(u), {
    onFailure: (error) => inLine(error.issue),
    onSuccess: () => "expected well-formed strings, got a lone surrogate"
  })
}

/** Why `accepts` says no. */
export const explainElement = ({ ast, isStruct, rest, shape }: Layout, u: unknown): string => {
  const names = [...shape.fields.map(({ name }) => name), ...(rest?.names ?? [])]
  const issue = explain(ast, u)
  const ill = isStruct && Predicate.isObject(u) ? names.find((name) => !isWellFormed(u[name])) : undefined
  return ill === undefined || !issue.startsWith("expected well-formed") ? issue : atPath([ill], issue)
}
