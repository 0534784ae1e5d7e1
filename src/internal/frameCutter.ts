/**
 * Cuts the bytes of a link into frames, and copies of them as little as may be.
 */
import * as Result from "effect/Result"
import type { FrameMemory } from "./frameMemory.ts"
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

/** Cuts frames: see the module. */
export interface Cutter {
  /** What was cut and not taken away yet. */
  readonly frames: Array<RawFrame>
  /**
   * Takes bytes that have come. With `isKept`, nobody writes to them any more, and frames that lie whole and aligned in
   * them are views of them. Gives why it is no frame, if it is none: then nothing more can be cut.
   */
  readonly take: (bytes: Uint8Array, isKept: boolean) => MalformedFrame | undefined
  /** Where more of the body that is being assembled can be put at once, if one is. */
  readonly rest: () => Uint8Array<ArrayBuffer> | undefined
  /** So many bytes were put there. */
  readonly filled: (count: number) => void
}

/** How much of a body is allocated before more of it has arrived, and how many times what has arrived of it. */
const claimBytes = 64 * 1024
const claimTimes = 32

/**
 * Makes a cutter. What is allocated for a body grows with what has arrived of it, or is as much as the body before, so
 * that announcing much claims nothing.
 * `memory` is what bodies are put together in, and may be given back to; by default it is new, and kept.
 */
export const make = (
  limits: Limits,
  memory?: FrameMemory
): Cutter => {
  const frames: Array<RawFrame> = []
  const head = new Uint8Array(headerBytes)
  const view = new DataView(head.buffer)
  let headLength = 0
  let kind = 0
  let length = 0
  let body: Uint8Array<ArrayBuffer> | undefined
  let bodyLength = 0
  /** How long the body before was: the peer that has sent it may well send another. */
  let lastLength = 0

  const allocate = memory?.allocate ?? ((length: number) => new Uint8Array(length))

  const issue = (): MalformedFrame | undefined => {
    if (kind > 3 || head[5] !== 0 || head[6] !== 0 || head[7] !== 0) {
      return new MalformedFrame({ field: "kind", issue: `kind ${kind} is unknown` })
    }
    const limit = kind === 1 || kind === 2 ? limits.frameBytes : limits.controlBytes ?? limits.frameBytes
    return length > limit
      ? new MalformedFrame({ field: "length", issue: `length ${length} is over the limit of ${limit} bytes` })
      : undefined
  }

  const claim = (come: number): Uint8Array<ArrayBuffer> =>
    allocate(Math.min(length, Math.max(claimBytes, claimTimes * come, lastLength)))

  const grow = (from: Uint8Array<ArrayBuffer>, come: number): Uint8Array<ArrayBuffer> => {
    const larger = claim(come)
    larger.set(from.subarray(0, bodyLength))
    return larger
  }

  /** `isOwn`: it was allocated. */
  const finish = (whole: Uint8Array<ArrayBuffer>, isOwn: boolean): void => {
    frames.push(
      isOwn && memory !== undefined
        ? { kind, body: whole, release: () => memory.giveBack(whole) }
        : { kind, body: whole }
    )
    lastLength = length
    headLength = 0
    body = undefined
    bodyLength = 0
  }

  const take = (bytes: Uint8Array, isKept: boolean): MalformedFrame | undefined => {
    let at = 0
    while (at < bytes.length) {
      if (headLength < headerBytes) {
        const part = Math.min(headerBytes - headLength, bytes.length - at)
        for (let i = 0; i < part; i++) head[headLength + i] = bytes[at + i]!
        headLength += part
        at += part
        if (headLength < headerBytes) return undefined
        length = view.getUint32(0, true)
        kind = head[4]!
        const malformed = issue()
        if (malformed !== undefined) return malformed
        if (length === 0) {
          finish(new Uint8Array(0), false)
          continue
        }
      }
      const there = bytes.length - at
      if (body === undefined) {
        if (there >= length) {
          const { buffer, byteOffset } = bytes
          const isAligned = kind === 0 || kind === 3 || (byteOffset + at) % 8 === 0
          if (isKept && isAligned && buffer instanceof ArrayBuffer) {
            finish(new Uint8Array(buffer, byteOffset + at, length), false)
          } else {
            const own = allocate(length)
            own.set(bytes.subarray(at, at + length))
            finish(own, true)
          }
          at += length
          continue
        }
        body = claim(there)
      }
      const part = Math.min(length - bodyLength, there)
      if (bodyLength + part > body.length) body = grow(body, bodyLength + part)
      body.set(bytes.subarray(at, at + part), bodyLength)
      bodyLength += part
      at += part
      if (bodyLength === length) finish(body, true)
    }
    return undefined
  }

  return {
    frames,
    take,
    rest: () => {
      if (body === undefined) return undefined
      if (bodyLength === body.length) body = grow(body, bodyLength)
      return body.subarray(bodyLength)
    },
    filled: (count) => {
      bodyLength += count
      if (body !== undefined && bodyLength === length) finish(body, true)
    }
  }
}

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
