/**
 * Telling two layouts apart, in words.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const Layout = Schema.fromJsonString(Schema.Json)

const flatten = (json: Schema.Json, path: string, into: Map<string, string>): void => {
  if (typeof json !== "object" || json === null) {
    into.set(path, JSON.stringify(json))
  } else if (Array.isArray(json)) {
    json.forEach((item: Schema.Json, i) => flatten(item, nameOf(item, `${path}[${i}]`), into))
  } else {
    for (const [key, value] of Object.entries(json)) flatten(value, path === "" ? key : `${path}.${key}`, into)
  }
}

const nameOf = (json: Schema.Json, otherwise: string): string =>
  typeof json === "object" && json !== null && "name" in json && typeof json["name"] === "string"
    ? `field "${json["name"]}"`
    : otherwise

const facts = (fingerprint: string): Map<string, string> => {
  const into = new Map<string, string>()
  Option.match(Schema.decodeUnknownOption(Layout)(fingerprint), {
    onNone: () => into.set("layout", fingerprint),
    onSome: (json) => flatten(json, "", into)
  })
  return into
}

/** Where the layouts of the device's feed and the feeder's differ, each with both sides. */
export const differences = (device: string, feeder: string): string => {
  const [mine, theirs] = [facts(device), facts(feeder)]
  const all: Array<string> = []
  for (const key of new Set([...mine.keys(), ...theirs.keys()])) {
    const [a, b] = [mine.get(key) ?? "absent", theirs.get(key) ?? "absent"]
    if (a !== b) all.push(`${key} is ${a} here, ${b} at the feeder`)
  }
  return all.join("; ")
}
