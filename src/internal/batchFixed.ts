/** Columns of entries of one size: numbers, booleans and tensors. */
import type * as Tensor from "../Tensor.ts"
import { align, arrayOf, cutBuffer } from "./batchBuffers.ts"
import { atPath, ElementInvalid, refuse } from "./batchErrors.ts"
import type { Body, Kind, Stored } from "./batchKind.ts"
import {
  bytesOf,
  matcher,
  mismatch,
  packerOf,
  sizeOf,
  storages,
  type StoredDType,
  type TypedArray
} from "./tensorStorage.ts"

/** What the entries of a column are. */
interface Entries {
  readonly dtype: StoredDType
  /** Entries per value. */
  readonly width: number
  readonly isScalar: boolean
}

/** Tensors of so many bytes are written from where they are; below that, copying them costs less than a further write. */
export const shareFrom = 2048

export class FixedColumn implements Stored {
  readonly _tag = "Fixed"
  readonly length: number
  readonly #entries: Entries
  /** Arrays that follow each other, while the entries are not in one. They are the values if those are large. */
  #parts: ReadonlyArray<TypedArray> | undefined
  #data: TypedArray | undefined
  #values: ReadonlyArray<unknown> | undefined

  constructor(
    entries: Entries,
    length: number,
    data: TypedArray | undefined,
    parts?: ReadonlyArray<TypedArray>,
    values?: ReadonlyArray<unknown>
  ) {
    this.#entries = entries
    this.length = length
    this.#data = data
    this.#parts = parts
    this.#values = values
  }
  get column(): this {
    return this
  }
  /** All entries in one array; copied into it when they were not. */
  get data(): TypedArray {
    if (this.#data === undefined) {
      const { dtype, width } = this.#entries
      const data = cutBuffer(dtype, this.length * width)
      let at = 0
      for (const part of this.#parts!) {
        data.set(part as never, at) // of the same dtype
        at += part.length
      }
      this.#data = data
      this.#parts = undefined
    }
    return this.#data
  }
  get values(): ReadonlyArray<unknown> {
    return this.#values ??= unpack(this.#entries, this.data, this.length)
  }
  get byteLength(): number {
    const { dtype, width } = this.#entries
    return align(this.length * width * storages[dtype].bytes)
  }
  slice(from: number, to: number): FixedColumn {
    const { width } = this.#entries
    if (this.#parts !== undefined && this.#parts === this.#values) {
      const parts = this.#parts.slice(from, to)
      return new FixedColumn(this.#entries, to - from, undefined, parts, parts)
    }
    return new FixedColumn(this.#entries, to - from, this.data.subarray(from * width, to * width))
  }
  join(all: ReadonlyArray<FixedColumn>): FixedColumn {
    const { dtype, width } = this.#entries
    const length = all.reduce((sum, column) => sum + column.length, 0)
    if (width * storages[dtype].bytes >= shareFrom) {
      const parts = all.flatMap((column) => column.values) as ReadonlyArray<TypedArray> // of tensors that large
      return new FixedColumn(this.#entries, length, undefined, parts, parts)
    }
    return new FixedColumn(this.#entries, length, undefined, all.flatMap((column) => column.#parts ?? column.#data!))
  }
  write(bodies: Array<Body>): void {
    bodies.push(this.#data === undefined ? this.#parts!.map(bytesOf) : [bytesOf(this.#data)])
  }
}

/** The values of a column, as views where they are tensors. */
const unpack = ({ dtype, isScalar, width }: Entries, data: TypedArray, length: number): ReadonlyArray<unknown> => {
  const values = arrayOf<unknown>(length)
  if (!isScalar) {
    const { bytes, view } = storages[dtype]
    const { buffer, byteOffset } = data
    for (let i = 0; i < length; i++) values[i] = view(buffer, byteOffset + i * width * bytes, width)
  } else if (dtype === "bool") {
    for (let i = 0; i < length; i++) values[i] = data[i] === 1
  } else {
    for (let i = 0; i < length; i++) values[i] = data[i]
  }
  return values
}

/** The values of tensors that lie behind each other, as views; not validated. */
export const viewsOf = (
  spec: Tensor.Spec & { readonly dtype: StoredDType },
  data: TypedArray,
  length: number
): ReadonlyArray<unknown> => unpack(entriesOf(spec), data, length)

/** Whether all bytes are 0 or 1. */
const areBits = (data: TypedArray): boolean => {
  for (let i = 0; i < data.length; i++) if (data[i]! > 1) return false
  return true
}

/** A column of these entries that are in one array already, if they are of the dtype and fit its range. */
export const ofArray = (spec: Tensor.Spec & { readonly dtype: StoredDType }, data: TypedArray, length: number) =>
  spec.dtype === "bool" && !areBits(data) ? undefined : new FixedColumn(entriesOf(spec), length, data)

const entriesOf = ({ dtype, shape }: Tensor.Spec & { readonly dtype: StoredDType }): Entries => ({
  dtype,
  width: sizeOf(shape),
  isScalar: shape.length === 0
})

/** The kind of a tensor, or of what is laid out as one. */
export const fixedKind = (
  path: string,
  spec: Tensor.Spec & { readonly dtype: StoredDType },
  print: Kind["print"],
  tensor: Tensor.Spec | undefined
): Kind => {
  const entries = entriesOf(spec)
  const { dtype, isScalar, width } = entries
  const { bytes } = storages[dtype]
  const size = width * bytes
  const matches = matcher(spec)
  const pack = packerOf(spec)
  const refuseAt = (value: unknown): never => {
    throw new ElementInvalid({ issue: atPath([path], mismatch(spec, value)) })
  }
  return {
    print,
    bodies: 1,
    least: size,
    sizeOf: (length) => align(length * size),
    tensor,
    accepts: matches,
    check: undefined,
    trim: undefined,
    gather: (values) => {
      const { length } = values
      if (!isScalar && size >= shareFrom) {
        for (let i = 0; i < length; i++) if (!matches(values[i])) refuseAt(values[i])
        const parts = values as ReadonlyArray<TypedArray> // the match proves that they are
        return new FixedColumn(entries, length, undefined, parts, parts)
      }
      const data = cutBuffer(dtype, length * width)
      const ill = pack(values, data)
      if (ill !== -1) refuseAt(values[ill])
      return new FixedColumn(entries, length, data)
    },
    read: (source, length) => {
      const bytes = source.next()
      const expected = length * size
      if (bytes !== expected) {
        refuse(path, `expected ${length * width} × ${dtype} in ${expected} bytes, got ${bytes} bytes`)
      }
      const data = source.view(dtype, length * width)
      if (dtype === "bool" && !areBits(data)) refuse(path, "a boolean is neither 0 nor 1")
      return new FixedColumn(entries, length, data)
    }
  }
}
