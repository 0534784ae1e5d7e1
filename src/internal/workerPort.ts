/**
 * The wire to a worker thread: a message port for words, and one more for each link. A frame is one message, whose memory
 * is transferred. A message that is nothing but memory gives that back to the thread which has sent a frame in it.
 */
import * as Effect from "effect/Effect"
import { MessageChannel, MessagePort, receiveMessageOnPort } from "node:worker_threads"
import { isReusable } from "./frameMemory.ts"
import { nodeMemory } from "./nodeMemory.ts"
import type { Listener, Pipe, Wire } from "./workerWire.ts"
import { makeInbox } from "./workerWire.ts"

/** Up to this many bytes a message is cheaper to clone than to transfer. */
const cloneBytes = 512

/** A frame in memory of its own: its parts may share theirs with others. */
const join = (parts: ReadonlyArray<Uint8Array>): Uint8Array<ArrayBuffer> => {
  let length = 0
  for (const part of parts) length += part.length
  const frame = nodeMemory.allocate(length)
  let at = 0
  for (const part of parts) {
    frame.set(part, at)
    at += part.length
  }
  return frame
}

/** Hears what has come over a port and waits its turn. */
const hearAll = (port: MessagePort, hear: (message: unknown) => void): void => {
  for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) hear(next.message)
}

/** One end of a link. */
interface PortPipe extends Pipe {
  /** The other end has gone with its wire: what it sent before is still read. */
  readonly endUnsafe: () => void
}

const pipeOf = (port: MessagePort, closed: () => void): PortPipe => {
  const inbox = makeInbox()
  const hear = (frame: unknown) => {
    if (frame instanceof ArrayBuffer) {
      nodeMemory.giveBack(new Uint8Array(frame))
    } else if (frame instanceof Uint8Array && frame.buffer instanceof ArrayBuffer) {
      const { buffer } = frame
      inbox.pushUnsafe(
        frame as Uint8Array<ArrayBuffer>,
        isReusable(frame) ? () => port.postMessage(buffer, [buffer]) : undefined
      )
    }
  }
  const closeUnsafe = () => {
    inbox.endUnsafe()
    port.close()
  }
  port.on("message", hear)
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
    endUnsafe: () => {
      hearAll(port, hear)
      closeUnsafe()
    },
    closeUnsafe
  }
}

/** The wire over a port. */
export interface PortWire extends Wire {
  /** Hears what has come and waits its turn. */
  readonly hearUnsafe: () => void
}

/** The wire over a port, at either end. */
export const wireOf = (port: MessagePort, listener: Listener): PortWire => {
  const pipes = new Set<PortPipe>()
  const add = (port: MessagePort): PortPipe => {
    const pipe = pipeOf(port, () => pipes.delete(pipe))
    pipes.add(pipe)
    return pipe
  }
  let isClosed = false
  const hear = (message: unknown) => {
    if (message instanceof MessagePort) listener.opened(add(message))
    else listener.said(message)
  }
  port.on("message", hear)
  port.on("close", () => {
    isClosed = true
    // Ports close in no order.
    for (const pipe of pipes) pipe.endUnsafe()
    listener.closed()
  })
  return {
    say: (word) => port.postMessage(word),
    openUnsafe: () => {
      const { port1, port2 } = new MessageChannel()
      port.postMessage(port2, [port2])
      const pipe = add(port1)
      if (isClosed) pipe.closeUnsafe()
      return pipe
    },
    hearUnsafe: () => hearAll(port, hear),
    closeUnsafe: () => port.close()
  }
}
