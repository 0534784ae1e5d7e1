/** The implementation of `Chunk`: elements, columns or both, and their size. */
import type { Chunk, Column, Columns } from "../BatchCodec.ts"
import { align } from "./batchBuffers.ts"
import { gather, pick, scatter, sliceColumn, valuesOf } from "./batchColumns.ts"
import { columnCount, type Layout } from "./batchLayout.ts"
import { weighRest } from "./batchRest.ts"
import { weighText } from "./batchText.ts"
import { bodySize, headerBytes } from "./batchWrite.ts"
import { storages } from "./tensorStorage.ts"

export class Batch implements Chunk {
  readonly layout: Layout
  readonly length: number
  /** The columns it was made from; those it makes of elements it keeps to itself. */
  readonly received: Columns | undefined
  readonly invalid: ReadonlyMap<number, string> | undefined
  #elements: ReadonlyArray<unknown> | undefined
  #columns: Columns | undefined
  #byteLength: number | undefined

  constructor(
    layout: Layout,
    length: number,
    elements: ReadonlyArray<unknown> | undefined,
    received: Columns | undefined,
    invalid?: ReadonlyMap<number, string>
  ) {
    this.layout = layout
    this.length = length
    this.received = received
    this.invalid = invalid
    this.#elements = elements
    this.#columns = received
  }
  get elements(): ReadonlyArray<unknown> {
    return this.#elements ??= scatter(this.layout, this.columns, this.length)
  }
  get columns(): Columns {
    return this.#columns ??= gather(this.layout, this.elements)
  }
  get byteLength(): number {
    return this.#byteLength ??= measure(this.layout, this.length, this.#elements, this.#columns)
  }
  slice(from: number, to: number): Batch {
    const { layout, received } = this
    return new Batch(
      layout,
      to - from,
      this.#elements?.slice(from, to),
      received?.map((column, k) => sliceColumn(column, from, to, layout.leaves[k]?.width ?? 1)),
      this.invalid === undefined ? undefined : new Map([...this.invalid].map(([i, issue]) => [i - from, issue]))
    )
  }
}

// Bytes on the wire: exact, save for the rest when only its values are known, which are then taken for more.
const measure = (
  layout: Layout,
  length: number,
  elements: ReadonlyArray<unknown> | undefined,
  columns: Columns | undefined
): number => {
  const { leaves, rest } = layout
  let total = align(headerBytes + 4 * columnCount(layout))
  leaves.forEach((leaf, k) => {
    const { name, spec, width } = leaf
    const column = columns?.[k]
    total += align(
      spec.dtype !== "string"
        ? length * width * storages[spec.dtype].bytes
        : column === undefined
        ? weighText(pick(layout, name, elements!).flat())
        : bodyBytes(column) ?? weighText(valuesOf(column))
    )
  })
  if (rest !== undefined) {
    const column = columns?.[leaves.length]
    total += align(
      column === undefined ? weighRest(rest, elements!) : bodyBytes(column) ?? weighRest(rest, valuesOf(column))
    )
  }
  return total
}

const bodyBytes = (column: Column): number | undefined =>
  column._tag === "Values" && column.body !== undefined ? bodySize(column.body) : undefined
