/** What a tensor is written as within other schemas, and what it is generated from. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"
import type { DType, Spec } from "../Tensor.ts"
import { bigints, bytesOf, integers, sizeOf, storages, type TypedArray } from "./tensorStorage.ts"

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

/** Nested in other schemas a tensor travels as its bytes (base64 in JSON), a scalar or strings as themselves. */
export const toCodec = ({ dtype, shape }: Spec): SchemaAST.Link => {
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

/** What a tensor is generated from. */
export const toCodecArbitrary = ({ dtype, shape }: Spec): SchemaAST.Link => {
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
