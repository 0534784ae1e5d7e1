/**
 * What an input is given to, by its first byte: the decoder of a device's frames, that of a feeder's for each feed, and
 * the sessions of both sides, which read the rest as decisions.
 */
import { checkStream, streams } from "./decoders.ts"
import { playFeeder } from "./feederTape.ts"
import { playHost } from "./hostTape.ts"

const targets: ReadonlyArray<(bytes: Uint8Array) => number> = [
  ...streams.map((feed) => (bytes: Uint8Array) => checkStream(bytes, feed)),
  (bytes) => playHost(bytes, "processed"),
  (bytes) => playHost(bytes, "accepted"),
  (bytes) => playFeeder(bytes, "processed"),
  (bytes) => playFeeder(bytes, "accepted")
]

/** Which of the targets an input is for. */
export const targetOf = (input: Uint8Array): number => (input[0] ?? 0) % targets.length

/** Runs an input. Throws at a finding. */
export const run = (input: Uint8Array): number => targets[targetOf(input)]!(input.subarray(1))

/** Whether its bytes are frames, and not decisions. */
export const isStream = (input: Uint8Array): boolean => targetOf(input) < streams.length
