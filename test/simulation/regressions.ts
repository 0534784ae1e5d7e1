/**
 * Histories that broke a law once, which the tests run again: `regressions.json`, to which `npm run simulate` adds.
 */
import { Schema } from "effect"

const Regression = Schema.Struct({
  seed: Schema.Int,
  /** What it said then. */
  message: Schema.String
})

export type Regression = typeof Regression.Type

export const Regressions = Schema.fromJsonString(Schema.Array(Regression), { space: 2 })
