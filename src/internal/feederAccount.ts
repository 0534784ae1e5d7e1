/**
 * What the books of a feeder say of its devices, and of the elements by their ordinals.
 */
import type { RemoteFeed } from "../actors/RemoteFeed.ts"
import * as FeedSession from "../FeedSession.ts"
import type * as Ledger from "../Ledger.ts"
import * as Ranges from "./ranges.ts"

/**
 * One device, as its feeder sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeviceStatus extends Ledger.DeviceLedger {
  readonly phase: FeedSession.Phase
  /** The device's incarnation, once it has answered. */
  readonly incarnation: string | undefined
  readonly session: number
  readonly failures: number
  readonly lastFailure: string | undefined
}

/** The account of one device. */
export const deviceLedger = <A>(device: string, state: FeedSession.State<A>): Ledger.DeviceLedger => ({
  device,
  leased: FeedSession.leased(state),
  inDoubt: FeedSession.inDoubt(state),
  held: FeedSession.held(state),
  heldByDead: state.heldByDead,
  accepted: state.accepted,
  delivered: state.delivered,
  redelivered: state.redelivered,
  dead: state.dead,
  fenced: state.fenced
})

/** How one device is. */
export const deviceStatus = <A>(device: string, feed: RemoteFeed<A>): DeviceStatus => {
  const state = feed.state()
  const { count, last } = feed.failures()
  return {
    ...deviceLedger(device, state),
    phase: state.phase,
    incarnation: state.device,
    session: state.session,
    failures: count,
    lastFailure: last?.message
  }
}

/** The ordinals that have left the queue and the devices for good, by what became of them. */
export interface SettledOrdinals {
  readonly acknowledged: Ranges.Ranges
  readonly dead: Ranges.Ranges
  readonly dropped: Ranges.Ranges
}

/** None yet. */
export const settledOrdinals = (): SettledOrdinals => ({
  acknowledged: Ranges.make(),
  dead: Ranges.make(),
  dropped: Ranges.make()
})

/** Where each element below `end` is. */
export const ordinals = <A>(
  end: number,
  settled: SettledOrdinals,
  feeds: ReadonlyArray<RemoteFeed<A>>
): Ledger.Ordinals => {
  const classes = {
    leased: Ranges.of(feeds.flatMap((feed) => FeedSession.leasedOrdinals(feed.state()))),
    acknowledged: settled.acknowledged.toArray(),
    dead: settled.dead.toArray(),
    dropped: settled.dropped.toArray()
  }
  return { queued: Ranges.between(end, Object.values(classes).flat()), ...classes }
}
