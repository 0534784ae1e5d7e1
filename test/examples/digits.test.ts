/**
 * The digits example as a person runs it: real processes, from the command line to the exit code.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import * as Path from "node:path"
import { Account } from "../../examples/digits/account.ts"
import { devices } from "../../examples/digits/feeds.ts"
import { until } from "../fixtures/processes.ts"

const main = Path.join(import.meta.dirname, "../../examples/digits/main.ts")
