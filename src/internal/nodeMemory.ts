import * as FrameMemory from "./frameMemory.ts"

/** The memory of the frames of all links of this thread. What is allocated is written to before it is seen. */
export const nodeMemory = FrameMemory.make((length) => Buffer.allocUnsafeSlow(length).buffer)
