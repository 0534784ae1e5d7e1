/**
 * Why sockets cannot be used.
 */
import * as Schema from "effect/Schema"
import { forms } from "./socketAddress.ts"

const TypeId = "~effect-feeder/layers/SocketDevices"

/**
 * An address, or the name of a device, that makes no sense.
 *
 * @category errors
 * @since 0.1.0
 */
export class AddressInvalid extends Schema.Error<AddressInvalid>(`${TypeId}/AddressInvalid`)({
  _tag: Schema.tag("AddressInvalid"),
  device: Schema.String,
  address: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `the address "${this.address}" of device "${this.device}" is not usable: ${this.issue}; ` +
      `write it as ${forms}, and each device and address once`
  }
}

/**
 * It is not possible to listen where it was told to.
 *
 * @category errors
 * @since 0.1.0
 */
export class ListenFailed extends Schema.Error<ListenFailed>(`${TypeId}/ListenFailed`)({
  _tag: Schema.tag("ListenFailed"),
  address: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    const why = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `cannot listen at ${this.address}: ${why}; is another host running there?`
  }
}

/**
 * A device would be open to anyone, or a credential readable on its way.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unprotected extends Schema.Error<Unprotected>(`${TypeId}/Unprotected`)({
  _tag: Schema.tag("Unprotected"),
  address: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `${this.address} would be unprotected: ${this.issue}`
  }
}

/**
 * A package is missing that only some addresses need, so that it is not installed with this one.
 *
 * @category errors
 * @since 0.1.0
 */
export class PackageMissing extends Schema.Error<PackageMissing>(`${TypeId}/PackageMissing`)({
  _tag: Schema.tag("PackageMissing"),
  package: Schema.String,
  why: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `${this.why} needs the package "${this.package}", which is not installed; run \`npm install ${this.package}\``
  }
}
