/**
 * Takers of a queue that are no fibers.
 */
import type { Taker, TakerOptions } from "../FeedQueue.ts"
import type { Place, Standing, Turn, WaitingLines } from "./waitingLines.ts"

/** What the takers of a queue share that are no fibers. */
export interface Through<A, E> {
  readonly lines: WaitingLines
  readonly refusal: Turn<unknown, E>["refusal"]
  readonly isDue: () => boolean
  readonly isWorth: (most: number) => boolean
  readonly take: (options: TakerOptions<A>) => ReadonlyArray<A>
}

/** A taker, its place in line and its turn there, in one: there is one for each link of a feeder. */
export class LineTaker<A, E> implements Taker, Standing<ReadonlyArray<A>, E>, Turn<ReadonlyArray<A>, E> {
  stage: "out" | "asking" | "in" = "out"
  isAsleep = false
  before: Place | undefined
  behind: Place | undefined
  readonly #through: Through<A, E>
  readonly #options: TakerOptions<A>

  constructor(through: Through<A, E>, options: TakerOptions<A>) {
    this.#through = through
    this.#options = options
  }

  wake(): void {
    this.#options.onTurn()
  }

  takeUnsafe(): boolean {
    const { lines } = this.#through
    return lines.attemptUnsafe(lines.takers, this)
  }

  leaveUnsafe(): void {
    const { lines } = this.#through
    lines.leaveUnsafe(lines.takers, this)
  }

  get turn(): Turn<ReadonlyArray<A>, E> {
    return this
  }

  get need(): number {
    return 1
  }

  get refusal(): Turn<unknown, E>["refusal"] {
    return this.#through.refusal
  }

  isDue(): boolean {
    return this.#through.isDue()
  }

  isWorth(): boolean {
    return this.#through.isWorth(this.#options.most())
  }

  attempt(): ReadonlyArray<A> {
    return this.#through.take(this.#options)
  }
}
