/**
 * Packs the package as it would be published, unpacks it beside its peers in an empty project, and there imports and
 * type-checks every public module. What the package keeps to itself must be refused.
 */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

const root = path.resolve(import.meta.dirname, "..")
const project = fs.mkdtempSync(path.join(os.tmpdir(), "effect-feeder-pack-"))
const modules = path.join(project, "node_modules")
const installed = path.join(modules, "effect-feeder")

try {
  const run = (command: string, args: ReadonlyArray<string>, cwd: string): string =>
    execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] })

  run("npm", ["pack", "--silent", "--pack-destination", project], root)
  const [archive] = fs.globSync("*.tgz", { cwd: project })
  fs.mkdirSync(installed, { recursive: true })
  run("tar", ["-xzf", path.join(project, archive!), "-C", installed, "--strip-components=1"], project)
  for (const name of fs.readdirSync(path.join(root, "node_modules"))) {
    if (!name.startsWith(".")) fs.symlinkSync(path.join(root, "node_modules", name), path.join(modules, name))
  }

  const isInternal = (file: string): boolean => file.split(path.sep).includes("internal")
  const files = fs.globSync("**/*.js", { cwd: path.join(installed, "dist") }).toSorted()
  const specifierOf = (file: string): string =>
    `effect-feeder/${file.split(path.sep).join("/").replace(/\.js$/, "").replace(/(?:^|\/)index$/, "")}`.replace(
      /\/$/,
      ""
    )
  const open = files.filter((file) => !isInternal(file)).map(specifierOf)
  const closed = files.filter(isInternal).map(specifierOf)

  fs.writeFileSync(path.join(project, "package.json"), JSON.stringify({ private: true, type: "module" }))
  fs.writeFileSync(
    path.join(project, "imports.ts"),
    [
      ...open.map((specifier, index) => `export * as module${index} from "${specifier}"`),
      `for (const specifier of ${JSON.stringify(closed)}) {`,
      `  const refused = await import(specifier).then(() => false, (error) => error.code === "ERR_PACKAGE_PATH_NOT_EXPORTED")`,
      `  if (!refused) throw new Error(specifier + " is internal, yet importable")`,
      `}`
    ].join("\n")
  )
  run(process.execPath, ["imports.ts"], project)
  const flags = "--noEmit --strict --skipLibCheck --target es2023 --module nodenext --types node".split(" ")
  run(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), ...flags, "imports.ts"], project)
  console.log(`packed: ${open.length} public modules import and type-check, ${closed.length} internal ones are refused`)
} catch (error) {
  // What tsc found is on its standard output.
  if (error instanceof Error && "stdout" in error) console.error(error.stdout)
  throw error
} finally {
  fs.rmSync(project, { recursive: true, force: true })
}
