/**
 * Memory for the bodies of frames that is used again.
 *
 * New memory costs more than what is read into it: the system clears its pages, and what the collector frees is taken apart
 * and allocated anew. What a consumer is done with is still in the caches.
 */

/** Memory to read into: see the module. */
export interface FrameMemory {
  /** So many bytes, which need not be zero. */
  readonly allocate: (length: number) => Uint8Array<ArrayBuffer>
  /**
   * Takes back bytes that were allocated here. Who has a view of them still finds it detached, with no bytes, and sees
   * nothing of what is read there next.
   */
  readonly giveBack: (bytes: Uint8Array<ArrayBuffer>) => void
}

/** Less is not worth the trouble: to detach it takes as long as to allocate it. */
const leastBytes = 16 * 1024

/** How much lies there unused at most, in bytes and in pieces. */
const mostBytes = 16 * 1024 * 1024
const mostPieces = 64

/** Whether the memory that bytes lie in is worth giving back. */
export const isReusable = ({ buffer: { byteLength } }: Uint8Array): boolean =>
  byteLength >= leastBytes && byteLength <= mostBytes

/** How to give bytes back, if that is worth it. */
export const releaseOf = (memory: FrameMemory, bytes: Uint8Array<ArrayBuffer>): (() => void) | undefined =>
  isReusable(bytes) ? () => memory.giveBack(bytes) : undefined

/** Frames that follow each other are of about the same length: each piece has a sixteenth more, so that it fits the next. */
const roomy = (length: number): number => Math.ceil(length * 17 / 16 / 4096) * 4096

/** Makes an empty memory. `allocate` gives new bytes. */
export const make = (allocate: (length: number) => ArrayBuffer): FrameMemory => {
  /** What was given back last is last. */
  const free: Array<ArrayBuffer> = []
  let freeBytes = 0
  const remove = (index: number): ArrayBuffer => {
    const [buffer] = free.splice(index, 1)
    freeBytes -= buffer!.byteLength
    return buffer!
  }
  return {
    allocate: (length) => {
      if (length < leastBytes) return new Uint8Array(allocate(length))
      // Not one that is much too large: what waits is counted by the lengths of the frames.
      const most = 5 / 4 * roomy(length)
      const index = free.findLastIndex(({ byteLength }) => byteLength >= length && byteLength <= most)
      return new Uint8Array(index < 0 ? allocate(roomy(length)) : remove(index), 0, length)
    },
    giveBack: (bytes) => {
      if (!isReusable(bytes)) return
      const own = bytes.buffer.transfer()
      while (free.length === mostPieces || freeBytes + own.byteLength > mostBytes) remove(0)
      free.push(own)
      freeBytes += own.byteLength
    }
  }
}
