/**
 * The writing half of a device's link: frames to be sent in order, then a report if one is due.
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { DeviceFrame, DeviceLost, HostLink } from "../RemoteDevices.ts"

/**
 * The writing half of a link. `send`, `report` and `close` only note what is to be done: no fiber is resumed before the
 * next turn of the scheduler, so they may be called in the step in which a queue hands out.
 */
export interface LinkWriter {
  readonly send: (frame: DeviceFrame) => void
  /** There may be something to report, or the feeder has asked for a report. Those of one turn become one. */
  readonly report: (isAsked?: boolean) => void
  /** Sends what is there, then closes the link. */
  readonly close: () => void
  /** Waits until nothing is left to send, and, if the feeder has ended, until it has closed the link. */
  readonly finished: Effect.Effect<void>
  /** Writes until the link is to be closed. `source.report` sends a report of how things stand, if one is due. */
  readonly run: (source: {
    readonly report: (isAsked: boolean) => void
    readonly hasEnded: () => boolean
  }) => Effect.Effect<void, DeviceLost>
}

/** Makes the writer of a link. */
export const make = (link: HostLink): Effect.Effect<LinkWriter> =>
  Effect.withFiber((fiber) =>
    Effect.sync(() => {
      const dispatcher = fiber.currentDispatcher
      const frames: Array<DeviceFrame> = []
      const wake = Latch.makeUnsafe(false)
      const idle = Latch.makeUnsafe(false)
      const closing = Latch.makeUnsafe(false)
      const closed = Latch.makeUnsafe(false)
      let hasEnded = () => false
      let isDue = false
      let isAsked = false
      let isClosing = false
      let isScheduled = false
      /** Frames that are noted meanwhile are seen in this turn. */
      let isLooking = false
      const work = () => {
        idle.closeUnsafe()
        if (isScheduled || isLooking) return
        isScheduled = true
        dispatcher.scheduleTask(() => {
          isScheduled = false
          if (isClosing) closing.openUnsafe()
          wake.openUnsafe()
        }, 0)
      }
      return {
        send: (frame) => {
          if (isClosing) return
          frames.push(frame)
          work()
        },
        report: (asked = false) => {
          if (isClosing) return
          isDue = true
          isAsked ||= asked
          work()
        },
        close: () => {
          isClosing = true
          work()
        },
        finished: Effect.flatMap(idle.await, () => hasEnded() ? closed.await : Effect.void),
        run: (source) => {
          hasEnded = source.hasEnded
          const turn: Effect.Effect<void, DeviceLost> = Effect.suspend(() => {
            if (frames.length === 0 && isDue) {
              const asked = isAsked
              isDue = isAsked = false
              isLooking = true
              source.report(asked)
              isLooking = false
              if (isDue || isClosing) work()
            }
            const frame = frames.shift()
            if (frame !== undefined) return Effect.flatMap(link.send(frame), () => turn)
            idle.openUnsafe()
            if (isClosing) return Effect.void
            wake.closeUnsafe()
            return Effect.flatMap(wake.await, () => turn)
          })
          // A peer that takes nothing more does not keep a link that is to be closed.
          return Effect.raceFirst(turn, Effect.andThen(closing.await, Effect.sleep("1 second"))).pipe(
            Effect.ensuring(Effect.andThen(idle.open, closed.open))
          )
        }
      }
    })
  )
