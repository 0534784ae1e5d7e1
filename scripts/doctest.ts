/**
 * Turns the examples in JSDoc, the README and docs/ into vitest files under `.doctest/`.
 *
 * An example is a fence opened with "```ts import.meta.vitest". It becomes one test named `file:line`, run as the body of
 * an async function. A statement that ends its line with `// => value` asserts: an expression, what a `console.log` or a
 * `yield* Console.log` prints, or the name a `const` introduces equals that value.
 *
 * Every line of an example keeps its line number in the generated file, so failures point at the line of the source.
 */
import * as fs from "node:fs"
import * as path from "node:path"
import ts from "typescript-6"

interface Example {
  readonly file: string
  /** The line of the opening fence, from 1. */
  readonly line: number
  readonly code: ReadonlyArray<string>
}

const target = ".doctest"
const opening = /^(\s*(?:\* ?)?)```ts import\.meta\.vitest\s*$/

const findExamples = (file: string): Array<Example> => {
  const lines = fs.readFileSync(file, "utf8").split("\n")
  const examples: Array<Example> = []
  for (let start = 0; start < lines.length; start++) {
    const prefix = opening.exec(lines[start]!)?.[1]
    if (prefix === undefined) continue
    const strip = (line: string): string =>
      line.startsWith(prefix) ? line.slice(prefix.length) : line.slice(prefix.trimEnd().length)
    let end = start + 1
    while (end < lines.length && !strip(lines[end]!).startsWith("```")) end++
    if (end === lines.length) throw new Error(`${file}:${start + 1}: the fence is never closed`)
    examples.push({ file, line: start + 1, code: lines.slice(start + 1, end).map(strip) })
    start = end
  }
  return examples
}

/** The argument of `console.log(x)` or `yield* Console.log(x)`; otherwise the expression itself. */
const printed = (node: ts.Expression): ts.Expression => {
  const call = ts.isYieldExpression(node) && node.expression !== undefined ? node.expression : node
  return ts.isCallExpression(call) && call.arguments.length === 1 && /^console\.log$/i.test(call.expression.getText())
    ? call.arguments[0]!
    : node
}

const compile = ({ code, file, line }: Example): string => {
  const text = code.join("\n")
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
  const imports: Array<string> = []
  const edits: Array<{ readonly from: number; readonly to: number; readonly text: string }> = []
  const expectations = new Set<number>()

  const expectation = (statement: ts.Statement): void => {
    const end = text.indexOf("\n", statement.end)
    const comment = /^;?\s*\/\/ => (.+)$/.exec(text.slice(statement.end, end < 0 ? text.length : end))
    if (comment === null) return
    const expected = comment[1]!.trim()
    const at = statement.end + comment[0].indexOf("// =>")
    if (ts.isVariableStatement(statement)) {
      const name = statement.declarationList.declarations[0]!.name.getText()
      edits.push({ from: statement.end, to: statement.end, text: `; expect__(${name}).toEqual(${expected});` })
    } else if (ts.isExpressionStatement(statement)) {
      const actual = printed(statement.expression)
      edits.push({ from: statement.getStart(), to: actual.getStart(), text: ";expect__(" })
      edits.push({ from: actual.end, to: statement.end, text: `).toEqual(${expected});` })
    } else {
      return
    }
    expectations.add(at)
  }

  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      imports.push(node.getText().replace(/\s*\n\s*/g, " "))
      edits.push({ from: node.getStart(), to: node.end, text: node.getText().replace(/[^\n]/g, "") })
    } else if (node.kind === ts.SyntaxKind.ExportKeyword) {
      edits.push({ from: node.getStart(), to: node.end, text: "" })
    } else {
      if (ts.isExpressionStatement(node) || ts.isVariableStatement(node)) expectation(node)
      ts.forEachChild(node, visit)
    }
  }
  visit(source)

  for (const { index } of text.matchAll(/\/\/ =>/g)) {
    if (!expectations.has(index)) {
      const at = line + text.slice(0, index).split("\n").length
      throw new Error(`${file}:${at}: "// =>" does not follow an expression or a const on its line`)
    }
  }

  const body = edits.toSorted((a, b) => b.from - a.from).reduce(
    (code, edit) => code.slice(0, edit.from) + edit.text + code.slice(edit.to),
    text
  )
  // An example about testing brings tests of its own, which go in a suite; any other is one test.
  const wrap = imports.some((line) => /["'](?:@effect\/)?vitest["']/.test(line)) ? "describe__" : "it__"
  const head = [
    `import { describe as describe__, expect as expect__, it as it__ } from "vitest"`,
    ...imports,
    `${wrap}(${JSON.stringify(`${file}:${line}`)}, async () => {`
  ].join("; ")
  return `${head}${"\n".repeat(line)}${body}\n})\n`
}

fs.rmSync(target, { recursive: true, force: true })
const files = fs.globSync(["src/**/*.ts", "README.md", "docs/**/*.md"]).toSorted()
const examples = files.flatMap(findExamples)
for (const example of examples) {
  const out = path.join(target, `${example.file}.${example.line}.test.ts`)
  fs.mkdirSync(path.dirname(out), { recursive: true })
  fs.writeFileSync(out, compile(example))
}
console.log(`${examples.length} examples in ${new Set(examples.map((example) => example.file)).size} files`)
