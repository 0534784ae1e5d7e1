/**
 * The wire between `WorkerDevices` and one worker: links that move whole frames, opened by the side of the layer, and a
 * few words about the worker itself. A thread's wire is a message port, a process's wire a pipe that it inherits.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { RawFrame } from "./frames.ts"

/** What the layer says to a worker: to answer, and to finish what it holds and go. */
export const ToWorker = Schema.Union([
  Schema.TaggedStruct("Ping", {}),
  Schema.TaggedStruct("Leave", { byMillis: Schema.Natural })
])

export type ToWorker = typeof ToWorker.Type

/** What a worker says: that it hosts its feeds, that its event loop turns, and that it hosts nothing any more. */
export const FromWorker = Schema.Union([
  Schema.TaggedStruct("Ready", {}),
  Schema.TaggedStruct("Pong", {}),
  Schema.TaggedStruct("Left", {})
])

export type FromWorker = typeof FromWorker.Type

/** One end of a link: frames, either way, in order. */
export interface Pipe {
  /** Writes a frame that is given in parts; returns when the wire can take more. */
  readonly write: (parts: ReadonlyArray<Uint8Array>) => Effect.Effect<void>
  /** The next frame, which is done when the other end has closed the link, or the wire has broken. */
  readonly read: Effect.Effect<RawFrame, Cause.Done>
  readonly closeUnsafe: () => void
}

/** One end of a wire. */
export interface Wire {
  readonly say: (word: ToWorker | FromWorker) => void
  /** Opens a link; the layer's side only. */
  readonly openUnsafe: () => Pipe
  readonly closeUnsafe: () => void
}

/** Is told what comes over a wire. */
export interface Listener {
  /** A word, which the other end may have made up. */
  readonly said: (word: unknown) => void
  readonly opened: (pipe: Pipe) => void
  /** The other end has closed the wire, or has ended. */
  readonly closed: () => void
}

/**
 * The frames that have come over a link, for one reader. How many there may be, the credit of its session bounds. It is no
 * `Queue`, so that a frame is read in the turn of the event loop in which it comes.
 */
export interface Inbox {
  /** A frame that came as a whole, and how to give back its memory, if that can be used again. */
  readonly pushUnsafe: (frame: Uint8Array<ArrayBuffer>, release?: () => void) => void
  /** What has come is still read. */
  readonly endUnsafe: () => void
  readonly read: Pipe["read"]
}

export const makeInbox = (): Inbox => {
  const frames: Array<RawFrame> = []
  let isEnded = false
  let wake: (() => void) | undefined
  const wait = Effect.callback<void>((resume) => {
    wake = () => {
      wake = undefined
      resume(Effect.void)
    }
    return Effect.sync(() => {
      wake = undefined
    })
  })
  const read: Pipe["read"] = Effect.suspend(() => {
    const frame = frames.shift()
    if (frame !== undefined) return Effect.succeed(frame)
    return isEnded ? Cause.done() : Effect.flatMap(wait, () => read)
  })
  return {
    pushUnsafe: (frame, release) => {
      if (isEnded) return
      frames.push({ kind: frame[4] ?? 0, body: frame.subarray(8), release })
      wake?.()
    },
    endUnsafe: () => {
      isEnded = true
      wake?.()
    },
    read
  }
}
