/**
 * Bytes as decisions: what a peer does next, and with which numbers. So what happens to a session is mutated, kept and
 * replayed as any other input.
 */

export interface Tape {
  readonly isOver: () => boolean
  /** One of `n` choices. */
  readonly below: (n: number) => number
  readonly flag: () => boolean
  /** A number that a peer might say where `near` is right: it, one beside it, none, or anything at all. */
  readonly number: (near: number) => number
}

const strange = [0, 1, 2, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]

export const makeTape = (bytes: Uint8Array): Tape => {
  let at = 0
  const next = (): number => bytes[at++] ?? 0
  return {
    isOver: () => at >= bytes.length,
    below: (n) => next() % n,
    flag: () => next() % 2 === 1,
    number: (near) => {
      const choice = next()
      if (choice < 160) return near
      if (choice < 200) return Math.max(0, near + (choice % 8) - 4)
      return choice < 230 ? choice - 200 : strange[choice % strange.length]!
    }
  }
}
