/**
 * Dials addresses in Node.
 */
import * as Effect from "effect/Effect"
import type { Address } from "./socketAddress.ts"
import type { PackageMissing } from "./socketErrors.ts"
import * as SocketNet from "./socketNet.ts"
import type { Identity, TlsInvalid } from "./socketTls.ts"
import * as SocketTls from "./socketTls.ts"
import * as SocketWeb from "./socketWeb.ts"
import type { Open } from "./socketWire.ts"

/** What one that dials proves, and which certificates it trusts. */
export interface DialTls extends Identity {
  readonly servername?: string | undefined
}

/** How each of some addresses is dialled, and others like them. */
export const make = (
  addresses: Iterable<Address>,
  tls: DialTls
): Effect.Effect<(address: Address) => Open, PackageMissing | TlsInvalid> =>
  Effect.gen(function*() {
    const context = yield* SocketTls.clientContext(tls)
    const { servername } = tls
    const isWeb = [...addresses].some(({ _tag }) => _tag === "Web")
    const library = isWeb ? yield* SocketWeb.load : undefined
    return (address) => {
      switch (address._tag) {
        case "Unix":
          return SocketNet.dial({ path: address.path })
        case "Web":
          return (limits) =>
            Effect.flatMap(
              library === undefined ? SocketWeb.load : Effect.succeed(library),
              (library) => SocketWeb.dial(library, address.text, { context, servername })(limits)
            )
        case "Net": {
          const { host, port } = address
          return address.isSecure ? SocketTls.dial({ host, port, context, servername }) : SocketNet.dial({ host, port })
        }
      }
    }
  })

/** The name of an error of the system. */
export const codeOf = (root: unknown): string | undefined =>
  typeof root === "object" && root !== null && "code" in root && typeof root.code === "string" ? root.code : undefined
