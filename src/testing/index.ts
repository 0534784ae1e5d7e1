/**
 * What tests of feeds are made of: the entry point `effect-feeder/testing`.
 *
 * @since 0.1.0
 */
export * as Elements from "./Elements.ts"
export * as FaultyDevices from "./FaultyDevices.ts"
export * as FeedingLaws from "./FeedingLaws.ts"
export * as Ledgers from "./Ledgers.ts"
export * as ManualSource from "./ManualSource.ts"
export * as SimulatedDevices from "./SimulatedDevices.ts"
export * as Simulation from "./Simulation.ts"
