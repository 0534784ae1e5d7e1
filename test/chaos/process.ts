/**
 * What the programs of a run have in common.
 */
import { Schema } from "effect"
import type { Line } from "./settings.ts"
import { lineFromJson } from "./settings.ts"

export const say = (line: Line): void => {
  process.stdout.write(`${Schema.encodeSync(lineFromJson)(line)}\n`)
}

/** Ends this process when the one that started it has ended, however it did. */
export const endWithParent = (): void => {
  process.stdin.on("error", () => {}).on("end", () => process.exit(1)).resume()
  Reflect.get(process.stdin, "unref")?.call(process.stdin)
}
