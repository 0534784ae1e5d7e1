/**
 * Names of devices: `/job:consumer/replica:0`, or more exactly `/job:consumer/replica:0/task:1/device:GPU:2`.
 *
 * A device is an addressable place that hosts queues for consumers. Its name is made of five fields, each optional, and
 * has one canonical form, so that names written by hand in different orders mean the same device. A `DeviceSpec` is a
 * plain immutable value: compare it with `Equal.equals`.
 *
 * **Details**
 *
 * Names are read as TensorFlow's `DeviceSpec` reads them: attributes come in any order, with or without a leading `/`;
 * a repeated job, replica or task replaces the former; `cpu` and `gpu` may be written in any case and become `CPU` and
 * `GPU`, while the type in `device:TYPE:N` is kept as it is written; a second device type is refused. Where this module
 * differs, it is stricter:
 *
 * - numbers are decimal digits only, so no sign, space or `_`, and never negative;
 * - job and device type are well formed and not empty, without white space, `/`, `:` or `*`, so that every name that
 *   can be made can be read back;
 * - specs cannot be changed in place: `merge` and `replace` return new ones.
 *
 * @since 0.1.0
 */
import { dual } from "effect/Function"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

const TypeId = "~effect-feeder/DeviceSpec"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * The fields of a device spec. Numbers are non-negative safe integers; job and device type are well formed and not
 * empty, without white space, `/`, `:` or `*`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fields {
  readonly job?: string | undefined
  readonly replica?: number | undefined
  readonly task?: number | undefined
  readonly deviceType?: string | undefined
  readonly deviceIndex?: number | undefined
}

/**
 * The name of a device, or of all devices that agree with it in the fields it has. `String(spec)` prints it.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeviceSpec extends Fields {
  readonly [TypeId]: typeof TypeId
  readonly job: string | undefined
  readonly replica: number | undefined
  readonly task: number | undefined
  readonly deviceType: string | undefined
  readonly deviceIndex: number | undefined
  toString(): string
}

/**
 * What is taken where a device is to be named: a spec, or its name.
 *
 * @category models
 * @since 0.1.0
 */
export type Input = DeviceSpec | string

/**
 * A name that is not one of a device, or fields that cannot be in one. `where` is the call that was refused; `issue`
 * says what is wrong with it and what to write.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeviceSpecError extends Schema.Error<DeviceSpecError>(`${TypeId}/DeviceSpecError`)({
  _tag: Schema.tag("DeviceSpecError"),
  where: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `${this.where}: ${this.issue}`
  }
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * Makes a spec of its fields.
 *
 * **Details**
 *
 * The device types `cpu` and `gpu`, in exactly this case, become `CPU` and `GPU`. Throws `DeviceSpecError` when a field
 * is out of its bounds.
 *
 * **Gotchas**
 *
 * A device index without a device type is kept, to be merged, but not printed.
 *
 * **Example** (Naming a device)
 *
 * ```ts import.meta.vitest
 * import { DeviceSpec } from "effect-feeder"
 *
 * const device = DeviceSpec.make({ job: "consumer", replica: 0, deviceType: "gpu", deviceIndex: 2 })
 *
 * String(device) // => "/job:consumer/replica:0/device:GPU:2"
 * String(DeviceSpec.make()) // => ""
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (fields: Fields = {}): DeviceSpec => new Spec(checked("DeviceSpec.make", fields))

/**
 * Reads the name of a device.
 *
 * **Details**
 *
 * A name is a list of attributes, each after a `/` that the first one may lack: `job:NAME`, `replica:N`, `task:N`,
 * `device:TYPE:N` or `device:TYPE:*`, `cpu`, `cpu:N` or `cpu:*`, and the same with `gpu`. `*` is no index.
 *
 * **Example** (Reading a name)
 *
 * ```ts import.meta.vitest
 * import { Result } from "effect"
 * import { DeviceSpec } from "effect-feeder"
 *
 * const read = (name: string) => DeviceSpec.fromString(name).pipe(Result.map(String), Result.merge)
 *
 * read("gpu:0/replica:1/job:consumer") // => "/job:consumer/replica:1/device:GPU:0"
 *
 * const refused = DeviceSpec.fromString("/job:consumer/cpu:0/gpu:0").pipe(Result.flip, Result.getOrThrow)
 *
 * refused.issue // => 'cannot specify multiple device types: "gpu:0" follows CPU; name one device'
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromString = (name: string): Result.Result<DeviceSpec, DeviceSpecError> => {
  const refuse = (issue: string) =>
    Result.fail(new DeviceSpecError({ where: `DeviceSpec.fromString(${JSON.stringify(name)})`, issue }))
  const fields: Fields = {}
  for (const attribute of name.split("/")) {
    if (attribute === "") continue
    const read = readAttribute(attribute)
    if (read === undefined) return refuse(misread(attribute))
    const issue = issueOf(read)
    if (issue !== undefined) return refuse(issue)
    if (read.deviceType !== undefined && fields.deviceType !== undefined) {
      return refuse(
        `cannot specify multiple device types: ${
          JSON.stringify(attribute)
        } follows ${fields.deviceType}; name one device`
      )
    }
    Object.assign(fields, read)
  }
  return Result.succeed(new Spec(fields))
}

/**
 * Reads the name of a device, as `fromString`; throws `DeviceSpecError` when it is not one.
 *
 * **Example** (Reading a name that is known to be good)
 *
 * ```ts import.meta.vitest
 * import { DeviceSpec } from "effect-feeder"
 *
 * DeviceSpec.fromStringUnsafe("/job:consumer/task:1").task // => 1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromStringUnsafe = (name: string): DeviceSpec => Result.getOrThrow(fromString(name))

/**
 * The replicas of a job: all of them, or the share of one of several feeders.
 *
 * **Details**
 *
 * `count` is how many replicas the job has, a positive integer. Without `replicasPerFeeder` the result is replicas `0`
 * to `count - 1`, and `feederTask` is ignored. With it, the feeder with the number `feederTask`, from 0, gets
 * `replicasPerFeeder` replicas, beginning with `feederTask * replicasPerFeeder` and wrapping around at `count`. Job and
 * replica replace those of `base` (none by default), whose other fields are kept.
 *
 * Throws `DeviceSpecError` when `replicasPerFeeder` is given without `feederTask`, when a count is not a positive
 * integer or `feederTask` not a non-negative one, and when `job` or `base` cannot be read. The reference divides by
 * zero, or feeds nothing, where a count is zero.
 *
 * **Gotchas**
 *
 * Nothing checks that the feeders together cover all replicas. A share larger than `count` names replicas more than
 * once, and a feeder refuses to feed a device twice.
 *
 * **Example** (Two feeders that share three replicas)
 *
 * ```ts import.meta.vitest
 * import { DeviceSpec } from "effect-feeder"
 *
 * const share = (feederTask: number) => DeviceSpec.replicas("consumer", 3, { feederTask, replicasPerFeeder: 2 })
 *
 * DeviceSpec.replicas("consumer", 2).map(String) // => ["/job:consumer/replica:0", "/job:consumer/replica:1"]
 * share(0).map(String) // => ["/job:consumer/replica:0", "/job:consumer/replica:1"]
 * share(1).map(String) // => ["/job:consumer/replica:2", "/job:consumer/replica:0"]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const replicas = (
  job: string,
  count: number,
  options: {
    readonly feederTask?: number | undefined
    readonly replicasPerFeeder?: number | undefined
    readonly base?: Input | undefined
  } = {}
): ReadonlyArray<DeviceSpec> => {
  const { base = "", feederTask, replicasPerFeeder } = options
  const where = `DeviceSpec.replicas(${JSON.stringify(job)}, ${count})`
  const refuse = (issue: string) => new DeviceSpecError({ where, issue })
  if (!isNatural(count) || count === 0) throw refuse(`count must be a positive integer, got ${count}`)
  if (feederTask !== undefined && !isNatural(feederTask)) {
    throw refuse(`feederTask must be a non-negative integer, got ${feederTask}`)
  }
  if (replicasPerFeeder !== undefined) {
    if (feederTask === undefined) {
      throw refuse("feederTask must be set if replicasPerFeeder is; number the feeders from 0")
    }
    if (!isNatural(replicasPerFeeder) || replicasPerFeeder === 0) {
      throw refuse(`replicasPerFeeder must be a positive integer, got ${replicasPerFeeder}`)
    }
  }
  const spec = typeof base === "string" ? fromStringUnsafe(base) : base
  const rest = { ...spec, ...checked(where, { job }) }
  const first = replicasPerFeeder === undefined || feederTask === undefined ? 0 : feederTask * replicasPerFeeder
  return Array.from(
    { length: replicasPerFeeder ?? count },
    (_, i) => new Spec({ ...rest, replica: (first + i) % count })
  )
}

// -----------------------------------------------------------------------------
// combinators
// -----------------------------------------------------------------------------

/**
 * A spec with the fields of both, where those of `that` win. Device type and device index are taken separately.
 *
 * **Example** (Refining a device)
 *
 * ```ts import.meta.vitest
 * import { DeviceSpec } from "effect-feeder"
 *
 * const gpu = DeviceSpec.fromStringUnsafe("/job:consumer/device:GPU:3")
 *
 * String(DeviceSpec.merge(gpu, DeviceSpec.fromStringUnsafe("/task:1/cpu"))) // => "/job:consumer/task:1/device:CPU:3"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const merge: {
  (that: DeviceSpec): (self: DeviceSpec) => DeviceSpec
  (self: DeviceSpec, that: DeviceSpec): DeviceSpec
} = dual(2, (self: DeviceSpec, that: DeviceSpec): DeviceSpec =>
  new Spec({
    job: that.job ?? self.job,
    replica: that.replica ?? self.replica,
    task: that.task ?? self.task,
    deviceType: that.deviceType ?? self.deviceType,
    deviceIndex: that.deviceIndex ?? self.deviceIndex
  }))

/**
 * A spec with some fields replaced, or cleared where a field is given as `undefined`. Bounds and case are those of
 * `make`; throws `DeviceSpecError` as it does.
 *
 * **Example** (Replacing and clearing fields)
 *
 * ```ts import.meta.vitest
 * import { DeviceSpec } from "effect-feeder"
 *
 * const device = DeviceSpec.fromStringUnsafe("/job:consumer/replica:0/gpu:2")
 *
 * String(DeviceSpec.replace(device, { replica: 1, deviceIndex: undefined })) // => "/job:consumer/replica:1/device:GPU:*"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const replace: {
  (fields: Fields): (self: DeviceSpec) => DeviceSpec
  (self: DeviceSpec, fields: Fields): DeviceSpec
} = dual(
  2,
  (self: DeviceSpec, fields: Fields): DeviceSpec => new Spec({ ...self, ...checked("DeviceSpec.replace", fields) })
)

// -----------------------------------------------------------------------------
// printing
// -----------------------------------------------------------------------------

/**
 * The canonical name: `/job:NAME/replica:N/task:N/device:TYPE:N`, of which only the fields that are set. A type without
 * an index is printed as `/device:TYPE:*`, an index without a type not at all.
 *
 * **Example** (Printing a spec)
 *
 * ```ts import.meta.vitest
 * import { DeviceSpec } from "effect-feeder"
 *
 * DeviceSpec.print(DeviceSpec.make({ deviceType: "TPU", job: "consumer" })) // => "/job:consumer/device:TPU:*"
 * ```
 *
 * @category destructors
 * @since 0.1.0
 */
export const print = (self: DeviceSpec): string =>
  (self.job === undefined ? "" : `/job:${self.job}`) +
  (self.replica === undefined ? "" : `/replica:${self.replica}`) +
  (self.task === undefined ? "" : `/task:${self.task}`) +
  (self.deviceType === undefined ? "" : `/device:${self.deviceType}:${self.deviceIndex ?? "*"}`)

/**
 * The canonical name of a device given in any form; `""` for none. Throws `DeviceSpecError` for a string that is not
 * the name of a device.
 *
 * **Example** (Comparing names)
 *
 * ```ts import.meta.vitest
 * import { DeviceSpec } from "effect-feeder"
 *
 * DeviceSpec.canonicalName("gpu:0/job:consumer") // => "/job:consumer/device:GPU:0"
 * DeviceSpec.canonicalName(undefined) // => ""
 * ```
 *
 * @category destructors
 * @since 0.1.0
 */
export const canonicalName = (device: Input | undefined): string =>
  print(typeof device === "string" ? fromStringUnsafe(device) : device ?? make())

// -----------------------------------------------------------------------------
// internals
// -----------------------------------------------------------------------------

class Spec implements DeviceSpec {
  get [TypeId](): typeof TypeId {
    return TypeId
  }
  readonly job: string | undefined
  readonly replica: number | undefined
  readonly task: number | undefined
  readonly deviceType: string | undefined
  readonly deviceIndex: number | undefined
  constructor(fields: Fields) {
    this.job = fields.job
    this.replica = fields.replica
    this.task = fields.task
    this.deviceType = fields.deviceType
    this.deviceIndex = fields.deviceIndex
  }
  toString(): string {
    return print(this)
  }
}

const isNatural = (n: number): boolean => Number.isSafeInteger(n) && n >= 0

const isName = (s: string): boolean => /^[^\s/:*]+$/.test(s) && s.isWellFormed()

const issueOf = (fields: Fields): string | undefined => {
  for (const key of ["job", "deviceType"] as const) {
    const name = fields[key]
    if (name !== undefined && !isName(name)) {
      return `${key} must be well formed and not empty, without white space, "/", ":" or "*", got ${
        JSON.stringify(name)
      }`
    }
  }
  for (const key of ["replica", "task", "deviceIndex"] as const) {
    const n = fields[key]
    if (n !== undefined && !isNatural(n)) return `${key} must be a non-negative safe integer, got ${n}`
  }
  return undefined
}

const checked = (where: string, fields: Fields): Fields => {
  const issue = issueOf(fields)
  if (issue !== undefined) throw new DeviceSpecError({ where, issue })
  const { deviceType } = fields
  return deviceType === "cpu" || deviceType === "gpu" ? { ...fields, deviceType: deviceType.toUpperCase() } : fields
}

// How attributes are written, by their keys.
const forms = new Map([
  ["job", "job:NAME"],
  ["replica", "replica:N"],
  ["task", "task:N"],
  ["device", "device:TYPE:N or device:TYPE:*"],
  ["cpu", "cpu, cpu:N or cpu:*"],
  ["gpu", "gpu, gpu:N or gpu:*"]
])

const numberOf = (digits: string | undefined): number | undefined =>
  digits === undefined || digits === "*" ? undefined : Number(digits)

const readAttribute = (attribute: string): Fields | undefined => {
  const job = /^job:([^\s:*]+)$/.exec(attribute)
  if (job !== null) return { job: job[1] }
  const replica = /^replica:(\d+)$/.exec(attribute)
  if (replica !== null) return { replica: numberOf(replica[1]) }
  const task = /^task:(\d+)$/.exec(attribute)
  if (task !== null) return { task: numberOf(task[1]) }
  const device = /^device:([^\s:*]+):(\d+|\*)$/.exec(attribute)
  if (device !== null) return { deviceType: device[1], deviceIndex: numberOf(device[2]) }
  const short = /^(cpu|gpu)(?::(\d+|\*))?$/i.exec(attribute)
  if (short !== null) return { deviceType: short[1]?.toUpperCase(), deviceIndex: numberOf(short[2]) }
  return undefined
}

const misread = (attribute: string): string => {
  const key = attribute.split(":", 1).join("")
  const form = forms.get(key.toLowerCase())
  return form === undefined
    ? `unknown attribute ${JSON.stringify(attribute)}; write job:NAME, replica:N, task:N, device:TYPE:N, cpu:N or gpu:N`
    : `${JSON.stringify(attribute)} is not ${form}, where N is digits only and a name has no white space, ":" or "*"`
}
