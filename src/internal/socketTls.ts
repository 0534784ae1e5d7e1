/**
 * TLS for sockets, on either side.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Net from "node:net"
import * as Tls from "node:tls"
import type { Peer } from "../RemoteDevices.ts"
import { fromDuplex } from "./socketNet.ts"
import type { Open } from "./socketWire.ts"

const TypeId = "~effect-feeder/layers/SocketDevices"

/** Which protocol is spoken within, so that nothing else that has a certificate for the name can be taken for it. */
const ALPNProtocols = ["effect-feeder"]

/** A secret text, or one that is none. */
export type Text = string | Redacted.Redacted<string>

const plain = (text: Text): string => Redacted.isRedacted(text) ? Redacted.value(text) : text

/**
 * Certificates or keys that cannot be used.
 *
 * @category errors
 * @since 0.1.0
 */
export class TlsInvalid extends Schema.Error<TlsInvalid>(`${TypeId}/TlsInvalid`)({
  _tag: Schema.tag("TlsInvalid"),
  issue: Schema.String
}) {
  override get message(): string {
    return `the certificates or keys of \`tls\` cannot be used: ${this.issue}; ` +
      `give them as PEM, the key that belongs to the certificate`
  }
}

/**
 * A connection could not be secured: the certificate of the host is not to be trusted, or the two do not speak the same
 * TLS. `code` is that of Node.
 *
 * @category errors
 * @since 0.1.0
 */
export class TlsFailed extends Schema.Error<TlsFailed>(`${TypeId}/TlsFailed`)({
  _tag: Schema.tag("TlsFailed"),
  address: Schema.String,
  code: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `no secure connection to ${this.address}: ${this.issue} (${this.code})`
  }
}

const unknownAuthority = "its certificate is signed by no authority that is known here; give that one as `tls.ca`"

const issues: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "its certificate has expired; renew it",
  CERT_NOT_YET_VALID: "its certificate is not valid yet; compare the clocks",
  CERT_REVOKED: "its certificate was revoked",
  DEPTH_ZERO_SELF_SIGNED_CERT: unknownAuthority,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "it does not speak TLS; write its address as tcp://, or give it a certificate",
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS; write its address as tcp://, or give it a certificate",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name; give the one it is for as `tls.servername`",
  SELF_SIGNED_CERT_IN_CHAIN: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownAuthority,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownAuthority
}

/** What went wrong, if it is a matter of TLS. */
export const failureOf = (address: string, cause: unknown): TlsFailed | undefined => {
  if (!(cause instanceof Error) || !("code" in cause) || typeof cause.code !== "string") return undefined
  const { code } = cause
  const issue = issues[code] ?? (/^ERR_(SSL|TLS)_|^CERT_|^UNABLE_TO_/.test(code) ? cause.message : undefined)
  return issue === undefined ? undefined : new TlsFailed({ address, code, issue })
}

/** The certificate and key of one side, and the authorities that it trusts. */
export interface Identity {
  readonly cert?: string | undefined
  readonly key?: Text | undefined
  readonly passphrase?: Redacted.Redacted<string> | undefined
  readonly ca?: string | ReadonlyArray<string> | undefined
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined
}

const contextOptions = (identity: Identity): Tls.SecureContextOptions => {
  const { ca, cert, key, minVersion = "TLSv1.3", passphrase } = identity
  return {
    minVersion,
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key: plain(key) }),
    ...(passphrase === undefined ? {} : { passphrase: Redacted.value(passphrase) }),
    ...(ca === undefined ? {} : { ca: typeof ca === "string" ? ca : [...ca] })
  }
}

const invalid = (error: unknown) => new TlsInvalid({ issue: error instanceof Error ? error.message : String(error) })

// -----------------------------------------------------------------------------
// the feeder's side
// -----------------------------------------------------------------------------

/** Where to dial, and how: `context` is what `clientContext` has made. */
export interface Dial {
  readonly host: string
  readonly port: number
  readonly servername: string | undefined
  readonly context: Tls.SecureContext
}

/** What a feeder dials with. */
export const clientContext = (identity: Identity): Effect.Effect<Tls.SecureContext, TlsInvalid> =>
  Effect.try({ try: () => Tls.createSecureContext(contextOptions(identity)), catch: invalid })

/** Dials a host. The wire opens when the host's certificate has been found good. */
export const dial = ({ context, host, port, servername }: Dial): Open => (limits) =>
  Effect.gen(function*() {
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const socket = Tls.connect({
          host,
          port,
          secureContext: context,
          ALPNProtocols,
          // Said here, because the environment could say otherwise.
          rejectUnauthorized: true,
          ...(servername === undefined ? {} : { servername })
        })
        socket.setNoDelay(true)
        return socket
      }),
      (socket) => Effect.sync(() => socket.authorized ? socket.destroySoon() : socket.destroy())
    )
    yield* Effect.callback<void, unknown>((resume) => {
      socket.on("error", (cause) => resume(Effect.fail(cause)))
      socket.once("secureConnect", () => resume(Effect.void))
    })
    return yield* fromDuplex(socket)(limits)
  })

// -----------------------------------------------------------------------------
// the host's side
// -----------------------------------------------------------------------------

/** A connection that is secure, and who is at its other end. */
export interface Secured {
  readonly socket: Net.Socket
  readonly peer: Peer
  /** Why it is not to be let in, if so. */
  readonly refusal: string | undefined
}

/** Secures a connection, unless it ends before. */
export type Secure = (raw: Net.Socket) => Effect.Effect<Secured | undefined>

const placeOf = (socket: Net.Socket): string =>
  [socket.remoteAddress, socket.remotePort, socket.localAddress, socket.localPort].join(" ")

const peerOf = (socket: Tls.TLSSocket, isAsked: boolean): Pick<Secured, "peer" | "refusal"> => {
  const address = socket.remoteAddress
  if (!isAsked) return { peer: { address }, refusal: undefined }
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) {
    return { peer: { address }, refusal: "it presents no certificate, and this device asks for one" }
  }
  if (!socket.authorized) {
    return { peer: { address }, refusal: `its certificate is not trusted here (${String(socket.authorizationError)})` }
  }
  const { fingerprint256: fingerprint, subject } = certificate
  return { peer: { address, certificate: { subject, fingerprint } }, refusal: undefined }
}

/**
 * Secures the connections of a host. With `ca`, feeders are asked for a certificate. One without a good one is let
 * through to be told so in the protocol, since the alert of TLS would say less, and for some faults nothing.
 */
export const makeSecure = (identity: Identity): Effect.Effect<Secure, TlsInvalid> =>
  Effect.try({
    try: () => {
      const isAsked = identity.ca !== undefined
      // It does not listen itself: connections are given to it.
      const server = Tls.createServer({
        ...contextOptions(identity),
        ALPNProtocols,
        requestCert: isAsked,
        rejectUnauthorized: false
      })
      const waiting = new Map<string, (socket: Tls.TLSSocket) => void>()
      server.on("secureConnection", (socket) => {
        socket.on("error", () => {})
        const secured = waiting.get(placeOf(socket))
        if (secured === undefined) socket.destroy()
        else secured(socket)
      })
      server.on("tlsClientError", (_, socket) => socket.destroy())
      return (raw: Net.Socket) =>
        Effect.callback<Secured | undefined>((resume) => {
          const place = placeOf(raw)
          const onClose = () => {
            waiting.delete(place)
            resume(Effect.succeed(undefined))
          }
          waiting.set(place, (socket) => {
            waiting.delete(place)
            raw.off("close", onClose)
            resume(Effect.sync(() => ({ socket, ...peerOf(socket, isAsked) })))
          })
          raw.once("close", onClose)
          server.emit("connection", raw)
          return Effect.sync(() => {
            waiting.delete(place)
            raw.off("close", onClose)
            raw.destroy()
          })
        })
    },
    catch: invalid
  })
