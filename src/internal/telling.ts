/**
 * Links that tell what comes, so that no fiber has to ask for it. A feeder may have many that are idle, and a fiber that
 * waits costs more than all else that is known of such a link.
 */
import * as Effect from "effect/Effect"
import type { DeviceFrame, DeviceLost, Link } from "../RemoteDevices.ts"

/** Who is told. Neither may throw. */
export interface Reader {
  readonly receivedUnsafe: (frame: DeviceFrame) => void
  /** Nothing more comes. It may be told again. */
  readonly lostUnsafe: (error: DeviceLost) => void
}

/** What sends frames over a link that tells. It keeps less than the link. */
export type Sender = Pick<Link, "send">

/**
 * Tells a reader from now on, if the connection can; gives what sends then. It is a member of a class, which who wraps a
 * link does not copy: what a wrapper does with what is received would be passed over.
 */
export const tell: unique symbol = Symbol("effect-feeder/tell")

/** A link that may tell what comes. */
export interface Telling extends Link {
  readonly [tell]: (reader: Reader) => Sender | undefined
}

const isTelling = (link: Link): link is Telling => tell in link

/** Has a reader told, if the link does that; gives what sends then. */
export const tellUnsafe = (link: Link, reader: Reader): Sender | undefined =>
  isTelling(link) ? link[tell](reader) : undefined

/** Asks a link that does not tell for one frame after the other, and tells them, until it is lost. */
export const asking = (link: Link, reader: Pick<Reader, "receivedUnsafe">): Effect.Effect<never, DeviceLost> => {
  const next: Effect.Effect<never, DeviceLost> = Effect.flatMap(link.receive, (frame) => {
    reader.receivedUnsafe(frame)
    return next
  })
  return next
}
