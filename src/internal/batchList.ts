/** Columns of arrays: offsets, and the column of all their entries. */
import { arrayOf, cutWords } from "./batchBuffers.ts"
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

class ListColumn implements Stored {
  readonly _tag = "Values"
  readonly #offsets: Uint32Array
  /** What the offsets cut. */
  readonly #child: Stored
  #values: ReadonlyArray<ReadonlyArray<unknown>> | undefined

  constructor(offsets: Uint32Array, child: Stored) {
    this.#offsets = offsets
    this.#child = child
  }
  get column(): this {
    return this
  }
  get length(): number {
    return this.#offsets.length - 1
  }
  get values(): ReadonlyArray<ReadonlyArray<unknown>> {
    return this.#values ??= cut(rebase(this.#offsets), this.entries.values)
  }
  get byteLength(): number {
    return sizeOfOffsets(this.length) + this.entries.byteLength
  }
  slice(from: number, to: number): ListColumn {
    return new ListColumn(this.#offsets.subarray(from, to + 1), this.#child)
  }
  join(all: ReadonlyArray<ListColumn>): ListColumn {
    return new ListColumn(
      joinOffsets(all.map((column) => column.#offsets)),
      this.#child.join(all.map((column) => column.entries))
    )
  }
  write(bodies: Array<Body>): void {
    bodies.push([bytesOf(rebase(this.#offsets))])
    this.entries.write(bodies)
  }
  /** How many entries an array has. */
  countAt(i: number): number {
    return this.#offsets[i + 1]! - this.#offsets[i]!
  }
  /** Which array each entry is in. */
  places(): Uint32Array {
    const places = new Uint32Array(this.entries.length)
    let next = 0
    for (let i = 0; i < this.length; i++) {
      const end = next + this.countAt(i)
      places.fill(i, next, end)
      next = end
    }
    return places
  }
  /** The entries of its own arrays only. */
  get entries(): Stored {
    const [start, end] = [this.#offsets[0]!, this.#offsets.at(-1)!]
    return end - start === this.#child.length ? this.#child : this.#child.slice(start, end)
  }
}

const cut = (offsets: Uint32Array, entries: ReadonlyArray<unknown>): ReadonlyArray<ReadonlyArray<unknown>> => {
  const values = arrayOf<ReadonlyArray<unknown>>(offsets.length - 1)
  for (let i = 0; i < values.length; i++) values[i] = entries.slice(offsets[i], offsets[i + 1])
  return values
}

/**
 * The kind of arrays of at least so many entries. Each entry takes at least a byte, so that what is received bounds what is
 * made of it; an array of others has no column of its own.
 */
export const listKind = (path: string, child: Kind, fewest: number): Kind | undefined => {
  const { accepts, check, trim } = child
  if (child.least < 1) return undefined
  return {
    print: { kind: "list", of: child.print },
    bodies: 1 + child.bodies,
    least: 4,
    sizeOf: undefined,
    tensor: undefined,
    accepts: (u) => Array.isArray(u) && u.length >= fewest && every(u, accepts),
    check: check === undefined && fewest === 0 ? undefined : (column, report) => {
      const list = column as ListColumn // of this kind
      let places: Uint32Array | undefined
      check?.(list.entries, (i) => report((places ??= list.places())[i]!))
      for (let i = 0; i < list.length; i++) if (list.countAt(i) < fewest) report(i)
    },
    trim: trim && ((u) => trimEntries(u as ReadonlyArray<unknown>, trim)), // it was accepted
    gather: (values) => {
      const offsets = cutWords(values.length + 1)
      let end = 0
      for (let i = 0; i < values.length; i++) {
        const value = values[i]
        if (!Array.isArray(value)) return misfit(path, "expected an array")
        end += value.length
        offsets[i + 1] = end
      }
      return new ListColumn(offsets, child.gather(concat(values as ReadonlyArray<ReadonlyArray<unknown>>))) // as looked at
    },
    read: (source, length) => {
      const size = source.next()
      if (size !== 4 * (length + 1)) refuse(path, `expected ${length + 1} offsets, got ${size} bytes`)
      const offsets = source.view("uint32", length + 1) as Uint32Array // by its dtype
      const entries = offsets[length]!
      checkOffsets(path, offsets, entries, "entries")
      return new ListColumn(offsets, child.read(source, entries))
    }
  }
}

// Twice as fast as a loop, and, other than `flat`, leaves holes where they are. A call takes only so many arguments.
const concat = (arrays: ReadonlyArray<ReadonlyArray<unknown>>): ReadonlyArray<unknown> => {
  const none: ReadonlyArray<unknown> = []
  if (arrays.length <= 1024) return none.concat(...arrays)
  const groups: Array<ReadonlyArray<unknown>> = []
  for (let i = 0; i < arrays.length; i += 1024) groups.push(none.concat(...arrays.slice(i, i + 1024)))
  return concat(groups)
}

// Not `every`, which passes over what is missing in an array with holes.
const every = (values: ReadonlyArray<unknown>, accept: (u: unknown) => boolean): boolean => {
  for (let i = 0; i < values.length; i++) if (!accept(values[i])) return false
  return true
}

const trimEntries = (values: ReadonlyArray<unknown>, trim: (u: unknown) => unknown): ReadonlyArray<unknown> => {
  const trimmed = values.map(trim)
  return trimmed.every((value, i) => value === values[i]) ? values : trimmed
}
