/** What every kind of column can do: the contract between the layout of a Schema and the bytes of a batch. */
import type { Column } from "../BatchCodec.ts"
import type { Spec } from "../Tensor.ts"
import { align, cutWords, viewOf } from "./batchBuffers.ts"
import { atPath, ElementInvalid, refuse } from "./batchErrors.ts"
import { keep } from "./kept.ts"
import type { StoredDType, TypedArray } from "./tensorStorage.ts"

/** One body of a column, in parts that follow each other. */
export type Body = ReadonlyArray<Uint8Array>

/** The values of one field as they lie in a batch. It is never changed, and shares its memory with its slices. */
export interface Stored {
  /** What a user sees of it. */
  readonly column: Column
  readonly length: number
  /** Made when they are first asked for. */
  readonly values: ReadonlyArray<unknown>
  /** Its bodies in bytes, with their padding. */
  readonly byteLength: number
  slice(from: number, to: number): Stored
  /** One of all these, which are of the same kind. */
  join(all: ReadonlyArray<this>): Stored
  write(bodies: Array<Body>): void
}

/** How the values of a field become a column. What it is given as a column is one that it has made. */
export interface Kind {
  /** What the fingerprint says of it. */
  readonly print: { readonly kind: string; readonly [fact: string]: unknown }
  /** How many bodies a column has. */
  readonly bodies: number
  /** The fewest bytes that a value takes. */
  readonly least: number
  /** Bytes of a column of so many values, with padding, if that is all it depends on. */
  readonly sizeOf: ((length: number) => number) | undefined
  /** Dtype and shape, if the column is that of a tensor. */
  readonly tensor: Spec | undefined
  /** Whether a value is one of the field's: it fits the layout, and passes the checks of the Schema. */
  readonly accepts: (u: unknown) => boolean
  /** Reports which values of a column do not pass the checks of the Schema, if there are any; one may be reported twice. */
  readonly check: ((column: Stored, report: (index: number) => void) => void) | undefined
  /** What is declared of a value that is accepted: itself if that is all of it. Absent where nothing can be left out. */
  readonly trim: ((u: unknown) => unknown) | undefined
  /** Throws `ElementInvalid` when a value does not fit the layout. */
  readonly gather: (values: ReadonlyArray<unknown>) => Stored
  /** Reads what `write` wrote; throws `MalformedBatch` on all else, before anything is allocated by what it says. */
  readonly read: (source: Source, length: number) => Stored
}

/** What stands for a value where an optional field is absent. */
export const absent = Symbol("absent")

/** The bodies of a batch that was received, one after the other. */
export class Source {
  readonly bytes: Uint8Array
  readonly maxStringBytes: number
  /** Where the body begins in the bytes that is to be read next. */
  at = 0
  readonly #starts: ReadonlyArray<number>
  readonly #sizes: ReadonlyArray<number>
  #next = 0

  constructor(
    bytes: Uint8Array,
    starts: ReadonlyArray<number>,
    sizes: ReadonlyArray<number>,
    maxStringBytes: number
  ) {
    this.bytes = bytes
    this.maxStringBytes = maxStringBytes
    this.#starts = starts
    this.#sizes = sizes
  }
  /** Goes on to the next body. Its size. */
  next(): number {
    this.at = this.#starts[this.#next]!
    return this.#sizes[this.#next++]!
  }
  /** The size of the next body. */
  peek(): number {
    return this.#sizes[this.#next]!
  }
  /** Bytes of this body from one of its bytes up to another, without a copy. */
  cut(from: number, to: number): Uint8Array {
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + this.at + from, to - from)
  }
  /** The beginning of this body as entries, whose size was compared with that of the body. A view where it is aligned. */
  view(dtype: StoredDType, entries: number): TypedArray {
    return viewOf(this.bytes, this.at, dtype, entries)
  }
}

keep(new Source(new Uint8Array(0), [], [], Infinity))

/** Size of a body in bytes, without padding. */
export const sizeOfBody = (body: Body): number => {
  let size = 0
  for (let i = 0; i < body.length; i++) size += body[i]!.byteLength
  return size
}

/** Bytes of offsets of so many values, with padding. */
export const sizeOfOffsets = (length: number): number => align(4 * (length + 1))

/** Throws `ElementInvalid`. */
export const misfit = (path: string, issue: string): never => {
  throw new ElementInvalid({ issue: atPath([path], issue) })
}

/** Offsets start at 0, ascend, and end with the size of what they cut. Throws `MalformedBatch`. */
export const checkOffsets = (
  path: string,
  offsets: Uint32Array,
  size: number,
  what: "text" | "bytes" | "entries",
  maxStringBytes = Infinity
): void => {
  const entries = offsets.length - 1
  if (offsets[0] !== 0 || offsets[entries] !== size) {
    refuse(path, `offsets do not span the ${what === "text" ? `${size} bytes of text` : `${size} ${what}`}`)
  }
  let start = 0
  for (let i = 1; i <= entries; i++) {
    const end = offsets[i]!
    if (end < start) refuse(path, `offset ${i} is smaller than the one before`)
    if (end - start > maxStringBytes) {
      refuse(path, `a string takes ${end - start} bytes, more than the ${maxStringBytes} allowed`)
    }
    start = end
  }
}

/** Offsets that start at 0. */
export const rebase = (offsets: Uint32Array): Uint32Array => {
  const start = offsets[0]!
  return start === 0 ? offsets : offsets.map((offset) => offset - start)
}

/** The offsets of columns that follow each other. */
export const joinOffsets = (all: ReadonlyArray<Uint32Array>): Uint32Array => {
  const joined = cutWords(all.reduce((sum, offsets) => sum + offsets.length - 1, 1))
  let at = 1
  let end = 0
  for (const offsets of all) {
    const { length } = offsets
    const shift = end - offsets[0]!
    // None of them waits for the one before.
    for (let i = 1; i < length; i++) joined[at + i - 1] = offsets[i]! + shift
    at += length - 1
    end = offsets[length - 1]! + shift
  }
  return joined
}

/** Whether all values of a column pass the checks of the Schema. */
export const isChecked = ({ check }: Kind, column: Stored): boolean => {
  let passes = true
  check?.(column, () => {
    passes = false
  })
  return passes
}
