/**
 * Ids that no two processes share.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

const word = Effect.map(Random.nextIntBetween(0, 0xffffffff), (n) => n.toString(16).padStart(8, "0"))

/** Sixteen random hexadecimal digits. */
export const randomId: Effect.Effect<string> = Effect.zipWith(word, word, (a, b) => a + b)
