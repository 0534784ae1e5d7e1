/** What a feeder promises of elements and of those who wait for them, by its model. Each rule tells what is wrong. */
import type { QueueEnded } from "effect-feeder/FeedQueue"
import type { FeederModel } from "./FeederModel.ts"

/** Elements that a queue holds, here and at each device. */
export const capacity = 4

type Rules = ReadonlyArray<readonly [isRight: boolean, what: string]>

const broken = (rules: Rules) => rules.flatMap(([isRight, what]) => isRight ? [] : [what])

/** A device hands out what is nobody else's, first deliveries in order, and any other marked. */
export const ofHanded = (model: FeederModel, index: number, delivery: {
  readonly value: number
  readonly ordinal: number
  readonly attempt: number
  readonly redelivered: boolean
}): ReadonlyArray<string> => {
  const { attempt, ordinal, redelivered, value } = delivery
  const device = model.devices[index]!
  const { isKnown, isOut, least, most } = model.elements[value]!
  return broken([
    [isOut, `${value} was handed to ${index}, but is elsewhere`],
    [ordinal === value, `${value} has the ordinal ${ordinal}`],
    [redelivered === attempt > 1 && (redelivered || !isKnown), `${value} was handed to ${index} unmarked`],
    [attempt > 1 || value > device.lastFirst, `${value} was handed to ${index} out of order`],
    device.isLive
      ? [least <= attempt && attempt <= most, `${value} was handed to ${index} with attempt ${attempt}`]
      : [model.delayed > 0, `${value} was handed to ${index} when its lease had ended`]
  ])
}

/** Takes are served in line. What was given back comes first, and the rest is what came next from the source. */
export const ofTaken = (model: FeederModel, id: number, values: ReadonlyArray<number>): ReadonlyArray<string> => {
  const [take] = model.takes
  const isFresh = (value: number) => model.elements[value]!.most === 1
  const start = values.findIndex(isFresh)
  const [back, fresh] = start < 0 ? [values, []] : [values.slice(0, start), values.slice(start)]
  const isShort = take?.kind === "upTo" && model.isSourceEnded && values.length > 0 && values.length < take.n
  return broken([
    [take?.id === id, `take ${id} overtook another`],
    [values.length === take?.n || isShort, `take ${id} got ${values.length}`],
    [values.every((value) => model.elements[value]!.isOut), `take ${id} got what is elsewhere`],
    [fresh.every((value, i) => value === fresh[0]! + i), `${fresh} did not come in order`],
    [fresh.every((value) => model.elements[value]!.least === 1), `${fresh} came before what was given back`],
    [fresh.length === 0 || fresh[0]! > model.lastFirst, `${fresh} came late, behind ${back}`]
  ])
}

/** A take ends, in line, when the source has ended and too little is left. */
export const ofEnded = (model: FeederModel, id: number, { left, requested }: QueueEnded): ReadonlyArray<string> => {
  const [take] = model.takes
  const isRight = model.isSourceEnded && take?.id === id && take.n === requested && left < requested
  return broken([[isRight && (take.kind === "many" || left === 0), `take ${id} ended with ${left} left`]])
}

/** When all is quiet, nobody waits who could go on, and everything is bounded. */
export const ofRest = (model: FeederModel, view: {
  readonly generated: number
  readonly queued: number
  readonly leased: ReadonlyArray<number>
}): ReadonlyArray<string> => {
  const { generated, queued } = view
  const [take] = model.takes
  const local = queued - model.delayed
  const room = capacity + (take?.n ?? 1) - 1
  const isClosed = model.isSourceEnded && generated === model.elements.length && (model.isRunning || model.isClosed)
  const rules: Rules = [
    [model.isRunning || generated === model.generated, "something was admitted while it did not run"],
    [!model.isRunning || generated === model.elements.length || local >= room, "the source waits beside room"],
    [model.hasReturned || local <= room, `${local} are too much`],
    [take === undefined || (local < take.n && !isClosed), `takes wait beside ${local}`]
  ]
  return broken([
    ...rules,
    ...model.devices.flatMap((device, index): Rules => {
      const out = view.leased[index]!
      const waiting = out - model.live(index).length - device.unreported.length
      const isFull = waiting >= capacity || out >= capacity + (device.isKnown ? 1 : 0)
      const isFed = model.isRunning && device.isLive
      return [
        [waiting <= capacity && out <= capacity + 1, `${waiting} wait and ${out} are out at ${index}: too much`],
        [!device.isLive || !device.isAwaited || waiting === 0, `a consumer waits at ${index} beside ${waiting}`],
        [!isFed || local === 0 || take !== undefined || isFull, `${local} wait beside device ${index}`]
      ]
    })
  ])
}

/** When a feed has ended, the consumers of all devices that are fed are told so, and no others. */
export const ofEnd = (model: FeederModel): ReadonlyArray<string> =>
  broken(model.devices.map(({ isAwaited, isEnded, isToldSo }, index) => [
    isEnded ? !isAwaited : !isToldSo,
    isEnded ? `a consumer waits at ${index}, where the feed has ended` : `the feed has not ended at ${index}`
  ]))
