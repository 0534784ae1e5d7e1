import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { done, Progress } from "effect-feeder/RemoteDevices"
import { decodeReport, encodeReport } from "../../src/internal/reportFrame.ts"

const golden: Progress = {
  report: 1,
  accepted: 8,
  delivered: 3,
  carried: 4,
  settled: 2,
  above: [{ from: 4, count: 2, result: done }],
  creditTo: 13,
  creditBytesTo: 14,
  collecting: true,
  fenced: 5,
  received: 9,
  window: 7,
  ended: true
}

/** Version 3. These bytes must never change. */
const goldenHex = [
  "000000000000f03f000000000000204000000000000008400000000000001040000000000000004000000000000",
  "02a400000000000002c40000000000000144000000000000022400000000000001c40030000000100000000000000000010400000000000000040"
].join("")

const BinaryReport = Schema.Struct({
  ...Progress.fields,
  above: Schema.Array(
    Schema.Struct({ from: Schema.Natural, count: Schema.Natural, result: Schema.TaggedStruct("Done", {}) })
  ),
  collecting: Schema.optionalKey(Schema.Literal(true)),
  fenced: Schema.optionalKey(Schema.Natural.check(Schema.isGreaterThan(0))),
  received: Schema.Natural,
  window: Schema.Natural
})

const issueOf = (bytes: Uint8Array) => {
  const read = decodeReport(bytes)
  return Result.isFailure(read) ? `${read.failure.field}: ${read.failure.issue}` : undefined
}

const bytesOf = (facts: Partial<Progress> = {}) => encodeReport({ ...golden, ...facts })!

describe("a report in binary", () => {
  it("golden bytes of version 3", () => {
    assert.strictEqual(Buffer.from(bytesOf()).toString("hex"), goldenHex)
    assert.deepStrictEqual(Result.getOrThrow(decodeReport(Buffer.from(goldenHex, "hex"))), {
      _tag: "Progress",
      progress: golden
    })
  })

  it.prop("says what it was made of", { progress: BinaryReport }, ({ progress }) => {
    assert.deepStrictEqual(Result.getOrThrow(decodeReport(encodeReport(progress)!)), { _tag: "Progress", progress })
  })

  it("is JSON before version 3, and when an element was not done", () => {
    const { received: _, ...before } = golden
    assert.isUndefined(encodeReport(before))
    const result = { _tag: "Retry", afterMillis: 1, cause: "busy" } as const
    assert.isUndefined(encodeReport({ ...golden, above: [{ from: 4, count: 1, result }] }))
  })

  it("refuses what it cannot be, by its field", () => {
    assert.strictEqual(issueOf(bytesOf().subarray(0, 103)), "length: a report of 1 ranges does not take 103 bytes")
    assert.strictEqual(issueOf(new Uint8Array(87)), "length: a report takes 88 bytes, got 87")
    const damaged = (at: number, write: (view: DataView) => void) => {
      const bytes = bytesOf()
      write(new DataView(bytes.buffer, at))
      return issueOf(bytes)
    }
    assert.strictEqual(damaged(8, (view) => view.setFloat64(0, -1, true)), "Progress.progress.accepted: it is -1")
    assert.strictEqual(damaged(72, (view) => view.setFloat64(0, 0.5, true)), "Progress.progress.window: it is 0.5")
    assert.strictEqual(damaged(80, (view) => view.setUint32(0, 4, true)), "flags: they are 4")
    assert.strictEqual(
      damaged(84, (view) => view.setUint32(0, 2, true)),
      "length: a report of 2 ranges does not take 104 bytes"
    )
    assert.strictEqual(
      damaged(88, (view) => view.setFloat64(0, Number.NaN, true)),
      "Progress.progress.above[0].from: it is NaN"
    )
    assert.strictEqual(
      damaged(96, (view) => view.setFloat64(0, 2 ** 60, true)),
      `Progress.progress.above[0].count: it is ${2 ** 60}`
    )
  })
})
