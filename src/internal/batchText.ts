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

/** Texts that follow each other. No string lies in two of them. */
class Passages {
  readonly texts: ReadonlyArray<string>
  /** Where each of them begins, and, last, where the last one ends, in code units. */
  readonly #starts: ReadonlyArray<number>

  constructor(texts: ReadonlyArray<string>) {
    this.texts = texts
    let end = 0
    this.#starts = [0, ...texts.map((text) => end += text.length)]
  }
  /** The strings that begin at these places, up to the last of them. */
  cut(units: Uint32Array): ReadonlyArray<string> {
    const strings = arrayOf<string>(units.length - 1)
    let k = -1
    let text = ""
    let [from, to] = [0, 0]
    let start = units[0]!
    for (let i = 0; i < strings.length; i++) {
      const end = units[i + 1]!
      while (end > to) {
        k++
        text = this.texts[k]!
        from = to
        to = this.#starts[k + 1]!
      }
      strings[i] = text.slice(start - from, end - from)
      start = end
    }
    return strings
  }
  /** What lies between two places where strings begin. */
  between(start: number, end: number): ReadonlyArray<string> {
    return this.texts
      .map((text, k) => text.slice(Math.max(0, start - this.#starts[k]!), Math.max(0, end - this.#starts[k]!)))
      .filter((text) => text !== "")
  }
}

/** Strings as they lie one after the other, as text and as bytes. */
interface Text {
  readonly text: Passages
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
    return this.#strings ??= this.#text.text.cut(this.#text.units)
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
    const text = new Passages(texts.flatMap(({ text, units }) => text.between(units[0]!, units.at(-1)!)))
    const length = all.reduce((sum, column) => sum + column.length, 0)
    return new TextColumn(this.#entries, length, { text, units, offsets, encoded })
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
  const texts = writeAscii(all, ascii)
  const written = texts === undefined
    ? writeUtf8(all.join(""), units, all, refuseAt)
    : { text: new Passages(texts), units, offsets: units, encoded: [ascii] }
  return new TextColumn(entries, length, written, all)
}

/** Writes strings into bytes that have room for all of their code units, and gives their texts, if all of them are ASCII. */
const writeAscii = (strings: ReadonlyArray<string>, bytes: Uint8Array): ReadonlyArray<string> | undefined => {
  const texts: Array<string> = []
  let at = 0
  for (let i = 0; i < strings.length;) {
    let text = ""
    for (const to = Math.min(strings.length, i + block); i < to; i++) text += strings[i]!
    const { read, written } = encoder.encodeInto(text, at === 0 ? bytes : bytes.subarray(at))
    // Only ASCII takes one byte for each code unit.
    if (read !== text.length || written !== text.length) return undefined
    at += written
    texts.push(text)
  }
  return texts
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
  return { text: new Passages([text]), units, offsets, encoded: [encoded] }
}

const read = (path: string, source: Source, entries: number): Text => {
  const size = source.next()
  const textAt = (entries + 1) * 4
  if (size < textAt) refuse(path, `expected ${entries + 1} offsets in ${textAt} bytes, got ${size} bytes`)
  const offsets = source.view("uint32", entries + 1) as Uint32Array // by its dtype
  const encoded = source.cut(textAt, size)
  checkOffsets(path, offsets, encoded.byteLength, "text", source.maxStringBytes)
  const texts = entries > block ? readAscii(encoded, offsets) : undefined
  if (texts !== undefined) return { text: new Passages(texts), units: offsets, offsets, encoded: [encoded] }
  const text = decodeText(path, encoded)
  const units = text.length === encoded.byteLength ? offsets : unitsOf(path, encoded, offsets)
  return { text: new Passages([text]), units, offsets, encoded: [encoded] }
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
