/** Where the main thread's time goes: a sampled CPU profile, summed up by function and by file. */
import { Session } from "node:inspector/promises"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

export interface Share {
  readonly name: string
  /** Percent of the time in which the thread was not idle. */
  readonly percent: number
}

export interface Profile {
  /** Percent of all the time. */
  readonly idle: number
  readonly functions: ReadonlyArray<Share>
  readonly files: ReadonlyArray<Share>
}

const root = path.resolve(import.meta.dirname, "..")

const fileOf = (url: string): string =>
  url.startsWith("file:") ? path.relative(root, fileURLToPath(url)).replace("node_modules/", "") : url

const sharesOf = (micros: ReadonlyMap<string, number>, whole: number): ReadonlyArray<Share> =>
  [...micros].map(([name, part]) => ({ name, percent: part / whole * 100 })).toSorted((a, b) => b.percent - a.percent)

/** Runs `f` under the profiler. The times are self times. */
export const profiled = async <A>(f: () => Promise<A>): Promise<readonly [A, Profile]> => {
  const session = new Session()
  session.connect()
  await session.post("Profiler.enable")
  await session.post("Profiler.setSamplingInterval", { interval: 200 })
  await session.post("Profiler.start")
  const result = await f()
  const { profile } = await session.post("Profiler.stop")
  session.disconnect()

  const frames = new Map(profile.nodes.map(({ callFrame, id }) => [id, callFrame]))
  const functions = new Map<string, number>()
  const files = new Map<string, number>()
  const add = (sums: Map<string, number>, name: string, micros: number) =>
    sums.set(name, (sums.get(name) ?? 0) + micros)
  let idle = 0
  let busy = 0
  profile.samples?.forEach((id, i) => {
    const micros = profile.timeDeltas?.[i] ?? 0
    const { functionName, lineNumber, url } = frames.get(id)!
    if (functionName === "(idle)") {
      idle += micros
      return
    }
    if (url === "node:inspector") return // the profiler itself
    busy += micros
    const name = functionName === "" ? "(anonymous)" : functionName
    add(functions, url === "" ? name : `${name} ${fileOf(url)}:${lineNumber + 1}`, micros)
    add(files, url === "" ? name.startsWith("(") ? name : "native" : fileOf(url), micros)
  })
  return [result, {
    idle: idle / (idle + busy) * 100,
    functions: sharesOf(functions, busy),
    files: sharesOf(files, busy)
  }]
}
