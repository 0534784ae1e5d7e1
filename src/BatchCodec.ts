/**
 * Turns batches of elements into columns and bytes, and back, as their Schema lays them out.
 *
 * A field that is a tensor, a number, a boolean or a string gets a column of its own: a contiguous typed array, or
 * UTF-8 text with offsets. All remaining fields (optional ones, unions, nested structs, dates, transformations …)
 * share one last column, the *rest*, written by Effect's `SchemaBinary`. An element that is no plain `Schema.Struct`
 * is one column named `""`.
 *
 * ## The bytes
 *
 * Everything is little-endian. Offsets count from the start of the payload, whose length is a multiple of 8.
 *
 * | offset | size | content |
 * | --- | --- | --- |
 * | 0 | 4 | magic `45 46 42 31`, "EFB1" |
 * | 4 | 4 | number of columns `c`, u32 |
 * | 8 | 4 | number of elements `n`, u32 |
 * | 12 | 4 | length of the whole payload in bytes, u32 |
 * | 16 | 4c | length of each column's body in bytes, u32, without padding |
 * | | | the bodies in that order, each starting at the next multiple of 8; all padding is zero |
 *
 * Columns stand in ascending order of their names (by UTF-16 code unit), the rest last. With `w` entries per element
 * (the product of the shape; 1 for a scalar) a body is:
 *
 * | column | body |
 * | --- | --- |
 * | tensor of a numeric dtype | `n × w` entries |
 * | number | `n` float64 |
 * | boolean, tensor of `bool` | `n × w` bytes, each 0 or 1 |
 * | string, tensor of `string` | `n × w + 1` u32 offsets, ascending from 0, then the UTF-8 text they cut |
 * | rest | one `SchemaBinary` frame of the array of all rows; UTF-8 JSON, where -0 is 0, for a Schema that `SchemaBinary` cannot lay out |
 *
 * @since 0.1.0
 */
import { SchemaBinary } from "effect/encoding"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Tensor from "./Tensor.ts"

const TypeId = "~effect-feeder/BatchCodec"

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

/**
 * An element does not satisfy the Schema of its feed, or cannot be written as bytes.
 *
 * @category errors
 * @since 0.1.0
 */
export class ElementInvalid extends Schema.Error<ElementInvalid>(`${TypeId}/ElementInvalid`)({
  _tag: Schema.tag("ElementInvalid"),
  feed: Schema.optional(Schema.String),
  issue: Schema.String
}) {
  override get message(): string {
    return `element${this.feed === undefined ? "" : ` of feed "${this.feed}"`} is invalid: ${this.issue}; ` +
      `give the feed elements that satisfy its schema`
  }
}

/**
 * Bytes that were received are not a batch of the expected layout. `field` names the column, or is `header`.
 *
 * @category errors
 * @since 0.1.0
 */
export class MalformedBatch extends Schema.Error<MalformedBatch>(`${TypeId}/MalformedBatch`)({
  _tag: Schema.tag("MalformedBatch"),
  field: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `received batch is malformed at ${this.field === "" ? "the element" : this.field}: ${this.issue}; ` +
      `check that both sides declare the same feed and that nothing alters bytes on the way`
  }
}

/**
 * A Schema cannot be laid out as columns and bytes. Thrown by `make`.
 *
 * @category errors
 * @since 0.1.0
 */
export class LayoutUnsupported extends Schema.Error<LayoutUnsupported>(`${TypeId}/LayoutUnsupported`)({
  _tag: Schema.tag("LayoutUnsupported"),
  issue: Schema.String
}) {
  override get message(): string {
    return `element schema has no layout: ${this.issue}`
  }
}

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * What an element may be: any Schema that needs no services.
 *
 * @category models
 * @since 0.1.0
 */
export type ElementSchema = Schema.ConstraintCodec<unknown, unknown>

type StackedField<S extends Schema.Constraint> = S extends { readonly "~type.optionality": "optional" }
  ? ReadonlyArray<S["Type"] | undefined>
  : S extends { readonly "Stacked": infer B } ? B
  : ReadonlyArray<S["Type"]>

/**
 * A batch of elements of a Schema: one typed array for a tensor, an object with each field stacked for a
 * `Schema.Struct`, else an array of elements.
 *
 * **Details**
 *
 * In a struct a tensor field becomes one contiguous typed array with a leading axis and any other field an array of
 * its values, `undefined` where an optional field is absent. A Schema whose type was widened, to `Schema.Codec<A>` for
 * instance, no longer tells how it stacks: its batch is `unknown`.
 *
 * @category models
 * @since 0.1.0
 */
export type Stacked<S extends Schema.Constraint> = SchemaAST.AST extends S["ast"] ? unknown
  : S extends { readonly "Stacked": infer B } ? B
  : S extends Schema.Struct<infer Fields> ? { readonly [K in keyof Fields]: StackedField<Fields[K]> }
  : ReadonlyArray<S["Type"]>

/**
 * One column: fixed-size entries in a typed array, or values with, if known, the bytes they are written as.
 *
 * @category models
 * @since 0.1.0
 */
export type Column =
  | { readonly _tag: "Fixed"; readonly data: Tensor.Arrays[Exclude<Tensor.DType, "string">] }
  | {
    readonly _tag: "Values"
    readonly values: ReadonlyArray<unknown>
    readonly body: ReadonlyArray<Uint8Array> | undefined
  }

/**
 * The columns of a batch, in the order in which they are written.
 *
 * @category models
 * @since 0.1.0
 */
export type Columns = ReadonlyArray<Column>

/**
 * A batch of elements that converts between elements and columns when asked, and remembers.
 *
 * **Gotchas**
 *
 * Nothing is copied that can be viewed: elements made from columns share the memory of the batch (and of the bytes it
 * was decoded from), and the columns of one batch may be the segments being written. Treat all of them as read-only.
 *
 * @category models
 * @since 0.1.0
 */
export interface Chunk<out A = unknown> {
  /** How many elements. */
  readonly length: number
  /**
   * Size on the wire in bytes: exact when the columns are known, else a cheap estimate. The first answer stays.
   */
  readonly byteLength: number
  readonly elements: ReadonlyArray<A>
  /** Throws `ElementInvalid` when an element that was not validated does not fit the layout. */
  readonly columns: Columns
}

/**
 * What a receiver accepts in one batch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Most elements; 1,048,576 by default. */
  readonly maxElements?: number | undefined
  /** Longest single string of a string column, in UTF-8 bytes; by default only the payload bounds it. */
  readonly maxStringBytes?: number | undefined
}

/**
 * The codec of the batches of one element Schema.
 *
 * @category models
 * @since 0.1.0
 */
export interface BatchCodec<A, B> {
  /**
   * The layout as JSON text: names, kinds, dtypes and shapes in a fixed order. Codecs of equal texts understand each
   * other's bytes, and any difference of layout is a difference of texts. Checks are no part of it, nor is the order of
   * the fields; each side enforces its own checks.
   */
  readonly fingerprint: string

  /** Makes a chunk of elements, by reference. */
  fromElements(elements: ReadonlyArray<A>): Chunk<A>

  /** The elements of a chunk from index `from` up to, not including, `to`; shares the data. */
  slice(chunk: Chunk<A>, from: number, to?: number): Chunk<A>

  /** One chunk of all elements, in order. */
  concat(chunks: ReadonlyArray<Chunk<A>>): Chunk<A>

  /**
   * Stacks elements into a batch. Throws `ElementInvalid` when a tensor that was not validated does not fit its shape.
   */
  stack(elements: ReadonlyArray<A>): B

  /** Stacks a chunk; the columns of a decoded one are the batch's tensors as they are. */
  stackChunk(chunk: Chunk<A>): B

  /**
   * Takes a batch apart into validated elements; their tensors are views of the batch. The fields must agree on the
   * number of elements; `length` is needed only when no field tells it.
   */
  unstack(batch: B, length?: number): Result.Result<ReadonlyArray<A>, ElementInvalid>

  /**
   * Whether a value is an element, by the type side of the Schema. Strings must be well formed as well. What succeeds
   * is the value itself; keys that the Schema does not know stay on it, but do not travel.
   */
  validate(u: unknown): Result.Result<A, ElementInvalid>

  /**
   * Writes a chunk as segments to be sent one after the other. Large columns are segments of their own and not copied.
   * Segments may share a buffer with others: join them, as with `Bytes.concat`, before transferring them to a thread.
   * Throws `ElementInvalid` when an element that was not validated does not fit the layout. All text of one column must
   * fit into one JavaScript string, about 512 MB.
   */
  encode(chunk: Chunk<A>): ReadonlyArray<Uint8Array>

  /**
   * Reads a chunk. All of it is verified before it is used: sizes before anything is allocated by them, text, checks of
   * the Schema. Never throws. Aligned columns are views of `bytes`, so keep those unchanged.
   */
  decode(bytes: Uint8Array, limits?: Limits): Result.Result<Chunk<A>, MalformedBatch>
}

// -----------------------------------------------------------------------------
// layout
// -----------------------------------------------------------------------------

type Filter = SchemaAST.Filter<unknown>

/** A column of its own. */
interface Leaf {
  readonly name: string
  readonly kind: "tensor" | "number" | "boolean" | "string"
  readonly spec: Tensor.Spec
  /** Entries per element. */
  readonly width: number
  readonly isScalar: boolean
  /** Whether a value fits the column, checks aside. */
  readonly matches: (u: unknown) => boolean
  readonly ast: SchemaAST.AST
  readonly filters: ReadonlyArray<Filter>
}

/** The column of all that has none of its own: some fields of a struct, or whole elements. */
interface Rest {
  /** What an error calls it. */
  readonly name: string
  readonly names: ReadonlyArray<string> | undefined
  readonly format: "binary" | "json"
  readonly ast: SchemaAST.AST
  readonly accepts: (u: unknown) => boolean
  readonly encode: (values: ReadonlyArray<unknown>) => Result.Result<Uint8Array, string>
  readonly decode: (bytes: Uint8Array) => Result.Result<ReadonlyArray<unknown>, string>
}

interface Layout {
  readonly isStruct: boolean
  readonly leaves: ReadonlyArray<Leaf>
  readonly rest: Rest | undefined
  /** Checks on the struct as a whole. */
  readonly filters: ReadonlyArray<Filter>
  readonly ast: SchemaAST.AST
}

const filtersOf = (checks: ReadonlyArray<SchemaAST.Check<unknown>> | undefined): ReadonlyArray<Filter> =>
  checks === undefined
    ? []
    : checks.flatMap((check) => check._tag === "Filter" ? [check] : filtersOf(check.checks))

const passes = (filters: ReadonlyArray<Filter>, u: unknown, ast: SchemaAST.AST): boolean => {
  for (let i = 0; i < filters.length; i++) {
    if (filters[i]!.run(u, ast, {}) !== undefined) return false
  }
  return true
}

const scalars: { readonly [Tag in SchemaAST.AST["_tag"]]?: readonly [Leaf["kind"], Tensor.DType] } = {
  Number: ["number", "float64"],
  Boolean: ["boolean", "bool"],
  String: ["string", "string"]
}

const leafOf = (name: string, ast: SchemaAST.AST): Leaf | undefined => {
  if (ast.encoding !== undefined || ast.context?.isOptional === true) return undefined
  const tensor = Tensor.fromAST(ast)
  const scalar = scalars[ast._tag]
  if (tensor === undefined && scalar === undefined) return undefined
  const [kind, spec] = tensor !== undefined
    ? ["tensor" as const, tensor]
    : [scalar![0], { dtype: scalar![1], shape: [] }]
  return {
    name,
    kind,
    spec,
    width: Tensor.sizeOf(spec.shape),
    isScalar: spec.shape.length === 0,
    matches: Tensor.matcher(spec),
    ast,
    filters: filtersOf(ast.checks)
  }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const restOf = (names: ReadonlyArray<string> | undefined, ast: SchemaAST.AST): Rest => {
  const row = Schema.make<Schema.Codec<unknown>>(ast)
  const rows = Schema.Array(row)
  const is = Schema.is(Schema.toType(row))
  const shared = {
    name: names?.join(", ") ?? "",
    names,
    ast,
    accepts: (u: unknown) =>
      is(u) && (names === undefined ? isWellFormed(u) : names.every((name) => isWellFormed(fieldOf(u, name))))
  }
  const binary = Result.try(() => SchemaBinary.toCodec(rows))
  if (Result.isSuccess(binary)) {
    const write = Schema.encodeUnknownResult(binary.success)
    const read = Schema.decodeUnknownResult(binary.success)
    return {
      ...shared,
      format: "binary",
      encode: (values) => Result.mapError(write(values), (error) => inLine(error.issue)),
      decode: (bytes) => Result.mapError(read(bytes), (error) => inLine(error.issue))
    }
  }
  const json = Schema.fromJsonString(Schema.toCodecJson(rows))
  const write = Schema.encodeUnknownResult(json)
  const read = Schema.decodeUnknownResult(json)
  return {
    ...shared,
    format: "json",
    encode: (values) =>
      Result.mapBoth(write(values), {
        onSuccess: (text) => encoder.encode(text),
        onFailure: (error) => inLine(error.issue)
      }),
    decode: (bytes) => Result.mapError(read(decoder.decode(bytes)), (error) => inLine(error.issue))
  }
}

const compile = (ast: SchemaAST.AST): Layout => {
  const whole = leafOf("", ast)
  if (whole !== undefined) return { isStruct: false, leaves: [whole], rest: undefined, filters: [], ast }
  if (
    !SchemaAST.isObjects(ast) || ast.encoding !== undefined || ast.encodingChecks !== undefined ||
    ast.indexSignatures.length > 0
  ) {
    return { isStruct: false, leaves: [], rest: restOf(undefined, ast), filters: [], ast }
  }
  const leaves: Array<Leaf> = []
  const others: Array<SchemaAST.PropertySignature> = []
  for (const property of ast.propertySignatures) {
    if (typeof property.name === "symbol" || property.name === "__proto__") {
      throw new LayoutUnsupported({ issue: `field ${String(property.name)} cannot be sent; rename it` })
    }
    const leaf = leafOf(String(property.name), property.type)
    if (leaf === undefined) others.push(property)
    else leaves.push(leaf)
  }
  const rest = others.length === 0
    ? undefined
    : restOf(others.map(({ name }) => String(name)), new SchemaAST.Objects(others, []))
  return { isStruct: true, leaves: leaves.toSorted(byName), rest, filters: filtersOf(ast.checks), ast }
}

const byName = (self: { readonly name: string }, that: { readonly name: string }): number =>
  self.name < that.name ? -1 : self.name > that.name ? 1 : 0

// -----------------------------------------------------------------------------
// fingerprint
// -----------------------------------------------------------------------------

// Raise it when the bytes change.
const version = 1

const printLayout = ({ isStruct, leaves, rest }: Layout): string => {
  const columns = [
    ...leaves.map(({ kind, name, spec }) => kind === "tensor" ? { name, kind, ...spec } : { name, kind }),
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

const printLiteral = (literal: SchemaAST.LiteralValue | symbol): unknown => ({ [typeof literal]: String(literal) })

const isOptional = (ast: SchemaAST.AST): boolean => ast.context?.isOptional === true

const fieldId = (ast: SchemaAST.AST): { readonly id?: unknown } => {
  const id = ast.context?.annotations?.["~effect/encoding/SchemaBinary/fieldId"]
  return id === undefined ? {} : { id }
}

// -----------------------------------------------------------------------------
// values and columns
// -----------------------------------------------------------------------------

// Filled by a loop right after, which `Array.from` does at a tenth of the speed.
// oxlint-disable-next-line unicorn/no-new-array
const arrayOf = <A>(length: number): Array<A> => new Array<A>(length)

// Elements were validated, or are typed by the caller; their fields are read by the names of the Schema.
const fieldOf = (element: unknown, name: string): unknown => (element as { readonly [name: string]: unknown })[name]

// The values of one field.
const pick = ({ isStruct }: Layout, name: string, elements: ReadonlyArray<unknown>): ReadonlyArray<unknown> => {
  if (!isStruct) return elements
  const values = arrayOf<unknown>(elements.length)
  for (let i = 0; i < elements.length; i++) values[i] = fieldOf(elements[i], name)
  return values
}

const requireMatch = (leaf: Leaf, value: unknown): void => {
  if (!leaf.matches(value)) {
    throw new ElementInvalid({ issue: atPath([leaf.name], Tensor.mismatch(leaf.spec, value)) })
  }
}

// Small buffers are cut from slabs, as Node cuts its Buffers, because making an ArrayBuffer costs about a microsecond.
// Nothing is ever returned to a slab, so what is cut is zero.
const slabBytes = 65_536
let slab = new ArrayBuffer(slabBytes)
let slabUsed = 0

const cutBuffer = (dtype: Exclude<Tensor.DType, "string">, entries: number): Tensor.TypedArray => {
  const { bytes, make, view } = Tensor.storages[dtype]
  const size = align(entries * bytes)
  if (size > slabBytes / 8) return make(entries)
  if (slabUsed + size > slabBytes) {
    slab = new ArrayBuffer(slabBytes)
    slabUsed = 0
  }
  slabUsed += size
  return view(slab, slabUsed - size, entries)
}

// Puts values into a typed array; the one place where tensors are copied.
const pack = (leaf: Leaf, values: ReadonlyArray<unknown>, data: Tensor.TypedArray): Tensor.TypedArray => {
  const { isScalar, width } = leaf
  const isBool = leaf.spec.dtype === "bool"
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    requireMatch(leaf, value)
    // The match proves that the value belongs in this array, which its dtype chose.
    if (isScalar) data[i] = (isBool ? Number(value) : value) as never
    else data.set(value as never, i * width)
  }
  return data
}

const packStrings = (leaf: Leaf, values: ReadonlyArray<unknown>): ReadonlyArray<string> => {
  for (let i = 0; i < values.length; i++) requireMatch(leaf, values[i])
  // The match proves strings, or arrays of strings.
  return (leaf.isScalar ? values : values.flat()) as ReadonlyArray<string>
}

// A column to its values, as views where they are tensors.
const unpack = (leaf: Leaf, column: Column, length: number): ReadonlyArray<unknown> => {
  const { isScalar, spec, width } = leaf
  if (column._tag === "Values" && isScalar) return column.values
  const values = arrayOf<unknown>(length)
  if (column._tag === "Values") {
    for (let i = 0; i < length; i++) values[i] = column.values.slice(i * width, (i + 1) * width)
    return values
  }
  const { data } = column
  if (!isScalar) {
    for (let i = 0; i < length; i++) values[i] = data.subarray(i * width, (i + 1) * width)
  } else if (spec.dtype === "bool") {
    for (let i = 0; i < length; i++) values[i] = data[i] === 1
  } else {
    for (let i = 0; i < length; i++) values[i] = data[i]
  }
  return values
}

const gather = (layout: Layout, elements: ReadonlyArray<unknown>): Columns => {
  const columns: Array<Column> = layout.leaves.map((leaf) => {
    const values = pick(layout, leaf.name, elements)
    const { dtype } = leaf.spec
    if (dtype !== "string") {
      return { _tag: "Fixed", data: pack(leaf, values, cutBuffer(dtype, values.length * leaf.width)) }
    }
    const strings = packStrings(leaf, values)
    return { _tag: "Values", values: strings, body: writeText(strings) }
  })
  if (layout.rest !== undefined) {
    columns.push({ _tag: "Values", values: elements, body: writeRest(layout.rest, elements) })
  }
  return columns
}

const scatter = (layout: Layout, columns: Columns, length: number): ReadonlyArray<unknown> => {
  const { isStruct, leaves, rest } = layout
  if (!isStruct) return leaves[0] === undefined ? valuesOf(columns[0]!) : unpack(leaves[0], columns[0]!, length)
  const rows = arrayOf<{ [name: string]: unknown }>(length)
  for (let i = 0; i < length; i++) rows[i] = {}
  leaves.forEach((leaf, k) => {
    const { name } = leaf
    const values = unpack(leaf, columns[k]!, length)
    for (let i = 0; i < length; i++) rows[i]![name] = values[i]
  })
  if (rest !== undefined) {
    const values = valuesOf(columns[leaves.length]!)
    for (let i = 0; i < length; i++) {
      const value = values[i]
      for (const name of rest.names!) {
        if (Object.hasOwn(value as object, name)) rows[i]![name] = fieldOf(value, name) // a decoded struct
      }
    }
  }
  return rows
}

const valuesOf = (column: Column): ReadonlyArray<unknown> => column._tag === "Values" ? column.values : []

const sliceColumn = (column: Column, from: number, to: number, width: number): Column =>
  column._tag === "Fixed"
    ? { _tag: "Fixed", data: column.data.subarray(from * width, to * width) }
    : { _tag: "Values", values: column.values.slice(from * width, to * width), body: undefined }

// -----------------------------------------------------------------------------
// writing
// -----------------------------------------------------------------------------

const magic = 0x31424645
const headerBytes = 16
const largestU32 = 2 ** 32 - 1

const align = (n: number): number => Math.ceil(n / 8) * 8

// Columns below this many bytes are copied together, so that a small batch is one write.
const copyBelow = 16_384

const utf8Length = (s: string): number => {
  let length = s.length
  for (let i = 0; i < s.length; i++) {
    const unit = s.charCodeAt(i)
    // A surrogate is half of a code point of four bytes.
    if (unit >= 0x80) length += unit < 0x800 || (unit >= 0xD800 && unit <= 0xDFFF) ? 1 : 2
  }
  return length
}

const writeText = (strings: ReadonlyArray<string>): ReadonlyArray<Uint8Array> => {
  const offsets = cutBuffer("uint32", strings.length + 1)
  let text = ""
  for (let i = 0; i < strings.length; i++) {
    text += strings[i]
    offsets[i + 1] = text.length
  }
  const ascii = Tensor.bytesOf(cutBuffer("uint8", text.length))
  const { read, written } = encoder.encodeInto(text, ascii)
  // Only ASCII takes one byte for each code unit, so only then all of the text fits.
  if (read === text.length && written === text.length) return [Tensor.bytesOf(offsets), ascii]
  let end = 0
  for (let i = 0; i < strings.length; i++) {
    end += utf8Length(strings[i]!)
    offsets[i + 1] = end
  }
  const bytes = Tensor.bytesOf(cutBuffer("uint8", end))
  encoder.encodeInto(text, bytes)
  return [Tensor.bytesOf(offsets), bytes]
}

const writeRest = (rest: Rest, values: ReadonlyArray<unknown>): ReadonlyArray<Uint8Array> => [
  Result.getOrThrowWith(attempt(() => rest.encode(values)), (issue) => new ElementInvalid({ issue }))
]

// What the user's transformations throw becomes an issue like any other.
const attempt = <A>(f: () => Result.Result<A, string>): Result.Result<A, string> =>
  Result.flatMap(Result.try({ try: f, catch: String }), (result) => result)

const bodyOf = (layout: Layout, columns: Columns, k: number): ReadonlyArray<Uint8Array> => {
  const column = columns[k]!
  if (column._tag === "Fixed") return [Tensor.bytesOf(column.data)]
  if (column.body !== undefined) return column.body
  return k < layout.leaves.length
    ? writeText(column.values as ReadonlyArray<string>) // a leaf with values is a column of strings
    : writeRest(layout.rest!, column.values)
}

const sizeOf = (body: ReadonlyArray<Uint8Array>): number => {
  let size = 0
  for (const part of body) size += part.byteLength
  return size
}

const write = (layout: Layout, columns: Columns, length: number): ReadonlyArray<Uint8Array> => {
  const bodies = columns.map((_, k) => bodyOf(layout, columns, k))
  const header = new Uint32Array(headerBytes / 4 + bodies.length)
  let total = align(header.byteLength)
  bodies.forEach((body, k) => {
    const size = sizeOf(body)
    header[4 + k] = size
    total += align(size)
  })
  if (total > largestU32) {
    throw new ElementInvalid({
      issue: `${length} elements take ${total} bytes, more than a batch can hold; send fewer`
    })
  }
  header[0] = magic
  header[1] = bodies.length
  header[2] = length
  header[3] = total

  const segments: Array<Uint8Array> = []
  // Small parts wait in `run`, with their places, until a large one or the end cuts it.
  let run: Array<readonly [part: Uint8Array, at: number]> = [[Tensor.bytesOf(header), 0]]
  let start = 0
  const cut = (end: number): void => {
    if (end > start) {
      const segment = Tensor.bytesOf(cutBuffer("uint8", end - start))
      for (const [part, at] of run) segment.set(part, at - start)
      segments.push(segment)
    }
    run = []
  }
  let at = align(header.byteLength)
  for (const body of bodies) {
    const size = sizeOf(body)
    const isLarge = size >= copyBelow
    if (isLarge) cut(at)
    let end = at
    for (const part of body) {
      if (isLarge) segments.push(part)
      else run.push([part, end])
      end += part.byteLength
    }
    if (isLarge) start = end
    at = align(end)
  }
  cut(total)
  return segments
}

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

const defaultMaxElements = 2 ** 20

const refuse = (field: string, issue: string): never => {
  throw new MalformedBatch({ field, issue })
}

// The only place that makes typed arrays of received bytes; their number was compared with `entries` before.
const viewOf = (bytes: Uint8Array, dtype: Exclude<Tensor.DType, "string">, entries: number): Tensor.TypedArray => {
  const storage = Tensor.storages[dtype]
  return bytes.byteOffset % storage.bytes === 0
    ? storage.view(bytes.buffer, bytes.byteOffset, entries)
    : storage.view(bytes.slice().buffer, 0, entries)
}

const readFixed = (
  { name }: Leaf,
  dtype: Exclude<Tensor.DType, "string">,
  bytes: Uint8Array,
  entries: number
): Column => {
  const expected = entries * Tensor.storages[dtype].bytes
  if (bytes.byteLength !== expected) {
    refuse(name, `expected ${entries} × ${dtype} in ${expected} bytes, got ${bytes.byteLength} bytes`)
  }
  const data = viewOf(bytes, dtype, entries)
  if (dtype === "bool" && !bytes.every((byte) => byte <= 1)) refuse(name, "a boolean is neither 0 nor 1")
  return { _tag: "Fixed", data }
}

const readText = ({ name }: Leaf, bytes: Uint8Array, entries: number, maxStringBytes: number): Column => {
  const textAt = (entries + 1) * 4
  if (bytes.byteLength < textAt) {
    refuse(name, `expected ${entries + 1} offsets in ${textAt} bytes, got ${bytes.byteLength} bytes`)
  }
  const encoded = bytes.subarray(textAt)
  const offsets = viewOf(bytes.subarray(0, textAt), "uint32", entries + 1) as Uint32Array // by its dtype
  if (offsets[0] !== 0 || offsets[entries] !== encoded.byteLength) {
    refuse(name, `offsets do not span the ${encoded.byteLength} bytes of text`)
  }
  for (let i = 0; i < entries; i++) {
    const size = offsets[i + 1]! - offsets[i]!
    if (size < 0) refuse(name, `offset ${i + 1} is smaller than the one before`)
    if (size > maxStringBytes) refuse(name, `a string takes ${size} bytes, more than the ${maxStringBytes} allowed`)
  }
  const text = Result.getOrElse(Result.try(() => decoder.decode(encoded)), () => refuse(name, "text is not UTF-8"))
  return { _tag: "Values", values: cutText(name, text, encoded, offsets), body: [bytes] }
}

const cutText = (name: string, text: string, encoded: Uint8Array, offsets: Uint32Array): ReadonlyArray<string> => {
  const strings = arrayOf<string>(offsets.length - 1)
  if (text.length === encoded.byteLength) {
    for (let i = 0; i < strings.length; i++) strings[i] = text.slice(offsets[i], offsets[i + 1])
    return strings
  }
  // Not all ASCII: walk the bytes to find where each offset is in the text.
  let byte = 0
  let unit = 0
  for (let i = 0; i < strings.length; i++) {
    const start = unit
    const end = offsets[i + 1]!
    for (; byte < end; byte++) {
      const lead = encoded[byte]!
      if (lead < 0x80 || lead >= 0xC0) unit += lead >= 0xF0 ? 2 : 1
    }
    if (end < encoded.byteLength && encoded[end]! >= 0x80 && encoded[end]! < 0xC0) {
      refuse(name, `offset ${i + 1} is inside a character`)
    }
    strings[i] = text.slice(start, unit)
  }
  return strings
}

const readRest = (rest: Rest, bytes: Uint8Array, length: number): Column => {
  const values = Result.getOrElse(attempt(() => rest.decode(bytes)), (issue) => refuse(rest.name, issue))
  if (values.length !== length) refuse(rest.name, `expected ${length} rows, got ${values.length}`)
  return { _tag: "Values", values, body: [bytes] }
}

const read = (layout: Layout, received: Uint8Array, limits: Limits | undefined): Chunk => {
  // A plain Uint8Array, because a Buffer's `slice` does not copy.
  const bytes = new Uint8Array(received.buffer, received.byteOffset, received.byteLength)
  const { leaves, rest } = layout
  const count = leaves.length + (rest === undefined ? 0 : 1)
  const tableEnd = headerBytes + 4 * count
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.byteLength < align(tableEnd)) refuse("header", `${bytes.byteLength} bytes are too few`)
  if (header.getUint32(0, true) !== magic) refuse("header", "it does not start with EFB1")
  if (header.getUint32(4, true) !== count) {
    refuse("header", `expected ${count} columns, got ${header.getUint32(4, true)}`)
  }
  const length = header.getUint32(8, true)
  const maxElements = limits?.maxElements ?? defaultMaxElements
  if (length > maxElements) refuse("header", `${length} elements are more than the ${maxElements} allowed`)
  if (header.getUint32(12, true) !== bytes.byteLength) {
    refuse("header", `it declares ${header.getUint32(12, true)} bytes, got ${bytes.byteLength}`)
  }

  let at = tableEnd
  const skipPadding = (field: string): void => {
    for (const end = align(at); at < end; at++) {
      if (at >= bytes.byteLength || bytes[at] !== 0) refuse(field, "its padding is missing or not zero")
    }
  }
  skipPadding("header")
  const bodies = Array.from({ length: count }, (_, k) => {
    const field = leaves[k]?.name ?? rest!.name
    const size = header.getUint32(headerBytes + 4 * k, true)
    if (size > bytes.byteLength - at) refuse(field, `${size} bytes do not fit into the payload`)
    const body = bytes.subarray(at, at + size)
    at += size
    skipPadding(field)
    return body
  })
  if (at !== bytes.byteLength) refuse("header", `${bytes.byteLength - at} bytes follow the last column`)

  const columns = leaves.map((leaf, k) => {
    const { dtype } = leaf.spec
    const entries = length * leaf.width
    const column = dtype === "string"
      ? readText(leaf, bodies[k]!, entries, limits?.maxStringBytes ?? Infinity)
      : readFixed(leaf, dtype, bodies[k]!, entries)
    if (leaf.filters.length > 0) readChecks(leaf, unpack(leaf, column, length))
    return column
  })
  if (rest !== undefined) columns.push(readRest(rest, bodies[leaves.length]!, length))
  const chunk = new Batch(layout, length, undefined, columns)
  if (layout.filters.length > 0) readChecks({ ...layout, name: "" }, chunk.elements)
  return chunk
}

// Runs what the layout does not prove.
const readChecks = (
  { ast, filters, name }: Pick<Leaf, "ast" | "filters" | "name">,
  values: ReadonlyArray<unknown>
): void => {
  for (let i = 0; i < values.length; i++) {
    if (!passes(filters, values[i], ast)) refuse(name, `element ${i}: ${explain(ast, values[i])}`)
  }
}

// -----------------------------------------------------------------------------
// validation
// -----------------------------------------------------------------------------

const atPath = (path: ReadonlyArray<PropertyKey>, message: string): string => {
  const place = path.map(String).join(".")
  return place === "" ? message : `${place}: ${message}`
}

const format = SchemaIssue.makeFormatterStandardSchemaV1()

// An issue in one line, with the path first.
const inLine = (issue: SchemaIssue.Issue): string =>
  format(issue).issues.map(({ message, path }) =>
    atPath((path ?? []).map((key) => typeof key === "object" ? key.key : key), message)
  ).join("; ")

const explain = (ast: SchemaAST.AST, u: unknown): string => {
  const type = Schema.make<Schema.Codec<unknown>>(SchemaAST.toType(ast))
  return Result.match(Schema.decodeUnknownResult(type)(u), {
    onFailure: (error) => inLine(error.issue),
    onSuccess: () => "expected well-formed strings, got a lone surrogate"
  })
}

const explainElement = (layout: Layout, u: unknown): string => {
  const { ast, isStruct, leaves, rest } = layout
  const names = [...leaves.map(({ name }) => name), ...(rest?.names ?? [])]
  const issue = explain(ast, u)
  const ill = isStruct && Predicate.isObject(u) ? names.find((name) => !isWellFormed(u[name])) : undefined
  return ill === undefined || !issue.startsWith("expected well-formed") ? issue : atPath([ill], issue)
}

const isEmpty = ({ leaves, rest }: Layout): boolean => leaves.length === 0 && rest === undefined

const accepts = (layout: Layout, u: unknown): boolean => {
  const { ast, filters, isStruct, leaves, rest } = layout
  if (isStruct && !(isEmpty(layout) ? Predicate.isNotNullish(u) : Predicate.isObject(u))) return false
  for (let k = 0; k < leaves.length; k++) {
    const leaf = leaves[k]!
    const value = isStruct ? fieldOf(u, leaf.name) : u
    if (!leaf.matches(value) || !passes(leaf.filters, value, leaf.ast)) return false
  }
  return (rest === undefined || rest.accepts(u)) && passes(filters, u, ast)
}

// Whether all strings within reach are well formed; UTF-8 cannot write others.
const isWellFormed = (u: unknown, seen?: Set<object>): boolean => {
  if (typeof u === "string") return u.isWellFormed()
  if (typeof u !== "object" || u === null || ArrayBuffer.isView(u)) return true
  seen ??= new Set()
  if (seen.has(u)) return true
  seen.add(u)
  if (Array.isArray(u) || u instanceof Map || u instanceof Set) {
    for (const value of u) {
      if (!isWellFormed(value, seen)) return false
    }
    return true
  }
  for (const [key, value] of Object.entries(u)) {
    if (!key.isWellFormed() || !isWellFormed(value, seen)) return false
  }
  return true
}

// -----------------------------------------------------------------------------
// chunks
// -----------------------------------------------------------------------------

class Batch implements Chunk {
  readonly layout: Layout
  readonly length: number
  /** The columns it was made from; those it makes of elements it keeps to itself. */
  readonly received: Columns | undefined
  #elements: ReadonlyArray<unknown> | undefined
  #columns: Columns | undefined
  #byteLength: number | undefined

  constructor(
    layout: Layout,
    length: number,
    elements: ReadonlyArray<unknown> | undefined,
    received: Columns | undefined
  ) {
    this.layout = layout
    this.length = length
    this.received = received
    this.#elements = elements
    this.#columns = received
  }
  get elements(): ReadonlyArray<unknown> {
    return this.#elements ??= scatter(this.layout, this.columns, this.length)
  }
  get columns(): Columns {
    return this.#columns ??= gather(this.layout, this.elements)
  }
  get byteLength(): number {
    return this.#byteLength ??= measure(this.layout, this.length, this.#elements, this.#columns)
  }
  slice(from: number, to: number): Batch {
    const { layout, received } = this
    return new Batch(
      layout,
      to - from,
      this.#elements?.slice(from, to),
      received?.map((column, k) => sliceColumn(column, from, to, layout.leaves[k]?.width ?? 1))
    )
  }
}

// Bytes on the wire: exact, save for text and the rest when only their values are known.
const measure = (
  layout: Layout,
  length: number,
  elements: ReadonlyArray<unknown> | undefined,
  columns: Columns | undefined
): number => {
  const { leaves, rest } = layout
  let total = align(headerBytes + 4 * (leaves.length + (rest === undefined ? 0 : 1)))
  leaves.forEach((leaf, k) => {
    const { name, spec, width } = leaf
    const column = columns?.[k]
    total += align(
      spec.dtype !== "string"
        ? length * width * Tensor.storages[spec.dtype].bytes
        : column === undefined
        ? weighText(pick(layout, name, elements!).flat())
        : bodyBytes(column) ?? weighText(valuesOf(column))
    )
  })
  if (rest !== undefined) {
    const column = columns?.[leaves.length]
    total += align(
      column === undefined ? weighRest(rest, elements!) : bodyBytes(column) ?? weighRest(rest, valuesOf(column))
    )
  }
  return total
}

const bodyBytes = (column: Column): number | undefined =>
  column._tag === "Values" && column.body !== undefined ? sizeOf(column.body) : undefined

const weighText = (strings: ReadonlyArray<unknown>): number =>
  strings.reduce<number>((bytes, string) => bytes + 4 + String(string).length, 4)

const weighRest = ({ names }: Rest, rows: ReadonlyArray<unknown>): number =>
  rows.reduce<number>((bytes, row) =>
    names === undefined
      ? bytes + weigh(row, 8)
      : names.reduce((bytes, name) => bytes + weigh(fieldOf(row, name), 8), bytes), 16)

const weigh = (u: unknown, depth: number): number => {
  if (typeof u === "string") return 2 + u.length
  if (typeof u !== "object" || u === null || depth === 0) return 8
  if (ArrayBuffer.isView(u)) return 4 + u.byteLength
  let bytes = 2
  const inner: Iterable<unknown> = u instanceof Map || u instanceof Set ? u : Object.values(u)
  for (const value of inner) bytes += weigh(value, depth - 1)
  return bytes
}

// -----------------------------------------------------------------------------
// stacking
// -----------------------------------------------------------------------------

/** How one field of a struct, or the whole element, stands in a batch. */
interface StackField {
  readonly name: string
  readonly leaf: Leaf | undefined
  /** Whether it is one typed array there. */
  readonly isTensor: boolean
  readonly isOptional: boolean
}

interface Stacking {
  readonly isObject: boolean
  readonly fields: ReadonlyArray<StackField>
}

// Follows the schema's static type, as `Stacked` does, so that both always agree.
const stackingOf = (schema: Schema.Constraint, layout: Layout): Stacking => {
  if (!layout.isStruct || !("fields" in schema)) {
    const isTensor = Tensor.isTensor(schema)
    return { isObject: false, fields: [{ name: "", leaf: layout.leaves[0], isTensor, isOptional: false }] }
  }
  const { fields } = schema as Schema.Struct<Schema.Struct.Fields> // what has fields and a struct's AST is a struct
  return {
    isObject: true,
    fields: Object.entries(fields).map(([name, field]) => ({
      name,
      leaf: layout.leaves.find((leaf) => leaf.name === name),
      isTensor: Tensor.isTensor(field),
      isOptional: isOptional(field.ast)
    }))
  }
}

const assemble = ({ fields, isObject }: Stacking, stacked: (field: StackField) => unknown): unknown =>
  isObject ? Object.fromEntries(fields.map((field) => [field.name, stacked(field)])) : stacked(fields[0]!)

const stackValues = ({ isTensor, leaf }: StackField, values: ReadonlyArray<unknown>): unknown => {
  if (!isTensor || leaf === undefined) return values
  const { spec: { dtype }, width } = leaf
  return dtype === "string"
    ? packStrings(leaf, values)
    : pack(leaf, values, Tensor.storages[dtype].make(values.length * width))
}

const stackColumn = (layout: Layout, field: StackField, columns: Columns, length: number): unknown => {
  const { isTensor, leaf, name } = field
  if (leaf === undefined) return valuesOf(columns[layout.leaves.length]!).map((row) => fieldOf(row, name))
  const column = columns[layout.leaves.indexOf(leaf)]!
  if (!isTensor) return unpack(leaf, column, length)
  return column._tag === "Fixed" ? column.data : column.values
}

/** One field of a batch that is taken apart: its column, and how many elements it has if that can be told. */
interface Unstacked {
  readonly column: Column
  readonly length: number | undefined
}

const unstackField = ({ isTensor, leaf, name }: StackField, u: unknown): Result.Result<Unstacked, string> => {
  const invalid = (expected: string) => Result.fail(atPath([name], `expected ${expected}`))
  if (!isTensor || leaf === undefined) {
    return Array.isArray(u)
      ? Result.succeed({ column: { _tag: "Values", values: u, body: undefined }, length: u.length })
      : invalid("an array with one value per element")
  }
  const { spec: { dtype }, width } = leaf
  const entries = dtype === "string"
    ? Array.isArray(u) ? u.length : undefined
    : Tensor.storages[dtype].is(u)
    ? u.length
    : undefined
  if (entries === undefined || (width === 0 ? entries !== 0 : entries % width !== 0)) {
    const array = dtype === "string" ? "an array of strings" : `a ${Tensor.storages[dtype].name}`
    return invalid(`${array} with ${width} entries per element`)
  }
  return Result.succeed({
    // Its dtype was matched just above.
    column: dtype === "string"
      ? { _tag: "Values", values: u as ReadonlyArray<unknown>, body: undefined }
      : { _tag: "Fixed", data: u as Tensor.TypedArray },
    length: width === 0 ? undefined : entries / width
  })
}

const unstackRows = (
  { fields, isObject }: Stacking,
  batch: unknown,
  given: number | undefined
): Result.Result<ReadonlyArray<unknown>, string> => {
  if (isObject && !Predicate.isObject(batch)) return Result.fail("expected an object of stacked fields")
  if (given !== undefined && !(Number.isSafeInteger(given) && given >= 0)) {
    return Result.fail(`expected a length of 0 or more, got ${given}`)
  }
  let length = given
  let owner = "the given length"
  const parts: Array<Unstacked> = []
  for (const field of fields) {
    const part = unstackField(field, isObject ? fieldOf(batch, field.name) : batch)
    if (Result.isFailure(part)) return Result.fail(part.failure)
    parts.push(part.success)
    if (part.success.length === undefined) continue
    if (length === undefined) {
      length = part.success.length
      owner = field.name
    } else if (length !== part.success.length) {
      return Result.fail(
        atPath([field.name], `expected ${length} elements, as many as ${owner}, got ${part.success.length}`)
      )
    }
  }
  if (length === undefined) return Result.fail("no field tells how many elements there are; pass the length")
  const count = length
  const values = fields.map(({ isTensor, leaf }, k) => {
    const { column } = parts[k]!
    return isTensor && leaf !== undefined ? unpack(leaf, column, count) : valuesOf(column)
  })
  if (!isObject) return Result.succeed(values[0]!)
  return Result.succeed(Array.from({ length: count }, (_, i) => {
    const row: { [name: string]: unknown } = {}
    fields.forEach(({ isOptional, name }, k) => {
      const value = values[k]![i]
      if (value !== undefined || !isOptional) row[name] = value
    })
    return row
  }))
}

// -----------------------------------------------------------------------------
// constructor
// -----------------------------------------------------------------------------

const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

const codecs = new WeakMap<Schema.Constraint, BatchCodec<unknown, unknown>>()

/**
 * Derives the codec of an element Schema, once for each Schema value.
 *
 * **Details**
 *
 * Any Schema without services will do, as long as its transformations are synchronous. Throws `LayoutUnsupported` when
 * the Schema cannot be laid out, for instance because a field is named by a symbol.
 *
 * **Gotchas**
 *
 * Pass the Schema with its own type: a widened one, such as `Schema.Codec<A>`, hides how its batches look. Strings
 * decoded from one batch share that batch's text; copy one that is to be kept for long.
 *
 * **Example** (Stacking, sending and receiving a batch)
 *
 * ```ts import.meta.vitest
 * import { Bytes, Result, Schema } from "effect"
 * import { BatchCodec, Tensor } from "effect-feeder"
 *
 * const codec = BatchCodec.make(Schema.Struct({ point: Tensor.float32([2]), label: Schema.String }))
 * const elements = [{ point: new Float32Array([1, 2]), label: "a" }, { point: new Float32Array([3, 4]), label: "b" }]
 *
 * const batch = codec.stack(elements)
 * batch.point // => new Float32Array([1, 2, 3, 4])
 * batch.label // => ["a", "b"]
 *
 * const bytes = Bytes.concat(codec.encode(codec.fromElements(elements)))
 * const received = Result.getOrThrow(codec.decode(bytes))
 * received.length // => 2
 * received.elements[1] // => { point: new Float32Array([3, 4]), label: "b" }
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <S extends ElementSchema>(
  schema: S
): BatchCodec<S["Type"], Stacked<S>> => {
  const known = codecs.get(schema)
  const codec = known ?? derive(schema)
  if (known === undefined) codecs.set(schema, codec)
  // The layout was compiled from this schema, so its elements and batches are the schema's; TypeScript cannot follow.
  return codec as BatchCodec<S["Type"], Stacked<S>>
}

const derive = (schema: Schema.Constraint): BatchCodec<unknown, unknown> => {
  if (!isLittleEndian) throw new LayoutUnsupported({ issue: "this machine is big-endian" })
  const layout = Result.getOrThrowWith(
    Result.try(() => compile(schema.ast)),
    (cause) => cause instanceof LayoutUnsupported ? cause : new LayoutUnsupported({ issue: String(cause) })
  )
  const stacking = stackingOf(schema, layout)

  const own = (chunk: Chunk): Batch =>
    chunk instanceof Batch && chunk.layout === layout ? chunk : fromElements(chunk.elements)

  const fromElements = (elements: ReadonlyArray<unknown>): Batch =>
    new Batch(layout, elements.length, elements, undefined)

  const stack = (elements: ReadonlyArray<unknown>): unknown =>
    assemble(stacking, (field) => stackValues(field, stacking.isObject ? pick(layout, field.name, elements) : elements))

  const invalid = (issue: string) => Result.fail(new ElementInvalid({ issue }))

  return {
    fingerprint: printLayout(layout),
    fromElements,
    slice: (chunk, from, to) => {
      const start = Math.min(Math.max(from, 0), chunk.length)
      return own(chunk).slice(start, Math.min(Math.max(to ?? chunk.length, start), chunk.length))
    },
    concat: (chunks) => chunks.length === 1 ? chunks[0]! : fromElements(chunks.flatMap((chunk) => chunk.elements)),
    stack,
    stackChunk: (chunk) => {
      const { received } = own(chunk)
      return received === undefined || !(stacking.isObject || stacking.fields[0]!.isTensor)
        ? stack(chunk.elements)
        : assemble(stacking, (field) => stackColumn(layout, field, received, chunk.length))
    },
    unstack: (batch, length) => {
      const rows = unstackRows(stacking, batch, length)
      if (Result.isFailure(rows)) return invalid(rows.failure)
      const wrong = rows.success.findIndex((row) => !accepts(layout, row))
      return wrong === -1
        ? Result.succeed(rows.success)
        : invalid(`element ${wrong}: ${explainElement(layout, rows.success[wrong])}`)
    },
    validate: (u) => accepts(layout, u) ? Result.succeed(u) : invalid(explainElement(layout, u)),
    encode: (chunk) => write(layout, own(chunk).columns, chunk.length),
    decode: (bytes, limits) =>
      Result.try({
        try: () => read(layout, bytes, limits),
        // A check of the user's Schema may throw as well: what it throws on is not accepted.
        catch: (cause) =>
          cause instanceof MalformedBatch ? cause : new MalformedBatch({ field: "a check", issue: String(cause) })
      })
  }
}
