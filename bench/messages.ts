/** What `main.ts` and the process of a group tell each other. */
import type { Options } from "./harness.ts"
import type { Row, Side } from "./rows.ts"

export interface GroupRequest {
  readonly group: string
  readonly rows: ReadonlyArray<string>
  readonly options: Options
}

export type GroupReply =
  | { readonly _tag: "Row"; readonly row: Row }
  | { readonly _tag: "Measured"; readonly side: Side; readonly isOurs: boolean }
  | { readonly _tag: "Progress"; readonly text: string }
  | { readonly _tag: "Ended"; readonly failed: string | undefined }
