/**
 * The inputs that are kept: each reaches something that none before it does. They are files named by what they hold.
 */
import { createHash } from "node:crypto"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const folder = (name: string): string => join(import.meta.dirname, name)

const read = (name: string): ReadonlyArray<Uint8Array> => {
  mkdirSync(folder(name), { recursive: true })
  return readdirSync(folder(name)).toSorted().map((file) => readFileSync(join(folder(name), file)))
}

const write = (name: string, input: Uint8Array): string => {
  mkdirSync(folder(name), { recursive: true })
  const file = join(folder(name), `${createHash("sha256").update(input).digest("hex").slice(0, 16)}.bin`)
  writeFileSync(file, input)
  return file
}

/** What was kept. */
export const load = (): ReadonlyArray<Uint8Array> => read("corpus")

/** Keeps an input. */
export const keep = (input: Uint8Array): string => write("corpus", input)

/** Saves an input by which something failed. When it is mended, the input belongs to the corpus. */
export const save = (input: Uint8Array): string => write("findings", input)
