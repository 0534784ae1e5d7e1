/**
 * How many elements a feeder keeps on their way to one device: as many as the device finishes in two round trips, which
 * keeps the link busy, and no more, so that a slow device is not sent what another could have. It is the product of
 * bandwidth and delay, measured from the feeder's side. Times are in milliseconds.
 */

/** The window of one link. */
export class Window {
  #finished: number
  #trip = 0
  #rate = 0
  /** The next report of this sequence ends a round trip. */
  #probe = 0
  #probedAt: number | undefined
  /** Since when, and since how many were finished, the rate is measured. */
  #markedAt: number | undefined
  #wasLimited = false

  constructor(before: number) {
    this.#finished = before
  }

  /** Elements were sent, up to this sequence. */
  sent(sequence: number, now: number): void {
    if (this.#probedAt === undefined) {
      this.#probe = sequence
      this.#probedAt = now
    }
    this.#markedAt ??= now
  }

  /** There was more to send than the window let out. */
  limited(): void {
    this.#wasLimited = true
  }

  /** The device has received up to this sequence, and has finished so many in all. */
  heard(received: number, finished: number, now: number): void {
    if (this.#probedAt !== undefined && received >= this.#probe) {
      const sample = now - this.#probedAt
      this.#trip = Math.max(sample, this.#trip + (sample - this.#trip) / 8)
      this.#probedAt = undefined
    }
    if (this.#markedAt === undefined || this.#finished > finished) this.#mark(finished, now)
    const elapsed = now - this.#markedAt!
    if (elapsed <= 0 || elapsed < this.#trip) return
    const sample = (finished - this.#finished) / elapsed
    // A feeder that had nothing to send has seen less than the device can do.
    if (sample > this.#rate) this.#rate = sample
    else if (this.#wasLimited) this.#rate += (sample - this.#rate) / 4
    this.#mark(finished, now)
    this.#wasLimited = false
  }

  #mark(finished: number, now: number): void {
    this.#finished = finished
    this.#markedAt = now
  }

  /** How many elements may be on their way, beyond what the device's queue has room for. */
  size(): number {
    return Math.ceil(2 * this.#rate * this.#trip)
  }
}

/** The window of a new link, before which so many were finished. It is 0 until it has seen a round trip. */
export const make = (before: number): Window => new Window(before)
