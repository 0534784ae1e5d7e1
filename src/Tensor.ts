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
import * as SchemaIssue from "effect/SchemaIssue"
import { toCodec, toCodecArbitrary } from "./internal/tensorLinks.ts"
import * as storage from "./internal/tensorStorage.ts"

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
// getters
// -----------------------------------------------------------------------------

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
export const sizeOf = (shape: ReadonlyArray<number>): number => storage.sizeOf(shape)

// -----------------------------------------------------------------------------
// schemas
// -----------------------------------------------------------------------------

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

const declaration = (spec: Spec): SchemaAST.Declaration => {
  const matches = storage.matcher(spec)
  return Schema.declareConstructor<unknown>()(
    [],
    () => (u, _ast, options) =>
      matches(u)
        ? Effect.succeed(u)
        : Effect.fail(new SchemaIssue.InvalidValue({ message: storage.mismatch(spec, u) }, u, options)),
    {
      expected: storage.expected(spec),
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
