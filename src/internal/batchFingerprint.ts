/** The layout as text, to compare two of them. */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as Tensor from "../Tensor.ts"
import type { Layout } from "./batchLayout.ts"
import { printLiteral } from "./batchLiterals.ts"
import { isOptional } from "./batchSchemas.ts"
import { byName } from "./batchShape.ts"

// Raise it when the bytes change.
const version = 1

/** The layout as JSON text. */
export const printLayout = ({ isStruct, rest, shape }: Layout): string => {
  const columns = [
    ...shape.fields.map(({ kind, name }) => ({ name, ...kind.print })),
    ...(rest === undefined ? [] : [{ kind: rest.format, of: printSchema(SchemaAST.toEncoded(rest.ast), []) }])
  ]
  return JSON.stringify({ codec: version, element: isStruct ? "struct" : "whole", columns })
}

const isInteger = (check: SchemaAST.Check<never>): boolean =>
  check.annotations?.representation?.id === "effect/schema/isInt" ||
  check._tag === "FilterGroup" && check.checks.some(isInteger)

// The encoded side of a schema, as far as its bytes depend on it.
const printSchema = (ast: SchemaAST.AST, path: ReadonlyArray<SchemaAST.AST>): unknown => {
  const above = path.indexOf(ast)
  if (above !== -1) return { up: path.length - above }
  const inner = [...path, ast]
  const print = (child: SchemaAST.AST) => printSchema(child, inner)
  switch (ast._tag) {
    case "Number":
      return ast.checks?.some(isInteger) ? "integer" : "number"
    case "Literal":
      return printLiteral(ast.literal)
    case "UniqueSymbol":
      return printLiteral(ast.symbol)
    case "Enum":
      return { union: ast.enums.map(([, value]) => printLiteral(value)) }
    case "Arrays":
      return { array: ast.elements.map(print), optional: ast.elements.map(isOptional), rest: ast.rest.map(print) }
    case "Objects":
      return {
        struct: ast.propertySignatures.map(({ name, type }) => ({
          name: String(name),
          ...(isOptional(type) ? { optional: true } : {}),
          ...fieldId(type),
          of: print(type)
        })).toSorted(byName),
        records: ast.indexSignatures.map(({ parameter, type }) => [print(parameter), print(type)])
      }
    case "Union": {
      const members = ast.types.map((member) => JSON.stringify(print(member)))
      return { union: members.toSorted().map((member): unknown => JSON.parse(member)) }
    }
    case "Suspend":
      return print(ast.thunk())
    case "Declaration": {
      const tensor = Tensor.fromAST(ast)
      if (tensor !== undefined) return tensor
      const { expected, identifier, representation, toCodec, toCodecJson } = ast.annotations ?? {}
      if (Predicate.hasProperty(representation, "id")) {
        const payload = Predicate.hasProperty(representation, "payload") ? representation.payload : null
        return { declaration: representation.id, payload, of: ast.typeParameters.map(print) }
      }
      const link = Predicate.isFunction(toCodecJson) ? toCodecJson : toCodec
      if (Predicate.isFunction(link)) {
        const parameters = ast.typeParameters.map((parameter) => Schema.make(SchemaAST.toEncoded(parameter)))
        const { to } = (link as (parameters: ReadonlyArray<Schema.Constraint>) => SchemaAST.Link)(parameters)
        return print(SchemaAST.toEncoded(to))
      }
      return { declaration: identifier ?? expected ?? null, of: ast.typeParameters.map(print) }
    }
    default:
      return ast._tag.toLowerCase()
  }
}

const fieldId = (ast: SchemaAST.AST): { readonly id?: unknown } => {
  const id = ast.context?.annotations?.["~effect/encoding/SchemaBinary/fieldId"]
  return id === undefined ? {} : { id }
}
