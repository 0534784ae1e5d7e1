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

/** Strings as they lie one after the other, as text and as bytes. */
interface Text {
  readonly text: string
  /** Where each string begins in the text, and, last, where that ends. */
  readonly units: Uint32Array
  /** The same in the bytes. They are the same array if all is ASCII. */
  readonly offsets: Uint32Array
  /** The bytes, in parts that follow each other. Offsets count from the first of them. */
  readonly encoded: ReadonlyArray<Uint8Array>
}

export class TextColumn implements Stored {
  readonly _tag = "Values"
  readonly length: number
  readonly #entries: Entries
  #text: Text
  #strings: ReadonlyArray<string> | undefined
  #values: ReadonlyArray<unknown> | undefined

  constructor(entries: Entries, length: number, text: Text, strings?: ReadonlyArray<string>) {
    this.#entries = entries
    this.length = length
    this.#text = text
    this.#strings = strings
  }
  get column(): this {
    return this
  }
  /** All strings, those of the values one after the other. */
  get strings(): ReadonlyArray<string> {
    return this.#strings ??= cutText(this.#text)
  }
  get values(): ReadonlyArray<unknown> {
    const { isScalar, width } = this.#entries
    return this.#values ??= isScalar ? this.strings : group(this.strings, width, this.length)
  }
  get byteLength(): number {
    const { offsets } = this.#text
    return align(4 * offsets.length + offsets.at(-1)! - offsets[0]!)
  }
  slice(from: number, to: number): TextColumn {
    if (this.#text.encoded.length > 1) this.#text = { ...this.#text, encoded: [Bytes.concat(this.#text.encoded)] }
    const { encoded, offsets, text, units } = this.#text
    const [start, end] = [from * this.#entries.width, to * this.#entries.width]
    const some = units.subarray(start, end + 1)
    const part = { text, units: some, offsets: units === offsets ? some : offsets.subarray(start, end + 1), encoded }
    return new TextColumn(this.#entries, to - from, part, this.#strings?.slice(start, end))
  }
  join(all: ReadonlyArray<TextColumn>): TextColumn {
    const texts = all.map((column) => column.#text)
    const units = joinOffsets(texts.map((text) => text.units))
    const offsets = texts.every((text) => text.units === text.offsets)
      ? units
      : joinOffsets(texts.map((text) => text.offsets))
    const encoded = all.flatMap((column) => column.#parts())
    let joined = ""
    for (const { text, units } of texts) joined += text.slice(units[0], units.at(-1))
    const length = all.reduce((sum, column) => sum + column.length, 0)
    return new TextColumn(this.#entries, length, { text: joined, units, offsets, encoded })
  }
  write(bodies: Array<Body>): void {
    bodies.push([bytesOf(rebase(this.#text.offsets)), ...this.#parts()])
  }
  /** The bytes of these strings alone. */
  #parts(): ReadonlyArray<Uint8Array> {
    const { encoded, offsets } = this.#text
    const [start, end] = [offsets[0]!, offsets.at(-1)!]
    // Those of several parts are all of them.
    return encoded.length > 1 || end - start === encoded[0]!.byteLength ? encoded : [encoded[0]!.subarray(start, end)]
  }
}

const cutText = ({ text, units }: Text): ReadonlyArray<string> => {
  const strings = arrayOf<string>(units.length - 1)
  let start = units[0]!
  for (let i = 0; i < strings.length; i++) {
    const end = units[i + 1]!
    strings[i] = text.slice(start, end)
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
  let text = ""
  let end = 0
  for (let i = 0; i < strings.length; i++) {
    const string = strings[i]
    if (typeof string !== "string") return refuseAt(string)
    text += string
    end += string.length
    units[i + 1] = end
  }
  const all = strings as ReadonlyArray<string> // each was looked at
  const ascii = cutBytes(end)
  const { read, written } = encoder.encodeInto(text, ascii)
  // Only ASCII takes one byte for each code unit, so only then all of the text fits.
  return read === end && written === end
    ? new TextColumn(entries, length, { text, units, offsets: units, encoded: [ascii] }, all)
    : new TextColumn(entries, length, writeUtf8(text, units, all, refuseAt), all)
}

const writeUtf8 = (
  text: string,
  units: Uint32Array,
  strings: ReadonlyArray<string>,
  refuseAt: (u: unknown) => never
): Text => {
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
  return { text, units, offsets, encoded: [encoded] }
}

const read = (path: string, source: Source, entries: number): Text => {
  const size = source.next()
  const textAt = (entries + 1) * 4
  if (size < textAt) refuse(path, `expected ${entries + 1} offsets in ${textAt} bytes, got ${size} bytes`)
  const offsets = source.view("uint32", entries + 1) as Uint32Array // by its dtype
  const encoded = source.cut(textAt, size)
  checkOffsets(path, offsets, encoded.byteLength, "text", source.maxStringBytes)
  const text = decodeText(path, encoded)
  const units = text.length === encoded.byteLength ? offsets : unitsOf(path, encoded, offsets)
  return { text, units, offsets, encoded: [encoded] }
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
export const readText = (path: string, source: Source, length: number): TextColumn =>
  new TextColumn(single, length, read(path, source, length))

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
    read: (source, length) => new TextColumn(entries, length, read(path, source, length * width))
  }
}
