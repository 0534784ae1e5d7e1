import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { Ledger } from "effect-feeder"

const device = (name: string, counts: Partial<Ledger.DeviceLedger>): Ledger.DeviceLedger => ({
  device: name,
  leased: 0,
  inDoubt: 0,
  held: 0,
  heldByDead: 0,
  accepted: 0,
  delivered: 0,
  redelivered: 0,
  dead: 0,
  fenced: 0,
  ...counts
})

describe("make", () => {
  it("sums what the devices say, and counts what was taken here as delivered", () => {
    const devices = [
      device("/job:a", { leased: 3, inDoubt: 2, delivered: 10, redelivered: 1, accepted: 12, dead: 9, fenced: 2 }),
      device("/job:b", { held: 4, heldByDead: 5, delivered: 20, redelivered: 2, accepted: 29 })
    ]
    assert.deepStrictEqual(Ledger.make({ generated: 52, queued: 2, taken: 7, dead: 1, devices }), {
      generated: 52,
      queued: 2,
      leased: 3,
      inDoubt: 2,
      held: 4,
      delivered: 37,
      heldByDead: 5,
      dead: 1,
      dropped: 0,
      accepted: 41,
      redelivered: 3,
      fenced: 2,
      lost: 0,
      devices
    })
  })

  it("with no device and nothing generated everything is 0", () => {
    const { devices, ...counts } = Ledger.make({ generated: 0, queued: 0, taken: 0, devices: [] })
    assert.deepStrictEqual(devices, [])
    assert.isTrue(Object.values(counts).every((count) => count === 0))
  })

  const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1000 }))
  it.prop("CONSERVED: what is in no class is lost, and nothing else is", {
    queued: Count,
    taken: Count,
    leased: Count,
    held: Count,
    delivered: Count,
    heldByDead: Count,
    dead: Count,
    dropped: Count,
    missing: Count
  }, ({ dead, dropped, missing, queued, taken, ...counts }) => {
    const sum = queued + taken + dead + dropped + 2 * Object.values(counts).reduce((total, count) => total + count, 0)
    const ledger = Ledger.make({
      generated: sum + missing,
      queued,
      taken,
      dead,
      dropped,
      // In doubt is a part of leased, accepted and redelivered tell of elements that are in a class already.
      devices: ["/job:a", "/job:b"].map((name) =>
        device(name, { ...counts, inDoubt: counts.leased, accepted: 7, redelivered: 5 })
      )
    })
    assert.strictEqual(ledger.lost, missing)
  })
})
