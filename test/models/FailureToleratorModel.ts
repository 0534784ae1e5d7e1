/** What a failure budget is made of, in milliseconds. */
export interface Options {
  readonly limit: number
  readonly initDelay: number
  readonly backoffFactor: number
  readonly forgiveAfter: number
}

/** How many failures are remembered, and the delay before the next attempt; or that this failure is fatal. */
export type Answer =
  | { readonly remembered: number; readonly delay: number }
  | { readonly remembered: number; readonly isFatal: true }

/** FailureTolerator as a pure model: how old each remembered failure is. Nothing ages while a delay lasts. */
export class FailureToleratorModel {
  readonly options: Options
  ages: ReadonlyArray<number> = []
  delay = 0

  constructor(options: Options) {
    this.options = options
  }

  pass(millis: number): void {
    const awake = Math.max(0, millis - this.delay)
    this.delay = Math.max(0, this.delay - millis)
    this.ages = this.ages.map((age) => age + awake)
  }

  fail(isHandled: boolean): Answer {
    this.ages = this.ages.filter((age) => age < this.options.forgiveAfter)
    if (isHandled) this.ages = [...this.ages, 0]
    const remembered = this.ages.length
    if (!isHandled || remembered >= this.options.limit) return { remembered, isFatal: true }
    this.delay = this.options.initDelay * this.options.backoffFactor ** (remembered - 1)
    return { remembered, delay: this.delay }
  }
}
