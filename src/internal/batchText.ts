/** Columns of strings: UTF-8 with offsets. */
import * as Bytes from "effect/Bytes"
import type * as Tensor from "../Tensor.ts"
import { align, arrayOf, cutBytes, cutWords } from "./batchBuffers.ts"
import { refuse } from "./batchErrors.ts"
import {
  type Body,
  checkOffsets,
  joinOffsets,
  type Kind,
  misfit,
  rebase,
  sizeOfOffsets,
  type Source,
  type Stored
} from "./batchKind.ts"
import { decoder, encode, encoder } from "./batchUtf8.ts"
import { bytesOf, matcher, mismatch, sizeOf } from "./tensorStorage.ts"

/** What the values of a column are: strings, or arrays of so many. */
interface Entries {
  readonly width: number
  readonly isScalar: boolean
}

/** So many strings are encoded, and decoded, as one text: it stays in the caches until they are cut out of it. */
const block = 1024

/** The bytes of strings. */
interface Encoded {
  /** Where each string begins in the bytes, and, last, where the last one ends. */
  readonly offsets: Uint32Array
  /** The bytes, in parts that follow each other. Offsets count from the first of them. */
  readonly parts: ReadonlyArray<Uint8Array>
}

/** Strings, from one and up to another: of what is only sent on, nobody asks for them. */
type Strings = (from: number, to: number) => ReadonlyArray<string>

const sliceOf = (strings: ReadonlyArray<string>): Strings => (from, to) =>
  from === 0 && to === strings.length ? strings : strings.slice(from, to)

export class TextColumn implements Stored {
  readonly _tag = "Values"
  readonly length: number
  readonly #entries: Entries
  readonly #all: Strings
  /** The first of these strings among all. */
  readonly #from: number
  #encoded: Encoded
  #strings: ReadonlyArray<string> | undefined
  #values: ReadonlyArray<unknown> | undefined

  constructor(entries: Entries, length: number, encoded: Encoded, all: Strings, from: number) {
    this.#entries = entries
    this.length = length
    this.#encoded = encoded
    this.#all = all
    this.#from = from
  }
  get column(): this {
    return this
  }
  /** All strings, those of the values one after the other. */
  get strings(): ReadonlyArray<string> {
    return this.#strings ??= this.#all(this.#from, this.#from + this.length * this.#entries.width)
  }
  get values(): ReadonlyArray<unknown> {
    const { isScalar, width } = this.#entries
    return this.#values ??= isScalar ? this.strings : group(this.strings, width, this.length)
  }
  get byteLength(): number {
    const { offsets } = this.#encoded
    return align(4 * offsets.length + offsets.at(-1)! - offsets[0]!)
  }
  slice(from: number, to: number): TextColumn {
    const [start, end] = [from * this.#entries.width, to * this.#entries.width]
    if (this.#encoded.parts.length > 1) {
      this.#encoded = { ...this.#encoded, parts: [Bytes.concat(this.#encoded.parts)] }
    }
    const { offsets, parts } = this.#encoded
    const some = { offsets: offsets.subarray(start, end + 1), parts }
    return this.#strings === undefined
      ? new TextColumn(this.#entries, to - from, some, this.#all, this.#from + start)
      : new TextColumn(this.#entries, to - from, some, sliceOf(this.#strings), start)
  }
  join(all: ReadonlyArray<TextColumn>): TextColumn {
    const offsets = joinOffsets(all.map((column) => column.#encoded.offsets))
    const parts = all.flatMap((column) => column.#parts())
    const length = all.reduce((sum, column) => sum + column.length, 0)
    let whole: ReadonlyArray<string> | undefined
    const strings: Strings = (from, to) => {
      whole ??= new Array<string>().concat(...all.map(({ strings }) => strings))
      return sliceOf(whole)(from, to)
    }
    return new TextColumn(this.#entries, length, { offsets, parts }, strings, 0)
  }
  write(bodies: Array<Body>): void {
    bodies.push([bytesOf(rebase(this.#encoded.offsets)), ...this.#parts()])
  }
  /** The bytes of these strings alone. */
  #parts(): ReadonlyArray<Uint8Array> {
    const { offsets, parts } = this.#encoded
    const [start, end] = [offsets[0]!, offsets.at(-1)!]
    // Those of several parts are all of them.
    return parts.length > 1 || end - start === parts[0]!.byteLength ? parts : [parts[0]!.subarray(start, end)]
  }
}

/**
 * The strings of texts that follow each other, none of which lies in two of them. `units` are where each begins, and where
 * the last one ends, in code units.
 */
const cutTexts = (texts: ReadonlyArray<string>, units: Uint32Array): Strings => (first, end) => {
  const strings = arrayOf<string>(end - first)
  let next = 0
  let text = ""
  let [from, to] = [0, 0]
  let start = units[first]!
  for (let i = 0; i < strings.length; i++) {
    const end = units[first + i + 1]!
    while (end > to) {
      text = texts[next++]!
      from = to
      to += text.length
    }
    strings[i] = text.slice(start - from, end - from)
    start = end
  }
  return strings
}

const group = (strings: ReadonlyArray<string>, width: number, length: number): ReadonlyArray<unknown> => {
  const values = arrayOf<unknown>(length)
  for (let i = 0; i < length; i++) values[i] = strings.slice(i * width, (i + 1) * width)
  return values
}

/** A column of strings. `refuseAt` is called with the first that is none, or is not well formed; it throws. */
const write = (
  entries: Entries,
  length: number,
  strings: ReadonlyArray<unknown>,
  refuseAt: (u: unknown) => never
): TextColumn => {
  const units = cutWords(strings.length + 1)
  let end = 0
  for (let i = 0; i < strings.length; i++) {
    const string = strings[i]
    if (typeof string !== "string") return refuseAt(string)
    end += string.length
    units[i + 1] = end
  }
  const all = strings as ReadonlyArray<string> // each was looked at
  const ascii = cutBytes(end)
  const encoded = writeAscii(all, ascii) ? { offsets: units, parts: [ascii] } : writeUtf8(units, all, refuseAt)
  return new TextColumn(entries, length, encoded, sliceOf(all), 0)
}

/** Writes strings into bytes that have room for all of their code units; gives whether all of them are ASCII. */
const writeAscii = (strings: ReadonlyArray<string>, bytes: Uint8Array): boolean => {
  let at = 0
  for (let i = 0; i < strings.length;) {
    let text = ""
    for (const to = Math.min(strings.length, i + block); i < to; i++) text += strings[i]!
    const { read, written } = encoder.encodeInto(text, at === 0 ? bytes : bytes.subarray(at))
    // Only ASCII takes one byte for each code unit.
    if (read !== text.length || written !== text.length) return false
    at += written
  }
  return true
}

const writeUtf8 = (
  units: Uint32Array,
  strings: ReadonlyArray<string>,
  refuseAt: (u: unknown) => never
): Encoded => {
  const text = strings.join("")
  const ill = text.isWellFormed() ? undefined : strings.find((string) => !string.isWellFormed())
  if (ill !== undefined) refuseAt(ill)
  const offsets = cutWords(units.length)
  const encoded = encode(text)
  let byte = 0
  let unit = 0
  for (let i = 1; i < units.length; i++) {
    const end = units[i]!
    while (unit < end) {
      const lead = encoded[byte]!
      if (lead < 0x80) {
        byte++
        unit++
      } else {
        byte += lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
        unit += lead < 0xF0 ? 1 : 2
      }
    }
    // Two halves of a character, in strings that follow each other, are a whole one of the text.
    if (unit > end) refuseAt(strings[i - 1])
    offsets[i] = byte
  }
  return { offsets, parts: [encoded] }
}

/** Reads as many strings, of values of some entries. */
const read = (path: string, source: Source, entries: Entries, length: number): TextColumn => {
  const count = length * entries.width
  const size = source.next()
  const textAt = (count + 1) * 4
  if (size < textAt) refuse(path, `expected ${count + 1} offsets in ${textAt} bytes, got ${size} bytes`)
  const offsets = source.view("uint32", count + 1) as Uint32Array // by its dtype
  const bytes = source.cut(textAt, size)
  checkOffsets(path, offsets, bytes.byteLength, "text", source.maxStringBytes)
  const column = (strings: Strings) => new TextColumn(entries, length, { offsets, parts: [bytes] }, strings, 0)
  const texts = count > block ? readAscii(bytes, offsets) : undefined
  if (texts !== undefined) return column(cutTexts(texts, offsets))
  const text = decodeText(path, bytes)
  const units = text.length === bytes.byteLength ? offsets : unitsOf(path, bytes, offsets)
  return column(cutTexts([text], units))
}

/** The texts of strings, if all of them are ASCII. */
const readAscii = (encoded: Uint8Array, offsets: Uint32Array): ReadonlyArray<string> | undefined => {
  const texts: Array<string> = []
  try {
    for (let i = 0; i < offsets.length - 1; i += block) {
      const bytes = encoded.subarray(offsets[i], offsets[Math.min(offsets.length - 1, i + block)])
      const text = decoder.decode(bytes)
      if (text.length !== bytes.length) return undefined
      texts.push(text)
    }
  } catch {
    // A character may lie in two of them. What it is is said of the whole.
    return undefined
  }
  return texts
}

const decodeText = (path: string, encoded: Uint8Array): string => {
  try {
    return decoder.decode(encoded)
  } catch {
    return refuse(path, "text is not UTF-8")
  }
}

/** Not all is ASCII: walks the characters to find where each offset is in the text. */
const unitsOf = (path: string, encoded: Uint8Array, offsets: Uint32Array): Uint32Array => {
  const units = new Uint32Array(offsets.length)
  let byte = 0
  let unit = 0
  for (let i = 1; i < offsets.length; i++) {
    const end = offsets[i]!
    while (byte < end) {
      const lead = encoded[byte]!
      if (lead < 0x80) {
        byte++
        unit++
      } else {
        byte += lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
        unit += lead < 0xF0 ? 1 : 2
      }
    }
    if (byte > end) refuse(path, `offset ${i} is inside a character`)
    units[i] = unit
  }
  return units
}

/** A column of strings that a batch has in one array, all those of an element behind each other. */
export const ofStrings = (path: string, { shape }: Tensor.Spec, strings: ReadonlyArray<unknown>, length: number) =>
  write(
    { width: sizeOf(shape), isScalar: shape.length === 0 },
    length,
    strings,
    (u) => misfit(path, mismatch({ dtype: "string", shape: [] }, u))
  )

/** The values of tensors of strings that lie behind each other; not validated. */
export const groupsOf = ({ shape }: Tensor.Spec, strings: ReadonlyArray<string>, length: number) =>
  shape.length === 0 ? strings : group(strings, sizeOf(shape), length)

const single: Entries = { width: 1, isScalar: true }

/** A column of strings that are well formed. */
export const writeText = (strings: ReadonlyArray<string>): TextColumn =>
  write(single, strings.length, strings, (u) => misfit("", mismatch({ dtype: "string", shape: [] }, u)))

/** Reads what `writeText` wrote. Throws `MalformedBatch` on all else. */
export const readText = (path: string, source: Source, length: number): TextColumn => read(path, source, single, length)

/** The kind of a string, or of a tensor of strings. */
export const textKind = (
  path: string,
  spec: Tensor.Spec,
  print: Kind["print"],
  tensor: Tensor.Spec | undefined
): Kind => {
  const entries = { width: sizeOf(spec.shape), isScalar: spec.shape.length === 0 }
  const { isScalar, width } = entries
  const matches = matcher(spec)
  const refuseAt = (u: unknown): never => misfit(path, mismatch(spec, u))
  return {
    print,
    bodies: 1,
    least: 4 * width,
    sizeOf: width === 0 ? () => sizeOfOffsets(0) : undefined,
    tensor,
    accepts: matches,
    check: undefined,
    trim: undefined,
    gather: (values) => {
      if (isScalar) return write(entries, values.length, values, refuseAt)
      for (let i = 0; i < values.length; i++) if (!matches(values[i])) refuseAt(values[i])
      return write(entries, values.length, values.flat(), refuseAt)
    },
    read: (source, length) => read(path, source, entries, length)
  }
}
