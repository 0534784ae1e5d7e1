/**
 * Fuzzes what reads a peer's bytes: changes inputs that it has, runs them, and keeps those that reach what none before
 * has reached.
 */
import { chance } from "../chance.ts"
import type { Coverage } from "./coverage.ts"
import { mutate } from "./mutate.ts"
import { run } from "./targets.ts"

export interface Finding {
  readonly input: Uint8Array
  readonly message: string
}

export interface Account {
  readonly inputs: number
  /** Inputs of which something was accepted. */
  readonly accepted: number
  readonly findings: ReadonlyArray<Finding>
  /** Inputs that reached something new. */
  readonly kept: ReadonlyArray<Uint8Array>
  readonly slowestMillis: number
}

/** An input that takes longer is a finding: a peer must not keep a process busy. */
const mostMillis = 2000

/** How many inputs are run between two looks at what they reached: fewer while they reach much. */
const fewest = 256
const most = 16_384

export const fuzz = (options: {
  readonly inputs: number
  readonly seed: number
  readonly corpus: ReadonlyArray<Uint8Array>
  readonly coverage?: Coverage | undefined
  readonly onTold?: ((inputs: number) => void) | undefined
}): Account => {
  const { coverage } = options
  const random = chance(options.seed)
  const corpus = [...options.corpus]
  const kept: Array<Uint8Array> = []
  const findings: Array<Finding> = []
  const known = new Set<string>()
  let accepted = 0
  let slowestMillis = 0
  let inputs = 0

  const timed = (input: Uint8Array): number => {
    const started = performance.now()
    runOnce(input)
    return performance.now() - started
  }

  const execute = (input: Uint8Array): void => {
    let millis = timed(input)
    // A busy machine may have stopped this process meanwhile: what is slow is so each time.
    for (let i = 0; i < 2 && millis > mostMillis; i++) millis = Math.min(millis, timed(input))
    if (millis > slowestMillis) slowestMillis = millis
    if (millis > mostMillis) findings.push({ input, message: `it took ${millis} ms` })
  }

  const runOnce = (input: Uint8Array): void => {
    try {
      if (run(input) > 0) accepted++
    } catch (error) {
      const message = error instanceof Error ? `${error.message}\n${error.stack}` : String(error)
      const kind = message.replaceAll(/\d+/g, "#").slice(0, 300)
      if (!known.has(kind)) {
        known.add(kind)
        findings.push({ input, message })
      }
    }
  }

  /** Finds those inputs of a lot that reach what is not known, by halves, and keeps them. */
  const sift = (watch: Coverage, lot: ReadonlyArray<Uint8Array>): void => {
    for (const input of lot) execute(input)
    const ran = watch.take()
    if (!watch.isNew(ran)) return
    if (lot.length > 1) {
      sift(watch, lot.slice(0, lot.length >> 1))
      sift(watch, lot.slice(lot.length >> 1))
      // What runs only once in a process is no input's.
      watch.note(ran)
    } else {
      watch.note(ran)
      corpus.push(lot[0]!)
      kept.push(lot[0]!)
    }
  }

  for (const input of corpus) execute(input)
  if (coverage !== undefined) coverage.note(coverage.take())
  let size = fewest
  while (inputs < options.inputs && findings.length < 20) {
    const lot: Array<Uint8Array> = []
    for (let i = Math.min(size, options.inputs - inputs); i > 0; i--) {
      const input = mutate(random.pick(corpus), random.pick(corpus), random)
      execute(input)
      inputs++
      if (coverage !== undefined) lot.push(input)
    }
    if (coverage !== undefined) {
      const ran = coverage.take()
      const isNew = coverage.isNew(ran)
      if (isNew) {
        sift(coverage, lot.slice(0, lot.length >> 1))
        sift(coverage, lot.slice(lot.length >> 1))
        coverage.note(ran)
      }
      size = isNew ? fewest : Math.min(most, size * 2)
    }
    options.onTold?.(inputs)
  }
  return { inputs, accepted, findings, kept, slowestMillis }
}
