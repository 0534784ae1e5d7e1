import { Schema } from "effect"
import { Feed } from "effect-feeder"

export const Pages = Feed.make("pages", {
  element: Schema.Struct({ id: Schema.Int, text: Schema.String }),
  capacity: 100,
  acknowledge: "accepted"
})

export const device = "/job:indexer"

export const connection = { servers: process.env["NATS_URL"] ?? "127.0.0.1:4222" }
