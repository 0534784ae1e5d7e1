/**
 * One object of each kind that is made and dropped all the time.
 *
 * A full garbage collection that finds no object of a hidden class drops the class, and with it all code that was compiled
 * for it. Between two batches there may be none, so one is kept of each.
 */
const kept: Array<object> = []

/** Keeps an object: one of a class, not one of each batch. */
export const keep = (one: object): void => {
  kept.push(one)
}
