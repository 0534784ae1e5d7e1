/**
 * What the benches move: a small element and a tensor, each as a feed and as the JSON that stands for it. Every element
 * has a digest, and so has a batch, that a consumer sums up, so that it touches what it got and the sum can be checked.
 */
import { Schema } from "effect"
import { type BatchCodec, Feed, Tensor } from "effect-feeder"

export const capacity = 1000
export const batch = 64

export interface Payload<Name extends string, S extends Feed.ElementSchema> {
  readonly title: string
  readonly feed: Feed.Feed<Name, S, "processed">
  /** Elements made beforehand, to be used round and round. */
  readonly pool: ReadonlyArray<S["Type"]>
  readonly digest: (element: S["Type"]) => number
  readonly digestBatch: (batch: BatchCodec.Stacked<S>) => number
  readonly toJson: (element: S["Type"]) => unknown
  readonly fromJson: (json: unknown) => S["Type"]
}

const make = <const Name extends string, S extends Feed.ElementSchema>(
  name: Name,
  element: S,
  rest: Omit<Payload<Name, S>, "feed">
): Payload<Name, S> => ({ ...rest, feed: Feed.make(name, { element, capacity }) })

const Small = Schema.Struct({ id: Schema.Int, label: Schema.String })

const Image = Schema.Struct({ image: Tensor.float32([28, 28]), label: Tensor.int32([]) })

const pool = <A>(make: (i: number) => A): ReadonlyArray<A> => Array.from({ length: 1024 }, (_, i) => make(i))

export const small = make("small", Small, {
  title: "{ id: int, label: string(16) }",
  pool: pool((i) => ({ id: i, label: `element-${String(i).padStart(8, "0")}` })),
  digest: ({ id, label }) => id + label.length,
  digestBatch: ({ id, label }) => {
    let sum = 0
    for (let i = 0; i < id.length; i++) sum += id[i]! + label[i]!.length
    return sum
  },
  toJson: (element) => element,
  fromJson: (json) => json as typeof Small.Type
})

const pixels = 28 * 28

export const tensor = make("tensor", Image, {
  title: "{ image: float32[28, 28], label: int32 }",
  // Multiples of 1/256, as grey levels are: in JSON they are short.
  pool: pool((i) => ({ image: Float32Array.from({ length: pixels }, (_, j) => ((i + j) & 255) / 256), label: i % 10 })),
  digest: ({ image, label }) => image[0]! + label,
  digestBatch: ({ image, label }) => {
    let sum = 0
    for (let i = 0; i < label.length; i++) sum += image[i * pixels]! + label[i]!
    return sum
  },
  toJson: ({ image, label }) => ({ image: Array.from(image), label }),
  fromJson: (json) => {
    const { image, label } = json as { readonly image: ReadonlyArray<number>; readonly label: number }
    return { image: Float32Array.from(image), label }
  }
})

/** Calls `f` with each payload, whatever its types are. */
export const each = async (
  f: <Name extends string, S extends Feed.ElementSchema>(payload: Payload<Name, S>) => Promise<void>
): Promise<void> => {
  await f(small)
  await f(tensor)
}

/** The elements that stand at `from` up to `from + count` when the pool is repeated. `count` divides its length. */
export const some = <A>(pool: ReadonlyArray<A>, from: number, count: number): ReadonlyArray<A> => {
  const start = from % pool.length
  return pool.slice(start, start + count)
}

/** The first `n` elements of the repeated pool, one by one. */
export function* repeated<A>(pool: ReadonlyArray<A>, n: number): Generator<A, void> {
  for (let i = 0; i < n; i++) yield pool[i % pool.length]!
}

/** The sum of the digests of the first `n` elements. It is exact: all digests are multiples of 1/256. */
export const digestOf = <Name extends string, S extends Feed.ElementSchema>(
  { digest, pool }: Payload<Name, S>,
  n: number
): number => {
  let sum = 0
  for (const element of repeated(pool, n)) sum += digest(element)
  return sum
}
