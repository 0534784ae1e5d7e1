/**
 * The Layer that the guide is about: the laws of feeding over real processes, and its programs as a person runs them.
 */
import { NodeServices, NodeSink, NodeStream } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Logger, Sink, Stdio, Stream } from "effect"
import { FeedingLaws } from "effect-feeder/testing"
import { type PlatformError, systemError } from "effect/PlatformError"
import { ChildProcess } from "effect/process"
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
