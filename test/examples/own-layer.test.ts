/**
 * The Layer that the guide is about: the laws of feeding over real processes, and its programs as a person runs them.
 */
import { NodeServices, NodeSink, NodeStream } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Logger, Sink, Stdio, Stream } from "effect"
import { RemoteDevices } from "effect-feeder"
import { FeedingLaws } from "effect-feeder/testing"
import { type PlatformError, systemError } from "effect/PlatformError"
import { ChildProcess } from "effect/process"
import * as fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import { PassThrough } from "node:stream"
import * as StdioDevices from "../../examples/own-layer/StdioDevices.ts"
import { freePort } from "../fixtures/processes.ts"

const devices = ["/job:consumer/replica:0", "/job:consumer/replica:1"] as const

const quiet = Layer.provide(Logger.layer([]))

// -----------------------------------------------------------------------------
// the laws: each device is a process that passes its pipes on to the process of the test, where its host is
// -----------------------------------------------------------------------------

const ports = new Map<string, number>(
  await Effect.runPromise(Effect.forEach(devices, (device) => Effect.map(freePort, (port) => [device, port] as const)))
)

const relay = (port: number) =>
  ChildProcess.make(process.execPath, [Path.join(import.meta.dirname, "../fixtures/pipeRelay.ts"), String(port)])

const broken = (cause: unknown) => systemError({ module: "test", method: "pipe", _tag: "Unknown", cause })

/** The pipes of the first process that comes. It ends when the scope is closed. */
const layerPipes = (port: number): Layer.Layer<Stdio.Stdio> =>
  Layer.effect(
    Stdio.Stdio,
    Effect.gen(function*() {
      const [stdin, stdout] = [new PassThrough(), new PassThrough()]
      let process: Net.Socket | undefined
      const server = Net.createServer({ noDelay: true }, (socket) => {
        if (process !== undefined) {
          socket.destroy()
          return
        }
        process = socket.on("error", () => {})
        socket.pipe(stdin)
        stdout.pipe(socket)
      })
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => {
          server.listen(port, "127.0.0.1", () => resume(Effect.void))
        }),
        () =>
          Effect.callback<void>((resume) => {
            server.close(() => resume(Effect.void))
            process?.destroySoon()
          })
      )
      return Stdio.make({
        args: Effect.succeed([]),
        stdin: NodeStream.fromReadable<Uint8Array, PlatformError>({
          evaluate: () => stdin,
          onError: broken,
          closeOnDone: false
        }),
        stdout: () => NodeSink.fromWritable({ evaluate: () => stdout, onError: broken, endOnDone: false }),
        stderr: () => Sink.drain
      })
    })
  )

FeedingLaws.suite("StdioDevices", it, {
  devices,
  layer: StdioDevices.layer(Object.fromEntries(devices.map((device) => [device, relay(ports.get(device) ?? 0)]))).pipe(
    Layer.provide(NodeServices.layer),
    quiet
  ),
  host: (device) =>
    StdioDevices.layerHost({ feeds: FeedingLaws.feeds, device }).pipe(Layer.provide(layerPipes(ports.get(device) ?? 0)))
})

// -----------------------------------------------------------------------------
// the programs
// -----------------------------------------------------------------------------

const feeder = Path.join(import.meta.dirname, "../../examples/own-layer/feeder.ts")

it.live("texts are counted by programs, one of which crashes", () =>
  Effect.gen(function*() {
    const program = yield* ChildProcess.make(process.execPath, [
      "--conditions=effect-feeder:source",
      feeder,
      "--crash"
    ])
    const lines = yield* program.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.runCollect)
    assert.match(lines.at(-1) ?? "", /^2000 of 2000 delivered, [1-9]\d* of them again, 0 lost$/)
    const counted = lines.flatMap((line) =>
      /replica:(\d): (\d+) texts of (\d+) words/.exec(line)?.slice(1).map(Number) ?? []
    )
    assert.strictEqual(counted.length, 6, lines.join("\n"))
    assert.strictEqual(yield* program.exitCode, 0)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 60_000)

it.live("what a device cannot be linked for is said", () =>
  Effect.gen(function*() {
    const logged: Array<unknown> = []
    const log = Logger.make(({ message }) => logged.push(message))
    const devices = {
      "/job:chatty": ChildProcess.make(process.execPath, ["-e", "console.log('hello, world'); process.stdin.resume()"]),
      "/job:missing": ChildProcess.make("no-such-program"),
      "/job:ended": ChildProcess.make(process.execPath, ["-e", "process.exit(3)"]),
      "/job:cut": ChildProcess.make(process.execPath, ["-e", "process.exit(255)"])
    }
    const open = (device: string) =>
      Effect.scoped(Effect.gen(function*() {
        const remote = yield* RemoteDevices.RemoteDevices
        const link = yield* remote.open(device, FeedingLaws.feeds[0].info)
        return yield* link.receive
      })).pipe(
        Effect.flip,
        Effect.map((error) => `${error._tag === "DeviceLost" ? error.fate : error._tag}: ${error.message}`)
      )
    yield* Effect.gen(function*() {
      assert.match(yield* open("/job:chatty"), /^gone: .*it ended with exit code 0/)
      assert.match(logged.flat().join(" "), /no message came; does something print to a standard output\?/)
      assert.match(yield* open("/job:missing"), /^unknown: .*no-such-program/)
      assert.match(yield* open("/job:ended"), /^gone: .*it ended with exit code 3/)
      assert.match(yield* open("/job:cut"), /^unknown: .*it ended with exit code 255/)
      assert.match(yield* open("/job:other"), /^FeedRefused: .*it has no command; known are \/job:chatty, /)
    }).pipe(
      Effect.provide(Layer.provide(StdioDevices.layer(devices), [NodeServices.layer, Logger.layer([log])]))
    )
  }), 30_000)

it("the Layer is the one in the guide, and imports what the package exports", () => {
  const root = Path.join(import.meta.dirname, "../..")
  const guide = fs.readFileSync(Path.join(root, "docs/own-layer.md"), "utf8")
  const [, printed] = /^```ts file=StdioDevices.ts\n([\s\S]*?)^```$/m.exec(guide) ?? []
  assert.strictEqual(printed, fs.readFileSync(Path.join(root, "examples/own-layer/StdioDevices.ts"), "utf8"))
  for (const file of ["StdioDevices.ts", "pipes.ts"]) {
    const text = fs.readFileSync(Path.join(root, "examples/own-layer", file), "utf8")
    const imported = [...text.matchAll(/from "([^"]+)"/g)].map(([, name]) => name)
    assert.deepStrictEqual(imported.filter((name) => !/^(effect|effect-feeder)(\/\w+)?$|^\.\/\w+\.ts$/.test(name!)), [])
  }
})
