/**
 * What the feeder and its consumers both know: the feed, the devices, and what a consumer does, wherever it runs.
 */
import { Effect, FileSystem, Schema } from "effect"
import { DeviceSpec, Feed } from "effect-feeder"
import { createHash } from "node:crypto"

/** One element is one page; it is acknowledged when a consumer has written its hash down. */
export const Pages = Feed.make("pages", {
  element: Schema.Struct({ id: Schema.Int, text: Schema.String }),
  capacity: 256,
  acknowledge: "processed"
})

/** The names of the consumers' devices. */
export const devices: ReadonlyArray<string> = DeviceSpec.replicas("consumer", 2).map(DeviceSpec.canonicalName)

/** What a consumer writes of a page. */
export const lineOf = (id: number, text: string): string =>
  `${id} ${createHash("sha256").update(text).digest("base64url")}`

/** The file of what a consumer has done, one line for each page. */
export const fileOf = (folder: string, device: string): string => `${folder}/${devices.indexOf(device)}.txt`

/** What a page has in front that may have been given before. */
export const again = "again "

/** Hashes pages until the feed ends. It does not know where they come from: who provides `Feed.Host<"pages">` does. */
export const consume = Effect.fnUntraced(function*(folder: string, device: string) {
  const fs = yield* FileSystem.FileSystem
  return yield* Pages.forEachBatch(64, ({ id, text }, { deliveries }) => {
    const lines = deliveries.map(({ redelivered }, i) => `${redelivered ? again : ""}${lineOf(id[i]!, text[i]!)}\n`)
    return Effect.orDie(fs.writeFileString(fileOf(folder, device), lines.join(""), { flag: "a" }))
  })
})
