/**
 * What no peer says that keeps to the protocol, though it can be read: the field, and why.
 */
import type { Acknowledge, Hello, Progress } from "../RemoteDevices.ts"

/** The field of a Hello that no feeder sends so, and why; what is older than what is known has its own refusal. */
export const wrongHello = (frame: Hello, version: number): readonly [string, string] | undefined => {
  const { acknowledge, delivery = "atLeastOnce", keepTo, leaseMillis, session } = frame
  if (version < 2 && delivery !== "atLeastOnce") return ["Hello.delivery", `version ${version} knows no ${delivery}`]
  if (leaseMillis < 1) return ["Hello.leaseMillis", "it is 0"]
  if (session < 1) return ["Hello.session", "it is 0"]
  if (keepTo > 0 && acknowledge === "processed") {
    return ["Hello.keepTo", `it is ${keepTo}, but what is to be processed is not kept`]
  }
  return undefined
}

/** The field of a report that no device sends so after the one that is `known`, and why. */
export const wrongReport = (
  report: Progress,
  known: Progress,
  sent: number,
  acknowledge: Acknowledge
): string | undefined => {
  const { above, accepted, carried, delivered, received = accepted, settled } = report
  if (accepted > sent) return `accepted: it is ${accepted}, but ${sent} were sent`
  if (received > sent) return `received: it is ${received}, but ${sent} were sent`
  if (received < accepted) return `received: it is ${received}, but ${accepted} were accepted`
  if (delivered > accepted) return `delivered: it is ${delivered}, but ${accepted} were accepted`
  if (settled > delivered) return `settled: it is ${settled}, but ${delivered} were handed out`
  if (delivered < known.delivered) return `delivered: it is ${delivered}, but was ${known.delivered}`
  if (settled < known.settled) return `settled: it is ${settled}, but was ${known.settled}`
  if (acknowledge === "accepted") {
    if (accepted < known.accepted) return `accepted: it is ${accepted}, but was ${known.accepted}`
    if (carried > known.carried) return `carried: it is ${carried}, but ${known.carried} were kept`
  }
  let last = settled
  for (const [i, { count, from }] of above.entries()) {
    if (from <= last) return `above[${i}].from: it is ${from}, but ${last} is told of before it`
    if (count < 1) return `above[${i}].count: it is 0`
    last = from + count - 1
    if (last > accepted) return `above[${i}].count: it settles sequence ${last}, but ${accepted} were accepted`
  }
  return undefined
}
