/** All groups, in the order in which they run. */
import type { Group } from "../rows.ts"
import { groups as brokers } from "./brokers.ts"
import { groups as codec } from "./codec.ts"
import { groups as delay } from "./delay.ts"
import { groups as devices } from "./devices.ts"
import { groups as latency } from "./latency.ts"
import { groups as layers } from "./layers.ts"
import { groups as local } from "./local.ts"
import { groups as overhead } from "./overhead.ts"
import { groups as tcp } from "./tcp.ts"
import { groups as worker } from "./worker.ts"

export const groups: ReadonlyArray<Group> = [
  ...local,
  ...codec,
  ...worker,
  ...tcp,
  ...layers,
  ...delay,
  ...latency,
  ...devices,
  ...overhead,
  ...brokers
]
