/**
 * A consumer in a process of its own. For each request it listens, says where, takes the elements that come, says what
 * has come, and that it is closed.
 */
import { type Name, payloads } from "./payloads.ts"
import { type Profile, profiled } from "./profiler.ts"
import { type Run, type WayName, ways } from "./ways.ts"

export interface Request extends Omit<Run, "payload"> {
  readonly _tag: "Consume"
  readonly way: WayName
  readonly payload: Name
  readonly isProfiled: boolean
}

/** The producer has closed its side. */
export interface Closed {
  readonly _tag: "Closed"
}

export type Reply =
  | { readonly _tag: "Ready"; readonly address: string }
  | { readonly _tag: "Done"; readonly elements: number; readonly digest: number }
  | { readonly _tag: "Closed"; readonly profile: Profile | undefined }
  | { readonly _tag: "Failed"; readonly cause: string }

const reply = (message: Reply): void => {
  process.send?.(message)
}

let closed = Promise.withResolvers<void>()

const consume = async ({ isProfiled, payload, way, ...rest }: Request): Promise<void> => {
  const { consume } = await ways[way]()
  closed = Promise.withResolvers<void>()
  globalThis.gc?.()
  const run = () =>
    consume(
      { ...rest, payload: payloads[payload] },
      (address) => reply({ _tag: "Ready", address }),
      (sum) => reply({ _tag: "Done", ...sum }),
      closed.promise
    )
  const [, profile] = isProfiled ? await profiled(run) : [await run(), undefined]
  reply({ _tag: "Closed", profile })
}

process.on("message", (request: Request | Closed) => {
  if (request._tag === "Closed") return closed.resolve()
  consume(request).catch((error: unknown) => {
    reply({ _tag: "Failed", cause: error instanceof Error ? error.stack ?? error.message : String(error) })
  })
})

process.on("disconnect", () => process.exit())
