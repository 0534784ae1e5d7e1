/** The kinds of columns: their bytes, what is refused of each, and what is shared instead of copied. */
import { assert, describe, it } from "@effect/vitest"
import { Bytes, Result, Schema } from "effect"
import * as BatchCodec from "effect-feeder/BatchCodec"
import * as Tensor from "effect-feeder/Tensor"

const encode = <A, B>(codec: BatchCodec.BatchCodec<A, B>, elements: ReadonlyArray<A>): Uint8Array =>
  Bytes.concat(codec.encode(codec.fromElements(elements)))

const decode = <A, B>(codec: BatchCodec.BatchCodec<A, B>, bytes: Uint8Array): BatchCodec.Chunk<A> =>
  Result.getOrThrow(codec.decode(bytes))

const refusal = <A, B>(codec: BatchCodec.BatchCodec<A, B>, bytes: Uint8Array): string =>
  Result.match(codec.decode(bytes), {
    onFailure: (error) => `${error.field}: ${error.issue}`,
    onSuccess: () => "accepted"
  })

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

const unhex = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16))

const squeeze = (lines: ReadonlyArray<string>): string => lines.join("").replaceAll(" ", "")

const damaged = (bytes: Uint8Array, at: number, ...by: ReadonlyArray<number>): Uint8Array => {
  const out = bytes.slice()
  out.set(by, at)
  return out
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i)

describe("kinds of columns", () => {
  const Event = Schema.Struct({
    big: Schema.BigInt,
    data: Schema.Uint8Array,
    kind: Schema.Literals(["b", "a", 1]),
    note: Schema.optional(Schema.NullOr(Schema.String)),
    tag: Schema.tag("event"),
    tags: Schema.NonEmptyArray(Schema.Boolean),
    user: Schema.Struct({ id: Schema.Int, at: Schema.optionalKey(Tensor.int16([2])) })
  })
  const codec = BatchCodec.make(Event)
  const elements: ReadonlyArray<typeof Event.Type> = [
    { big: 1n, data: Uint8Array.of(1, 2), kind: "a", tag: "event", tags: [true], user: { id: 1 } },
    {
      big: -(2n ** 63n) - 1n,
      data: new Uint8Array(0),
      kind: 1,
      note: null,
      tag: "event",
      tags: [false, true],
      user: { id: 2, at: Int16Array.of(3, -1) }
    },
    { big: -1n, data: Uint8Array.of(3), kind: "b", note: "é", tag: "event", tags: [true], user: { id: 3 } }
  ]
  const golden = squeeze([
    "45464231 0e000000 03000000 10010000", // EFB1, 14 bodies, 3 elements, 272 bytes
    "18000000 21000000", // big and its text,
    "10000000 03000000", // the offsets of data, and data,
    "03000000", // kind,
    "01000000 01000000 01000000 0a000000", // the bits of note, three times, and its text,
    "10000000 04000000", // the offsets of tags, and tags,
    "01000000 04000000 18000000", // the bits of user.at, user.at, user.id. There is nothing of tag
    "0100000000000000 0000000000000000 ffffffffffffffff", // 1, one that does not fit, -1
    "00000000 00000000 11000000 11000000 2d38303030303030303030303030303031 00000000000000",
    "00000000 02000000 02000000 03000000",
    "010203 0000000000",
    "010002 0000000000", // the literals are 1, "a", "b"
    "06 00000000000000", // the first is absent,
    "03 00000000000000", // none of the others undefined,
    "02 00000000000000", // and of these the first null
    "00000000 02000000 c3a9 000000000000",
    "00000000 01000000 03000000 04000000",
    "01 0001 01 00000000",
    "02 00000000000000", // only the second has a user.at
    "0300ffff 00000000",
    "000000000000f03f 0000000000000040 0000000000000840"
  ])

  it("the bytes are what the header of the module says", () => {
    assert.strictEqual(hex(encode(codec, elements)), golden)
    assert.deepStrictEqual(decode(codec, unhex(golden)).elements, elements)
  })

  it("the fingerprint says how they are laid out", () => {
    assert.deepStrictEqual(JSON.parse(codec.fingerprint), {
      codec: 1,
      element: "struct",
      columns: [
        { name: "big", kind: "bigint" },
        { name: "data", kind: "bytes" },
        { name: "kind", kind: "literals", of: [{ number: "1" }, { string: "a" }, { string: "b" }] },
        {
          name: "note",
          kind: "option",
          none: "absent",
          of: { kind: "option", none: "undefined", of: { kind: "option", none: "null", of: { kind: "string" } } }
        },
        { name: "tag", kind: "literals", of: [{ string: "event" }] },
        { name: "tags", kind: "list", of: { kind: "boolean" } },
        {
          name: "user",
          kind: "struct",
          columns: [
            { name: "at", kind: "option", none: "absent", of: { kind: "tensor", dtype: "int16", shape: [2] } },
            { name: "id", kind: "number" }
          ]
        }
      ]
    })
  })

  const fingerprint = (schema: BatchCodec.ElementSchema) => BatchCodec.make(schema).fingerprint

  it("does not depend on the order of literals, members or fields, nor on checks", () => {
    const pairs: ReadonlyArray<readonly [BatchCodec.ElementSchema, BatchCodec.ElementSchema]> = [
      [Schema.Literals(["a", 1, "b"]), Schema.Literals(["b", "a", 1])],
      [Schema.Literals(["a", "b"]), Schema.Union([Schema.Literal("b"), Schema.Literal("a")])],
      [Schema.Literals(["off", 1]), Schema.Enum({ Off: "off", On: 1 })],
      [Schema.NullOr(Schema.Int), Schema.Union([Schema.Null, Schema.Number])],
      [Schema.NullishOr(Schema.Int), Schema.UndefinedOr(Schema.NullOr(Schema.Int))],
      [Schema.Array(Schema.Int), Schema.NonEmptyArray(Schema.Number)],
      [Schema.BigInt, Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: 0n, maximum: 9n }))],
      [
        Schema.Array(Schema.Struct({ a: Schema.Int, b: Schema.String })),
        Schema.Array(Schema.Struct({ b: Schema.NonEmptyString, a: Schema.Number }))
      ]
    ]
    for (const [one, other] of pairs) assert.strictEqual(fingerprint(one), fingerprint(other))
  })

  it("differs where the bytes or their meaning do", () => {
    const all = [
      Schema.Literals(["a", "b"]),
      Schema.Literals(["a", "c"]),
      Schema.Literals(["1", "b"]),
      Schema.Literals([1, "b"]),
      Schema.Literal("a"),
      Schema.Int,
      Schema.NullOr(Schema.Int),
      Schema.UndefinedOr(Schema.Int),
      Schema.NullishOr(Schema.Int),
      Schema.Array(Schema.Int),
      Schema.Array(Schema.Array(Schema.Int)),
      Schema.Array(Schema.NullOr(Schema.Int)),
      Schema.BigInt,
      Tensor.bigint64([]),
      Schema.Uint8Array,
      Tensor.uint8([1]),
      Schema.Struct({ a: Schema.Struct({ b: Schema.Int }) }),
      Schema.Struct({ a: Schema.Struct({ c: Schema.Int }) }),
      Schema.Struct({ a: Schema.Struct({ b: Schema.optionalKey(Schema.Int) }) }),
      Schema.Struct({ a: Schema.Struct({ b: Schema.optional(Schema.Int) }) })
    ].map(fingerprint)
    assert.strictEqual(new Set(all).size, all.length)
  })

  it("what has no column is in the rest", () => {
    const others: ReadonlyArray<BatchCodec.ElementSchema> = [
      Schema.Date,
      Schema.NumberFromString,
      Schema.Tuple([Schema.Int, Schema.String]),
      Schema.Record(Schema.String, Schema.Int),
      Schema.Union([Schema.Int, Schema.String]),
      Schema.Array(Schema.Date),
      Schema.NullOr(Schema.Date),
      Schema.Struct({ a: Schema.Int, at: Schema.Date }),
      // These take less than a byte for an entry, so a few bytes could announce very many.
      Schema.Array(Schema.NullOr(Schema.Int)),
      Schema.Array(Schema.Literal("a")),
      Schema.Array(Tensor.float32([0])),
      Schema.Array(Schema.Struct({ a: Schema.optionalKey(Schema.Int) }))
    ]
    for (const schema of others) {
      const { columns } = JSON.parse(fingerprint(Schema.Struct({ a: schema })))
      assert.strictEqual(columns.length, 1)
      assert.include(["binary", "json"], columns[0].kind)
    }
  })

  describe("of what is received", () => {
    // Where the bodies of the golden bytes begin.
    const at = { big: 72, large: 96, offsets: 136, kind: 160, absent: 168, tags: 208, home: 232 }
    const bytes = unhex(golden)

    it("says what is wrong", () => {
      const cases: ReadonlyArray<readonly [Uint8Array, string]> = [
        [bytes, "accepted"],
        [damaged(bytes, at.big + 8, 1), "big: entry 1 is no integer of more than 64 bits"],
        // -8000000000000000 would fit
        [damaged(bytes, at.large + 16 + 16, 0x30), "big: entry 1 is no integer of more than 64 bits"],
        [damaged(bytes, at.large + 16, 0x30), "big: entry 1 is no integer of more than 64 bits"],
        [damaged(bytes, at.large + 17, 0x41), "big: entry 1 is no integer of more than 64 bits"],
        [damaged(bytes, at.large + 17, 0x78), "big: entry 1 is no integer of more than 64 bits"],
        [damaged(bytes, at.large + 12, 0), "big: offsets do not span the 17 bytes of text"],
        [damaged(bytes, at.offsets, 1), "data: offsets do not span the 3 bytes"],
        [damaged(bytes, at.offsets + 4, 4), "data: offset 2 is smaller than the one before"],
        [damaged(bytes, at.kind, 3), "kind: 3 is not the number of one of 3 literals"],
        [damaged(bytes, at.absent, 0x0E), "note: the bits after the last one are not zero"],
        [damaged(bytes, at.absent, 0x02), "note: the bits after the last one are not zero"],
        [damaged(bytes, at.tags, 1), "tags: offsets do not span the 4 entries"],
        [damaged(bytes, at.tags + 12, 5), "tags: expected 5 × bool in 5 bytes, got 4 bytes"],
        [
          damaged(bytes, at.tags + 12, 255, 255, 255, 255),
          "tags: expected 4294967295 × bool in 4294967295 bytes, got 4 bytes"
        ],
        // The second has none, though the Schema wants one.
        [damaged(bytes, at.tags + 8, 1), "tags: element 1: 0: Missing key"],
        [damaged(bytes, at.home, 0), "user.at: expected 0 × int16 in 0 bytes, got 4 bytes"]
      ]
      for (const [received, issue] of cases) assert.strictEqual(refusal(codec, received), issue)
    })

    it("an integer that fits does not come as text", () => {
      const Big = BatchCodec.make(Schema.BigInt)
      const empty = squeeze([
        "45464231 02000000 01000000 28000000 08000000 08000000",
        "0500000000000000", // 5
        "00000000 00000000" // no text at all
      ])
      assert.strictEqual(refusal(Big, unhex(empty)), ": no integer has more than 64 bits, yet there is text for them")
    })

    it("a longest string holds in columns within columns", () => {
      const Words = BatchCodec.make(
        Schema.Struct({ a: Schema.Array(Schema.NullishOr(Schema.String)), b: Schema.Array(Schema.String) })
      )
      const words = encode(Words, [{ a: [], b: ["abc"] }])
      assert.isTrue(Result.isSuccess(Words.decode(words, { maxStringBytes: 3 })))
      assert.strictEqual(
        Result.getOrThrow(Result.flip(Words.decode(words, { maxStringBytes: 2 }))).message.includes("takes 3 bytes"),
        true
      )
    })

    it("marks the elements whose inner values do not pass the checks", () => {
      const of = (check: Schema.Codec<number>) =>
        BatchCodec.make(Schema.Struct({
          a: Schema.Array(Schema.Struct({ n: check })),
          b: Schema.NullOr(check),
          c: Schema.optionalKey(check)
        }))
      const loose = of(Schema.Number)
      const strict = of(Schema.Number.check(Schema.isGreaterThan(0)))
      const good = { a: [{ n: 1 }], b: 2, c: 3 }
      const bytes = encode(loose, [
        good,
        { ...good, a: [{ n: 1 }, { n: -1 }] },
        { a: [], b: null },
        { ...good, b: -1 },
        { ...good, c: -1 },
        good
      ])
      assert.strictEqual(strict.fingerprint, loose.fingerprint)
      assert.strictEqual(refusal(strict, bytes), "a: element 1: 1.n: Expected a value greater than 0")
      const chunk = Result.getOrThrow(strict.decode(bytes, { invalid: "mark" }))
      assert.deepStrictEqual([...chunk.invalid!], [
        [1, "a: 1.n: Expected a value greater than 0"],
        [3, "b: Expected a value greater than 0"],
        [4, "c: Expected a value greater than 0"]
      ])
      // They keep their places when the chunk is cut and joined.
      assert.deepStrictEqual([...strict.slice(chunk, 2, 4).invalid!.keys()], [1])
      assert.isUndefined(strict.slice(chunk, 5).invalid)
      const joined = strict.concat([strict.slice(chunk, 2, 4), strict.slice(chunk, 4)])
      assert.deepStrictEqual([...joined.invalid!.keys()], [1, 2])
    })
  })

  describe("of what is sent", () => {
    const issueOf = (schema: BatchCodec.ElementSchema, value: unknown): string => {
      const codec: BatchCodec.BatchCodec<unknown, unknown> = BatchCodec.make(Schema.Struct({ a: schema }))
      return Result.match(Result.try(() => codec.encode(codec.fromElements([{ a: value }]))), {
        onFailure: (error) => error instanceof BatchCodec.ElementInvalid ? error.issue : String(error),
        onSuccess: () => "accepted"
      })
    }

    it("what was not validated and does not fit is refused", () => {
      const sparse: Array<unknown> = []
      sparse[1] = 1
      const cases: ReadonlyArray<readonly [BatchCodec.ElementSchema, unknown, string]> = [
        [Schema.BigInt, 1, "a: expected a bigint"],
        [Schema.Uint8Array, new Uint16Array(2), "a: expected a Uint8Array"],
        [Schema.Literals(["x", "y"]), "z", "a: expected one of 2 literals"],
        [Schema.Literal("x"), "y", "a: expected the literal string"],
        [Schema.Array(Schema.Int), "abc", "a: expected an array"],
        [Schema.Array(Schema.Number), sparse, "a: expected float64[] (a number), got undefined"],
        [Schema.Array(Schema.Number), [1, "2"], "a: expected float64[] (a number), got a string"],
        [Schema.Struct({ b: Schema.Int }), null, "a: expected an object"],
        [Schema.Struct({ b: Schema.Int }), {}, "a.b: expected float64[] (a number), got undefined"],
        [Schema.NullOr(Schema.Int), undefined, "a: expected float64[] (a number), got undefined"],
        [Schema.String, "\ud800", "a: expected string[] (a well-formed string), got a string with a lone surrogate"]
      ]
      for (const [schema, value, issue] of cases) assert.strictEqual(issueOf(schema, value), issue)
    })

    it("two halves of a character are no strings, though they are one together", () => {
      const codec = BatchCodec.make(Schema.Struct({ a: Schema.String }))
      const halves = [{ a: "x\ud83d" }, { a: "\ude00y" }]
      assert.throws(() => encode(codec, halves), "got a string with a lone surrogate")
      const parts = { a: halves.map(({ a }) => a) }
      assert.strictEqual(
        Result.getOrThrow(Result.flip(codec.fromBatch(parts))).issue,
        "element 0: a: expected well-formed strings, got a lone surrogate"
      )
    })

    it("many and long lists keep their entries", () => {
      const codec = BatchCodec.make(Schema.Array(Schema.Number))
      const lists = range(5000).map((i) => range(i % 7))
      assert.deepStrictEqual(decode(codec, encode(codec, lists)).elements, lists)
      const long = [range(200_000), [], range(3)]
      assert.deepStrictEqual(decode(codec, encode(codec, long)).elements, long)
    })

    it("as many literals as take two bytes, or four", () => {
      for (const count of [256, 257, 65_537]) {
        const codec = BatchCodec.make(Schema.Literals(range(count).map((i) => `l${i}`)))
        const some = ["l0", `l${count - 1}`, "l255"]
        assert.deepStrictEqual(decode(codec, encode(codec, some)).elements, some)
      }
    })
  })

  describe("share memory", () => {
    const Blob = BatchCodec.make(Schema.Struct({ data: Schema.Uint8Array, x: Tensor.float32([1024]), id: Schema.Int }))
    const blobs = range(8).map((id) => ({
      data: new Uint8Array(3000).fill(id),
      x: new Float32Array(1024).fill(id),
      id
    }))

    it("of large tensors and byte strings with the segments", () => {
      const segments = Blob.encode(Blob.fromElements(blobs))
      const buffers = new Set(segments.map(({ buffer }) => buffer))
      for (const { data, x } of blobs) assert.isTrue(buffers.has(data.buffer) && buffers.has(x.buffer))
    })

    it("of what was received with elements, batches and slices of it", () => {
      const bytes = encode(Blob, blobs)
      const slice = Blob.slice(decode(Blob, bytes), 2, 5)
      const batch = Blob.stackChunk(slice)

      assert.strictEqual(batch.x.buffer, bytes.buffer)
      assert.strictEqual(batch.data[0]!.buffer, bytes.buffer)
      assert.strictEqual(slice.elements[1]!.x.buffer, bytes.buffer)
      assert.deepStrictEqual(slice.elements, blobs.slice(2, 5))
    })

    it("of a stacked batch with its chunk, of which no element is made", () => {
      const batch = Blob.stack(blobs)
      const chunk = Result.getOrThrow(Blob.fromBatch(batch))

      assert.strictEqual(Blob.stackChunk(chunk).x, batch.x)
      assert.isTrue(Blob.encode(chunk).some(({ buffer }) => buffer === batch.x.buffer))
      assert.strictEqual(chunk.elements[3]!.x.buffer, batch.x.buffer)
    })
  })

  describe("chunks of what may be anything", () => {
    const Row = Schema.Struct({
      id: Tensor.int32([]),
      age: Schema.Int.check(Schema.isGreaterThan(0)),
      inner: Schema.Struct({ tags: Schema.Array(Schema.String) }),
      at: Schema.optionalKey(Schema.Date)
    }).check(Schema.makeFilter(({ age, id }) => age >= id, { expected: "an age of at least the id" }))
    const codec = BatchCodec.make(Row)
    const good = { id: 1, age: 2, inner: { tags: ["a"] }, at: new Date(5) }

    it("leave out what the schema does not know", () => {
      const chunk = Result.getOrThrow(
        codec.fromUnknown([{ ...good, extra: 1, inner: { tags: ["a"], more: 2 } }, { ...good, [Symbol("s")]: 1 }, good])
      )
      assert.deepStrictEqual(chunk.elements, [good, good, good])
      const batch: BatchCodec.Stacked<typeof Row> & { readonly extra?: unknown } = {
        ...codec.stack([good]),
        inner: [Object.assign({ more: 1 }, good.inner)],
        extra: [1]
      }
      assert.deepStrictEqual(Result.getOrThrow(codec.fromBatch(batch)).elements, [good])
    })

    it("say which value is no element, and why", () => {
      const issues = [
        [null, "Expected object"],
        [{ ...good, id: 0.5 }, "id: expected int32[] (an integer from -2147483648 to 2147483647), got a fraction"],
        [{ ...good, age: 0 }, "age: Expected a value greater than 0"],
        [{ ...good, id: 3 }, "Expected an age of at least the id"],
        [{ ...good, at: 1 }, "at: Expected a valid Date"],
        [{ ...good, inner: { tags: ["\ud800"] } }, "inner: expected well-formed strings, got a lone surrogate"]
      ] as const
      for (const [value, issue] of issues) {
        const result = Result.flip(codec.fromUnknown([good, value]))
        assert.strictEqual(Result.getOrThrow(result).issue, `element 1: ${issue}`)
        assert.strictEqual(Result.getOrThrow(Result.flip(codec.validate(value))).issue, issue)
      }
    })
  })
})
