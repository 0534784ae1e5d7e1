/** Strings as UTF-8 with offsets. */
import * as Result from "effect/Result"
import type { Column } from "../BatchCodec.ts"
import { arrayOf, cutBuffer, viewOf } from "./batchBuffers.ts"
import { refuse } from "./batchErrors.ts"
import { bytesOf } from "./tensorStorage.ts"

export const encoder = new TextEncoder()
export const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** Whether all strings within reach are well formed; UTF-8 cannot write others. */
export const isWellFormed = (u: unknown, seen?: Set<object>): boolean => {
  if (typeof u === "string") return u.isWellFormed()
  if (typeof u !== "object" || u === null || ArrayBuffer.isView(u)) return true
  seen ??= new Set()
  if (seen.has(u)) return true
  seen.add(u)
  if (Array.isArray(u) || u instanceof Map || u instanceof Set) {
    for (const value of u) {
      if (!isWellFormed(value, seen)) return false
    }
    return true
  }
  for (const [key, value] of Object.entries(u)) {
    if (!key.isWellFormed() || !isWellFormed(value, seen)) return false
  }
  return true
}

/** Bytes of a string as UTF-8. */
export const utf8Length = (s: string): number => {
  if (s.length > 64) return encoder.encode(s).byteLength
  let length = s.length
  for (let i = 0; i < s.length; i++) {
    const unit = s.charCodeAt(i)
    // A surrogate is half of a code point of four bytes.
    if (unit >= 0x80) length += unit < 0x800 || (unit >= 0xD800 && unit <= 0xDFFF) ? 1 : 2
  }
  return length
}

/** The offsets, then the text. */
export const writeText = (strings: ReadonlyArray<string>): ReadonlyArray<Uint8Array> => {
  const offsets = cutBuffer("uint32", strings.length + 1)
  let text = ""
  for (let i = 0; i < strings.length; i++) {
    text += strings[i]
    offsets[i + 1] = text.length
  }
  const ascii = bytesOf(cutBuffer("uint8", text.length))
  const { read, written } = encoder.encodeInto(text, ascii)
  // Only ASCII takes one byte for each code unit, so only then all of the text fits.
  if (read === text.length && written === text.length) return [bytesOf(offsets), ascii]
  let end = 0
  for (let i = 0; i < strings.length; i++) {
    end += utf8Length(strings[i]!)
    offsets[i + 1] = end
  }
  const bytes = bytesOf(cutBuffer("uint8", end))
  encoder.encodeInto(text, bytes)
  return [bytesOf(offsets), bytes]
}

/** How many bytes `writeText` makes, without making them. */
export const weighText = (strings: ReadonlyArray<unknown>): number =>
  strings.reduce<number>((bytes, string) => bytes + 4 + utf8Length(String(string)), 4)

/** Reads what `writeText` wrote; throws `MalformedBatch` on all else. */
export const readText = (name: string, bytes: Uint8Array, entries: number, maxStringBytes: number): Column => {
  const textAt = (entries + 1) * 4
  if (bytes.byteLength < textAt) {
    refuse(name, `expected ${entries + 1} offsets in ${textAt} bytes, got ${bytes.byteLength} bytes`)
  }
  const encoded = bytes.subarray(textAt)
  const offsets = viewOf(bytes.subarray(0, textAt), "uint32", entries + 1) as Uint32Array // by its dtype
  if (offsets[0] !== 0 || offsets[entries] !== encoded.byteLength) {
    refuse(name, `offsets do not span the ${encoded.byteLength} bytes of text`)
  }
  for (let i = 0; i < entries; i++) {
    const size = offsets[i + 1]! - offsets[i]!
    if (size < 0) refuse(name, `offset ${i + 1} is smaller than the one before`)
    if (size > maxStringBytes) refuse(name, `a string takes ${size} bytes, more than the ${maxStringBytes} allowed`)
  }
  const text = Result.getOrElse(Result.try(() => decoder.decode(encoded)), () => refuse(name, "text is not UTF-8"))
  return { _tag: "Values", values: cutText(name, text, encoded, offsets), body: [bytes] }
}

const cutText = (name: string, text: string, encoded: Uint8Array, offsets: Uint32Array): ReadonlyArray<string> => {
  const strings = arrayOf<string>(offsets.length - 1)
  if (text.length === encoded.byteLength) {
    for (let i = 0; i < strings.length; i++) strings[i] = text.slice(offsets[i], offsets[i + 1])
    return strings
  }
  // Not all ASCII: walk the bytes to find where each offset is in the text.
  let byte = 0
  let unit = 0
  for (let i = 0; i < strings.length; i++) {
    const start = unit
    const end = offsets[i + 1]!
    for (; byte < end; byte++) {
      const lead = encoded[byte]!
      if (lead < 0x80 || lead >= 0xC0) unit += lead >= 0xF0 ? 2 : 1
    }
    if (end < encoded.byteLength && encoded[end]! >= 0x80 && encoded[end]! < 0xC0) {
      refuse(name, `offset ${i + 1} is inside a character`)
    }
    strings[i] = text.slice(start, unit)
  }
  return strings
}
