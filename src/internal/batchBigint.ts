/** Columns of integers of any size: 64 bits for each, and hexadecimal text for those that need more. */
import { cutBuffer } from "./batchBuffers.ts"
import { refuse } from "./batchErrors.ts"
import { type Body, type Kind, misfit, type Stored } from "./batchKind.ts"
import { readText, type TextColumn, writeText } from "./batchText.ts"
import { bigints, bytesOf } from "./tensorStorage.ts"

const [minimum, maximum] = bigints.bigint64!

const fits = (big: bigint): boolean => big >= minimum && big <= maximum

class BigintColumn implements Stored {
  readonly _tag = "Values"
  /** 0 where the integer does not fit. */
  readonly #small: BigInt64Array
  /** Empty where it does; nothing where all do. */
  readonly #large: TextColumn | undefined
  #values: ReadonlyArray<bigint> | undefined

  constructor(small: BigInt64Array, large: TextColumn | undefined, values?: ReadonlyArray<bigint>) {
    this.#small = small
    this.#large = large
    this.#values = values
  }
  get column(): this {
    return this
  }
  get length(): number {
    return this.#small.length
  }
  get values(): ReadonlyArray<bigint> {
    return this.#values ??= merge(this.#small, this.#large?.strings)
  }
  get byteLength(): number {
    return this.#small.byteLength + (this.#large?.byteLength ?? 0)
  }
  slice(from: number, to: number): BigintColumn {
    const large = this.#large?.slice(from, to)
    const some = large?.strings.some((text) => text !== "") === true ? large : undefined
    return new BigintColumn(this.#small.subarray(from, to), some, this.#values?.slice(from, to))
  }
  join(all: ReadonlyArray<BigintColumn>): BigintColumn {
    return columnOf(all.flatMap((column) => column.values))
  }
  write(bodies: Array<Body>): void {
    bodies.push([bytesOf(this.#small)])
    if (this.#large === undefined) bodies.push([])
    else this.#large.write(bodies)
  }
}

const merge = (small: BigInt64Array, large: ReadonlyArray<string> | undefined): ReadonlyArray<bigint> => {
  const values: Array<bigint> = []
  for (let i = 0; i < small.length; i++) {
    const text = large?.[i] ?? ""
    values.push(text === "" ? small[i]! : parse(text))
  }
  return values
}

/** The sign, and hexadecimal digits. */
const print = (big: bigint): string => fits(big) ? "" : big.toString(16)

const parse = (text: string): bigint => text.startsWith("-") ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`)

const digits = /^-?[1-9a-f][0-9a-f]*$/

/** Whether a text is what `print` makes of an integer that does not fit. Throws when it has more digits than there can be. */
const isLarge = (text: string): boolean => digits.test(text) && !fits(parse(text))

const columnOf = (values: ReadonlyArray<bigint>): BigintColumn => {
  const small = cutBuffer("bigint64", values.length) as BigInt64Array // by its dtype
  let areSmall = true
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    if (fits(value)) small[i] = value
    else areSmall = false
  }
  return new BigintColumn(small, areSmall ? undefined : writeText(values.map(print)), values)
}

/** The kind of integers that are bigints. */
export const bigintKind = (path: string): Kind => ({
  print: { kind: "bigint" },
  bodies: 2,
  least: 8,
  sizeOf: undefined,
  tensor: undefined,
  accepts: (u) => typeof u === "bigint",
  check: undefined,
  trim: undefined,
  gather: (values) => {
    for (const value of values) if (typeof value !== "bigint") return misfit(path, "expected a bigint")
    return columnOf(values as ReadonlyArray<bigint>) // each was looked at
  },
  read: (source, length) => {
    const size = source.next()
    if (size !== 8 * length) refuse(path, `expected ${length} × bigint64 in ${8 * length} bytes, got ${size} bytes`)
    const small = source.view("bigint64", length) as BigInt64Array // by its dtype
    if (source.peek() === 0) {
      source.next()
      return new BigintColumn(small, undefined)
    }
    const large = readText(path, source, length)
    let areSmall = true
    large.strings.forEach((text, i) => {
      if (text === "") return
      areSmall = false
      if (small[i] !== 0n || !isLarge(text)) refuse(path, `entry ${i} is no integer of more than 64 bits`)
    })
    if (areSmall) refuse(path, "no integer has more than 64 bits, yet there is text for them")
    return new BigintColumn(small, large)
  }
})
