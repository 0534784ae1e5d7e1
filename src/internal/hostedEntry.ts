/**
 * An element that a device holds, and the session it came in.
 */
import type * as HostSession from "../HostSession.ts"
import type { Delivery, Handed } from "./hosted.ts"

/** A feeder's session, with the effects of its outputs. */
export interface Session {
  state: HostSession.State
  lostAt: number
  readonly apply: (input: HostSession.Input) => void
  readonly report: () => void
}

/** An element in a device's queue, and later in the hands of a consumer. */
export class Entry implements Handed<unknown> {
  readonly session: Session
  readonly place: HostSession.Place
  readonly element: unknown
  readonly ordinal: number
  readonly attempt: number
  readonly id: string | undefined
  isMarked: boolean
  isCut = false

  constructor(
    session: Session,
    place: HostSession.Place,
    element: unknown,
    ordinal: number,
    attempt: number,
    id?: string
  ) {
    this.session = session
    this.place = place
    this.element = element
    this.ordinal = ordinal
    this.attempt = attempt
    this.id = id
    this.isMarked = attempt > 1
  }

  /** It came back twice with others: from now on it comes back by itself, and takes none of them to the dead letters. */
  get isAlone(): boolean {
    return this.attempt > 2 && this.session.state.acknowledge === "processed"
  }

  get delivery(): Delivery {
    return {
      feeder: this.session.state.feeder,
      ordinal: this.ordinal,
      attempt: this.attempt,
      redelivered: this.isMarked,
      id: this.id
    }
  }
}
