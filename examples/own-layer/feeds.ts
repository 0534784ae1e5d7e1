/**
 * The feed of texts, which the feeder and its consumers both know.
 */
import { Schema } from "effect"
import { Feed } from "effect-feeder"

/** One element is one text; it is acknowledged when its words are counted. */
export const Texts = Feed.make("texts", {
  element: Schema.Struct({ id: Schema.Int, text: Schema.String }),
  capacity: 256,
  acknowledge: "processed"
})
