/**
 * Wires over sockets of Node, with as few copies and calls of the system as may be.
 *
 * Bytes are read as they come, not when they are asked for: when more than `unreadBytes` of them wait, reading pauses
 * until half of that is received. What is sent in one turn of the event loop is written with one call.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import type { Limits, RawFrame } from "./frameCutter.ts"
import * as FrameCutter from "./frameCutter.ts"
import type { MalformedFrame } from "./malformedFrame.ts"
import { nodeMemory } from "./nodeMemory.ts"
import type { FrameWire, Open, Segments } from "./socketWire.ts"

/** How much may wait to be received before reading pauses, in bytes; a frame counts for more than its body. */
const unreadBytes = 1024 * 1024
const frameCost = 64

/** Why nothing more comes, or goes: made for who asks, since it costs as much as all else that a link's end costs. */
type Why = () => unknown

/** How a connection ends that was closed in order. */
const closed = (): Error => new Error("the connection was closed")

/** What has come and was not received. */
interface Inbox {
  readonly cutter: FrameCutter.Cutter
  /** The cutter was given something: gives whether more may come. */
  readonly came: (malformed: MalformedFrame | undefined) => boolean
  /** Nothing more comes; what has come is received first. */
  readonly end: (why: Why) => void
  /** `resume` has more come. */
  readonly receive: (resume: () => void) => Effect.Effect<RawFrame, unknown>
}

const makeInbox = (limits: Limits): Inbox => {
  const cutter = FrameCutter.make(limits, nodeMemory)
  const ready: Array<RawFrame> = []
  let unread = 0
  let isPaused = false
  let failure: Why | undefined
  let waiting: (() => void) | undefined
  const wake = () => {
    const resume = waiting
    waiting = undefined
    resume?.()
  }
  const end = (why: Why) => {
    failure ??= why
    wake()
  }
  const come = Effect.callback<void>((resume) => {
    const resumed = () => resume(Effect.void)
    waiting = resumed
    return Effect.sync(() => {
      if (waiting === resumed) waiting = undefined
    })
  })
  return {
    cutter,
    came: (malformed) => {
      for (const frame of cutter.frames) {
        unread += frame.body.length + frameCost
        ready.push(frame)
      }
      cutter.frames.length = 0
      if (malformed !== undefined) end(() => malformed)
      else if (ready.length > 0) wake()
      isPaused = failure !== undefined || unread > unreadBytes
      return !isPaused
    },
    end,
    receive: (resume) => {
      const receive: Effect.Effect<RawFrame, unknown> = Effect.suspend(() => {
        const frame = ready.shift()
        if (frame === undefined) {
          return failure === undefined ? Effect.flatMap(come, () => receive) : Effect.fail(failure())
        }
        unread -= frame.body.length + frameCost
        if (isPaused && failure === undefined && unread <= unreadBytes / 2) {
          isPaused = false
          resume()
        }
        return Effect.succeed(frame)
      })
      return receive
    }
  }
}

/** A wire whose inbox is filled by others. The duplex stays the caller's to close. */
const attach = (
  duplex: Duplex,
  inbox: Inbox,
  writesOf: (segments: Segments) => Segments = (segments) => segments
): Effect.Effect<FrameWire, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    let broken: Why | undefined
    let isCorked = false
    const blocked = new Set<() => void>()
    const isFull = () => duplex.writableLength >= duplex.writableHighWaterMark
    const flush = () => {
      if (!isCorked) return
      isCorked = false
      duplex.uncork()
    }
    const free = Effect.callback<void>((resume) => {
      const resumed = () => resume(Effect.void)
      blocked.add(resumed)
      return Effect.sync(() => blocked.delete(resumed))
    })
    const onDrain = () => {
      const all = [...blocked]
      blocked.clear()
      for (const resumed of all) resumed()
    }
    const onEnd = () => inbox.end(closed)
    const onError = (cause: unknown) => {
      broken ??= () => cause
      inbox.end(broken)
    }
    const onClose = () => {
      broken ??= closed
      inbox.end(broken)
      onDrain()
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        duplex.on("drain", onDrain).on("end", onEnd).on("error", onError).on("close", onClose)
        if (duplex.closed) onClose()
      }),
      () =>
        Effect.sync(() => {
          inbox.end(closed)
          duplex.off("drain", onDrain).off("end", onEnd).off("close", onClose)
          // It is closed when everything is sent: one whose peer takes nothing more would stay for ever.
          if (isFull()) duplex.destroy()
          else flush()
        })
    )
    const sent: Effect.Effect<void, unknown> = Effect.suspend(() => {
      if (broken !== undefined) return Effect.fail(broken())
      return isFull() ? Effect.flatMap(free, () => sent) : Effect.void
    })
    return {
      receive: inbox.receive(() => duplex.resume()),
      send: (segments) =>
        Effect.suspend(() => {
          if (duplex.destroyed || duplex.writableEnded) return Effect.fail((broken ?? closed)())
          if (!isCorked) {
            isCorked = true
            duplex.cork()
            process.nextTick(flush)
          }
          for (const part of writesOf(segments)) duplex.write(part)
          if (!isFull()) return Effect.void
          flush()
          return sent
        })
    }
  })

/**
 * A wire over a stream of Node that is open. Frames that lie whole and aligned in what was read are views of it, so that
 * one of them keeps as much as was read with it, at most 64 KiB. `writesOf` says in what pieces a frame is written.
 */
export const fromDuplex = (duplex: Duplex, writesOf?: (segments: Segments) => Segments): Open => (limits) =>
  Effect.gen(function*() {
    const inbox = makeInbox(limits)
    const wire = yield* attach(duplex, inbox, writesOf)
    const onData = (chunk: Uint8Array) => {
      if (!inbox.came(inbox.cutter.take(chunk, true))) duplex.pause()
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => duplex.on("data", onData).resume()),
      () => Effect.sync(() => duplex.off("data", onData))
    )
    return wire
  })

/** What is read at once where no body waits for more, and where a large one is expected to follow. */
const mostRead = 256 * 1024
const leastRead = 4096

/** Read into by all sockets: what was read is cut, and copied, before another is. An idle one keeps no buffer. */
let shared: Buffer | undefined
const staging = (): Buffer => shared ??= Buffer.allocUnsafeSlow(mostRead)

/** How much of a body must be missing for it to be read into at once. */
const directBytes = 16 * 1024

/**
 * Dials, and reads without a copy: the system puts the bytes of large bodies where they belong. Fails with what the
 * system says.
 */
export const dial = (options: Net.NetConnectOpts): Open => (limits) =>
  Effect.gen(function*() {
    const inbox = makeInbox(limits)
    const { cutter } = inbox
    let isDirect = false
    const buffer = (): Uint8Array => {
      const rest = cutter.rest()
      const wasDirect = isDirect
      isDirect = rest !== undefined && rest.length >= directBytes
      if (isDirect && rest !== undefined) return rest
      // After a large body comes another, most likely, and all but its beginning is to be read directly.
      return wasDirect ? staging().subarray(0, leastRead) : staging()
    }
    const callback = (count: number, bytes: Uint8Array): boolean => {
      if (isDirect) {
        cutter.filled(count)
        return inbox.came(undefined)
      }
      return inbox.came(cutter.take(bytes.subarray(0, count), false))
    }
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => Net.connect({ ...options, noDelay: true, onread: { buffer, callback } })),
      (socket) =>
        Effect.sync(() => {
          if (socket.connecting) socket.destroy()
          else socket.destroySoon()
        })
    )
    yield* Effect.callback<void, unknown>((resume) => {
      socket.on("error", (cause) => resume(Effect.fail(cause)))
      socket.once("connect", () => resume(Effect.void))
    })
    return yield* attach(socket, inbox)
  })
