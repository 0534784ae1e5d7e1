/** Chance that can be repeated: a small seeded generator (mulberry32), so that a seed is a history. */
export const chance = (seed: number) => {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  return {
    next,
    below: (n: number): number => Math.floor(next() * n),
    pick: <T>(all: ReadonlyArray<T>): T => all[Math.floor(next() * all.length)]!
  }
}
