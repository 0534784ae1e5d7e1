/**
 * Wires over sockets of Node, with as few copies and calls of the system as may be.
 *
 * Bytes are read as they come, not when they are asked for: when more than `unreadBytes` of them wait, reading pauses
 * until half of that is received. What is sent in one turn of the event loop is written with one call.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import type { Limits, RawFrame } from "./frameCutter.ts"
import * as FrameCutter from "./frameCutter.ts"
import type { MalformedFrame } from "./malformedFrame.ts"
import { nodeMemory } from "./nodeMemory.ts"
import type { FrameWire, Open, Segments, WireReader } from "./socketWire.ts"

/** How much may wait to be received before reading pauses, in bytes; a frame counts for more than its body. */
const unreadBytes = 1024 * 1024
const frameCost = 64

/** Why nothing more comes: made for who asks, since it costs as much as all else that a link's end costs. */
type Why = () => unknown

/** How a connection ends that was closed in order. */
const closed = (): Error => new Error("the connection was closed")

/** What is read at once where no body waits for more, and where a large one is expected to follow. */
const mostRead = 256 * 1024
const leastRead = 4096

/** Read into by all sockets: what was read is cut, and copied, before another is. An idle one keeps no buffer. */
let shared: Buffer | undefined
const staging = (): Buffer => shared ??= Buffer.allocUnsafeSlow(mostRead)

/** How much of a body must be missing for it to be read into at once. */
const directBytes = 16 * 1024

/** What was sent in one turn of the event loop is written at its end. */
const flush = (wire: NetWire): void => wire.flush()

/** Many may be open and idle, so it is one object. */
class NetWire implements FrameWire {
  readonly #duplex: Duplex
  readonly #writesOf: ((segments: Segments) => Segments) | undefined
  /** Its frames have come and were not received; and how much that is. */
  readonly #cutter: FrameCutter.Cutter
  #unread = 0
  #isPaused = false
  /** The body that is being assembled is read into. */
  #isDirect = false
  /** Why nothing more comes: what has come is received first. */
  #ended: Why | undefined
  /** Who is told what comes; else who waits to receive. And who waits to send, since there was one. */
  #reader: WireReader | undefined
  #receive: Effect.Effect<RawFrame, unknown> | undefined
  #receiver: ((next: Effect.Effect<RawFrame, unknown>) => void) | undefined
  #blocked: Array<(sent: Effect.Effect<void, unknown>) => void> | undefined
  #isCorked = false

  /** Its bytes come by `came`, or are read with `buffer` and `read`. The duplex stays the caller's to close. */
  constructor(duplex: Duplex, limits: Limits, writesOf?: (segments: Segments) => Segments) {
    this.#duplex = duplex
    this.#writesOf = writesOf
    this.#cutter = FrameCutter.make(limits, nodeMemory)
    duplex.on("end", this.#onOver).on("error", this.#onOver).on("close", this.#onOver)
    if (duplex.closed) this.#onOver()
  }

  /** No more is received, and what was sent leaves by itself. */
  detach(): void {
    const duplex = this.#duplex
    this.#end(closed)
    duplex.off("end", this.#onOver).off("close", this.#onOver)
    // It is closed when everything is sent: one whose peer takes nothing more would stay for ever.
    if (this.#isFull()) duplex.destroy()
    else this.flush()
  }

  // --- what comes ----------------------------------------------------------------------------------------------------

  /** Bytes have come that nobody writes to any more; gives whether more may come. */
  came(bytes: Uint8Array): boolean {
    const before = this.#cutter.frames.length
    return this.#cut(before, this.#cutter.take(bytes, true))
  }

  /** Where what comes next is put. */
  buffer(): Uint8Array {
    const rest = this.#cutter.rest()
    const wasDirect = this.#isDirect
    this.#isDirect = rest !== undefined && rest.length >= directBytes
    if (this.#isDirect && rest !== undefined) return rest
    // After a large body comes another, most likely, and all but its beginning is to be read directly.
    return wasDirect ? staging().subarray(0, leastRead) : staging()
  }

  /** So many bytes were put there; gives whether more may come. */
  read(count: number, bytes: Uint8Array): boolean {
    const before = this.#cutter.frames.length
    if (!this.#isDirect) return this.#cut(before, this.#cutter.take(bytes.subarray(0, count), false))
    this.#cutter.filled(count)
    return this.#cut(before, undefined)
  }

  /** Frames were cut, beside those that there were before. */
  #cut(before: number, malformed: MalformedFrame | undefined): boolean {
    const { frames } = this.#cutter
    for (let i = before; i < frames.length; i++) this.#unread += frames[i]!.body.length + frameCost
    if (malformed !== undefined) this.#end(() => malformed)
    else if (frames.length > 0) this.#wake()
    this.#isPaused = this.#ended !== undefined || this.#unread > unreadBytes
    return !this.#isPaused
  }

  get receive(): Effect.Effect<RawFrame, unknown> {
    // Who waits is resumed with the same effect, and takes by itself: what is not received any more is not taken.
    return this.#receive ??= Effect.callback((resume) => {
      const frame = this.#next()
      if (frame !== undefined) resume(Effect.succeed(frame))
      else if (this.#ended !== undefined) resume(Effect.fail(this.#ended()))
      else this.#receiver = resume
    })
  }

  tellUnsafe(reader: WireReader): void {
    this.#reader = reader
    // Nobody asks any more.
    this.#receive = undefined
    this.#wake()
  }

  #next(): RawFrame | undefined {
    const frame = this.#cutter.frames.shift()
    if (frame === undefined) return undefined
    this.#unread -= frame.body.length + frameCost
    if (this.#isPaused && this.#ended === undefined && this.#unread <= unreadBytes / 2) {
      this.#isPaused = false
      this.#duplex.resume()
    }
    return frame
  }

  #wake(): void {
    const reader = this.#reader
    if (reader !== undefined) return this.#tell(reader)
    const resume = this.#receiver
    this.#receiver = undefined
    resume?.(this.receive)
  }

  #tell(reader: WireReader): void {
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) reader.cameUnsafe(frame)
    // What it is told may end the wire, and then that was told already.
    if (this.#ended === undefined || this.#reader !== reader) return
    this.#reader = undefined
    reader.endedUnsafe(this.#ended())
  }

  #end(why: Why): void {
    this.#ended ??= why
    this.#wake()
  }

  // --- what goes -----------------------------------------------------------------------------------------------------

  send(segments: Segments): Effect.Effect<void, unknown> {
    return Effect.suspend(() => {
      const duplex = this.#duplex
      if (duplex.destroyed || duplex.writableEnded) return Effect.fail(this.#why())
      if (!this.#isCorked) {
        this.#isCorked = true
        duplex.cork()
        process.nextTick(flush, this)
      }
      for (const part of this.#writesOf?.(segments) ?? segments) duplex.write(part)
      if (!this.#isFull()) return Effect.void
      this.flush()
      return this.#sent()
    })
  }

  #sent(): Effect.Effect<void, unknown> {
    return Effect.callback((resume) => {
      if (this.#isBroken()) resume(Effect.fail(this.#why()))
      else if (!this.#isFull()) resume(Effect.void)
      else this.#waiting().push(resume)
    })
  }

  #waiting(): Array<(sent: Effect.Effect<void, unknown>) => void> {
    if (this.#blocked === undefined) this.#duplex.on("drain", () => this.#drained())
    return this.#blocked ??= []
  }

  #drained(): void {
    for (const resume of this.#blocked?.splice(0) ?? []) resume(this.#sent())
  }

  #isFull(): boolean {
    return this.#duplex.writableLength >= this.#duplex.writableHighWaterMark
  }

  /** Writes what was sent. */
  flush(): void {
    if (!this.#isCorked) return
    this.#isCorked = false
    this.#duplex.uncork()
  }

  // --- what the stream tells -----------------------------------------------------------------------------------------

  /** Its peer has ended it, or it is broken, or closed. */
  readonly #onOver = () => {
    this.#end(() => this.#why())
    if (this.#isBroken()) this.#drained()
  }

  #isBroken(): boolean {
    return this.#duplex.destroyed || this.#duplex.errored !== null
  }

  #why(): unknown {
    return this.#duplex.errored ?? closed()
  }
}

/** Makes something in the scope, at once, and does something else when that closes. */
const owned = <A>(acquire: () => A, release: (a: A) => void): Effect.Effect<A, never, Scope.Scope> =>
  Effect.uninterruptible(Effect.flatMap(Effect.scope, (scope) => {
    const a = acquire()
    return Effect.as(Scope.addFinalizerExit(scope, releasing(release, a)), a)
  }))

/** It is kept as long as the scope is open, and keeps nothing of how it was made. */
const releasing = <A>(release: (a: A) => void, a: A) => (): Effect.Effect<void> => Effect.sync(() => release(a))

/**
 * A wire over a stream of Node that is open. Frames that lie whole and aligned in what was read are views of it, so that
 * one of them keeps as much as was read with it, at most 64 KiB. `writesOf` says in what pieces a frame is written.
 */
export const fromDuplex = (duplex: Duplex, writesOf?: (segments: Segments) => Segments): Open => (limits) =>
  Effect.map(
    owned(() => {
      const wire = new NetWire(duplex, limits, writesOf)
      const onData = (chunk: Uint8Array) => {
        if (!wire.came(chunk)) duplex.pause()
      }
      duplex.on("data", onData).resume()
      return { wire, onData }
    }, ({ onData, wire }) => {
      duplex.off("data", onData)
      wire.detach()
    }),
    ({ wire }) => wire
  )

class DialledWire extends NetWire {
  readonly socket: Net.Socket

  constructor(socket: Net.Socket, limits: Limits) {
    super(socket, limits)
    this.socket = socket
  }

  hangUp(): void {
    if (this.socket.connecting) {
      this.socket.destroy()
      return
    }
    this.detach()
    this.socket.destroySoon()
  }
}

const hangUp = (wire: DialledWire): void => wire.hangUp()

const dialled = (options: Net.NetConnectOpts, limits: Limits): DialledWire => {
  // It asks for a buffer before `connect` returns.
  const socket = new Net.Socket({
    onread: {
      buffer: () => wire.buffer(),
      callback: (count: number, bytes: Uint8Array) => wire.read(count, bytes)
    }
  })
  const wire = new DialledWire(socket, limits)
  socket.setNoDelay(true).connect(options)
  return wire
}

const connected = (wire: DialledWire): Effect.Effect<FrameWire, unknown> =>
  Effect.callback((resume) => {
    const { socket } = wire
    const failed = (cause: unknown) => resume(Effect.fail(cause))
    socket.once("error", failed).once("connect", () => {
      socket.off("error", failed)
      resume(Effect.succeed(wire))
    })
  })

/**
 * Dials, and reads without a copy: the system puts the bytes of large bodies where they belong. Fails with what the
 * system says.
 */
export const dial = (options: Net.NetConnectOpts): Open => (limits) =>
  Effect.flatMap(owned(() => dialled(options, limits), hangUp), connected)
