/** Which kind of column a Schema gets. */
import * as Predicate from "effect/Predicate"
import * as SchemaAST from "effect/SchemaAST"
import * as Tensor from "../Tensor.ts"
import { bigintKind } from "./batchBigint.ts"
import { bytesKind } from "./batchBytes.ts"
import { fixedKind } from "./batchFixed.ts"
import type { Kind } from "./batchKind.ts"
import { listKind } from "./batchList.ts"
import { literalsKind } from "./batchLiterals.ts"
import { optionKind } from "./batchOption.ts"
import { checksOf, isBytes, isOptional } from "./batchSchemas.ts"
import type { Field } from "./batchShape.ts"
import { structKind } from "./batchStruct.ts"
import { textKind } from "./batchText.ts"
import type { StoredDType } from "./tensorStorage.ts"

/** A kind that also holds to checks on the values themselves. */
const withChecks = (kind: Kind, ast: SchemaAST.AST): Kind => {
  const passes = checksOf(ast)
  if (passes === undefined) return kind
  const { accepts, check } = kind
  return {
    ...kind,
    accepts: (u) => accepts(u) && passes(u),
    check: (column, report) => {
      check?.(column, report)
      const { values } = column
      for (let i = 0; i < values.length; i++) if (!passes(values[i])) report(i)
    }
  }
}

/** The kind of column for a Schema; none for what is transformed, and for what has none. */
export const kindOf = (path: string, ast: SchemaAST.AST): Kind | undefined => {
  if (ast.encoding !== undefined || "encodingChecks" in ast && ast.encodingChecks !== undefined) return undefined
  const kind = unchecked(path, ast)
  if (kind === undefined) return undefined
  const checked = withChecks(kind, ast)
  return isOptional(ast) ? optionKind(path, "absent", checked) : checked
}

const unchecked = (path: string, ast: SchemaAST.AST): Kind | undefined => {
  const scalar = (dtype: StoredDType, kind: string) => fixedKind(path, { dtype, shape: [] }, { kind }, undefined)
  switch (ast._tag) {
    case "Number":
      return scalar("float64", "number")
    case "Boolean":
      return scalar("bool", "boolean")
    case "String":
      return textKind(path, { dtype: "string", shape: [] }, { kind: "string" }, undefined)
    case "BigInt":
      return bigintKind(path)
    case "Literal":
    case "Enum":
      return literalsKind(path, literalsOf(ast)!)
    case "Union":
      return unionKind(path, ast)
    case "Arrays":
      return arrayKind(path, ast)
    case "Objects":
      return objectKind(path, ast)
    case "Declaration":
      return tensorKind(path, ast) ?? (isBytes(ast) ? bytesKind(path) : undefined)
    default:
      return undefined
  }
}

const tensorKind = (path: string, ast: SchemaAST.Declaration): Kind | undefined => {
  const tensor = Tensor.fromAST(ast)
  if (tensor === undefined) return undefined
  const { dtype, shape } = tensor
  const print = { kind: "tensor", dtype, shape }
  return dtype === "string" ? textKind(path, tensor, print, tensor) : fixedKind(path, { dtype, shape }, print, tensor)
}

/** The literals that are all of a Schema. */
const literalsOf = (ast: SchemaAST.AST): ReadonlyArray<SchemaAST.LiteralValue> | undefined => {
  if (ast.encoding !== undefined || ast.checks !== undefined) return undefined
  return ast._tag === "Literal" ? [ast.literal] : ast._tag === "Enum" ? ast.enums.map(([, value]) => value) : undefined
}

/** The members of a union, and of unions that are members of it. */
const membersOf = (ast: SchemaAST.Union): ReadonlyArray<SchemaAST.AST> =>
  ast.types.flatMap((type) => SchemaAST.isUnion(type) && isPlain(type) ? membersOf(type) : [type])

const isPlain = ({ checks, encoding, encodingChecks, options }: SchemaAST.Union): boolean =>
  checks === undefined && encoding === undefined && encodingChecks === undefined && options === undefined

// What may be null or undefined, and literals. Other unions have no column.
const unionKind = (path: string, ast: SchemaAST.Union): Kind | undefined => {
  if (ast.options !== undefined) return undefined
  const members = membersOf(ast)
  const others = members.filter(({ _tag }) => _tag !== "Null" && _tag !== "Undefined")
  const literals = others.map(literalsOf)
  let kind = others.length === 1
    ? kindOf(path, others[0]!)
    : others.length > 1 && literals.every(Predicate.isNotUndefined)
    ? literalsKind(path, literals.flat())
    : undefined
  if (kind === undefined) return undefined
  for (const [tag, hole] of [["Null", "null"], ["Undefined", "undefined"]] as const) {
    if (members.some(({ _tag }) => _tag === tag)) kind = optionKind(path, hole, kind)
  }
  return kind
}

const arrayKind = (path: string, { elements, rest }: SchemaAST.Arrays): Kind | undefined => {
  const [entry] = rest
  // That of a NonEmptyArray has its entry as an element, too.
  if (entry === undefined || rest.length > 1 || elements.some((element) => element !== entry)) return undefined
  const kind = kindOf(path, entry)
  return kind === undefined ? undefined : listKind(path, kind, elements.length)
}

const objectKind = (path: string, { indexSignatures, propertySignatures }: SchemaAST.Objects): Kind | undefined => {
  if (indexSignatures.length > 0 || propertySignatures.length === 0) return undefined
  const fields: Array<Field> = []
  for (const { name, type } of propertySignatures) {
    if (typeof name === "symbol" || name === "__proto__") return undefined
    const kind = kindOf(path === "" ? String(name) : `${path}.${String(name)}`, type)
    if (kind === undefined) return undefined
    fields.push({ name: String(name), kind, ast: type, isOptional: isOptional(type) })
  }
  return structKind(path, fields, fields.map(({ name }) => name))
}
