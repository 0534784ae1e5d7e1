/**
 * Schemas for tensors: a dtype and a shape over JavaScript's typed arrays.
 *
 * A value of shape `[28, 28]` is one flat typed array of 784 entries in row-major order; a value of shape `[]` is a
 * plain number, bigint, boolean or string. In a batch the same field becomes one contiguous typed array with a leading
 * axis, which `BatchCodec` lays out, sends and stacks without looking at single entries.
 *
 * | dtype | value, shape `[]` | value, other shapes | stacked |
 * | --- | --- | --- | --- |
 * | `int8` `int16` `int32`, `uint8` `uint16` `uint32` | integer `number` in range | `Int8Array` … `Uint32Array` | the same typed array |
 * | `float32` `float64` | any `number` | `Float32Array` `Float64Array` | the same typed array |
 * | `bigint64` `biguint64` | `bigint` in range | `BigInt64Array` `BigUint64Array` | the same typed array |
 * | `bool` | `boolean` | `Uint8Array` of 0 and 1 | `Uint8Array` of 0 and 1 |
 * | `string` | well-formed `string` | array of well-formed strings | array of strings |
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"

const TypeId = "~effect-feeder/Tensor"

declare module "effect/Schema" {
  namespace Annotations {
    interface Annotations {
      /** Dtype and shape of a tensor schema; read it with `Tensor.fromAST`. */
      readonly "~effect-feeder/Tensor"?: Spec | undefined
    }
  }
}

/**
 * A tensor's shape is not a list of non-negative integers, or has too many entries.
 *
 * @category errors
 * @since 0.1.0
 */
export class ShapeInvalid extends Schema.Error<ShapeInvalid>(`${TypeId}/ShapeInvalid`)({
  _tag: Schema.tag("ShapeInvalid"),
  dtype: Schema.String,
  shape: Schema.Array(Schema.Number),
  issue: Schema.String
}) {
  override get message(): string {
    return `[${this.shape.join(",")}] is not the shape of a tensor (dtype ${this.dtype}): ${this.issue}; ` +
      `give one non-negative integer per axis, or [] for a scalar`
  }
}

/**
 * The typed array that holds many entries of each dtype.
 *
 * @category models
 * @since 0.1.0
 */
export interface Arrays {
  readonly int8: Int8Array
  readonly uint8: Uint8Array
  readonly int16: Int16Array
  readonly uint16: Uint16Array
  readonly int32: Int32Array
  readonly uint32: Uint32Array
  readonly float32: Float32Array
  readonly float64: Float64Array
  readonly bigint64: BigInt64Array
  readonly biguint64: BigUint64Array
  readonly bool: Uint8Array
  readonly string: ReadonlyArray<string>
}

/**
 * The name of an entry type.
 *
 * @category models
 * @since 0.1.0
 */
export type DType = keyof Arrays

/**
 * The value of a tensor of shape `[]`.
 *
 * @category models
 * @since 0.1.0
 */
export type Scalar<D extends DType> = D extends "bigint64" | "biguint64" ? bigint
  : D extends "bool" ? boolean
  : D extends "string" ? string
  : number

/**
 * The value of one tensor. A shape whose number of axes is not known to the compiler may be either form.
 *
 * @category models
 * @since 0.1.0
 */
export type Element<D extends DType, Shape extends ReadonlyArray<number>> = Shape extends readonly [] ? Scalar<D>
  : readonly [] extends Shape ? Scalar<D> | Arrays[D]
  : Arrays[D]

/**
 * Dtype and shape, as recovered from a schema's AST.
 *
 * @category models
 * @since 0.1.0
 */
export interface Spec {
  readonly dtype: DType
  readonly shape: ReadonlyArray<number>
}

/**
 * Schema of a tensor. Its `Type` is one tensor, its `Stacked` many of them in a batch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tensor<D extends DType, Shape extends ReadonlyArray<number> = ReadonlyArray<number>>
  extends
    Schema.Bottom<
      Element<D, Shape>,
      Element<D, Shape>,
      never,
      never,
      SchemaAST.Declaration,
      Tensor<D, Shape>
    >
{
  readonly dtype: D
  readonly shape: Shape
  /** Only a type, like `Type` and `Encoded`: the field of a stacked batch. */
  readonly "Stacked": Arrays[D]
}

/**
 * The constructor of the tensors of one dtype.
 *
 * @category models
 * @since 0.1.0
 */
export interface Constructor<D extends DType> {
  <const Shape extends ReadonlyArray<number>>(shape: Shape): Tensor<D, Shape>
}

// -----------------------------------------------------------------------------
// dtypes
// -----------------------------------------------------------------------------

/** @internal */
export type TypedArray = Arrays[Exclude<DType, "string">]

/** @internal */
export interface Storage {
  readonly name: string
  readonly bytes: number
  readonly make: (length: number) => TypedArray
  readonly view: (buffer: ArrayBufferLike, byteOffset: number, length: number) => TypedArray
  readonly is: (u: unknown) => u is TypedArray
}

const storage = <T extends TypedArray>(Class: {
  readonly name: string
  readonly BYTES_PER_ELEMENT: number
  new(length: number): T
  new(buffer: ArrayBufferLike, byteOffset: number, length: number): T
}): Storage => ({
  name: Class.name,
  bytes: Class.BYTES_PER_ELEMENT,
  make: (length) => new Class(length),
  view: (buffer, byteOffset, length) => new Class(buffer, byteOffset, length),
  is: (u): u is T => u instanceof Class
})

/**
 * How the entries of a dtype are stored; strings are not stored in a typed array.
 *
 * @internal
 */
export const storages: { readonly [D in Exclude<DType, "string">]: Storage } = {
  int8: storage(Int8Array),
  uint8: storage(Uint8Array),
  int16: storage(Int16Array),
  uint16: storage(Uint16Array),
  int32: storage(Int32Array),
  uint32: storage(Uint32Array),
  float32: storage(Float32Array),
  float64: storage(Float64Array),
  bigint64: storage(BigInt64Array),
  biguint64: storage(BigUint64Array),
  bool: storage(Uint8Array)
}

const integers: { readonly [D in DType]?: readonly [minimum: number, maximum: number] } = {
  int8: [-128, 127],
  uint8: [0, 255],
  int16: [-32768, 32767],
  uint16: [0, 65535],
  int32: [-2147483648, 2147483647],
  uint32: [0, 4294967295]
}

const bigints: { readonly [D in DType]?: readonly [minimum: bigint, maximum: bigint] } = {
  bigint64: [-(2n ** 63n), 2n ** 63n - 1n],
  biguint64: [0n, 2n ** 64n - 1n]
}

/**
 * How many entries a tensor of this shape has.
 *
 * **Example** (Counting entries)
 *
 * ```ts import.meta.vitest
 * import { Tensor } from "effect-feeder"
 *
 * Tensor.sizeOf([28, 28]) // => 784
 * Tensor.sizeOf([]) // => 1
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const sizeOf = (shape: ReadonlyArray<number>): number => shape.reduce((size, axis) => size * axis, 1)

const checkShape = (dtype: DType, shape: ReadonlyArray<number>): void => {
  for (const axis of shape) {
    if (!Number.isInteger(axis) || axis < 0) {
      throw new ShapeInvalid({ dtype, shape, issue: `${axis} is not a non-negative integer` })
    }
  }
  // A zero axis empties the tensor, whatever the others multiply to.
  const size = shape.includes(0) ? 0 : sizeOf(shape)
  if (!Number.isSafeInteger(size * 8)) {
    throw new ShapeInvalid({ dtype, shape, issue: `it has more entries than can be addressed` })
  }
}

const isBit = (n: number): boolean => n === 0 || n === 1

/**
 * The predicate of one tensor value, compiled once.
 *
 * @internal
 */
export const matcher = ({ dtype, shape }: Spec): (u: unknown) => boolean => {
  const size = sizeOf(shape)
  if (shape.length > 0) {
    if (dtype === "string") {
      return (u) => Array.isArray(u) && u.length === size && u.every((s) => typeof s === "string" && s.isWellFormed())
    }
    const { is } = storages[dtype]
    return dtype === "bool"
      ? (u) => u instanceof Uint8Array && u.length === size && u.every(isBit)
      : (u) => is(u) && u.length === size
  }
  const integer = integers[dtype]
  if (integer !== undefined) {
    const [minimum, maximum] = integer
    return (u) => typeof u === "number" && Number.isInteger(u) && u >= minimum && u <= maximum
  }
  const bigint = bigints[dtype]
  if (bigint !== undefined) {
    const [minimum, maximum] = bigint
    return (u) => typeof u === "bigint" && u >= minimum && u <= maximum
  }
  return dtype === "bool"
    ? (u) => typeof u === "boolean"
    : dtype === "string"
    ? (u) => typeof u === "string" && u.isWellFormed()
    : (u) => typeof u === "number"
}

// What a tensor of this dtype and shape is, in words.
const expected = ({ dtype, shape }: Spec): string => {
  const label = `${dtype}[${shape.join(",")}]`
  const size = sizeOf(shape)
  if (shape.length > 0) {
    if (dtype === "string") return `${label} (an Array of ${size} well-formed strings)`
    if (dtype === "bool") return `${label} (a Uint8Array of ${size}, each 0 or 1)`
    const { name } = storages[dtype]
    return `${label} (${name.startsWith("Int") ? "an" : "a"} ${name} of ${size})`
  }
  const integer = integers[dtype]
  if (integer !== undefined) return `${label} (an integer from ${integer[0]} to ${integer[1]})`
  const bigint = bigints[dtype]
  if (bigint !== undefined) return `${label} (a bigint from ${bigint[0]} to ${bigint[1]})`
  return `${label} (a ${dtype === "bool" ? "boolean" : dtype === "string" ? "well-formed string" : "number"})`
}

// Names the kind and the size of what came, never the value: values may be secret, and long.
const actual = (u: unknown): string => {
  if (u === null) return "null"
  if (Array.isArray(u)) return `Array of ${u.length}`
  switch (typeof u) {
    case "number":
      return Number.isInteger(u) ? "an integer" : Number.isFinite(u) ? "a fraction" : String(u)
    case "string":
      return u.isWellFormed() ? "a string" : "a string with a lone surrogate"
    case "object":
      return ArrayBuffer.isView(u) && "length" in u ? `${u.constructor.name} of ${u.length}` : "an object"
    case "undefined":
      return "undefined"
    default:
      return `a ${typeof u}`
  }
}

/**
 * Why a value is not a tensor of this dtype and shape.
 *
 * @internal
 */
export const mismatch = (spec: Spec, u: unknown): string => {
  const wanted = expected(spec)
  const got = actual(u)
  // The right kind and size, so one of its entries is wrong, or the value of a scalar.
  const isInteger = got === "an integer" && spec.dtype in integers || got === "a bigint" && spec.dtype in bigints
  const close = spec.shape.length === 0
    ? isInteger ? " out of range" : ""
    : wanted.includes(` ${got}`)
    ? " holding something else"
    : ""
  return `expected ${wanted}, got ${got}${close}`
}

// -----------------------------------------------------------------------------
// schemas
// -----------------------------------------------------------------------------

/**
 * The bytes of a typed array, without a copy.
 *
 * @internal
 */
export const bytesOf = (array: TypedArray): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength)

const sameLink = <T>(schema: Schema.Codec<T>): SchemaAST.Link =>
  Schema.link<T>()(schema, { decode: SchemaGetter.passthrough(), encode: SchemaGetter.passthrough() })

const scalarSchema = (dtype: DType) => {
  const integer = integers[dtype]
  if (integer !== undefined) return Schema.Int.check(Schema.isBetween({ minimum: integer[0], maximum: integer[1] }))
  const bigint = bigints[dtype]
  if (bigint !== undefined) {
    return Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: bigint[0], maximum: bigint[1] }))
  }
  return dtype === "bool" ? Schema.Boolean : dtype === "string" ? Schema.String : Schema.Number
}

// Nested in other schemas a tensor travels as its bytes (base64 in JSON), a scalar or strings as themselves.
const toCodec = ({ dtype, shape }: Spec): SchemaAST.Link => {
  if (shape.length === 0) {
    return dtype === "float32"
      ? Schema.link<number>()(Schema.Number, {
        decode: SchemaGetter.passthrough(),
        encode: SchemaGetter.transform(Math.fround)
      })
      : sameLink<unknown>(scalarSchema(dtype))
  }
  if (dtype === "string") return sameLink(Schema.Array(Schema.String))
  const { bytes, view } = storages[dtype]
  return Schema.link<TypedArray>()(Schema.Uint8Array, {
    decode: SchemaGetter.transformEffect((encoded, options) =>
      encoded.byteLength % bytes === 0
        // A copy of its own: aligned, and not holding on to the frame it came in.
        ? Effect.succeed(view(new Uint8Array(encoded).buffer, 0, encoded.byteLength / bytes))
        : Effect.fail(new SchemaIssue.InvalidValue({ expected: `a multiple of ${bytes} bytes` }, encoded, options))
    ),
    encode: SchemaGetter.transform(bytesOf)
  })
}

// Generated entries: float32 from random bits, since nearly all float64 are 0 or infinite as float32.
const arbitraryEntry = (dtype: DType): Schema.Codec<unknown> => scalarSchema(dtype === "float32" ? "int32" : dtype)

const fromEntries = (dtype: DType, entries: ReadonlyArray<unknown>): ReadonlyArray<unknown> | TypedArray => {
  switch (dtype) {
    case "string":
      return entries
    case "bigint64":
      return BigInt64Array.from(entries, (entry) => entry as bigint)
    case "biguint64":
      return BigUint64Array.from(entries, (entry) => entry as bigint)
    case "float32":
      return new Float32Array(Int32Array.from(entries, Number).buffer)
    default: {
      const array = storages[dtype].make(entries.length)
      entries.forEach((entry, i) => array[i] = Number(entry))
      return array
    }
  }
}

const toCodecArbitrary = ({ dtype, shape }: Spec): SchemaAST.Link => {
  const encode = SchemaGetter.forbiddenEncoding
  const size = sizeOf(shape)
  return shape.length === 0
    ? Schema.link<unknown>()(arbitraryEntry(dtype), {
      decode: SchemaGetter.transform((entry) => dtype === "bool" ? entry : fromEntries(dtype, [entry])[0]),
      encode
    })
    : Schema.link<unknown>()(Schema.Array(arbitraryEntry(dtype)).check(Schema.isBetweenLength(size, size)), {
      decode: SchemaGetter.transform((entries) => fromEntries(dtype, entries)),
      encode
    })
}

const declaration = (spec: Spec): SchemaAST.Declaration => {
  const matches = matcher(spec)
  return Schema.declareConstructor<unknown>()(
    [],
    () => (u, _ast, options) =>
      matches(u)
        ? Effect.succeed(u)
        : Effect.fail(new SchemaIssue.InvalidValue({ message: mismatch(spec, u) }, u, options)),
    {
      expected: expected(spec),
      representation: { id: TypeId, payload: { dtype: spec.dtype, shape: spec.shape } },
      toCodec: () => toCodec(spec),
      toCodecArbitrary: () => toCodecArbitrary(spec),
      [TypeId]: spec
    }
  ).ast
}

/**
 * Makes the tensor schema of a dtype that is known only at run time.
 *
 * **Details**
 *
 * Throws `ShapeInvalid` when an axis is not a non-negative integer or the entries are too many to address.
 *
 * **Example** (Choosing the dtype at run time)
 *
 * ```ts import.meta.vitest
 * import { Tensor } from "effect-feeder"
 *
 * const Pixels = Tensor.make("uint8", [2, 2])
 *
 * Pixels.make(new Uint8Array([1, 2, 3, 4])).length // => 4
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <D extends DType, const Shape extends ReadonlyArray<number>>(
  dtype: D,
  shape: Shape
): Tensor<D, Shape> => {
  checkShape(dtype, shape)
  return Schema.make<Tensor<D, Shape>>(declaration({ dtype, shape }), { dtype, shape })
}

const of = <D extends DType>(dtype: D): Constructor<D> => (shape) => make(dtype, shape)

/**
 * Reads dtype and shape back from a schema's AST, also after `annotate` and `check`; `undefined` when it is not a
 * tensor.
 *
 * **Example** (Recovering the shape of a field)
 *
 * ```ts import.meta.vitest
 * import { Schema } from "effect"
 * import { Tensor } from "effect-feeder"
 *
 * const Image = Tensor.float32([28, 28]).annotate({ title: "image" })
 *
 * Tensor.fromAST(Image.ast) // => { dtype: "float32", shape: [28, 28] }
 * Tensor.fromAST(Schema.Number.ast) // => undefined
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const fromAST = (ast: SchemaAST.AST): Spec | undefined =>
  ast._tag === "Declaration" ? ast.annotations?.[TypeId] : undefined

/**
 * Whether a schema is a tensor schema, so that its field is one typed array in a stacked batch. A tensor behind
 * `Schema.optional`, a brand or a transformation is not one any more.
 *
 * @category guards
 * @since 0.1.0
 */
export const isTensor = (schema: Schema.Constraint): schema is Tensor<DType> =>
  schema.ast.encoding === undefined && fromAST(schema.ast) !== undefined && "dtype" in schema && "shape" in schema

/**
 * 8-bit integers.
 *
 * @category constructors
 * @since 0.1.0
 */
export const int8: Constructor<"int8"> = of("int8")

/**
 * 8-bit integers without a sign.
 *
 * @category constructors
 * @since 0.1.0
 */
export const uint8: Constructor<"uint8"> = of("uint8")

/**
 * 16-bit integers.
 *
 * @category constructors
 * @since 0.1.0
 */
export const int16: Constructor<"int16"> = of("int16")

/**
 * 16-bit integers without a sign.
 *
 * @category constructors
 * @since 0.1.0
 */
export const uint16: Constructor<"uint16"> = of("uint16")

/**
 * 32-bit integers.
 *
 * **Gotchas**
 *
 * A scalar `-0` is an integer; it arrives as `0`.
 *
 * **Example** (A label)
 *
 * ```ts import.meta.vitest
 * import { Schema } from "effect"
 * import { Tensor } from "effect-feeder"
 *
 * const Label = Tensor.int32([])
 *
 * Schema.is(Label)(7) // => true
 * Schema.is(Label)(2 ** 31) // => false
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const int32: Constructor<"int32"> = of("int32")

/**
 * 32-bit integers without a sign.
 *
 * @category constructors
 * @since 0.1.0
 */
export const uint32: Constructor<"uint32"> = of("uint32")

/**
 * 32-bit floating point numbers, NaN and the infinities included.
 *
 * **Gotchas**
 *
 * A scalar may be any number; it is rounded to the nearest float32 when it is stacked or sent, not before.
 *
 * **Example** (An image in a struct)
 *
 * ```ts import.meta.vitest
 * import { Schema } from "effect"
 * import { Tensor } from "effect-feeder"
 *
 * const Digit = Schema.Struct({ image: Tensor.float32([28, 28]), label: Tensor.int32([]) })
 *
 * const digit = Digit.make({ image: new Float32Array(784), label: 7 })
 *
 * digit.image.length // => 784
 * Schema.is(Digit)({ image: new Float64Array(784), label: 7 }) // => false
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const float32: Constructor<"float32"> = of("float32")

/**
 * 64-bit floating point numbers, NaN and the infinities included.
 *
 * @category constructors
 * @since 0.1.0
 */
export const float64: Constructor<"float64"> = of("float64")

/**
 * 64-bit integers, as bigints.
 *
 * @category constructors
 * @since 0.1.0
 */
export const bigint64: Constructor<"bigint64"> = of("bigint64")

/**
 * 64-bit integers without a sign, as bigints.
 *
 * @category constructors
 * @since 0.1.0
 */
export const biguint64: Constructor<"biguint64"> = of("biguint64")

/**
 * Booleans: a scalar is a boolean, anything larger a `Uint8Array` of 0 and 1.
 *
 * @category constructors
 * @since 0.1.0
 */
export const bool: Constructor<"bool"> = of("bool")

/**
 * Strings. They must be well formed: UTF-8 has no way to write a lone surrogate.
 *
 * @category constructors
 * @since 0.1.0
 */
export const string: Constructor<"string"> = of("string")
