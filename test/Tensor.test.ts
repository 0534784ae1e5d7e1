import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schema } from "effect"
import * as Tensor from "effect-feeder/Tensor"
import { SchemaBinary } from "effect/encoding"

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

const shapes = [[], [1], [2, 3], [0, 4]] as const

const issueOf = (schema: Schema.Codec<unknown>, u: unknown): string =>
  Result.match(Schema.decodeUnknownResult(schema)(u), {
    onFailure: (error) => error.message,
    onSuccess: () => "accepted"
  })

const shapeIssue = (shape: ReadonlyArray<number>): unknown =>
  Result.match(Result.try({ try: () => Tensor.float32(shape), catch: (error) => error }), {
    onFailure: (error) => error,
    onSuccess: () => undefined
  })

describe("Tensor", () => {
  it("tells its types", () => {
    const image: Float32Array = Tensor.float32([28, 28]).make(new Float32Array(784))
    const label: number = Tensor.int32([]).make(7)
    const id: bigint = Tensor.biguint64([]).make(7n)
    const flag: boolean = Tensor.bool([]).make(true)
    const mask: Uint8Array = Tensor.bool([2]).make(new Uint8Array([0, 1]))
    const words: ReadonlyArray<string> = Tensor.string([1]).make(["a"])
    const dynamic: typeof Tensor.float32<ReadonlyArray<number>> = Tensor.float32
    const either: number | Float32Array = dynamic([]).make(1)
    const stacked = (batch: ReturnType<typeof Tensor.int32<readonly []>>["Stacked"]): Int32Array => batch

    assert.deepStrictEqual([image.length, label, id, flag, mask.length, words, either], [784, 7, 7n, true, 2, ["a"], 1])
    assert.strictEqual(stacked(new Int32Array(1)).length, 1)
  })

  it("says what it expected and what it got", () => {
    const cases: ReadonlyArray<readonly [Schema.Codec<unknown>, unknown, string]> = [
      [
        Tensor.float32([28, 28]),
        new Float64Array(784),
        "expected float32[28,28] (a Float32Array of 784), got Float64Array of 784"
      ],
      [Tensor.float32([3]), new Float32Array(2), "expected float32[3] (a Float32Array of 3), got Float32Array of 2"],
      [Tensor.float32([2]), [1, 2], "expected float32[2] (a Float32Array of 2), got Array of 2"],
      [Tensor.int8([2]), null, "expected int8[2] (an Int8Array of 2), got null"],
      [Tensor.int8([]), 128, "expected int8[] (an integer from -128 to 127), got an integer out of range"],
      [Tensor.uint32([]), 0.5, "expected uint32[] (an integer from 0 to 4294967295), got a fraction"],
      [Tensor.int32([]), NaN, "expected int32[] (an integer from -2147483648 to 2147483647), got NaN"],
      [
        Tensor.biguint64([]),
        -1n,
        "expected biguint64[] (a bigint from 0 to 18446744073709551615), got a bigint out of range"
      ],
      [Tensor.float64([]), "1", "expected float64[] (a number), got a string"],
      [Tensor.bool([]), 1, "expected bool[] (a boolean), got an integer"],
      [
        Tensor.bool([2]),
        new Uint8Array([1, 2]),
        "expected bool[2] (a Uint8Array of 2, each 0 or 1), got Uint8Array of 2 holding something else"
      ],
      [
        Tensor.string([1]),
        ["\ud800"],
        "expected string[1] (an Array of 1 well-formed strings), got Array of 1 holding something else"
      ],
      [
        Tensor.string([]),
        "\ud800",
        "expected string[] (a well-formed string), got a string with a lone surrogate"
      ]
    ]
    for (const [schema, u, message] of cases) assert.strictEqual(issueOf(schema, u), message)
  })

  it("names the path when it is a field", () => {
    const schema = Schema.Struct({ a: Schema.Array(Tensor.int8([])) })

    assert.strictEqual(
      issueOf(schema, { a: [1, 300] }),
      "expected int8[] (an integer from -128 to 127), got an integer out of range\n  at [\"a\"][1]"
    )
  })

  it("refuses shapes that are none", () => {
    const error = shapeIssue([28, -1])

    assert.instanceOf(error, Tensor.ShapeInvalid)
    assert.strictEqual(
      error.message,
      "[28,-1] is not the shape of a tensor (dtype float32): -1 is not a non-negative integer; " +
        "give one non-negative integer per axis, or [] for a scalar"
    )
    for (const shape of [[1.5], [NaN], [Infinity], [2 ** 30, 2 ** 30]]) {
      assert.instanceOf(shapeIssue(shape), Tensor.ShapeInvalid)
    }
    assert.strictEqual(shapeIssue([2 ** 40, 0, 2 ** 40]), undefined)
  })

  it("keeps dtype and shape through annotations and checks", () => {
    const schema = Tensor.float32([2])
      .annotate({ title: "point" })
      .check(Schema.makeFilter((point) => point[0] === 0))
      .annotate({ description: "on the axis" })

    assert.deepStrictEqual(Tensor.fromAST(schema.ast), { dtype: "float32", shape: [2] })
    assert.deepStrictEqual([schema.dtype, schema.shape], ["float32", [2]])
    assert.isTrue(Tensor.isTensor(schema))
    assert.isTrue(Schema.is(schema)(new Float32Array([0, 1])))
    assert.isFalse(Schema.is(schema)(new Float32Array([1, 1])))
  })

  it("is no tensor schema behind a modifier", () => {
    assert.isFalse(Tensor.isTensor(Schema.optional(Tensor.int8([]))))
    assert.isFalse(Tensor.isTensor(Schema.optionalKey(Tensor.int8([]))))
    assert.isFalse(Tensor.isTensor(Schema.toCodecJson(Tensor.int8([2]))))
    assert.isFalse(Tensor.isTensor(Schema.Number))
  })

  for (const dtype of dtypes) {
    for (const shape of shapes) {
      const schema = Schema.Struct({ tensor: Tensor.make(dtype, shape), list: Schema.Array(Tensor.make(dtype, shape)) })
      const json = Schema.fromJsonString(Schema.toCodecJson(schema))
      const binary = SchemaBinary.toCodec(schema)

      it.effect.prop(
        `travels nested in other schemas: ${dtype}[${shape.join(",")}]`,
        { value: schema },
        ({ value }) =>
          Effect.gen(function*() {
            const text = yield* Schema.encodeEffect(json)(value)
            const fromBinary = yield* Schema.decodeEffect(binary)(yield* Schema.encodeEffect(binary)(value))

            // The value itself may differ: JSON writes -0 as 0.
            assert.strictEqual(yield* Schema.encodeEffect(json)(yield* Schema.decodeEffect(json)(text)), text)
            assert.deepStrictEqual(fromBinary, value)
          }),
        { arbitrary: { runs: 30 } }
      )
    }
  }

  it("refuses bytes of another size when nested", () => {
    const json = Schema.toCodecJson(Tensor.float32([2]))

    assert.strictEqual(issueOf(json, "AAAA"), "Expected a multiple of 4 bytes")
    assert.strictEqual(
      issueOf(json, "AAAAAA=="),
      "expected float32[2] (a Float32Array of 2), got Float32Array of 1"
    )
  })

  it("rounds a nested float32 scalar", () => {
    assert.strictEqual(Schema.encodeSync(Schema.toCodecJson(Tensor.float32([])))(0.1), Math.fround(0.1))
  })
})
