import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as BatchCodec from "effect-feeder/BatchCodec"
import * as FeedSession from "effect-feeder/FeedSession"
import type { Acknowledge, DeviceFrame, FeederFrame, Progress, Welcome } from "effect-feeder/RemoteDevices"
import { noProgress } from "./fixtures/progress.ts"
import { only } from "./only.ts"

const codec = BatchCodec.make(Schema.String)

const make = (acknowledge: Acknowledge = "processed") =>
  FeedSession.make<string>({
    feed: "letters",
    fingerprint: codec.fingerprint,
    feeder: "feeder-1",
    incarnation: 1,
    acknowledge,
    delivery: "atLeastOnce",
    leaseMillis: 1000,
    codec
  }, "/job:consumer/replica:0")

const progress = (facts: Partial<Progress> & { readonly report: number }): Progress => ({
  ...noProgress,
  creditTo: 10,
  creditBytesTo: 1000,
  ...facts
})

const welcome = (device: string, facts: Partial<Progress> & { readonly report: number }): Welcome => ({
  _tag: "Welcome",
  version: 1,
  device,
  durable: false,
  capacity: 10,
  limits: { frameBytes: 1000, elements: 100 },
  progress: progress(facts)
})

/** Plays inputs from a state on, and gives the last state with all outputs. */
const play = (state: FeedSession.State<string>, ...inputs: ReadonlyArray<FeedSession.Input<string>>) => {
  let current = state
  const outputs: Array<FeedSession.Output<string>> = []
  for (const input of inputs) {
    const [next, more] = FeedSession.step(current, input)
    current = next
    outputs.push(...more)
  }
  return { state: current, outputs, tags: outputs.map((output) => output._tag) }
}

const sent = (outputs: ReadonlyArray<FeedSession.Output<string>>): ReadonlyArray<FeederFrame> =>
  outputs.flatMap((output) => output._tag === "Send" ? [output.frame] : [])

const items = (...elements: ReadonlyArray<string>): ReadonlyArray<FeedSession.Item<string>> =>
  elements.map((element, ordinal) => ({ ordinal, attempt: 1, element }))

const live = (acknowledge?: Acknowledge) =>
  play(make(acknowledge), { _tag: "Opened", now: 0 }, {
    _tag: "Received",
    frame: welcome("device-a", { report: 1 }),
    now: 1
  }).state

const frameOf = (frame: DeviceFrame, now: number): FeedSession.Input<string> => ({ _tag: "Received", frame, now })

const reportOf = (now: number, facts: Partial<Progress> & { readonly report: number }) =>
  frameOf({ _tag: "Progress", progress: progress(facts) }, now)

describe("FeedSession", () => {
  it("keeps what a device accepted for good, though sessions end that it never heard of", () => {
    const accepted = play(
      live("accepted"),
      { _tag: "Push", items: items("a", "b", "c") },
      reportOf(2, { report: 2, accepted: 3, delivered: 2 }),
      { _tag: "GiveUp" },
      { _tag: "Begin" }
    ).state
    const again = play(accepted, { _tag: "Opened", now: 10 }, { _tag: "GiveUp" }, { _tag: "Begin" }).state
    const hello = only(sent(play(again, { _tag: "Opened", now: 20 }).outputs), "Hello")
    assert.deepStrictEqual([hello.session, hello.keepTo], [2, 3])
    assert.strictEqual(FeedSession.held(again), 1)
  })

  it("takes back what is out at a device that has forgotten the session", () => {
    const { outputs, state } = play(
      live(),
      { _tag: "Push", items: items("a", "b") },
      reportOf(2, { report: 5, accepted: 2, delivered: 1 }),
      { _tag: "Lost", fate: "unknown", now: 3 },
      { _tag: "Opened", now: 4 },
      frameOf(welcome("device-a", { report: 1 }), 5)
    )
    assert.strictEqual(state.phase, "BackOff")
    const back = outputs.find((output) => output._tag === "GiveBack")
    assert.deepStrictEqual(back?._tag === "GiveBack" && back.items.map(({ attempt }) => attempt), [2, 2])
  })

  it("begins another session at a device that has forgotten one of which nothing was out", () => {
    const { state, tags } = play(
      live("accepted"),
      { _tag: "Push", items: items("a", "b") },
      reportOf(2, { report: 5, accepted: 2, delivered: 1 }),
      { _tag: "Stop" },
      { _tag: "Opened", now: 9000 },
      frameOf(welcome("device-a", { report: 1 }), 9001)
    )
    assert.deepStrictEqual([state.phase, state.session, state.delivered, FeedSession.held(state)], ["Idle", 2, 2, 0])
    assert.strictEqual(tags.at(-1), "CloseLink")
    assert.notInclude(tags, "Reclaimed")
  })

  it("counts what a device held that is gone while it drains, and lets another in its place hear of the end", () => {
    const gone = play(
      live("accepted"),
      { _tag: "Push", items: items("a", "b", "c") },
      reportOf(2, { report: 2, accepted: 3, delivered: 1 }),
      { _tag: "Drain", now: 3 },
      { _tag: "Lost", fate: "gone", now: 4 }
    )
    assert.deepStrictEqual([gone.state.phase, FeedSession.held(gone.state), gone.state.heldByDead], ["Resuming", 0, 2])
    assert.notInclude(gone.tags, "Reclaimed")
    const again = play(gone.state, { _tag: "Opened", now: 5 }, frameOf(welcome("device-b", { report: 1 }), 6))
    assert.deepStrictEqual(only(sent(again.outputs), "End").last, 0)
    assert.strictEqual(play(gone.state, { _tag: "Tick", now: 1104 }).state.phase, "Ended")
  })

  it("counts what a device held that is gone, at once", () => {
    const { state } = play(
      live("accepted"),
      { _tag: "Push", items: items("a", "b", "c") },
      reportOf(2, { report: 2, accepted: 2, delivered: 1 }),
      { _tag: "Lost", fate: "gone", now: 4 }
    )
    assert.deepStrictEqual([state.phase, FeedSession.held(state), state.heldByDead], ["BackOff", 0, 1])
  })

  it("says Hello on a link, and nothing is sent before the Welcome", () => {
    const { outputs, state } = play(make(), { _tag: "Opened", now: 0 })
    assert.deepStrictEqual(sent(outputs).map((frame) => frame._tag), ["Hello"])
    assert.deepStrictEqual(FeedSession.credit(state), { elements: 0, bytes: 0, largest: 0 })
  })

  it("resends after what the device has accepted, with the same sequences", () => {
    const pushed = play(live(), { _tag: "Push", items: items("a", "b", "c") })
    const resumed = play(
      pushed.state,
      { _tag: "Lost", fate: "unknown", now: 100 },
      { _tag: "Opened", now: 110 },
      frameOf(welcome("device-a", { report: 2, accepted: 1 }), 120)
    )
    const batch = only(sent(resumed.outputs), "Batch")
    assert.strictEqual(batch.first, 2)
    assert.deepStrictEqual(batch.chunk.elements, ["b", "c"])
    assert.deepStrictEqual(batch.runs, [{ ordinal: 1, count: 2, attempt: 1 }])
    assert.notInclude(resumed.tags, "Reclaimed")
  })

  it("takes back what is unsettled when the lease has run out, a tenth later than the device", () => {
    const pushed = play(live(), { _tag: "Push", items: items("a", "b") }, reportOf(50, { report: 2, accepted: 2 }))
    const early = play(pushed.state, { _tag: "Lost", fate: "unknown", now: 60 }, { _tag: "Tick", now: 1149 })
    assert.strictEqual(early.state.phase, "Resuming")
    assert.strictEqual(FeedSession.inDoubt(early.state), 2)
    const late = play(early.state, { _tag: "Tick", now: 1150 })
    assert.deepStrictEqual(late.tags, ["CloseLink", "GiveBack", "Reclaimed"])
    assert.deepStrictEqual(only(late.outputs, "GiveBack").items.map((item) => item.attempt), [2, 2])
    assert.strictEqual(late.state.session, 2)
    assert.strictEqual(FeedSession.leased(late.state), 0)
  })

  it("takes back at once when the device is certainly gone", () => {
    const pushed = play(live(), { _tag: "Push", items: items("a") })
    assert.deepStrictEqual(play(pushed.state, { _tag: "Lost", fate: "gone", now: 2 }).tags, [
      "CloseLink",
      "GiveBack",
      "Reclaimed"
    ])
  })

  it("takes back when another incarnation answers", () => {
    const pushed = play(live(), { _tag: "Push", items: items("a") })
    const { state, tags } = play(
      pushed.state,
      { _tag: "Lost", fate: "unknown", now: 2 },
      { _tag: "Opened", now: 3 },
      frameOf(welcome("device-b", { report: 1 }), 4)
    )
    assert.include(tags, "GiveBack")
    assert.strictEqual(state.session, 2)
  })

  it("counts what an accepted feed's dead device held", () => {
    const { state } = play(
      live("accepted"),
      { _tag: "Push", items: items("a", "b", "c") },
      reportOf(5, { report: 2, accepted: 3, delivered: 1 }),
      { _tag: "Lost", fate: "unknown", now: 6 },
      { _tag: "Opened", now: 7 },
      frameOf(welcome("device-b", { report: 1 }), 8)
    )
    assert.strictEqual(state.heldByDead, 2)
    assert.strictEqual(state.delivered, 1)
    assert.strictEqual(FeedSession.held(state), 0)
    assert.strictEqual(state.phase, "Live")
  })

  it("fails with both ids when two processes answer to one name", () => {
    const { outputs } = play(
      live(),
      { _tag: "Lost", fate: "unknown", now: 2 },
      { _tag: "Opened", now: 3 },
      frameOf(welcome("device-b", { report: 1 }), 4),
      { _tag: "Lost", fate: "unknown", now: 5 },
      { _tag: "Opened", now: 6 },
      frameOf(welcome("device-a", { report: 9 }), 7)
    )
    const failed = only(outputs, "Failed")
    assert.strictEqual(failed.reason, "another device")
    assert.include(failed.detail, "device-a")
    assert.include(failed.detail, "device-b")
  })

  describe("fails at what no device says, by its field", () => {
    const detailOf = (state: FeedSession.State<string>, frame: DeviceFrame) => {
      const failed = only(play(state, frameOf(frame, 5)).outputs, "Failed")
      assert.strictEqual(failed.reason, "invalid")
      return failed.detail
    }
    const detailOfReport = (state: FeedSession.State<string>, facts: Partial<Progress>) =>
      detailOf(state, { _tag: "Progress", progress: progress({ report: 9, ...facts }) })
    const done = { _tag: "Done" } as const
    const three = (acknowledge?: Acknowledge) =>
      play(
        live(acknowledge),
        { _tag: "Push", items: items("a", "b", "c") },
        reportOf(3, { report: 2, accepted: 2, delivered: 2 })
      ).state

    it("in a report", () => {
      const read = (facts: Partial<Progress>) => detailOfReport(three(), facts)
      assert.strictEqual(read({ accepted: 4 }), "progress.accepted: it is 4, but 3 were sent")
      assert.strictEqual(read({ accepted: 2, delivered: 3 }), "progress.delivered: it is 3, but 2 were accepted")
      assert.strictEqual(
        read({ accepted: 2, delivered: 2, settled: 3 }),
        "progress.settled: it is 3, but 2 were handed out"
      )
      assert.strictEqual(read({ accepted: 2, delivered: 1 }), "progress.delivered: it is 1, but was 2")
      const above = (...ranges: ReadonlyArray<readonly [number, number]>) =>
        read({
          accepted: 3,
          delivered: 3,
          settled: 1,
          above: ranges.map(([from, count]) => ({ from, count, result: done }))
        })
      assert.strictEqual(above([1, 1]), "progress.above[0].from: it is 1, but 1 is told of before it")
      assert.strictEqual(above([3, 1], [2, 1]), "progress.above[1].from: it is 2, but 3 is told of before it")
      assert.strictEqual(above([2, 0]), "progress.above[0].count: it is 0")
      assert.strictEqual(
        above([2, 1000]),
        "progress.above[0].count: it settles sequence 1001, but 3 were accepted"
      )
    })

    it("in a report of a feed that is acknowledged as accepted", () => {
      const read = (facts: Partial<Progress>) => detailOfReport(three("accepted"), facts)
      assert.strictEqual(read({ accepted: 1, delivered: 1 }), "progress.delivered: it is 1, but was 2")
      assert.strictEqual(
        read({ accepted: 2, delivered: 2, carried: 1 }),
        "progress.carried: it is 1, but 0 were kept"
      )
      const held = play(three("accepted"), reportOf(4, { report: 3, accepted: 3, delivered: 2 })).state
      assert.strictEqual(
        detailOfReport(held, { accepted: 2, delivered: 2 }),
        "progress.accepted: it is 2, but was 3"
      )
    })

    it("in a Welcome, or one too many", () => {
      const opening = play(make(), { _tag: "Opened", now: 0 }).state
      const frame = welcome("device-a", { report: 1 })
      const read = (limits: Welcome["limits"]) => detailOf(opening, { ...frame, limits })
      assert.strictEqual(read({ frameBytes: 0, elements: 1 }), "Welcome.limits.frameBytes: it is 0")
      assert.strictEqual(read({ frameBytes: 1, elements: 0 }), "Welcome.limits.elements: it is 0")
      assert.strictEqual(
        detailOf(live(), welcome("device-a", { report: 2 })),
        "_tag: a second Welcome on one link"
      )
      assert.strictEqual(
        detailOf(opening, { _tag: "Progress", progress: progress({ report: 1 }) }),
        "_tag: a Progress before the Welcome"
      )
    })
  })

  it("sends ids to a device of version 2 only", () => {
    const idsOf = (version: number) => {
      const opened = play(
        make(),
        { _tag: "Opened", now: 0 },
        frameOf({ ...welcome("device-a", { report: 1 }), version }, 1)
      )
      const push = { _tag: "Push", items: items("a").map((item) => ({ ...item, id: "x" })) } as const
      return only(sent(play(opened.state, push).outputs), "Batch").ids
    }
    assert.deepStrictEqual(idsOf(2), ["x"])
    assert.isUndefined(idsOf(1))
  })

  it("takes no version that it did not offer", () => {
    const once = FeedSession.make({ ...make().config, delivery: "effectivelyOnce" }, "/job:consumer/replica:0")
    const { outputs } = play(once, { _tag: "Opened", now: 0 }, frameOf(welcome("device-a", { report: 1 }), 1))
    assert.deepStrictEqual(only(sent(outputs), "Hello").versions, [2, 3])
    const failed = only(outputs, "Failed")
    assert.deepStrictEqual([failed.reason, failed.detail], ["version", "it speaks version 1, this feeder 2 to 3"])
  })

  it("refuses a version it does not speak, naming both", () => {
    const { outputs } = play(make(), { _tag: "Opened", now: 0 }, {
      _tag: "Received",
      frame: { ...welcome("device-a", { report: 1 }), version: 7 },
      now: 1
    })
    const failed = only(outputs, "Failed")
    assert.strictEqual(failed.reason, "version")
    assert.include(failed.detail, "7")
  })

  it("lets one element go beyond the bytes when nothing waits at the device", () => {
    const full = play(live(), { _tag: "Push", items: items("x".repeat(990)) }).state
    assert.isBelow(FeedSession.credit(full).largest, 20)
    const handed = play(full, reportOf(2, { report: 2, accepted: 1, delivered: 1, creditBytesTo: 10 })).state
    assert.isBelow(FeedSession.credit(handed).bytes, 20)
    assert.strictEqual(FeedSession.credit(handed).largest, 1000)
  })

  it("lets one element go beyond the bytes when a take collects all that is at the device", () => {
    const full = play(live(), { _tag: "Push", items: items("x".repeat(990)) }).state
    const accepted = { accepted: 1, creditBytesTo: 10 }
    const waiting = play(full, reportOf(2, { report: 2, ...accepted })).state
    assert.isBelow(FeedSession.credit(waiting).largest, 20)
    const collected = play(full, reportOf(2, { report: 2, ...accepted, collecting: true })).state
    assert.strictEqual(FeedSession.credit(collected).largest, 1000)
    // One at a time: not while another is on its way.
    const after = play(collected, { _tag: "Push", items: items("y") }).state
    assert.isBelow(FeedSession.credit(after).largest, 20)
  })

  it("gives back, refuses and finishes single elements once, however often they are reported", () => {
    const pushed = play(live(), { _tag: "Push", items: items("a", "b", "c") }).state
    const above = [
      { from: 1, count: 1, result: { _tag: "Retry" as const, afterMillis: 5, cause: "busy" } },
      { from: 2, count: 1, result: { _tag: "Reject" as const, cause: "bad" } },
      { from: 3, count: 1, result: { _tag: "Done" as const } }
    ]
    const first = play(pushed, reportOf(2, { report: 2, accepted: 3, delivered: 3, above }))
    assert.deepStrictEqual(first.tags, ["Acknowledged", "Rejected", "GiveBack"])
    const again = play(
      first.state,
      reportOf(3, { report: 3, accepted: 3, delivered: 3, above }),
      reportOf(4, { report: 4, accepted: 3, delivered: 3, settled: 3 })
    )
    assert.deepStrictEqual(again.outputs, [])
    assert.deepStrictEqual([again.state.delivered, again.state.dead, FeedSession.leased(again.state)], [1, 1, 0])
  })

  it("gives elements back in order, whatever their causes", () => {
    const pushed = play(live(), { _tag: "Push", items: items("a", "b", "c", "d") }).state
    const retry = (cause: string) => ({ _tag: "Retry" as const, afterMillis: 0, cause })
    const { outputs } = play(
      pushed,
      reportOf(2, {
        report: 2,
        accepted: 4,
        delivered: 4,
        above: [{ from: 1, count: 1, result: retry("x") }, { from: 2, count: 2, result: retry("y") }, {
          from: 4,
          count: 1,
          result: retry("x")
        }]
      })
    )
    const front: Array<string> = []
    for (const output of outputs) {
      if (output._tag === "GiveBack") front.unshift(...output.items.map((item) => item.element))
    }
    assert.deepStrictEqual(front, ["a", "b", "c", "d"])
  })

  it("counts what a device held that was thought gone at the end as held again when it answers", () => {
    const gone = play(
      live("accepted"),
      { _tag: "Push", items: items("a", "b") },
      reportOf(3, { report: 2, accepted: 2, delivered: 1 }),
      { _tag: "Drain", now: 4 },
      { _tag: "Lost", fate: "gone", now: 5 }
    ).state
    assert.deepStrictEqual([gone.delivered, gone.heldByDead, FeedSession.held(gone)], [1, 1, 0])
    const answer = frameOf(welcome("device-a", { report: 3, accepted: 2, delivered: 1 }), 7)
    const { state } = play(gone, { _tag: "Opened", now: 6 }, answer)
    assert.deepStrictEqual([state.delivered, state.heldByDead, FeedSession.held(state)], [1, 0, 1])
  })

  it("ignores a report that is older than one it has", () => {
    const pushed = play(live(), { _tag: "Push", items: items("a", "b") }).state
    const { state } = play(
      pushed,
      reportOf(2, { report: 5, accepted: 2, delivered: 2, settled: 2 }),
      reportOf(3, { report: 4, accepted: 1 })
    )
    assert.strictEqual(state.progress.report, 5)
    assert.strictEqual(state.heardAt, 2)
  })

  it("refuses a report of more than it sent", () => {
    const { outputs } = play(live(), reportOf(2, { report: 2, accepted: 1 }))
    assert.strictEqual(only(outputs, "Failed").reason, "invalid")
  })

  it("ends when everything is settled and the device has confirmed", () => {
    const { outputs, state } = play(
      live(),
      { _tag: "Push", items: items("a") },
      { _tag: "Flush" },
      { _tag: "Flush" },
      reportOf(2, { report: 2, accepted: 1, delivered: 1, settled: 1 }),
      { _tag: "Drain", now: 3 },
      reportOf(4, { report: 3, accepted: 1, delivered: 1, settled: 1, ended: true })
    )
    assert.deepStrictEqual(sent(outputs).map((frame) => frame._tag), ["Batch", "Flush", "End", "Bye"])
    assert.strictEqual(state.phase, "Ended")
  })

  it("ends without a device that stays away for a lease once nothing is out", () => {
    const lost = play(live(), { _tag: "Lost", fate: "unknown", now: 10 }, { _tag: "Drain", now: 20 }).state
    assert.strictEqual(play(lost, { _tag: "Tick", now: 1119 }).state.phase, "Resuming")
    assert.strictEqual(play(lost, { _tag: "Tick", now: 1121 }).state.phase, "Ended")
  })

  it("parts from a device that is leaving when it has finished, without a failure", () => {
    const leaving = play(live(), { _tag: "Push", items: items("a") }, frameOf({ _tag: "Leaving", byMillis: 500 }, 5))
    assert.deepStrictEqual(sent(leaving.outputs).map((frame) => frame._tag), ["Batch", "End"])
    assert.strictEqual(FeedSession.credit(leaving.state).elements, 0)
    const gone = play(leaving.state, reportOf(6, { report: 2, accepted: 1, delivered: 1, settled: 1, ended: true }))
    assert.strictEqual(gone.state.phase, "Idle")
    assert.notInclude(gone.tags, "Reclaimed")
  })

  it("gives up a device that is silent on an open link", () => {
    const pushed = play(live(), { _tag: "Push", items: items("a") }).state
    assert.deepStrictEqual(play(pushed, { _tag: "Tick", now: 500 }).tags, ["Send"])
    assert.include(play(pushed, { _tag: "Tick", now: 1102 }).tags, "GiveBack")
  })

  it("says Bye when it is stopped, and can open again", () => {
    const stopped = play(live(), { _tag: "Push", items: items("a") }, { _tag: "Stop" })
    assert.deepStrictEqual(sent(stopped.outputs).map((frame) => frame._tag), ["Batch", "Bye"])
    assert.strictEqual(FeedSession.leased(stopped.state), 1)
    const again = play(
      stopped.state,
      { _tag: "Opened", now: 50 },
      frameOf(welcome("device-a", { report: 2, accepted: 1 }), 51)
    )
    assert.strictEqual(again.state.phase, "Live")
    assert.strictEqual(again.state.session, 1)
  })
})
