/**
 * Bytes as a peer might send them, given to the decoders of both sides. Nothing is thrown; what is accepted is whole,
 * no larger than its bytes can carry, and written again as it was.
 */
import { Result } from "effect"
import * as Frames from "../../src/internal/frames.ts"
import { feeds, type FuzzFeed } from "./feeds.ts"

/** What a listener allows; small, so that no input is large. */
export const limits = { frameBytes: 65_536, elements: 4096 }

const fail = (what: string): never => {
  throw new Error(what)
}

/** Pieces that a network may make of a stream: the bytes themselves decide where it is cut. */
const pieces = function*(bytes: Uint8Array): Generator<Uint8Array> {
  let at = 0
  let state = bytes.length + 1
  while (at < bytes.length) {
    state = Math.imul(state ^ bytes[at]!, 0x9e3779b1) >>> 0
    const size = state % 3 === 0 ? 1 + state % 7 : state % 3 === 1 ? 1 + state % 200 : bytes.length
    yield bytes.subarray(at, at + size)
    at += size
  }
}

const join = (segments: ReadonlyArray<Uint8Array>): Uint8Array => {
  if (segments.length === 1) return segments[0]!
  return Buffer.concat(segments)
}

const isEqual = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

/** Bodies of other lengths and addresses than the frame's own may not be read as it. */
const checkFeederFrame = (raw: Frames.RawFrame, feed: FuzzFeed): boolean => {
  const read = Frames.decodeFeederFrame(raw, feed.info, limits)
  if (Result.isFailure(read)) return checkRefusal(read.failure)
  const frame = read.success
  const bytes = join(Frames.encodeFeederFrame(frame, feed.info))
  if (frame._tag !== "Batch") return checkAgain(bytes, Frames.decodeFeederFrame(rawOf(bytes), feed.info, limits))
  const { chunk, first, heard, runs } = frame
  if (!Number.isSafeInteger(first + chunk.length - 1) || !Number.isSafeInteger(heard)) fail("numbers that are none")
  if (runs.reduce((sum, run) => sum + run.count, 0) !== chunk.length) fail("runs that do not count the elements")
  if (chunk.length * feed.least > raw.body.length) fail(`${chunk.length} elements of ${raw.body.length} bytes`)
  for (const [i, element] of chunk.elements.entries()) {
    // What does not pass the checks of the Schema is refused by itself.
    if (chunk.invalid?.has(i) === true) continue
    const valid = feed.info.codec.validate(element)
    if (Result.isFailure(valid)) fail(`an element that is none: ${valid.failure.issue}`)
  }
  for (const i of chunk.invalid?.keys() ?? []) if (i >= chunk.length) fail(`an element ${i} of ${chunk.length}`)
  // All that is not as it is written is refused, so what is accepted is written as it came.
  if (!isEqual(bytes.subarray(8), raw.body)) fail("a batch is not written as it was read")
  return true
}

const rawOf = (bytes: Uint8Array): Frames.RawFrame => ({ kind: bytes[4]!, body: bytes.slice(8) })

const checkAgain = (bytes: Uint8Array, again: Result.Result<object, Frames.MalformedFrame>): boolean => {
  if (Result.isFailure(again)) return fail(`it is not read again: ${again.failure.message}`)
  if (JSON.stringify(again.success) !== Buffer.from(bytes.subarray(8)).toString()) fail("it is read as another one")
  return true
}

const checkDeviceFrame = (raw: Frames.RawFrame): boolean => {
  const read = Frames.decodeDeviceFrame(raw)
  if (Result.isFailure(read)) return checkRefusal(read.failure)
  const [bytes] = Frames.encodeDeviceFrame(read.success)
  return checkAgain(bytes, Frames.decodeDeviceFrame(rawOf(bytes)))
}

/** A refusal names its field and is short, whatever came. */
const checkRefusal = (refused: Frames.MalformedFrame): boolean => {
  if (refused.field === "" || refused.message.length > 1000) fail(`a refusal that says nothing: ${refused.field}`)
  return false
}

/** Reads a stream as one side does, until it is refused. How many frames were accepted. */
export const checkStream = (bytes: Uint8Array, feed: FuzzFeed | undefined): number => {
  const cut = Frames.makeCutter(limits)
  let accepted = 0
  for (const piece of pieces(bytes)) {
    const frames = cut(piece)
    if (Result.isFailure(frames)) {
      checkRefusal(frames.failure)
      return accepted
    }
    for (const raw of frames.success) {
      if (raw.body.length > bytes.length) fail("a frame larger than its bytes")
      if (!(feed === undefined ? checkDeviceFrame(raw) : checkFeederFrame(raw, feed))) return accepted
      accepted++
    }
  }
  return accepted
}

export const streams = [undefined, ...feeds]
