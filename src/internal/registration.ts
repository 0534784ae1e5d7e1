/**
 * How a device that dials makes itself known to a feeder that listens. `docs/protocol.md` describes it.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { DeviceFrame } from "../RemoteDevices.ts"
import { Hello } from "../RemoteDevices.ts"
import { decodeControl, decodeDeviceControl, encodeControl } from "./controlFrames.ts"
import type { RawFrame } from "./frames.ts"
import { controlOf } from "./frames.ts"
import type { MalformedFrame } from "./malformedFrame.ts"
import { malformed } from "./malformedFrame.ts"

const { credential, device, feed, versions } = Hello.fields

/** The first frame of a device that dials. */
export const Register = Schema.TaggedStruct("Register", {
  versions,
  device,
  feeds: Schema.Array(feed).check(Schema.isMinLength(1), Schema.isMaxLength(1024)),
  credential
})

/** The first frame of a device that dials. */
export type Register = typeof Register.Type

/** The feeder's answer, if it is not `Refused`: a Hello follows when the link is to be used. */
export const Registered = Schema.TaggedStruct("Registered", {})

/** The feeder's answer. */
export type Answer = typeof Registered.Type | Extract<DeviceFrame, { readonly _tag: "Refused" }>

const registers = new Map([["Register", Schema.decodeUnknownResult(Register)]])
const registereds = new Map([["Registered", Schema.decodeUnknownResult(Registered)]])

export const encode = (frame: Register | typeof Registered.Type): readonly [Uint8Array] =>
  controlOf(encodeControl(frame))

/** Reads what a device says first. */
export const decodeRegister = ({ body, kind }: RawFrame): Result.Result<Register, MalformedFrame> =>
  kind === 0 ? decodeControl(body, registers) : malformed("kind", "a link that a device dials begins with Register")

/** Reads what a feeder answers. */
export const decodeAnswer = ({ body, kind }: RawFrame): Result.Result<Answer, MalformedFrame> => {
  if (kind !== 0) return malformed("kind", "a batch came before Registered")
  const registered = decodeControl<Answer>(body, registereds)
  if (Result.isSuccess(registered) || registered.failure.field !== "_tag") return registered
  return Result.flatMap(decodeDeviceControl(body), (frame) =>
    frame._tag === "Refused"
      ? Result.succeed(frame)
      : malformed("_tag", `expected Registered or Refused, got ${frame._tag}`))
}
