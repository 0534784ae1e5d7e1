/**
 * The consumers of a history: at each device one process after the other, which hosts the feed and takes from it.
 */
import { Context, Effect, Exit, Fiber } from "effect"
import { Device, Feed } from "effect-feeder"
import { SimulatedDevices, type Simulation } from "effect-feeder/testing"
import type * as Laws from "./laws.ts"
import { lease } from "./plan.ts"
import type { World } from "./world.ts"

/** One life of a device. */
export interface DeviceLife {
  readonly name: string
  readonly process: Simulation.Process
  main: Fiber.Fiber<unknown, unknown> | undefined
  loop: Fiber.Fiber<unknown, unknown> | undefined
  device: Device.Device | undefined
  /** Whether its loop has been told that the feed has ended: what comes after is for the next loop. */
  isAtEnd: boolean
  /** Handlers that have begun and not ended. */
  busy: number
  isClosing: boolean
  /** Another process has its name, though it lives. */
  isReplaced: boolean
}

export const make = (world: World) => {
  const { below, feed, isOver, laws, network, plan, simulation, tell, yes } = world
  const lives: Array<DeviceLife> = []
  const isProcessed = plan.acknowledge === "processed"

  const work = Effect.suspend(() => {
    if (plan.work === 0 || yes(0.5)) return Effect.void
    return Effect.sleep(yes(0.03) ? lease * 2 : below(plan.work))
  })

  const fails = Effect.suspend(() => yes(0.01) ? Effect.die(new Error("a consumer that fails by chance")) : Effect.void)

  const outcomeOf = (element: Laws.Element, ordinal: number) => {
    const outcome = !isProcessed
      ? Feed.done
      : yes(0.06)
      ? Feed.retry({ after: plan.isPatient && yes(0.5) ? 100 : 0 })
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
    const options = { concurrency: plan.concurrency }
    if (plan.size === 1) {
      return feed.forEach((element, delivery) =>
        handling(Effect.gen(function*() {
          yield* work
          yield* fails
          const outcome = outcomeOf(element, delivery.ordinal)
          if (outcome._tag !== "Done") return yield* outcome
        })), options)
    }
    return feed.forEachBatch(plan.size, (batch, { deliveries, size }) =>
      handling(Effect.gen(function*() {
        const elements = Array.from({ length: size }, (_, i): Laws.Element => ({
          feeder: Number(batch.feeder[i]),
          life: Number(batch.life[i]),
          n: Number(batch.n[i]),
          text: String(batch.text[i])
        }))
        yield* work
        yield* fails
        const outcomes = elements.map((element, i) => outcomeOf(element, deliveries[i]!.ordinal))
        if (outcomes.some(({ _tag }) => _tag !== "Done")) return yield* Feed.outcomes(outcomes)
      })), options)
  }

  const start = (device: string): void => {
    const number = lives.filter(({ name }) => name.startsWith(device)).length + 1
    const name = `${device} life ${number}`
    const life: DeviceLife = {
      name,
      process: simulation.process(name),
      main: undefined,
      loop: undefined,
      device: undefined,
      isAtEnd: false,
      busy: 0,
      isClosing: false,
      isReplaced: false
    }
    lives.push(life)
    const program = Effect.scoped(Effect.gen(function*() {
      const [made, hosts] = yield* Device.make({
        feeds: [feed],
        device,
        feeders: plan.expectsAll ? plan.feeders : "forever",
        window: plan.window,
        windowBytes: plan.windowBytes
      })
      life.device = made
      const hosted = Context.get(hosts, feed.host)
      const watched = Context.add(hosts, feed.host, {
        ...hosted,
        begin: (n) =>
          Effect.gen(function*() {
            const take = yield* hosted.begin(n)
            life.isAtEnd = false
            return (options, onTake) =>
              take(options, (handed) => {
                for (const part of handed) {
                  const { chunk: { elements }, count, index } = part
                  elements.slice(index, index + count).forEach((element, nth) => {
                    laws.given(name, element, part.deliveryOf(nth))
                  })
                }
                onTake?.(handed)
              }).pipe(Effect.tapError(() => Effect.sync(() => life.isAtEnd = true)))
          })
      })
      while (true) {
        life.loop = yield* Effect.forkChild(Effect.provide(consume(life), watched))
        const exit = yield* Fiber.await(life.loop)
        if (Exit.isSuccess(exit)) laws.loopEnded(name, life.isClosing)
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
      !isReplaced && name.startsWith(`${device} `) && process.isAlive() && main?.pollUnsafe() === undefined
    )

  const close = (life: DeviceLife): void => {
    if (life.isClosing) return
    life.isClosing = true
    life.process.post(() => life.main?.interruptUnsafe())
  }

  /** Begins another life as soon as nobody has the name. */
  const startAgain = (device: string): void => {
    if (isOver()) return
    if (living(device) === undefined) start(device)
    else simulation.after(100, () => startAgain(device))
  }

  return { lives, start, startAgain, living, close }
}

export type Consumers = ReturnType<typeof make>
