/** Strings as UTF-8. */
import { cutBytes } from "./batchBuffers.ts"

export const encoder = new TextEncoder()
export const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

// Most text is encoded here, where there is room for it whatever it holds, and what was written is cut from there.
const room = new Uint8Array(16_384)

/** A string as UTF-8. */
export const encode = (text: string): Uint8Array => {
  if (text.length * 3 > room.byteLength) return encoder.encode(text)
  const { written } = encoder.encodeInto(text, room)
  const bytes = cutBytes(written)
  bytes.set(room.subarray(0, written))
  return bytes
}

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
