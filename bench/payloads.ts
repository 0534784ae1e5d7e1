/**
 * What the benches move: a small element, a tensor and an image, each with the JSON that stands for it. Every element has
 * a digest, and so has a batch, that a consumer sums up, so that it touches what it got and the sum can be checked.
 */
import { Schema } from "effect"
import { BatchCodec, Feed, Tensor } from "effect-feeder"

/** `A` is an element, `B` a batch of them, stacked. What handles any payload does not know them. */
export interface Payload<A = unknown, B = unknown> {
  readonly name: Name
  readonly title: string
  readonly element: Feed.ElementSchema
  readonly codec: BatchCodec.BatchCodec<A, B>
  /** Elements made beforehand, to be used round and round. */
  readonly pool: ReadonlyArray<A>
  /** What one element has to say: for those that carry bare bytes. */
  readonly bytes: number
  digest(element: A): number
  digestBatch(batch: B): number
  toJson(element: A): unknown
  fromJson(json: unknown): A
}

export type Name = "small" | "tensor" | "image"

export const titles: Readonly<Record<Name, string>> = {
  small: "{ id: int32, label: string(16) }",
  tensor: "{ image: float32[28, 28], label: int32 }",
  image: "{ image: uint8[153600], label: int32 }"
}

export type AnyFeed = Feed.Feed<string, Feed.ElementSchema, "processed">

/** The payload as a feed. Both sides make it, of the same settings. */
export const feedOf = ({ element, name }: Payload, capacity: number, validate?: "edges"): AnyFeed =>
  Feed.make<string, Feed.ElementSchema>(name, { element, capacity, validate })

const make = <S extends Feed.ElementSchema>(
  name: Name,
  element: S,
  rest: Omit<Payload<S["Type"], BatchCodec.Stacked<S>>, "name" | "title" | "element" | "codec">
): Payload => ({ ...rest, name, title: titles[name], element, codec: BatchCodec.make<S>(element) })

/** A power of two, so that every batch size that is one too divides it. */
const poolSize = 4096

const pool = <A>(size: number, make: (i: number) => A): ReadonlyArray<A> =>
  Array.from({ length: size }, (_, i) => make(i))

const makeSmall = () =>
  make("small", Schema.Struct({ id: Tensor.int32([]), label: Schema.String }), {
    bytes: 20,
    pool: pool(poolSize, (i) => ({ id: i, label: `element-${String(i).padStart(8, "0")}` })),
    digest: ({ id, label }) => id + label.length,
    digestBatch: ({ id, label }) => {
      let sum = 0
      for (let i = 0; i < id.length; i++) sum += id[i]! + label[i]!.length
      return sum
    },
    toJson: (element) => element,
    fromJson: (json) => json as { readonly id: number; readonly label: string }
  })

const pixels = 28 * 28

const makeTensor = () =>
  make("tensor", Schema.Struct({ image: Tensor.float32([28, 28]), label: Tensor.int32([]) }), {
    bytes: 4 * pixels + 4,
    // Multiples of 1/256, as grey levels are: in JSON they are short.
    pool: pool(1024, (i) => ({
      image: Float32Array.from({ length: pixels }, (_, j) => ((i + j) & 255) / 256),
      label: i % 10
    })),
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

const imageBytes = 150 * 1024

const makeImage = () =>
  make("image", Schema.Struct({ image: Tensor.uint8([imageBytes]), label: Tensor.int32([]) }), {
    bytes: imageBytes + 4,
    pool: pool(64, (i) => ({ image: new Uint8Array(imageBytes).fill(i), label: i })),
    digest: ({ image, label }) => image[0]! + label,
    digestBatch: ({ image, label }) => {
      let sum = 0
      for (let i = 0; i < label.length; i++) sum += image[i * imageBytes]! + label[i]!
      return sum
    },
    toJson: ({ image, label }) => ({ image: Buffer.from(image).toString("base64"), label }),
    fromJson: (json) => {
      const { image, label } = json as { readonly image: string; readonly label: number }
      return { image: new Uint8Array(Buffer.from(image, "base64")), label }
    }
  })

const made = new Map<Name, Payload>()

const once = (name: Name, make: () => Payload): Payload => {
  const payload = made.get(name) ?? make()
  made.set(name, payload)
  return payload
}

/** A process makes those that it uses. */
export const payloads: { readonly [K in Name]: Payload } = {
  get small() {
    return once("small", makeSmall)
  },
  get tensor() {
    return once("tensor", makeTensor)
  },
  get image() {
    return once("image", makeImage)
  }
}

/** The elements that stand at `from` up to `from + count` when the pool is repeated. */
export const some = <A>(pool: ReadonlyArray<A>, from: number, count: number): ReadonlyArray<A> => {
  const start = from % pool.length
  const end = start + count
  if (end <= pool.length) return pool.slice(start, end)
  const elements = pool.slice(start)
  while (elements.length < count) elements.push(...pool.slice(0, count - elements.length))
  return elements
}

/** The first `n` elements of the repeated pool, one by one. */
export function* repeated<A>(pool: ReadonlyArray<A>, n: number): Generator<A, void> {
  for (let i = 0; i < n; i++) yield pool[i % pool.length]!
}

/** The same in batches of `size`, the last one of what is left. */
export function* batches<A>(pool: ReadonlyArray<A>, n: number, size: number): Generator<ReadonlyArray<A>, void> {
  for (let i = 0; i < n; i += size) yield some(pool, i, Math.min(size, n - i))
}

/** The sum of the digests of some elements. */
export const digestAll = ({ digest }: Pick<Payload, "digest">, elements: ReadonlyArray<unknown>): number => {
  let sum = 0
  for (const element of elements) sum += digest(element)
  return sum
}

/** The sum of the digests of the first `n` elements. It is exact: all digests are multiples of 1/256. */
export const digestOf = (payload: Payload, n: number): number => {
  const { pool } = payload
  const rounds = Math.floor(n / pool.length)
  return rounds * digestAll(payload, pool) + digestAll(payload, pool.slice(0, n % pool.length))
}
