/**
 * The disk under the feeder's store, which can be full: a small one of its own where this process may mount one, else a
 * file that says so to the store of the feeder.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"

export interface Disk {
  readonly directory: string
  /** If it is there, the store is to behave as if the disk was full. */
  readonly fullFile: string
  readonly isReal: boolean
  readonly fill: () => void
  readonly free: () => void
  isBusy: boolean
}

const size = 8 * 1024 * 1024

const mount = (directory: string): boolean =>
  process.getuid?.() === 0 &&
  spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", directory], { stdio: "ignore" }).status === 0

const fillWith = (file: string): void => {
  const descriptor = Fs.openSync(file, "a")
  const page = Buffer.alloc(4096, 1)
  try {
    for (let written = 0; written <= size; written += page.length) Fs.writeSync(descriptor, page)
  } catch (error) {
    if (Reflect.get(Object(error), "code") !== "ENOSPC") throw error
  } finally {
    Fs.closeSync(descriptor)
  }
}

export const make = (parent: string): Effect.Effect<Disk, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync((): Disk => {
      const directory = Path.join(parent, "store")
      const fullFile = Path.join(parent, "full")
      Fs.mkdirSync(directory)
      const isReal = mount(directory)
      const ballast = isReal ? Path.join(directory, ".ballast") : fullFile
      return {
        directory,
        fullFile,
        isReal,
        isBusy: false,
        fill: () => isReal ? fillWith(ballast) : Fs.writeFileSync(fullFile, ""),
        free: () => Fs.rmSync(ballast, { force: true })
      }
    }),
    ({ directory, isReal }) =>
      Effect.sync(() => {
        if (isReal) spawnSync("umount", ["-l", directory], { stdio: "ignore" })
      })
  )
