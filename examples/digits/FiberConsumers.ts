/**
 * Consumers as fibers of the feeder's own process, fed through memory.
 */
import { Effect, type FileSystem, Layer, type Path } from "effect"
import { MemoryDevices, type RemoteDevices } from "effect-feeder"
import { ConsumerDied, Consumers, type Life, make } from "./Consumers.ts"
import { Digits } from "./feeds.ts"
import { train } from "./training.ts"

/** A consumer from its start to its end. */
const live = ({ device, killed, report, seed }: Life) =>
  train({ device, seed, report }).pipe(
    Effect.provide(MemoryDevices.layerHost({ feeds: [Digits], device })),
    Effect.mapError((error) => new ConsumerDied({ device, cause: error.message })),
    Effect.raceFirst(
      Effect.andThen(killed, Effect.fail(new ConsumerDied({ device, cause: "its fiber was interrupted" })))
    )
  )

/** Consumers as fibers, and the way to them. */
export const layer = (options: { readonly seed: number }): Layer.Layer<
  Consumers | RemoteDevices.RemoteDevices,
  ConsumerDied,
  FileSystem.FileSystem | Path.Path
> => Layer.effect(Consumers, make({ seed: options.seed, live })).pipe(Layer.provideMerge(MemoryDevices.layerNetwork))
