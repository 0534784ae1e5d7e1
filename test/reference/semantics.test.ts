/**
 * What docs/semantics.md says is shown by tests that exist, and it leaves out no weakness and no point.
 */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { basename } from "node:path"

const root = new URL("../../", import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), "utf8")

interface Row {
  readonly line: number
  readonly section: string
  readonly cells: ReadonlyArray<string>
  readonly links: ReadonlyArray<{ readonly label: string; readonly name: string; readonly path: string }>
}

/** The rows of all tables, without their heads. */
const rowsOf = (markdown: string): ReadonlyArray<Row> => {
  const rows: Array<Row> = []
  let section = ""
  let isBody = false
  for (const [index, line] of markdown.split("\n").entries()) {
    if (line.startsWith("## ")) section = line.slice(3)
    if (!line.startsWith("|")) isBody = false
    else if (/^\|[ |:-]+$/.test(line)) isBody = true
    else if (isBody) {
      const cells = line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim())
      const links = Array.from(
        (cells.at(-1) ?? "").matchAll(/\[(\S+) › (.*?)\]\(\.\.\/([^)]+)\)/g),
        ([, label = "", name = "", path = ""]) => ({ label, name: name.replace(/\\(.)/g, "$1"), path })
      )
      rows.push({ line: index + 1, section, cells, links })
    }
  }
  return rows
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")

/** Whether a test has the name: it stands first in a call of `it`, or is the key of a table of tests. */
const hasTest = (source: string, name: string): boolean => {
  const literal = escaped(JSON.stringify(name))
  return new RegExp(`\\bit[\\w.]*\\(\\s*${literal}|^\\s*${literal}:`, "m").test(source)
}

const rows = rowsOf(read("docs/semantics.md"))
const links = rows.flatMap((row) => row.links.map((link) => ({ ...link, line: row.line })))
const rowsIn = (section: string) => rows.filter((row) => row.section === section)
const verdictOf = (row: Row) => row.cells.at(-2) ?? ""

describe("docs/semantics.md", () => {
  it("names tests that exist, in the files that it links", () => {
    const sources = new Map<string, string>()
    const wrong: Array<string> = []
    for (const { label, line, name, path } of links) {
      if (!sources.has(path)) sources.set(path, existsSync(new URL(path, root)) ? read(path) : "")
      if (!path.endsWith(`/${label}`)) wrong.push(`line ${line}: ${label} is not ${path}`)
      if (!hasTest(sources.get(path)!, name)) wrong.push(`line ${line}: ${path} has no test "${name}"`)
    }
    assert.deepStrictEqual(wrong, [])
    assert.isAbove(links.length, 200)
  })

  it("finds out names that no test has", () => {
    const source = "it.effect(\n  \"one\", () => {})\n// it mentions \"two\" only\n"
    assert.isTrue(hasTest(source, "one"))
    assert.isFalse(hasTest(source, "two"))
    assert.isFalse(hasTest(source, "on"))
  })

  it("has a row for each weakness, whose tests carry its number", () => {
    const weaknesses = rowsIn("Weaknesses")
    assert.deepStrictEqual(weaknesses.map(({ cells }) => cells[0]), Array.from({ length: 33 }, (_, i) => `W${i + 1}`))
    for (const { cells, links } of weaknesses) {
      assert.isNotEmpty(links, cells[0])
      for (const { name } of links) assert.isTrue(name.startsWith(`${cells[0]}: `), name)
    }
  })

  it("has a row for each point that is easy to miss, with a test", () => {
    const points = rowsIn("Points that are easy to miss")
    assert.deepStrictEqual(points.map(({ cells }) => cells[0]), Array.from({ length: 22 }, (_, i) => String(i + 1)))
    for (const { cells, links } of points) assert.isNotEmpty(links, `point ${cells[0]}`)
  })

  it("gives a verdict in each row, a test unless it is not wanted, and weaknesses that there are", () => {
    assert.isAbove(rows.length, 150)
    for (const row of rows) {
      const verdict = verdictOf(row)
      assert.match(verdict, /^(kept|mended|changed|not wanted)/, `line ${row.line}`)
      if (!verdict.startsWith("not wanted")) assert.isNotEmpty(row.links, `line ${row.line}`)
      for (const [, number] of verdict.matchAll(/\bW(\d+)/g)) assert.isAtMost(Number(number), 33, `line ${row.line}`)
    }
  })

  it("leaves out no test beside this one", () => {
    const linked = new Set(links.map(({ name }) => name))
    const missing: Array<string> = []
    for (const file of readdirSync(new URL(".", import.meta.url))) {
      if (!file.endsWith(".test.ts") || file === basename(import.meta.url)) continue
      const names = read(`test/reference/${file}`).matchAll(/\bit\.?\w*\(\s*("(?:[^"\\]|\\.)*")/g)
      for (const [, literal = ""] of names) {
        const name = literal.slice(1, -1).replace(/\\(.)/g, "$1")
        if (!linked.has(name)) missing.push(`${file} › ${name}`)
      }
    }
    assert.deepStrictEqual(missing, [])
  })
})
