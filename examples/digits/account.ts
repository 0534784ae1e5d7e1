/**
 * The account of a run, measured from what the consumers reported, beside the feeder's own ledger.
 */
import { Schema } from "effect"
import type { Ledger } from "effect-feeder"
import { accuracy, mean } from "./model.ts"
import type { Report, Run } from "./reports.ts"

/** The account as `--json` prints it. */
export const Account = Schema.Struct({
  /** Elements that the source gave. */
  generated: Schema.Natural,
  /** Elements that the devices' queues have taken, those that came back later included. */
  accepted: Schema.Natural,
  /** Elements that were finished, by device. */
  delivered: Schema.Record(Schema.String, Schema.Natural),
  /** Deliveries that were marked as possibly not the first. */
  redelivered: Schema.Natural,
  heldByDead: Schema.Natural,
  /** Elements that no consumer has finished, whatever the ledger says. */
  lost: Schema.Natural,
  /** Deliveries beyond the first of an element that were not marked. */
  duplicated: Schema.Natural,
  /** Of the models' averaged probabilities, on the test images. */
  accuracy: Schema.Finite,
  seconds: Schema.Finite
})
export type Account = typeof Account.Type

/** How a device's model is doing: a running average over about the last 20 batches. */
export interface Progress {
  readonly loss: number
  readonly accuracy: number
}

const blend = (before: number | undefined, now: number) => before === undefined ? now : before + (now - before) / 20

/** What the consumers have reported so far. */
export interface Tally {
  readonly add: (report: Report) => void
  readonly progress: (device: string) => Progress | undefined
  readonly account: (facts: {
    readonly ledger: Ledger.Ledger
    readonly labels: Int32Array
    readonly seconds: number
  }) => Account
}

/** Counts reports about `total` elements. They may come in any order, as they do from several processes. */
export const makeTally = (total: number): Tally => {
  const unmarked = new Uint8Array(total)
  const isTrained = new Uint8Array(total)
  const progress = new Map<string, Progress>()
  const tests: Array<Float32Array> = []
  let trained = 0
  let redelivered = 0
  let duplicated = 0

  const hand = ([from, count, isMarked]: Run) => {
    if (isMarked) redelivered += count
    else {
      for (let ordinal = from; ordinal < from + count; ordinal++) {
        // An ordinal beyond the last was never generated.
        if (ordinal >= total || unmarked[ordinal]! > 0) duplicated++
        else unmarked[ordinal] = 1
      }
    }
  }
  const finish = ([from, count]: Run) => {
    for (let ordinal = from; ordinal < Math.min(from + count, total); ordinal++) {
      if (isTrained[ordinal] === 0) trained++
      isTrained[ordinal] = 1
    }
  }

  return {
    add: (report) => {
      switch (report._tag) {
        case "Handed":
          return report.runs.forEach(hand)
        case "Trained": {
          report.runs.forEach(finish)
          const before = progress.get(report.device)
          progress.set(report.device, {
            loss: blend(before?.loss, report.loss),
            accuracy: blend(before?.accuracy, report.accuracy)
          })
          return
        }
        case "Tested":
          tests.push(new Float32Array(report.probabilities.slice().buffer))
          return
        case "Died":
          progress.delete(report.device)
      }
    },
    progress: (device) => progress.get(device),
    account: ({ labels, ledger, seconds }) => {
      const [first, ...others] = tests
      return {
        generated: total,
        accepted: ledger.accepted,
        delivered: Object.fromEntries(ledger.devices.map(({ delivered, device }) => [device, delivered])),
        redelivered,
        heldByDead: ledger.heldByDead,
        lost: Math.max(total - trained, total - ledger.generated, Math.abs(ledger.lost)),
        duplicated,
        accuracy: first === undefined ? 0 : accuracy(mean([first, ...others]), labels),
        seconds
      }
    }
  }
}
