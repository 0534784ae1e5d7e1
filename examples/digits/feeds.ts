/**
 * The feed of digits, and the devices it is fed to: what the feeder and its consumers both know.
 */
import { Schema } from "effect"
import { DeviceSpec, Feed, Tensor } from "effect-feeder"
import { side } from "./mnist.ts"

/** One element is one image with its label; it is acknowledged when a consumer has trained on it. */
export const Digits = Feed.make("digits", {
  element: Schema.Struct({ image: Tensor.float32([side, side]), label: Tensor.int32([]) }),
  capacity: 256,
  acknowledge: "processed"
})

/** The names of the consumers' devices. */
export const devices: ReadonlyArray<string> = DeviceSpec.replicas("consumer", 2).map(DeviceSpec.canonicalName)
