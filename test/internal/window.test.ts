import { assert, describe, it } from "@effect/vitest"
import * as Window from "../../src/internal/window.ts"

/** A device that finishes so many elements in a millisecond, at the end of so long a way, fed as the window allows. */
const feed = (
  options: { readonly trip: number; readonly rate: number; readonly credit: number; readonly millis: number }
) => {
  const window = Window.make(0)
  const ways: Array<{ readonly sequence: number; readonly at: number }> = []
  let sent = 0
  let received = 0
  let finished = 0
  const told: Array<{ readonly received: number; readonly finished: number; readonly at: number }> = []
  for (let now = 1; now <= options.millis; now++) {
    while (ways[0] !== undefined && ways[0].at <= now) received = ways.shift()!.sequence
    finished = Math.min(received, finished + options.rate)
    told.push({ received, finished, at: now + options.trip / 2 })
    let known = 0
    while (told[0] !== undefined && told[0].at <= now) {
      const one = told.shift()!
      known = one.finished
      window.heard(one.received, one.finished, now)
    }
    const room = known + 10 + Math.min(options.credit, window.size()) - sent
    if (room <= 0) continue
    sent += room
    window.sent(sent, now)
    window.limited()
    ways.push({ sequence: sent, at: now + options.trip / 2 })
  }
  return { size: window.size(), rate: finished / options.millis }
}

describe("the window of a link", () => {
  it("is 0 before a round trip", () => {
    const window = Window.make(0)
    window.sent(10, 0)
    window.heard(0, 0, 5)
    assert.strictEqual(window.size(), 0)
  })

  it("grows to what keeps a long link busy", () => {
    const { rate, size } = feed({ trip: 40, rate: 25, credit: 100_000, millis: 2000 })
    assert.isAtLeast(size, 1000)
    assert.isAtMost(size, 4000)
    assert.isAtLeast(rate, 0.8 * 25)
  })

  it("does not take for speed what was finished before its link", () => {
    const window = Window.make(1_000_000)
    window.sent(1_000_010, 0)
    window.heard(1_000_010, 1_000_010, 10)
    assert.strictEqual(window.size(), 20)
  })

  it("stays small for a slow device, however much it would take", () => {
    assert.isAtMost(feed({ trip: 2, rate: 1, credit: 100_000, millis: 2000 }).size, 20)
  })

  it("shrinks when the device becomes slower, and not because there was nothing to send", () => {
    const window = Window.make(0)
    window.sent(100, 0)
    window.heard(100, 100, 10)
    const size = window.size()
    assert.strictEqual(size, 200)
    window.heard(100, 100, 1000)
    assert.strictEqual(window.size(), size)
    window.limited()
    window.heard(100, 110, 2000)
    assert.isBelow(window.size(), size)
  })
})
