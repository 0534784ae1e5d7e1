import { assert, describe, it } from "@effect/vitest"
import { Bytes, DateTime, Effect, Option, Random, Result, Schema } from "effect"
import * as BatchCodec from "effect-feeder/BatchCodec"
import * as Tensor from "effect-feeder/Tensor"
import * as Arbitrary from "effect/Arbitrary"

class Point extends Schema.Class<Point>("Point")({ x: Schema.Number, y: Schema.Number }) {}

interface Tree {
  readonly value: string
  readonly children: ReadonlyArray<Tree>
}
const Tree = Schema.Struct({
  value: Schema.String,
  children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
})

const WellFormed = Schema.String.check(Schema.makeFilter((s) => s.isWellFormed()))

const dtypes = [
  "int8",
  "uint8",
  "int16",
  "uint16",
  "int32",
  "uint32",
  "float32",
  "float64",
  "bigint64",
  "biguint64",
  "bool",
  "string"
] as const satisfies ReadonlyArray<Tensor.DType>

const Mixed = Schema.Struct({
  id: Schema.Int,
  label: WellFormed,
  image: Tensor.float32([2, 2]),
  flag: Schema.Boolean,
  big: Tensor.bigint64([]),
  words: Tensor.string([2]),
  at: Schema.optionalKey(Schema.Int),
  tags: Schema.Array(WellFormed)
})

// Every kind of column, alone and together; the names are the tests'.
const schemas: { readonly [name: string]: Schema.Codec<unknown, unknown> } = {
  number: Schema.Number,
  finite: Schema.Finite,
  boolean: Schema.Boolean,
  string: WellFormed,
  branded: WellFormed.pipe(Schema.brand("Label")),
  literals: Schema.Literals(["a", "b", "c"]),
  array: Schema.Array(Schema.Int),
  union: Schema.Union([Schema.Int, WellFormed, Schema.Null]),
  "union without tags": Schema.Union([Schema.Struct({ a: WellFormed }), Schema.Struct({ b: Schema.Boolean })]),
  class: Point,
  record: Schema.Record(Schema.Literals(["a", "b"]), Schema.Int),
  "empty struct": Schema.Struct({}),
  struct: Schema.Struct({ id: Schema.Int, label: WellFormed, score: Schema.Number, ok: Schema.Boolean }),
  mixed: Mixed,
  "zero axis": Schema.Struct({ none: Tensor.float32([0, 3]), also: Tensor.string([0]), id: Schema.Int }),
  "only zero axes": Tensor.float32([2, 0]),
  optional: Schema.Struct({ a: Schema.optional(Schema.Boolean), b: Schema.optionalKey(WellFormed) }),
  nullable: Schema.Struct({ id: Schema.Int, name: Schema.NullOr(WellFormed) }),
  nested: Schema.Struct({
    id: Schema.Int,
    inner: Schema.Struct({ point: Tensor.float32([2]), bits: Schema.Array(Tensor.bool([3])) })
  }),
  dates: Schema.Struct({ at: Schema.DateTimeUtc, id: Schema.Int }),
  transformed: Schema.Struct({
    count: Schema.NumberFromString.check(Schema.isBetween({ minimum: 1, maximum: 1e6 })),
    id: Schema.Int
  }),
  bytes: Schema.Struct({ body: Schema.Uint8Array, id: Schema.Int }),
  "renamed keys": Schema.Struct({ a: Schema.Int }).pipe(Schema.encodeKeys({ a: "b" })),
  "option of a class": Schema.Struct({ point: Schema.Option(Point) }),
  bigint: Schema.BigInt,
  "bigint in range": Schema.Struct({
    big: Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: -5n, maximum: 2n ** 70n }))
  }),
  enum: Schema.Enum({ Off: 0, On: 1, Auto: "auto" }),
  "mixed literals": Schema.Struct({ a: Schema.Literals(["1", 1, true, 1n, "é"]), tag: Schema.tag("Tagged") }),
  "one literal": Schema.Literal("only"),
  "nullable literals": Schema.NullOr(Schema.Literals(["a", "b"])),
  nullish: Schema.Struct({ a: Schema.NullishOr(Schema.Int), b: Schema.UndefinedOr(WellFormed) }),
  "optional and nullable": Schema.Struct({
    a: Schema.optionalKey(Schema.NullOr(Tensor.float32([2]))),
    b: Schema.optionalKey(Schema.Struct({ c: Schema.optionalKey(Schema.Boolean), d: Schema.NullOr(Schema.BigInt) }))
  }),
  "list of lists": Schema.Array(Schema.Array(WellFormed)),
  "list of structs": Schema.Struct({
    items: Schema.Array(Schema.Struct({
      id: Schema.Int,
      kind: Schema.Literals(["a", "b"]),
      note: Schema.optionalKey(WellFormed),
      data: Schema.Uint8Array,
      path: Schema.Array(Tensor.int16([2]))
    }))
  }),
  "list of what may be null": Schema.Array(Schema.NullOr(Schema.Int)),
  "non-empty list": Schema.Struct({ a: Schema.NonEmptyArray(Schema.Int) }),
  "whole bytes": Schema.Uint8Array,
  "deep structs": Schema.Struct({
    a: Schema.Struct({ b: Schema.Struct({ c: Schema.Struct({ d: Schema.Int, e: WellFormed }), f: Schema.BigInt }) })
  }),
  "struct of what has no column": Schema.Struct({
    a: Schema.Struct({ at: Schema.Date, id: Schema.Int }),
    b: Schema.Int
  }),
  "twenty fields": Schema.Struct(
    Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`f${i}`, i % 3 === 0 ? WellFormed : Schema.Int]))
  )
}
for (const dtype of dtypes) {
  for (const shape of [[], [3]] as const) {
    const name = `${dtype}[${shape.join(",")}]`
    Object.assign(schemas, {
      [name]: Tensor.make(dtype, shape),
      [`field ${name}`]: Schema.Struct({ first: Schema.Int, tensor: Tensor.make(dtype, shape) })
    })
  }
}

const join = (segments: ReadonlyArray<Uint8Array>): Uint8Array => Bytes.concat(segments)

const roundTrip = <A, B>(codec: BatchCodec.BatchCodec<A, B>, elements: ReadonlyArray<A>): ReadonlyArray<A> =>
  Result.getOrThrow(codec.decode(join(codec.encode(codec.fromElements(elements))))).elements

const samples = <A>(schema: Schema.Codec<A, unknown>, count: number, seed: number): ReadonlyArray<A> =>
  Effect.runSync(Arbitrary.sampleEffect(Arbitrary.schema(schema), { count, seed, size: 6 }))

const refusal = <A, B>(
  codec: BatchCodec.BatchCodec<A, B>,
  bytes: Uint8Array,
  limits?: BatchCodec.Limits
): string =>
  Result.match(codec.decode(bytes, limits), {
    onFailure: (error) => `${error.field}: ${error.issue}`,
    onSuccess: () => "accepted"
  })

const invalidity = <A>(result: Result.Result<A, BatchCodec.ElementInvalid>): string =>
  Result.match(result, { onFailure: (error) => error.issue, onSuccess: () => "accepted" })

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

// What a chunk is on a wire. Not its bytes: there are many NaNs.
const written = <A, B>(codec: BatchCodec.BatchCodec<A, B>, chunk: BatchCodec.Chunk<A>) => {
  const bytes = join(codec.encode(chunk))
  return { byteLength: bytes.byteLength, elements: Result.getOrThrow(codec.decode(bytes)).elements }
}

// Sets one little-endian u32.
const patch = (bytes: Uint8Array, offset: number, value: number): Uint8Array => {
  const out = bytes.slice()
  new DataView(out.buffer).setUint32(offset, value, true)
  return out
}

const bare = <A, B>(codec: BatchCodec.BatchCodec<A, B>, elements: ReadonlyArray<A>): Uint8Array =>
  join(codec.encode(codec.fromElements(elements)))

describe("BatchCodec", () => {
  describe("round trips", () => {
    for (const [name, schema] of Object.entries(schemas)) {
      const codec = BatchCodec.make(schema)

      it.prop(`conserved: what is encoded is decoded (${name})`, { elements: Schema.Array(schema) }, ({ elements }) => {
        const bytes = bare(codec, elements)
        const chunk = Result.getOrThrow(codec.decode(bytes))

        assert.strictEqual(chunk.length, elements.length)
        assert.strictEqual(chunk.byteLength, bytes.byteLength)
        assert.strictEqual(bytes.byteLength % 8, 0)
        assert.deepStrictEqual(chunk.elements, elements)
        // Encoding what was decoded, with the columns as they came, gives the same bytes.
        assert.strictEqual(hex(join(codec.encode(chunk))), hex(bytes))
      }, { arbitrary: { runs: 50 } })

      it.prop(`conserved: unstack is the inverse of stack (${name})`, {
        elements: Schema.Array(schema)
      }, ({ elements }) => {
        const chunk = Result.getOrThrow(codec.decode(bare(codec, elements)))

        const unstacked = Result.getOrThrow(codec.unstack(codec.stack(elements), elements.length))

        // A batch does not tell whether an optional field was absent or undefined.
        if (name !== "optional") assert.deepStrictEqual(unstacked, elements)
        const made = Result.getOrThrow(codec.fromBatch(codec.stack(elements), elements.length))
        assert.deepStrictEqual(made.elements, unstacked)
        assert.deepStrictEqual(codec.stackChunk(made), codec.stack(elements))
        assert.deepStrictEqual(written(codec, made), written(codec, codec.fromElements(unstacked)))
        assert.deepStrictEqual(codec.stack(unstacked), codec.stack(elements))
        assert.deepStrictEqual(codec.stackChunk(chunk), codec.stack(elements))
      }, { arbitrary: { runs: 30 } })

      it.prop(`accepts its elements (${name})`, { element: schema }, ({ element }) => {
        assert.isTrue(Object.is(Result.getOrThrow(codec.validate(element)), element))
        const chunk = Result.getOrThrow(codec.fromUnknown([element, element]))
        assert.deepStrictEqual(written(codec, chunk), written(codec, codec.fromElements([element, element])))
      }, { arbitrary: { runs: 20 } })

      it.prop(`slices (${name})`, {
        elements: Schema.Array(schema),
        from: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 6 })),
        size: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 6 }))
      }, ({ elements, from, size }) => {
        const chunk = Result.getOrThrow(codec.decode(bare(codec, elements)))
        for (const whole of [chunk, codec.fromElements(elements)]) {
          const slice = codec.slice(whole, from, from + size)

          assert.deepStrictEqual(slice.elements, elements.slice(from, from + size))
          assert.deepStrictEqual(
            Result.getOrThrow(codec.decode(join(codec.encode(codec.slice(whole, from, from + size))))).elements,
            elements.slice(from, from + size)
          )
        }
        for (const whole of [chunk, codec.fromElements(elements)]) {
          // What was cut and joined is the whole, whether of columns or of elements.
          const parts = [
            codec.slice(whole, 0, from),
            codec.slice(whole, from, from + size),
            codec.slice(whole, from + size)
          ]
          const joined = codec.concat(parts)
          assert.deepStrictEqual(joined.elements, elements)
          assert.strictEqual(joined.length, elements.length)
          assert.deepStrictEqual(written(codec, codec.concat(parts)), written(codec, codec.fromElements(elements)))
          const [, some] = parts
          assert.deepStrictEqual(codec.stackChunk(some!), codec.stack(elements.slice(from, from + size)))
          const slice = codec.slice(codec.slice(whole, from), 0, size)
          const same = codec.fromElements(elements.slice(from, from + size))
          assert.deepStrictEqual(written(codec, slice), written(codec, same))
          // What was joined is cut, and joined again, as any other.
          const cut = codec.slice(codec.concat(parts), from, from + size)
          assert.deepStrictEqual(written(codec, cut), written(codec, same))
          const again = codec.concat([codec.concat(parts.slice(0, 2)), codec.concat(parts.slice(2)), cut])
          const all = codec.fromElements([...elements, ...elements.slice(from, from + size)])
          assert.deepStrictEqual(written(codec, again), written(codec, all))
          assert.deepStrictEqual(codec.stackChunk(again), codec.stack(all.elements))
        }
      }, { arbitrary: { runs: 20 } })

      it(`reads from any address (${name})`, () => {
        const elements = samples(schema, 5, 11)
        const bytes = bare(codec, elements)
        for (let shift = 0; shift < 8; shift++) {
          const buffer = new Uint8Array(bytes.byteLength + 16).fill(0xAA)
          buffer.set(bytes, shift)
          const received = buffer.subarray(shift, shift + bytes.byteLength)

          assert.deepStrictEqual(Result.getOrThrow(codec.decode(received)).elements, elements)
          const asBuffer = Buffer.from(buffer.buffer, shift, bytes.byteLength)
          assert.deepStrictEqual(Result.getOrThrow(codec.decode(asBuffer)).elements, elements)
        }
      })
    }

    it.prop("strings come back, whatever they hold", { strings: Schema.Array(WellFormed) }, ({ strings }) => {
      const codec = BatchCodec.make(Schema.Struct({ s: Schema.String }))
      const odd = ["\uFEFFbom", "", "é", "漢字", "😀", "a😀é漢", "\u0000", "\u{10FFFF}", "\uFFFD"]
      const elements = [...strings, ...odd, ...strings].map((s) => ({ s }))

      assert.deepStrictEqual(roundTrip(codec, elements), elements)
    })

    it("numbers come back bit by bit", () => {
      const codec = BatchCodec.make(Schema.Struct({ a: Schema.Number, b: Tensor.float32([2]), c: Tensor.float64([]) }))
      const odd = [NaN, -0, 0, Infinity, -Infinity, 5e-324, Number.MAX_VALUE, 2 ** 53 + 2]
      const elements = odd.map((n) => ({ a: n, b: new Float32Array([n, -n]), c: n }))

      assert.deepStrictEqual(roundTrip(codec, elements), elements)
      assert.isTrue(Object.is(roundTrip(codec, elements)[1]!.a, -0))
    })

    it("the extremes of each integer come back", () => {
      const codec = BatchCodec.make(
        Schema.Struct({ b: Tensor.bigint64([]), u: Tensor.biguint64([]), i: Tensor.int32([]) })
      )
      const elements = [
        { b: -(2n ** 63n), u: 0n, i: -(2 ** 31) },
        { b: 2n ** 63n - 1n, u: 2n ** 64n - 1n, i: 2 ** 31 - 1 }
      ]

      assert.deepStrictEqual(roundTrip(codec, elements), elements)
    })

    it("a float32 scalar is rounded", () => {
      const codec = BatchCodec.make(Schema.Struct({ x: Tensor.float32([]) }))

      assert.deepStrictEqual(roundTrip(codec, [{ x: 0.1 }]), [{ x: Math.fround(0.1) }])
    })

    it("recursive schemas come back", () => {
      const codec = BatchCodec.make(Schema.Struct({ id: Schema.Int, tree: Tree }))
      const elements = [{ id: 1, tree: { value: "a", children: [{ value: "b", children: [] }] } }]

      assert.deepStrictEqual(roundTrip(codec, elements), elements)
      assert.include(codec.fingerprint, `"up":`)
    })

    it("declared types keep their classes", () => {
      const codec = BatchCodec.make(Schema.Struct({ at: Schema.DateTimeUtc, p: Schema.Option(Point) }))
      const elements = [{ at: DateTime.makeUnsafe(0), p: Option.some(new Point({ x: 1, y: 2 })) }]
      const [back] = roundTrip(codec, elements)

      assert.isTrue(DateTime.isDateTime(back!.at))
      assert.instanceOf(Option.getOrThrow(back!.p), Point)
    })

    it("batches without columns keep their length", () => {
      const codec = BatchCodec.make(Schema.Struct({}))

      assert.deepStrictEqual(roundTrip(codec, [{}, {}, {}]), [{}, {}, {}])
      assert.strictEqual(bare(codec, [{}, {}]).byteLength, 16)
    })
  })

  describe("batches", () => {
    it("stacks by the type of the schema", () => {
      const codec = BatchCodec.make(Mixed)
      const elements = samples(Mixed, 3, 1)
      const batch = codec.stack(elements)
      const image: Float32Array = batch.image
      const big: BigInt64Array = batch.big
      const words: ReadonlyArray<string> = batch.words
      const id: ReadonlyArray<number> = batch.id
      const at: ReadonlyArray<number | undefined> = batch.at
      const tags: ReadonlyArray<ReadonlyArray<string>> = batch.tags
      const whole: Float32Array = BatchCodec.make(Tensor.float32([2])).stack([new Float32Array(2)])
      const points: ReadonlyArray<Point> = BatchCodec.make(Point).stack([])
      const widened: Schema.Codec<{ readonly a: number }> = Schema.Struct({ a: Schema.Number })
      const unknowable: BatchCodec.BatchCodec<{ readonly a: number }, unknown> = BatchCodec.make(widened)

      assert.deepStrictEqual(Object.keys(batch), ["id", "label", "image", "flag", "big", "words", "at", "tags"])
      assert.deepStrictEqual(Array.from(image), elements.flatMap((element) => Array.from(element.image)))
      assert.deepStrictEqual(Array.from(big), elements.map((element) => element.big))
      assert.deepStrictEqual(words, elements.flatMap((element) => element.words))
      assert.deepStrictEqual(id, elements.map((element) => element.id))
      assert.deepStrictEqual(at, elements.map((element) => element.at))
      assert.deepStrictEqual(tags, elements.map((element) => element.tags))
      assert.deepStrictEqual(whole, new Float32Array(2))
      assert.deepStrictEqual(points, [])
      assert.deepStrictEqual(unknowable.stack([{ a: 1 }]), { a: [1] })
      // @ts-expect-error a batch has exactly the fields of the struct
      assert.isUndefined(batch.other)
    })

    it("stacks a tensor behind a brand like any other field", () => {
      const Embedding = Tensor.float32([2]).pipe(Schema.brand("Embedding"))
      const codec = BatchCodec.make(Schema.Struct({ e: Embedding }))
      const e = Embedding.make(new Float32Array([1, 2]))
      const batch: { readonly e: ReadonlyArray<typeof Embedding.Type> } = codec.stack([{ e }])

      assert.deepStrictEqual(batch, { e: [e] })
      assert.deepStrictEqual(Result.getOrThrow(codec.unstack(batch)), [{ e }])
      assert.deepStrictEqual(roundTrip(codec, [{ e }]), [{ e }])
    })

    it("a struct behind a brand stacks to an array", () => {
      const Row = Schema.Struct({ a: Schema.Int }).pipe(Schema.brand("Row"))
      const codec = BatchCodec.make(Row)
      const rows: ReadonlyArray<typeof Row.Type> = codec.stack([Row.make({ a: 1 })])

      assert.deepStrictEqual(rows, [Row.make({ a: 1 })])
      assert.deepStrictEqual(codec.stackChunk(Result.getOrThrow(codec.decode(bare(codec, rows)))), rows)
    })

    it("takes views apart without copying", () => {
      const codec = BatchCodec.make(Schema.Struct({ x: Tensor.float32([2]), n: Schema.Number }))
      const batch = { x: new Float32Array([1, 2, 3, 4]), n: [5, 6] }
      const [, second] = Result.getOrThrow(codec.unstack(batch))

      assert.strictEqual(second!.x.buffer, batch.x.buffer)
      assert.deepStrictEqual(second, { x: new Float32Array([3, 4]), n: 6 })
    })

    it("leaves an optional field out where the batch has undefined", () => {
      const codec = BatchCodec.make(
        Schema.Struct({ a: Schema.optional(Schema.Int), b: Schema.UndefinedOr(Schema.Int) })
      )
      const batch = codec.stack([{ a: undefined, b: undefined }, { a: 1, b: 2 }])

      assert.deepStrictEqual(batch, { a: [undefined, 1], b: [undefined, 2] })
      assert.deepStrictEqual(Result.getOrThrow(codec.unstack(batch)), [{ b: undefined }, { a: 1, b: 2 }])
    })

    it("refuses batches that do not fit, by field", () => {
      const schema = Schema.Struct({ x: Tensor.float32([2]), n: Schema.Int, o: Schema.optional(Schema.String) })
      const codec: BatchCodec.BatchCodec<unknown, unknown> = BatchCodec.make(schema)
      const x = new Float32Array(4)
      const o = [undefined, undefined]

      assert.deepStrictEqual(Result.getOrThrow(codec.unstack({ x, n: [1, 2], o })), [
        { x: x.subarray(0, 2), n: 1 },
        { x: x.subarray(2, 4), n: 2 }
      ])
      assert.strictEqual(
        invalidity(codec.unstack({ x, n: [1], o })),
        "n: expected 2 elements, as many as x, got 1"
      )
      assert.strictEqual(
        invalidity(codec.unstack({ x: new Float64Array(4), n: [1, 2], o })),
        "x: expected a Float32Array with 2 entries per element"
      )
      assert.strictEqual(
        invalidity(codec.unstack({ x: new Float32Array(3), n: [1, 2], o })),
        "x: expected a Float32Array with 2 entries per element"
      )
      assert.strictEqual(invalidity(codec.unstack({ x, n: [1, 0.5], o })), "element 1: n: Expected an integer")
      assert.strictEqual(invalidity(codec.unstack({ x, o })), "n: expected an array with one value per element")
      assert.strictEqual(invalidity(codec.unstack([])), "expected an object of stacked fields")
      assert.strictEqual(
        invalidity(codec.unstack({ x, n: [1, 2], o }, 3)),
        "x: expected 3 elements, as many as the given length, got 2"
      )
      assert.strictEqual(
        invalidity(BatchCodec.make(Tensor.float32([0])).unstack(new Float32Array(0))),
        "no field tells how many elements there are; pass the length"
      )
    })

    it("refuses to stack or send what was not validated and does not fit", () => {
      const schema = Schema.Struct({ x: Tensor.float32([2]) })
      const codec: BatchCodec.BatchCodec<unknown, unknown> = BatchCodec.make(schema)
      const wrong = [{ x: new Float32Array(3) }]
      const message = "element is invalid: x: expected float32[2] (a Float32Array of 2), got Float32Array of 3; " +
        "give the feed elements that satisfy its schema"

      assert.throws(() => codec.stack(wrong), message)
      assert.throws(() => codec.encode(codec.fromElements(wrong)), message)
    })
  })

  describe("validation", () => {
    it("names the path and what was expected", () => {
      const schema = Schema.Struct({
        image: Tensor.float32([28, 28]),
        label: Tensor.int32([]),
        name: Schema.String,
        age: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 150 })),
        inner: Schema.Struct({ tags: Schema.Array(Schema.String) })
      })
      const codec = BatchCodec.make(schema)
      const good = { image: new Float32Array(784), label: 1, name: "a", age: 1, inner: { tags: ["a"] } }

      assert.strictEqual(invalidity(codec.validate(good)), "accepted")
      const cases: ReadonlyArray<readonly [unknown, string]> = [
        [
          { ...good, image: new Float64Array(784) },
          "image: expected float32[28,28] (a Float32Array of 784), got Float64Array of 784"
        ],
        [
          { ...good, label: 2 ** 31 },
          "label: expected int32[] (an integer from -2147483648 to 2147483647), " +
          "got an integer out of range"
        ],
        [{ ...good, name: 1 }, "name: Expected string"],
        [{ ...good, name: "\ud800" }, "name: expected well-formed strings, got a lone surrogate"],
        [{ ...good, age: 0.5 }, "age: Expected an integer"],
        [{ ...good, age: 200 }, "age: Expected a value between 0 and 150"],
        [{ ...good, inner: { tags: [1] } }, "inner.tags.0: Expected string"],
        [{ ...good, inner: { tags: ["\ud800"] } }, "inner: expected well-formed strings, got a lone surrogate"],
        [{ image: good.image, label: 1, name: "a", inner: good.inner }, "age: Missing key"],
        [null, "Expected object"],
        [[], "Expected object"]
      ]
      for (const [u, issue] of cases) assert.strictEqual(invalidity(codec.validate(u)), issue)
    })

    it("checks the struct as a whole", () => {
      const schema = Schema.Struct({ low: Schema.Number, high: Schema.Number }).check(
        Schema.makeFilter(({ high, low }) => low <= high, { expected: "low up to high" })
      )
      const codec = BatchCodec.make(schema)
      const loose = BatchCodec.make(Schema.Struct({ low: Schema.Number, high: Schema.Number }))

      assert.strictEqual(invalidity(codec.validate({ low: 2, high: 1 })), "Expected low up to high")
      assert.strictEqual(
        refusal(codec, bare(loose, [{ low: 1, high: 2 }, { low: 2, high: 1 }])),
        ": element 1: Expected low up to high"
      )
    })

    it("wants class instances where the schema is a class", () => {
      const codec = BatchCodec.make(Point)

      assert.strictEqual(invalidity(codec.validate({ x: 1, y: 2 })), "Expected Point")
    })

    it("law 10: leaves out what the schema does not know, at any depth, as a wire does", () => {
      const hidden = Symbol("hidden")
      const inner = { tags: ["a"], extra: 1 }
      const image = new Float32Array(2)
      const cases: ReadonlyArray<readonly [Schema.Codec<unknown, unknown>, unknown, unknown]> = [
        [Schema.Struct({ id: Schema.Int }), { id: 1, extra: 2, [hidden]: 3 }, { id: 1 }],
        [
          Schema.Struct({
            id: Schema.Int,
            image: Tensor.float32([2]),
            at: Schema.optionalKey(Schema.Int),
            inner: Schema.Struct({ tags: Schema.Array(Schema.String) })
          }),
          { id: 1, image, inner },
          { id: 1, image, inner: { tags: ["a"] } }
        ],
        [
          Schema.Array(Schema.Struct({ tags: Schema.Array(Schema.String) })),
          [inner, { tags: [] }],
          [{ tags: ["a"] }, { tags: [] }]
        ],
        [
          Schema.Struct({ inner: Schema.Option(Schema.Struct({ tags: Schema.Array(Schema.String) })) }),
          { inner: Option.some(inner) },
          { inner: Option.some({ tags: ["a"] }) }
        ],
        [
          Schema.Union([Schema.Struct({ a: Schema.Int }), Schema.Struct({ b: Schema.Boolean })]),
          { b: true, extra: 1 },
          { b: true }
        ],
        [Schema.Struct({}), { extra: 1 }, {}]
      ]
      for (const [schema, given, declared] of cases) {
        const codec = BatchCodec.make(schema)
        const element = Result.getOrThrow(codec.validate(given))
        assert.deepStrictEqual(element, declared)
        assert.deepStrictEqual(roundTrip(codec, [element]), [declared])
      }
      assert.deepStrictEqual(inner, { tags: ["a"], extra: 1 }, "what was given is not changed")
      const rows = BatchCodec.make(Schema.Struct({ inner: Schema.Struct({ tags: Schema.Array(Schema.String) }) }))
      assert.deepStrictEqual(rows.unstack({ inner: [inner] }), Result.succeed([{ inner: { tags: ["a"] } }]))
    })

    it("keeps an element as it is that has nothing the schema does not know", () => {
      const a = Schema.Struct({ a: Schema.Int })
      const b = Schema.Struct({ a: Schema.Int, b: Schema.Boolean })
      const point = new Point({ x: 1, y: 2 })
      const cases: ReadonlyArray<readonly [Schema.Codec<unknown, unknown>, unknown]> = [
        [b, { a: 1, b: true }],
        [Schema.Struct({ id: Schema.Int, inner: Schema.Array(a) }), { id: 1, inner: [{ a: 1 }, { a: 2 }] }],
        [Schema.Struct({ any: Schema.Unknown, all: Schema.Record(Schema.String, Schema.Int) }), {
          any: {},
          all: { x: 1 }
        }],
        // The first member takes what is all of the second.
        [Schema.Union([a, b]), { a: 1, b: true }],
        [Point, point],
        [Schema.Struct({ point: Point }), { point }]
      ]
      for (const [schema, given] of cases) {
        assert.strictEqual(Result.getOrThrow(BatchCodec.make(schema).validate(given)), given)
      }
    })

    it("asks the checks about what is left", () => {
      const schema = Schema.Struct({ a: Schema.Int }).check(
        Schema.makeFilter((u) => "b" in u, { expected: "a field b" })
      )
      assert.strictEqual(invalidity(BatchCodec.make(schema).validate({ a: 1, b: 2 })), "Expected a field b")
    })

    it("law 10: leaves out of what a wire brings what the schema does not know", () => {
      const other = Schema.Struct({ b: Schema.Boolean })
      // Both are JSON, in which a peer that does not keep to the fingerprint may write more than is declared.
      const wide = BatchCodec.make(Schema.Union([other, Schema.Struct({ a: Schema.String, extra: Schema.Int })]))
      const narrow = BatchCodec.make(Schema.Union([other, Schema.Struct({ a: Schema.String })]))
      const { elements } = Result.getOrThrow(narrow.decode(bare(wide, [{ a: "a", extra: 1 }])))
      assert.deepStrictEqual(elements, [{ a: "a" }])
    })

    it("finds lone surrogates wherever the rest holds strings", () => {
      const codec = BatchCodec.make(Schema.Struct({ r: Schema.Record(Schema.String, Schema.Array(Schema.String)) }))

      assert.strictEqual(invalidity(codec.validate({ r: { a: ["😀"] } })), "accepted")
      for (const r of [{ a: ["\udc00"] }, { "\ud83d": [] }]) {
        assert.strictEqual(invalidity(codec.validate({ r })), "r: expected well-formed strings, got a lone surrogate")
      }
    })

    it("its message names the feed", () => {
      assert.strictEqual(
        new BatchCodec.ElementInvalid({ feed: "digits", issue: "x: Expected number" }).message,
        "element of feed \"digits\" is invalid: x: Expected number; give the feed elements that satisfy its schema"
      )
    })
  })

  describe("decoding what cannot be trusted", () => {
    for (const [name, schema] of Object.entries(schemas)) {
      const codec = BatchCodec.make(schema)
      const is = Schema.is(Schema.toType(schema))

      it(`refuses every truncation and any extension (${name})`, () => {
        const bytes = bare(codec, samples(schema, 4, 3))
        for (let length = 0; length < bytes.byteLength; length++) {
          assert.isTrue(Result.isFailure(codec.decode(bytes.slice(0, length))))
        }
        for (const extra of [1, 7, 8, 64]) {
          assert.isTrue(Result.isFailure(codec.decode(join([bytes, new Uint8Array(extra)]))))
          // Not even when the header counts them.
          const longer = join([bytes, new Uint8Array(extra)])
          assert.isTrue(Result.isFailure(codec.decode(patch(longer, 12, longer.byteLength))))
        }
      })

      it.effect(`survives random damage (${name})`, () =>
        Effect.gen(function*() {
          const bytes = bare(codec, samples(schema, 4, 5))
          for (let run = 0; run < 150; run++) {
            const damaged = bytes.slice()
            const flips = yield* Random.nextIntBetween(1, 4)
            for (let flip = 0; flip < flips; flip++) {
              const at = yield* Random.nextIntBetween(0, damaged.byteLength)
              damaged[at] = yield* Random.nextIntBetween(0, 256)
            }
            const chunk = codec.decode(damaged, { maxElements: 1000 })
            if (Result.isFailure(chunk)) continue
            const { elements } = chunk.success

            assert.strictEqual(elements.length, chunk.success.length)
            for (const element of elements) assert.isTrue(is(element))
            assert.deepStrictEqual(roundTrip(codec, elements), elements)
          }
        }).pipe(Random.withSeed(name)))

      it(`a count of 2^32 - 1 is refused (${name})`, () => {
        const bytes = bare(codec, samples(schema, 4, 7))

        assert.strictEqual(
          refusal(codec, patch(bytes, 8, 2 ** 32 - 1)),
          "header: 4294967295 elements are more than the 1048576 allowed"
        )
        // Where elements take bytes, those are missing; where they take none, nothing was allocated yet.
        if (!["empty struct", "only zero axes", "one literal"].includes(name)) {
          assert.isTrue(Result.isFailure(codec.decode(patch(bytes, 8, 2 ** 32 - 1), { maxElements: Infinity })))
        }
      })
    }

    const codec = BatchCodec.make(Schema.Struct({ b: Schema.Boolean, s: Schema.String }))
    // header 0-24, b at 24 (2 bytes), s at 32: offsets 0, 1, 3 and the text at 44
    const bytes = bare(codec, [{ b: true, s: "a" }, { b: false, s: "é" }])

    it("says what is wrong, and where", () => {
      assert.strictEqual(refusal(codec, bytes), "accepted")
      const at = (offset: number, byte: number): Uint8Array => {
        const out = bytes.slice()
        out[offset] = byte
        return out
      }
      const cases: ReadonlyArray<readonly [Uint8Array, string]> = [
        [new Uint8Array(0), "header: 0 bytes are too few"],
        [at(0, 0), "header: it does not start with EFB1"],
        [patch(bytes, 4, 3), "header: expected 2 columns, got 3"],
        [patch(bytes, 8, 3), "b: expected 3 × bool in 3 bytes, got 2 bytes"],
        [patch(bytes, 12, 40), "header: it declares 40 bytes, got 48"],
        [patch(bytes, 16, 2 ** 32 - 1), "b: 4294967295 bytes do not fit into the payload"],
        [patch(bytes, 20, 8), "header: 8 bytes follow the last column"],
        [at(24, 2), "b: a boolean is neither 0 nor 1"],
        [at(30, 1), "b: its padding is missing or not zero"],
        [patch(bytes, 32, 1), "s: offsets do not span the 3 bytes of text"],
        [patch(bytes, 36, 9), "s: offset 2 is smaller than the one before"],
        [patch(bytes, 36, 2), "s: offset 1 is inside a character"],
        [patch(bytes, 40, 2), "s: offsets do not span the 3 bytes of text"],
        [at(45, 0xFF), "s: text is not UTF-8"],
        [at(47, 1), "s: its padding is missing or not zero"]
      ]
      for (const [damaged, issue] of cases) assert.strictEqual(refusal(codec, damaged), issue)
      assert.strictEqual(
        new BatchCodec.MalformedBatch({ field: "s", issue: "text is not UTF-8" }).message,
        "received batch is malformed at s: text is not UTF-8; " +
          "check that both sides declare the same feed and that nothing alters bytes on the way"
      )
    })

    it("keeps to the limits", () => {
      assert.strictEqual(
        refusal(codec, bytes, { maxElements: 1 }),
        "header: 2 elements are more than the 1 allowed"
      )
      assert.strictEqual(
        refusal(codec, bytes, { maxStringBytes: 1 }),
        "s: a string takes 2 bytes, more than the 1 allowed"
      )
    })

    it("runs the checks of the schema", () => {
      const loose = BatchCodec.make(Schema.Struct({ age: Schema.Number, name: Schema.String, x: Tensor.float32([2]) }))
      const strict = BatchCodec.make(Schema.Struct({
        age: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 150 })),
        name: Schema.NonEmptyString.pipe(Schema.brand("Name")),
        x: Tensor.float32([2]).check(Schema.makeFilter((x) => x[0]! >= 0, { expected: "a point to the right" }))
      }))
      const good = { age: 1, name: "a", x: new Float32Array(2) }

      assert.strictEqual(strict.fingerprint, loose.fingerprint)
      assert.strictEqual(refusal(strict, bare(loose, [good])), "accepted")
      assert.strictEqual(
        refusal(strict, bare(loose, [good, { ...good, age: 0.5 }])),
        "age: element 1: Expected an integer"
      )
      assert.strictEqual(
        refusal(strict, bare(loose, [{ ...good, age: 151 }])),
        "age: element 0: Expected a value between 0 and 150"
      )
      assert.strictEqual(
        refusal(strict, bare(loose, [{ ...good, name: "" }])),
        "name: element 0: Expected a value with a length of at least 1"
      )
      assert.strictEqual(
        refusal(strict, bare(loose, [{ ...good, x: new Float32Array([-1, 0]) }])),
        "x: element 0: Expected a point to the right"
      )
    })

    it("a check that throws accepts nothing", () => {
      const schema = Schema.Number.check(Schema.makeFilter(() => {
        throw new Error("boom")
      }))

      assert.strictEqual(
        refusal(BatchCodec.make(schema), bare(BatchCodec.make(Schema.Number), [1])),
        "a check: Error: boom"
      )
    })

    it("the rest must have as many rows as the header says", () => {
      const rest = BatchCodec.make(Schema.Struct({ o: Schema.optional(Schema.Date) }))

      assert.strictEqual(refusal(rest, patch(bare(rest, [{}, {}]), 8, 3)), "o: expected 3 rows, got 2")
    })
  })

  describe("segments", () => {
    const tiles = (count: number) =>
      samples(Tensor.float64([3]), count, 1).map((z, i) => ({ a: true, image: new Uint8Array(64 * 65).fill(i), z }))
    const Tiles = BatchCodec.make(
      Schema.Struct({ a: Schema.Boolean, image: Tensor.uint8([64, 65]), z: Tensor.float64([3]) })
    )

    it("large tensors are written from where they are, and every column is aligned", () => {
      const elements = tiles(7)
      const chunk = Tiles.fromElements(elements)
      const segments = Tiles.encode(chunk)

      assert.strictEqual(segments.length, 9)
      assert.strictEqual(segments[0]!.byteLength % 8, 0)
      elements.forEach(({ image }, i) => assert.strictEqual(segments[1 + i]!.buffer, image.buffer))
      assert.strictEqual(chunk.byteLength, join(segments).byteLength)
      assert.deepStrictEqual(Result.getOrThrow(Tiles.decode(join(segments))).elements, elements)
    })

    it("a large column that is in one array is one segment, and not copied", () => {
      const received = Result.getOrThrow(Tiles.decode(bare(Tiles, tiles(9))))
      const stacked = Result.getOrThrow(Tiles.fromBatch(Tiles.stackChunk(received)))
      for (const chunk of [Tiles.slice(received, 1, 8), Tiles.slice(stacked, 1, 8)]) {
        const segments = Tiles.encode(chunk)
        const image = chunk.columns[1]

        assert.strictEqual(segments.length, 3)
        assert.isTrue(image?._tag === "Fixed" && segments[1]!.buffer === image.data.buffer)
        assert.deepStrictEqual(Result.getOrThrow(Tiles.decode(join(segments))).elements, tiles(9).slice(1, 8))
      }
    })

    it("aligned columns are decoded as views", () => {
      const codec = BatchCodec.make(Schema.Struct({ x: Tensor.float32([2]) }))
      const bytes = bare(codec, [{ x: new Float32Array([1, 2]) }])
      const chunk = Result.getOrThrow(codec.decode(bytes))

      assert.strictEqual(codec.stackChunk(chunk).x.buffer, bytes.buffer)
      assert.strictEqual(chunk.elements[0]!.x.buffer, bytes.buffer)
    })

    it("a small batch is one segment", () => {
      const codec = BatchCodec.make(Mixed)

      assert.strictEqual(codec.encode(codec.fromElements(samples(Mixed, 8, 2))).length, 1)
    })

    it.prop("its estimated size is near the real one", { elements: Schema.Array(Mixed) }, ({ elements }) => {
      const codec = BatchCodec.make(Mixed)
      const chunk = codec.fromElements(elements)
      const estimate = chunk.byteLength
      const real = join(codec.encode(chunk)).byteLength

      assert.isTrue(estimate > real / 4 && estimate < 4 * real, `${estimate} is not near ${real}`)
      assert.strictEqual(chunk.byteLength, estimate)
    })

    for (const [name, schema] of Object.entries(schemas)) {
      it(`its estimated size is not below the real one: ${name}`, () => {
        const codec = BatchCodec.make(schema)
        for (let seed = 1; seed <= 20; seed++) {
          const elements = samples(schema, seed, seed)
          const { byteLength } = codec.fromElements(elements)
          assert.isAtLeast(byteLength, join(codec.encode(codec.fromElements(elements))).byteLength)
        }
      })
    }

    const times = <A>(n: number, f: (i: number) => A): ReadonlyArray<A> => Array.from({ length: n }, (_, i) => f(i))
    const deepest = times(50, String).reduce<Tree>(
      (child) => ({ value: "語".repeat(100), children: [child] }),
      { value: "", children: [] }
    )
    const cases: { readonly [name: string]: readonly [schema: Schema.Codec<unknown, unknown>, element: unknown] } = {
      "long text of three bytes a character": [WellFormed, "語".repeat(10_000)],
      "the same in the rest": [Schema.Struct({ a: Schema.optionalKey(WellFormed) }), { a: "語".repeat(10_000) }],
      "long keys": [
        Schema.Record(WellFormed, Schema.Int),
        Object.fromEntries(times(100, (i) => ["k".repeat(1000) + i, i]))
      ],
      "deep nesting": [Tree, deepest],
      "numbers that are text": [Schema.Struct({ a: Schema.Array(Schema.NumberFromString) }), {
        a: times(1000, (i) => i / 3)
      }],
      "bytes that are hexadecimal": [Schema.Struct({ a: Schema.optionalKey(Schema.Uint8ArrayFromHex) }), {
        a: new Uint8Array(10_000)
      }],
      "JSON that needs escapes": [Schema.Json, times(100, (i) => ({ ["\u0001".repeat(100)]: [i / 3, "\"\\"] }))],
      "large integers": [Schema.Array(Schema.BigInt), [2n ** 40_000n, -(3n ** 30_000n), 0n]],
      dates: [Schema.Array(Schema.Date), times(1000, (i) => new Date(i * 1e9))],
      maps: [
        Schema.ReadonlyMap(WellFormed, WellFormed),
        new Map(times(100, (i) => [`${i}`, "é".repeat(100)] as const))
      ],
      "empty things": [Schema.Array(Schema.Array(Schema.NullOr(WellFormed))), times(1000, () => [null, ""])],
      "bytes of a rest": [Schema.Array(Schema.Uint8Array), times(100, (i) => new Uint8Array(i))]
    }
    for (const [name, [schema, element]] of Object.entries(cases)) {
      it(`its estimated size is not below the real one, nor far above: ${name}`, () => {
        const codec = BatchCodec.make(schema)
        assert.isTrue(Result.isSuccess(codec.validate(element)))
        for (const elements of [[element], [element, element, element]]) {
          const { byteLength } = codec.fromElements(elements)
          const real = join(codec.encode(codec.fromElements(elements))).byteLength
          assert.isTrue(byteLength >= real && byteLength < 5 * real, `${byteLength} for ${real}`)
        }
      })
    }

    it("what cannot be written weighs something", () => {
      const text = Schema.Struct({ a: Schema.optionalKey(Schema.Uint8ArrayFromHex) })
      // Of a feed that validates only at the edges.
      const broken: typeof text.Type = JSON.parse("{\"a\":1}")

      assert.isAtLeast(BatchCodec.make(text).fromElements([broken, broken]).byteLength, 128)
    })

    it("chunks of another codec are converted", () => {
      const wide = BatchCodec.make(Schema.Struct({ a: Schema.Int, b: Schema.String }))
      const narrow = BatchCodec.make(Schema.Struct({ a: Schema.Int }))
      const chunk = Result.getOrThrow(wide.decode(bare(wide, [{ a: 1, b: "x" }])))

      assert.deepStrictEqual(
        Result.getOrThrow(narrow.decode(join(narrow.encode(chunk)))).elements,
        [{ a: 1 }]
      )
    })
  })

  describe("fingerprint", () => {
    const print = (schema: BatchCodec.ElementSchema): string => BatchCodec.make(schema).fingerprint

    it("is derived once for each schema", () => {
      assert.strictEqual(BatchCodec.make(Mixed), BatchCodec.make(Mixed))
    })

    it("is the layout, readable and stable", () => {
      assert.strictEqual(
        print(Schema.Struct({ ...Mixed.fields, codes: Schema.Record(Schema.String, Schema.Int) })),
        JSON.stringify({
          codec: 1,
          element: "struct",
          columns: [
            { name: "at", kind: "option", none: "absent", of: { kind: "number" } },
            { name: "big", kind: "tensor", dtype: "bigint64", shape: [] },
            { name: "flag", kind: "boolean" },
            { name: "id", kind: "number" },
            { name: "image", kind: "tensor", dtype: "float32", shape: [2, 2] },
            { name: "label", kind: "string" },
            { name: "tags", kind: "list", of: { kind: "string" } },
            { name: "words", kind: "tensor", dtype: "string", shape: [2] },
            {
              kind: "binary",
              of: { struct: [{ name: "codes", of: { struct: [], records: [["string", "integer"]] } }], records: [] }
            }
          ]
        })
      )
    })

    it("names JSON where SchemaBinary cannot tell the members of a union apart", () => {
      assert.strictEqual(
        print(Schema.Union([Schema.Struct({ b: Schema.Boolean }), Schema.Struct({ a: Schema.String })])),
        `{"codec":1,"element":"whole","columns":[{"kind":"json","of":{"union":[` +
          `{"struct":[{"name":"a","of":"string"}],"records":[]},{"struct":[{"name":"b","of":"boolean"}],"records":[]}]}}]}`
      )
    })

    it("does not depend on the order of fields, on checks or on annotations", () => {
      const base = print(Schema.Struct({ a: Schema.Number, b: Schema.optional(Schema.Int), c: Schema.String }))

      assert.strictEqual(
        print(
          Schema.Struct({
            c: Schema.NonEmptyString.annotate({ title: "c" }),
            b: Schema.optional(Schema.Int),
            a: Schema.Int.check(Schema.isGreaterThan(3))
          }).check(Schema.makeFilter(() => true)).annotate({ identifier: "Other" })
        ),
        base
      )
    })

    it("differs with every difference of layout", () => {
      const all: ReadonlyArray<BatchCodec.ElementSchema> = [
        ...Object.entries(schemas).filter(([name]) => !["finite", "branded"].includes(name)).map(([, schema]) =>
          schema
        ),
        Schema.Struct({ a: Tensor.float32([2, 3]) }),
        Schema.Struct({ a: Tensor.float32([3, 2]) }),
        Schema.Struct({ a: Tensor.float32([6]) }),
        Schema.Struct({ a: Tensor.int32([6]) }),
        Schema.Struct({ b: Tensor.int32([6]) }),
        Schema.Struct({ a: Tensor.int32([6]), b: Schema.Number }),
        Schema.Struct({ a: Tensor.int32([6]), b: Schema.String }),
        Schema.Struct({ a: Tensor.int32([6]), b: Schema.optional(Schema.String) }),
        Schema.Struct({ a: Tensor.int32([6]), b: Schema.optionalKey(Schema.String) }),
        Schema.Struct({ a: Tensor.int32([6]), b: Schema.NullOr(Schema.String) }),
        Schema.Struct({ a: Schema.Array(Tensor.int32([6])) }),
        Schema.Struct({ a: Schema.Array(Tensor.int32([5])) }),
        Schema.Struct({ a: Schema.Array(Tensor.int16([6])) }),
        Schema.Struct({ a: Schema.Struct({ b: Schema.Literal("x") }) }),
        Schema.Struct({ a: Schema.Struct({ b: Schema.Literal("y") }) }),
        Schema.Struct({ a: Schema.Literal(1) }),
        Schema.Struct({ a: Schema.Literal("1") }),
        Schema.Struct({ a: Schema.Literal(1n) }),
        Schema.Struct({ a: Schema.Date }),
        Schema.Struct({ a: Schema.DateTimeUtc }),
        Schema.Struct({ a: Schema.Option(Schema.Int) }),
        Schema.Struct({ a: Schema.Option(Schema.Number) }),
        Schema.Struct({ "": Schema.Number })
      ]
      const prints = all.map(print)

      assert.deepStrictEqual(prints.filter((text, i) => prints.indexOf(text) !== i), [])
    })

    it("the bytes are what the header of the module says", () => {
      const codec = BatchCodec.make(Schema.Struct({
        label: Schema.String,
        id: Schema.Int,
        image: Tensor.float32([2]),
        ok: Schema.Boolean,
        class: Tensor.int16([])
      }))
      const elements = [
        { id: 1, label: "a", image: new Float32Array([1, -2]), ok: true, class: 258 },
        { id: -1, label: "é", image: new Float32Array([0.5, NaN]), ok: false, class: -1 }
      ]
      const golden = [
        "45464231 05000000 02000000 68000000", // EFB1, 5 columns, 2 elements, 104 bytes
        "04000000 10000000 10000000 0f000000 02000000 00000000", // their lengths, padding
        "0201ffff 00000000", // class
        "000000000000f03f 000000000000f0bf", // id
        "0000803f 000000c0 0000003f 0000c07f", // image
        "00000000 01000000 03000000 61c3a9 00", // label
        "0100 000000000000" // ok
      ].join("").replaceAll(" ", "")

      assert.strictEqual(hex(bare(codec, elements)), golden)
      const received = Uint8Array.from(golden.match(/../g)!, (byte) => Number.parseInt(byte, 16))
      assert.deepStrictEqual(Result.getOrThrow(codec.decode(received)).elements, elements)
      assert.strictEqual(
        codec.fingerprint,
        `{"codec":1,"element":"struct","columns":[{"name":"class","kind":"tensor","dtype":"int16","shape":[]},` +
          `{"name":"id","kind":"number"},{"name":"image","kind":"tensor","dtype":"float32","shape":[2]},` +
          `{"name":"label","kind":"string"},{"name":"ok","kind":"boolean"}]}`
      )
    })
  })

  describe("schemas without a layout", () => {
    const issueOf = (schema: BatchCodec.ElementSchema): string =>
      Result.match(Result.try(() => BatchCodec.make(schema)), {
        onFailure: (error) => error instanceof BatchCodec.LayoutUnsupported ? error.message : String(error),
        onSuccess: () => "accepted"
      })

    it("are refused at once", () => {
      assert.strictEqual(
        issueOf(Schema.Struct({ [Symbol.for("a")]: Schema.Int })),
        "element schema has no layout: field Symbol(a) cannot be sent; rename it"
      )
      assert.strictEqual(
        issueOf(Schema.Struct({ ["__proto__"]: Schema.Int })),
        "element schema has no layout: field __proto__ cannot be sent; rename it"
      )
    })

    it("need no services", () => {
      const needy = (schema: Schema.Codec<string, string, "a service">) =>
        // @ts-expect-error a schema whose decoding needs a service
        BatchCodec.make(schema)

      assert.isFunction(needy)
    })
  })
})
