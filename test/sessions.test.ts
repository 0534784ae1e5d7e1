/**
 * Random histories of feeders and devices that speak through cuts, crashes, stalls and returns, with no clock, no
 * fiber and no socket: only the two state machines and a network made of arrays. Laws 1 to 5 are checked at every step
 * and at the end.
 */
import { assert, describe, it } from "@effect/vitest"
import * as FeedSession from "effect-feeder/FeedSession"
import * as HostSession from "effect-feeder/HostSession"
import type { Acknowledge, DeviceFrame, FeederFrame, Result } from "effect-feeder/RemoteDevices"
import { done } from "effect-feeder/RemoteDevices"
import { chance } from "./chance.ts"
import { codec } from "./fixtures/plainCodec.ts"

const lease = 1000

interface Link {
  readonly id: number
  readonly feeder: number
  readonly device: number
  /** The incarnations of the two processes it connects. */
  readonly feederLife: number
  readonly deviceLife: number
  readonly toDevice: Array<FeederFrame>
  readonly toFeeder: Array<DeviceFrame>
  /** Whether frames still move, and which side has not yet noticed that they do not. */
  isCut: boolean
  feederKnows: boolean
  deviceKnows: boolean
}

interface Entry {
  readonly feeder: number
  readonly place: HostSession.Place
  readonly ordinal: number
  readonly attempt: number
}

interface Remote {
  state: FeedSession.State<number>
  link: Link | undefined
  retryAt: number
  isGone: boolean
}

interface Source {
  life: number
  isFrozen: boolean
  generated: number
  queue: Array<FeedSession.Item<number>>
  readonly remotes: Array<Remote>
  lost: number
}

interface Device {
  life: number
  isFrozen: boolean
  isLeaving: boolean
  readonly skew: number
  readonly hosts: Map<number, HostSession.State>
  queue: Array<Entry>
  /** Handed out and not settled, by this life or, as a zombie's handler, before a reclaim. */
  readonly hands: Array<Entry>
}

interface Options {
  readonly seed: number
  readonly acknowledge: Acknowledge
  readonly feeders: number
  readonly devices: number
  readonly steps: number
  readonly feederCrashes: boolean
}

const capacity = 6
const windowBytes = 45

class History {
  readonly random
  now = 0
  links: Array<Link> = []
  linkCount = 0
  readonly sources: Array<Source> = []
  readonly devices: Array<Device> = []
  /** Deliveries of each element of the present life of its feeder: how many, and how many of them unmarked. */
  readonly given = new Map<string, { count: number; unmarked: number; settled: number }>()
  readonly lastFirst = new Map<string, number>()
  readonly log: Array<string> = []
  readonly options: Options

  constructor(options: Options) {
    this.options = options
    this.random = chance(options.seed)
    for (let f = 0; f < options.feeders; f++) {
      this.sources.push({ life: 1, isFrozen: false, generated: 0, queue: [], remotes: [], lost: 0 })
      for (let d = 0; d < options.devices; d++) this.sources[f]!.remotes.push(this.remote(f, d, 1))
    }
    for (let d = 0; d < options.devices; d++) {
      this.devices.push({
        life: 1,
        isFrozen: false,
        isLeaving: false,
        skew: this.random.below(1e6),
        hosts: new Map(),
        queue: [],
        hands: []
      })
    }
  }

  remote(feeder: number, device: number, life: number): Remote {
    return {
      state: FeedSession.make({
        feed: "f",
        fingerprint: "p",
        feeder: `feeder-${feeder}`,
        incarnation: life,
        acknowledge: this.options.acknowledge,
        delivery: "atLeastOnce",
        leaseMillis: lease,
        codec
      }, `/job:consumer/replica:${device}`),
      link: undefined,
      retryAt: 0,
      isGone: false
    }
  }

  fail(message: string): never {
    throw new Error(`${message}\nseed ${JSON.stringify(this.options)}\n${this.log.slice(-60).join("\n")}`)
  }

  // --- the feeder's side -------------------------------------------------------------------------------------------

  feed(f: number, d: number, input: FeedSession.Input<number>): void {
    const source = this.sources[f]!
    const remote = source.remotes[d]!
    const [state, outputs] = FeedSession.step(remote.state, input)
    remote.state = state
    for (const output of outputs) {
      switch (output._tag) {
        case "Send":
          if (remote.link !== undefined && !remote.link.isCut) remote.link.toDevice.push(output.frame)
          break
        case "CloseLink":
          if (remote.link !== undefined) {
            remote.link.isCut = true
            remote.link.feederKnows = true
            remote.link = undefined
          }
          break
        case "GiveBack":
          source.queue.unshift(...output.items)
          break
        case "Rejected":
          break
        case "Reclaimed":
          remote.retryAt = this.now + this.random.below(lease)
          break
        case "Failed":
          this.fail(`feeder ${f} device ${d} failed: ${output.reason} ${output.detail}`)
      }
    }
  }

  open(f: number, d: number): void {
    const remote = this.sources[f]!.remotes[d]!
    const device = this.devices[d]!
    const link: Link = {
      id: ++this.linkCount,
      feeder: f,
      device: d,
      feederLife: this.sources[f]!.life,
      deviceLife: device.life,
      toDevice: [],
      toFeeder: [],
      isCut: false,
      feederKnows: false,
      deviceKnows: false
    }
    this.links.push(link)
    remote.link = link
    this.feed(f, d, { _tag: "Opened", now: this.now })
  }

  push(f: number, d: number): void {
    const source = this.sources[f]!
    const { state } = source.remotes[d]!
    const credit = FeedSession.credit(state)
    const most = Math.min(credit.elements, Math.floor(credit.bytes / 10), 5)
    if (most <= 0 || source.queue.length === 0) return
    const items = source.queue.splice(0, 1 + this.random.below(most))
    if (items.some((item) => item.attempt > 1000)) this.fail("an element comes back for ever")
    this.feed(f, d, { _tag: "Push", items })
  }

  // --- the device's side -------------------------------------------------------------------------------------------

  room(): HostSession.Room {
    const share = Math.max(1, Math.floor(capacity / this.options.feeders))
    return { collecting: false, elements: share, bytes: windowBytes, unsettled: capacity + 3 }
  }

  host(d: number, f: number, input: HostSession.Input): void {
    const device = this.devices[d]!
    const [state, outputs] = HostSession.step(device.hosts.get(f) ?? HostSession.make(`feeder-${f}`), input, {
      device: `device-${d}-${device.life}`,
      capacity,
      frameBytes: 1e6,
      elements: 1e6
    })
    device.hosts.set(f, state)
    for (const output of outputs) {
      switch (output._tag) {
        case "Send": {
          const link = this.links.find((link) => link.id === output.link)
          if (link !== undefined && !link.isCut) link.toFeeder.push(output.frame)
          break
        }
        case "CloseLink": {
          const link = this.links.find((link) => link.id === output.link)
          if (link !== undefined) {
            // What was sent before the close still arrives.
            link.deviceKnows = true
            link.toDevice.length = 0
          }
          break
        }
        case "Admit": {
          let index = 0
          let sequence = output.first.sequence
          for (const run of output.batch.runs) {
            for (let i = 0; i < run.count; i++, index++) {
              if (index < output.from) continue
              device.queue.push({
                feeder: f,
                place: { ...output.first, sequence: sequence++ },
                ordinal: run.ordinal + i,
                attempt: run.attempt
              })
            }
          }
          break
        }
        case "Discard":
          device.queue = device.queue.filter((entry) =>
            entry.feeder !== f || entry.place.incarnation !== output.incarnation ||
            entry.place.session !== output.session || entry.place.sequence <= output.above
          )
          break
      }
    }
  }

  take(d: number): void {
    const device = this.devices[d]!
    const entry = device.queue.shift()
    if (entry === undefined) return
    const host = device.hosts.get(entry.feeder)!
    const now = this.now + device.skew
    const verdict = HostSession.verdict(host, entry.place, now)
    this.log.push(`${this.now} device ${d} ${verdict} f${entry.feeder} #${entry.ordinal} attempt ${entry.attempt}`)
    if (verdict === "lapsed") {
      device.hosts.set(entry.feeder, HostSession.lapse(host))
      const link = this.links.find((link) => link.id === host.link)
      if (link !== undefined) link.deviceKnows = true
      this.host(d, entry.feeder, { _tag: "Lost", link: host.link ?? -1 })
    }
    if (verdict !== "hand out") return
    const [state, unmarkedTo] = HostSession.handOut(host, entry.place, 1, now)
    device.hosts.set(entry.feeder, state)
    const isMarked = entry.place.sequence > unmarkedTo || entry.attempt > 1
    const key = `${entry.feeder}/${entry.place.incarnation}/${entry.ordinal}`
    const given = this.given.get(key) ?? { count: 0, unmarked: 0, settled: 0 }
    if (given.count > 0 && !isMarked) this.fail(`law 4: ${key} is delivered a second time, unmarked`)
    this.given.set(key, { ...given, count: given.count + 1, unmarked: given.unmarked + (isMarked ? 0 : 1) })
    if (!isMarked) {
      const order = `${entry.feeder}/${entry.place.incarnation}/${d}/${device.life}`
      if ((this.lastFirst.get(order) ?? -1) >= entry.ordinal) this.fail(`law 2: #${entry.ordinal} overtook`)
      this.lastFirst.set(order, entry.ordinal)
    }
    if (this.options.acknowledge === "processed") device.hands.push(entry)
  }

  settle(d: number, result: Result): void {
    const device = this.devices[d]!
    if (device.hands.length === 0) return
    const [entry] = device.hands.splice(this.random.below(Math.min(3, device.hands.length)), 1)
    const isCurrent = HostSession.isCurrent(device.hosts.get(entry!.feeder)!, entry!.place)
    this.host(d, entry!.feeder, { _tag: "Settle", place: entry!.place, count: 1, result })
    if (isCurrent && result._tag !== "Retry") {
      const key = `${entry!.feeder}/${entry!.place.incarnation}/${entry!.ordinal}`
      const given = this.given.get(key)!
      this.given.set(key, { ...given, settled: given.settled + 1 })
    }
  }

  // --- the network and the faults ----------------------------------------------------------------------------------

  move(link: Link, toDevice: boolean): void {
    const source = this.sources[link.feeder]!
    const device = this.devices[link.device]!
    if (toDevice) {
      if (link.deviceKnows || device.isFrozen || link.deviceLife !== device.life) return
      const frame = link.toDevice.shift()
      const now = this.now + device.skew
      if (frame === undefined) {
        if (link.isCut) {
          link.deviceKnows = true
          this.host(link.device, link.feeder, { _tag: "Lost", link: link.id })
        }
      } else if (frame._tag === "Hello" && device.isLeaving) {
        link.isCut = true
      } else if (frame._tag === "Hello") {
        this.host(link.device, link.feeder, { _tag: "Hello", frame, link: link.id, room: this.room(), now })
      } else {
        this.host(link.device, link.feeder, { _tag: "Received", frame, link: link.id })
      }
    } else {
      if (link.feederKnows || source.isFrozen || link.feederLife !== source.life) return
      const frame = link.toFeeder.shift()
      if (frame !== undefined) {
        this.feed(link.feeder, link.device, { _tag: "Received", frame, now: this.now })
      } else if (link.isCut || link.deviceKnows) {
        link.feederKnows = true
        const remote = source.remotes[link.device]!
        remote.link = undefined
        const fate = link.deviceLife !== device.life && this.random.next() < 0.5 ? "gone" : "unknown"
        this.feed(link.feeder, link.device, { _tag: "Lost", fate, now: this.now })
      }
    }
  }

  cut(link: Link): void {
    link.isCut = true
    link.toDevice.length = this.random.below(link.toDevice.length + 1)
    link.toFeeder.length = this.random.below(link.toFeeder.length + 1)
  }

  crashDevice(d: number): void {
    const device = this.devices[d]!
    this.log.push(`${this.now} device ${d} crashes`)
    device.life++
    device.isFrozen = false
    device.isLeaving = false
    device.hosts.clear()
    device.queue = []
    device.hands.length = 0
    for (const link of this.links) if (link.device === d) this.cut(link)
  }

  /** Says that it is leaving; once it holds nothing, another process takes its place. */
  leave(d: number): void {
    const device = this.devices[d]!
    device.isLeaving = true
    for (const { link } of device.hosts.values()) {
      this.links.find(({ id, isCut }) => id === link && !isCut)?.toFeeder.push({ _tag: "Leaving", byMillis: lease })
    }
  }

  restartIfLeft(d: number): void {
    const device = this.devices[d]!
    const isDone = [...device.hosts.values()].every((host) => host.link === undefined || HostSession.hasEnded(host))
    const isLinked = this.links.some((link) => link.device === d && !link.deviceKnows && !link.isCut)
    if (device.isLeaving && isDone && !isLinked && device.queue.length === 0 && device.hands.length === 0) {
      this.crashDevice(d)
    }
  }

  crashFeeder(f: number): void {
    const source = this.sources[f]!
    this.log.push(`${this.now} feeder ${f} crashes`)
    source.life++
    source.isFrozen = false
    source.generated = 0
    source.queue = []
    for (const link of this.links) if (link.feeder === f) this.cut(link)
    for (let d = 0; d < this.devices.length; d++) source.remotes[d] = this.remote(f, d, source.life)
  }

  // --- the laws ----------------------------------------------------------------------------------------------------

  check(): void {
    this.sources.forEach((source, f) => {
      let sum = source.queue.length
      for (const { state } of source.remotes) {
        sum += FeedSession.leased(state) + FeedSession.held(state) + state.delivered + state.heldByDead + state.dead
        if (state.sent > state.progress.creditTo && state.sent > 0 && state.welcomed) {
          this.fail(`law 1: feeder ${f} sent ${state.sent} beyond its credit ${state.progress.creditTo}`)
        }
      }
      if (sum !== source.generated) this.fail(`law 3: feeder ${f} generated ${source.generated}, accounts for ${sum}`)
    })
    this.devices.forEach((device, d) => {
      let waiting = 0
      for (const [f, host] of device.hosts) {
        waiting += HostSession.queued(host)
        const present = device.queue.filter(({ feeder, place }) =>
          feeder === f && (place.incarnation !== host.incarnation || place.session < host.session ||
            place.epoch === host.epoch)
        )
        if (present.length !== HostSession.queued(host)) {
          this.fail(
            `law 3: device ${d} counts ${HostSession.queued(host)} queued of feeder ${f}, has ${present.length}`
          )
        }
      }
      const bound = Math.max(capacity, this.options.feeders) * 2
      if (waiting > bound) this.fail(`law 1: device ${d} holds ${waiting} of ${bound}`)
    })
  }

  act(faults: boolean): void {
    const { random } = this
    const f = random.below(this.sources.length)
    const d = random.below(this.devices.length)
    const source = this.sources[f]!
    const device = this.devices[d]!
    const remote = source.remotes[d]!
    const roll = random.next()
    if (roll < 0.4) {
      if (this.links.length > 0) this.move(random.pick(this.links), random.next() < 0.5)
    } else if (roll < 0.5) {
      if (!source.isFrozen) {
        if (source.queue.length < 4 && faults) {
          source.queue.push({ ordinal: source.generated, attempt: 1, element: source.generated })
          source.generated++
        }
        this.push(f, d)
        if (source.queue.length === 0 && random.next() < 0.3) this.feed(f, d, { _tag: "Flush" })
      }
    } else if (roll < 0.58) {
      const canOpen = remote.link === undefined && this.now >= remote.retryAt && remote.state.phase !== "Ended"
      if (!source.isFrozen && canOpen) this.open(f, d)
    } else if (roll < 0.64) {
      if (!source.isFrozen) this.feed(f, d, { _tag: "Tick", now: this.now })
    } else if (roll < 0.74) {
      if (!device.isFrozen) this.take(d)
    } else if (roll < 0.84) {
      const result: Result = random.next() < 0.85 || !faults
        ? done
        : random.next() < 0.7
        ? { _tag: "Retry", afterMillis: 0, cause: "again" }
        : { _tag: "Reject", cause: "bad" }
      if (!device.isFrozen) this.settle(d, result)
    } else if (roll < 0.92) {
      if (!device.isFrozen && device.hosts.has(f)) {
        this.host(d, f, { _tag: "Report", room: this.room(), now: this.now + device.skew })
      }
    } else if (roll < 0.96) {
      this.now += random.next() < 0.05 && faults ? random.below(lease * 3) : random.below(lease / 20)
    } else if (faults) {
      const fault = random.next()
      if (fault < 0.5) {
        if (this.links.length > 0) this.cut(random.pick(this.links))
      } else if (fault < 0.6) this.crashDevice(d)
      else if (fault < 0.65) this.leave(d)
      else if (fault < 0.8) device.isFrozen = !device.isFrozen
      else if (fault < 0.95) source.isFrozen = !source.isFrozen
      else if (this.options.feederCrashes) this.crashFeeder(f)
    }
    if (!device.isFrozen) this.restartIfLeft(d)
    if (random.next() < 0.05) {
      this.links = this.links.filter((link) =>
        !((link.feederKnows || link.feederLife !== this.sources[link.feeder]!.life) &&
          (link.deviceKnows || link.deviceLife !== this.devices[link.device]!.life))
      )
    }
    this.check()
  }

  run(): void {
    for (let i = 0; i < this.options.steps; i++) this.act(true)
    // The faults end; everything must come to rest with every element accounted for.
    for (const source of this.sources) source.isFrozen = false
    for (const device of this.devices) device.isFrozen = false
    const isIdle = () =>
      this.sources.every((source) =>
        source.queue.length === 0 && source.remotes.every(({ state }) => FeedSession.leased(state) === 0)
      )
    let guard = 0
    while (!isIdle()) {
      if (++guard > 100_000) this.fail("not everything was acknowledged after the faults ended")
      this.act(false)
    }
    this.sources.forEach((_, f) => {
      for (let d = 0; d < this.devices.length; d++) this.feed(f, d, { _tag: "Drain", now: this.now })
    })
    while (!this.sources.every((source) => source.remotes.every(({ state }) => state.phase === "Ended"))) {
      if (++guard > 200_000) this.fail("the feed did not end")
      this.act(false)
    }
    while (this.devices.some((device) => device.queue.length > 0)) {
      for (let d = 0; d < this.devices.length; d++) this.take(d)
    }
    this.sources.forEach((source, f) => {
      const dead = source.remotes.reduce((sum, { state }) => sum + state.dead, 0)
      const heldByDead = source.remotes.reduce((sum, { state }) => sum + state.heldByDead, 0)
      let never = 0
      for (let ordinal = 0; ordinal < source.generated; ordinal++) {
        const given = this.given.get(`${f}/${source.life}/${ordinal}`)
        if (given === undefined) never++
        else if (this.options.acknowledge === "processed" && given.settled === 0) {
          this.fail(`law 5: #${ordinal} is not settled`)
        }
      }
      if (never > heldByDead) this.fail(`law 5: ${never} never delivered, ${heldByDead} held by dead devices`)
      const delivered = source.remotes.reduce((sum, { state }) => sum + state.delivered, 0)
      if (this.options.acknowledge === "processed" && delivered + dead !== source.generated) {
        this.fail(`law 3: ${delivered} delivered and ${dead} dead of ${source.generated}`)
      }
    })
  }
}

const histories = (name: string, count: number, options: (seed: number) => Omit<Options, "seed">) =>
  it(`${name}: ${count} random histories keep laws 1 to 5`, { timeout: 240_000 }, () => {
    for (let seed = 1; seed <= count; seed++) new History({ seed, ...options(seed) }).run()
    assert.isTrue(true)
  })

describe("FeedSession and HostSession", () => {
  for (const acknowledge of ["processed", "accepted"] as const) {
    histories(`${acknowledge}, one feeder, one device`, 5000, () => ({
      acknowledge,
      feeders: 1,
      devices: 1,
      steps: 300,
      feederCrashes: false
    }))
    histories(`${acknowledge}, one feeder, three devices`, 5000, () => ({
      acknowledge,
      feeders: 1,
      devices: 3,
      steps: 500,
      feederCrashes: false
    }))
    histories(`${acknowledge}, several feeders and devices, feeders that crash`, 5000, (seed) => ({
      acknowledge,
      feeders: 1 + (seed % 3),
      devices: 1 + (seed % 2),
      steps: 500,
      feederCrashes: true
    }))
  }
})
