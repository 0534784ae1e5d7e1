/** The errors of `BatchCodec`, which re-exports them, and issues as text. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"

const TypeId = "~effect-feeder/BatchCodec"

/**
 * An element does not satisfy the Schema of its feed, or cannot be written as bytes.
 *
 * @category errors
 * @since 0.1.0
 */
export class ElementInvalid extends Schema.Error<ElementInvalid>(`${TypeId}/ElementInvalid`)({
  _tag: Schema.tag("ElementInvalid"),
  feed: Schema.optional(Schema.String),
  issue: Schema.String
}) {
  override get message(): string {
    return `element${this.feed === undefined ? "" : ` of feed "${this.feed}"`} is invalid: ${this.issue}; ` +
      `give the feed elements that satisfy its schema`
  }
}

/**
 * Bytes that were received are not a batch of the expected layout. `field` names the column, or is `header`.
 *
 * @category errors
 * @since 0.1.0
 */
export class MalformedBatch extends Schema.Error<MalformedBatch>(`${TypeId}/MalformedBatch`)({
  _tag: Schema.tag("MalformedBatch"),
  field: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `received batch is malformed at ${this.field === "" ? "the element" : this.field}: ${this.issue}; ` +
      `check that both sides declare the same feed and that nothing alters bytes on the way`
  }
}

/**
 * A Schema cannot be laid out as columns and bytes. Thrown by `make`.
 *
 * @category errors
 * @since 0.1.0
 */
export class LayoutUnsupported extends Schema.Error<LayoutUnsupported>(`${TypeId}/LayoutUnsupported`)({
  _tag: Schema.tag("LayoutUnsupported"),
  issue: Schema.String
}) {
  override get message(): string {
    return `element schema has no layout: ${this.issue}`
  }
}

/** Throws `MalformedBatch`. */
export const refuse = (field: string, issue: string): never => {
  throw new MalformedBatch({ field, issue })
}

/** For how many elements of a batch it is said why they are none: to say it takes long, and a stranger may send a million. */
const explained = 64

/** Marks an element that does not pass the checks of the Schema. */
export const mark = (invalid: Map<number, string>, index: number, why: () => string): void => {
  invalid.set(index, invalid.size < explained ? why() : "it does not pass the checks of the schema")
}

/** A message with its place in front. */
export const atPath = (path: ReadonlyArray<PropertyKey>, message: string): string => {
  const place = path.map(String).join(".")
  return place === "" ? message : `${place}: ${message}`
}

const format = SchemaIssue.makeFormatterStandardSchemaV1()

/** An issue in one line, with the path first. */
export const inLine = (issue: SchemaIssue.Issue): string =>
  format(issue).issues.map(({ message, path }) =>
    atPath((path ?? []).map((key) => typeof key === "object" ? key.key : key), message)
  ).join("; ")

/** What the user's transformations throw becomes an issue like any other. */
export const attempt = <A>(f: () => Result.Result<A, string>): Result.Result<A, string> =>
  Result.flatMap(Result.try({ try: f, catch: String }), (result) => result)
