import { assert, describe, it } from "@effect/vitest"
import * as Door from "../../src/internal/door.ts"

/** A door, who has been sent away, and a way to come. */
const open = (limits: Partial<Door.DoorLimits> = {}) => {
  const door = Door.make({ connections: 100, strangers: 10, perSecond: 1000, ...limits })
  const evicted: Array<string> = []
  const come = (name: string, address: string, now = 0) => {
    const visitor: Door.Visitor = { address, evict: () => evicted.push(name) }
    const issue = door.enter(visitor, now)
    return { visitor, issue }
  }
  return { door, evicted, come }
}

describe("connections", () => {
  it("are so many, and another may come when one has left", () => {
    const { come, door } = open({ connections: 2 })
    const a = come("a", "10.0.0.1")
    come("b", "10.0.0.2")
    assert.strictEqual(come("c", "10.0.0.3").issue, "it has 2 connections, which is its limit")
    door.leave(a.visitor)
    assert.isUndefined(come("d", "10.0.0.4").issue)
  })

  it("come so fast from one address, which does not matter to another", () => {
    const { come } = open({ perSecond: 2, connections: 1000, strangers: 1000 })
    const from = (address: string, now: number, count: number) =>
      Array.from({ length: count }, () => come("", address, now).issue).filter((issue) => issue === undefined).length
    assert.strictEqual(from("10.0.0.1", 0, 20), 8)
    assert.match(come("", "10.0.0.1", 0).issue ?? "", /^more than 2 connections in a second came from this address$/)
    assert.strictEqual(from("10.0.0.2", 0, 3), 3)
    assert.strictEqual(from("10.0.0.1", 1000, 20), 2)
    assert.strictEqual(from("10.0.0.1", 60_000, 20), 8)
  })

  it("from too many addresses to be told apart share what is left", () => {
    const { come } = open({ perSecond: 1, connections: 100_000, strangers: 100_000 })
    const come1 = (i: number) => come("", `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 0).issue
    for (let i = 0; i < 4096; i++) assert.isUndefined(come1(i))
    const more = Array.from({ length: 50 }, (_, i) => come1(5000 + i))
    assert.strictEqual(more.filter((issue) => issue === undefined).length, 4)
    assert.isUndefined(come("", "10.200.0.1", 10_000).issue)
  })
})

describe("strangers", () => {
  it("are so many: then the one there longest, of the address that has most, is sent away", () => {
    const { come, door, evicted } = open({ strangers: 4 })
    const honest = come("honest", "10.0.0.1")
    for (const name of ["x1", "x2", "x3"]) come(name, "10.6.6.6")
    assert.isUndefined(come("x4", "10.6.6.6").issue)
    assert.deepStrictEqual(evicted, ["x1"])
    come("also honest", "10.0.0.2")
    assert.deepStrictEqual(evicted, ["x1", "x2"])
    door.admit(honest.visitor)
    come("x5", "10.6.6.6")
    assert.deepStrictEqual(evicted, ["x1", "x2"])
  })

  it("do not take the place of those who were admitted", () => {
    const { come, door, evicted } = open({ connections: 5, strangers: 2 })
    for (const name of ["a", "b", "c"]) door.admit(come(name, "10.0.0.1").visitor)
    for (let i = 0; i < 20; i++) come(`x${i}`, "10.6.6.6")
    assert.strictEqual(evicted.length, 18)
    assert.isTrue(evicted.every((name) => name.startsWith("x")))
    assert.isUndefined(come("d", "10.0.0.2").issue)
  })
})

describe("a network", () => {
  for (
    const [address, network] of [
      ["10.0.0.1", "10.0.0.1"],
      ["::ffff:10.0.0.1", "::ffff:10.0.0.1"],
      ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
      ["2001:db8::6", "2001:db8:0:0"],
      ["::1", "0:0:0:0"],
      ["fe80::", "fe80:0:0:0"]
    ] as const
  ) {
    it(address, () => {
      assert.strictEqual(Door.networkOf(address), network)
    })
  }
})
