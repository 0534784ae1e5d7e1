/**
 * What tests of a pipeline need: `effect-feeder/testing`.
 *
 * @since 0.1.0
 */
export * as FaultyDevices from "./FaultyDevices.ts"
export * as ManualSource from "./ManualSource.ts"
