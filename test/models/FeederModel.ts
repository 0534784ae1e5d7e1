/**
 * Feeder as a pure model: one list of elements, where each stands, and counters. An element's value is its place in
 * the list. Nobody promises which device it goes to, so the model is told, and says what of that is wrong.
 */
export type Result = "done" | "retry" | "reject"

/** An element that a consumer was handed. That of a session that is over counts for nothing. */
export interface Hand {
  readonly device: number
  readonly session: number
  readonly value: number
  readonly attempt: number
}

/** What can be seen of the feeder: its ledger, and what is out at each device. */
export interface View {
  readonly generated: number
  readonly queued: number
  readonly leased: ReadonlyArray<number>
}

const device = () => ({
  session: 0,
  isLive: false,
  isEnded: false,
  /** A consumer was told that it ended. */
  isToldSo: false,
  /** A consumer waits, and has been there. */
  isAwaited: false,
  isKnown: false,
  lastFirst: -1,
  unreported: Array<readonly [hand: Hand, result: Result]>()
})

export class FeederModel {
  readonly capacity: number
  /** An element that waited at a device that was removed has one attempt more; its next delivery tells. */
  readonly elements: Array<{ isOut: boolean; isKnown: boolean; least: number; most: number }> = []
  readonly devices = [device(), device()]
  readonly hands = new Set<Hand>()
  readonly wrong: Array<string> = []
  fed: ReadonlyArray<number> = []
  takes: ReadonlyArray<{ readonly id: number; readonly kind: "many" | "upTo"; readonly n: number }> = []
  generated = 0
  delivered = 0
  dead = 0
  redelivered = 0
  /** Out at devices that were removed, until their lease has ended. */
  delayed = 0
  lastFirst = -1
  isRunning = false
  isSourceEnded = false
  hasEnded = false
  isClosed = false
  hasReturned = false

  constructor(capacity: number) {
    this.capacity = capacity
  }

  check(isRight: boolean, what: string): void {
    if (!isRight) this.wrong.push(what)
  }

  push(count: number): void {
    for (let i = 0; i < count; i++) this.elements.push({ isOut: true, isKnown: false, least: 1, most: 1 })
  }

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

  live(device: number): ReadonlyArray<Hand> {
    const { session } = this.devices[device]!
    return [...this.hands].filter((hand) => hand.device === device && hand.session === session)
  }

  again({ attempt, value }: Hand): void {
    Object.assign(this.elements[value]!, { isOut: true, least: attempt + 1, most: attempt + 1 })
    this.hasReturned = true
  }

  handed(index: number, value: number, attempt: number, isMarked: boolean): Hand {
    const device = this.devices[index]!
    const element = this.elements[value]!
    this.check(element.isOut, `${value} was handed to ${index}, but is elsewhere`)
    this.check(isMarked === attempt > 1 && (isMarked || !element.isKnown), `${value} was handed to ${index} unmarked`)
    if (attempt === 1) {
      this.check(value > device.lastFirst, `${value} was handed to ${index} out of order`)
      device.lastFirst = value
      this.lastFirst = Math.max(this.lastFirst, value)
    }
    if (device.isLive) {
      const isRight = element.least <= attempt && attempt <= element.most
      this.check(isRight, `${value} was handed to ${index} with attempt ${attempt}`)
      Object.assign(element, { isOut: false, least: attempt, most: attempt })
    } else {
      this.check(this.delayed > 0, `${value} was handed to ${index} when the lease had ended`)
    }
    element.isKnown = true
    const hand = { device: index, session: device.isLive ? device.session : -1, value, attempt }
    this.hands.add(hand)
    return hand
  }

  settle(hand: Hand, result: Result): void {
    const device = this.devices[hand.device]!
    this.hands.delete(hand)
    if (hand.session === device.session) device.unreported.push([hand, result])
    this.report()
  }

  /** A feeder that runs knows of what consumers have settled. */
  report(): void {
    if (!this.isRunning) return
    for (const index of this.fed) {
      for (const [hand, result] of this.devices[index]!.unreported.splice(0)) this.settled(hand, result)
    }
  }

  settled(hand: Hand, result: Result): void {
    if (result === "retry") return this.again(hand)
    if (result === "reject") this.dead++
    else {
      this.delivered++
      if (hand.attempt > 1) this.redelivered++
    }
  }

  /** Of several, what was given back comes first, and the rest is what came next from the source. */
  taken(id: number, values: ReadonlyArray<number>): void {
    const [take, ...others] = this.takes
    this.check(take?.id === id, `take ${id} overtook others`)
    const isShort = take?.kind === "upTo" && this.isSourceEnded && values.length > 0
    this.check(values.length === take?.n || (isShort && values.length < take.n), `take ${id} got ${values.length}`)
    this.takes = others
    let last: number | undefined
    for (const value of values) {
      const element = this.elements[value]!
      this.check(element.isOut, `${value} was taken, but is elsewhere`)
      if (element.most === 1) {
        const isNext = last === undefined ? value > this.lastFirst : value === last + 1
        this.check(isNext, `${value} was taken out of order`)
        this.lastFirst = last = value
      } else this.check(last === undefined || element.least === 1, `${value} did not come to the front`)
      Object.assign(element, { isOut: false, isKnown: true })
    }
    this.delivered += values.length
  }

  ended(id: number, requested: number, left: number): void {
    const [take, ...others] = this.takes
    const isRight = this.isSourceEnded && take?.id === id && take.n === requested && left < requested
    this.check(isRight && (take.kind === "many" || left === 0), `take ${id} ended with ${left} left`)
    this.takes = others
    this.hasReturned ||= left > 0
  }

  /** Nobody waits who could go on, and nothing is in two places. */
  observe({ generated, leased, queued }: View): void {
    const local = queued - this.delayed
    const [first] = this.takes
    const room = this.capacity + (first?.n ?? 1) - 1
    const isAllIn = generated === this.elements.length
    this.check(this.isRunning || generated === this.generated, "something was admitted while it did not run")
    this.check(!this.isRunning || isAllIn || local >= room, "the source waits beside room")
    this.check(this.hasReturned || local <= room, `${local} are too much`)
    this.generated = generated
    this.isClosed ||= this.isRunning && this.isSourceEnded && isAllIn
    this.check(first === undefined || (local < first.n && !this.isClosed), `takes wait beside ${local}`)
    for (const [index, device] of this.devices.entries()) {
      const out = leased[index]!
      const waiting = out - this.live(index).length - device.unreported.length
      this.check(out <= this.capacity + 1, `${out} are too much out at ${index}`)
      this.check(!device.isLive || !device.isAwaited || waiting === 0, `a consumer waits at ${index} beside ${waiting}`)
      const isFull = waiting >= this.capacity || out >= this.capacity + (device.isKnown ? 1 : 0)
      const isServed = local === 0 || first !== undefined || isFull
      this.check(!this.isRunning || !device.isLive || isServed, `${local} wait beside device ${index}`)
    }
    if (this.isRunning && this.isSourceEnded && isAllIn && this.delivered + this.dead === generated) {
      this.isRunning = false
      this.hasEnded = true
      for (const index of this.fed) this.devices[index]!.isEnded = true
    }
    for (const { isAwaited, isEnded, isToldSo } of this.devices) {
      this.check(isEnded ? !isAwaited : !isToldSo, "consumers are told of the end, and of nothing else")
    }
  }
}
