/**
 * How many elements a feeder keeps on their way to one device: as many as the device finishes in two round trips, which
 * keeps the link busy, and no more, so that a slow device is not sent what another could have. It is the product of
 * bandwidth and delay, measured from the feeder's side. Times are in milliseconds.
 */

/** The window of one link. */
export interface Window {
  /** Elements were sent, up to this sequence. */
  readonly sent: (sequence: number, now: number) => void
  /** There was more to send than the window let out. */
  readonly limited: () => void
  /** The device has received up to this sequence, and has finished so many in all. */
  readonly heard: (received: number, finished: number, now: number) => void
  /** How many elements may be on their way, beyond what the device's queue has room for. */
  readonly size: () => number
}

/** The window of a new link, before which so many were finished. It is 0 until it has seen a round trip. */
export const make = (before: number): Window => {
  let trip = 0
  let rate = 0
  let probe: { readonly sequence: number; readonly at: number } | undefined
  let mark: { readonly finished: number; readonly at: number } | undefined
  let wasLimited = false
  return {
    sent: (sequence, now) => {
      probe ??= { sequence, at: now }
      mark ??= { finished: before, at: now }
    },
    limited: () => {
      wasLimited = true
    },
    heard: (received, finished, now) => {
      if (probe !== undefined && received >= probe.sequence) {
        const sample = now - probe.at
        trip = Math.max(sample, trip + (sample - trip) / 8)
        probe = undefined
      }
      if (mark === undefined || mark.finished > finished) mark = { finished, at: now }
      const elapsed = now - mark.at
      if (elapsed <= 0 || elapsed < trip) return
      const sample = (finished - mark.finished) / elapsed
      // A feeder that had nothing to send has seen less than the device can do.
      if (sample > rate) rate = sample
      else if (wasLimited) rate += (sample - rate) / 4
      mark = { finished, at: now }
      wasLimited = false
    },
    size: () => Math.ceil(2 * rate * trip)
  }
}
