import { assert, describe, it } from "@effect/vitest"
import * as FrameMemory from "../../src/internal/frameMemory.ts"
import { chance } from "../chance.ts"
import { range } from "../network.ts"

const kibi = 1024
const mebi = 1024 * kibi

const counted = () => {
  const made: Array<number> = []
  const memory = FrameMemory.make((length) => {
    made.push(length)
    return new ArrayBuffer(length)
  })
  return { made, memory }
}

describe("the memory of frames", () => {
  it("is used again for a frame of about the same length", () => {
    const { made, memory } = counted()
    for (const length of [100 * kibi, 97 * kibi, 103 * kibi, 100 * kibi]) memory.giveBack(memory.allocate(length))
    assert.strictEqual(made.length, 1)
    // A small one must not keep it, and a larger one does not fit.
    memory.allocate(20 * kibi)
    memory.allocate(200 * kibi)
    assert.strictEqual(made.length, 3)
  })

  it("is detached where it was used before", () => {
    const { memory } = counted()
    const bytes = memory.allocate(100 * kibi).fill(1)
    const view = bytes.subarray(10, 20)
    memory.giveBack(bytes)
    assert.deepStrictEqual([bytes.length, view.length], [0, 0])
    memory.giveBack(bytes)
    assert.notStrictEqual(memory.allocate(100 * kibi), memory.allocate(100 * kibi))
  })

  it("is left alone where it is small, and is as much as was asked for", () => {
    const { made, memory } = counted()
    const bytes = memory.allocate(1000)
    memory.giveBack(bytes)
    assert.deepStrictEqual([bytes.length, made[0]], [1000, 1000])
    assert.strictEqual(memory.allocate(mebi).length, mebi)
  })

  it("keeps at most 16 MiB", () => {
    const { made, memory } = counted()
    const pieces = range(40).map(() => memory.allocate(mebi))
    for (const piece of pieces) memory.giveBack(piece)
    const before = made.length
    for (const _ of pieces) memory.allocate(mebi)
    assert.strictEqual(made.length - before, pieces.length - 15)
    const large = memory.allocate(17 * mebi)
    memory.giveBack(large)
    assert.strictEqual(large.length, 17 * mebi)
  })

  for (const seed of range(8)) {
    it(`no two frames lie in the same memory, seed ${seed}`, () => {
      const { below } = chance(seed)
      const { memory } = counted()
      const used = new Map<number, Uint8Array<ArrayBuffer>>()
      for (let i = 0; i < 400; i++) {
        if (below(2) === 0) used.set(i, memory.allocate(1 + below(300 * kibi)).fill(i % 251))
        else {
          const one = [...used.keys()][below(used.size)]
          if (one === undefined) continue
          const bytes = used.get(one)!
          assert.isTrue(bytes.every((byte) => byte === one % 251))
          used.delete(one)
          memory.giveBack(bytes)
        }
      }
      assert.strictEqual(new Set([...used.values()].map(({ buffer }) => buffer)).size, used.size)
    })
  }
})
