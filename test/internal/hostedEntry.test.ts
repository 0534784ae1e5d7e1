import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as BatchCodec from "effect-feeder/BatchCodec"
import * as HostSession from "effect-feeder/HostSession"
import { deliveriesOf, singles } from "../../src/internal/handed.ts"
import { entriesOf, type Entry, type Parcel, spans, together } from "../../src/internal/hostedEntry.ts"
import * as Items from "../../src/internal/items.ts"
import * as Spans from "../../src/internal/spans.ts"
import { chance } from "../chance.ts"
import { range } from "../network.ts"

const codec = BatchCodec.make(Schema.Int)
const length = 30

/** Elements of a chunk of 0, 1, … from an index on; some of the chunk are invalid. */
const parcelOf = (facts: Partial<Parcel>, invalid: ReadonlyArray<number> = []): Parcel => {
  const all = codec.fromElements(range(length))
  return {
    session: {
      state: HostSession.make("f"),
      lostAt: 0,
      admitting: undefined,
      apply() {},
      refill() {},
      report() {}
    },
    chunk: {
      ...all,
      elements: range(length),
      length,
      invalid: new Map(invalid.map((index) => [index, `no ${index}`]))
    },
    lent: undefined,
    from: 0,
    to: length,
    place: { incarnation: 1, session: 1, epoch: 0, sequence: 1, bytes: 8 },
    ordinal: 0,
    attempt: 1,
    isAlone: false,
    idOf: (index) => `id ${index}`,
    ...facts
  }
}

const places = (entries: ReadonlyArray<Entry>) => entries.map(({ count, index }) => [index, count])

describe("the entries of a parcel", () => {
  it("are one, unless elements in it are invalid", () => {
    const refused: Array<readonly [number, string]> = []
    const note = (index: number, issue: string) => refused.push([index, issue])
    assert.deepStrictEqual(places(entriesOf(parcelOf({ from: 2 }), 0, 9, note)), [[2, 7]])
    const parcel = parcelOf({ from: 2 }, [1, 2, 5, 6, 9])
    assert.deepStrictEqual(places(entriesOf(parcel, 0, 9, note)), [[3, 2], [7, 2]])
    assert.deepStrictEqual(refused, [[2, "no 2"], [5, "no 5"], [6, "no 6"]])
    assert.deepStrictEqual(places(entriesOf(parcelOf({}, [0, 1]), 0, 2, note)), [])
  })

  it("are of one element each, if those are to be alone", () => {
    const parcel = parcelOf({ from: 2, isAlone: true }, [4])
    assert.deepStrictEqual(places(entriesOf(parcel, 0, 7, () => {})), [[2, 1], [3, 1], [5, 1], [6, 1]])
  })

  it("are one again where they follow each other", () => {
    const [entry] = entriesOf(parcelOf({ from: 2 }), 0, 12, () => {})
    const [other] = entriesOf(parcelOf({}), 0, 12, () => {})
    const entries = [entry!.slice(0, 3), entry!.slice(3, 4), entry!.slice(5, 7), entry!.slice(7, 10), other!]
    const wholes = []
    for (let i = 0; i < entries.length;) {
      const [{ count, index, place: { sequence } }, end] = together(entries, i)
      wholes.push([index, count, sequence])
      i = end
    }
    assert.deepStrictEqual(wholes, [[2, 4, 1], [7, 5, 6], [0, 12, 1]])
  })

  it("are one again where they were admitted bit by bit", () => {
    const parcel = parcelOf({ from: 2, to: 20 }, [9])
    const bits = [[0, 5], [5, 6], [6, 25], [25, 30]].flatMap(([from, to]) => entriesOf(parcel, from!, to!, () => {}))
    assert.deepStrictEqual(places(bits), [[2, 3], [5, 1], [6, 3], [10, 10]])
    assert.deepStrictEqual(together(bits, 0)[1], 3)
    assert.deepStrictEqual(places([together(bits, 0)[0]]), [[2, 7]])
  })

  it("say of the last element only that a batch was ended behind it", () => {
    const [entry] = entriesOf(parcelOf({}), 0, 5, () => {})
    entry!.isCut = true
    assert.deepStrictEqual(singles([entry!]).map(({ isCut }) => isCut), [false, false, false, false, true])
  })
})

describe("entries that are cut anywhere", () => {
  it.prop("tell of each element what it is, and mark those beyond", { seed: Schema.Natural }, ({ seed }) => {
    const { below, next } = chance(seed)
    const [from, attempt, ordinal, sequence] = [below(6), 1 + below(2), below(50), 1 + below(50)]
    const markedFrom = next() < 0.3 ? Infinity : sequence + below(length)
    const invalid = range(length).filter(() => next() < 0.1)
    const place = { incarnation: 1, session: 1, epoch: 0, sequence, bytes: 8 }
    const valid = range(length - from, from).filter((index) => !invalid.includes(index))

    const cut = (entries: ReadonlyArray<Entry>): ReadonlyArray<Entry> => {
      const read = Spans.reader(spans, entries)
      const some: Array<Entry> = []
      while (Items.size(some) < valid.length) some.push(...read(1 + below(6)))
      return some
    }
    const entries = cut(entriesOf(parcelOf({ from, attempt, ordinal, place }, invalid), 0, length, () => {}))
    for (const entry of entries) entry.markBeyond(markedFrom)
    const handed = cut(entries)

    const expected = valid.map((index) => ({
      feeder: "f",
      ordinal: ordinal + index - from,
      attempt,
      redelivered: attempt > 1 || sequence + index - from > markedFrom,
      id: `id ${index}`
    }))
    assert.strictEqual(Items.size(handed), valid.length)
    assert.deepStrictEqual(deliveriesOf(handed), expected)
    assert.deepStrictEqual(deliveriesOf(singles(handed)), expected)
    assert.deepStrictEqual(singles(handed).map(({ element }) => element), valid)
    assert.deepStrictEqual(
      handed.flatMap((entry) => range(entry.count, entry.place.sequence)),
      valid.map((index) => sequence + index - from)
    )
  })
})
