import { assert, describe, it } from "@effect/vitest"
import { Ledger } from "effect-feeder"
import { Ledgers } from "effect-feeder/testing"

const device: Ledger.DeviceLedger = {
  device: "/job:consumer",
  leased: 2,
  inDoubt: 1,
  held: 0,
  heldByDead: 0,
  accepted: 5,
  delivered: 3,
  redelivered: 1,
  dead: 0,
  fenced: 0
}
const ledger = Ledger.make({ generated: 7, queued: 1, taken: 1, devices: [device] })

describe("assertConserved", () => {
  it("passes what sums", () => Ledgers.assertConserved(ledger))

  it("says what the classes hold", () => {
    assert.throws(
      () => Ledgers.assertConserved({ ...ledger, queued: 0 }),
      Ledgers.LedgerMismatch,
      "7 elements were generated, and the classes of the ledger hold 6: " +
        "0 queued + 2 leased + 0 held + 4 delivered + 0 heldByDead + 0 dead + 0 dropped"
    )
  })

  it("compares the devices' accounts with the whole", () => {
    assert.throws(
      () => Ledgers.assertConserved({ ...ledger, redelivered: 2 }),
      "the devices of the ledger have 1 elements redelivered, the whole has 2"
    )
  })

  it("knows no negative numbers", () => {
    assert.throws(
      () => Ledgers.assertConserved({ ...ledger, queued: -1, delivered: 6 }),
      "the ledger has -1 elements queued"
    )
  })
})

describe("assertCounts", () => {
  it("passes the counts it is given, and asks for no others", () => {
    Ledgers.assertCounts(ledger, { delivered: 4, redelivered: 1 })
    Ledgers.assertCounts(ledger, {})
  })

  it("says which are wrong, with both sides for the runner to show", () => {
    const attempt = () => Ledgers.assertCounts(ledger, { delivered: 5, redelivered: 1 })
    assert.throws(attempt, "the ledger has 4 delivered; asserted were 5 delivered, 1 redelivered")
    try {
      attempt()
    } catch (error) {
      assert.isTrue(error instanceof Ledgers.LedgerMismatch)
      if (!(error instanceof Ledgers.LedgerMismatch)) return
      assert.deepStrictEqual([error.actual, error.expected], [{ delivered: 4, redelivered: 1 }, {
        delivered: 5,
        redelivered: 1
      }])
    }
  })
})
