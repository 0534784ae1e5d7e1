/**
 * Moves elements from a feeder's queue to one device.
 *
 * What it knows of the device is a `FeedSession`; this module gives that state machine links, a clock, the queue and
 * the retry budget. It is a supervised fiber: `run` lasts until the feed has ended at the device, or the device has
 * failed. What it does with one link is in `internal/remoteLink.ts`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { FeedQueue } from "../FeedQueue.ts"
import * as FeedSession from "../FeedSession.ts"
import { DeviceFailed, type ElementTooLarge } from "../internal/deviceErrors.ts"
import type { Session } from "../internal/remoteLink.ts"
import { RemoteLink } from "../internal/remoteLink.ts"
import * as Restarts from "../internal/restarts.ts"
import type { Ticks } from "../internal/ticks.ts"
import type { FeedInfo, Link, RemoteDevices } from "../RemoteDevices.ts"
import { DeviceLost, FeedRefused } from "../RemoteDevices.ts"

export { DeviceFailed, ElementTooLarge } from "../internal/deviceErrors.ts"

/**
 * What a remote feed needs of its feeder. The members that end in `Unsafe` act at once.
 *
 * @category models
 * @since 0.1.0
 */
export interface Owner<A> {
  readonly queue: FeedQueue<FeedSession.Item<A>>
  /** Elements that left the queue are at the device now, or back at the front of the queue, which `changedUnsafe` tells. */
  readonly pushedUnsafe: (items: ReadonlyArray<FeedSession.Item<A>>) => void
  readonly putBackUnsafe: (items: ReadonlyArray<FeedSession.Item<A>>) => void
  /** Elements are acknowledged as declared. */
  readonly acknowledgedUnsafe: (items: ReadonlyArray<FeedSession.Item<A>>) => void
  /** Elements a device was given and did not finish: its consumer gave them back, or they were taken back from it. */
  readonly givenBackUnsafe: (device: string, items: ReadonlyArray<FeedSession.Item<A>>, afterMillis: number) => void
  readonly takenBackUnsafe: (device: string, items: ReadonlyArray<FeedSession.Item<A>>, afterMillis: number) => void
  /** `invalid`: by the Schema of the device, else by its consumer. */
  readonly rejectedUnsafe: (device: string, item: FeedSession.Item<A>, cause: string, invalid: boolean) => void
  /** Whether elements may be taken; not once the feeder cannot go on, though it has not stopped yet. */
  readonly canFeed: () => boolean
  /** Whether other devices are fed from the queue too. */
  readonly isShared: () => boolean
  /** The feeder cannot go on. */
  readonly failUnsafe: (error: ElementTooLarge) => void
  readonly changedUnsafe: () => void
  /** Does something within a turn of the scheduler. */
  readonly soonUnsafe: (task: () => void) => void
  readonly now: () => number
}

/**
 * What the remote feeds of a run share: ticks every quarter of the lease, and, if they restart together, their restarts. By
 * default each has a budget of its own.
 *
 * @category models
 * @since 0.1.0
 */
export interface Shared {
  readonly ticks: Ticks
  readonly restarts?: Restarts.Restarts | undefined
}

/**
 * A remote feed: see the module.
 *
 * @category models
 * @since 0.1.0
 */
export interface RemoteFeed<A> {
  readonly device: string
  readonly state: () => FeedSession.State<A>
  /** The last failure and how many there were in this run. */
  readonly failures: () => { readonly count: number; readonly last: DeviceLost | FeedRefused | undefined }
  readonly run: (shared: Shared) => Effect.Effect<void, DeviceFailed>
  /** The queue may have elements again, after it was closed and drained. */
  readonly wakeUnsafe: () => void
  /** The device need not wait for more to fill a batch. */
  readonly flushUnsafe: () => void
  /** The feed ends when everything out is acknowledged. */
  readonly drainUnsafe: () => void
  /**
   * The device is fed no more; `run` has been interrupted. What is out is given back when the lease has ended: until
   * then the device may hand it out.
   */
  readonly removeUnsafe: () => void
}

/**
 * The retry budget: any Schedule. It is stepped with each failure.
 *
 * @category models
 * @since 0.1.0
 */
export type Tolerator = Restarts.Tolerator

/** What a remote feed is made of. */
interface Options<A> {
  readonly config: FeedSession.Config<A>
  readonly device: string
  readonly info: FeedInfo
  readonly devices: RemoteDevices["Service"]
  readonly tolerate: Tolerator
  readonly owner: Owner<A>
  /** What was known of the device when it was removed, if it was. */
  readonly state?: FeedSession.State<A> | undefined
}

class DeviceFeed<A> implements RemoteFeed<A>, Session<A> {
  readonly owner: Owner<A>
  likely = 64
  elementBytes: number | undefined
  readonly #devices: RemoteDevices["Service"]
  readonly #info: FeedInfo
  readonly #tolerate: Tolerator
  #state: FeedSession.State<A>
  /** The link in use. */
  #link: RemoteLink<A> | undefined
  #isRemoved = false
  #lost: DeviceLost | undefined
  #failure: DeviceLost | FeedRefused | undefined
  #last: DeviceLost | FeedRefused | undefined
  #failures = 0
  /** Links tried since the device was last heard of. */
  #resumes = 0

  constructor({ config, device, devices, info, owner, state, tolerate }: Options<A>) {
    this.owner = owner
    this.#devices = devices
    this.#info = info
    this.#tolerate = tolerate
    this.#state = state === undefined ? FeedSession.make(config, device) : FeedSession.step(state, { _tag: "Begin" })[0]
  }

  get config(): FeedSession.Config<A> {
    return this.#state.config
  }

  get device(): string {
    return this.#state.name
  }

  state(): FeedSession.State<A> {
    return this.#state
  }

  failures(): { readonly count: number; readonly last: DeviceLost | FeedRefused | undefined } {
    return { count: this.#failures, last: this.#last }
  }

  finished(): number {
    const { base, progress, resolved } = this.#state
    return this.config.acknowledge === "accepted" ? progress.delivered : base + resolved.size
  }

  wakeUnsafe(): void {
    this.#link?.wakeUnsafe()
  }

  flushUnsafe(): void {
    const { flushedAt, phase, sent } = this.#state
    if (phase === "Live" && flushedAt !== sent) this.applyUnsafe({ _tag: "Flush" })
  }

  drainUnsafe(): void {
    const { drainingSince, phase } = this.#state
    if (drainingSince === undefined && phase !== "Failed") this.applyUnsafe({ _tag: "Drain", now: this.owner.now() })
  }

  removeUnsafe(): void {
    this.#isRemoved = true
    this.applyUnsafe({ _tag: "GiveUp" })
  }

  unlinkUnsafe(): void {
    this.#link = undefined
  }

  applyUnsafe(input: FeedSession.Input<A>): void {
    const { device, owner } = this
    const [next, outputs] = FeedSession.step(this.#state, input)
    const leaseEnds = FeedSession.leaseEnds(this.#state)
    this.#state = next
    if (next.phase === "Live") this.#resumes = 0
    for (const output of outputs) {
      switch (output._tag) {
        case "Send":
          this.#link?.pushUnsafe(output.frame)
          break
        case "CloseLink":
          this.#link?.closeUnsafe()
          break
        case "Acknowledged":
          owner.acknowledgedUnsafe(output.items)
          break
        case "GiveBack":
          if (!output.taken) {
            owner.givenBackUnsafe(device, output.items, output.afterMillis)
          } else {
            const afterMillis = this.#isRemoved ? Math.max(0, Math.ceil(leaseEnds - owner.now())) : 0
            owner.takenBackUnsafe(device, output.items, afterMillis)
          }
          break
        case "Rejected":
          owner.rejectedUnsafe(device, output.item, output.cause, output.invalid)
          break
        case "Reclaimed":
          this.#failure = this.#lost ?? new DeviceLost({ device, fate: output.fate, cause: new Error(output.why) })
          break
        case "Failed":
          this.#failure = new FeedRefused({ device, reason: output.reason, detail: output.detail })
          break
      }
    }
    this.#link?.changedUnsafe()
    owner.changedUnsafe()
  }

  // --- one link ------------------------------------------------------------------------------------------------------

  #tick(): void {
    this.applyUnsafe({ _tag: "Tick", now: this.owner.now() })
  }

  #use(link: Link, ticks: Ticks): Effect.Effect<void, DeviceLost> {
    return Effect.suspend(() => (this.#link = new RemoteLink(this, ticks)).run(link))
  }

  #endLink(exit: Exit.Exit<void, unknown>): Effect.Effect<void> {
    return this.#link === undefined ? Effect.void : this.#link.end(exit)
  }

  /** A link was used, or could not be. */
  #linkEnded(error: DeviceLost | FeedRefused | undefined): void {
    const { owner } = this
    if (error?._tag === "FeedRefused") {
      this.applyUnsafe({ _tag: "Refused", reason: error.reason, detail: error.detail })
    } else if (error !== undefined) {
      this.#lost = error
      this.applyUnsafe({ _tag: "Lost", fate: error.fate, now: owner.now() })
    }
    const { phase } = this.#state
    if (phase === "Opening" || phase === "Live" || phase === "Draining") {
      this.applyUnsafe({ _tag: "Lost", fate: "unknown", now: owner.now() })
    }
  }

  #open(): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> {
    const { config: { leaseMillis }, device } = this
    return Effect.timeoutOrElse(this.#devices.open(device, this.#info), {
      duration: leaseMillis,
      orElse: () => Effect.fail(new DeviceLost({ device, fate: "unknown", cause: new Error("opening it timed out") }))
    })
  }

  #attempt(ticks: Ticks): Effect.Effect<void> {
    this.#lost = undefined
    this.#failure = undefined
    // It lasts as long as the link is used, and is in the context of what opens that.
    const scope = Scope.makeUnsafe()
    // Made when it is run: what is kept while the link is in use keeps nothing of how it was opened.
    const linked = Effect.suspend(() =>
      Effect.flatMap(Scope.provide(this.#open(), scope), (link) => this.#use(link, ticks))
    )
    const closed = Effect.onExit(linked, (exit) => Effect.ensuring(this.#endLink(exit), Scope.close(scope, exit)))
    return Effect.flatMap(Effect.exit(closed), (exit) => {
      const failed = Exit.isFailure(exit) ? Cause.findError(exit.cause) : undefined
      // A defect, or an interruption.
      if (failed !== undefined && Result.isFailure(failed)) return Effect.failCause(failed.failure)
      this.#linkEnded(failed?.success)
      return Effect.void
    })
  }

  // --- links, one after the other ------------------------------------------------------------------------------------

  /** Waits for a time, and keeps looking at the clock: a lease, or a drain, may end meanwhile. */
  #pauseUntil(time: () => number, isOver: () => boolean): Effect.Effect<void> {
    return Effect.suspend(() => {
      const left = time() - this.owner.now()
      if (left <= 0 || isOver()) return Effect.void
      return Effect.flatMap(Effect.sleep(Math.ceil(Math.min(left, this.config.leaseMillis / 4))), () => {
        this.#tick()
        return this.#pauseUntil(time, isOver)
      })
    })
  }

  #pause(millis: number): Effect.Effect<void> {
    const until = this.owner.now() + millis
    const { phase } = this.#state
    return this.#pauseUntil(() => until, () => this.#state.phase !== phase)
  }

  /** An attempt, until all restart together. A link closed before the device ever answered leaves nothing to resume. */
  #attemptWithin(restarts: Restarts.Restarts, round: number, ticks: Ticks): Effect.Effect<void> {
    const attempt = this.#attempt(ticks)
    return Effect.andThen(
      Effect.raceFirst(restarts.ended(round), attempt),
      Effect.sync(() => {
        const { drainingSince, heardAt, phase } = this.#state
        const isUnheard = heardAt === undefined && drainingSince === undefined
        if (restarts.round() !== round && phase === "Resuming" && isUnheard) this.applyUnsafe({ _tag: "Stop" })
      })
    )
  }

  run(shared: Shared): Effect.Effect<void, DeviceFailed> {
    return Effect.suspend(() => {
      this.#failures = 0
      this.#failure = undefined
      this.applyUnsafe({ _tag: "Begin" })
      return this.#next(shared, shared.restarts ?? Restarts.make(this.#tolerate))
    })
  }

  /** One link after the other, until the feed has ended here, or the device has failed. */
  #next(shared: Shared, restarts: Restarts.Restarts): Effect.Effect<void, DeviceFailed> {
    if (this.#state.phase === "Ended") return Effect.void
    if (restarts.opensAt() > this.owner.now()) {
      const pause = this.#pauseUntil(() => restarts.opensAt(), () => this.#state.phase === "Ended")
      return Effect.flatMap(pause, () => {
        // A lease that ran out because all had closed their links is taken back, and no failure of the device.
        this.#failure = undefined
        return this.#next(shared, restarts)
      })
    }
    const round = restarts.round()
    const attempt = shared.restarts === undefined
      ? this.#attempt(shared.ticks)
      : this.#attemptWithin(restarts, round, shared.ticks)
    return Effect.flatMap(
      attempt,
      () =>
        Effect.flatMap(
          this.#pauseAfter(restarts, round),
          () => Effect.flatMap(this.#answer(shared, restarts, round), () => this.#next(shared, restarts))
        )
    )
  }

  /** A link is opened again soon, within the lease; less soon where there is nothing to resume. */
  #pauseAfter(restarts: Restarts.Restarts, round: number): Effect.Effect<void> {
    if (this.#failure !== undefined || restarts.round() !== round) return Effect.void
    const { phase } = this.#state
    if (phase === "Resuming") return this.#pause(Math.min(1000, 20 * 2 ** this.#resumes++))
    return phase === "Idle" ? this.#pause(250) : Effect.void
  }

  /** Answers for how it has failed, if it has. */
  #answer(shared: Shared, restarts: Restarts.Restarts, round: number): Effect.Effect<void, DeviceFailed> {
    const { device } = this
    const cause = this.#failure
    if (cause === undefined) return Effect.void
    this.#last = cause
    const failures = ++this.#failures
    const tolerated = this.#state.phase === "Failed"
      ? Effect.succeed(false)
      : restarts.failed(cause, round, this.owner.now())
    return Effect.flatMap(tolerated, (isTolerated) => {
      if (isTolerated) {
        this.#failure = undefined
        return Effect.void
      }
      this.applyUnsafe({ _tag: "GiveUp" })
      return Effect.fail(new DeviceFailed({ device, failures: shared.restarts?.failures() ?? failures, cause }))
    })
  }
}

/**
 * Makes the remote feed of one device.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(options: Options<A>): RemoteFeed<A> => new DeviceFeed(options)
