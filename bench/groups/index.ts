/** All groups, in the order in which they run. */
import type { Group } from "../rows.ts"
import { groups as brokers } from "./brokers.ts"
import { groups as codec } from "./codec.ts"
import { groups as local } from "./local.ts"
import { groups as tcp } from "./tcp.ts"

export const groups: ReadonlyArray<Group> = [...local, ...codec, ...tcp, ...brokers]
