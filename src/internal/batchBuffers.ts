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

/** A new typed array of zeros. */
export const cutBuffer = (dtype: StoredDType, entries: number): TypedArray => {
  const { bytes, make, view } = storages[dtype]
  const size = align(entries * bytes)
  if (size > slabBytes / 8) return make(entries)
  if (slabUsed + size > slabBytes) {
    slab = new ArrayBuffer(slabBytes)
    slabUsed = 0
  }
  slabUsed += size
  return view(slab, slabUsed - size, entries)
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
