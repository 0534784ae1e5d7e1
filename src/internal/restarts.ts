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

const stepOf = (tolerate: Tolerator) => Schedule.toStep(tolerate)
type Step = Effect.Success<ReturnType<typeof stepOf>>

/** The restarts of one run: see the module. */
export class Restarts {
  readonly #tolerate: Tolerator
  /** Of the schedule, from the first failure on; and what waits for the end of this round. */
  #step: Step | undefined
  #over: Latch.Latch | undefined
  #round = 0
  #opensAt = Number.NEGATIVE_INFINITY
  #failures = 0

  constructor(tolerate: Tolerator) {
    this.#tolerate = tolerate
  }

  get #budget(): Effect.Effect<Step> {
    const known = this.#step
    return known === undefined
      ? Effect.map(stepOf(this.#tolerate), (step) => this.#step ??= step)
      : Effect.succeed(known)
  }

  /** The number of the current round; each restart begins another. */
  round(): number {
    return this.#round
  }

  /** When the links of this round may be opened, in milliseconds of a monotonic clock. */
  opensAt(): number {
    return this.#opensAt
  }

  /** How many failures were counted. */
  failures(): number {
    return this.#failures
  }

  /** Waits until `round` is over. */
  ended(round: number): Effect.Effect<void> {
    return Effect.suspend(() => round === this.#round ? (this.#over ??= Latch.makeUnsafe(false)).await : Effect.void)
  }

  /**
   * Tells of a failure of a link of `round`. Unless its restart has begun meanwhile, it is counted, and the next round
   * begins. Says whether it is tolerated.
   */
  failed(cause: DeviceLost | FeedRefused, round: number, now: number): Effect.Effect<boolean> {
    // An interruption between the two would leave a failure that was counted and has no restart.
    return Effect.uninterruptible(Effect.suspend(() => {
      if (round !== this.#round) return Effect.succeed(true)
      this.#failures++
      const stepped = Effect.flatMap(this.#budget, (step) => step(now, cause))
      return Effect.map(Effect.exit(stepped), (exit) => {
        // The schedule has ended, or it fails: then the failure is not tolerated.
        if (Exit.isFailure(exit)) return false
        const former = this.#over
        this.#over = undefined
        this.#opensAt = now + Duration.toMillis(exit.value[1])
        this.#round++
        former?.openUnsafe()
        return true
      })
    }))
  }
}

/** A new budget, and the first round. */
export const make = (tolerate: Tolerator): Restarts => new Restarts(tolerate)
