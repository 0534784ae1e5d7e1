/** The tasks of `piscina.ts`, by the names of payloads. */
import { digestAll, payloads } from "../payloads.ts"

export const small = (elements: ReadonlyArray<unknown>): number => digestAll(payloads.small, elements)

export const tensor = (elements: ReadonlyArray<unknown>): number => digestAll(payloads.tensor, elements)

export const image = (elements: ReadonlyArray<unknown>): number => digestAll(payloads.image, elements)
