/**
 * Packs the package as it would be published and installs it with npm in an empty project, as a user would.
 *
 * With `effect` alone, the root entry must work without any optional peer. With `@effect/platform-node` too, every
 * public module must import and type-check, what is internal must be refused, and the README's three files must run.
 */
import { execFileSync, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

const root = path.resolve(import.meta.dirname, "..")
const project = fs.mkdtempSync(path.join(os.tmpdir(), "effect-feeder-pack-"))
const { devDependencies } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"))

const run = (command: string, args: ReadonlyArray<string>, cwd = project): string =>
  execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] })

const write = (name: string, text: string): void => fs.writeFileSync(path.join(project, name), text)

const install = (...packages: ReadonlyArray<string>): string =>
  run("npm", ["install", "--silent", "--no-audit", "--no-fund", "--prefer-offline", ...packages])

const published = (name: string): string => `${name}@${devDependencies[name]}`

const typeCheck = (...files: ReadonlyArray<string>): string => {
  const flags = "--noEmit --strict --target es2023 --module nodenext --types node --allowImportingTsExtensions"
  return run(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), ...flags.split(" "), ...files])
}

/** Runs a program to its end, beside others; gives what it printed. */
const start = (...args: ReadonlyArray<string>): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: project, stdio: ["ignore", "pipe", "inherit"], timeout: 60_000 })
    let printed = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      printed += text
    })
    child.on("error", reject)
    child.on(
      "exit",
      (code) => code === 0 ? resolve(printed) : reject(new Error(`${args.join(" ")} exited with ${code}`))
    )
  })

const expect = (what: string, isTrue: boolean): void => {
  if (!isTrue) throw new Error(`the packed package fails: ${what}`)
}

try {
  run("npm", ["pack", "--silent", "--pack-destination", project], root)
  const [archive] = fs.globSync("*.tgz", { cwd: project })
  write("package.json", JSON.stringify({ private: true, type: "module" }))

  // The root entry, with `effect` alone.
  install(`./${archive}`, published("effect"))
  expect("an optional peer was installed", !fs.existsSync(path.join(project, "node_modules/@effect/platform-node")))
  write(
    "inProcess.ts",
    `import { Effect, Schema } from "effect"
import { Feed, Feeder, MemoryDevices } from "effect-feeder"

const Numbers = Feed.make("numbers", { element: Schema.Int })
const feed = Feeder.run(Numbers, { source: [1, 2, 3], devices: ["/job:consumer/replica:0"] })
const program = Effect.all([feed, Numbers.forEach(() => Effect.void)], { concurrency: 2 })
const [ledger] = await Effect.runPromise(program.pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }))))
console.log(ledger.delivered)
`
  )
  expect("it does not feed in one process", (await start("inProcess.ts")).trim() === "3")

  // Every public module, with the peers of the Layers and of the tests.
  install(
    published("@effect/platform-node"),
    published("@effect/vitest"),
    published("@nats-io/jetstream"),
    published("@nats-io/transport-node"),
    published("vitest"),
    published("@types/node")
  )
  const installed = path.join(project, "node_modules/effect-feeder")
  const isInternal = (file: string): boolean => file.split(path.sep).includes("internal")
  const files = fs.globSync("**/*.js", { cwd: path.join(installed, "dist") }).toSorted()
  const specifierOf = (file: string): string =>
    path.posix.join("effect-feeder", file.split(path.sep).join("/").replace(/\.js$/, "").replace(/(?:^|\/)index$/, ""))
  const open = files.filter((file) => !isInternal(file)).map(specifierOf)
  const closed = files.filter(isInternal).map(specifierOf)
  write(
    "imports.ts",
    [
      ...open.map((specifier, index) => `export * as module${index} from "${specifier}"`),
      `for (const specifier of ${JSON.stringify(closed)}) {`,
      `  const refused = await import(specifier).then(() => false, (error) => error.code === "ERR_PACKAGE_PATH_NOT_EXPORTED")`,
      `  if (!refused) throw new Error(specifier + " is internal, yet importable")`,
      `}`
    ].join("\n")
  )
  await start("imports.ts")

  // The README's three files.
  for (
    const [, name, text] of fs.readFileSync(path.join(root, "README.md"), "utf8").matchAll(
      /^```ts file=(\S+)\n([\s\S]*?)^```$/gm
    )
  ) write(name!, text!)
  typeCheck("inProcess.ts", "imports.ts", "feeds.ts", "consumer.ts", "feeder.ts")
  const [account] = await Promise.all([
    start("feeder.ts"),
    start("consumer.ts", "4001"),
    start("consumer.ts", "4002")
  ])
  expect(`the README's feeder printed ${account}`, account.trim() === "1000 of 1000 delivered, 0 lost")
  console.log(
    `packed: ${open.length} public modules import and type-check, ${closed.length} internal ones are refused, ` +
      `and the README's example runs`
  )
} catch (error) {
  // What tsc found is on its standard output.
  if (error instanceof Error && "stdout" in error) console.error(error.stdout)
  throw error
} finally {
  fs.rmSync(project, { recursive: true, force: true })
}
