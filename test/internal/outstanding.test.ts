import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { done, type Progress, type Result } from "effect-feeder/RemoteDevices"
import type { Item } from "../../src/internal/items.ts"
import * as Items from "../../src/internal/items.ts"
import * as Outstanding from "../../src/internal/outstanding.ts"
import { chance } from "../chance.ts"
import { chunk, codec } from "../fixtures/plainCodec.ts"

const plain = (items: ReadonlyArray<Item<number>>) =>
  Items.singles(items).map(({ attempt, causes = [], element, ordinal, since = 1 }) => ({
    ordinal,
    attempt,
    element,
    causes,
    since
  }))

/** Three elements of a chunk of seven, and one that came in none. */
const spanned = (): ReadonlyArray<Item<number>> => {
  const span = new Items.ChunkItem(chunk([0, 1, 2, 3, 4, 5, 6]), 2, 3)
  span.ordinal = 10
  return [span, { ordinal: 13, attempt: 2, element: 70, causes: ["why"] }]
}

describe("items of several elements", () => {
  it("are counted, cut and taken apart by their elements", () => {
    const items = spanned()
    assert.strictEqual(Items.size(items), 4)
    assert.deepStrictEqual(Items.gather(codec, items).elements, [2, 3, 4, 70])
    assert.deepStrictEqual(plain(Items.between(items, 1, 4)).map(({ element, ordinal }) => [ordinal, element]), [
      [11, 3],
      [12, 4],
      [13, 70]
    ])
    assert.strictEqual(Items.between(items, 0, 4)[0], items[0])
    assert.deepStrictEqual(Items.between(items, 2, 2), [])
    assert.deepStrictEqual(Items.singles(items).map(Items.countOf), [1, 1, 1, 1])
  })

  it("are gathered into chunks as they came, and cut out of them where they did not come whole", () => {
    const whole = chunk([1, 2, 3, 4])
    assert.strictEqual(Items.gather(codec, [new Items.ChunkItem(whole, 0, 1), new Items.ChunkItem(whole, 1, 3)]), whole)
    const some = Items.gather(codec, [...spanned(), new Items.ChunkItem(whole, 3, 1), new Items.ChunkItem(whole, 1, 2)])
    assert.deepStrictEqual(some.elements, [2, 3, 4, 70, 4, 2, 3])
  })

  it("have no ordinal before they leave their queue, however they are cut", () => {
    const [cut] = Items.between([new Items.ChunkItem(chunk([1, 2, 3]), 0, 3)], 1, 3)
    assert.deepStrictEqual([cut?.ordinal, cut?.element, cut?.count], [-1, 2, 2])
  })
})

// What is out, in items of several elements beside the same in items of one: whatever is reported, both say the same.
const Parcel = Schema.Struct({ lengths: Schema.NonEmptyArray(Schema.Literals([1, 2, 5, 9])), isAgain: Schema.Boolean })
const Script = Schema.Struct({
  parcels: Schema.NonEmptyArray(Parcel),
  reports: Schema.Array(Schema.Natural),
  seed: Schema.Natural
})

const resultOf = (pick: number): Result =>
  pick < 0.6
    ? done
    : pick < 0.8
    ? { _tag: "Retry", afterMillis: pick < 0.7 ? 0 : 5, cause: "again" }
    : { _tag: "Reject", cause: "no" }

describe("what is out", () => {
  it.prop("does not depend on how elements are put together in items", { script: Script }, ({ script }) => {
    const random = chance(script.seed)
    let together: Outstanding.Outstanding<number> = Outstanding.none
    let apart: Outstanding.Outstanding<number> = Outstanding.none
    let ordinal = 0
    for (const { isAgain, lengths } of script.parcels) {
      const items = lengths.map((length) => {
        const item = new Items.ChunkItem(chunk(Array.from({ length }, (_, i) => ordinal + i)), 0, length)
        item.ordinal = ordinal
        item.attempt = isAgain ? 2 : 1
        ordinal += length
        return item
      })
      const sentTogether = Outstanding.send(together, items, ordinal * 7)
      const sentApart = Outstanding.send(apart, Items.singles(items), ordinal * 7)
      const { items: _, ...parcel } = sentTogether[1]
      const { items: __, ...same } = sentApart[1]
      assert.deepStrictEqual(parcel, same)
      together = sentTogether[0]
      apart = sentApart[0]
    }
    let settled = 0
    let above = new Map<number, Result>()
    for (const report of [0, ...script.reports]) {
      const { sent } = together
      settled = Math.min(sent, settled + random.below(6))
      for (let i = report % 4; i > 0; i--) {
        const sequence = settled + 1 + random.below(8)
        if (sequence <= sent && !above.has(sequence)) above.set(sequence, resultOf(random.next()))
      }
      above = new Map([...above].filter(([sequence]) => sequence > settled))
      const progress: Progress = {
        report,
        accepted: sent,
        delivered: sent,
        carried: 0,
        settled,
        above: [...above].toSorted(([a], [b]) => a - b).map(([from, result]) => ({ from, count: 1, result })),
        creditTo: sent,
        creditBytesTo: 0,
        ended: false
      }
      const [nextTogether, one] = Outstanding.settle(together, progress)
      const [nextApart, other] = Outstanding.settle(apart, progress)
      assert.deepStrictEqual(plain(one.acknowledged), plain(other.acknowledged))
      assert.deepStrictEqual(
        one.back.map((back) => ({ ...back, items: plain(back.items) })),
        other.back.map((back) => ({ ...back, items: plain(back.items) }))
      )
      assert.deepStrictEqual(
        one.rejected.map(({ cause, item }) => [cause, plain([item])]),
        other.rejected.map(({ cause, item }) => [cause, plain([item])])
      )
      assert.strictEqual(one.redelivered, other.redelivered)
      together = nextTogether
      apart = nextApart
      assert.strictEqual(Outstanding.count(together), Outstanding.count(apart))
      const handedTo = random.below(sent + 1)
      assert.deepStrictEqual(
        plain(Outstanding.unsettled(together, "lost", handedTo)),
        plain(Outstanding.unsettled(apart, "lost", handedTo))
      )
      const known = random.below(sent + 1)
      assert.deepStrictEqual(
        Outstanding.beyond(together, known).map(({ items, ...rest }) => [rest, plain(items)]),
        Outstanding.beyond(apart, known).map(({ items, ...rest }) => [rest, plain(items)])
      )
      const sequence = 1 + random.below(sent)
      const [at, same] = [Outstanding.at(together, sequence), Outstanding.at(apart, sequence)]
      assert.deepStrictEqual(at && plain([at]), same && plain([same]))
    }
  })
})
