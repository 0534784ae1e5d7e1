/**
 * Cuts the bytes of a link into frames, and copies of them as little as may be.
 */
import * as Result from "effect/Result"
import type { FrameMemory } from "./frameMemory.ts"
import { releaseOf } from "./frameMemory.ts"
import { MalformedFrame } from "./malformedFrame.ts"

/** A frame begins with the length of its body as u32, its kind as u8, and three zero bytes. */
export const headerBytes = 8

/** A frame that was cut out of a stream of bytes. The body of one that is no control frame is 8-aligned. */
export interface RawFrame {
  readonly kind: number
  readonly body: Uint8Array<ArrayBuffer>
  /** Gives back the memory of the body, where that can be used again. */
  readonly release?: (() => void) | undefined
}

/** How long frames may be. It is looked at for each frame, so that it may change from one to the next. */
export interface Limits {
  readonly frameBytes: number
  readonly controlBytes?: number | undefined
}

/** How much of a body is allocated before more of it has arrived, and how many times what has arrived of it. */
const claimBytes = 64 * 1024
const claimTimes = 32

/**
 * Cuts frames: see the module. What is allocated for a body grows with what has arrived of it, or is as much as the body
 * before, so that announcing much claims nothing.
 */
export class Cutter {
  /** What was cut and not taken away yet. */
  readonly frames: Array<RawFrame> = []
  readonly #limits: Limits
  readonly #memory: FrameMemory | undefined
  /** Of the header: how much of it there is, and what it says so far. */
  #headLength = 0
  #length = 0
  #kind = 0
  #padding = 0
  #body: Uint8Array<ArrayBuffer> | undefined
  #bodyLength = 0
  /** How long the body before was: the peer that has sent it may well send another. */
  #lastLength = 0

  constructor(limits: Limits, memory: FrameMemory | undefined) {
    this.#limits = limits
    this.#memory = memory
  }

  /**
   * Takes bytes that have come. With `isKept`, nobody writes to them any more, and frames that lie whole and aligned in
   * them are views of them. Gives why it is no frame, if it is none: then nothing more can be cut.
   */
  take(bytes: Uint8Array, isKept: boolean): MalformedFrame | undefined {
    let at = 0
    while (at < bytes.length) {
      if (this.#headLength < headerBytes) {
        const part = Math.min(headerBytes - this.#headLength, bytes.length - at)
        for (let i = 0; i < part; i++) this.#head(bytes[at + i]!)
        at += part
        if (this.#headLength < headerBytes) return undefined
        const malformed = this.#issue()
        if (malformed !== undefined) return malformed
        if (this.#length === 0) {
          this.#finish(new Uint8Array(0), false)
          continue
        }
      }
      const there = bytes.length - at
      const length = this.#length
      if (this.#body === undefined) {
        if (there >= length) {
          this.#whole(bytes, at, isKept)
          at += length
          continue
        }
        this.#body = this.#claim(there)
      }
      const part = Math.min(length - this.#bodyLength, there)
      if (this.#bodyLength + part > this.#body.length) this.#body = this.#grow(this.#body, this.#bodyLength + part)
      this.#body.set(bytes.subarray(at, at + part), this.#bodyLength)
      at += part
      this.filled(part)
    }
    return undefined
  }

  /** Where more of the body that is being assembled can be put at once, if one is. */
  rest(): Uint8Array<ArrayBuffer> | undefined {
    if (this.#body === undefined) return undefined
    if (this.#bodyLength === this.#body.length) this.#body = this.#grow(this.#body, this.#bodyLength)
    return this.#body.subarray(this.#bodyLength)
  }

  /** So many bytes were put there. */
  filled(count: number): void {
    this.#bodyLength += count
    if (this.#body !== undefined && this.#bodyLength === this.#length) this.#finish(this.#body, true)
  }

  #head(byte: number): void {
    const index = this.#headLength++
    if (index < 4) this.#length = ((index === 0 ? 0 : this.#length) | byte << 8 * index) >>> 0
    else if (index === 4) this.#kind = byte
    else this.#padding = (index === 5 ? 0 : this.#padding) | byte
  }

  #issue(): MalformedFrame | undefined {
    const kind = this.#kind
    if (kind > 3 || this.#padding !== 0) return new MalformedFrame({ field: "kind", issue: `kind ${kind} is unknown` })
    const { controlBytes, frameBytes } = this.#limits
    const limit = kind === 1 || kind === 2 ? frameBytes : controlBytes ?? frameBytes
    return this.#length > limit
      ? new MalformedFrame({ field: "length", issue: `length ${this.#length} is over the limit of ${limit} bytes` })
      : undefined
  }

  #allocate(length: number): Uint8Array<ArrayBuffer> {
    return this.#memory?.allocate(length) ?? new Uint8Array(length)
  }

  #claim(come: number): Uint8Array<ArrayBuffer> {
    return this.#allocate(Math.min(this.#length, Math.max(claimBytes, claimTimes * come, this.#lastLength)))
  }

  #grow(from: Uint8Array<ArrayBuffer>, come: number): Uint8Array<ArrayBuffer> {
    const larger = this.#claim(come)
    larger.set(from.subarray(0, this.#bodyLength))
    return larger
  }

  /** The body lies whole in bytes that have come. */
  #whole(bytes: Uint8Array, at: number, isKept: boolean): void {
    const { buffer, byteOffset } = bytes
    const length = this.#length
    const isAligned = this.#kind === 0 || this.#kind === 3 || (byteOffset + at) % 8 === 0
    if (isKept && isAligned && buffer instanceof ArrayBuffer) {
      return this.#finish(new Uint8Array(buffer, byteOffset + at, length), false)
    }
    const own = this.#allocate(length)
    own.set(bytes.subarray(at, at + length))
    this.#finish(own, true)
  }

  /** `isOwn`: it was allocated. */
  #finish(body: Uint8Array<ArrayBuffer>, isOwn: boolean): void {
    const kind = this.#kind
    const memory = this.#memory
    this.frames.push({ kind, body, release: isOwn && memory !== undefined ? releaseOf(memory, body) : undefined })
    this.#lastLength = this.#length
    this.#headLength = 0
    this.#body = undefined
    this.#bodyLength = 0
  }
}

/** Makes a cutter. `memory` is what bodies are put together in, and may be given back to; by default it is new, and kept. */
export const make = (limits: Limits, memory?: FrameMemory): Cutter => new Cutter(limits, memory)

/** Cuts bytes that stay the caller's, as they come: each time it gives the frames that are whole then. */
export const makeCutter = (limits: Limits) => {
  const cutter = make(limits)
  return (bytes: Uint8Array): Result.Result<ReadonlyArray<RawFrame>, MalformedFrame> => {
    const malformed = cutter.take(bytes, false)
    return malformed === undefined
      ? Result.succeed(cutter.frames.splice(0))
      : Result.fail(malformed)
  }
}
