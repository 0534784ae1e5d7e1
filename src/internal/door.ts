/**
 * Who is let in at a host: how many connections there may be, how fast they may come, and how many of them may be
 * strangers, which have not been admitted yet. It knows no sockets.
 */

/** How many may be in, and how fast they may come from one address. */
export interface DoorLimits {
  readonly connections: number
  readonly strangers: number
  readonly perSecond: number
}

/** One that is in. */
export interface Visitor {
  readonly address: string
  /** Sends it away at once. */
  readonly evict: () => void
}

/** The door: see the module. `now` is in milliseconds. */
export interface Door {
  /** Lets one in, as a stranger, or says why not. A stranger that is too many makes another leave. */
  readonly enter: (visitor: Visitor, now: number) => string | undefined
  /** It is no stranger any more. */
  readonly admit: (visitor: Visitor) => void
  readonly leave: (visitor: Visitor) => void
}

/** How many addresses are told apart. */
const mostAddresses = 4096

/** How many seconds' worth of connections may come at once, after a calm. */
const burst = 4

/** A host is given networks of 64 bits in IPv6, so it can have as many addresses of one as it likes. */
export const networkOf = (address: string): string => {
  if (!address.includes(":") || address.includes(".")) return address
  const [front = "", back] = address.split("::")
  const groups = front === "" ? [] : front.split(":")
  const rest = back === undefined || back === "" ? [] : back.split(":")
  const zeros = back === undefined ? 0 : 8 - groups.length - rest.length
  return [...groups, ...Array.from({ length: zeros }, () => "0"), ...rest].slice(0, 4).join(":")
}

/** Makes a door. */
export const make = ({ connections, perSecond, strangers: mostStrangers }: DoorLimits): Door => {
  const inside = new Set<Visitor>()
  /** The longest there first. */
  const strangers = new Set<Visitor>()
  /** What is left to an address, and since when. */
  const buckets = new Map<string, { tokens: number; at: number }>()
  const full = burst * perSecond

  const tokensOf = ({ at, tokens }: { tokens: number; at: number }, now: number) =>
    Math.min(full, tokens + (now - at) * perSecond / 1000)

  const mayCome = (network: string, now: number): boolean => {
    if (buckets.size >= mostAddresses && !buckets.has(network)) {
      for (const [other, bucket] of buckets) if (tokensOf(bucket, now) >= full) buckets.delete(other)
    }
    // When there are too many to be told apart, newcomers share one.
    const key = buckets.size >= mostAddresses && !buckets.has(network) ? "" : network
    const tokens = tokensOf(buckets.get(key) ?? { tokens: full, at: now }, now)
    if (tokens < 1) return false
    buckets.set(key, { tokens: tokens - 1, at: now })
    return true
  }

  /** Of the network that has the most strangers, the one that has been there the longest. */
  const mostTiresome = (): Visitor | undefined => {
    const first = new Map<string, { visitor: Visitor; count: number }>()
    let most: { visitor: Visitor; count: number } | undefined
    for (const visitor of strangers) {
      const network = networkOf(visitor.address)
      const group = first.get(network) ?? { visitor, count: 0 }
      group.count++
      first.set(network, group)
      if (most === undefined || group.count > most.count) most = group
    }
    return most?.visitor
  }

  const leave = (visitor: Visitor): void => {
    inside.delete(visitor)
    strangers.delete(visitor)
  }

  return {
    enter: (visitor, now) => {
      if (!mayCome(networkOf(visitor.address), now)) {
        return `more than ${perSecond} connections in a second came from this address`
      }
      if (strangers.size >= mostStrangers) {
        const other = mostTiresome()
        if (other !== undefined) {
          leave(other)
          other.evict()
        }
      }
      if (inside.size >= connections) return `it has ${inside.size} connections, which is its limit`
      inside.add(visitor)
      strangers.add(visitor)
      return undefined
    },
    admit: (visitor) => {
      strangers.delete(visitor)
    },
    leave
  }
}
