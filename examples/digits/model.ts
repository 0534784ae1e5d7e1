/**
 * A small TensorFlow.js network that tells handwritten digits apart, wrapped for Effect.
 *
 * It runs on TensorFlow.js' WebAssembly backend: about five times as fast as the plain JavaScript one, nothing native to
 * build. That backend cannot train convolutions, so the network is dense.
 */
import * as tf from "@tensorflow/tfjs-core"
import * as layers from "@tensorflow/tfjs-layers"
import "@tensorflow/tfjs-backend-wasm"
import { type Array, Effect, Schema, type Scope, Semaphore } from "effect"
import { classes, type DigitBatch, pixels, side } from "./mnist.ts"

/** TensorFlow.js cannot start its WebAssembly backend. */
export class BackendUnavailable extends Schema.TaggedError<BackendUnavailable>()("BackendUnavailable", {
  cause: Schema.Defect()
}) {
  override get message(): string {
    return "TensorFlow.js cannot start its backend 'wasm'; is the package @tensorflow/tfjs-backend-wasm complete?"
  }
}

/** An array has not as many entries as the model needs. */
export class LengthMismatch extends Schema.TaggedError<LengthMismatch>()("LengthMismatch", {
  what: Schema.String,
  expected: Schema.Int,
  actual: Schema.Int
}) {
  override get message(): string {
    return `${this.what} must have ${this.expected} entries and has ${this.actual}`
  }
}

/** Mean loss and share of right answers in one batch, before the step that the model takes on it. */
export interface Score {
  readonly loss: number
  readonly accuracy: number
}

/** The trainable arrays of a model in their fixed order: kernel and bias of each layer. */
export type Weights = ReadonlyArray<Float32Array>

/** A network with its optimizer. One caller at a time: a step holds the thread for some milliseconds. */
export interface Model {
  /** Takes one optimizer step on the batch. */
  trainBatch(batch: DigitBatch): Effect.Effect<Score, LengthMismatch>
  /** For each image the probabilities of the ten digits: a flat array of `n * 10`. */
  predict(images: Float32Array): Effect.Effect<Float32Array, LengthMismatch>
  /** The share of digits that the model names rightly, 0..1. */
  evaluate(digits: DigitBatch): Effect.Effect<number, LengthMismatch>
  /** A copy of the weights. */
  readonly weights: Effect.Effect<Weights>
  /** Replaces the weights; the optimizer's momentum is kept. */
  setWeights(weights: Weights): Effect.Effect<void, LengthMismatch>
}

// -----------------------------------------------------------------------------
// backend
// -----------------------------------------------------------------------------

const processEvents = ["uncaughtException", "unhandledRejection"] as const

/**
 * Starts the backend, once per process: it is global and stays until the process ends.
 *
 * Its WebAssembly file is found beside its script. The loader also installs process-wide listeners that throw what
 * they are told; they are taken off again, since an error of the program is no business of the backend's.
 */
const startBackend = Effect.tryPromise({
  try: async () => {
    const before = processEvents.map((event) => process.rawListeners(event))
    if (!(await tf.setBackend("wasm"))) throw new Error("setBackend answered false")
    processEvents.forEach((event, index) => {
      for (const listener of process.rawListeners(event)) {
        if (!before[index]!.includes(listener)) process.off(event, listener as () => void)
      }
    })
  },
  catch: (cause) => new BackendUnavailable({ cause })
  // A second start that overtakes the first makes that one fail.
}).pipe(Semaphore.makeUnsafe(1).withPermits(1))

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

const checkLength = (what: string, expected: number, actual: number): Effect.Effect<void, LengthMismatch> =>
  expected === actual ? Effect.void : Effect.fail(new LengthMismatch({ what, expected, actual }))

/** How many images `predict` hands to the backend at once. */
const predictSize = 1000

/**
 * Makes a fresh model; its tensors are freed when the scope closes.
 *
 * The same `seed` gives the same initial weights, and with the same batches the same model.
 */
export const makeModel = Effect.fnUntraced(function*(options: {
  readonly seed: number
  readonly hidden?: number
  readonly learningRate?: number
}): Effect.fn.Return<Model, BackendUnavailable, Scope.Scope> {
  yield* startBackend
  const network = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const kernel = (offset: number) => layers.initializers.heNormal({ seed: options.seed + offset })
      const network = layers.sequential({
        layers: [
          layers.layers.flatten({ inputShape: [side, side] }),
          layers.layers.dense({ units: options.hidden ?? 128, activation: "relu", kernelInitializer: kernel(0) }),
          layers.layers.dense({ units: classes, activation: "softmax", kernelInitializer: kernel(1) })
        ]
      })
      network.compile({
        optimizer: tf.train.adam(options.learningRate ?? 0.003),
        loss: "categoricalCrossentropy",
        metrics: ["accuracy"]
      })
      return network
    }),
    (network) =>
      Effect.sync(() => {
        network.dispose()
        network.optimizer.dispose()
      })
  )

  const trainBatch = Effect.fnUntraced(function*(batch: DigitBatch) {
    const n = batch.label.length
    // on no images the backend answers with whatever is in its memory
    if (n === 0) return yield* new LengthMismatch({ what: "the label of a batch", expected: 1, actual: 0 })
    yield* checkLength("the image of a batch", n * pixels, batch.image.length)
    return yield* Effect.promise(async (): Promise<Score> => {
      const image = tf.tensor3d(batch.image, [n, side, side])
      const label = tf.tidy(() => tf.oneHot(tf.tensor1d(batch.label, "int32"), classes))
      try {
        const [loss, accuracy] = (await network.trainOnBatch(image, label)) as [number, number]
        return { loss, accuracy }
      } finally {
        tf.dispose([image, label])
      }
    })
  })

  const predict = Effect.fnUntraced(function*(images: Float32Array) {
    const n = Math.ceil(images.length / pixels)
    yield* checkLength("images", n * pixels, images.length)
    const probabilities = new Float32Array(n * classes)
    for (let start = 0; start < n; start += predictSize) {
      const end = Math.min(n, start + predictSize)
      yield* Effect.promise(async () => {
        const output = tf.tidy(() => {
          const part = tf.tensor3d(images.subarray(start * pixels, end * pixels), [end - start, side, side])
          return network.predictOnBatch(part) as tf.Tensor
        })
        probabilities.set(await output.data<"float32">(), start * classes)
        output.dispose()
      })
    }
    return probabilities
  })

  const evaluate = (digits: DigitBatch) =>
    Effect.map(predict(digits.image), (probabilities) => accuracy(probabilities, digits.label))

  const weights = Effect.sync((): Weights => network.getWeights().map((tensor) => tensor.dataSync<"float32">().slice()))

  const setWeights = Effect.fnUntraced(function*(weights: Weights) {
    const current = network.getWeights()
    yield* checkLength("weights", current.length, weights.length)
    for (const [index, tensor] of current.entries()) {
      yield* checkLength(`array ${index} of the weights`, tensor.size, weights[index]!.length)
    }
    yield* Effect.sync(() => {
      const tensors = current.map((tensor, index) => tf.tensor(weights[index]!, tensor.shape))
      network.setWeights(tensors)
      tf.dispose(tensors)
    })
  })

  return { trainBatch, predict, evaluate, weights, setWeights }
})

// -----------------------------------------------------------------------------
// several models
// -----------------------------------------------------------------------------

/** The share of rows whose greatest probability is at the label, 0..1; 0 without rows. */
export const accuracy = (probabilities: Float32Array, labels: Int32Array): number => {
  let right = 0
  for (let row = 0; row < labels.length; row++) {
    const start = row * classes
    let best = 0
    for (let digit = 1; digit < classes; digit++) {
      if (probabilities[start + digit]! > probabilities[start + best]!) best = digit
    }
    if (best === labels[row]) right++
  }
  return labels.length === 0 ? 0 : right / labels.length
}

/** The mean of equally long arrays, entry by entry: of the probabilities of several models, or of their weights. */
export const mean = (arrays: Array.NonEmptyReadonlyArray<Float32Array>): Float32Array =>
  arrays[0].map((_, index) => arrays.reduce((sum, array) => sum + array[index]!, 0) / arrays.length)
