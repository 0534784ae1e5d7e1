import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import * as BatchCodec from "effect-feeder/BatchCodec"
import * as RemoteDevices from "effect-feeder/RemoteDevices"
import * as Tensor from "effect-feeder/Tensor"
import { readFileSync } from "node:fs"
import * as Frames from "../../src/internal/frames.ts"

const Element = Schema.Struct({ id: Schema.Int, label: Schema.String, pixel: Tensor.uint8([3]) })
type Element = typeof Element.Type

const codec = BatchCodec.make(Element)
const feed: RemoteDevices.FeedInfo = { name: "pixels", fingerprint: codec.fingerprint, codec }

const limits = { frameBytes: 1e6, elements: 1000 }

const u32 = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff_ffff }))
const below = (n: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: n - 1 }))
const Byte = below(256)

/** The parts of a batch: runs with at least one element each, and the elements they count. */
const Batch = Schema.Struct({
  first: RemoteDevices.Progress.fields.report,
  heard: RemoteDevices.Progress.fields.report,
  elementBytes: u32,
  hasIds: Schema.Boolean,
  runs: Schema.NonEmptyArray(Schema.Struct({
    ordinal: RemoteDevices.Run.fields.ordinal,
    attempt: below(0xffff_ffff),
    elements: Schema.NonEmptyArray(Schema.Struct({
      id: Schema.Int,
      label: Schema.String.check(Schema.makeFilter((s) => s.isWellFormed())),
      pixel: Schema.Tuple([Byte, Byte, Byte])
    }))
  }))
})

const batchOf = (parts: typeof Batch.Type): RemoteDevices.Batch => ({
  _tag: "Batch",
  first: Math.min(parts.first + 1, Number.MAX_SAFE_INTEGER),
  heard: parts.heard,
  elementBytes: parts.elementBytes,
  runs: parts.runs.map(({ attempt, elements, ordinal }) => ({ ordinal, count: elements.length, attempt: attempt + 1 })),
  chunk: codec.fromElements(
    parts.runs.flatMap(({ elements }) => elements.map((one) => ({ ...one, pixel: Uint8Array.from(one.pixel) })))
  ),
  ...(parts.hasIds ? { ids: parts.runs.flatMap(({ elements }) => elements.map(({ label }) => label)) } : {})
})

const FeederControl = Schema.Union([
  RemoteDevices.Hello,
  RemoteDevices.Ping,
  RemoteDevices.Flush,
  RemoteDevices.End,
  RemoteDevices.Bye
])
const DeviceControl = Schema.Union([
  RemoteDevices.Welcome,
  RemoteDevices.Refused,
  RemoteDevices.Report,
  RemoteDevices.Leaving
])

const bytesOf = (frame: RemoteDevices.FeederFrame | RemoteDevices.DeviceFrame): Buffer =>
  Buffer.concat(
    frame._tag === "Welcome" || frame._tag === "Refused" || frame._tag === "Progress" || frame._tag === "Leaving"
      ? Frames.encodeDeviceFrame(frame)
      : Frames.encodeFeederFrame(frame, feed)
  )

const cutAll = (chunks: ReadonlyArray<Uint8Array>, most = limits) => {
  const cut = Frames.makeCutter(most)
  const frames: Array<Frames.RawFrame> = []
  for (const chunk of chunks) {
    const some = cut(chunk)
    if (Result.isFailure(some)) return Result.fail(some.failure)
    frames.push(...some.success)
  }
  return Result.succeed(frames)
}

const only = (bytes: Uint8Array): Frames.RawFrame => {
  const frames = Result.getOrThrow(cutAll([bytes]))
  assert.strictEqual(frames.length, 1)
  return frames[0]!
}

const decodeFeeder = (raw: Frames.RawFrame) => Frames.decodeFeederFrame(raw, feed, limits)

/** A frame without the laziness of its chunk. */
const plain = (frame: RemoteDevices.FeederFrame | RemoteDevices.DeviceFrame) =>
  frame._tag === "Batch" ? { ...frame, chunk: frame.chunk.elements } : frame

const issueOf = (result: Result.Result<unknown, Frames.MalformedFrame>): string => {
  if (Result.isSuccess(result)) return assert.fail(`it was read as ${JSON.stringify(result.success)}`)
  assert.strictEqual(result.failure._tag, "MalformedFrame")
  return `${result.failure.field}: ${result.failure.issue}`
}

/** Reads damaged bytes as both sides would. It must not throw; what is accepted must be usable. */
const survive = (bytes: Uint8Array): void => {
  const frames = cutAll([bytes])
  if (Result.isFailure(frames)) return
  for (const raw of frames.success) {
    Frames.decodeDeviceFrame(raw)
    const frame = decodeFeeder(raw)
    if (Result.isFailure(frame) || frame.success._tag !== "Batch") continue
    const { chunk, first, heard, runs } = frame.success
    assert.isTrue(Number.isSafeInteger(first) && first >= 1 && Number.isSafeInteger(heard) && heard >= 0)
    assert.strictEqual(runs.reduce((sum, { count }) => sum + count, 0), chunk.length)
    chunk.elements.forEach((element, i) =>
      assert.strictEqual(Schema.is(Element)(element), chunk.invalid?.has(i) !== true)
    )
  }
}

describe("frames", () => {
  it.prop("what a feeder says is read as it was said", { frame: FeederControl }, ({ frame }) => {
    assert.deepStrictEqual(Result.getOrThrow(decodeFeeder(only(bytesOf(frame)))), frame)
  })

  it.prop("what a device says is read as it was said", { frame: DeviceControl }, ({ frame }) => {
    assert.deepStrictEqual(Result.getOrThrow(Frames.decodeDeviceFrame(only(bytesOf(frame)))), frame)
  })

  it.prop("a batch is read as it was sent", { parts: Batch }, ({ parts }) => {
    const batch = batchOf(parts)
    const read = Result.getOrThrow(decodeFeeder(only(bytesOf(batch))))
    assert.deepStrictEqual(plain(read), plain(batch))
  })

  it.prop("a stream is cut into the same frames, however it is split", {
    feeder: Schema.Array(FeederControl),
    batches: Schema.Array(Batch),
    splits: Schema.Array(Schema.Natural)
  }, ({ batches, feeder, splits }) => {
    const frames = [...feeder, ...batches.map(batchOf)]
    const stream = Buffer.concat(frames.map(bytesOf))
    const at = splits.map((split) => split % (stream.length + 1)).toSorted((a, b) => a - b)
    const chunks = [0, ...at].map((from, i) => stream.subarray(from, [...at, stream.length][i]))
    const read = Result.getOrThrow(cutAll(chunks)).map((raw) => Result.getOrThrow(decodeFeeder(raw)))
    assert.deepStrictEqual(read.map(plain), frames.map(plain))
  })

  it.prop("a stream is cut into the same frames, byte by byte", { parts: Batch }, ({ parts }) => {
    const bytes = Buffer.concat([bytesOf({ _tag: "Bye" }), bytesOf(batchOf(parts))])
    const read = Result.getOrThrow(cutAll(Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))))
    assert.deepStrictEqual(read, Result.getOrThrow(cutAll([bytes])))
    assert.strictEqual(read.length, 2)
  })

  it.prop(
    "no truncation is read as a frame, and none throws",
    { parts: Batch, frame: DeviceControl },
    ({ frame, parts }) => {
      for (const bytes of [bytesOf(batchOf(parts)), bytesOf(frame)]) {
        for (let length = 0; length < bytes.length; length += 1 + Math.floor(bytes.length / 200)) {
          assert.deepStrictEqual(Result.getOrThrow(cutAll([bytes.subarray(0, length)])), [])
          if (length < 8) continue
          // The same, but with a header that fits what is left.
          const short = Buffer.from(bytes.subarray(0, length))
          short.writeUInt32LE(length - 8, 0)
          survive(short)
          assert.isTrue(Result.isFailure(decodeFeeder(only(short))), `${length} of ${bytes.length} bytes`)
          assert.isTrue(Result.isFailure(Frames.decodeDeviceFrame(only(short))))
        }
      }
    },
    { arbitrary: { runs: 25 } }
  )

  it.prop("no damage throws, and what is accepted is whole", {
    parts: Batch,
    feeder: FeederControl,
    device: DeviceControl,
    flips: Schema.NonEmptyArray(Schema.Struct({ at: Schema.Natural, by: Byte }))
  }, ({ device, feeder, flips, parts }) => {
    for (const frame of [batchOf(parts), feeder, device]) {
      const bytes = bytesOf(frame)
      for (const { at, by } of flips) bytes[at % bytes.length]! ^= by
      survive(bytes)
      // Past the header, where the damage is not found by its length.
      const body = bytesOf(frame)
      for (const { at, by } of flips) body[8 + at % (body.length - 8)]! ^= by
      survive(body)
    }
  }, { arbitrary: { runs: 500 } })

  it.prop("no bytes throw", { bytes: Schema.Array(Byte), kind: below(3) }, ({ bytes, kind }) => {
    survive(Uint8Array.from(bytes))
    survive(Uint8Array.from([bytes.length, 0, 0, 0, kind, 0, 0, 0, ...bytes]))
  }, { arbitrary: { runs: 500 } })
})

const frameOf = (kind: number, body: Uint8Array, length = body.length): Uint8Array => {
  const head = Buffer.alloc(8)
  head.writeUInt32LE(length, 0)
  head[4] = kind
  return Buffer.concat([head, body])
}

const json = (value: unknown): Uint8Array => frameOf(0, Buffer.from(JSON.stringify(value)))

const element = (id: number): Element => ({ id, label: `#${id}`, pixel: Uint8Array.of(id, id, id) })

const batch: RemoteDevices.Batch = {
  _tag: "Batch",
  first: 3,
  heard: 5,
  elementBytes: 40,
  runs: [{ ordinal: 7, count: 1, attempt: 2 }, { ordinal: 9, count: 2, attempt: 1 }],
  chunk: codec.fromElements([element(7), element(9), element(10)])
}

describe("limits", () => {
  it("a length over the limit is refused before anything is kept of it", () => {
    const cut = (bytes: Uint8Array) => cutAll([bytes], { frameBytes: 100, elements: 1000 })
    for (const kind of [0, 1]) {
      assert.strictEqual(
        issueOf(cut(frameOf(kind, new Uint8Array(0), 101))),
        "length: length 101 is over the limit of 100 bytes"
      )
      assert.match(issueOf(cut(frameOf(kind, new Uint8Array(0), 0xffff_ffff))), /^length: length 4294967295 is over/)
      assert.strictEqual(Result.getOrThrow(cut(frameOf(kind, new Uint8Array(100)))).length, 1)
    }
  })

  it("a batch of more elements than allowed", () => {
    const read = (elements: number) => Frames.decodeFeederFrame(only(bytesOf(batch)), feed, { elements })
    assert.isTrue(Result.isSuccess(read(3)))
    assert.strictEqual(issueOf(read(2)), "runs[1].count: it announces over 2 elements")
  })

  it("numbers of a batch that are none", () => {
    const damaged = (change: (body: DataView) => void) => {
      const bytes = Uint8Array.from(bytesOf(batch))
      change(new DataView(bytes.buffer, 8))
      return issueOf(decodeFeeder(only(bytes)))
    }
    assert.strictEqual(damaged((body) => body.setFloat64(0, 0, true)), "first: it is 0")
    assert.strictEqual(damaged((body) => body.setFloat64(0, 1.5, true)), "first: it is 1.5")
    assert.strictEqual(damaged((body) => body.setFloat64(0, 2 ** 53, true)), "first: it is 9007199254740992")
    assert.strictEqual(damaged((body) => body.setFloat64(0, Infinity, true)), "first: it is Infinity")
    assert.strictEqual(
      damaged((body) => body.setFloat64(0, 2 ** 53 - 1, true)),
      "first: 9007199254740991 and 3 elements go beyond 2^53 - 1"
    )
    assert.strictEqual(damaged((body) => body.setFloat64(8, -0, true)), "heard: it is 0")
    assert.strictEqual(damaged((body) => body.setFloat64(24, -0, true)), "runs[0].ordinal: it is 0")
    assert.strictEqual(
      damaged((body) => body.setFloat64(40, 2 ** 53 - 1, true)),
      "runs[1].ordinal: 9007199254740991 and 2 elements go beyond 2^53 - 1"
    )
    assert.strictEqual(damaged((body) => body.setFloat64(8, NaN, true)), "heard: it is NaN")
    assert.strictEqual(damaged((body) => body.setFloat64(8, -1, true)), "heard: it is -1")
    assert.strictEqual(damaged((body) => body.setUint32(20, 0, true)), "runs: it announces 0 runs")
    assert.strictEqual(damaged((body) => body.setUint32(20, 0xffff_ffff, true)), "runs: it announces 4294967295 runs")
    assert.strictEqual(damaged((body) => body.setFloat64(24, -7, true)), "runs[0].ordinal: it is -7")
    assert.strictEqual(damaged((body) => body.setUint32(32, 0, true)), "runs[0].count: it is 0")
    assert.strictEqual(damaged((body) => body.setUint32(36, 0, true)), "runs[0].attempt: it is 0")
    assert.strictEqual(
      damaged((body) => body.setUint32(48, 3, true)),
      "columns: the runs count 4 elements, the columns 3"
    )
    assert.match(
      damaged((body) => body.setUint32(48, 0xffff_ffff, true)),
      /^runs\[1\].count: it announces over 1000 elements/
    )
  })
})

describe("fields of control frames", () => {
  const hello = {
    _tag: "Hello",
    versions: [1, 2],
    feed: "pixels",
    fingerprint: "",
    feeder: "feeder-1",
    incarnation: 1,
    device: "d",
    session: 1,
    keepTo: 0,
    acknowledge: "accepted",
    leaseMillis: 5
  }
  const issueIn = (text: string) => issueOf(decodeFeeder(only(frameOf(0, Buffer.from(text)))))
  const issueWith = (facts: object) => issueIn(JSON.stringify({ ...hello, ...facts }))
  const issueOfReport = (facts: object) =>
    issueOf(Frames.decodeDeviceFrame(only(json({ _tag: "Progress", progress: { ...goldenProgress, ...facts } }))))

  it("are named by their place", () => {
    assert.strictEqual(issueWith({ leaseMillis: -1 }), "Hello.leaseMillis: Expected a value greater than or equal to 0")
    assert.strictEqual(issueWith({ leaseMillis: 2 ** 53 }), "Hello.leaseMillis: Expected an integer")
    assert.strictEqual(issueWith({ versions: [1] }), "Hello.versions[1]: Missing key")
    assert.strictEqual(issueWith({ acknowledge: "soon" }), `Hello.acknowledge: Expected "accepted" | "processed"`)
    assert.strictEqual(issueWith({ delivery: 1 }).split(":")[0], "Hello.delivery")
    assert.strictEqual(
      issueOfReport({ above: [{ from: 1, count: 1, result: { _tag: "Retry", afterMillis: 0.5, cause: "" } }] }),
      "Progress.progress.above[0].result.afterMillis: Expected an integer"
    )
    const long = { _tag: "Reject", cause: "x".repeat(4097) }
    assert.match(
      issueOfReport({ above: [{ from: 1, count: 1, result: long }] }),
      /^Progress.progress.above\[0\].result.cause: /
    )
  })

  it("never quote what they hold", () => {
    assert.strictEqual(issueWith({ credential: ["secret"] }), "Hello.credential: Expected string")
    assert.strictEqual(issueIn(`{"_tag":"Hello","credential":"secret`), "body: it is not JSON")
  })

  it("hold no half of a character, and no long name", () => {
    for (const field of ["feed", "feeder", "device", "fingerprint", "credential"]) {
      assert.strictEqual(
        issueWith({ [field]: "\ud800" }),
        `Hello.${field}: Expected text without lone surrogates`
      )
    }
    assert.match(issueWith({ feeder: "x".repeat(1025) }), /^Hello.feeder: /)
  })

  it("numbers that JSON can write and no count is", () => {
    const text = JSON.stringify(hello)
    for (const n of ["1e400", "-1", "0.1", "9007199254740992", "1e-9", "null", "\"1\"", "true", "[1]"]) {
      assert.match(issueIn(text.replace(`"session":1`, `"session":${n}`)), /^Hello.session: /)
    }
    const read = Result.getOrThrow(decodeFeeder(only(frameOf(0, Buffer.from(`{"_tag":"Ping","heard":-0.0e2}`)))))
    assert.isTrue(read._tag === "Ping" && read.heard === 0)
  })

  it("a prototype is a field as any other", () => {
    assert.match(issueIn(`{"__proto__":{"_tag":"Bye"}}`), /^_tag: /)
    for (const tag of ["__proto__", "constructor", "toString"]) assert.match(issueWith({ _tag: tag }), /^_tag: /)
    const read = decodeFeeder(only(frameOf(0, Buffer.from(`{"_tag":"Bye","__proto__":{"x":1},"constructor":1}`))))
    assert.deepStrictEqual(Object.keys(Result.getOrThrow(read)), ["_tag"])
    assert.isUndefined(Reflect.get({}, "x"))
  })

  it("depth and length are no harm", () => {
    const deep = "[".repeat(100_000)
    assert.strictEqual(issueIn(deep), "body: it is not JSON")
    assert.strictEqual(
      issueIn(`${deep}${"]".repeat(100_000)}`),
      "_tag: expected one of Hello, Ping, Flush, End, Bye, got none"
    )
    const nested = JSON.stringify(hello).replace(`"pixels"`, `${deep}${"]".repeat(100_000)}`)
    assert.strictEqual(issueIn(nested), "Hello.feed: Expected string")
    const long = "x".repeat(500_000)
    assert.isBelow(issueWith({ _tag: long }).length, 800)
    const report = Frames.decodeDeviceFrame({ kind: 0, body: new Uint8Array(2 ** 23 + 1) })
    assert.strictEqual(issueOf(report), "length: 8388609 bytes of a control frame, at most 8388608")
  })
})

describe("ids", () => {
  const withIds = (...ids: ReadonlyArray<string>): RemoteDevices.Batch => ({ ...batch, ids })
  /** Where the ids begin: after the header of the frame, that of the batch, and two runs. */
  const at = 8 + 24 + 32
  const damaged = (ids: RemoteDevices.Batch, change: (view: DataView) => void) => {
    const bytes = Uint8Array.from(bytesOf(ids))
    change(new DataView(bytes.buffer))
    return issueOf(decodeFeeder(only(bytes)))
  }

  it("are read as they were written, whatever text they are", () => {
    const ids = ["", "\ufeffé✗", "a\u0000b"]
    const read = Result.getOrThrow(decodeFeeder(only(bytesOf(withIds(...ids)))))
    assert.deepStrictEqual(read._tag === "Batch" && read.ids, ids)
  })

  it("that do not fit are named", () => {
    const ids = withIds("a", "bc", "d✗")
    assert.strictEqual(
      damaged(ids, (view) => view.setUint32(at, 1e6, true)),
      "ids: they announce 1000000 bytes of text"
    )
    assert.strictEqual(damaged(ids, (view) => view.setUint32(at + 4, 8, true)), "ids[0]: it ends at 8")
    assert.strictEqual(damaged(ids, (view) => view.setUint32(at + 8, 0, true)), "ids[1]: it ends at 0")
    assert.strictEqual(damaged(ids, (view) => view.setUint32(at + 12, 6, true)), "ids[2]: it is not UTF-8")
    assert.strictEqual(damaged(ids, (view) => view.setUint32(at + 12, 3, true)), "ids: 4 bytes follow the last of them")
    assert.strictEqual(damaged(ids, (view) => view.setUint8(at + 16 + 7, 1)), "ids: their padding is not zero")
    assert.strictEqual(damaged(ids, (view) => view.setUint8(at + 16 + 3, 0xff)), "ids[2]: it is not UTF-8")
    assert.strictEqual(
      issueOf(decodeFeeder(only(bytesOf(withIds("a", "x".repeat(4097), "c"))))),
      "ids[1]: it takes 4097 bytes, at most 4096"
    )
    assert.match(damaged(batch, (view) => view.setUint8(4, 2)), /^ids: /)
    assert.match(damaged(ids, (view) => view.setUint8(4, 1)), /^columns: it does not start with EFB1/)
  })
})

describe("what is not known", () => {
  it("fields to come are skipped", () => {
    const read = (value: unknown) => Result.getOrThrow(decodeFeeder(only(json(value))))
    assert.deepStrictEqual(read({ _tag: "Ping", heard: 3, trace: { id: "x" } }), { _tag: "Ping", heard: 3 })
    assert.deepStrictEqual(read({ zone: 1, _tag: "Bye" }), { _tag: "Bye" })
    const progress = { ...goldenProgress, later: [1, 2] }
    const welcome = { ...goldenWelcome, progress, limits: { ...goldenWelcome.limits, seconds: 3 } }
    assert.deepStrictEqual(Result.getOrThrow(Frames.decodeDeviceFrame(only(json(welcome)))), goldenWelcome)
  })

  it("frames to come are refused", () => {
    assert.match(issueOf(decodeFeeder(only(json({ _tag: "Dance" })))), /^_tag: expected one of .* got "\w+"$/)
    assert.match(
      issueOf(Frames.decodeDeviceFrame(only(json({ _tag: "Dance" })))),
      /^_tag: expected one of .* got "\w+"$/
    )
    for (const bytes of [frameOf(4, new Uint8Array(4)), Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1)]) {
      assert.match(issueOf(cutAll([bytes])), /is unknown$/)
    }
  })

  it("frames of the other side are refused", () => {
    assert.match(
      issueOf(decodeFeeder(only(bytesOf({ _tag: "Leaving", byMillis: 1 })))),
      /^_tag: expected one of .* got "\w+"$/
    )
    assert.match(
      issueOf(Frames.decodeDeviceFrame(only(bytesOf({ _tag: "Bye" })))),
      /^_tag: expected one of .* got "\w+"$/
    )
    assert.strictEqual(issueOf(Frames.decodeDeviceFrame(only(bytesOf(batch)))), "kind: a device sends no batches")
  })

  it("a batch before it is known of which feed", () => {
    const read = Frames.decodeFeederFrame(only(bytesOf(batch)), undefined, limits)
    assert.strictEqual(issueOf(read), "kind: a batch came before a Hello")
  })

  it("a reason to come is read as another one", () => {
    const read = (reason: string) =>
      Result.getOrThrow(Frames.decodeDeviceFrame(only(json({ _tag: "Refused", reason, detail: "why", retry: true }))))
    assert.deepStrictEqual(read("full moon"), {
      _tag: "Refused",
      reason: "other",
      detail: "full moon: why",
      retry: true
    })
    assert.deepStrictEqual(read("busy"), { _tag: "Refused", reason: "busy", detail: "why", retry: true })
  })

  it("text that is none", () => {
    assert.strictEqual(issueOf(decodeFeeder({ kind: 0, body: Uint8Array.of(0xff) })), "body: it is not UTF-8")
    for (const body of ["", "{", "null", "[]", "3", "\"Bye\"", "{}", "{\"_tag\":3}"]) {
      issueOf(decodeFeeder(only(frameOf(0, Buffer.from(body)))))
      issueOf(Frames.decodeDeviceFrame(only(frameOf(0, Buffer.from(body)))))
    }
  })
})

// Version 1, byte by byte. These must never change: a change of the protocol is a new version, with bytes of its own.

const goldenProgress: RemoteDevices.Progress = {
  report: 1,
  accepted: 2,
  delivered: 3,
  carried: 4,
  settled: 5,
  above: [
    { from: 6, count: 7, result: { _tag: "Done" } },
    { from: 8, count: 9, result: { _tag: "Retry", afterMillis: 10, cause: "busy" } },
    { from: 11, count: 12, result: { _tag: "Reject", cause: "bad ✗" } }
  ],
  creditTo: 13,
  creditBytesTo: 14,
  ended: false
}

const goldenWelcome: RemoteDevices.Welcome = {
  _tag: "Welcome",
  version: 1,
  device: "device-1",
  durable: false,
  capacity: 15,
  limits: { frameBytes: 16, elements: 17 },
  progress: goldenProgress
}

const golden: ReadonlyArray<readonly [frame: RemoteDevices.FeederFrame | RemoteDevices.DeviceFrame, hex: string]> = [
  [
    {
      _tag: "Hello",
      versions: [1, 1],
      feed: "pixels",
      fingerprint: "fingerprint",
      feeder: "feeder-1",
      incarnation: 2,
      device: "/job:consumer/replica:0",
      session: 3,
      keepTo: 4,
      acknowledge: "processed",
      leaseMillis: 5
    },
    [
      "d5000000000000007b225f746167223a2248656c6c6f222c2276657273696f6e73223a5b312c315d2c2266656564223a22706978",
      "656c73222c2266696e6765727072696e74223a2266696e6765727072696e74222c22666565646572223a226665656465722d3122",
      "2c22696e6361726e6174696f6e223a322c22646576696365223a222f6a6f623a636f6e73756d65722f7265706c6963613a30222c",
      "2273657373696f6e223a332c226b656570546f223a342c2261636b6e6f776c65646765223a2270726f636573736564222c226c65",
      "6173654d696c6c6973223a357d"
    ].join("")
  ],
  [
    batch,
    [
      "98000000010000000000000000000840000000000000144028000000020000000000000000001c40010000000200000000000000",
      "00002240020000000100000045464231030000000300000060000000180000001700000009000000000000000000000000001c40",
      "000000000000224000000000000024400000000002000000040000000700000023372339233130000707070909090a0a0a000000",
      "00000000"
    ].join("")
  ],
  [{ _tag: "Ping", heard: 1 }, "19000000000000007b225f746167223a2250696e67222c226865617264223a317d"],
  [
    { _tag: "Flush", last: 1, heard: 2 },
    "23000000000000007b225f746167223a22466c757368222c226c617374223a312c226865617264223a327d"
  ],
  [
    { _tag: "End", last: 1, heard: 2 },
    "21000000000000007b225f746167223a22456e64222c226c617374223a312c226865617264223a327d"
  ],
  [{ _tag: "Bye" }, "0e000000000000007b225f746167223a22427965227d"],
  [
    goldenWelcome,
    [
      "be010000000000007b225f746167223a2257656c636f6d65222c2276657273696f6e223a312c22646576696365223a2264657669",
      "63652d31222c2264757261626c65223a66616c73652c226361706163697479223a31352c226c696d697473223a7b226672616d65",
      "4279746573223a31362c22656c656d656e7473223a31377d2c2270726f6772657373223a7b227265706f7274223a312c22616363",
      "6570746564223a322c2264656c697665726564223a332c2263617272696564223a342c22736574746c6564223a352c2261626f76",
      "65223a5b7b2266726f6d223a362c22636f756e74223a372c22726573756c74223a7b225f746167223a22446f6e65227d7d2c7b22",
      "66726f6d223a382c22636f756e74223a392c22726573756c74223a7b225f746167223a225265747279222c2261667465724d696c",
      "6c6973223a31302c226361757365223a2262757379227d7d2c7b2266726f6d223a31312c22636f756e74223a31322c2272657375",
      "6c74223a7b225f746167223a2252656a656374222c226361757365223a2262616420e29c97227d7d5d2c22637265646974546f22",
      "3a31332c226372656469744279746573546f223a31342c22656e646564223a66616c73657d7d"
    ].join("")
  ],
  [
    { _tag: "Refused", reason: "different feed", detail: "why", retry: true },
    [
      "48000000000000007b225f746167223a2252656675736564222c22726561736f6e223a22646966666572656e742066656564222c",
      "2264657461696c223a22776879222c227265747279223a747275657d"
    ].join("")
  ],
  [
    { _tag: "Progress", progress: goldenProgress },
    [
      "58010000000000007b225f746167223a2250726f6772657373222c2270726f6772657373223a7b227265706f7274223a312c2261",
      "63636570746564223a322c2264656c697665726564223a332c2263617272696564223a342c22736574746c6564223a352c226162",
      "6f7665223a5b7b2266726f6d223a362c22636f756e74223a372c22726573756c74223a7b225f746167223a22446f6e65227d7d2c",
      "7b2266726f6d223a382c22636f756e74223a392c22726573756c74223a7b225f746167223a225265747279222c2261667465724d",
      "696c6c6973223a31302c226361757365223a2262757379227d7d2c7b2266726f6d223a31312c22636f756e74223a31322c227265",
      "73756c74223a7b225f746167223a2252656a656374222c226361757365223a2262616420e29c97227d7d5d2c2263726564697454",
      "6f223a31332c226372656469744279746573546f223a31342c22656e646564223a66616c73657d7d"
    ].join("")
  ],
  [{ _tag: "Leaving", byMillis: 1 }, "1f000000000000007b225f746167223a224c656176696e67222c2262794d696c6c6973223a317d"]
]

describe("golden bytes of version 1", () => {
  for (const [frame, hex] of golden) {
    it(frame._tag, () => {
      assert.strictEqual(bytesOf(frame).toString("hex"), hex)
      const raw = only(Buffer.from(hex, "hex"))
      const device = Frames.decodeDeviceFrame(raw)
      const read = Result.isSuccess(device) ? device.success : Result.getOrThrow(decodeFeeder(raw))
      assert.deepStrictEqual(plain(read), plain(frame))
    })
  }
})

// Version 2, byte by byte: what it has beyond version 1. These must never change either.

const golden2: ReadonlyArray<readonly [frame: RemoteDevices.FeederFrame | RemoteDevices.DeviceFrame, hex: string]> = [
  [
    {
      _tag: "Hello",
      versions: [2, 2],
      feed: "pixels",
      fingerprint: "fingerprint",
      feeder: "feeder-1",
      incarnation: 2,
      device: "/job:consumer/replica:0",
      session: 3,
      keepTo: 0,
      acknowledge: "processed",
      delivery: "effectivelyOnce",
      leaseMillis: 5,
      credential: "s3cret"
    },
    [
      "08010000000000007b225f746167223a2248656c6c6f222c2276657273696f6e73223a5b322c325d2c2266656564223a22706978",
      "656c73222c2266696e6765727072696e74223a2266696e6765727072696e74222c22666565646572223a226665656465722d3122",
      "2c22696e6361726e6174696f6e223a322c22646576696365223a222f6a6f623a636f6e73756d65722f7265706c6963613a30222c",
      "2273657373696f6e223a332c226b656570546f223a302c2261636b6e6f776c65646765223a2270726f636573736564222c226465",
      "6c6976657279223a226566666563746976656c794f6e6365222c226c656173654d696c6c6973223a352c2263726564656e746961",
      "6c223a22733363726574227d"
    ].join("")
  ],
  [
    { ...batch, ids: ["a", "", "d✗"] },
    [
      "b0000000020000000000000000000840000000000000144028000000020000000000000000001c40010000000200000000000000",
      "000022400200000001000000050000000100000001000000050000006164e29c9700000045464231030000000300000060000000",
      "180000001700000009000000000000000000000000001c4000000000000022400000000000002440000000000200000004000000",
      "0700000023372339233130000707070909090a0a0a00000000000000"
    ].join("")
  ],
  [
    { _tag: "Progress", progress: { ...goldenProgress, collecting: true, fenced: 15 } },
    [
      "76010000000000007b225f746167223a2250726f6772657373222c2270726f6772657373223a7b227265706f7274223a312c2261",
      "63636570746564223a322c2264656c697665726564223a332c2263617272696564223a342c22736574746c6564223a352c226162",
      "6f7665223a5b7b2266726f6d223a362c22636f756e74223a372c22726573756c74223a7b225f746167223a22446f6e65227d7d2c",
      "7b2266726f6d223a382c22636f756e74223a392c22726573756c74223a7b225f746167223a225265747279222c2261667465724d",
      "696c6c6973223a31302c226361757365223a2262757379227d7d2c7b2266726f6d223a31312c22636f756e74223a31322c227265",
      "73756c74223a7b225f746167223a2252656a656374222c226361757365223a2262616420e29c97227d7d5d2c2263726564697454",
      "6f223a31332c226372656469744279746573546f223a31342c22656e646564223a66616c73652c22636f6c6c656374696e67223a",
      "747275652c2266656e636564223a31357d7d"
    ].join("")
  ],
  [
    { _tag: "Refused", reason: "unauthenticated", detail: "why", retry: false },
    [
      "4a000000000000007b225f746167223a2252656675736564222c22726561736f6e223a22756e61757468656e7469636174656422",
      "2c2264657461696c223a22776879222c227265747279223a66616c73657d"
    ].join("")
  ],
  [
    { _tag: "Refused", reason: "unauthorized", detail: "why", retry: false },
    [
      "47000000000000007b225f746167223a2252656675736564222c22726561736f6e223a22756e617574686f72697a6564222c2264",
      "657461696c223a22776879222c227265747279223a66616c73657d"
    ].join("")
  ],
  [
    { _tag: "Refused", reason: "busy", detail: "why", retry: true },
    [
      "3e000000000000007b225f746167223a2252656675736564222c22726561736f6e223a2262757379222c2264657461696c223a22",
      "776879222c227265747279223a747275657d"
    ].join("")
  ]
]

describe("the examples of docs/protocol.md", () => {
  const page = readFileSync(new URL("../../docs/protocol.md", import.meta.url), "utf8")
  const bytes = [...page.matchAll(/^```hex\n([\s\S]*?)^```$/gm)].map(([, fence]) =>
    fence!.split("\n").map((line) => /^((?:[0-9a-f]{2} {0,2})+)(?: |$)/.exec(line)?.[1]?.replaceAll(" ", "") ?? "")
      .join("")
  )

  it("are the bytes that are written", () => {
    assert.strictEqual(bytes.length, 3)
    assert.strictEqual(bytes[0], bytesOf({ _tag: "Ping", heard: 1 }).toString("hex"))
    assert.strictEqual(bytes[1], bytesOf(batch).toString("hex"))
    const withIds = bytesOf({ ...batch, ids: ["a", "", "d✗"] })
    const runsEnd = 8 + 24 + 32
    assert.deepStrictEqual([withIds.readUInt32LE(0), withIds[4]], [176, 2])
    assert.strictEqual(bytes[2], withIds.subarray(runsEnd, runsEnd + 24).toString("hex"))
    assert.include(page, codec.fingerprint)
  })
})

describe("golden bytes of version 2", () => {
  for (const [i, [frame, hex]] of golden2.entries()) {
    it(`${frame._tag} ${i}`, () => {
      assert.strictEqual(bytesOf(frame).toString("hex"), hex)
      const raw = only(Buffer.from(hex, "hex"))
      const device = Frames.decodeDeviceFrame(raw)
      const read = Result.isSuccess(device) ? device.success : Result.getOrThrow(decodeFeeder(raw))
      assert.deepStrictEqual(plain(read), plain(frame))
    })
  }
})
