/**
 * The wire to a worker process: one stream of bytes, either way, on which links are numbered.
 *
 * A message is a head of 8 bytes (number of its link and length of its body, as u32; little-endian) and a body: a frame, or,
 * on link 0, what is said of links and of the worker, as JSON.
 */
import * as Effect from "effect/Effect"
import type * as Net from "node:net"
import { releaseOf } from "./frameMemory.ts"
import { nodeMemory } from "./nodeMemory.ts"
import type { Inbox, Listener, Pipe, Wire } from "./workerWire.ts"
import { makeInbox } from "./workerWire.ts"

const headBytes = 8

/** Cuts a stream into messages. The other end is trusted: what it announces is allocated. */
const makeReader = (message: (link: number, body: Uint8Array<ArrayBuffer>) => void) => {
  const head = new Uint8Array(headBytes)
  const view = new DataView(head.buffer)
  let headLength = 0
  let body: Uint8Array<ArrayBuffer> | undefined
  let bodyLength = 0
  return (bytes: Uint8Array): void => {
    let at = 0
    while (at < bytes.length) {
      if (body === undefined) {
        const part = bytes.subarray(at, at + headBytes - headLength)
        head.set(part, headLength)
        headLength += part.length
        at += part.length
        if (headLength < headBytes) return
        body = nodeMemory.allocate(view.getUint32(4, true))
        bodyLength = 0
      }
      const part = bytes.subarray(at, at + body.length - bodyLength)
      body.set(part, bodyLength)
      bodyLength += part.length
      at += part.length
      if (bodyLength < body.length) return
      const whole = body
      body = undefined
      headLength = 0
      message(view.getUint32(0, true), whole)
    }
  }
}

const decoder = new TextDecoder()

/** What is said of a link, on link 0. */
const linkOf = (word: unknown, tag: "Open" | "Close"): number | undefined =>
  typeof word === "object" && word !== null && "_tag" in word && word._tag === tag && "link" in word &&
    typeof word.link === "number"
    ? word.link
    : undefined

/** The wire over a socket, at either end. */
export const wireOf = (socket: Net.Socket, listener: Listener): Wire => {
  const inboxes = new Map<number, Inbox>()
  let links = 0
  /** Resumes those that wait until the socket takes more. */
  const waiting = new Set<() => void>()
  const free = () => {
    for (const go of waiting) go()
    waiting.clear()
  }
  const drained = Effect.callback<void>((resume) => {
    const go = () => resume(Effect.void)
    waiting.add(go)
    return Effect.sync(() => waiting.delete(go))
  })
  const write = (link: number, parts: ReadonlyArray<Uint8Array>): boolean => {
    if (socket.destroyed || socket.writableEnded) return true
    const head = new Uint8Array(headBytes)
    const view = new DataView(head.buffer)
    view.setUint32(0, link, true)
    view.setUint32(4, parts.reduce((sum, part) => sum + part.length, 0), true)
    socket.cork()
    let canMore = socket.write(head)
    for (const part of parts) canMore = socket.write(part)
    socket.uncork()
    return canMore
  }
  const say = (word: unknown): void => void write(0, [Buffer.from(JSON.stringify(word))])
  const add = (link: number): Pipe => {
    const inbox = makeInbox()
    if (socket.destroyed || socket.writableEnded) inbox.endUnsafe()
    else inboxes.set(link, inbox)
    return {
      write: (parts) => Effect.suspend(() => !inboxes.has(link) || write(link, parts) ? Effect.void : drained),
      read: inbox.read,
      closeUnsafe: () => {
        inbox.endUnsafe()
        if (inboxes.delete(link)) say({ _tag: "Close", link })
      }
    }
  }
  const read = makeReader((link, body) => {
    if (link > 0) return inboxes.get(link)?.pushUnsafe(body, releaseOf(nodeMemory, body))
    const word: unknown = JSON.parse(decoder.decode(body))
    const opened = linkOf(word, "Open")
    const closed = linkOf(word, "Close")
    if (opened !== undefined) return listener.opened(add(opened))
    if (closed === undefined) return listener.said(word)
    inboxes.get(closed)?.endUnsafe()
    inboxes.delete(closed)
  })
  socket.on("data", read)
  socket.on("drain", free)
  // It is closed after an error, and that is all there is to know: the other end has ended.
  socket.on("error", () => {})
  socket.on("close", () => {
    for (const inbox of inboxes.values()) inbox.endUnsafe()
    inboxes.clear()
    free()
    listener.closed()
  })
  return {
    say,
    openUnsafe: () => {
      const link = ++links
      say({ _tag: "Open", link })
      return add(link)
    },
    // What was written is still sent, and the other end closes then. To close both ways at once could break what it is just
    // writing, and with that what it has not read.
    closeUnsafe: () => void socket.end()
  }
}
