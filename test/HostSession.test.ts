import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as BatchCodec from "effect-feeder/BatchCodec"
import * as HostSession from "effect-feeder/HostSession"
import type { Acknowledge, Batch, DeviceFrame, FeederFrame, Hello, Result } from "effect-feeder/RemoteDevices"
import { done } from "effect-feeder/RemoteDevices"
import { only } from "./only.ts"

const codec = BatchCodec.make(Schema.Int)
const config: HostSession.Config = { device: "device-a", capacity: 10, frameBytes: 1e6, elements: 1e6 }
const room: HostSession.Room = { collecting: false, elements: 10, bytes: 1000, unsettled: 12 }

const helloOf = (facts: Partial<Hello> = {}): Hello => ({
  _tag: "Hello",
  versions: [1, 1],
  feed: "numbers",
  fingerprint: codec.fingerprint,
  feeder: "feeder-1",
  incarnation: 5,
  device: "/job:consumer/replica:0",
  session: 1,
  keepTo: 0,
  acknowledge: "processed",
  leaseMillis: 1000,
  ...facts
})

const hello = (facts: Partial<Hello> = {}, link = 1, now = 0): HostSession.Input => ({
  _tag: "Hello",
  frame: helloOf(facts),
  link,
  room,
  now
})

const batchOf = (first: number, count: number, heard: number): Batch => ({
  _tag: "Batch",
  first,
  heard,
  elementBytes: 8,
  runs: [{ ordinal: first - 1, count, attempt: 1 }],
  chunk: codec.fromElements(Array.from({ length: count }, (_, i) => first + i))
})

const from = (frame: Exclude<FeederFrame, Hello>, link = 1): HostSession.Input => ({ _tag: "Received", frame, link })

const report = (now: number): HostSession.Input => ({ _tag: "Report", room, now })

const play = (state: HostSession.State, ...inputs: ReadonlyArray<HostSession.Input>) => {
  let current = state
  const outputs: Array<HostSession.Output> = []
  for (const input of inputs) {
    const [next, more] = HostSession.step(current, input, config)
    current = next
    outputs.push(...more)
  }
  return { state: current, outputs, tags: outputs.map((output) => output._tag) }
}

const frames = (outputs: ReadonlyArray<HostSession.Output>): ReadonlyArray<DeviceFrame> =>
  outputs.flatMap((output) => output._tag === "Send" ? [output.frame] : [])

const refusal = (outputs: ReadonlyArray<HostSession.Output>) => only(frames(outputs), "Refused")

const place = (sequence: number, facts: Partial<HostSession.Place> = {}): HostSession.Place => ({
  incarnation: 5,
  session: 1,
  epoch: 0,
  sequence,
  bytes: 8,
  ...facts
})

const welcomed = (acknowledge: Acknowledge = "processed") =>
  play(HostSession.make("feeder-1"), hello({ acknowledge })).state

describe("HostSession", () => {
  it("welcomes a feeder with its credit", () => {
    const welcome = only(frames(play(HostSession.make("feeder-1"), hello()).outputs), "Welcome")
    assert.strictEqual(welcome.device, "device-a")
    assert.strictEqual(welcome.progress.creditTo, 10)
    assert.strictEqual(welcome.progress.creditBytesTo, 1000)
  })

  it("knows a feeder whose incarnation is 0 from one it has not heard of", () => {
    const first = play(HostSession.make("feeder-1"), hello({ incarnation: 0 }))
    assert.notInclude(first.tags, "Discard")
    assert.strictEqual(first.state.acknowledge, "processed")
    assert.strictEqual(only(frames(play(first.state, hello({ incarnation: 1 }, 2)).outputs), "Welcome").version, 1)
    assert.include(play(first.state, hello({ incarnation: 1 }, 2)).tags, "Discard")
  })

  it("refuses an older incarnation, naming both feeders", () => {
    const { outputs } = play(welcomed(), hello({ incarnation: 4 }, 2))
    const refused = refusal(outputs)
    assert.strictEqual(refused.reason, "older feeder")
    assert.include(refused.detail, "feeder-1#4")
    assert.include(refused.detail, "feeder-1#5")
  })

  it("refuses an older session", () => {
    const { outputs } = play(HostSession.make("feeder-1"), hello({ session: 3 }), hello({ session: 2 }, 2))
    assert.strictEqual(refusal(outputs).reason, "older session")
  })

  it("refuses bytes beyond the credit, save those of one element alone", () => {
    const large = (first: number, count: number, elementBytes: number) =>
      from({ ...batchOf(first, count, 1), elementBytes })
    assert.deepStrictEqual(play(welcomed(), large(1, 4, 250)).tags, ["Admit"])
    const beyond = refusal(play(welcomed(), large(1, 2, 501)).outputs)
    assert.strictEqual(beyond.reason, "invalid")
    assert.strictEqual(beyond.detail, "elementBytes: 1002 bytes are beyond the credit of 1000")
    assert.deepStrictEqual(play(welcomed(), large(1, 1, 5000)).tags, ["Admit"])
    const second = refusal(play(welcomed(), large(1, 1, 5000), large(2, 1, 8)).outputs)
    assert.strictEqual(second.detail, "elementBytes: 5008 bytes are beyond the credit of 1000")
  })

  it("counts no bytes of what its queue did not admit", () => {
    const before = play(welcomed(), from(batchOf(1, 2, 1))).state
    const after = play(before, from(batchOf(3, 3, 1))).state
    assert.deepStrictEqual(HostSession.withdraw(after, place(3)), { ...after, accepted: 2, acceptedBytes: 16 })
  })

  it("refuses a version it does not speak, naming both", () => {
    const { outputs } = play(HostSession.make("feeder-1"), hello({ versions: [8, 9] }))
    assert.strictEqual(refusal(outputs).reason, "version")
    assert.include(refusal(outputs).detail, "8 to 9")
  })

  it("lets the same session replace its old link", () => {
    const { outputs, state } = play(welcomed(), hello({}, 2))
    assert.deepStrictEqual(outputs[0], { _tag: "CloseLink", link: 1 })
    assert.strictEqual(state.link, 2)
    assert.deepStrictEqual(play(state, from({ _tag: "Ping", heard: 1 }, 1)).tags, ["CloseLink"])
  })

  it("counts what was settled after the feeder had taken it back, before it said so", () => {
    const settled = { _tag: "Settle" as const, place: place(1), count: 3, result: { _tag: "Done" as const } }
    const [handed] = HostSession.handOut(play(welcomed(), from(batchOf(1, 4, 1))).state, place(3), 1, 0)
    const zombie = play(handed, settled).state
    assert.strictEqual(zombie.fenced, 0)
    assert.strictEqual(play(zombie, hello({ session: 2, settled: 1 }, 2)).state.fenced, 2)
    assert.strictEqual(play(zombie, hello({ session: 2 }, 2)).state.fenced, 0)
  })

  it("drops what it has accepted already", () => {
    // What a take had in hand when the session lapsed is handed out after the feeder was welcomed again.
    const lapsed = HostSession.lapse(play(welcomed(), from(batchOf(1, 3, 1))).state)
    const [handed] = HostSession.handOut(play(lapsed, hello({}, 2)).state, place(1), 1, 1)
    const [state] = HostSession.handOut(handed, place(2), 1, 1)
    const admitted = play(state, from(batchOf(1, 3, 1), 2)).outputs
    assert.deepStrictEqual(admitted.map((output) => output._tag === "Admit" && [output.from, output.first.sequence]), [[
      2,
      3
    ]])
    const [all] = HostSession.handOut(state, place(3), 1, 1)
    assert.deepStrictEqual(play(all, from(batchOf(1, 3, 1), 2)).outputs, [])
  })

  it("refuses what does not follow the batch before it on the link, for now", () => {
    const first = play(welcomed(), from(batchOf(1, 3, 1))).state
    const cases: ReadonlyArray<[HostSession.State, Batch, number, number]> = [
      [welcomed(), batchOf(2, 1, 1), 2, 1],
      [first, batchOf(1, 3, 1), 1, 4],
      [first, batchOf(6, 1, 1), 6, 4]
    ]
    for (const [state, frame, got, expected] of cases) {
      const { outputs } = play(state, from(frame))
      assert.deepStrictEqual(refusal(outputs), {
        _tag: "Refused",
        reason: "invalid",
        detail: `first: it is ${got}, expected ${expected}`,
        retry: true
      })
      assert.deepStrictEqual(outputs.at(-1), { _tag: "CloseLink", link: 1 })
    }
  })

  it("closes the link at what was on its way when the session lapsed", () => {
    const lapsed = HostSession.lapse(play(welcomed(), from(batchOf(1, 3, 1))).state)
    const late = play(lapsed, from(batchOf(4, 2, 1)), from(batchOf(6, 1, 1)))
    assert.deepStrictEqual(late.outputs, [{ _tag: "CloseLink", link: 1 }, { _tag: "CloseLink", link: 1 }])
    assert.strictEqual(late.state.accepted, 0)
  })

  describe("refuses what no feeder says, by its field", () => {
    const detailOf = (state: HostSession.State, input: HostSession.Input) => {
      const { outputs } = play(state, input)
      const refused = refusal(outputs)
      assert.deepStrictEqual([refused.reason, refused.retry, outputs.at(-1)?._tag], ["invalid", false, "CloseLink"])
      return refused.detail
    }
    const unknown = HostSession.make("feeder-1")
    const held = play(welcomed(), from(batchOf(1, 3, 1))).state
    const ended = play(held, from({ _tag: "End", last: 3, heard: 1 })).state

    it("in a Hello", () => {
      const read = (facts: Partial<Hello>) => detailOf(unknown, hello(facts))
      assert.strictEqual(read({ leaseMillis: 0 }), "Hello.leaseMillis: it is 0")
      assert.strictEqual(read({ session: 0 }), "Hello.session: it is 0")
      assert.strictEqual(read({ keepTo: 2 }), "Hello.keepTo: it is 2, but what is to be processed is not kept")
      assert.strictEqual(read({ delivery: "atMostOnce" }), "Hello.delivery: version 1 knows no atMostOnce")
      assert.strictEqual(play(unknown, hello({ versions: [2, 2], delivery: "atMostOnce" })).state.version, 2)
    })

    it("in numbers of what was heard and sent", () => {
      assert.strictEqual(
        detailOf(held, from({ _tag: "Ping", heard: 2 })),
        "heard: it is 2, but the last report was 1"
      )
      assert.strictEqual(detailOf(held, from(batchOf(4, 1, 9))), "heard: it is 9, but the last report was 1")
      for (const last of [2, 4]) {
        assert.strictEqual(
          detailOf(held, from({ _tag: "Flush", last, heard: 1 })),
          `last: it is ${last}, but 3 were sent`
        )
        assert.strictEqual(
          detailOf(held, from({ _tag: "End", last, heard: 1 })),
          `last: it is ${last}, but 3 were sent`
        )
      }
      assert.strictEqual(detailOf(ended, from(batchOf(4, 1, 1))), "first: a batch after End")
      assert.strictEqual(detailOf(ended, from({ _tag: "End", last: 3, heard: 1 })), "_tag: End after End")
    })

    it("in a batch", () => {
      const ids = ["a", "b", "c"]
      const runs = [{ ordinal: 0, count: 2, attempt: 1 }]
      const two = play(unknown, hello({ versions: [1, 2] })).state
      assert.strictEqual(detailOf(welcomed(), from({ ...batchOf(1, 3, 1), ids })), "kind: version 1 knows no ids")
      assert.deepStrictEqual(play(two, from({ ...batchOf(1, 3, 1), ids })).tags, ["Admit"])
      assert.strictEqual(detailOf(two, from({ ...batchOf(1, 2, 1), ids })), "ids: there are 3 for 2 elements")
      assert.strictEqual(
        detailOf(two, from({ ...batchOf(1, 3, 1), runs })),
        "runs: they do not count the 3 elements of the batch"
      )
    })

    it("in the bytes it counts", () => {
      const more = (count: number, elementBytes: number) => from({ ...batchOf(1, count, 1), elementBytes })
      assert.strictEqual(
        detailOf(welcomed(), more(2, 501)),
        "elementBytes: 1002 bytes are beyond the credit of 1000"
      )
      // One alone may be larger when nothing waits here, or when a take has all that is queued.
      assert.deepStrictEqual(play(welcomed(), more(1, 5000)).tags, ["Admit"])
      const second: HostSession.Input = from({ ...batchOf(2, 1, 1), elementBytes: 5000 })
      const one = play(welcomed(), more(1, 8)).state
      assert.match(detailOf(one, second), /^elementBytes: 5008 bytes/)
      const collecting = { ...report(1), room: { ...room, collecting: true } }
      assert.deepStrictEqual(play(one, collecting, second).tags, ["Send", "Admit"])
    })

    it("in the bytes it does not count", () => {
      const large = (first: number, byteLength: number, elementBytes: number) => {
        const frame = batchOf(first, 1, 1)
        const { columns, elements, length } = frame.chunk
        return from({ ...frame, elementBytes, chunk: { columns, elements, length, byteLength } })
      }
      const wide = play(unknown, { _tag: "Hello", frame: helloOf(), link: 1, room: { ...room, bytes: 1e9 }, now: 0 })
      assert.deepStrictEqual(play(wide.state, large(1, 40e6, 10e6)).tags, ["Admit"])
      // What waits may be larger by what a frame may take.
      const more = { ...wide.state, creditTo: 20 }
      assert.strictEqual(
        detailOf(more, large(1, 1e6 + 1, 0)),
        "elementBytes: it is 0, but 1 elements take 1000001"
      )
      const { outputs, state } = play(more, large(1, 6e5, 0))
      assert.match(detailOf(state, large(2, 6e5, 0)), /^elementBytes/)
      const admitted = outputs.find((output) => output._tag === "Admit")
      const [handed] = HostSession.handOut(state, admitted!.first, 1, 0)
      assert.deepStrictEqual(play(handed, large(2, 6e5, 0)).tags, ["Admit"])
    })
  })

  it("tells in one report no more than a frame takes, and the rest once that is known", () => {
    const wide = { ...room, elements: 5000, unsettled: 5000 }
    let { state } = play(HostSession.make("feeder-1"), { _tag: "Hello", frame: helloOf(), link: 1, room: wide, now: 0 })
    state = { ...state, creditBytesTo: 1e9 }
    state = play(state, from(batchOf(1, 4500, 1))).state
    for (let i = 1; i <= 4500; i++) {
      state = HostSession.handOut(state, place(i), 1, 1)[0]
      const result = { _tag: "Reject" as const, cause: `no ${i}` }
      state = play(state, { _tag: "Settle", place: place(i), count: 1, result }).state
    }
    const above = (told: HostSession.State) => {
      const { outputs, state } = play(told, report(1))
      return { state, above: only(frames(outputs), "Progress").progress.above }
    }
    const first = above(state)
    assert.deepStrictEqual([first.above.length, first.above.at(-1)?.from], [4096, 4096])
    const second = above(play(first.state, from({ _tag: "Ping", heard: 2 })).state)
    assert.deepStrictEqual([second.above.length, second.above[0]?.from], [404, 4097])
  })

  it("refuses what is beyond the credit", () => {
    const { outputs } = play(welcomed(), from(batchOf(1, 11, 1)))
    assert.strictEqual(refusal(outputs).reason, "invalid")
    assert.include(refusal(outputs).detail, "credit")
  })

  it("counts the lease from when it sent the report that the feeder echoes, not from when it heard of it", () => {
    const { state } = play(
      welcomed(), // report 1 at 0
      report(600), // report 2
      from(batchOf(1, 2, 1)) // arrives at any later time, and echoes report 1
    )
    assert.strictEqual(state.leaseUntil, 1000)
    assert.strictEqual(HostSession.verdict(state, place(1), 999), "hand out")
    assert.strictEqual(HostSession.verdict(state, place(1), 1000), "lapsed")
    assert.strictEqual(play(state, from({ _tag: "Ping", heard: 2 })).state.leaseUntil, 1600)
  })

  it("lets go of what is queued when the lease has run out, and takes it again", () => {
    const held = play(welcomed(), from(batchOf(1, 3, 1))).state
    const lapsed = HostSession.lapse(HostSession.handOut(held, place(1), 1, 10)[0])
    assert.deepStrictEqual([lapsed.accepted, lapsed.delivered], [1, 1])
    assert.strictEqual(HostSession.verdict(lapsed, place(2), 10), "drop")
    const again = play(lapsed, hello({}, 2, 10), from(batchOf(2, 2, 1), 2)).state
    assert.strictEqual(HostSession.verdict(again, place(2, { epoch: 1 }), 10), "hand out")
  })

  it("tells of what it refused and let go of only when it has come again, and counts its bytes once", () => {
    const held = play(welcomed(), from(batchOf(1, 3, 1))).state
    const refused = HostSession.refuseInvalid(HostSession.handOut(held, place(1), 1, 10)[0], place(2), "id: too large")
    const lapsed = HostSession.lapse(refused)
    assert.deepStrictEqual([lapsed.accepted, lapsed.acceptedBytes], [1, 8])
    const settled = play(lapsed, hello({}, 2, 10), { _tag: "Settle", place: place(1), count: 1, result: done }).state
    const before = only(frames(play(settled, report(11)).outputs), "Progress").progress
    assert.deepStrictEqual([before.accepted, before.delivered, before.settled, before.above], [1, 1, 1, []])
    const again = play(settled, from(batchOf(2, 2, 1), 2)).state
    assert.strictEqual(again.acceptedBytes, 24)
    const progress = only(frames(play(again, report(12)).outputs), "Progress").progress
    assert.deepStrictEqual(progress.above.map(({ count, from }) => [from, count]), [[2, 1]])
  })

  it("goes on handing out accepted elements after the lease, and marks what the feeder may not know of", () => {
    const { state } = play(welcomed("accepted"), from(batchOf(1, 2, 1)), report(5), from(batchOf(3, 1, 2)))
    assert.strictEqual(state.confirmed, 2)
    assert.strictEqual(HostSession.verdict(state, place(1), 5000), "hand out")
    assert.strictEqual(HostSession.handOut(state, place(1), 3, 4999)[1], 2)
    assert.strictEqual(HostSession.handOut(state, place(1), 3, 0)[1], Infinity)
  })

  it("marks what a former life of the feeder may not know it accepted, once that is handed out", () => {
    const { state } = play(welcomed("accepted"), from(batchOf(1, 2, 1)), report(5), from(batchOf(3, 1, 2)))
    const anew = (incarnation: number) => hello({ acknowledge: "accepted", incarnation }, 2)
    const { state: twice } = play(state, anew(6), anew(7))
    assert.strictEqual(twice.foreign, 3)
    const marks: Array<boolean> = []
    let current = twice
    for (const sequence of [1, 2, 3]) {
      const [next, unmarkedTo] = HostSession.handOut(current, place(sequence), 1, 6)
      current = next
      marks.push(sequence > unmarkedTo)
    }
    assert.deepStrictEqual(marks, [false, false, true])
    assert.deepStrictEqual([current.foreign, current.doubted], [0, []])
  })

  it("keeps what was accepted for good when a new session begins, and discards the rest", () => {
    const accepted = play(welcomed("accepted"), from(batchOf(1, 5, 1))).state
    const handed = HostSession.handOut(accepted, place(1), 1, 1)[0]
    const { outputs, state } = play(handed, hello({ acknowledge: "accepted", session: 2, keepTo: 3 }, 2))
    assert.deepStrictEqual(outputs.find((output) => output._tag === "Discard"), {
      _tag: "Discard",
      incarnation: 5,
      session: 1,
      above: 3
    })
    assert.strictEqual(state.carried, 2)
    assert.strictEqual(HostSession.handOut(state, place(2), 1, 2)[0].carried, 1)
  })

  it("fences a settlement of a session that is over", () => {
    const handed = HostSession.handOut(play(welcomed(), from(batchOf(1, 1, 1))).state, place(1), 1, 1)[0]
    const { state } = play(handed, hello({ session: 2 }, 2), {
      _tag: "Settle",
      place: place(1),
      count: 1,
      result: done
    })
    assert.strictEqual(state.fenced, 1)
    assert.strictEqual(HostSession.settledCount(state), 0)
  })

  it("tells of what was given back until the feeder has heard of it", () => {
    const handed = HostSession.handOut(play(welcomed(), from(batchOf(1, 1, 1))).state, place(1), 1, 1)[0]
    const result = { _tag: "Retry" as const, afterMillis: 3, cause: "busy" }
    const told = play(handed, { _tag: "Settle", place: place(1), count: 1, result }, report(10), report(20))
    for (const frame of frames(told.outputs)) {
      assert.deepStrictEqual(frame._tag === "Progress" && frame.progress.above, [{ from: 1, count: 1, result }])
    }
    const after = only(frames(play(told.state, from({ _tag: "Ping", heard: 2 }), report(30)).outputs), "Progress")
    assert.strictEqual(after.progress.settled, 1)
    assert.deepStrictEqual(after.progress.above, [])
  })

  it("limits what is unsettled, as well as what is queued", () => {
    const tight: HostSession.Room = { ...room, unsettled: 4 }
    const { outputs } = play(HostSession.make("feeder-1"), {
      _tag: "Hello",
      frame: helloOf(),
      link: 1,
      room: tight,
      now: 0
    })
    assert.strictEqual(only(frames(outputs), "Welcome").progress.creditTo, 4)
  })

  it("does not count what a take collects as filling the queue", () => {
    const { state } = play(welcomed(), from(batchOf(1, 10, 1)))
    const [, outputs] = HostSession.step(state, {
      _tag: "Report",
      room: { ...room, collecting: true, unsettled: 99 },
      now: 2
    }, config)
    assert.strictEqual(only(frames(outputs), "Progress").progress.creditTo, 20)
  })

  describe("with a window of 16 bytes", () => {
    const window: HostSession.Room = { ...room, bytes: 16 }
    const narrow =
      play(HostSession.make("feeder-1"), { _tag: "Hello", frame: helloOf(), link: 1, room: window, now: 0 }).state
    const told = (state: HostSession.State, facts: Partial<HostSession.Room> = {}) =>
      only(frames(play(state, { _tag: "Report", room: { ...window, ...facts }, now: 2 }).outputs), "Progress").progress

    it("grants the bytes anew for what a take collects, and says that it collects", () => {
      const { state } = play(narrow, from(batchOf(1, 2, 1)))
      const { collecting, creditBytesTo } = told(state)
      assert.deepStrictEqual([collecting, creditBytesTo], [undefined, 16])
      const collected = told(state, { collecting: true })
      assert.deepStrictEqual([collected.collecting, collected.creditBytesTo], [true, 32])
    })

    it("grants no bytes twice for what it let go of and was sent again", () => {
      const lapsed = HostSession.lapse(play(narrow, from(batchOf(1, 2, 1))).state)
      assert.strictEqual(told(lapsed, { collecting: true }).creditBytesTo, 16)
      const again: HostSession.Input = { _tag: "Hello", frame: helloOf(), link: 2, room: window, now: 3 }
      const { state } = play(lapsed, again, from(batchOf(1, 2, 1), 2))
      assert.strictEqual(told(state, { collecting: true }).creditBytesTo, 32)
    })

    it("counts what is handed out by the very step in which it let go of the rest", () => {
      const lapsed = HostSession.lapse(play(narrow, from(batchOf(1, 2, 1))).state)
      const [state] = HostSession.handOut(lapsed, place(1), 1, 1)
      const { accepted, creditBytesTo, delivered } = told(state, { collecting: true })
      assert.deepStrictEqual([accepted, delivered, creditBytesTo], [1, 1, 24])
    })
  })

  it("has ended when all of it is settled, and not when it was only told to flush", () => {
    const handed = HostSession.handOut(play(welcomed(), from(batchOf(1, 1, 1))).state, place(1), 1, 1)[0]
    const flushed = play(handed, from({ _tag: "Flush", last: 1, heard: 1 })).state
    assert.isTrue(HostSession.isFlushed(flushed))
    const ending = play(flushed, from({ _tag: "End", last: 1, heard: 1 })).state
    assert.isFalse(HostSession.hasEnded(ending))
    const settled = play(ending, { _tag: "Settle", place: place(1), count: 1, result: done }).state
    assert.isTrue(HostSession.hasEnded(settled))
  })

  it("keeps at most 64 reports that were not echoed", () => {
    let state = welcomed()
    for (let i = 1; i <= 200; i++) state = play(state, report(i)).state
    assert.strictEqual(state.sent.length, 64)
    assert.strictEqual(play(state, from({ _tag: "Ping", heard: 201 })).state.leaseUntil, 1063)
  })

  describe("with a window beyond the queue's room", () => {
    const wide = { ...room, unsettled: 40, window: 20 }
    const open = (facts: Partial<Hello> = {}) =>
      play(HostSession.make("feeder-1"), {
        _tag: "Hello",
        frame: helloOf({ versions: [1, 3], ...facts }),
        link: 1,
        room: wide,
        now: 0
      })

    it("says how much may be on its way, to a feeder of version 3 only", () => {
      const { progress } = only(frames(open().outputs), "Welcome")
      assert.deepStrictEqual([progress.creditTo, progress.received, progress.window], [10, 0, 20])
      const former = only(frames(open({ versions: [1, 2] }).outputs), "Welcome").progress
      assert.deepStrictEqual([former.creditTo, former.received, former.window], [10, undefined, undefined])
      const beyond = play(open({ versions: [1, 2] }).state, from(batchOf(1, 11, 1)))
      assert.include(refusal(beyond.outputs).detail, "sequence 11 is beyond the credit of 10")
    })

    it("admits what there is room for, and the rest when there is room", () => {
      const came = play(open().state, from(batchOf(1, 14, 1)), from(batchOf(15, 6, 1)))
      assert.deepStrictEqual(came.outputs.map((output) => output._tag === "Admit" && [output.from, output.to]), [[
        0,
        10
      ]])
      assert.deepStrictEqual([came.state.accepted, came.state.received], [10, 20])
      const handed = HostSession.handOut(came.state, place(1), 7, 1)[0]
      const { outputs, state } = play(handed, { _tag: "Room", room: wide })
      assert.deepStrictEqual(
        outputs.map((output) => output._tag === "Admit" && [output.from, output.to, output.first.sequence]),
        [[10, 14, 11], [0, 3, 15]]
      )
      assert.strictEqual(state.accepted, 17)
      const reported = play(HostSession.handOut(state, place(8), 7, 1)[0], { _tag: "Report", room: wide, now: 2 })
      assert.deepStrictEqual(reported.tags, ["Admit", "Send"])
      const { progress } = only(frames(reported.outputs), "Progress")
      assert.deepStrictEqual([progress.accepted, progress.received], [20, 20])
    })

    it("admits at once what a take is missing, of what has come, and promises no more", () => {
      const came = play(open().state, from(batchOf(1, 14, 1)), from(batchOf(15, 6, 1))).state
      const collecting = { ...wide, elements: 3, collecting: true, missing: 4 }
      const { outputs, state } = play(came, { _tag: "Room", room: collecting })
      assert.deepStrictEqual(outputs.map((output) => output._tag === "Admit" && [output.from, output.to]), [
        [10, 14],
        [0, 3]
      ])
      assert.deepStrictEqual([state.accepted, state.creditTo], [17, 17])
      const all = play(state, { _tag: "Room", room: { ...collecting, missing: 30 } }).state
      assert.deepStrictEqual([all.accepted, all.creditTo], [20, 20])
      const { progress } = only(frames(play(all, { _tag: "Report", room: collecting, now: 2 }).outputs), "Progress")
      assert.strictEqual(progress.creditTo, 23)
    })

    it("refuses what is beyond it", () => {
      const { outputs } = play(open().state, from(batchOf(1, 31, 1)))
      assert.strictEqual(refusal(outputs).detail, "first: sequence 31 is beyond the credit of 30")
    })

    it("lets go of what was on its way with the link, and takes it again on the next", () => {
      const came = play(open().state, from(batchOf(1, 14, 1)), { _tag: "Lost", link: 1 }).state
      assert.deepStrictEqual([came.accepted, came.transit.length], [10, 0])
      const again = play(came, {
        _tag: "Hello",
        frame: helloOf({ versions: [1, 3] }),
        link: 2,
        room: wide,
        now: 1
      })
      assert.strictEqual(only(frames(again.outputs), "Welcome").progress.received, 10)
      const { state } = play(again.state, from(batchOf(11, 4, 1), 2))
      assert.deepStrictEqual([state.accepted, state.received], [10, 14])
    })

    it("refuses an element that is none only when it would be admitted", () => {
      const invalid = new Map([[12, "too large"]])
      const batch = { ...batchOf(1, 14, 1), chunk: { ...batchOf(1, 14, 1).chunk, length: 14, invalid } }
      const came = play(open({ acknowledge: "accepted" }).state, from(batch))
      assert.deepStrictEqual(came.tags, ["Admit"])
      const handed = HostSession.handOut(came.state, place(1), 10, 1)[0]
      const { outputs, state, tags } = play(handed, { _tag: "Room", room: wide })
      assert.deepStrictEqual(tags, ["Admit", "Send", "CloseLink"])
      assert.strictEqual(refusal(outputs).sequence, 13)
      assert.deepStrictEqual([state.accepted, state.link, state.transit], [12, undefined, []])
    })
  })

  describe("a report", () => {
    const told = (acknowledge: Acknowledge = "processed") =>
      play(welcomed(acknowledge), from(batchOf(1, 8, 1)), report(10)).state
    const isDue = (state: HostSession.State, now: number, facts: Partial<HostSession.Room> = {}) =>
      HostSession.isReportDue(state, { ...room, ...facts }, now)

    it("is due when the feeder may wait for it", () => {
      assert.isTrue(isDue(HostSession.handOut(told(), place(1), 8, 10)[0], 11), "all is handed out")
      assert.isTrue(isDue(told("accepted"), 11), "all is accepted")
      assert.isTrue(isDue(told(), 11, { collecting: true }), "a take began to collect")
    })

    it("is due when an element came back, and when there is much to tell", () => {
      const handed = HostSession.handOut(told(), place(1), 1, 10)[0]
      assert.isFalse(isDue(handed, 11))
      const settle = (result: Result) => play(handed, { _tag: "Settle", place: place(1), count: 1, result }).state
      assert.isFalse(isDue(settle(done), 11))
      assert.isTrue(isDue(settle({ _tag: "Retry", afterMillis: 0, cause: "busy" }), 11))
      assert.isTrue(isDue(HostSession.handOut(told(), place(1), 4, 10)[0], 11))
    })

    it("comes not more often than the pace else, unless time stands still", () => {
      const handed = HostSession.handOut(told(), place(1), 1, 10)[0]
      assert.isFalse(isDue(handed, 11.9))
      assert.isTrue(isDue(handed, 12))
      assert.isTrue(isDue(handed, 10))
    })
  })
})
