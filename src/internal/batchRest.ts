/** The rest: the last column of a batch, written by Effect. */
import { SchemaBinary } from "effect/encoding"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as Tensor from "../Tensor.ts"
import { align } from "./batchBuffers.ts"
import { attempt, ElementInvalid, inLine, mark, refuse } from "./batchErrors.ts"
import type { Body, Source, Stored } from "./batchKind.ts"
import { isBytes } from "./batchSchemas.ts"
import { decoder, encoder, isWellFormed, utf8Length } from "./batchUtf8.ts"

/** The column of all that has none of its own: some fields of a struct, or whole elements. */
export interface Rest {
  /** What an error calls it. */
  readonly name: string
  readonly names: ReadonlyArray<string> | undefined
  readonly format: "binary" | "json"
  /** Whether values tell how long they are when they are written. */
  readonly isPlain: boolean
  readonly ast: SchemaAST.AST
  readonly accepts: (u: unknown) => boolean
  /** What is declared of a value that is accepted: the value itself if that is all of it. */
  readonly trim: (u: unknown) => unknown
  readonly encode: (values: ReadonlyArray<unknown>) => Result.Result<Uint8Array, string>
  readonly decode: (bytes: Uint8Array) => Result.Result<ReadonlyArray<unknown>, string>
  /** Checks aside. */
  readonly decodeUnchecked: (bytes: Uint8Array) => Result.Result<ReadonlyArray<unknown>, string>
  /** Why a value is not accepted. */
  readonly explain: (u: unknown) => string
}

/** Elements were validated, or are typed by the caller; their fields are read by the names of the Schema. */
export const fieldOf = (element: unknown, name: string): unknown =>
  (element as { readonly [name: string]: unknown })[name]

/** Whether a value has all that the one has from which it was decoded; no, where this is not cheap to tell. */
const isWhole = (decoded: unknown, from: unknown): boolean => {
  if (Object.is(decoded, from)) return true
  if (Array.isArray(decoded)) return Array.isArray(from) && decoded.every((value, i) => isWhole(value, from[i]))
  if (!Predicate.isObject(decoded) || !Predicate.isObject(from)) return false
  if (Object.getPrototypeOf(decoded) !== Object.prototype) return false
  for (const key in from) {
    if (!Object.hasOwn(decoded, key) || !isWhole(decoded[key], from[key])) return false
  }
  return Object.getOwnPropertySymbols(from).length === 0
}

/** Whether values are written as they are: no transformation makes more of them, and none of them is written as JSON. */
const isPlain = (ast: SchemaAST.AST, seen: Set<SchemaAST.AST>): boolean => {
  if (seen.has(ast)) return true
  seen.add(ast)
  if (ast.encoding !== undefined) return false
  const arePlain = (inner: ReadonlyArray<SchemaAST.AST>) => inner.every((one) => isPlain(one, seen))
  switch (ast._tag) {
    case "Arrays":
      return arePlain([...ast.elements, ...ast.rest])
    case "Objects":
      return arePlain(ast.propertySignatures.map(({ type }) => type)) &&
        ast.indexSignatures.every(({ parameter, type }) => arePlain([parameter, type]))
    case "Union":
      return arePlain(ast.types)
    case "Suspend":
      return isPlain(ast.thunk(), seen)
    case "Declaration":
      return Tensor.fromAST(ast) !== undefined || isBytes(ast)
    case "Unknown":
    case "Any":
    case "ObjectKeyword":
      return false
    default:
      return true
  }
}

/** The rest of some fields of a struct, or, without names, of whole elements. */
export const restOf = (names: ReadonlyArray<string> | undefined, ast: SchemaAST.AST): Rest => {
  const row = Schema.make<Schema.Codec<unknown>>(ast)
  const rows = Schema.Array(row)
  const type = Schema.toType(row)
  const is = Schema.is(type)
  const decode = Schema.decodeUnknownResult(type)
  const decodeExactly = Schema.decodeUnknownResult(type, { onExcessProperty: "error" })
  const shared = {
    name: names?.join(", ") ?? "",
    names,
    ast,
    explain: (u: unknown) =>
      Result.match(decode(u), { onFailure: (error) => inLine(error.issue), onSuccess: () => illFormed }),
    accepts: (u: unknown) =>
      is(u) && (names === undefined ? isWellFormed(u) : names.every((name) => isWellFormed(fieldOf(u, name)))),
    trim: (u: unknown) => {
      const decoded = decode(u)
      // A member of a union may have taken for its own what is all of another.
      const isAll = Result.isFailure(decoded) || isWhole(decoded.success, u) || Result.isSuccess(decodeExactly(u))
      return isAll ? u : decoded.success
    }
  }
  const binary = Result.try(() => SchemaBinary.toCodec(rows))
  if (Result.isSuccess(binary)) {
    const write = Schema.encodeUnknownResult(binary.success)
    const read = Schema.decodeUnknownResult(binary.success)
    const readUnchecked = Schema.decodeUnknownResult(binary.success, { disableChecks: true })
    return {
      ...shared,
      format: "binary",
      isPlain: isPlain(ast, new Set()),
      encode: (values) => explained(write(values)),
      decode: (bytes) => explained(read(bytes)),
      decodeUnchecked: (bytes) => explained(readUnchecked(bytes))
    }
  }
  const json = Schema.fromJsonString(Schema.toCodecJson(rows))
  const write = Schema.encodeUnknownResult(json)
  const read = Schema.decodeUnknownResult(json)
  const readUnchecked = Schema.decodeUnknownResult(json, { disableChecks: true })
  return {
    ...shared,
    format: "json",
    isPlain: false,
    encode: (values) => explained(Result.map(write(values), (text) => encoder.encode(text))),
    decode: (bytes) => explained(read(decoder.decode(bytes))),
    decodeUnchecked: (bytes) => explained(readUnchecked(decoder.decode(bytes)))
  }
}

const explained = <A>(result: Result.Result<A, Schema.SchemaError>): Result.Result<A, string> =>
  Result.mapError(result, (error) => inLine(error.issue))

/** Rows, or elements, of which only the fields of the rest are looked at. */
export class RestColumn implements Stored {
  readonly _tag = "Values"
  readonly values: ReadonlyArray<unknown>
  readonly #rest: Rest
  #body: Uint8Array | undefined

  constructor(rest: Rest, values: ReadonlyArray<unknown>, body?: Uint8Array) {
    this.#rest = rest
    this.values = values
    this.#body = body
  }
  get column(): this {
    return this
  }
  get length(): number {
    return this.values.length
  }
  /** Exact if it is written, else as `weighRest` has it. */
  get byteLength(): number {
    return align(this.#body === undefined ? weighRest(this.#rest, this.values) : this.#body.byteLength)
  }
  slice(from: number, to: number): RestColumn {
    return new RestColumn(this.#rest, this.values.slice(from, to))
  }
  join(all: ReadonlyArray<RestColumn>): RestColumn {
    return new RestColumn(this.#rest, all.flatMap((column) => column.values))
  }
  /** Throws `ElementInvalid`. */
  write(bodies: Array<Body>): void {
    this.#body ??= Result.getOrThrowWith(
      attempt(() => this.#rest.encode(this.values)),
      (issue) => new ElementInvalid({ issue })
    )
    bodies.push([this.#body])
  }
}

/** Rows, of which some do not pass the checks of the Schema. */
const readUnchecked = (rest: Rest, bytes: Uint8Array, issue: string, invalid: Map<number, string>) => {
  const rows = Result.getOrElse(attempt(() => rest.decodeUnchecked(bytes)), () => refuse(rest.name, issue))
  const known = invalid.size
  rows.forEach((row, i) => {
    if (!invalid.has(i) && !rest.accepts(row)) mark(invalid, i, () => `${rest.name}: ${rest.explain(row)}`)
  })
  return invalid.size > known ? rows : refuse(rest.name, issue)
}

const illFormed = "expected well-formed strings, got a lone surrogate"

/** Rows as they may be used. JSON can write half of a character. */
const decodeWellFormed = (rest: Rest, bytes: Uint8Array): Result.Result<ReadonlyArray<unknown>, string> =>
  Result.flatMap(
    rest.decode(bytes),
    (rows) => rest.format === "json" && !isWellFormed(rows) ? Result.fail(illFormed) : Result.succeed(rows)
  )

/** Throws `MalformedBatch`. */
export const readRest = (
  rest: Rest,
  source: Source,
  length: number,
  invalid: Map<number, string> | undefined
): RestColumn => {
  const size = source.next()
  const bytes = source.cut(0, size)
  const values = Result.getOrElse(
    attempt(() => decodeWellFormed(rest, bytes)),
    (issue) => invalid === undefined ? refuse(rest.name, issue) : readUnchecked(rest, bytes, issue, invalid)
  )
  if (values.length !== length) refuse(rest.name, `expected ${length} rows, got ${values.length}`)
  return new RestColumn(rest, values, bytes)
}

/** At least what `writeRest` makes: without making it, where the values tell how long they are. */
const weighRest = (rest: Rest, rows: ReadonlyArray<unknown>): number => {
  const { isPlain, names } = rest
  let bytes = isPlain ? 16 : Number.NaN
  for (let i = 0; i < rows.length && !Number.isNaN(bytes); i++) {
    if (names === undefined) bytes += weigh(rows[i], 32)
    else for (const name of names) bytes += weigh(fieldOf(rows[i], name), 32)
  }
  if (!Number.isNaN(bytes)) return bytes
  // What cannot be written is refused when it is, and weighs something where it never is.
  return Result.getOrElse(
    Result.map(attempt(() => rest.encode(rows)), (body) => body.byteLength),
    () => 64 * rows.length
  )
}

/** At least the bytes that a value takes in the binary format; NaN if only writing it tells. */
const weigh = (u: unknown, depth: number): number => {
  switch (typeof u) {
    case "string":
      return 5 + utf8Length(u)
    case "number":
      return 10
    case "boolean":
    case "undefined":
      return 4
    case "object":
      return u === null ? 4 : depth === 0 ? Number.NaN : weighObject(u, depth - 1)
    default:
      return Number.NaN
  }
}

const weighObject = (u: object, depth: number): number => {
  if (ArrayBuffer.isView(u)) return 5 + u.byteLength
  let bytes = 8
  if (Array.isArray(u)) {
    for (const value of u) bytes += weigh(value, depth)
    return bytes
  }
  if (Object.getPrototypeOf(u) !== Object.prototype) return Number.NaN
  // Those of a record are written.
  for (const [key, value] of Object.entries(u)) bytes += 3 + utf8Length(key) + weigh(value, depth)
  return bytes
}
