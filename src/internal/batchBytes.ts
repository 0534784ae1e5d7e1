/** Columns of byte strings: offsets, and the bytes they cut. */
import { align, arrayOf, cutWords } from "./batchBuffers.ts"
import { refuse } from "./batchErrors.ts"
import {
  type Body,
  checkOffsets,
  joinOffsets,
  type Kind,
  misfit,
  rebase,
  sizeOfOffsets,
  type Stored
} from "./batchKind.ts"
import { bytesOf } from "./tensorStorage.ts"

class BytesColumn implements Stored {
  readonly _tag = "Values"
  readonly #offsets: Uint32Array
  /** What the offsets cut, unless there are only the values. */
  readonly #data: Uint8Array | undefined
  #values: ReadonlyArray<Uint8Array> | undefined

  constructor(offsets: Uint32Array, data: Uint8Array | undefined, values: ReadonlyArray<Uint8Array> | undefined) {
    this.#offsets = offsets
    this.#data = data
    this.#values = values
  }
  get column(): this {
    return this
  }
  get length(): number {
    return this.#offsets.length - 1
  }
  get values(): ReadonlyArray<Uint8Array> {
    return this.#values ??= cut(this.#data!, this.#offsets) // it has one of both
  }
  get byteLength(): number {
    return sizeOfOffsets(this.length) + align(this.#offsets.at(-1)! - this.#offsets[0]!)
  }
  slice(from: number, to: number): BytesColumn {
    return new BytesColumn(this.#offsets.subarray(from, to + 1), this.#data, this.#values?.slice(from, to))
  }
  join(all: ReadonlyArray<BytesColumn>): BytesColumn {
    return new BytesColumn(
      joinOffsets(all.map((column) => column.#offsets)),
      undefined,
      all.flatMap((column) => column.values)
    )
  }
  write(bodies: Array<Body>): void {
    bodies.push([bytesOf(rebase(this.#offsets))])
    const data = this.#data?.subarray(this.#offsets[0], this.#offsets.at(-1))
    bodies.push(data === undefined ? this.#values! : [data])
  }
}

const cut = (data: Uint8Array, offsets: Uint32Array): ReadonlyArray<Uint8Array> => {
  const values = arrayOf<Uint8Array>(offsets.length - 1)
  const { buffer, byteOffset } = data
  for (let i = 0; i < values.length; i++) {
    const start = offsets[i]!
    values[i] = new Uint8Array(buffer, byteOffset + start, offsets[i + 1]! - start)
  }
  return values
}

const isBytes = (u: unknown): u is Uint8Array => u instanceof Uint8Array

/** The kind of byte strings of any length. */
export const bytesKind = (path: string): Kind => ({
  print: { kind: "bytes" },
  bodies: 2,
  least: 4,
  sizeOf: undefined,
  tensor: undefined,
  accepts: isBytes,
  check: undefined,
  trim: undefined,
  gather: (values) => {
    const offsets = cutWords(values.length + 1)
    let end = 0
    for (let i = 0; i < values.length; i++) {
      const value = values[i]
      if (!isBytes(value)) return misfit(path, "expected a Uint8Array")
      end += value.byteLength
      offsets[i + 1] = end
    }
    if (end >= 2 ** 32) return misfit(path, `${end} bytes are more than a column can hold; send fewer elements`)
    return new BytesColumn(offsets, undefined, values as ReadonlyArray<Uint8Array>) // each was looked at
  },
  read: (source, length) => {
    const size = source.next()
    if (size !== 4 * (length + 1)) refuse(path, `expected ${length + 1} offsets, got ${size} bytes`)
    const offsets = source.view("uint32", length + 1) as Uint32Array // by its dtype
    const bytes = source.next()
    checkOffsets(path, offsets, bytes, "bytes")
    return new BytesColumn(offsets, source.cut(0, bytes), undefined)
  }
})
