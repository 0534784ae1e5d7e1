/** Columns of literals and enums: the number of each in the list of all of them. */
import type * as SchemaAST from "effect/SchemaAST"
import { align, arrayOf, cutBuffer } from "./batchBuffers.ts"
import { refuse } from "./batchErrors.ts"
import { type Body, type Kind, misfit, type Stored } from "./batchKind.ts"
import { bytesOf, storages, type StoredDType, type TypedArray } from "./tensorStorage.ts"

type Literal = SchemaAST.LiteralValue

/** A literal with its type, since "1" is not 1. */
export const printLiteral = (literal: Literal | symbol): { readonly [type: string]: string } => ({
  [typeof literal]: String(literal)
})

/** All the literals of a column, in the order of their numbers. */
interface Members {
  readonly literals: ReadonlyArray<Literal>
  /** What the numbers are stored as; nothing is stored where there is only one literal. */
  readonly dtype: StoredDType | undefined
}

class LiteralColumn implements Stored {
  readonly _tag = "Values"
  readonly length: number
  readonly #members: Members
  readonly #codes: TypedArray | undefined
  #values: ReadonlyArray<Literal> | undefined

  constructor(members: Members, length: number, codes: TypedArray | undefined) {
    this.#members = members
    this.length = length
    this.#codes = codes
  }
  get column(): this {
    return this
  }
  get values(): ReadonlyArray<Literal> {
    return this.#values ??= name(this.#members, this.length, this.#codes)
  }
  get byteLength(): number {
    return this.#codes === undefined ? 0 : align(this.#codes.byteLength)
  }
  slice(from: number, to: number): LiteralColumn {
    return new LiteralColumn(this.#members, to - from, this.#codes?.subarray(from, to))
  }
  join(all: ReadonlyArray<LiteralColumn>): LiteralColumn {
    const { dtype } = this.#members
    const length = all.reduce((sum, column) => sum + column.length, 0)
    if (dtype === undefined) return new LiteralColumn(this.#members, length, undefined)
    const codes = cutBuffer(dtype, length)
    let at = 0
    for (const column of all) {
      codes.set(column.#codes as never, at) // of the same dtype
      at += column.length
    }
    return new LiteralColumn(this.#members, length, codes)
  }
  write(bodies: Array<Body>): void {
    if (this.#codes !== undefined) bodies.push([bytesOf(this.#codes)])
  }
}

const name = ({ literals }: Members, length: number, codes: TypedArray | undefined): ReadonlyArray<Literal> => {
  const values = arrayOf<Literal>(length)
  if (codes === undefined) return values.fill(literals[0]!)
  for (let i = 0; i < length; i++) values[i] = literals[Number(codes[i])]!
  return values
}

/** In an order that does not depend on that of their declaration. */
const ordered = (literals: ReadonlyArray<Literal>): ReadonlyArray<Literal> => {
  const printed = new Map(literals.map((literal) => [JSON.stringify(printLiteral(literal)), literal]))
  return [...printed.keys()].toSorted().map((text) => printed.get(text)!)
}

/** The kind of one of several literals. */
export const literalsKind = (path: string, unordered: ReadonlyArray<Literal>): Kind => {
  const literals = ordered(unordered)
  const count = literals.length
  const dtype = count === 1 ? undefined : count <= 256 ? "uint8" : count <= 65_536 ? "uint16" : "uint32"
  const members: Members = { literals, dtype }
  const bytes = dtype === undefined ? 0 : storages[dtype].bytes
  const codeOf = new Map<unknown, number>(literals.map((literal, code) => [literal, code]))
  const expected = count === 1 ? `the literal ${typeof literals[0]}` : `one of ${count} literals`
  return {
    print: { kind: "literals", of: literals.map(printLiteral) },
    bodies: dtype === undefined ? 0 : 1,
    least: bytes,
    sizeOf: (length) => align(length * bytes),
    tensor: undefined,
    accepts: count === 1 ? (u) => u === literals[0] : (u) => codeOf.has(u),
    check: undefined,
    trim: undefined,
    gather: (values) => {
      const codes = dtype === undefined ? undefined : cutBuffer(dtype, values.length)
      for (let i = 0; i < values.length; i++) {
        const code = codeOf.get(values[i])
        if (code === undefined) return misfit(path, `expected ${expected}`)
        if (codes !== undefined) codes[i] = code
      }
      return new LiteralColumn(members, values.length, codes)
    },
    read: (source, length) => {
      if (dtype === undefined) return new LiteralColumn(members, length, undefined)
      const size = source.next()
      if (size !== length * bytes) {
        refuse(path, `expected ${length} × ${dtype} in ${length * bytes} bytes, got ${size} bytes`)
      }
      const codes = source.view(dtype, length)
      for (let i = 0; i < length; i++) {
        if (Number(codes[i]) >= count) refuse(path, `${codes[i]} is not the number of one of ${count} literals`)
      }
      return new LiteralColumn(members, length, codes)
    }
  }
}
