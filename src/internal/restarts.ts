/**
 * When remote feeds open their links again after a failure: a budget of failures, which gives each a delay, and the
 * time of the restart that follows. Each remote feed has one of its own, or those of a run share one and restart
 * together.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import type { DeviceLost, FeedRefused } from "../RemoteDevices.ts"

/** The retry budget: any Schedule. It is stepped with each failure. */
export type Tolerator = Schedule.Schedule<unknown, DeviceLost | FeedRefused>

/** The restarts of one run: see the module. */
export interface Restarts {
  /** The number of the current round; each restart begins another. */
  readonly round: () => number
  /** When the links of this round may be opened, in milliseconds of a monotonic clock. */
  readonly opensAt: () => number
  /** Waits until `round` is over. */
  readonly ended: (round: number) => Effect.Effect<void>
  /**
   * Tells of a failure of a link of `round`. Unless its restart has begun meanwhile, it is counted, and the next round
   * begins. Says whether it is tolerated.
   */
  readonly failed: (cause: DeviceLost | FeedRefused, round: number, now: number) => Effect.Effect<boolean>
  /** How many failures were counted. */
  readonly failures: () => number
}

/** A new budget, and the first round. */
export const make = (tolerate: Tolerator): Effect.Effect<Restarts> =>
  Effect.map(Schedule.toStep(tolerate), (step) => {
    let round = 0
    let opensAt = Number.NEGATIVE_INFINITY
    let failures = 0
    let over = Latch.makeUnsafe(false)
    return {
      round: () => round,
      opensAt: () => opensAt,
      ended: (which) => Effect.suspend(() => which === round ? over.await : Effect.void),
      // An interruption between the two would leave a failure that was counted and has no restart.
      failed: (cause, which, now) =>
        Effect.uninterruptible(Effect.suspend(() => {
          if (which !== round) return Effect.succeed(true)
          failures++
          return Effect.map(Effect.exit(step(now, cause)), (exit) => {
            // The schedule has ended, or it fails: then the failure is not tolerated.
            if (Exit.isFailure(exit)) return false
            const former = over
            over = Latch.makeUnsafe(false)
            opensAt = now + Duration.toMillis(exit.value[1])
            round++
            former.openUnsafe()
            return true
          })
        })),
      failures: () => failures
    }
  })
