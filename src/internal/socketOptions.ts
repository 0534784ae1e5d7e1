/**
 * What sockets are made with, and who may use them.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Device from "../actors/Device.ts"
import type { Address } from "./socketAddress.ts"
import { isLocal } from "./socketAddress.ts"
import { Unprotected } from "./socketErrors.ts"
import type { FrameLimits } from "./socketReader.ts"

/** Most bytes of one frame, either way, unless a host says otherwise: 64 MiB. */
export const mostFrameBytes = 64 * 1024 * 1024

/**
 * How a feeder proves who it is, and which hosts it trusts.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What the devices' `Credentials` ask for. It is sent to each device, and only over TLS or within this machine. */
  readonly credential?: Redacted.Redacted<string> | undefined
  /** Sends the credential also where others may read it. */
  readonly allowPlaintextCredential?: boolean | undefined
  /** For addresses that begin with `tls://`. */
  readonly tls?: ClientTls | undefined
}

/**
 * TLS on the feeder's side. All texts are PEM.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClientTls {
  /** The authorities that may have signed the host's certificate. By default those that Node trusts. */
  readonly ca?: string | ReadonlyArray<string> | undefined
  /** The feeder's own certificate and key, for hosts that ask for one. */
  readonly cert?: string | undefined
  readonly key?: string | Redacted.Redacted<string> | undefined
  readonly passphrase?: Redacted.Redacted<string> | undefined
  /** The name that the host's certificate must have. By default that of its address. */
  readonly servername?: string | undefined
  /** Default `"TLSv1.3"`. */
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined
}

/**
 * How much a host takes, and from how many.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits extends Device.Limits {
  /** Most bytes of a control frame of a feeder, and of any frame before it is admitted. Default 1 MiB. */
  readonly controlBytes?: number | undefined
  /** Most bytes of one string of an element. Default 16 MiB. */
  readonly stringBytes?: number | undefined
  /** Most connections at once. One more is told that the host is busy, and may try again. Default 1024. */
  readonly connections?: number | undefined
  /**
   * Most connections at once that were not admitted yet. When there is one more, one of the address that has the most of
   * them is closed: the one that has been there the longest. Default a quarter of `connections`.
   */
  readonly strangers?: number | undefined
  /**
   * How many connections may come from one address in a second, for long; four times as many may come at once. One more
   * is told that the host is busy, and may try again. Default 100.
   */
  readonly connectionsPerSecond?: number | undefined
}

/**
 * TLS on the host's side. All texts are PEM.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostTls {
  readonly cert: string
  readonly key: string | Redacted.Redacted<string>
  readonly passphrase?: Redacted.Redacted<string> | undefined
  /**
   * The authorities that must have signed the certificate of a feeder. With it every feeder must present one; which may
   * feed what, `Credentials.layer` can say by the subject. By default feeders are asked for none.
   */
  readonly ca?: string | ReadonlyArray<string> | undefined
  /** Default `"TLSv1.3"`. */
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined
}

/** The limits of frames, with their defaults. */
export const frameLimits = (limits: Limits): FrameLimits => ({
  frameBytes: limits.frameBytes ?? mostFrameBytes,
  controlBytes: limits.controlBytes ?? 1024 * 1024,
  elements: limits.elements ?? 1024 * 1024,
  stringBytes: limits.stringBytes ?? 16 * 1024 * 1024
})

/** The limits of a listener, with their defaults. */
export const listenerLimits = ({ connections = 1024, connectionsPerSecond, handshake, strangers }: Limits) => ({
  door: {
    connections,
    strangers: strangers ?? Math.ceil(connections / 4),
    perSecond: connectionsPerSecond ?? 100
  },
  handshake: Duration.fromInputUnsafe(handshake ?? "10 seconds")
})

/** A credential goes where nobody else can read it. */
export const protectCredential = (address: Address, options: Options): Effect.Effect<void, Unprotected> => {
  const { allowPlaintextCredential = false, credential } = options
  if (credential === undefined || address.isSecure || isLocal(address) || allowPlaintextCredential) return Effect.void
  const { text } = address
  const secure = address._tag === "Net" ? text.replace("tcp:", "tls:") : text.replace("ws:", "wss:")
  const issue = "the credential could be read on its way; " +
    `use "${secure}", or set \`allowPlaintextCredential\` if the network is your own`
  return Effect.fail(new Unprotected({ address: text, issue }))
}

/**
 * A listener that anyone could talk to is for this machine only. What there is to say of one is said once it listens.
 * `peers` are those that come to it.
 */
export const protectListener = (options: {
  readonly address: Address
  /** As it is written by the user. */
  readonly name: string
  readonly peers: "feeders" | "devices"
  readonly tls: HostTls | undefined
  readonly hasCredentials: boolean
}): Effect.Effect<Effect.Effect<void>, Unprotected> => {
  const { address, hasCredentials, name, peers, tls } = options
  if (hasCredentials || tls?.ca !== undefined) {
    return Effect.succeed(
      tls === undefined && !isLocal(address)
        ? Effect.logWarning(
          `${name} has no certificate: credentials and elements can be read on their way; give \`tls\``
        )
        : Effect.void
    )
  }
  const could = peers === "feeders" ? "could feed it" : "would be fed"
  const issue = `whoever reaches it ${could}; provide \`Credentials\`, such as \`Credentials.layerSecret\`, ` +
    `or give \`tls.ca\` to ask ${peers} for certificates, or listen on 127.0.0.1`
  return isLocal(address)
    ? Effect.succeed(
      Effect.logInfo(`${name} is for ${peers} of this machine only, since it asks them for no credentials`)
    )
    : Effect.fail(new Unprotected({ address: name, issue }))
}
