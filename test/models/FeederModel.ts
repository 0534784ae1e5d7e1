/**
 * Feeder as a pure model: one list of elements, where each stands, and counters. An element's value is its place in the
 * list. Nobody promises which device it goes to: the model is told, and `FeederRules` say whether that may be.
 */
export type Result = "done" | "retry" | "reject"

/** An element that a consumer was handed; `session` is that of its device, or -1 if the feeder knows nothing of it. */
export interface Hand {
  readonly device: number
  readonly session: number
  readonly value: number
  readonly attempt: number
}

/** What is at a device that is removed has one attempt more, and only the next delivery tells what that was. */
const element = () => ({ isOut: true, isKnown: false, least: 1, most: 1 })

/** `isAwaited`: a consumer waits there; `isKnown`: one was there; `isToldSo`: it was told that the feed has ended. */
const device = () => ({
  session: 0,
  isLive: false,
  isAwaited: false,
  isKnown: false,
  isEnded: false,
  isToldSo: false,
  lastFirst: -1,
  unreported: Array<readonly [hand: Hand, result: Result]>()
})

export class FeederModel {
  readonly elements: Array<ReturnType<typeof element>> = []
  readonly devices = [device(), device()]
  readonly hands = new Set<Hand>()
  fed: ReadonlyArray<number> = []
  takes: ReadonlyArray<{ readonly id: number; readonly kind: "many" | "upTo"; readonly n: number }> = []
  /** Elements that were admitted; given to a consumer or taken here; refused; given again, and then delivered. */
  generated = 0
  delivered = 0
  dead = 0
  redelivered = 0
  /** Elements that were at devices that were removed, until their lease has ended. */
  delayed = 0
  /** The last element that came from the source to anybody; whether any came back to the queue. */
  lastFirst = -1
  hasReturned = false
  isRunning = false
  isSourceEnded = false
  isClosed = false
  hasEnded = false

  readonly push = (count: number) => this.elements.push(...Array.from({ length: count }, element))

  /** Why it does not run. */
  run(): "" | "running" | "ended" {
    if (this.isRunning || this.hasEnded) return this.isRunning ? "running" : "ended"
    this.isRunning = true
    for (const device of this.fed) this.devices[device]!.isLive = true
    this.report()
    return ""
  }

  add(device: number): boolean {
    if (this.fed.includes(device)) return false
    this.fed = [...this.fed, device]
    this.devices[device]!.isLive = this.isRunning
    return true
  }

  remove(index: number, leased: number): boolean {
    if (!this.fed.includes(index)) return false
    this.fed = this.fed.filter((other) => other !== index)
    for (const element of this.elements) if (element.isOut) element.most++
    const device = this.devices[index]!
    for (const hand of [...this.live(index), ...device.unreported.map(([hand]) => hand)]) this.again(hand)
    this.devices[index] = { ...device, session: device.session + 1, isLive: false, unreported: [] }
    this.delayed += leased
    this.hasReturned = true
    return true
  }

  readonly live = (device: number) =>
    [...this.hands].filter((hand) => hand.device === device && hand.session === this.devices[device]!.session)

  again({ attempt, value }: Hand): void {
    Object.assign(this.elements[value]!, { isOut: true, least: attempt + 1, most: attempt + 1 })
    this.hasReturned = true
  }

  handed(index: number, value: number, attempt: number): Hand {
    const device = this.devices[index]!
    const hand = { device: index, session: device.isLive ? device.session : -1, value, attempt }
    Object.assign(this.elements[value]!, device.isLive ? { isOut: false, least: attempt, most: attempt } : {})
    this.elements[value]!.isKnown = true
    if (attempt === 1) device.lastFirst = value
    if (attempt === 1) this.lastFirst = Math.max(this.lastFirst, value)
    this.hands.add(hand)
    return hand
  }

  settle(hand: Hand, result: Result): void {
    const device = this.devices[hand.device]!
    this.hands.delete(hand)
    if (hand.session === device.session) device.unreported.push([hand, result])
    this.report()
  }

  /** A feeder that runs learns what consumers have settled. */
  report(): void {
    for (const index of this.isRunning ? this.fed : []) {
      for (const [hand, result] of this.devices[index]!.unreported.splice(0)) this.settled(hand, result)
    }
  }

  settled(hand: Hand, result: Result): void {
    if (result === "retry") return this.again(hand)
    if (result === "reject") this.dead++
    else this.delivered++
    if (result === "done" && hand.attempt > 1) this.redelivered++
  }

  taken(id: number, values: ReadonlyArray<number>): void {
    this.takes = this.takes.filter((take) => take.id !== id)
    for (const value of values) {
      if (this.elements[value]!.most === 1) this.lastFirst = value
      Object.assign(this.elements[value]!, { isOut: false, isKnown: true })
    }
    this.delivered += values.length
  }

  /** All is quiet: the queue closes behind the last element, and a run ends with nothing left to do. */
  rest(generated: number): void {
    this.generated = generated
    const isAllIn = this.isRunning && this.isSourceEnded && generated === this.elements.length
    this.isClosed ||= isAllIn
    if (!isAllIn || this.delivered + this.dead < generated) return
    this.isRunning = false
    this.hasEnded = true
    for (const index of this.fed) this.devices[index]!.isEnded = true
  }
}
