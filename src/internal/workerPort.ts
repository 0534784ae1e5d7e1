/**
 * The wire to a worker thread: a message port for words, and one more for each link. A frame is one message, whose memory
 * is transferred.
 */
import * as Effect from "effect/Effect"
import { MessageChannel, MessagePort } from "node:worker_threads"
import type { Listener, Pipe, Wire } from "./workerWire.ts"
import { makeInbox } from "./workerWire.ts"

/** Up to this many bytes a message is cheaper to clone than to transfer. */
const cloneBytes = 512

/** A frame in memory of its own: its parts may share theirs with others. */
const join = (parts: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> => {
  let length = 0
  for (const part of parts) length += part.length
  // Zeros would be overwritten; and what Node cuts of its pool cannot be transferred.
  const frame = Buffer.allocUnsafeSlow(length)
  let at = 0
  for (const part of parts) {
    frame.set(part, at)
    at += part.length
  }
  return frame
}

const pipeOf = (port: MessagePort, closed: () => void): Pipe => {
  const inbox = makeInbox()
  port.on("message", (frame: unknown) => {
    if (frame instanceof Uint8Array && frame.buffer instanceof ArrayBuffer) {
      inbox.pushUnsafe(frame as Uint8Array<ArrayBuffer>)
    }
  })
  port.on("close", () => {
    inbox.endUnsafe()
    closed()
  })
  return {
    write: (parts) =>
      Effect.sync(() => {
        const frame = join(parts)
        port.postMessage(frame, frame.length > cloneBytes ? [frame.buffer] : [])
      }),
    read: inbox.read,
    closeUnsafe: () => {
      inbox.endUnsafe()
      port.close()
    }
  }
}

/** The wire over a port, at either end. */
export const wireOf = (port: MessagePort, listener: Listener): Wire => {
  const pipes = new Set<Pipe>()
  const add = (port: MessagePort): Pipe => {
    const pipe = pipeOf(port, () => pipes.delete(pipe))
    pipes.add(pipe)
    return pipe
  }
  let isClosed = false
  const closed = () => {
    if (isClosed) return
    isClosed = true
    for (const pipe of pipes) pipe.closeUnsafe()
    listener.closed()
  }
  port.on("message", (message: unknown) => {
    if (message instanceof MessagePort) listener.opened(add(message))
    else listener.said(message)
  })
  port.on("close", closed)
  return {
    say: (word) => port.postMessage(word),
    openUnsafe: () => {
      const { port1, port2 } = new MessageChannel()
      port.postMessage(port2, [port2])
      const pipe = add(port1)
      if (isClosed) pipe.closeUnsafe()
      return pipe
    },
    closeUnsafe: () => port.close()
  }
}
