import { assert, describe, it } from "@effect/vitest"
import * as Checker from "./checker.ts"
import * as History from "./history.ts"

type Line = Partial<History.Event> & { readonly at: number; readonly device?: number; readonly launch?: number }

/** Histories by hand: ordinals are numbers, and everything is well unless it is said. */
const logsOf = (lines: ReadonlyArray<Line>): ReadonlyArray<History.Log> => {
  const logs = new Map<string, { device: number; launch: number; events: Array<History.Event> }>()
  for (const { device = 0, launch = 1, ...line } of lines) {
    const key = `${device} ${launch}`
    const log = logs.get(key) ?? { device, launch, events: [] }
    logs.set(key, log)
    const n = line.n ?? 0
    log.events.push({
      kind: "Handed",
      n,
      life: 1,
      ordinal: n,
      attempt: 1,
      redelivered: (line.attempt ?? 1) > 1,
      isLate: false,
      isCorrupt: false,
      ...line
    })
  }
  return [...logs.values()].map(({ device, events, launch }) => ({ device, launch, bytes: History.encode(events) }))
}

const check = (generated: number, lines: ReadonlyArray<Line>, more: Partial<Checker.Recorded> = {}) =>
  Checker.check({
    generated,
    delivery: "atLeastOnce",
    leaseMillis: 100,
    isComplete: true,
    logs: logsOf(lines),
    faults: [],
    refused: [],
    checkpoints: [],
    unfed: [],
    ...more
  })

const done = (at: number, more: Partial<Line> = {}): Line => ({ kind: "Done", at, ...more })

describe("a history that keeps every promise", () => {
  it("has each element acknowledged or dead", () => {
    const verdict = check(3, [
      { n: 0, at: 1 },
      done(2, { n: 0 }),
      { n: 1, at: 3 },
      { n: 1, at: 4, kind: "Refused" },
      { n: 2, at: 5, device: 1 },
      { n: 2, at: 6, device: 1, kind: "GivenBack" },
      { n: 2, at: 7, attempt: 2 },
      done(8, { n: 2, attempt: 2 })
    ], { refused: [1] })
    assert.deepInclude(verdict, {
      acknowledged: 2,
      dead: 1,
      lost: 0,
      duplicated: 0,
      redelivered: 1,
      handOuts: 4,
      unknown: { handOuts: 0, elements: 0 },
      violations: []
    })
  })

  it("may have hand-outs of which no more is known", () => {
    const verdict = check(1, [{ at: 1 }, { at: 9, device: 1, attempt: 2 }, done(10, { device: 1, attempt: 2 })], {
      faults: [{ kind: "kill", isProven: true, device: 0, launch: 1, at: 4 }]
    })
    assert.deepInclude(verdict, {
      acknowledged: 1,
      lost: 0,
      duplicated: 0,
      unknown: { handOuts: 1, elements: 0 },
      refeedMillis: [5],
      provenRefeedMillis: [5],
      violations: []
    })
  })

  it("may have a zombie finish what another has: it is late", () => {
    const verdict = check(1, [
      { at: 1 },
      { at: 250, device: 1, attempt: 2 },
      done(260, { device: 1, attempt: 2 }),
      done(400)
    ], { faults: [{ kind: "stop", isProven: false, device: 0, launch: 1, at: 2 }] })
    assert.deepInclude(verdict, { acknowledged: 1, duplicated: 0, late: 1, refeedMillis: [148], violations: [] })
  })

  it("may have one hand-out written late, by a process that was stopped before it could", () => {
    const verdict = check(1, [{ at: 5, device: 1, attempt: 2 }, done(6, { device: 1, attempt: 2 }), {
      at: 9,
      isLate: true
    }])
    assert.deepInclude(verdict, { duplicated: 0, unknown: { handOuts: 2, elements: 0 }, violations: [] })
  })

  it("may have elements again in a later life of the feeder, marked, if that did not know better", () => {
    const lines = [{ at: 1 }, done(2), { at: 5, life: 2, attempt: 2 }, done(6, { life: 2, attempt: 2 })]
    const checkpoints = [{ life: 2, isAcknowledged: () => false }]
    assert.deepInclude(check(1, lines, { checkpoints }), { acknowledged: 1, again: 1, duplicated: 0, violations: [] })
  })

  it("may have a device hand out what it has from a former life, when it has not heard of the next", () => {
    const verdict = check(1, [{ at: 1, device: 1, life: 2, attempt: 2 }, done(2, { device: 1, life: 2, attempt: 2 }), {
      at: 3
    }, done(4)])
    assert.deepInclude(verdict, { duplicated: 0, unknown: { handOuts: 1, elements: 0 }, violations: [] })
  })

  it("of a feeder that has not ended leaves unknown what is not finished", () => {
    assert.deepInclude(check(2, [{ at: 1 }], { isComplete: false }), {
      lost: 0,
      unknown: { handOuts: 1, elements: 2 },
      violations: []
    })
  })

  it("may miss the end of a log that was cut off in the middle", () => {
    const [log] = logsOf([{ at: 1 }, done(2)])
    const cut = { ...log!, bytes: log!.bytes.subarray(0, -1) }
    assert.deepInclude(check(1, [], { logs: [cut, ...logsOf([done(3, { device: 1 })])] }), { acknowledged: 1 })
  })
})

describe("a history that breaks a promise", () => {
  it("has an element that nobody finished", () => {
    const verdict = check(2, [{ n: 0, at: 1 }, done(2, { n: 0 })])
    assert.deepInclude(verdict, { lost: 1 })
    assert.deepStrictEqual(verdict.violations, ["element 1 was never finished: it was never handed out"])
  })

  it("has one handed out and not finished, though the feeder has ended", () => {
    assert.strictEqual(check(1, [{ at: 1 }]).lost, 1)
  })

  it("has one refused that is no dead letter, or a dead letter that nobody refused", () => {
    assert.deepInclude(check(1, [{ at: 1 }, { at: 2, kind: "Refused" }]), { dead: 0, lost: 1 })
    const verdict = check(1, [{ at: 1 }, done(2)], { refused: [0] })
    assert.match(verdict.violations[0]!, /^element 0 is a dead letter that nobody refused/)
  })

  it("has a second hand-out without a mark", () => {
    const verdict = check(1, [{ at: 1 }, done(2), { at: 5, device: 1 }])
    assert.strictEqual(verdict.duplicated, 1)
    assert.match(verdict.violations[0]!, /^element 0 was handed out 1 times too often without a mark: Handed at 1 /)
  })

  it("has two without a mark, whether or not one may be late", () => {
    assert.strictEqual(check(1, [{ at: 1 }, done(2), { at: 5, device: 1, isLate: true }]).duplicated, 1)
  })

  it("has a zombie hand out what another was given, without a mark", () => {
    assert.strictEqual(check(1, [{ at: 3, device: 1, attempt: 2 }, { at: 9 }, done(10)]).duplicated, 1)
  })

  it("has a later life feed without a mark what the one before had out, or feed what it knew to be acknowledged", () => {
    const isAcknowledged = () => true
    assert.strictEqual(check(1, [{ at: 1 }, done(2), { at: 5, life: 2 }, done(6, { life: 2 })]).duplicated, 1)
    const lines = [{ at: 1 }, done(2), { at: 5, life: 2, attempt: 2 }, done(6, { life: 2, attempt: 2 })]
    assert.strictEqual(check(1, lines, { checkpoints: [{ life: 2, isAcknowledged }] }).duplicated, 1)
    assert.strictEqual(check(1, lines, { checkpoints: [{ life: 3, isAcknowledged }] }).duplicated, 0)
  })

  it("has an element that the last checkpoint does not know to be acknowledged", () => {
    const isAcknowledged = (n: number) => n > 0
    const { violations } = check(2, [{ at: 1 }, done(2), { n: 1, at: 1 }, done(2, { n: 1 })], { isAcknowledged })
    assert.match(violations.join(), /^element 0 is not acknowledged by the last checkpoint/)
  })

  it("has an effect twice, though every delivery was as it should be", () => {
    const lines = [{ at: 1 }, done(2), { at: 5, attempt: 2 }, done(6, { attempt: 2 })]
    assert.strictEqual(check(1, lines, { delivery: "effectivelyOnce", effects: () => 1 }).duplicated, 0)
    assert.strictEqual(check(1, lines, { delivery: "effectivelyOnce", effects: () => 2 }).duplicated, 1)
  })

  it("has no effect, though its consumer had finished", () => {
    assert.strictEqual(check(1, [{ at: 1 }, done(2)], { delivery: "effectivelyOnce", effects: () => 0 }).lost, 1)
  })

  it("has two hand-outs of a feed that hands out at most once, marked or not, in whatever life", () => {
    const delivery = "atMostOnce"
    assert.strictEqual(check(1, [{ at: 1 }, { at: 2, attempt: 2 }], { delivery }).duplicated, 1)
    assert.strictEqual(check(1, [{ at: 1 }, { at: 2, life: 2 }], { delivery }).duplicated, 1)
    assert.deepInclude(check(1, [{ at: 1 }], { delivery }), { duplicated: 0, lost: 0 })
  })

  it("has an element that is not what was generated", () => {
    assert.strictEqual(check(1, [{ at: 1, isCorrupt: true }, done(2)]).corrupt, 1)
    assert.strictEqual(check(1, [{ at: 1 }, done(2), { n: 7, at: 3 }]).corrupt, 1)
  })

  it("has first hand-outs of one process out of order", () => {
    const lines = [{ n: 1, at: 1 }, { n: 0, at: 2 }, done(3, { n: 1 }), done(3, { n: 0 })]
    assert.strictEqual(check(2, lines).disordered, 1)
    assert.strictEqual(check(2, lines.map((line, i) => ({ ...line, device: i }))).disordered, 0)
    assert.strictEqual(check(2, [lines[0]!, { ...lines[1]!, redelivered: true }]).disordered, 0)
  })
})

it("the longest stall is the longest time in which nothing was finished", () => {
  const verdict = check(3, [{ n: 0, at: 1 }, done(10, { n: 0 }), done(60, { n: 1 }), done(100, { n: 2, device: 1 })])
  assert.deepInclude(verdict, { longestStallMillis: 50, stalledAt: 10 })
})

it("and while a feeder was there, without the times when none was", () => {
  const lines = [done(0), done(100), done(130)]
  assert.strictEqual(check(1, lines, { unfed: [{ from: 20, to: 90 }] }).longestFedStallMillis, 30)
  assert.strictEqual(check(1, lines, { unfed: [{ from: 50, to: 150 }] }).longestFedStallMillis, 50)
})
