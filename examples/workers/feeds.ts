/**
 * The feed of images, which the feeder and its workers both know.
 */
import { Schema } from "effect"
import { Feed, Tensor } from "effect-feeder"

/** Images are squares of grey levels with sides of so many pixels. */
export const side = 64

/** One element is one image; it is acknowledged when a worker has hashed it. */
export const Images = Feed.make("images", {
  element: Schema.Struct({ id: Schema.Int, pixels: Tensor.uint8([side, side]) }),
  capacity: 256,
  acknowledge: "processed"
})
