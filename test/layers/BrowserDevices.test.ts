/**
 * A page in a real browser that dials a feeder over a WebSocket, and draws what it is fed.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Logger, Redacted } from "effect"
import { Feeder } from "effect-feeder"
import * as BrowserDevices from "effect-feeder/layers/BrowserDevices"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as Esbuild from "esbuild"
import { spawn, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Os from "node:os"
import * as Path from "node:path"
import { Pictures, side } from "../fixtures/pictures.ts"
import { freePort } from "../fixtures/processes.ts"

const chromium = process.env["CHROMIUM"] ?? "chromium"
const hasChromium = spawnSync(chromium, ["--version"]).status === 0

/** The page's program, in the language of browsers. */
const program = `
  import { Effect, Logger } from "effect"
  import { layerDial } from "effect-feeder/layers/BrowserDevices"
  import { Pictures, side } from "./pictures.ts"
  const canvas = document.querySelector("canvas")
  const context = canvas.getContext("2d")
  let drawn = 0
  const draw = (pixels) => Effect.sync(() => {
    drawn++
    context.putImageData(new ImageData(new Uint8ClampedArray(pixels), side, side), 0, 0)
  })
  const url = new URLSearchParams(location.search).get("feeder")
  const pixels = () => [...context.getImageData(0, 0, side, side).data]
  const tell = (what) => fetch("/told", { method: "POST", body: JSON.stringify(what) })
  Pictures.forEach(draw).pipe(
    Effect.provide(layerDial({ feeds: [Pictures], url })),
    Effect.runPromise
  ).then(() => tell({ drawn, pixels: pixels() }), (error) => tell({ drawn, error: String(error) }))
`

const { metafile, outputFiles } = Esbuild.buildSync({
  stdin: { contents: program, resolveDir: Path.join(import.meta.dirname, "../fixtures"), loader: "js" },
  bundle: true,
  write: false,
  metafile: true,
  format: "esm",
  // What needs Node does not resolve.
  platform: "browser",
  conditions: ["effect-feeder:source"],
  logLevel: "silent"
})

interface Told {
  readonly drawn: number
  readonly pixels?: ReadonlyArray<number>
  readonly error?: string
}

/** Serves the page, and gives what it tells. */
const servePage = (script: Uint8Array) =>
  Effect.gen(function*() {
    const told = Deferred.makeUnsafe<Told>()
    const server = Http.createServer((request, response) => {
      if (request.method === "POST") {
        let text = ""
        request.setEncoding("utf8").on("data", (part: string) => {
          text += part
        })
        request.on("end", () => {
          Deferred.doneUnsafe(told, Effect.succeed(JSON.parse(text)))
          response.end()
        })
        return
      }
      const isScript = request.url === "/page.js"
      response.setHeader("Content-Type", isScript ? "text/javascript" : "text/html")
      response.end(
        isScript
          ? script
          : `<!doctype html><canvas width="${side}" height="${side}"></canvas><script type="module" src="/page.js"></script>`
      )
    })
    const port = yield* freePort
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(port, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    return { origin: `http://127.0.0.1:${port}`, told: Deferred.await(told) }
  })

/** Opens a page in a browser without a window. */
const browse = (url: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const profile = Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-feeder-browser-"))
      const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
      const child = spawn(chromium, [...flags, `--user-data-dir=${profile}`, url], { stdio: "ignore", detached: true })
      return { child, profile }
    }),
    ({ child, profile }) =>
      Effect.callback<void>((resume) => {
        child.once("close", () => resume(Effect.void))
        // With all processes that it has started.
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL")
      }).pipe(Effect.andThen(Effect.sync(() => Fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 }))))
  )

const picture = (i: number): Uint8Array =>
  Uint8Array.from({ length: side * side * 4 }, (_, at) => at % 4 === 3 ? 255 : (i * 31 + at * 7) % 256)

describe("a page", () => {
  it("needs nothing of Node", () => {
    const inputs = Object.keys(metafile.inputs)
    assert.isTrue(inputs.some((input) => input.endsWith("BrowserDevices.ts")))
    assert.deepStrictEqual(inputs.filter((input) => /node:|platform-node|\/ws\//.test(input)), [])
  })

  // A machine without Chromium cannot run it (November 2026).
  it.live.skipIf(!hasChromium)("draws what it is fed", () =>
    Effect.gen(function*() {
      const page = yield* servePage(outputFiles[0]!.contents)
      const feeder = `ws://127.0.0.1:${yield* freePort}/pictures`
      const live = SocketDevices.layerListen({ url: feeder, origins: [page.origin] })
      const feed = Feeder.run(Pictures, {
        source: Array.from({ length: 100 }, (_, i) => picture(i)),
        devices: ({ job }) => job === "browser"
      })
      yield* browse(`${page.origin}/?feeder=${encodeURIComponent(feeder)}`)
      const ledger = yield* feed.pipe(Effect.provide([live, Logger.layer([])]))
      assert.deepInclude(ledger, { generated: 100, delivered: 100, redelivered: 0 })
      const { drawn, pixels } = yield* page.told
      assert.strictEqual(drawn, 100)
      assert.deepStrictEqual(pixels, [...picture(99)])
    }), 60_000)
})

describe("what a page cannot do", () => {
  const build = (options: Omit<BrowserDevices.DialOptions<[typeof Pictures]>, "feeds">) =>
    Effect.flip(Layer.build(BrowserDevices.layerDial({ feeds: [Pictures], ...options })))

  it.live("is said", () =>
    Effect.gen(function*() {
      assert.match((yield* build({ url: "tcp://127.0.0.1:1" })).message, /a page can only open WebSockets/)
      assert.match((yield* build({ url: "ws://127.0.0.1:1", device: "job" })).message, /is not usable/)
      const credential = Redacted.make("a long random text")
      assert.match((yield* build({ url: "ws://feeder.example/", credential })).message, /use wss:\/\//)
    }))
})
