/**
 * Inputs to begin with: conversations of either side, made of the Schemas of the frames and of the elements.
 *
 * The first byte of an input says what it is given to, see `targets`.
 */
import { Effect, Schema } from "effect"
import type { Run } from "effect-feeder/RemoteDevices"
import * as RemoteDevices from "effect-feeder/RemoteDevices"
import * as Arbitrary from "effect/Arbitrary"
import * as Frames from "../../src/internal/frames.ts"
import { chance } from "../chance.ts"
import { feeds, type FuzzFeed } from "./feeds.ts"

const sample = <A, E>(schema: Schema.Codec<A, E>, count: number, seed: number): ReadonlyArray<A> =>
  Effect.runSync(Arbitrary.sampleEffect(Arbitrary.schema(schema), { count, seed, size: 4 }))

const feederControl = Schema.Union([
  RemoteDevices.Hello,
  RemoteDevices.Ping,
  RemoteDevices.Flush,
  RemoteDevices.End,
  RemoteDevices.Bye
])

const deviceControl = Schema.Union([
  RemoteDevices.Welcome,
  RemoteDevices.Refused,
  RemoteDevices.Report,
  RemoteDevices.Leaving
])

const ofTarget = (target: number, segments: ReadonlyArray<Uint8Array>): Uint8Array =>
  Buffer.concat([Uint8Array.of(target), ...segments])

const batchesOf = (feed: FuzzFeed, seed: number): ReadonlyArray<RemoteDevices.Batch> => {
  const random = chance(seed)
  const elements = sample(Schema.toType(Schema.make<Schema.Codec<unknown>>(feed.schema.ast)), 40, seed)
    .filter((element) => feed.info.codec.validate(element)._tag === "Success")
  return Array.from({ length: 12 }, (_, i) => {
    const some = elements.slice(i, i + 1 + random.below(4))
    const runs: Array<Run> = []
    for (let left = some.length; left > 0;) {
      const count = 1 + random.below(left)
      runs.push({ ordinal: random.below(100), count, attempt: 1 + random.below(3) })
      left -= count
    }
    return {
      _tag: "Batch",
      first: 1 + random.below(10),
      heard: random.below(10),
      elementBytes: random.below(100),
      runs,
      chunk: feed.info.codec.fromElements(some),
      ...(i % 3 === 0 ? { ids: some.map((_, k) => `id ${k} ✗`) } : {})
    }
  })
}

/** The inputs a seed gives. */
export const make = (seed: number): ReadonlyArray<Uint8Array> => {
  const random = chance(seed)
  const inputs: Array<Uint8Array> = []
  const device = sample(deviceControl, 60, seed).map(Frames.encodeDeviceFrame)
  for (const segments of device) inputs.push(ofTarget(0, segments))
  feeds.forEach((feed, i) => {
    const control = sample(feederControl, 20, seed + i).map((frame) => Frames.encodeFeederFrame(frame, feed.info))
    const batches = batchesOf(feed, seed + i).map((frame) => Frames.encodeFeederFrame(frame, feed.info))
    for (const segments of [...control, ...batches]) inputs.push(ofTarget(1 + i, segments))
    inputs.push(ofTarget(1 + i, [...control.slice(0, 2), ...batches.slice(0, 3), ...control.slice(2, 4)].flat()))
  })
  for (let target = 1 + feeds.length; target < 5 + feeds.length; target++) {
    for (let i = 0; i < 20; i++) {
      const tape = Uint8Array.from({ length: 40 + random.below(200) }, () => random.below(256))
      inputs.push(ofTarget(target, [tape]))
    }
  }
  return inputs
}
