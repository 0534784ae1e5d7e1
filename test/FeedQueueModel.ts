/**
 * The reference's queue as a pure model: two lines of requests, and a `settle` that serves their fronts until nothing
 * moves. It knows no fibers; a request that is in no line has its answer.
 */

export type Answer =
  | { readonly _tag: "Done" }
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Interrupted" }
  | { readonly _tag: "Taken"; readonly elements: ReadonlyArray<number> }
  | { readonly _tag: "Ended"; readonly requested: number; readonly left: number }

export type Kind = "many" | "upTo" | "available" | "within"

interface Take {
  readonly id: number
  readonly kind: Kind
  readonly n: number
  readonly millis: number
  deadline: number | undefined
}

interface Offer {
  readonly id: number
  readonly elements: ReadonlyArray<number> | "close"
  admitted: number
}

export class FeedQueueModel {
  readonly capacity: number
  stored: Array<number> = []
  takes: Array<Take> = []
  offers: Array<Offer> = []
  isClosed = false
  isFlushing = false
  now = 0
  readonly answers = new Map<number, Answer>()
  readonly admitted = new Map<number, number>()

  constructor(capacity: number) {
    this.capacity = capacity
  }

  need(): number {
    const take = this.takes[0]
    return take === undefined ? 0 : take.kind === "available" ? 1 : take.n
  }

  size(): number {
    return Math.max(0, this.stored.length - this.need())
  }

  /** A take that comes to an empty line is tried before it makes room by collecting. */
  take(id: number, kind: Kind, n: number, millis = 0): void {
    if (n === 0) {
      this.answers.set(id, { _tag: "Taken", elements: [] })
      return
    }
    const atOnce = kind === "within" && millis === 0
    this.takes.push({ id, kind: atOnce ? "available" : kind, n, millis, deadline: undefined })
    if (this.takes.length === 1) this.serveTake()
    this.settle()
  }

  offer(id: number, elements: ReadonlyArray<number> | "close"): void {
    this.admitted.set(id, 0)
    if (elements.length === 0 || (elements === "close" && this.isClosed)) this.answers.set(id, { _tag: "Done" })
    else this.offers.push({ id, elements, admitted: 0 })
    this.settle()
  }

  closeNow(): void {
    if (this.isClosed) return
    this.isClosed = true
    for (const { id } of this.offers) this.answers.set(id, { _tag: "Closed" })
    this.offers = []
    this.settle()
  }

  restore(elements: ReadonlyArray<number>): void {
    this.stored.unshift(...elements)
    this.settle()
  }

  admit(elements: ReadonlyArray<number>): void {
    if (!this.isClosed) this.stored.push(...elements)
    this.settle()
  }

  remove(predicate: (element: number) => boolean): ReadonlyArray<number> {
    const removed = this.stored.filter(predicate)
    this.stored = this.stored.filter((element) => !predicate(element))
    this.settle()
    return removed
  }

  flush(isFlushing: boolean): void {
    this.isFlushing = isFlushing
    this.settle()
  }

  interrupt(id: number): void {
    if (this.answers.has(id)) return
    this.takes = this.takes.filter((take) => take.id !== id)
    this.offers = this.offers.filter((offer) => offer.id !== id)
    this.answers.set(id, { _tag: "Interrupted" })
    this.settle()
  }

  tick(): void {
    this.now += 1
    this.settle()
  }

  settle(): void {
    let isMoving = true
    while (isMoving) {
      isMoving = false
      while (this.serveOffer()) isMoving = true
      while (this.serveTake()) isMoving = true
    }
  }

  serveOffer(): boolean {
    const offer = this.offers[0]
    if (offer === undefined) return false
    if (offer.elements === "close" || this.isClosed) {
      const isDone = offer.elements === "close"
      this.isClosed = true
      this.answers.set(offer.id, { _tag: isDone ? "Done" : "Closed" })
      this.offers.shift()
      return true
    }
    const room = this.capacity + Math.max(0, this.need() - 1) - this.stored.length
    const part = offer.elements.slice(offer.admitted, offer.admitted + Math.max(0, room))
    this.stored.push(...part)
    offer.admitted += part.length
    this.admitted.set(offer.id, offer.admitted)
    if (offer.admitted === offer.elements.length) {
      this.answers.set(offer.id, { _tag: "Done" })
      this.offers.shift()
    }
    return part.length > 0
  }

  serveTake(): boolean {
    const take = this.takes[0]
    if (take === undefined) return false
    if (take.kind === "within") {
      if (take.deadline === undefined && this.stored.length > 0) take.deadline = this.now + take.millis
      if (take.deadline !== undefined && take.deadline <= this.now && this.stored.length === 0) {
        take.deadline = undefined
      }
    }
    const isShortEnough = take.kind === "available" ||
      (this.isClosed && take.kind !== "many") ||
      (this.isFlushing && take.kind === "upTo") ||
      (take.deadline !== undefined && take.deadline <= this.now)
    if (this.stored.length >= (isShortEnough ? 1 : take.n)) {
      this.answers.set(take.id, { _tag: "Taken", elements: this.stored.splice(0, take.n) })
    } else if (this.isClosed) {
      this.answers.set(take.id, { _tag: "Ended", requested: take.n, left: this.stored.length })
    } else return false
    this.takes.shift()
    return true
  }
}
