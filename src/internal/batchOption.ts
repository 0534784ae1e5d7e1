/** Columns of what may be missing: a bit for each value, and the column of those that are there. */
import { align, arrayOf, cutBytes } from "./batchBuffers.ts"
import { refuse } from "./batchErrors.ts"
import { absent, type Body, type Kind, type Stored } from "./batchKind.ts"

/** What there is where no value is. */
export type Hole = "absent" | "undefined" | "null"

const holes: { readonly [H in Hole]: unknown } = { absent, undefined, null: null }

const bytesFor = (length: number): number => Math.ceil(length / 8)

class OptionColumn implements Stored {
  readonly _tag = "Values"
  readonly length: number
  readonly #hole: unknown
  readonly #bits: Uint8Array
  /** Which bit is that of the first value. */
  readonly #from: number
  readonly child: Stored
  #values: ReadonlyArray<unknown> | undefined

  constructor(hole: unknown, length: number, bits: Uint8Array, from: number, child: Stored) {
    this.#hole = hole
    this.length = length
    this.#bits = bits
    this.#from = from
    this.child = child
  }
  get column(): this {
    return this
  }
  get values(): ReadonlyArray<unknown> {
    return this.#values ??= this.#spread()
  }
  get byteLength(): number {
    return align(bytesFor(this.length)) + this.child.byteLength
  }
  slice(from: number, to: number): OptionColumn {
    const start = this.#from + from
    const before = count(this.#bits, this.#from, start)
    const child = this.child.slice(before, before + count(this.#bits, start, this.#from + to))
    return new OptionColumn(this.#hole, to - from, this.#bits, start, child)
  }
  join(all: ReadonlyArray<OptionColumn>): OptionColumn {
    const length = all.reduce((sum, column) => sum + column.length, 0)
    const bits = cutBytes(bytesFor(length))
    let at = 0
    for (const column of all) {
      copyBits(column.#bits, column.#from, column.length, bits, at)
      at += column.length
    }
    return new OptionColumn(this.#hole, length, bits, 0, this.child.join(all.map((column) => column.child)))
  }
  write(bodies: Array<Body>): void {
    bodies.push([this.#packed()])
    this.child.write(bodies)
  }
  /** Where the values are that are there. */
  places(): Uint32Array {
    const places = new Uint32Array(this.child.length)
    let next = 0
    for (let i = 0; i < this.length; i++) if (isSet(this.#bits, this.#from + i)) places[next++] = i
    return places
  }
  /** The bits of its own values only. */
  #packed(): Uint8Array {
    const size = bytesFor(this.length)
    if (this.#from === 0 && this.length % 8 === 0) return this.#bits.subarray(0, size)
    const bits = cutBytes(size)
    copyBits(this.#bits, this.#from, this.length, bits, 0)
    return bits
  }
  #spread(): ReadonlyArray<unknown> {
    const values = arrayOf<unknown>(this.length)
    const there = this.child.values
    let next = 0
    for (let i = 0; i < values.length; i++) {
      values[i] = isSet(this.#bits, this.#from + i) ? there[next++] : this.#hole
    }
    return values
  }
}

const isSet = (bits: Uint8Array, i: number): boolean => (bits[i >> 3]! >> (i & 7) & 1) === 1

const set = (bits: Uint8Array, i: number): void => {
  bits[i >> 3]! |= 1 << (i & 7)
}

/** How many bits are set. */
const count = (bits: Uint8Array, from: number, to: number): number => {
  let sum = 0
  for (let i = from; i < to; i++) sum += bits[i >> 3]! >> (i & 7) & 1
  return sum
}

const copyBits = (bits: Uint8Array, from: number, length: number, to: Uint8Array, at: number): void => {
  for (let i = 0; i < length; i++) if (isSet(bits, from + i)) set(to, at + i)
}

/** The kind of what may be missing in one way. */
export const optionKind = (path: string, hole: Hole, child: Kind): Kind => {
  const missing = holes[hole]
  const { accepts, check, trim } = child
  return {
    print: { kind: "option", none: hole, of: child.print },
    bodies: 1 + child.bodies,
    least: 0,
    sizeOf: undefined,
    tensor: undefined,
    accepts: (u) => u === missing || accepts(u),
    check: check && ((column, report) => {
      const option = column as OptionColumn // of this kind
      let places: Uint32Array | undefined
      check(option.child, (i) => report((places ??= option.places())[i]!))
    }),
    trim: trim && ((u) => u === missing ? u : trim(u)),
    gather: (values) => {
      const bits = cutBytes(bytesFor(values.length))
      const there: Array<unknown> = []
      for (let i = 0; i < values.length; i++) {
        if (values[i] === missing) continue
        set(bits, i)
        there.push(values[i])
      }
      return new OptionColumn(missing, values.length, bits, 0, child.gather(there))
    },
    read: (source, length) => {
      const size = source.next()
      if (size !== bytesFor(length)) refuse(path, `expected ${length} bits, got ${size} bytes`)
      const bits = source.cut(0, size)
      if (length % 8 !== 0 && bits[size - 1]! >> length % 8 !== 0) {
        refuse(path, "the bits after the last one are not zero")
      }
      return new OptionColumn(missing, length, bits, 0, child.read(source, count(bits, 0, length)))
    }
  }
}
