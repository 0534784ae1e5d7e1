/**
 * Devices that a feeder dials, at the addresses of a directory.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { FeedInfo, Link, RemoteDevices } from "../RemoteDevices.ts"
import { DeviceLost, FeedRefused } from "../RemoteDevices.ts"
import * as Frames from "./frames.ts"
import type { Address } from "./socketAddress.ts"
import { codeOf } from "./socketDial.ts"
import type { Directory } from "./socketDirectory.ts"
import { connect, rootOf } from "./socketLink.ts"
import { mostFrameBytes } from "./socketOptions.ts"
import { failureOf, TlsFailed } from "./socketTls.ts"
import type { Open } from "./socketWire.ts"

/** Nobody listens at a refused address, so whoever did has ended, and its memory with it. */
const fateOf = (root: unknown): "gone" | "unknown" => {
  const code = codeOf(root)
  return code === "ECONNREFUSED" || code === "ENOENT" ? "gone" : "unknown"
}

/** The devices of a directory. */
export const make = (options: {
  readonly directory: Directory
  readonly dial: (address: Address) => Open
  readonly credential: Redacted.Redacted<string> | undefined
}): RemoteDevices["Service"] => {
  const { credential, dial, directory } = options

  const link = (
    device: string,
    feed: FeedInfo,
    address: Address
  ): Effect.Effect<Link, DeviceLost, Scope.Scope> =>
    Effect.gen(function*() {
      const place = address.text
      const lost = (error: unknown) => {
        const cause = rootOf(error)
        return new DeviceLost({ device, fate: fateOf(cause), cause: failureOf(place, cause) ?? cause })
      }
      const { receive, send } = yield* connect({
        open: dial(address),
        lost,
        decode: Frames.decodeDeviceFrame,
        refusal: () => undefined,
        limits: { frameBytes: 0, controlBytes: mostFrameBytes }
      }).pipe(
        Effect.tapError((error) => error.cause instanceof TlsFailed ? Effect.logWarning(error.message) : Effect.void)
      )
      let hasAnswered = false
      const heard = Effect.sync(() => {
        hasAnswered = true
      })
      /** A host that expects TLS does not say so to one that speaks plain frames. */
      const unanswered = (error: DeviceLost) => {
        const { cause } = error
        if (hasAnswered || cause instanceof TlsFailed || cause instanceof Frames.MalformedFrame) return error
        const why = codeOf(cause) === undefined ? "" : ` (${codeOf(cause)})`
        const isPlain = address._tag === "Net" && !address.isSecure
        const advice = isPlain ? "; if it has a certificate, write its address as tls://" : ""
        const early = new Error(`${place} ended the link before it answered${why}${advice}`)
        return new DeviceLost({ device, fate: error.fate, cause: early })
      }
      return {
        send: (frame) =>
          send(Frames.encodeFeederFrame(
            frame._tag === "Hello" && credential !== undefined
              ? { ...frame, credential: Redacted.value(credential) }
              : frame,
            feed
          )),
        receive: Effect.mapError(Effect.tap(receive, heard), unanswered)
      }
    })

  const open = (device: string, feed: FeedInfo): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> =>
    Effect.suspend((): Effect.Effect<Link, DeviceLost | FeedRefused, Scope.Scope> => {
      const address = directory.find(device)
      if (address === undefined) {
        const detail = `it has no address; known are ${directory.members.names().join(", ") || "none"}`
        directory.failed(device)
        return Effect.fail(
          directory.mayChange
            ? new DeviceLost({ device, fate: "unknown", cause: new Error(detail) })
            // The addresses are fixed, so to try again would not help.
            : new FeedRefused({ device, reason: "invalid", detail })
        )
      }
      const counted = Effect.acquireRelease(
        Effect.sync(() => directory.linked(device)),
        () => Effect.sync(() => directory.unlinked(device))
      )
      return Effect.andThen(counted, link(device, feed, address)).pipe(
        Effect.tapError(() => Effect.sync(() => directory.failed(device)))
      )
    })

  return { open, changes: directory.members.changes }
}
