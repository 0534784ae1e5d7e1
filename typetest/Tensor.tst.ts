import { Schema } from "effect"
import { Tensor } from "effect-feeder"
import { describe, expect, it } from "tstyche"

describe("Tensor", () => {
  it("is a typed array of its dtype", () => {
    expect<typeof Pixels.Type>().type.toBe<Uint8Array>()
    expect<typeof Struct.Type>().type.toBe<{ readonly pixels: Uint8Array; readonly label: number }>()
  })

  it("is a scalar when its shape has no axes", () => {
    expect<Tensor.Element<"bigint64", readonly []>>().type.toBe<bigint>()
    expect<Tensor.Element<"bool", readonly []>>().type.toBe<boolean>()
  })

  it("has no other dtypes", () => {
    expect(Tensor.make).type.not.toBeCallableWith("float16", [2])
  })
})

const Pixels = Tensor.uint8([2, 2])
const Struct = Schema.Struct({ pixels: Pixels, label: Tensor.int32([]) })
