/**
 * Who may feed: what a device asks of a feeder before it admits it, or tells it anything.
 *
 * A feeder presents a credential with its first frame. The device's `Credentials` check it, together with the feed, the
 * feeder's name and the certificate that the connection was opened with, if there is one.
 *
 * **Example** (One secret for all feeds, from the environment)
 *
 * ```ts import.meta.vitest
 * import { Config, Effect, Layer, Redacted } from "effect"
 * import { Credentials } from "effect-feeder"
 *
 * const live = Layer.unwrap(Effect.map(Config.Redacted("FEED_SECRET"), Credentials.layerSecret))
 * const local = Credentials.layerSecret(Redacted.make("a long random text"))
 *
 * const check = Credentials.Credentials.use(({ check }) =>
 *   check({ credential: Redacted.make("a guess"), feed: "digits", feeder: "a", device: "b", peer: {} })
 * )
 * const error = await Effect.runPromise(check.pipe(Effect.provide(local), Effect.flip))
 *
 * error.message // => "the feeder is unknown: its credential is not one of this device"
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import { Digest, Mac } from "effect/crypto"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Peer } from "./RemoteDevices.ts"

const TypeId = "~effect-feeder/Credentials"

/**
 * Nobody knows who the feeder is. `detail` is told to it: it must not say more than a stranger may know.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unauthenticated extends Schema.Error<Unauthenticated>(`${TypeId}/Unauthenticated`)({
  _tag: Schema.tag("Unauthenticated"),
  detail: Schema.String
}) {
  override get message(): string {
    return `the feeder is unknown: ${this.detail}`
  }
}

/**
 * The feeder is known, but may not feed this. `detail` is told to it.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unauthorized extends Schema.Error<Unauthorized>(`${TypeId}/Unauthorized`)({
  _tag: Schema.tag("Unauthorized"),
  detail: Schema.String
}) {
  override get message(): string {
    return `the feeder is known, but may not feed this: ${this.detail}`
  }
}

/**
 * A secret is empty: anyone would know it.
 *
 * @category errors
 * @since 0.1.0
 */
export class SecretEmpty extends Schema.Error<SecretEmpty>(`${TypeId}/SecretEmpty`)({
  _tag: Schema.tag("SecretEmpty"),
  feed: Schema.optional(Schema.String)
}) {
  override get message(): string {
    const which = this.feed === undefined ? "the secret of the feeders" : `a secret of feed "${this.feed}"`
    return `${which} is empty, so anyone would know it; take 32 random bytes as text, such as of "openssl rand -hex 32"`
  }
}

/**
 * What a feeder presents. `feed`, `feeder` and `device` are what it says of itself; `peer` is what the connection says
 * of it. A device that dials a feeder presents the same, once for each of its feeds, with `feeder` empty.
 *
 * @category models
 * @since 0.1.0
 */
export interface Presented {
  readonly credential: Redacted.Redacted<string> | undefined
  readonly feed: string
  readonly feeder: string
  readonly device: string
  readonly peer: Peer
}

/**
 * Checks feeders. It succeeds for one that may feed, and is asked before the device looks at anything else: also for
 * feeds that the device does not have.
 *
 * @category services
 * @since 0.1.0
 */
export class Credentials extends Context.Service<Credentials, {
  readonly check: (presented: Presented) => Effect.Effect<void, Unauthenticated | Unauthorized>
}>()("effect-feeder/Credentials") {}

/**
 * Credentials by a check of your own, such as of a token, or of the certificate's subject.
 *
 * **Gotchas**
 *
 * Compare secrets in constant time: `layerSecret` and `layerSecrets` do. A check that does not end within the
 * handshake's time is a refusal.
 *
 * **Example** (By the certificate's subject)
 *
 * ```ts import.meta.vitest
 * import { Effect } from "effect"
 * import { Credentials } from "effect-feeder"
 *
 * const bySubject = Credentials.layer(({ peer }) =>
 *   peer.certificate?.subject === "CN=crawler"
 *     ? Effect.void
 *     : Effect.fail(new Credentials.Unauthorized({ detail: "only the crawler feeds here" })))
 *
 * const check = Credentials.Credentials.use(({ check }) =>
 *   check({
 *     credential: undefined,
 *     feed: "pages",
 *     feeder: "a",
 *     device: "b",
 *     peer: { certificate: { subject: "CN=crawler", fingerprint: "AB:CD" } }
 *   })
 * )
 * await Effect.runPromise(check.pipe(Effect.provide(bySubject))) // => undefined
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (check: Credentials["Service"]["check"]): Layer.Layer<Credentials> =>
  Layer.succeed(Credentials, { check })

const encodeText = new TextEncoder()

interface Known {
  /** `undefined`: for every feed. */
  readonly feed: string | undefined
  readonly secret: Redacted.Redacted<string>
}

/** Only digests are kept. Each is compared with what is presented, in constant time and whichever has matched before. */
const layerKnown = (all: ReadonlyArray<Known>): Layer.Layer<Credentials, SecretEmpty> =>
  Layer.effect(
    Credentials,
    Effect.gen(function*() {
      const { digest } = yield* Digest.Digest
      const digestOf = (secret: Redacted.Redacted<string>) =>
        digest(Digest.sha256, encodeText.encode(Redacted.value(secret)))
      const known: Array<{ readonly feed: string | undefined; readonly digest: Uint8Array }> = []
      for (const { feed, secret } of all) {
        if (Redacted.value(secret) === "") return yield* new SecretEmpty({ feed })
        known.push({ feed, digest: yield* digestOf(secret) })
      }
      return {
        check: ({ credential, feed }) =>
          Effect.gen(function*() {
            if (credential === undefined) {
              return yield* new Unauthenticated({ detail: "it presents no credential, and this device asks for one" })
            }
            const presented = yield* digestOf(credential)
            let isKnown = false
            let mayFeed = false
            for (const one of known) {
              const isEqual = Mac.timingSafeEqual(one.digest, presented)
              isKnown ||= isEqual
              mayFeed ||= isEqual && (one.feed === undefined || one.feed === feed)
            }
            if (!isKnown) return yield* new Unauthenticated({ detail: "its credential is not one of this device" })
            if (!mayFeed) return yield* new Unauthorized({ detail: "its credential is for another feed" })
          })
      }
    })
  ).pipe(Layer.provide(Digest.layerWebCrypto))

/**
 * One secret that every feeder shares.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSecret = (secret: Redacted.Redacted<string>): Layer.Layer<Credentials, SecretEmpty> =>
  layerKnown([{ feed: undefined, secret }])

/**
 * Secrets by feed. Who has the secret of one feed may not feed another. To change a secret, give the feed the new one
 * beside the old one until all feeders present it.
 *
 * **Example** (A feed whose secret is being changed)
 *
 * ```ts import.meta.vitest
 * import { Effect, Redacted } from "effect"
 * import { Credentials } from "effect-feeder"
 *
 * const secrets = Credentials.layerSecrets({
 *   digits: [Redacted.make("the new one"), Redacted.make("the old one")],
 *   pages: Redacted.make("another")
 * })
 * const check = (feed: string, secret: string) =>
 *   Credentials.Credentials.use(({ check }) =>
 *     check({ credential: Redacted.make(secret), feed, feeder: "a", device: "b", peer: {} })
 *   ).pipe(Effect.provide(secrets), Effect.match({ onSuccess: () => "in", onFailure: ({ _tag }) => _tag }), Effect.runPromise)
 *
 * await check("digits", "the old one") // => "in"
 * await check("digits", "another") // => "Unauthorized"
 * await check("digits", "a guess") // => "Unauthenticated"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSecrets = (
  secrets: Readonly<Record<string, Redacted.Redacted<string> | ReadonlyArray<Redacted.Redacted<string>>>>
): Layer.Layer<Credentials, SecretEmpty> =>
  layerKnown(
    Object.entries(secrets).flatMap(([feed, some]): ReadonlyArray<Known> =>
      Redacted.isRedacted(some) ? [{ feed, secret: some }] : some.map((secret) => ({ feed, secret }))
    )
  )
