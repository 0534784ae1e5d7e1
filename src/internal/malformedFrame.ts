/**
 * What is said of bytes that are not a frame.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

/** Bytes that are not a frame of the protocol. `field` says where: `length`, `runs[3].count`, `Hello.leaseMillis`. */
export class MalformedFrame extends Schema.Error<MalformedFrame>("~effect-feeder/internal/frames/MalformedFrame")({
  _tag: Schema.tag("MalformedFrame"),
  field: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `malformed frame: ${this.field}: ${this.issue}; ` +
      `the peer does not speak this protocol, or its bytes were damaged`
  }
}

/** What is told of a field, and of it to a peer, is short, whatever came. */
const brief = (text: string, most: number): string =>
  text.length <= most ? text : `${text.slice(0, most).toWellFormed()} …`

/** A frame is refused for this field. */
export const malformed = (field: string, issue: string): Result.Result<never, MalformedFrame> =>
  Result.fail(new MalformedFrame({ field: brief(field, 200), issue: brief(issue, 500) }))
