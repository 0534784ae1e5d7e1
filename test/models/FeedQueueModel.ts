/**
 * FeedQueue as a pure model: two lines of requests, and a `settle` that serves their fronts until nothing moves. It
 * knows no fibers; a request that is in no line has its answer.
 */
export type Answer =
  | { readonly _tag: "Done" | "Closed" | "Interrupted" }
  | { readonly _tag: "Taken"; readonly elements: ReadonlyArray<number> }
  | { readonly _tag: "Ended"; readonly requested: number; readonly left: number }

export type Kind = "many" | "upTo" | "available" | "within"
type Elements = ReadonlyArray<number>
type Take = { readonly id: number; readonly kind: Kind; readonly n: number; readonly millis: number; deadline?: number }
type Offer = { readonly id: number; readonly elements: Elements | "close"; admitted: number }

export class FeedQueueModel {
  readonly capacity: number
  stored: Array<number> = []
  takes: Array<Take> = []
  offers: Array<Offer> = []
  isClosed = false
  isFlushing = false
  now = 0
  readonly answers = new Map<number, Answer>()
  /** How much of each offer is in the queue. */
  readonly admitted = new Map<number, number>()

  constructor(capacity: number) {
    this.capacity = capacity
  }

  readonly need = () => this.takes[0] === undefined ? 0 : this.takes[0].kind === "available" ? 1 : this.takes[0].n
  readonly size = () => Math.max(0, this.stored.length - this.need())
  readonly restore = (elements: Elements) => this.settle(this.stored.unshift(...elements))
  readonly admit = (elements: Elements) => this.settle(this.isClosed || this.stored.push(...elements))
  readonly flush = (isFlushing: boolean) => this.settle(this.isFlushing = isFlushing)
  readonly tick = () => this.settle(this.now++)

  remove(predicate: (element: number) => boolean): Elements {
    const removed = this.stored.filter(predicate)
    this.settle(this.stored = this.stored.filter((element) => !predicate(element)))
    return removed
  }

  /** A take that comes to an empty line is tried before it makes room by collecting. */
  take(id: number, kind: Kind, n: number, millis = 0): void {
    if (n === 0) return void this.answers.set(id, { _tag: "Taken", elements: [] })
    this.takes.push({ id, kind: kind === "within" && millis === 0 ? "available" : kind, n, millis })
    this.settle(this.takes.length === 1 && this.serveTake())
  }

  offer(id: number, elements: Elements | "close"): void {
    this.admitted.set(id, 0)
    const isNothing = elements.length === 0 || (elements === "close" && this.isClosed)
    if (isNothing) this.answers.set(id, { _tag: "Done" })
    else this.settle(this.offers.push({ id, elements, admitted: 0 }))
  }

  closeNow(): void {
    if (!this.isClosed) { for (const { id } of this.offers.splice(0)) this.answers.set(id, { _tag: "Closed" }) }
    this.settle(this.isClosed = true)
  }

  interrupt(id: number): void {
    if (!this.answers.has(id)) this.answers.set(id, { _tag: "Interrupted" })
    this.takes = this.takes.filter((take) => !this.answers.has(take.id))
    this.settle(this.offers = this.offers.filter((offer) => !this.answers.has(offer.id)))
  }

  settle(_changed?: unknown): void {
    let moves = 0
    while (this.serveOffer()) moves++
    while (this.serveTake()) moves++
    if (moves > 0) this.settle()
  }

  serveOffer(): boolean {
    const offer = this.offers[0]
    if (offer === undefined) return false
    const { elements, id } = offer
    if (elements !== "close" && !this.isClosed) {
      const room = Math.max(0, this.capacity + Math.max(0, this.need() - 1) - this.stored.length)
      const part = elements.slice(offer.admitted, offer.admitted + room)
      this.stored.push(...part)
      this.admitted.set(id, offer.admitted += part.length)
      if (offer.admitted < elements.length) return part.length > 0
    }
    this.answers.set(id, { _tag: this.isClosed && elements !== "close" ? "Closed" : "Done" })
    this.isClosed ||= elements === "close"
    return this.offers.shift() !== undefined
  }

  serveTake(): boolean {
    const take = this.takes[0]
    if (take === undefined) return false
    const isOver = () => take.deadline !== undefined && take.deadline <= this.now
    if (take.kind === "within" && this.stored.length > 0) take.deadline ??= this.now + take.millis
    if (isOver() && this.stored.length === 0) delete take.deadline
    const isShortEnough = take.kind === "available" || isOver() || (this.isClosed && take.kind !== "many") ||
      (this.isFlushing && take.kind === "upTo")
    if (this.stored.length >= (isShortEnough ? 1 : take.n)) {
      this.answers.set(take.id, { _tag: "Taken", elements: this.stored.splice(0, take.n) })
    } else if (this.isClosed) {
      this.answers.set(take.id, { _tag: "Ended", requested: take.n, left: this.stored.length })
    } else return false
    return this.takes.shift() !== undefined
  }
}
