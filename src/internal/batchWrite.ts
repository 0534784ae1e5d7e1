/** A batch as bytes: the header and the bodies of the columns, as `BatchCodec` describes them. */
import { align, arrayOf, cutBytes, cutWords } from "./batchBuffers.ts"
import { ElementInvalid } from "./batchErrors.ts"
import { shareFrom } from "./batchFixed.ts"
import { type Body, sizeOfBody, type Stored } from "./batchKind.ts"
import { keep } from "./kept.ts"
import { bytesOf } from "./tensorStorage.ts"

/** "EFB1" */
export const magic = 0x31424645
/** Size of the header without its table of columns. */
export const headerBytes = 16
const largestU32 = 2 ** 32 - 1

// Columns below this many bytes are copied together, so that a small batch is one write.
const copyBelow = 16_384

/** Size of the header of a batch of so many bodies, with padding. */
export const headerSize = (bodies: number): number => align(headerBytes + 4 * bodies)

/** The segments of a batch. Throws `ElementInvalid`. */
export const write = (columns: ReadonlyArray<Stored>, length: number): ReadonlyArray<Uint8Array> => {
  const bodies: Array<Body> = []
  for (const column of columns) column.write(bodies)
  const sizes = arrayOf<number>(bodies.length)
  let total = headerSize(bodies.length)
  let areSmall = true
  for (let k = 0; k < sizes.length; k++) {
    const size = sizeOfBody(bodies[k]!)
    sizes[k] = size
    total += align(size)
    if (size >= copyBelow) areSmall = false
  }
  if (total > largestU32) {
    throw new ElementInvalid({
      issue: `${length} elements take ${total} bytes, more than a batch can hold; send fewer`
    })
  }
  const words = cutWords((areSmall ? total : headerSize(bodies.length)) / 4)
  words[0] = magic
  words[1] = bodies.length
  words[2] = length
  words[3] = total
  for (let k = 0; k < sizes.length; k++) words[4 + k] = sizes[k]!
  return areSmall ? [whole(bytesOf(words), bodies, sizes)] : segmentsOf(bytesOf(words), bodies, sizes)
}

/** The segment of a batch that is one, in which there is the header, and room for all else. */
const whole = (segment: Uint8Array, bodies: ReadonlyArray<Body>, sizes: ReadonlyArray<number>): Uint8Array => {
  let start = headerSize(bodies.length)
  for (let k = 0; k < bodies.length; k++) {
    const body = bodies[k]!
    let at = start
    for (let i = 0; i < body.length; i++) {
      segment.set(body[i]!, at)
      at += body[i]!.byteLength
    }
    start += align(sizes[k]!)
  }
  return segment
}

const segmentsOf = (
  header: Uint8Array,
  bodies: ReadonlyArray<Body>,
  sizes: ReadonlyArray<number>
): ReadonlyArray<Uint8Array> => {
  const segments = new Segments()
  segments.add(header, true)
  for (let k = 0; k < bodies.length; k++) {
    const isSmall = sizes[k]! < copyBelow
    for (const part of bodies[k]!) segments.add(part, isSmall || part.byteLength < shareFrom)
    segments.pad(align(sizes[k]!) - sizes[k]!)
  }
  return segments.end()
}

/** Small parts wait until a large one or the end comes, and are copied into one segment. */
class Segments {
  readonly #segments: Array<Uint8Array> = []
  #waiting: Array<Uint8Array> = []
  /** Where they go. */
  #places: Array<number> = []
  #size = 0

  add(part: Uint8Array, isCopied: boolean): void {
    if (isCopied) {
      this.#waiting.push(part)
      this.#places.push(this.#size)
      this.#size += part.byteLength
    } else {
      this.#cut()
      this.#segments.push(part)
    }
  }
  /** Zeros. */
  pad(size: number): void {
    this.#size += size
  }
  end(): ReadonlyArray<Uint8Array> {
    this.#cut()
    return this.#segments
  }
  #cut(): void {
    if (this.#size === 0) return
    const segment = cutBytes(this.#size)
    for (let i = 0; i < this.#waiting.length; i++) segment.set(this.#waiting[i]!, this.#places[i])
    this.#segments.push(segment)
    this.#waiting = []
    this.#places = []
    this.#size = 0
  }
}

keep(new Segments())
