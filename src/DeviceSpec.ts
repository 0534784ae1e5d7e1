/** stub until the real one lands */
import * as Result from "effect/Result"
export interface DeviceSpec { readonly name: string }
export type Input = DeviceSpec | string
export const fromString = (s: string): Result.Result<DeviceSpec, Error> => s.startsWith("/") ? Result.succeed({ name: s }) : Result.fail(new Error("bad spec " + s))
export const canonicalName = (d: Input | undefined): string => d === undefined ? "" : typeof d === "string" ? d : d.name
export const replicas = (job: string, count: number): ReadonlyArray<DeviceSpec> => Array.from({ length: count }, (_, i) => ({ name: `/job:${job}/replica:${i}` }))
