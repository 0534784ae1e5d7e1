/**
 * Cuts the bytes of a link into frames.
 */
import * as Result from "effect/Result"
import { MalformedFrame } from "./malformedFrame.ts"

/** A frame begins with the length of its body as u32, its kind as u8, and three zero bytes. */
export const headerBytes = 8

/** A frame that was cut out of a stream of bytes. */
export interface RawFrame {
  readonly kind: number
  readonly body: Uint8Array<ArrayBuffer>
}

/** How much of a body is allocated before more of it has arrived, and how many times what has. */
const claimBytes = 64 * 1024
const claimTimes = 32

/**
 * Cuts a stream of bytes into frames of at most `frameBytes`, and control frames of at most `controlBytes`, which may
 * change from one frame to the next. What is allocated for a body grows with what has arrived of it, so that announcing much claims nothing. A body begins at an
 * aligned address.
 */
export const makeCutter = (limits: { readonly frameBytes: number; readonly controlBytes?: number | undefined }) => {
  const head = new Uint8Array(headerBytes)
  const view = new DataView(head.buffer)
  let headLength = 0
  let length = 0
  let body: Uint8Array<ArrayBuffer> | undefined
  let bodyLength = 0
  return (bytes: Uint8Array): Result.Result<ReadonlyArray<RawFrame>, MalformedFrame> => {
    const frames: Array<RawFrame> = []
    let at = 0
    while (at < bytes.length || (body !== undefined && bodyLength === length)) {
      if (body === undefined) {
        const part = bytes.subarray(at, at + headerBytes - headLength)
        head.set(part, headLength)
        headLength += part.length
        at += part.length
        if (headLength < headerBytes) break
        length = view.getUint32(0, true)
        const kind = head[4]!
        if (kind > 3 || head[5] !== 0 || head[6] !== 0 || head[7] !== 0) {
          return Result.fail(new MalformedFrame({ field: "kind", issue: `kind ${kind} is unknown` }))
        }
        const limit = kind === 1 || kind === 2 ? limits.frameBytes : limits.controlBytes ?? limits.frameBytes
        if (length > limit) {
          const issue = `length ${length} is over the limit of ${limit} bytes`
          return Result.fail(new MalformedFrame({ field: "length", issue }))
        }
        body = new Uint8Array(Math.min(length, Math.max(claimBytes, claimTimes * (bytes.length - at))))
        bodyLength = 0
      } else {
        const part = bytes.subarray(at, at + length - bodyLength)
        if (bodyLength + part.length > body.length) {
          const larger = new Uint8Array(Math.min(length, claimTimes * (bodyLength + part.length)))
          larger.set(body.subarray(0, bodyLength))
          body = larger
        }
        body.set(part, bodyLength)
        bodyLength += part.length
        at += part.length
        if (bodyLength < length) break
        frames.push({ kind: head[4]!, body })
        headLength = 0
        body = undefined
      }
    }
    return Result.succeed(frames)
  }
}
