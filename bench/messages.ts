/** What a bench and its consumer's process tell each other. */
import type { Profile } from "./profiler.ts"

/** How elements get to the consumer: a feed, or `node:net` with JSON lines or with the feed's own columns. */
export type Way = "feed" | "lines" | "columns"

export interface Request {
  readonly way: Way
  readonly feed: string
  readonly elements: number
  readonly isProfiled: boolean
}

export type Reply =
  | { readonly _tag: "Ready"; readonly port: number }
  | { readonly _tag: "Done"; readonly elements: number; readonly digest: number; readonly profile: Profile | undefined }
