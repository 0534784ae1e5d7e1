/**
 * A source whose elements have positions, so that a feeder that is started again goes on where the one before it was.
 *
 * It has one or more *splits*, each read by a runner of its own: the partitions of a log, the files of a directory, the
 * ranges of a table. Positions mean something within their split only.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

const TypeId = "~effect-feeder/ResumableSource"

/**
 * A position of a source does not come after the one before it, or is no safe integer.
 *
 * @category errors
 * @since 0.1.0
 */
export class PositionInvalid extends Schema.Error<PositionInvalid>(`${TypeId}/PositionInvalid`)({
  _tag: Schema.tag("PositionInvalid"),
  source: Schema.String,
  split: Schema.String,
  position: Schema.Number,
  /** The position of the element before it, or where the source was asked to go on. */
  after: Schema.optionalKey(Schema.Number)
}) {
  override get message(): string {
    const where = `source "${this.source}", split "${this.split}": position ${this.position}`
    return this.after === undefined
      ? `${where} is no safe integer; number its elements with integers that grow`
      : `${where} does not come after ${this.after}; give its elements safe integers that grow, ` +
        `and begin with the first one after the position that \`read\` is given`
  }
}

/**
 * A resumable source: see the module.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResumableSource<out A, out E = never, out R = never> {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  readonly splits: ReadonlyArray<string>
  /** The elements of a split whose positions are greater than `after`; all of them if it is undefined. */
  readonly read: (
    split: string,
    after: number | undefined
  ) => Stream.Stream<readonly [position: number, element: A], E, R>
}

/**
 * @category guards
 * @since 0.1.0
 */
export const isResumableSource = (u: unknown): u is ResumableSource<unknown, unknown, unknown> =>
  Predicate.hasProperty(u, TypeId)

/**
 * Makes a source of what `read` gives.
 *
 * **Details**
 *
 * Positions are safe integers that grow within a split: byte offsets, row ids, offsets of a log, indices. There may be
 * gaps. `read` begins with the first element whose position is greater than `after`, and gives the same elements at the
 * same positions each time; a split may grow at its end.
 *
 * `name` and the names of the `splits` (default: one, `"0"`) stand in checkpoints and ids: keep them from one life to the
 * next. An empty name, no split, or two of one name are a RangeError.
 *
 * **Example** (Rows of a table)
 *
 * ```ts import.meta.vitest
 * import { Effect, Stream } from "effect"
 * import { ResumableSource } from "effect-feeder"
 *
 * const rows = [{ id: 3, text: "a" }, { id: 7, text: "b" }, { id: 9, text: "c" }]
 * const source = ResumableSource.make("rows", {
 *   read: (_split, after = 0) =>
 *     Stream.fromIterable(rows.filter((row) => row.id > after).map((row) => [row.id, row.text] as const))
 * })
 *
 * await Effect.runPromise(Stream.runCollect(source.read("0", 3))) // => [[7, "b"], [9, "c"]]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E = never, R = never>(
  name: string,
  options: {
    readonly splits?: ReadonlyArray<string> | undefined
    readonly read: ResumableSource<A, E, R>["read"]
  }
): ResumableSource<A, E, R> => {
  const splits = options.splits ?? ["0"]
  if (name.length === 0) throw new RangeError("ResumableSource.make: the name of a source must not be empty")
  if (splits.length === 0) throw new RangeError(`ResumableSource.make("${name}"): a source has at least one split`)
  const twice = splits.find((split, i) => splits.indexOf(split) !== i)
  if (twice !== undefined) throw new RangeError(`ResumableSource.make("${name}"): two splits are named "${twice}"`)
  return { [TypeId]: TypeId, name, splits, read: options.read }
}

/**
 * Makes a source of the elements of an Iterable, which gives the same ones each time it is iterated. Their positions are
 * their indices, from 0. What comes before the position to go on from is skipped: at once in an array, by reading it
 * elsewhere.
 *
 * **Example** (A source that goes on)
 *
 * ```ts import.meta.vitest
 * import { Effect, Stream } from "effect"
 * import { ResumableSource } from "effect-feeder"
 *
 * const source = ResumableSource.fromIterable("letters", ["a", "b", "c"])
 *
 * await Effect.runPromise(Stream.runCollect(source.read("0", 0))) // => [[1, "b"], [2, "c"]]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromIterable = <A>(name: string, iterable: Iterable<A>): ResumableSource<A> =>
  make(name, {
    read: (_split, after = -1) => Stream.fromIterable({ [Symbol.iterator]: () => numbered(iterable, after) })
  })

function* numbered<A>(iterable: Iterable<A>, after: number): Generator<readonly [number, A]> {
  if (Array.isArray(iterable)) {
    const array: ReadonlyArray<A> = iterable
    for (let index = after + 1; index < array.length; index++) yield [index, array[index]!]
    return
  }
  let index = 0
  for (const element of iterable) {
    if (index > after) yield [index, element]
    index++
  }
}
