/**
 * The cases of the reference's `device_test` and `device_spec_test`, as behaviours, what this project refuses beyond
 * them, and the laws of names.
 */
import { assert, describe, it } from "@effect/vitest"
import { Equal, Hash, Result, Schema } from "effect"
import * as DeviceSpec from "effect-feeder/DeviceSpec"

const spec = DeviceSpec.fromStringUnsafe

/** The fields in the order of the reference's tests. */
const fieldsOf = (self: DeviceSpec.DeviceSpec) => [self.job, self.replica, self.task, self.deviceType, self.deviceIndex]

const refusal = (name: string): string => Result.getOrThrow(Result.flip(DeviceSpec.fromString(name))).message

const thrown = (f: () => unknown): DeviceSpec.DeviceSpecError => {
  const error = Result.getOrThrow(Result.flip(Result.try(f)))
  if (error instanceof DeviceSpec.DeviceSpecError) return error
  throw new Error("not a DeviceSpecError", { cause: error })
}

const Name = Schema.Literals(["a", "consumer", "ps", "CPU", "cpu", "task", "job", "0", "é", "a-b_c.d", "🙂"])
const Index = Schema.Union([
  Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 12 })),
  Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))
])
const Fields = Schema.Struct({
  job: Schema.optional(Name),
  replica: Schema.optional(Index),
  task: Schema.optional(Index),
  deviceType: Schema.optional(Name),
  deviceIndex: Schema.optional(Index)
})

describe("DeviceSpec", () => {
  describe("make", () => {
    it("a blank spec has no fields and an empty name", () => {
      assert.strictEqual(DeviceSpec.print(DeviceSpec.make()), "")
      assert.strictEqual(DeviceSpec.print(spec("")), "")
      assert.deepStrictEqual(fieldsOf(spec("")), [undefined, undefined, undefined, undefined, undefined])
    })

    it("keeps the fields it is given and prints them in the canonical order", () => {
      const full = DeviceSpec.make({ deviceIndex: 2, deviceType: "CPU", task: 1, replica: 0, job: "j" })
      assert.deepStrictEqual(fieldsOf(full), ["j", 0, 1, "CPU", 2])
      assert.strictEqual(DeviceSpec.print(full), "/job:j/replica:0/task:1/device:CPU:2")
      assert.strictEqual(DeviceSpec.print(DeviceSpec.make({ deviceType: "GPU", deviceIndex: 0 })), "/device:GPU:0")
      assert.strictEqual(`${full}`, DeviceSpec.print(full))
    })

    it("prints what is set, for each way of setting it", () => {
      const print = (fields: DeviceSpec.Fields) => DeviceSpec.print(DeviceSpec.make(fields))
      assert.strictEqual(print({ job: "foo" }), "/job:foo")
      assert.strictEqual(print({ job: "foo", task: 3 }), "/job:foo/task:3")
      assert.strictEqual(print({ job: "foo", task: 3, deviceType: "cpu" }), "/job:foo/task:3/device:CPU:*")
      assert.strictEqual(
        print({ job: "foo", task: 3, deviceType: "cpu", deviceIndex: 0 }),
        "/job:foo/task:3/device:CPU:0"
      )
      assert.strictEqual(
        print({ job: "foo", task: 3, deviceType: "gpu", deviceIndex: 2 }),
        "/job:foo/task:3/device:GPU:2"
      )
      assert.strictEqual(
        print({ job: "foo", replica: 12, task: 3, deviceType: "TPU" }),
        "/job:foo/replica:12/task:3/device:TPU:*"
      )
    })

    it("makes cpu and gpu upper case, and no other type", () => {
      const type = (deviceType: string) => DeviceSpec.make({ deviceType }).deviceType
      assert.deepStrictEqual(["cpu", "gpu", "Cpu", "tpu"].map(type), ["CPU", "GPU", "Cpu", "tpu"])
    })

    it("keeps an index without a type, but does not print it", () => {
      const index = DeviceSpec.make({ job: "j", deviceIndex: 4 })
      assert.strictEqual(index.deviceIndex, 4)
      assert.strictEqual(DeviceSpec.print(index), "/job:j")
    })

    it("refuses numbers and names out of bounds, and says which", () => {
      const message = (fields: DeviceSpec.Fields) => thrown(() => DeviceSpec.make(fields)).message
      const name = `must be well formed and not empty, without white space, "/", ":" or "*", got`
      assert.strictEqual(message({ job: "" }), `DeviceSpec.make: job ${name} ""`)
      assert.strictEqual(message({ job: "a/b" }), `DeviceSpec.make: job ${name} "a/b"`)
      assert.strictEqual(message({ job: "a b" }), `DeviceSpec.make: job ${name} "a b"`)
      assert.strictEqual(message({ deviceType: "GPU:0" }), `DeviceSpec.make: deviceType ${name} "GPU:0"`)
      assert.strictEqual(message({ deviceType: "*" }), `DeviceSpec.make: deviceType ${name} "*"`)
      assert.strictEqual(message({ job: "\uD800" }), `DeviceSpec.make: job ${name} "\\ud800"`)
      const number = "must be a non-negative safe integer, got"
      assert.strictEqual(message({ replica: -1 }), `DeviceSpec.make: replica ${number} -1`)
      assert.strictEqual(message({ task: 0.5 }), `DeviceSpec.make: task ${number} 0.5`)
      assert.strictEqual(message({ deviceIndex: NaN }), `DeviceSpec.make: deviceIndex ${number} NaN`)
      assert.strictEqual(message({ task: Infinity }), `DeviceSpec.make: task ${number} Infinity`)
    })

    it("specs with the same fields are equal, however they were made", () => {
      const made = DeviceSpec.make({ job: "j", deviceType: "cpu", task: undefined })
      assert.isTrue(Equal.equals(made, spec("cpu/job:j")))
      assert.strictEqual(Hash.hash(made), Hash.hash(spec("/job:j/device:CPU:*")))
      assert.isFalse(Equal.equals(made, spec("/job:j/cpu:0")))
    })
  })

  describe("fromString", () => {
    it("reads each attribute, typed", () => {
      assert.deepStrictEqual(fieldsOf(spec("/job:foo/replica:1/task:0/cpu:0")), ["foo", 1, 0, "CPU", 0])
      assert.deepStrictEqual(fieldsOf(spec("/job:muu/device:GPU:2")), ["muu", undefined, undefined, "GPU", 2])
    })

    it("reads cpu and gpu in any case, with an index, a wildcard or nothing", () => {
      const device = (name: string) => [spec(name).deviceType, spec(name).deviceIndex]
      assert.deepStrictEqual(device("/cpu:0"), ["CPU", 0])
      assert.deepStrictEqual(device("/gpu:2"), ["GPU", 2])
      assert.deepStrictEqual(device("/GPU:2"), ["GPU", 2])
      assert.deepStrictEqual(device("/Gpu"), ["GPU", undefined])
      assert.deepStrictEqual(device("cpu:*"), ["CPU", undefined])
      assert.deepStrictEqual(device("gpu:7"), ["GPU", 7])
      assert.deepStrictEqual(device("device:GPU:7"), ["GPU", 7])
      assert.deepStrictEqual(device("device:GPU:*"), ["GPU", undefined])
    })

    it("keeps the type after device: as it is written", () => {
      assert.strictEqual(DeviceSpec.canonicalName("/device:cpu:0"), "/device:cpu:0")
      assert.strictEqual(DeviceSpec.canonicalName("/device:TPU:0"), "/device:TPU:0")
    })

    it("reads attributes in any order, with empty ones and without a leading slash", () => {
      for (const name of ["/job:a/task:1/gpu:0", "gpu:0/task:1/job:a", "//task:1//gpu:0/job:a/"]) {
        assert.strictEqual(DeviceSpec.canonicalName(name), "/job:a/task:1/device:GPU:0")
      }
    })

    it("the last of several jobs, replicas and tasks wins", () => {
      assert.strictEqual(
        DeviceSpec.canonicalName("/job:a/replica:0/task:0/task:07/replica:2/job:b"),
        "/job:b/replica:2/task:7"
      )
    })

    it("reading replaces nothing of what was read before", () => {
      const before = spec("/job:foo/replica:0/cpu:0")
      const after = spec("/job:muu/gpu:2")
      assert.strictEqual(DeviceSpec.print(before), "/job:foo/replica:0/device:CPU:0")
      assert.strictEqual(DeviceSpec.print(after), "/job:muu/device:GPU:2")
    })

    it("refuses a second device type, the same one included", () => {
      assert.strictEqual(
        refusal("/job:muu/device:GPU:2/cpu:0"),
        `DeviceSpec.fromString("/job:muu/device:GPU:2/cpu:0"): cannot specify multiple device types: ` +
          `"cpu:0" follows GPU; name one device`
      )
      assert.isTrue(refusal("/cpu:0/cpu:0").includes(`cannot specify multiple device types: "cpu:0" follows CPU`))
    })

    it("refuses an unknown attribute, names it, and says what to write", () => {
      const known = "write job:NAME, replica:N, task:N, device:TYPE:N, cpu:N or gpu:N"
      assert.strictEqual(refusal("/tpu:0"), `DeviceSpec.fromString("/tpu:0"): unknown attribute "tpu:0"; ${known}`)
      for (const name of ["x", ":", "tpu", "/job:a/ task:1", "constructor:1", "job :a"]) {
        assert.isTrue(refusal(name).endsWith(`; ${known}`), refusal(name))
      }
    })

    it("refuses an attribute that is written wrong, and says how to write it", () => {
      const where = `, where N is digits only and a name has no white space, ":" or "*"`
      const issue = (name: string) => Result.getOrThrow(Result.flip(DeviceSpec.fromString(name))).issue
      const cases: ReadonlyArray<readonly [form: string, attributes: ReadonlyArray<string>]> = [
        ["job:NAME", ["job", "job:", "job:a:b", "job:a b", "job:*", "JOB:a"]],
        ["replica:N", ["replica:-1", "replica:+1", "replica: 1", "replica:1_0", "replica:*", "replica:1:2"]],
        ["task:N", ["Task:1", "task:*", "task:", "task:one", "task:0x1", "task:1.0", "task:1e3"]],
        ["device:TYPE:N or device:TYPE:*", ["device:CPU", "device::0", "device:CPU:", "device:CPU:-1", "device:*:0"]],
        ["cpu, cpu:N or cpu:*", ["cpu:", "cpu:x"]],
        ["gpu, gpu:N or gpu:*", ["gpu:0:1", "gpu:-1", "GPU:x"]]
      ]
      for (const [form, attributes] of cases) {
        for (const attribute of attributes) {
          assert.strictEqual(issue(`/job:a/${attribute}`), `"${attribute}" is not ${form}${where}`)
        }
      }
      assert.strictEqual(
        issue("task:9007199254740993"),
        "task must be a non-negative safe integer, got 9007199254740992"
      )
    })

    it("refuses a job that is not well formed, which would not arrive as it was sent", () => {
      assert.isTrue(refusal("/job:\uDC00").includes("job must be well formed"))
    })

    it("fromStringUnsafe throws what fromString fails with", () => {
      assert.strictEqual(thrown(() => spec("/tpu:0")).message, refusal("/tpu:0"))
    })

    it.prop("names: reading what is printed gives the spec back", { fields: Fields }, ({ fields }) => {
      const { deviceIndex, ...rest } = fields
      // An index without a type is not printed.
      const self = DeviceSpec.make(rest.deviceType === undefined ? rest : { ...rest, deviceIndex })
      assert.deepStrictEqual(DeviceSpec.fromString(DeviceSpec.print(self)), Result.succeed(self))
      assert.isTrue(Equal.equals(spec(DeviceSpec.print(self)), self))
    })

    it.prop("names: what can be read prints a name that means the same", {
      attributes: Schema.Array(
        Schema.TemplateLiteral([
          Schema.Literals(["job:", "replica:", "task:", "device:", "device:cpu:", "cpu:", "GPU", "gpu:*", ""]),
          Schema.Literals(["", "0", "12", "007", "a", ":", "-1", "*"])
        ])
      ).check(Schema.isMaxLength(5))
    }, ({ attributes }) => {
      const name = attributes.join("/")
      const read = DeviceSpec.fromString(name)
      if (Result.isFailure(read)) return assert.isTrue(read.failure.message.includes(JSON.stringify(name)))
      assert.isTrue(Equal.equals(spec(DeviceSpec.print(read.success)), read.success))
      assert.strictEqual(DeviceSpec.canonicalName(DeviceSpec.canonicalName(name)), DeviceSpec.canonicalName(name))
    })
  })

  describe("canonicalName", () => {
    it("puts any order of attributes in the canonical one", () => {
      const canonical = "/job:foo/replica:0/task:0/device:CPU:0"
      assert.strictEqual(DeviceSpec.canonicalName("/job:foo/replica:0/task:0/cpu:0"), canonical)
      assert.strictEqual(DeviceSpec.canonicalName("/cpu:0/task:0/replica:0/job:foo"), canonical)
      assert.strictEqual(DeviceSpec.canonicalName("/replica:0/cpu:0/job:foo/task:0"), canonical)
      assert.strictEqual(
        DeviceSpec.canonicalName("/device:GPU:0/job:foo/replica:0/task:0"),
        "/job:foo/replica:0/task:0/device:GPU:0"
      )
      assert.strictEqual(DeviceSpec.canonicalName("gpu:0"), "/device:GPU:0")
    })

    it("takes a spec, and none", () => {
      assert.strictEqual(DeviceSpec.canonicalName(undefined), "")
      assert.strictEqual(DeviceSpec.canonicalName(""), "")
      assert.strictEqual(DeviceSpec.canonicalName(spec("gpu:0/job:a")), "/job:a/device:GPU:0")
    })

    it("throws for what is not a name", () => {
      assert.strictEqual(thrown(() => DeviceSpec.canonicalName("/tpu:0")).message, refusal("/tpu:0"))
    })
  })

  describe("merge", () => {
    it("the fields of the argument win, one after the other", () => {
      const steps = [
        ["/task:0", "/job:muu/task:0/device:GPU:2"],
        ["/job:sos/replica:3", "/job:sos/replica:3/task:1/device:GPU:2"],
        ["/cpu", "/job:muu/task:1/device:CPU:2"],
        ["/cpu:*", "/job:muu/task:1/device:CPU:2"],
        ["/device:TPU:0", "/job:muu/task:1/device:TPU:0"],
        ["", "/job:muu/task:1/device:GPU:2"]
      ] as const
      const self = spec("/job:muu/task:1/gpu:2")
      for (const [that, merged] of steps) {
        assert.strictEqual(DeviceSpec.print(DeviceSpec.merge(self, spec(that))), merged)
        assert.strictEqual(DeviceSpec.print(self), "/job:muu/task:1/device:GPU:2")
      }
    })

    it("each field that both have is the argument's", () => {
      const merged = DeviceSpec.merge(spec("/job:a/replica:1/task:2/gpu:3"), spec("/job:b/replica:4/task:0/cpu:6"))
      assert.strictEqual(DeviceSpec.print(merged), "/job:b/replica:4/task:0/device:CPU:6")
    })

    it("takes device type and device index separately", () => {
      const index = DeviceSpec.make({ deviceIndex: 3 })
      assert.strictEqual(DeviceSpec.print(DeviceSpec.merge(spec("/device:GPU:3"), spec("/cpu"))), "/device:CPU:3")
      assert.strictEqual(DeviceSpec.print(DeviceSpec.merge(index, spec("/gpu"))), "/device:GPU:3")
      assert.strictEqual(DeviceSpec.print(DeviceSpec.merge(spec("/gpu:0"), index)), "/device:GPU:3")
    })

    it("works in a pipe, and keeps the case of a type", () => {
      const merged = DeviceSpec.merge(spec("/device:cpu:0"))(spec("/job:a"))
      assert.strictEqual(DeviceSpec.print(merged), "/job:a/device:cpu:0")
    })

    it.prop("names: merging is associative, with the blank spec as its neutral", {
      a: Fields,
      b: Fields,
      c: Fields
    }, (fields) => {
      const [a, b, c] = [DeviceSpec.make(fields.a), DeviceSpec.make(fields.b), DeviceSpec.make(fields.c)]
      const blank = DeviceSpec.make()
      assert.deepStrictEqual(
        DeviceSpec.merge(DeviceSpec.merge(a, b), c),
        DeviceSpec.merge(a, DeviceSpec.merge(b, c))
      )
      assert.deepStrictEqual(DeviceSpec.merge(a, blank), a)
      assert.deepStrictEqual(DeviceSpec.merge(blank, a), a)
    })
  })

  describe("replace", () => {
    it("sets and clears fields, in a new spec each time", () => {
      const steps: ReadonlyArray<readonly [DeviceSpec.Fields, string]> = [
        [{ job: "j" }, "/job:j"],
        [{ task: 1 }, "/job:j/task:1"],
        [{ deviceIndex: 1 }, "/job:j/task:1"],
        [{ deviceType: "cpu" }, "/job:j/task:1/device:CPU:1"],
        [{ deviceIndex: undefined }, "/job:j/task:1/device:CPU:*"],
        [{ task: undefined, replica: 2 }, "/job:j/replica:2/device:CPU:*"],
        [{ deviceType: "GPU", deviceIndex: 0 }, "/job:j/replica:2/device:GPU:0"],
        [{ deviceType: undefined, job: undefined }, "/replica:2"]
      ]
      let self = DeviceSpec.make()
      for (const [fields, name] of steps) {
        const before = DeviceSpec.print(self)
        const next = DeviceSpec.replace(self, fields)
        assert.strictEqual(DeviceSpec.print(next), name)
        assert.strictEqual(DeviceSpec.print(self), before)
        assert.deepStrictEqual(DeviceSpec.replace(fields)(self), next)
        self = next
      }
    })

    it("keeps the case of a type it does not replace", () => {
      assert.strictEqual(
        DeviceSpec.print(DeviceSpec.replace(spec("/device:cpu:0"), { deviceIndex: 1 })),
        "/device:cpu:1"
      )
    })

    it("refuses what make refuses", () => {
      assert.strictEqual(
        thrown(() => DeviceSpec.replace(spec("/job:a"), { replica: -1 })).message,
        "DeviceSpec.replace: replica must be a non-negative safe integer, got -1"
      )
    })
  })

  describe("replicas", () => {
    const names = (...args: Parameters<typeof DeviceSpec.replicas>) => DeviceSpec.replicas(...args).map(String)

    it("names each replica of a job once", () => {
      assert.deepStrictEqual(names("consumer", 2), ["/job:consumer/replica:0", "/job:consumer/replica:1"])
    })

    it("the share of a feeder wraps around", () => {
      const share = (feederTask: number) => names("c", 3, { feederTask, replicasPerFeeder: 2 })
      assert.deepStrictEqual(share(0), ["/job:c/replica:0", "/job:c/replica:1"])
      assert.deepStrictEqual(share(1), ["/job:c/replica:2", "/job:c/replica:0"])
      assert.deepStrictEqual(share(2), ["/job:c/replica:1", "/job:c/replica:2"])
    })

    it("the feeder's task is ignored without a share", () => {
      assert.deepStrictEqual(names("c", 2, { feederTask: 1 }), ["/job:c/replica:0", "/job:c/replica:1"])
    })

    it("job and replica replace those of the base, the rest is kept, and the base is not changed", () => {
      const base = spec("/job:x/replica:9/task:4/device:gpu:1")
      assert.deepStrictEqual(names("c", 1, { base }), ["/job:c/replica:0/task:4/device:gpu:1"])
      assert.strictEqual(DeviceSpec.print(base), "/job:x/replica:9/task:4/device:gpu:1")
      assert.deepStrictEqual(names("c", 1, { base: "cpu:0/task:1" }), ["/job:c/replica:0/task:1/device:CPU:0"])
      assert.deepStrictEqual(names("c", 1, { base: "" }), ["/job:c/replica:0"])
    })

    it("refuses a share without the feeder's task", () => {
      assert.strictEqual(
        thrown(() => names("c", 3, { replicasPerFeeder: 2 })).message,
        `DeviceSpec.replicas("c", 3): feederTask must be set if replicasPerFeeder is; number the feeders from 0`
      )
    })

    it("refuses counts that are not positive integers, instead of dividing by zero or naming nothing", () => {
      for (const n of [0, -1, 1.5, NaN, Infinity]) {
        assert.strictEqual(
          thrown(() => names("c", n, { feederTask: 0, replicasPerFeeder: 2 })).message,
          `DeviceSpec.replicas("c", ${n}): count must be a positive integer, got ${n}`
        )
        assert.strictEqual(
          thrown(() => names("c", 2, { feederTask: 0, replicasPerFeeder: n })).message,
          `DeviceSpec.replicas("c", 2): replicasPerFeeder must be a positive integer, got ${n}`
        )
      }
    })

    it("refuses a task that is no natural number, a bad job and a bad base", () => {
      for (const feederTask of [-1, 0.5, NaN]) {
        assert.strictEqual(
          thrown(() => names("c", 2, { feederTask, replicasPerFeeder: 1 })).message,
          `DeviceSpec.replicas("c", 2): feederTask must be a non-negative integer, got ${feederTask}`
        )
      }
      assert.isTrue(
        thrown(() => names("a/b", 2)).message.startsWith(`DeviceSpec.replicas("a/b", 2): job must be well formed`)
      )
      assert.strictEqual(thrown(() => names("c", 2, { base: "tpu" })).message, refusal("tpu"))
    })

    const small = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 6 }))

    it.prop("replicas: each feeder takes its turn at dealing out the replicas", {
      count: small,
      feeders: small,
      share: small
    }, ({ count, feeders, share }) => {
      // Deals the replicas out one by one, round and round, to one feeder after the other.
      const dealt: Array<ReadonlyArray<number | undefined>> = []
      let next = 0
      for (let feeder = 0; feeder <= feeders; feeder++) {
        dealt.push(Array.from({ length: share + 1 }, () => {
          const replica = next
          next = next === count ? 0 : next + 1
          return replica
        }))
      }
      const shares: typeof dealt = dealt.map((_, feederTask) =>
        DeviceSpec.replicas("c", count + 1, { feederTask, replicasPerFeeder: share + 1 }).map((one) => one.replica)
      )
      assert.deepStrictEqual(shares, dealt)
    })
  })
})
