/** How tensors lie in typed arrays, and what is one: a row per dtype, a predicate and its explanation. */
import type { Arrays, DType, Spec } from "../Tensor.ts"

/** The dtypes that have a typed array. */
export type StoredDType = Exclude<DType, "string">

export type TypedArray = Arrays[StoredDType]

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

/** How the entries of a dtype are stored; strings are not stored in a typed array. */
export const storages: { readonly [D in StoredDType]: Storage } = {
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

/** The range of each dtype of integers that are numbers. */
export const integers: { readonly [D in DType]?: readonly [minimum: number, maximum: number] } = {
  int8: [-128, 127],
  uint8: [0, 255],
  int16: [-32768, 32767],
  uint16: [0, 65535],
  int32: [-2147483648, 2147483647],
  uint32: [0, 4294967295]
}

/** The range of each dtype of integers that are bigints. */
export const bigints: { readonly [D in DType]?: readonly [minimum: bigint, maximum: bigint] } = {
  bigint64: [-(2n ** 63n), 2n ** 63n - 1n],
  biguint64: [0n, 2n ** 64n - 1n]
}

/** The bytes of a typed array, without a copy. */
export const bytesOf = (array: TypedArray): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength)

/** How many entries a tensor of this shape has. */
export const sizeOf = (shape: ReadonlyArray<number>): number => shape.reduce((size, axis) => size * axis, 1)

const isBit = (n: number): boolean => n === 0 || n === 1

/** The predicate of one tensor value, compiled once. */
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

/**
 * Puts values into a typed array, each behind the one before. Gives the index of the first that is no tensor of the dtype
 * and shape, or -1.
 */
export const packerOf = (spec: Spec): (values: ReadonlyArray<unknown>, data: TypedArray) => number => {
  const { dtype, shape } = spec
  if (shape.length > 0) return packTensors(matcher(spec), sizeOf(shape))
  if (dtype in integers) return packIntegers
  const bigint = bigints[dtype]
  if (bigint !== undefined) return packBigints(...bigint)
  return dtype === "bool" ? packBooleans : packNumbers
}

// One loop for each kind, since one for all is called with everything and so never fast. Assigning to an entry of a
// typed array of unknown dtype takes what the kind proves.

const packTensors =
  (matches: (u: unknown) => boolean, width: number) => (values: ReadonlyArray<unknown>, data: TypedArray): number => {
    for (let i = 0; i < values.length; i++) {
      const value = values[i]
      if (!matches(value)) return i
      data.set(value as never, i * width)
    }
    return -1
  }

// What an array of integers does not hold as it is, it does not give back.
const packIntegers = (values: ReadonlyArray<unknown>, data: TypedArray): number => {
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (typeof value !== "number") return i
    data[i] = value
    if (data[i] !== value) return i
  }
  return -1
}

const packBigints =
  (minimum: bigint, maximum: bigint) => (values: ReadonlyArray<unknown>, data: TypedArray): number => {
    for (let i = 0; i < values.length; i++) {
      const value = values[i]
      if (!(typeof value === "bigint" && value >= minimum && value <= maximum)) return i
      data[i] = value as never
    }
    return -1
  }

const packNumbers = (values: ReadonlyArray<unknown>, data: TypedArray): number => {
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (typeof value !== "number") return i
    data[i] = value
  }
  return -1
}

const packBooleans = (values: ReadonlyArray<unknown>, data: TypedArray): number => {
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (typeof value !== "boolean") return i
    data[i] = value ? 1 : 0
  }
  return -1
}

/** What a tensor of this dtype and shape is, in words. */
export const expected = ({ dtype, shape }: Spec): string => {
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

/** Why a value is not a tensor of this dtype and shape. */
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
