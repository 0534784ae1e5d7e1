/** Where the bytes of columns lie. */
import { storages, type StoredDType, type TypedArray } from "./tensorStorage.ts"

/** The next multiple of 8. */
export const align = (n: number): number => n + (8 - n % 8) % 8

/** To be filled by a loop right after, which `Array.from` does at a tenth of the speed. */
// oxlint-disable-next-line unicorn/no-new-array
export const arrayOf = <A>(length: number): Array<A> => new Array<A>(length)

// Small buffers are cut from slabs, as Node cuts its Buffers, because making an ArrayBuffer costs about a microsecond.
// Nothing is ever returned to a slab, so what is cut is zero.
const slabBytes = 65_536
let slab = new ArrayBuffer(slabBytes)
let slabUsed = 0

const largestCut = slabBytes / 8

/** Where there is room for so many bytes in the slab. */
const cut = (bytes: number): number => {
  const size = align(bytes)
  if (slabUsed + size > slabBytes) {
    slab = new ArrayBuffer(slabBytes)
    slabUsed = 0
  }
  slabUsed += size
  return slabUsed - size
}

/** A new typed array of zeros. */
export const cutBuffer = (dtype: StoredDType, entries: number): TypedArray => {
  const { bytes, make, view } = storages[dtype]
  if (entries * bytes > largestCut) return make(entries)
  const at = cut(entries * bytes)
  return view(slab, at, entries)
}

/** New bytes, all zero. */
export const cutBytes = (length: number): Uint8Array => {
  if (length > largestCut) return new Uint8Array(length)
  const at = cut(length)
  return new Uint8Array(slab, at, length)
}

/** New words of 32 bits, all zero. */
export const cutWords = (length: number): Uint32Array => {
  if (4 * length > largestCut) return new Uint32Array(length)
  const at = cut(4 * length)
  return new Uint32Array(slab, at, length)
}

/** The only place that makes typed arrays of received bytes; their number was compared with `entries` before. */
export const viewOf = (bytes: Uint8Array, at: number, dtype: StoredDType, entries: number): TypedArray => {
  const { bytes: size, view } = storages[dtype]
  const { buffer, byteOffset } = bytes
  const start = byteOffset + at
  return start % size === 0
    ? view(buffer, start, entries)
    : view(buffer.slice(start, start + entries * size), 0, entries)
}
