/**
 * What goes wrong in a history.
 */
import { Effect } from "effect"
import { RemoteDevices } from "effect-feeder"
import type { Simulation } from "effect-feeder/testing"
import type { Consumers } from "./consumers.ts"
import { type FeederLife, type Feeders, isFeeding } from "./feeders.ts"
import { type FaultKind, lease } from "./plan.ts"
import type { World } from "./world.ts"

/** Begins something that goes wrong; whatever it is comes to an end by itself. */
export const make = (world: World, consumers: Consumers, feeders: Feeders): (kind: FaultKind) => void => {
  const { below, feed, laws, names, network, next, pick, plan, simulation, span, tell } = world
  const frozenUntil = new Map<Simulation.Process, number>()
  let intruders = 0

  /** Of two that overlap, the one that lasts longer wakes the process. */
  const freeze = (process: Simulation.Process, millis: number): void => {
    const until = Math.max(frozenUntil.get(process) ?? 0, simulation.now() + millis)
    frozenUntil.set(process, until)
    process.freeze()
    simulation.after(millis, () => {
      if (simulation.now() >= frozenUntil.get(process)!) process.thaw()
    })
  }

  /** Another takes its place, if none has yet: an id is given to one process after the other. */
  const succeed = (self: FeederLife, millis: number): void => {
    simulation.after(millis, () => {
      if (feeders.current(self.number) === self) feeders.start(self.number)
    })
  }

  /** Somebody who is no feeder of this feed opens a link and says what it should not. */
  const intrude = (device: string): void => {
    const process = simulation.process(`intruder ${++intruders}`)
    const hello: RemoteDevices.FeederFrame = {
      _tag: "Hello",
      versions: RemoteDevices.versions,
      feed: feed.name,
      fingerprint: feed.info.fingerprint,
      feeder: "feeder-0",
      incarnation: 0,
      device,
      session: 1,
      keepTo: 0,
      acknowledge: plan.acknowledge,
      delivery: plan.delivery,
      leaseMillis: lease
    }
    const chunk = feed.codec.fromElements([{ feeder: 0, life: 1, n: -1, text: "intruded" }])
    const batch: RemoteDevices.FeederFrame = {
      _tag: "Batch",
      first: 1,
      heard: 0,
      elementBytes: chunk.byteLength,
      runs: [{ ordinal: 0, count: 1, attempt: 1 }],
      chunk
    }
    const frames: ReadonlyArray<RemoteDevices.FeederFrame> = [
      { ...hello, fingerprint: "0".repeat(feed.info.fingerprint.length), feeder: "intruder" },
      { ...hello, feed: "another feed", feeder: "intruder" },
      { ...hello, device: "/job:consumer/replica:99", feeder: "intruder" },
      batch,
      { _tag: "End", last: 7, heard: 7 },
      { _tag: "Bye" }
    ]
    const first = pick(frames)!
    process.run(
      Effect.scoped(Effect.gen(function*() {
        const link = yield* network.connect(device, process, feed.info)
        yield* link.send(first)
        yield* link.send(batch)
        while (true) {
          const answer = yield* link.receive
          if (answer._tag !== "Refused") laws.fail(10, `an intruder's ${first._tag} was answered by ${answer._tag}`)
        }
      })).pipe(Effect.ignore, Effect.timeoutOption(5 * lease))
    )
  }

  return (kind) => {
    const device = pick(names)!
    const life = consumers.living(device)
    const self = feeders.current(below(plan.feeders))
    const { feeder } = self
    const connection = pick(network.connections())
    tell(() => `${kind}: ${kind.includes("feeder") ? self.number : device}`)
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
        if (life !== undefined) {
          if (plan.isExitProven) laws.goneForAll(device)
          life.process.kill()
        }
        simulation.after(span(), () => consumers.startAgain(device))
        return
      case "close device":
        if (life !== undefined) consumers.close(life)
        return consumers.startAgain(device)
      case "leave":
        if (life?.device === undefined || life.isClosing) return
        life.process.run(life.device.leave(below(2000)))
        consumers.close(life)
        return consumers.startAgain(device)
      case "replace device":
        // Another process takes the name of one that hangs. To have it is taken for a proof that the other has gone, so
        // it may only wake up when its lease has run out, and nobody may have a link to it by which to renew that.
        if (life === undefined || life.isClosing) return
        for (const one of network.connections()) if (one.host === life.process) one.reset()
        freeze(life.process, lease * (1.2 + next()))
        life.isReplaced = true
        return consumers.start(device)
      case "interrupt loop":
        return life?.process.post(() => life.loop?.interruptUnsafe())
      case "freeze feeder":
        // A frozen process cannot stop in time.
        if (isFeeding(self) && self.stopAskedAt === undefined) freeze(self.process, span())
        return
      case "kill feeder":
        if (!isFeeding(self)) return
        self.process.kill()
        return succeed(self, 1 + span())
      case "replace feeder":
        // Another begins in the place of one that hangs, and wakes up later.
        if (!isFeeding(self) || self.stopAskedAt !== undefined) return
        freeze(self.process, 1 + span())
        return succeed(self, 1)
      case "stop feeder":
      case "interrupt feeder":
        if (!isFeeding(self) || feeder === undefined || self.process.isFrozen()) return
        if (self.run === undefined || self.stopAskedAt !== undefined) return
        self.stopAskedAt = simulation.now()
        if (kind === "stop feeder") self.process.run(feeder.stop)
        else self.process.post(() => self.run?.interruptUnsafe())
        return
      case "remove device": {
        if (!isFeeding(self) || feeder === undefined || self.devices === undefined || self.removed.has(device)) return
        const { devices } = self
        self.removed.add(device)
        self.process.run(
          Effect.gen(function*() {
            yield* feeder.removeRemoteDevice(device)
            self.removedAt = simulation.now()
            yield* Effect.sleep(span())
            self.removed.delete(device)
            laws.removed(self.key, device)
            yield* feeder.addRemoteDevice(device)
          }).pipe(
            Effect.provideContext(devices),
            Effect.catch((error) =>
              Effect.sync(() => laws.fail(9, `a device cannot be removed or added: ${error.message}`))
            )
          )
        )
        return
      }
      case "intrude":
        return intrude(device)
    }
  }
}
