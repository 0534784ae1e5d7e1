/**
 * Packs the package as it would be published and installs it with npm in an empty project, as a user would.
 *
 * With `effect` alone, the root entry must work without any optional peer, every public module must import, and a Layer
 * that needs a peer must say which one to install. With the peers, every public module must type-check, what is internal
 * must be refused, and the README's three files must run.
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

const installed = path.join(project, "node_modules/effect-feeder")

const isInternal = (file: string): boolean => file.split(path.sep).includes("internal")

/** All that was packed, by whether it may be imported. */
const modules = (): { readonly open: ReadonlyArray<string>; readonly closed: ReadonlyArray<string> } => {
  const files = fs.globSync("**/*.js", { cwd: path.join(installed, "dist") }).toSorted()
  const specifierOf = (file: string): string =>
    path.posix.join("effect-feeder", file.split(path.sep).join("/").replace(/\.js$/, "").replace(/(?:^|\/)index$/, ""))
  return {
    open: files.filter((file) => !isInternal(file)).map(specifierOf),
    closed: files.filter(isInternal).map(specifierOf)
  }
}

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

  const { closed, open } = modules()
  // What needs a peer that is not there says so, and all else does not ask for it.
  const feeds = `import { Effect, Layer, Schema } from "effect"
import { Feed } from "effect-feeder"
import * as JetStreamDevices from "effect-feeder/layers/JetStreamDevices"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"

const feeds = [Feed.make("numbers", { element: Schema.Int })] as const
const device = "/job:consumer/replica:0"
const build = (layer: Layer.Layer<unknown, unknown>) =>
  Effect.runPromise(Effect.map(Effect.flip(Effect.scoped(Layer.build(layer))), String))
`
  write(
    "withoutPeers.ts",
    `${feeds}
for (const specifier of ${JSON.stringify(open)}) await import(specifier)
const missing = [
  await build(JetStreamDevices.layer()),
  await build(JetStreamDevices.layerHost({ feeds, device })),
  await build(SocketDevices.layer({ [device]: "ws://127.0.0.1:1" })),
  await build(SocketDevices.layerHost({ feeds, url: "ws://127.0.0.1:1" })),
  await build(SocketDevices.layerListen({ url: "ws://127.0.0.1:1" })),
  await build(SocketDevices.layerDial({ feeds, url: "ws://127.0.0.1:1" }))
]
console.log(JSON.stringify(missing))
`
  )
  const nats = "npm install @nats-io/transport-node @nats-io/jetstream"
  const said = JSON.parse(await start("withoutPeers.ts"))
  const asked = [
    ["@nats-io/transport-node", nats],
    ["@nats-io/transport-node", nats],
    ...Array.from({ length: 4 }, () => ["\"ws\"", "npm install ws"])
  ]
  asked.forEach(([name, command], i) => {
    const message = said[i]
    expect(
      `without a peer it says ${message}`,
      message.includes("PackageMissing") && message.includes(`needs`) && message.includes(name) &&
        message.includes(`\`${command}\``)
    )
  })
  // One of two is not enough.
  install(published("@nats-io/transport-node"))
  write("withoutOne.ts", `${feeds}\nconsole.log(await build(JetStreamDevices.layer()))\n`)
  const one = await start("withoutOne.ts")
  expect(`without a peer it says ${one}`, one.includes("needs @nats-io/jetstream,") && one.includes(`\`${nats}\``))
  // These are imported by the programs that use them, and by nothing of the package: Node names what is missing.
  const peers = ["@effect/platform-node", "@effect/sql-pg"]
  write(
    "imported.ts",
    peers.map((name) => `await import("${name}").catch((error) => console.log(error.message))`).join("\n")
  )
  const imported = await start("imported.ts")
  for (const name of peers) {
    expect(`without ${name} Node says ${imported}`, imported.includes(`Cannot find package '${name}'`))
  }

  // Every public module, with the peers of the Layers and of the tests.
  install(
    published("@effect/platform-node"),
    published("@effect/vitest"),
    published("@nats-io/jetstream"),
    published("@nats-io/transport-node"),
    published("vitest"),
    published("@types/node")
  )
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
      `Layers name the peers that they miss, and the README's example runs`
  )
} catch (error) {
  // What tsc found is on its standard output.
  if (error instanceof Error && "stdout" in error) console.error(error.stdout)
  throw error
} finally {
  fs.rmSync(project, { recursive: true, force: true })
}
