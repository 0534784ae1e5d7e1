/**
 * Changes to inputs, most of which know what a frame looks like.
 */
import type { chance } from "../chance.ts"
import { isStream } from "./targets.ts"

type Random = ReturnType<typeof chance>

/** Inputs are kept no longer than this: streams of bytes, and decisions. */
const longest = { stream: 1024, tape: 120 }

const u32 = [0, 1, 2, 7, 8, 255, 4096, 4097, 65_535, 65_536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 2, 2 ** 32 - 1]
const f64 = [0, -0, 1, -1, 0.5, 2, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 1e300, Infinity, -Infinity, NaN]
const tokens = [
  "0",
  "-0",
  "1",
  "-1",
  "1e400",
  "0.5",
  "9007199254740991",
  "9007199254740992",
  "null",
  "true",
  "[]",
  "{}",
  "\"\"",
  "\"\\ud800\"",
  "\"__proto__\"",
  "{\"__proto__\":{\"_tag\":\"Bye\"}}",
  "[[[[[[[[[[[[",
  "\"_tag\":\"Bye\"",
  "\"✗\"",
  "\"atMostOnce\"",
  "\"other\"",
  "\"full moon\""
].map((text) => Buffer.from(text))

const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => Buffer.concat(parts)

/** Where frames begin, as long as their lengths lead from one to the next. */
const framesOf = (input: Uint8Array): ReadonlyArray<number> => {
  const view = new DataView(input.buffer, input.byteOffset, input.length)
  const all: Array<number> = []
  for (let at = 1; at + 8 <= input.length; at += 8 + view.getUint32(at, true)) all.push(at)
  return all
}

/** Makes the length of a frame what is left of it, so that the damage is behind it. */
const mend = (input: Uint8Array, random: Random): Uint8Array => {
  const starts = framesOf(input)
  const at = starts.at(-1)
  if (at === undefined) return input
  const bytes = Uint8Array.from(input)
  const view = new DataView(bytes.buffer)
  view.setUint32(at, bytes.length - at - 8, true)
  bytes[at + 4] = bytes[at + 4]! % 3
  bytes.fill(0, at + 5, at + 8)
  // The length that the columns say of themselves, too.
  if (bytes[at + 4]! > 0 && random.below(2) === 0) {
    for (let i = at + 8; i + 16 <= bytes.length; i += 4) {
      if (view.getUint32(i, true) === 0x31424645) {
        view.setUint32(i + 12, bytes.length - i, true)
        break
      }
    }
  }
  return bytes
}

/** Where a value of JSON stands, found from anywhere. */
const valueAt = (input: Uint8Array, from: number): readonly [number, number] | undefined => {
  let start = input.indexOf(0x3a, from)
  if (start < 0) start = input.indexOf(0x3a)
  if (start < 0) return undefined
  let end = ++start
  while (end < input.length && input[end] !== 0x2c && input[end] !== 0x7d && input[end] !== 0x5d) end++
  return [start, end]
}

const changes: ReadonlyArray<(input: Uint8Array, random: Random, other: Uint8Array) => Uint8Array> = [
  (input, random) => {
    const bytes = Uint8Array.from(input)
    bytes[random.below(bytes.length)]! ^= 1 << random.below(8)
    return bytes
  },
  (input, random) => {
    const bytes = Uint8Array.from(input)
    for (let n = 1 + random.below(4); n > 0; n--) bytes[random.below(bytes.length)] = random.below(256)
    return bytes
  },
  (input, random) => input.subarray(0, 1 + random.below(input.length)),
  (input, random) => {
    const from = 1 + random.below(input.length)
    return concat(input.subarray(0, from), input.subarray(from + 1 + random.below(16)))
  },
  (input, random) => {
    const at = 1 + random.below(input.length)
    const some = Uint8Array.from({ length: 1 + random.below(12) }, () => random.below(256))
    return concat(input.subarray(0, at), some, input.subarray(at))
  },
  // A number of a header, of a batch, or of a table of columns.
  (input, random) => {
    if (input.length < 13) return input
    const bytes = Uint8Array.from(input)
    const at = 1 + 4 * random.below(Math.floor((Math.min(bytes.length, 400) - 5) / 4))
    const view = new DataView(bytes.buffer)
    const known = view.getUint32(at, true)
    view.setUint32(at, random.below(2) === 0 ? random.pick(u32) : (known + random.below(9) - 4) >>> 0, true)
    return bytes
  },
  (input, random) => {
    if (input.length < 17) return input
    const bytes = Uint8Array.from(input)
    const at = 1 + 8 * random.below(Math.floor((Math.min(bytes.length, 400) - 9) / 8))
    new DataView(bytes.buffer).setFloat64(at, random.pick(f64), true)
    return bytes
  },
  // A value of JSON.
  (input, random) => {
    const value = valueAt(input, random.below(input.length))
    if (value === undefined) return input
    return concat(input.subarray(0, value[0]), random.pick(tokens), input.subarray(value[1]))
  },
  (input, random, other) => {
    const [mine, theirs] = [valueAt(input, random.below(input.length)), valueAt(other, random.below(other.length))]
    if (mine === undefined || theirs === undefined) return input
    return concat(input.subarray(0, mine[0]), other.subarray(...theirs), input.subarray(mine[1]))
  },
  // The beginning of one and the end of another.
  (input, random, other) =>
    concat(input.subarray(0, 1 + random.below(input.length)), other.subarray(1 + random.below(other.length))),
  // Frames again, in another order, or those of another.
  (input, random, other) => {
    const starts = framesOf(input)
    if (starts.length === 0) return input
    const from = random.pick(starts)
    const frame = input.subarray(from, starts.find((start) => start > from) ?? input.length)
    const choice = random.below(3)
    if (choice === 0) return concat(input.subarray(0, 1), other.subarray(1), frame)
    return choice === 1
      ? concat(input, frame)
      : concat(input.subarray(0, 1), frame, input.subarray(1))
  },
  (input, _random, other) => concat(input, other.subarray(1))
]

/** A changed input. */
export const mutate = (input: Uint8Array, other: Uint8Array, random: Random): Uint8Array => {
  let changed = input
  for (let n = 1 + random.below(3); n > 0; n--) changed = random.pick(changes)(changed, random, other)
  if (isStream(changed) && random.below(5) > 0) changed = mend(changed, random)
  // What it is given to is changed only now and then.
  if (changed[0] !== input[0] && random.below(8) > 0) {
    changed = Uint8Array.from(changed)
    changed[0] = input[0]!
  }
  return changed.subarray(0, isStream(changed) ? longest.stream : longest.tape)
}
