/**
 * Turns batches of elements into columns and bytes, and back, as their Schema lays them out.
 *
 * Each field gets a column of its own: a typed array, or text or bytes with offsets. What has no column (dates and other
 * transformations, classes, records, tuples, unions of other than literals, what is recursive) shares one last column, the
 * *rest*, written by Effect's `SchemaBinary`. So does a field that holds any of that, such as an array of dates. An
 * element that is no plain `Schema.Struct` is one column named `""`.
 *
 * ## The bytes
 *
 * Everything is little-endian. Offsets count from the start of the payload, whose length is a multiple of 8.
 *
 * | offset | size | content |
 * | --- | --- | --- |
 * | 0 | 4 | magic `45 46 42 31`, "EFB1" |
 * | 4 | 4 | number of bodies `c`, u32 |
 * | 8 | 4 | number of elements `n`, u32 |
 * | 12 | 4 | length of the whole payload in bytes, u32 |
 * | 16 | 4c | length of each body in bytes, u32, without padding |
 * | | | the bodies in that order, each starting at the next multiple of 8; all padding is zero |
 *
 * Columns stand in ascending order of their names (by UTF-16 code unit), the rest last. With `w` entries per element
 * (the product of the shape; 1 for a scalar) the bodies of a column are:
 *
 * | kind | Schema | bodies |
 * | --- | --- | --- |
 * | tensor of a numeric dtype | `Tensor` | `n × w` entries |
 * | number | `Schema.Number`, `Schema.Int` … | `n` float64 |
 * | boolean, tensor of `bool` | `Schema.Boolean` | `n × w` bytes, each 0 or 1 |
 * | string, tensor of `string` | `Schema.String` | `n × w + 1` u32 offsets, ascending from 0, then the UTF-8 text they cut |
 * | bigint | `Schema.BigInt` | `n` int64, 0 for those that need more bits; nothing, or the column of a string for each: sign and hexadecimal digits of those, empty for others |
 * | bytes | `Schema.Uint8Array` | `n + 1` u32 offsets, ascending from 0; the bytes they cut |
 * | literals | `Literal`, `Literals`, `Enum` | `n` numbers into the list of them in the fingerprint, as u8, u16 or u32; no body for one literal |
 * | option | `optional`, `NullOr`, `UndefinedOr` … | `n` bits, 1 where there is a value, from the lowest of each byte on, zeros up to the byte; the bodies of the values that there are |
 * | list | `Schema.Array`, `NonEmptyArray` | `n + 1` u32 offsets, ascending from 0; the bodies of all entries |
 * | struct | a `Schema.Struct` in another | the bodies of its fields, ascending by name |
 * | rest | all others | one `SchemaBinary` frame of the array of all rows; UTF-8 JSON, where -0 is 0, for a Schema that `SchemaBinary` cannot lay out |
 *
 * What may be missing in two ways, as in `Schema.optional(Schema.NullOr(Schema.String))`, is an option in an option:
 * absent outside of undefined, that outside of null. An array whose entries may take less than a byte, as those that may be
 * null, has no column: what a peer sends then bounds what is made of it.
 *
 * ## How long memory is shared
 *
 * Nothing is copied that can be viewed.
 *
 * - *Received:* stacked tensors, the tensors of elements and byte strings are views of the bytes given to `decode`; strings
 *   share the text of their batch. Those bytes must not change, nor be transferred, as long as any of that is in use. One
 *   element that is kept keeps its whole batch in memory: `slice()` what is kept for long. A consumer's loop that is
 *   `transient` gives them up, and lets its link read into them again, when its effect has ended.
 * - *Sent:* what `encode` gives are views of tensors and byte strings of 2 KiB or more, of the columns of a stacked batch
 *   and of chunks that were put together, and of a buffer that other batches use too. None of it may change until the
 *   segments are written: of elements that are fed, until they are acknowledged, since what is lost with a link is written
 *   again.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import { Batch, columnsOfValues, join } from "./internal/batchChunk.ts"
import { ElementInvalid, LayoutUnsupported, MalformedBatch } from "./internal/batchErrors.ts"
import { printLayout } from "./internal/batchFingerprint.ts"
import type { Stored } from "./internal/batchKind.ts"
import { compile, explainElement } from "./internal/batchLayout.ts"
import { read } from "./internal/batchRead.ts"
import {
  columnsOfParts,
  partsOf,
  rowsOfParts,
  stackColumns,
  stackElements,
  stackingOf
} from "./internal/batchStacking.ts"
import { write } from "./internal/batchWrite.ts"
import type * as Tensor from "./Tensor.ts"

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

export { ElementInvalid, LayoutUnsupported, MalformedBatch }

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * What an element may be: any Schema that needs no services.
 *
 * @category models
 * @since 0.1.0
 */
export type ElementSchema = Schema.ConstraintCodec<unknown, unknown>

type StackedField<S extends Schema.Constraint> = S extends { readonly "~type.optionality": "optional" }
  ? ReadonlyArray<S["Type"] | undefined>
  : S extends { readonly "Stacked": infer B } ? B
  : ReadonlyArray<S["Type"]>

/**
 * A batch of elements of a Schema: one typed array for a tensor, an object with each field stacked for a
 * `Schema.Struct`, else an array of elements.
 *
 * **Details**
 *
 * In a struct a tensor field becomes one contiguous typed array with a leading axis and any other field an array of
 * its values, `undefined` where an optional field is absent. A Schema whose type was widened, to `Schema.Codec<A>` for
 * instance, no longer tells how it stacks: its batch is `unknown`.
 *
 * @category models
 * @since 0.1.0
 */
export type Stacked<S extends Schema.Constraint> = SchemaAST.AST extends S["ast"] ? unknown
  : S extends { readonly "Stacked": infer B } ? B
  : S extends Schema.Struct<infer Fields> ? { readonly [K in keyof Fields]: StackedField<Fields[K]> }
  : ReadonlyArray<S["Type"]>

/**
 * One column: entries of one size in a typed array, or values of other kinds.
 *
 * **Details**
 *
 * What is asked for is made then, and remembered: the `values` of what was received, or one array of tensors that lie
 * here and there in memory.
 *
 * @category models
 * @since 0.1.0
 */
export type Column =
  | {
    readonly _tag: "Fixed"
    readonly length: number
    readonly data: Tensor.Arrays[Exclude<Tensor.DType, "string">]
    readonly values: ReadonlyArray<unknown>
  }
  | { readonly _tag: "Values"; readonly length: number; readonly values: ReadonlyArray<unknown> }

/**
 * The columns of a batch, in the order in which they are written.
 *
 * @category models
 * @since 0.1.0
 */
export type Columns = ReadonlyArray<Column>

/**
 * A batch of elements that converts between elements and columns when asked, and remembers.
 *
 * **Gotchas**
 *
 * Elements and columns share the memory of the batch, see the module. Treat all of them as read-only.
 *
 * @category models
 * @since 0.1.0
 */
export interface Chunk<out A = unknown> {
  /** How many elements. */
  readonly length: number
  /**
   * Size on the wire in bytes: exact, but for fields without a column of their own. While those are not written, it is
   * a cheap estimate that is not below the truth. The first answer stays, and so do columns that had to be made for it.
   */
  readonly byteLength: number
  readonly elements: ReadonlyArray<A>
  /**
   * Why elements of a received chunk are none of the feed's, by their index: they fit the layout, and do not pass the
   * checks of the Schema here. What `elements` has in their place is not to be used.
   */
  readonly invalid?: ReadonlyMap<number, string> | undefined
  /** Throws `ElementInvalid` when an element that was not validated does not fit the layout. */
  readonly columns: Columns
}

/**
 * What a receiver accepts in one batch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Most elements; 1,048,576 by default. */
  readonly maxElements?: number | undefined
  /** Longest single string of a string column, in UTF-8 bytes; by default only the payload bounds it. */
  readonly maxStringBytes?: number | undefined
  /**
   * What is done about elements that fit the layout and do not pass the checks of the Schema: the batch is refused, the
   * default, or they are marked as `invalid`.
   */
  readonly invalid?: "refuse" | "mark" | undefined
}

/**
 * The codec of the batches of one element Schema.
 *
 * @category models
 * @since 0.1.0
 */
export interface BatchCodec<A, B> {
  /**
   * The layout as JSON text: names, kinds, dtypes and shapes in a fixed order. Codecs of equal texts understand each
   * other's bytes, and any difference of layout is a difference of texts. Checks are no part of it, nor is the order of
   * the fields; each side enforces its own checks.
   */
  readonly fingerprint: string

  /** Makes a chunk of elements, by reference. */
  fromElements(elements: ReadonlyArray<A>): Chunk<A>

  /**
   * Makes a chunk of values that may be anything, all of which must be elements. They are validated as columns, at about
   * the cost of writing them, which is then done: what makes many elements at once and sends them need not `validate` each.
   * The chunk has what the columns have: no field that the Schema does not know, and scalars as their dtype holds them.
   */
  fromUnknown(values: ReadonlyArray<unknown>): Result.Result<Chunk<A>, ElementInvalid>

  /**
   * The elements of a chunk from index `from` up to, not including, `to`. Shares the data: the columns of a chunk that has
   * them are viewed, and no element is made.
   */
  slice(chunk: Chunk<A>, from: number, to?: number): Chunk<A>

  /** One chunk of all elements, in order; of their columns, which are not copied for it, if all of the chunks have them. */
  concat(chunks: ReadonlyArray<Chunk<A>>): Chunk<A>

  /**
   * Stacks elements into a batch. Throws `ElementInvalid` when a tensor that was not validated does not fit its shape.
   */
  stack(elements: ReadonlyArray<A>): B

  /** Stacks a chunk; the columns of a decoded one, or of a part of it, are the batch's tensors as they are. */
  stackChunk(chunk: Chunk<A>): B

  /**
   * Makes a chunk of a batch, without making its elements: those are validated as columns, one by one only where the
   * Schema has checks. The batch's tensors are the chunk's columns as they are. Otherwise as `unstack`.
   */
  fromBatch(batch: B, length?: number): Result.Result<Chunk<A>, ElementInvalid>

  /**
   * Takes a batch apart into validated elements; their tensors are views of the batch. The fields must agree on the
   * number of elements; `length` is needed only when no field tells it.
   */
  unstack(batch: B, length?: number): Result.Result<ReadonlyArray<A>, ElementInvalid>

  /**
   * Whether a value is an element, by the type side of the Schema. Strings must be well formed as well. What succeeds
   * is the value itself, or, if it has fields that the Schema does not know, at any depth, a copy without them, as when
   * Effect decodes it. An instance of a class stays what it is.
   */
  validate(u: unknown): Result.Result<A, ElementInvalid>

  /**
   * Writes a chunk as segments to be sent one after the other. Large columns, and tensors, byte strings and columns of
   * chunks put together, of 2 KiB or more in a column of 16 KiB or more, are segments of their own and not copied.
   * Segments may share a buffer with others: join them, as with `Bytes.concat`, before transferring them to a thread.
   * Throws `ElementInvalid` when an element that was not validated does not fit the layout. All text of one column must
   * fit into one JavaScript string, about 512 MB.
   */
  encode(chunk: Chunk<A>): ReadonlyArray<Uint8Array>

  /**
   * Reads a chunk. All of it is verified before it is used: sizes before anything is allocated by them, text, checks of
   * the Schema. Never throws. Aligned columns are views of `bytes`, so keep those unchanged.
   */
  decode(bytes: Uint8Array, limits?: Limits): Result.Result<Chunk<A>, MalformedBatch>
}

// -----------------------------------------------------------------------------
// constructor
// -----------------------------------------------------------------------------

const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

const codecs = new WeakMap<Schema.Constraint, BatchCodec<unknown, unknown>>()

/**
 * Derives the codec of an element Schema, once for each Schema value.
 *
 * **Details**
 *
 * Any Schema without services will do, as long as its transformations are synchronous. Throws `LayoutUnsupported` when
 * the Schema cannot be laid out, for instance because a field is named by a symbol.
 *
 * **Gotchas**
 *
 * Pass the Schema with its own type: a widened one, such as `Schema.Codec<A>`, hides how its batches look. Strings
 * decoded from one batch share that batch's text; copy one that is to be kept for long.
 *
 * **Example** (Stacking, sending and receiving a batch)
 *
 * ```ts import.meta.vitest
 * import { Bytes, Result, Schema } from "effect"
 * import { BatchCodec, Tensor } from "effect-feeder"
 *
 * const codec = BatchCodec.make(Schema.Struct({ point: Tensor.float32([2]), label: Schema.String }))
 * const elements = [{ point: new Float32Array([1, 2]), label: "a" }, { point: new Float32Array([3, 4]), label: "b" }]
 *
 * const batch = codec.stack(elements)
 * batch.point // => new Float32Array([1, 2, 3, 4])
 * batch.label // => ["a", "b"]
 *
 * const bytes = Bytes.concat(codec.encode(codec.fromElements(elements)))
 * const received = Result.getOrThrow(codec.decode(bytes))
 * received.length // => 2
 * received.elements[1] // => { point: new Float32Array([3, 4]), label: "b" }
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <S extends ElementSchema>(
  schema: S
): BatchCodec<S["Type"], Stacked<S>> => {
  const known = codecs.get(schema)
  const codec = known ?? derive(schema)
  if (known === undefined) codecs.set(schema, codec)
  // The layout was compiled from this schema, so its elements and batches are the schema's; TypeScript cannot follow.
  return codec as BatchCodec<S["Type"], Stacked<S>>
}

const derive = (schema: Schema.Constraint): BatchCodec<unknown, unknown> => {
  if (!isLittleEndian) throw new LayoutUnsupported({ issue: "this machine is big-endian" })
  const layout = Result.getOrThrowWith(
    Result.try(() => compile(schema.ast)),
    (cause) => cause instanceof LayoutUnsupported ? cause : new LayoutUnsupported({ issue: String(cause) })
  )
  const stacking = stackingOf(schema, layout)
  // A struct behind a brand has columns, but stacks to an array of elements.
  const hasColumns = stacking.isObject || !layout.isStruct

  const own = (chunk: Chunk): Batch =>
    chunk instanceof Batch && chunk.layout === layout ? chunk : fromElements(chunk.elements)

  const fromElements = (elements: ReadonlyArray<unknown>): Batch =>
    new Batch(layout, elements.length, elements, undefined)

  // Kept for as long as the codec, see `keep`.
  const empty = fromElements([])

  const invalid = (issue: string) => Result.fail(new ElementInvalid({ issue }))

  /** An element, without what the Schema does not know; a check may have looked at that. */
  const validate = (u: unknown): Result.Result<unknown, ElementInvalid> => {
    if (!layout.accepts(u)) return invalid(explainElement(layout, u))
    const element = layout.trim(u)
    return element === u || layout.accepts(element)
      ? Result.succeed(element)
      : invalid(explainElement(layout, element))
  }

  const validateAll = (rows: ReadonlyArray<unknown>): Result.Result<ReadonlyArray<unknown>, ElementInvalid> => {
    const elements: Array<unknown> = []
    for (const row of rows) {
      const element = validate(row)
      if (Result.isFailure(element)) return invalid(`element ${elements.length}: ${element.failure.issue}`)
      elements.push(element.success)
    }
    return Result.succeed(elements)
  }

  /** A chunk of valid columns, or else of elements that are validated one by one, which tells which of them is none. */
  const chunkOf = (
    columns: () => { readonly columns: ReadonlyArray<Stored>; readonly length: number } | undefined,
    rows: () => Result.Result<ReadonlyArray<unknown>, ElementInvalid>
  ): Result.Result<Batch, ElementInvalid> => {
    // What does not fit a column, or a check, may throw.
    const stored = Result.getOrElse(Result.try(columns), () => undefined)
    if (stored !== undefined) {
      const chunk = new Batch(layout, stored.length, undefined, stored.columns)
      if (layout.passes === undefined || chunk.elements.every(layout.passes)) return Result.succeed(chunk)
    }
    return Result.map(rows(), fromElements)
  }

  const unstack = (batch: unknown, length: number | undefined) =>
    Result.flatMap(
      Result.mapError(partsOf(stacking, batch, length), (issue) => new ElementInvalid({ issue })),
      (parts) => validateAll(rowsOfParts(stacking, parts))
    )

  const fromBatch = (batch: unknown, length: number | undefined) =>
    chunkOf(() => {
      const parts = hasColumns ? Result.getOrUndefined(partsOf(stacking, batch, length)) : undefined
      const columns = parts && columnsOfParts(layout, parts)
      return columns && { columns, length: parts.length }
    }, () => unstack(batch, length))

  const fromUnknown = (values: ReadonlyArray<unknown>) =>
    chunkOf(() => {
      const columns = columnsOfValues(layout, values)
      return columns && { columns, length: values.length }
    }, () => validateAll(values))

  return {
    fingerprint: printLayout(layout),
    fromElements,
    fromUnknown,
    slice: (chunk, from, to) => {
      const start = Math.min(Math.max(from, 0), chunk.length)
      return own(chunk).slice(start, Math.min(Math.max(to ?? chunk.length, start), chunk.length))
    },
    concat: (chunks) =>
      chunks.length === 0 ? empty : chunks.length === 1 ? own(chunks[0]!) : join(layout, chunks.map(own)),
    stack: (elements) => stackElements(stacking, elements),
    stackChunk: (chunk) => {
      const batch = own(chunk)
      return batch.isStored && hasColumns
        ? stackColumns(stacking, batch.stored)
        : stackElements(stacking, batch.elements)
    },
    fromBatch,
    unstack,
    validate,
    encode: (chunk) => write(own(chunk).stored, chunk.length),
    decode: (bytes, limits) =>
      Result.try({
        try: () => read(layout, bytes, limits),
        // A check of the user's Schema may throw as well: what it throws on is not accepted.
        catch: (cause) =>
          cause instanceof MalformedBatch ? cause : new MalformedBatch({ field: "a check", issue: String(cause) })
      })
  }
}
