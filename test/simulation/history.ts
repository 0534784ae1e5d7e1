/**
 * One history: feeders, devices and consumers in processes of their own, on a network that breaks, for as long as the
 * faults last and then until everything has come to its end. A seed decides all of it.
 */
import { Cause, Context, Effect, Exit, Fiber, Schema } from "effect"
import { Device, FailureTolerator, Feed, Feeder, type RemoteDevices } from "effect-feeder"
import { SimulatedDevices, Simulation } from "effect-feeder/testing"
import { chance } from "../chance.ts"
import * as Laws from "./laws.ts"

const lease = 1000

const Element = Schema.Struct({ feeder: Schema.Int, life: Schema.Int, n: Schema.Int, text: Schema.String })

const feeds = new Map<string, ReturnType<typeof makeFeed>>()

const makeFeed = (capacity: number, acknowledge: RemoteDevices.Acknowledge) =>
  Feed.make("elements", { element: Element, capacity, acknowledge })

/** Feeds are declarations: those of one kind are made once for all histories. */
const feedOf = (capacity: number, acknowledge: RemoteDevices.Acknowledge) => {
  const key = `${acknowledge} ${capacity}`
  const known = feeds.get(key) ?? makeFeed(capacity, acknowledge)
  feeds.set(key, known)
  return known
}

/** What a seed decides before a history begins. */
const plan = (seed: number) => {
  const random = chance(seed)
  const yes = (probability: number) => random.next() < probability
  return {
    acknowledge: yes(0.6) ? "processed" as const : "accepted" as const,
    capacity: 1 + random.below(8),
    devices: 1 + random.below(3),
    feeders: yes(0.75) ? 1 : 2,
    /** Elements of each life of a feeder. */
    total: 5 + random.below(30),
    operations: random.pick([5, 20, 100, 2048]),
    delay: random.pick([0, 1, 10, 60]),
    frames: 1 + random.below(12),
    asBytes: yes(0.5),
    isExitProven: yes(0.3),
    silence: random.pick([0, 0.5, 1]),
    windowBytes: yes(0.3) ? 40 + random.below(200) : 1_000_000,
    /** Elements of a batch, and fibers that take them, at each device. */
    size: yes(0.5) ? 1 : 1 + random.below(8),
    concurrency: yes(0.6) ? 1 : 2 + random.below(2),
    work: random.pick([0, 20, 300]),
    isPatient: yes(0.5),
    expectsAll: yes(0.5),
    /** How many failures a device may have; in most histories more than it will. */
    limit: yes(0.1) ? 1 + random.below(4) : 1_000_000,
    faults: yes(0.1) ? 0 : 1 + random.below(12),
    faultMillis: 200 + random.below(6000),
    /** Which faults a history knows: a few of them let it go far with each. */
    kinds: faultKinds.filter(() => yes(0.5))
  }
}

export type Plan = ReturnType<typeof plan>

const faultKinds = [
  "reset",
  "half-open",
  "partition",
  "freeze device",
  "kill device",
  "close device",
  "leave",
  "replace device",
  "interrupt loop",
  "freeze feeder",
  "kill feeder",
  "stop feeder",
  "interrupt feeder"
] as const

interface DeviceLife {
  readonly name: string
  readonly process: Simulation.Process
  main: Fiber.Fiber<unknown, unknown> | undefined
  loop: Fiber.Fiber<unknown, unknown> | undefined
  device: Device.Device | undefined
  /** Handlers that have begun and not ended. */
  busy: number
  isClosing: boolean
  /** Another process has its name, though it lives. */
  isReplaced: boolean
}

interface FeederLife {
  readonly number: number
  readonly life: number
  readonly process: Simulation.Process
  feeder: Feeder.Feeder<typeof Element> | undefined
  run: Fiber.Fiber<unknown, unknown> | undefined
  stopAskedAt: number | undefined
  isDone: boolean
  hasFailed: boolean
  main: Fiber.Fiber<unknown, unknown> | undefined
}

/** What a history was. */
export interface Told {
  readonly steps: number
  readonly millis: number
  readonly given: number
  readonly redelivered: number
}

/** Runs the history of a seed to its end. Throws a `Violation` if a law was broken. `say` is told what happens. */
export const run = (seed: number, say: (line: string) => void = () => {}): Told => {
  const config = plan(seed)
  const simulation = Simulation.make({ seed: seed ^ 0x5eed, operations: config.operations })
  const tell = (what: () => string) => say(`${simulation.now().toFixed(1)} ${what()}`)
  const next = simulation.random
  const below = (n: number) => Math.floor(next() * n)
  const yes = (probability: number) => next() < probability
  const pick = <T>(all: ReadonlyArray<T>): T | undefined => all[below(all.length)]
  const feed = feedOf(config.capacity, config.acknowledge)
  const isProcessed = config.acknowledge === "processed"
  const laws = Laws.make({
    acknowledge: config.acknowledge
  }, tell)
  const network = SimulatedDevices.make({
    simulation,
    delay: () => next() * config.delay,
    frames: config.frames,
    asBytes: config.asBytes,
    isExitProven: config.isExitProven,
    isSilent: () => yes(config.silence),
    watch: laws.watch
  })
  const names = Array.from({ length: config.devices }, (_, i) => `/job:consumer/replica:${i}`)
  const lives: Array<DeviceLife> = []
  const feeders: Array<FeederLife> = []
  let isOver = false
  tell(() => JSON.stringify({ seed, ...config }))

  // --- consumers -----------------------------------------------------------------------------------------------------

  const work = Effect.suspend(() => {
    if (config.work === 0 || yes(0.5)) return Effect.void
    return Effect.sleep(yes(0.03) ? lease * 2 : below(config.work))
  })

  /** A handler's result for one element; a defect ends its loop. */
  const resultOf = (element: Laws.Element, ordinal: number) => {
    const outcome = !isProcessed
      ? Feed.done
      : yes(0.06)
      ? Feed.retry({ after: config.isPatient && yes(0.5) ? 100 : 0 })
      : yes(0.03)
      ? Feed.reject("refused by chance")
      : Feed.done
    if (outcome._tag !== "Retry") laws.settling(element, ordinal, outcome._tag)
    return outcome
  }

  const consume = (life: DeviceLife) => {
    const handling = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.suspend(() => {
        life.busy++
        return Effect.ensuring(effect, Effect.sync(() => life.busy--))
      })
    const fails = Effect.suspend(() =>
      yes(0.01) ? Effect.die(new Error("a consumer that fails by chance")) : Effect.void
    )
    const options = { concurrency: config.concurrency }
    if (config.size === 1) {
      return feed.forEach((element, delivery) =>
        handling(Effect.gen(function*() {
          yield* work
          yield* fails
          const outcome = resultOf(element, delivery.ordinal)
          if (outcome._tag !== "Done") return yield* outcome
        })), options)
    }
    return feed.forEachBatch(config.size, (batch, { deliveries, size }) =>
      handling(Effect.gen(function*() {
        const elements = Array.from({ length: size }, (_, i): Laws.Element => ({
          feeder: Number(batch.feeder[i]),
          life: Number(batch.life[i]),
          n: Number(batch.n[i]),
          text: String(batch.text[i])
        }))
        yield* work
        yield* fails
        const outcomes = elements.map((element, i) => resultOf(element, deliveries[i]!.ordinal))
        if (outcomes.some(({ _tag }) => _tag !== "Done")) return yield* Feed.outcomes(outcomes)
      })), options)
  }

  const startDevice = (device: string): void => {
    const number = lives.filter(({ name }) => name.startsWith(device)).length + 1
    const name = `${device} life ${number}`
    const life: DeviceLife = {
      name,
      process: simulation.process(name),
      main: undefined,
      loop: undefined,
      device: undefined,
      busy: 0,
      isClosing: false,
      isReplaced: false
    }
    lives.push(life)
    const program = Effect.scoped(Effect.gen(function*() {
      const [made, hosts] = yield* Device.make({
        feeds: [feed],
        device,
        feeders: config.expectsAll ? config.feeders : "forever",
        windowBytes: config.windowBytes
      })
      life.device = made
      const hosted = Context.get(hosts, feed.host)
      const watched = Context.add(hosts, feed.host, {
        ...hosted,
        take: (options, onTake) =>
          hosted.take(options, (handed) => {
            for (const { delivery, element } of handed) laws.given(name, element, delivery)
            onTake?.(handed)
          })
      })
      while (true) {
        life.loop = yield* Effect.forkChild(Effect.provide(consume(life), watched))
        yield* Fiber.await(life.loop)
        yield* Effect.sleep(20)
      }
    }))
    tell(() => `${name} begins`)
    life.main = life.process.run(program.pipe(
      Effect.provide(SimulatedDevices.layerLinks(device, [feed])),
      Effect.provideService(SimulatedDevices.Network, network)
    ))
  }

  /** The life that answers to a device's name now. */
  const living = (device: string): DeviceLife | undefined =>
    lives.findLast(({ isReplaced, main, name, process }) =>
      !isReplaced &&
      name.startsWith(`${device} `) && process.isAlive() && main?.pollUnsafe() === undefined
    )

  const closeDevice = (life: DeviceLife): void => {
    if (life.isClosing) return
    life.isClosing = true
    life.process.post(() => life.main?.interruptUnsafe())
  }

  /** Begins another life as soon as nobody has the name. */
  const startAgain = (device: string): void => {
    if (isOver) return
    if (living(device) === undefined) startDevice(device)
    else simulation.after(100, () => startAgain(device))
  }

  // --- feeders -------------------------------------------------------------------------------------------------------

  const startFeeder = (number: number): void => {
    const life = feeders.filter((one) => one.number === number).length + 1
    const self: FeederLife = {
      number,
      life,
      process: simulation.process(laws.feederKey(number, life)),
      feeder: undefined,
      run: undefined,
      stopAskedAt: undefined,
      isDone: false,
      hasFailed: false,
      main: undefined
    }
    feeders.push(self)
    laws.open(number, life, config.total)
    let n = 0
    const source = Effect.suspend(() => {
      if (n === config.total) return Cause.done()
      const element = Effect.sync(() => ({ feeder: number, life, n, text: "x".repeat(n++ % 7) }))
      return yes(0.1) ? Effect.andThen(Effect.sleep(below(50)), element) : element
    })
    const program = Effect.scoped(Effect.gen(function*() {
      const made = yield* Feeder.make(feed, {
        id: `feeder-${number}`,
        lease,
        maxAttempts: 1_000_000,
        tolerate: FailureTolerator.make({ limit: config.limit, initDelay: 20, backoffFactor: 1 })
      })
      const feeder = yield* made.set(source)
      yield* feeder.addRemoteDevices(names)
      self.feeder = feeder
      while (true) {
        self.run = yield* Effect.forkChild(feeder.run)
        const exit = yield* Fiber.await(self.run)
        self.run = undefined
        const stopAskedAt = self.stopAskedAt
        self.stopAskedAt = undefined
        if (stopAskedAt !== undefined && simulation.now() > stopAskedAt + 2500) {
          laws.fail(8, `a stop took ${simulation.now() - stopAskedAt} ms`)
        }
        tell(() =>
          `${laws.feederKey(number, life)} pauses: ${Exit.isSuccess(exit) ? "stopped" : Cause.pretty(exit.cause)}`
        )
        if ((yield* feeder.status).hasEnded) {
          laws.ended(number, life, yield* feeder.ledger)
          return
        }
        if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) {
          const text = Cause.pretty(exit.cause)
          if (config.limit > 1000) laws.fail(7, `the run failed: ${text}`)
          if (!text.includes("no device is left")) laws.fail(7, `it failed otherwise than by its budget: ${text}`)
          self.hasFailed = true
          return
        }
        yield* Effect.sleep(below(100))
      }
    }))
    tell(() => `${laws.feederKey(number, life)} begins`)
    self.main = self.process.run(program.pipe(
      Effect.provide(SimulatedDevices.layer),
      Effect.provideService(SimulatedDevices.Network, network),
      Effect.onExit((exit) =>
        Effect.sync(() => {
          self.isDone = true
          if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) {
            laws.fail(8, `a feeder ended with a defect: ${Cause.pretty(exit.cause)}`)
          }
        })
      )
    ))
  }

  const current = (number: number): FeederLife => feeders.findLast((one) => one.number === number)!

  const isFeeding = ({ isDone, process }: FeederLife) => !isDone && process.isAlive()

  // --- faults --------------------------------------------------------------------------------------------------------

  const freeze = (process: Simulation.Process, millis: number): void => {
    process.freeze()
    simulation.after(millis, process.thaw)
  }

  const span = () => yes(0.3) ? lease * (1 + 2 * next()) : below(lease)

  const fault = (kind: typeof faultKinds[number]): void => {
    const device = pick(names)!
    const life = living(device)
    const feeder = current(below(config.feeders))
    const connection = pick(network.connections())
    tell(() => `${kind}: ${kind.includes("feeder") ? feeder.number : device}`)
    switch (kind) {
      case "reset":
        return connection?.reset()
      case "half-open":
        return connection?.halfOpen()
      case "partition":
        network.partition(device)
        simulation.after(span(), () => network.heal(device))
        return
      case "freeze device":
        return life === undefined ? undefined : freeze(life.process, span())
      case "kill device":
        life?.process.kill()
        simulation.after(span(), () => startAgain(device))
        return
      case "close device":
        if (life !== undefined) closeDevice(life)
        return startAgain(device)
      case "leave":
        if (life?.device === undefined || life.isClosing) return
        life.process.run(life.device.leave(below(2000)))
        closeDevice(life)
        return startAgain(device)
      case "replace device":
        // Another process takes the name of one that hangs. To have it is taken for a proof that the other has gone, so
        // it may only wake up when its lease has run out.
        if (life === undefined || life.isClosing) return
        freeze(life.process, lease * (1.2 + next()))
        life.isReplaced = true
        return startDevice(device)
      case "interrupt loop":
        return life?.process.post(() => life.loop?.interruptUnsafe())
      case "freeze feeder":
        // A frozen process cannot stop in time.
        if (isFeeding(feeder) && feeder.stopAskedAt === undefined) freeze(feeder.process, span())
        return
      case "kill feeder":
        if (!isFeeding(feeder)) return
        feeder.process.kill()
        simulation.after(1 + span(), () => startFeeder(feeder.number))
        return
      case "stop feeder":
      case "interrupt feeder":
        if (!isFeeding(feeder) || feeder.feeder === undefined || feeder.process.isFrozen()) return
        if (feeder.run === undefined || feeder.stopAskedAt !== undefined) return
        feeder.stopAskedAt = simulation.now()
        if (kind === "stop feeder") feeder.process.run(feeder.feeder.stop)
        else feeder.process.post(() => feeder.run?.interruptUnsafe())
    }
  }

  // --- what must not be, at any moment -----------------------------------------------------------------------------

  const look = (): void => {
    if (laws.violation() !== undefined) throw laws.violation()
    for (const { feeder, life, number, process } of feeders) {
      if (feeder !== undefined && process.isAlive()) laws.looked(number, life, Effect.runSync(feeder.ledger))
    }
  }

  /** When nothing goes on without the time, nobody waits for what is there. */
  const lookIdle = (): void => {
    for (const self of feeders) {
      if (!isFeeding(self) || self.process.isFrozen() || self.run === undefined || self.feeder === undefined) continue
      if (config.isPatient || self.stopAskedAt !== undefined) continue
      const { devices, ledger } = Effect.runSync(self.feeder.status)
      if (ledger.queued === 0) continue
      for (const connection of network.connections()) {
        if (connection.feeder !== self.process || connection.isFull("feeder")) continue
        const isLive = devices.some(({ device, phase }) => device === connection.device && phase === "Live")
        if (isLive && laws.canSend(connection)) {
          laws.fail(
            6,
            `${
              laws.feederKey(self.number, self.life)
            } sends nothing to ${connection.device}, which granted more: ${stuck()}`
          )
        }
      }
    }
    for (const life of lives) {
      const isLooping = life.loop !== undefined && life.loop.pollUnsafe() === undefined
      if (!isLooping || life.device === undefined || !life.process.isAlive() || life.process.isFrozen()) continue
      if (life.busy >= config.concurrency) continue
      const queued = Effect.runSync(life.device.status)[0]!.queued
      if (queued > 0) laws.fail(6, `consumers wait at ${life.name}, where ${queued} are queued`)
    }
  }

  // --- the history -------------------------------------------------------------------------------------------------

  const stuck = (): string =>
    JSON.stringify({
      feeders: feeders.filter(isFeeding).map(({ feeder, life, number }) => ({
        number,
        life,
        ...(feeder === undefined ? {} : Effect.runSync(feeder.status))
      })),
      devices: lives.filter(({ process }) => process.isAlive()).map(({ busy, device, name }) => ({
        name,
        busy,
        ...(device === undefined ? {} : Effect.runSync(device.status)[0])
      }))
    })

  let deadline = Infinity
  let steps = 0
  const go = (until: () => boolean, what: string): void => {
    while (!until()) {
      if (!simulation.isBusy()) lookIdle()
      if (!simulation.step()) break
      look()
      steps++
      if (simulation.now() > deadline || steps > 1_000_000) laws.fail(9, `${what} does not end: ${stuck()}`)
    }
  }

  names.forEach(startDevice)
  for (let i = 0; i < config.feeders; i++) startFeeder(i)
  if (config.kinds.length > 0) {
    for (let i = 0; i < config.faults; i++) {
      simulation.after(below(config.faultMillis), () => {
        if (!isOver) fault(pick(config.kinds)!)
      })
    }
  }
  deadline = config.faultMillis + 10 * lease + config.total * config.feeders * (3 * config.work + 500) + 60_000
  const isEnded = () =>
    simulation.now() > config.faultMillis && feeders.every((one) => one.isDone || !one.process.isAlive()) &&
    Array.from({ length: config.feeders }, (_, i) => current(i)).every(({ isDone }) => isDone)
  go(isEnded, "feeding")
  // What is held is still consumed, what was held back arrives, then everything is closed.
  isOver = true
  const rest = simulation.now() + 4 * lease
  deadline += 60_000
  go(() => simulation.now() > rest, "consuming")
  for (const life of lives) if (life.process.isAlive()) closeDevice(life)
  go(() => false, "closing")
  for (const process of [...lives, ...feeders].map(({ process }) => process)) {
    if (!process.isAlive()) continue
    if (process.fibers() > 0) laws.fail(8, `${process.fibers()} fibers are left in ${process.name}`)
    if (process.timers() > 0) laws.fail(8, `${process.timers()} timers are left in ${process.name}`)
  }
  look()
  return { steps: simulation.steps(), millis: simulation.now(), ...laws.sums() }
}
