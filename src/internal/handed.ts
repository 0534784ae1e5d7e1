/**
 * What a consumer has in its hands, taken apart by elements.
 */
import type { Delivery, Handed } from "./hosted.ts"

/** Each element by itself. */
export const singles = <A>(handed: ReadonlyArray<Handed<A>>): ReadonlyArray<Handed<A>> => {
  const all: Array<Handed<A>> = []
  for (const part of handed) {
    if (part.count === 1) all.push(part)
    else for (let nth = 0; nth < part.count; nth++) all.push(part.slice(nth, nth + 1))
  }
  return all
}

/** What is known of each element. */
export const deliveriesOf = (handed: ReadonlyArray<Handed<unknown>>): ReadonlyArray<Delivery> => {
  const all: Array<Delivery> = []
  for (const part of handed) {
    for (let nth = 0; nth < part.count; nth++) all.push(part.deliveryOf(nth))
  }
  return all
}
