/**
 * Which parts of the source have run, as V8 counts them block by block.
 */
import type { Profiler } from "node:inspector"
import { Session } from "node:inspector"

/** The modules that read what a peer sends. */
const watched =
  /\/src\/(FeedSession|HostSession|internal\/(frames|controlFrames|malformedFrame|outstanding|batch\w+|tensorStorage))\.ts$/

/** What has run in some time: for each module, which of its characters. */
export type Ran = ReadonlyMap<string, Uint8Array>

export interface Coverage {
  /** What has run since it was asked last. */
  readonly take: () => Ran
  /** Whether some of it had not run before. */
  readonly isNew: (ran: Ran) => boolean
  /** Notes what has run. */
  readonly note: (ran: Ran) => void
  /** Parts of the source that came to run at different times. */
  readonly parts: () => number
  readonly stop: () => void
}

const ranIn = ({ functions }: Profiler.ScriptCoverage): Uint8Array => {
  const ran = new Uint8Array(functions.reduce((end, { ranges }) => Math.max(end, ranges[0]?.endOffset ?? 0), 0))
  // Inner functions and blocks come after those around them, and say more exactly what of these has run.
  for (const { ranges } of functions) {
    for (const { count, endOffset, startOffset } of ranges) ran.fill(count > 0 ? 1 : 0, startOffset, endOffset)
  }
  return ran
}

/** Begins to count. Calls of the inspector in the same thread answer at once. */
export const start = (): Coverage => {
  const session = new Session()
  session.connect()
  session.post("Profiler.enable")
  session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true })
  const known = new Map<string, Uint8Array>()
  let parts = 0

  /** How many parts had not run before. */
  const fresh = (url: string, ran: Uint8Array): number => {
    const before = known.get(url)
    let count = 0
    let isFresh = false
    for (let i = 0; i < ran.length; i++) {
      const isNew = ran[i] === 1 && before?.[i] !== 1
      if (isNew && !isFresh) count++
      isFresh = isNew
    }
    return count
  }

  return {
    take: () => {
      const all = new Map<string, Uint8Array>()
      session.post("Profiler.takePreciseCoverage", (error, taken) => {
        if (error !== null) throw error
        for (const script of taken.result) if (watched.test(script.url)) all.set(script.url, ranIn(script))
      })
      return all
    },
    isNew: (ran) => [...ran].some(([url, some]) => fresh(url, some) > 0),
    note: (ran) => {
      for (const [url, some] of ran) {
        parts += fresh(url, some)
        const before = known.get(url) ?? new Uint8Array(0)
        const all = new Uint8Array(Math.max(before.length, some.length))
        for (let i = 0; i < all.length; i++) all[i] = before[i] === 1 || some[i] === 1 ? 1 : 0
        known.set(url, all)
      }
    },
    parts: () => parts,
    stop: () => {
      session.post("Profiler.stopPreciseCoverage")
      session.post("Profiler.disable")
      session.disconnect()
    }
  }
}
