/**
 * Consumers in processes of their own, fed over TCP on the loopback interface.
 */
import { Effect, Layer, Schema, Stream } from "effect"
import type { RemoteDevices } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { ChildProcess, type ChildProcessSpawner } from "effect/process"
import * as Net from "node:net"
import { fileURLToPath } from "node:url"
import { ConsumerDied, Consumers, type Life, make } from "./Consumers.ts"
import { devices } from "./feeds.ts"
import { ReportFromLine } from "./reports.ts"

/** No port of the loopback interface is free. */
export class NoFreePort extends Schema.TaggedError<NoFreePort>()("NoFreePort", { cause: Schema.Defect() }) {
  override get message(): string {
    return "the operating system has no free port on 127.0.0.1 for a consumer"
  }
}

/** Has the operating system choose a port, which is free as long as the scope is open. */
const reservePort = Effect.acquireRelease(
  Effect.callback<Net.Server, NoFreePort>((resume) => {
    const server = Net.createServer()
    server.once("error", (cause) => resume(Effect.fail(new NoFreePort({ cause }))))
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
).pipe(Effect.map((server) => (server.address() as Net.AddressInfo).port))

const entry = fileURLToPath(new URL("consumer.ts", import.meta.url))

/**
 * A consumer's process from its start to its end. There is nothing in it to save, so it is always ended with SIGKILL.
 */
const live = (port: number, { device, killed, report, seed }: Life) =>
  Effect.gen(function*() {
    const child = yield* ChildProcess.make(process.execPath, [
      "--conditions=effect-feeder:source",
      entry,
      `--device=${device}`,
      `--port=${port}`,
      `--seed=${seed}`
    ], { stderr: "inherit", killSignal: "SIGKILL" })
    yield* Effect.forkScoped(Effect.andThen(killed, child.kill({ killSignal: "SIGKILL" })))
    yield* child.stdout.pipe(
      Stream.decodeText,
      Stream.splitLines,
      Stream.mapEffect((line) => Schema.decodeEffect(ReportFromLine)(line)),
      Stream.runForEach(report)
    )
    const code = yield* Effect.mapError(child.exitCode, ({ cause }) => new ConsumerDied({ device, cause: `${cause}` }))
    if (code !== 0) return yield* new ConsumerDied({ device, cause: `exit code ${code}` })
  }).pipe(
    Effect.scoped,
    Effect.mapError((error) =>
      error._tag === "ConsumerDied" ? error : new ConsumerDied({ device, cause: error.message })
    )
  )

/** Consumers as processes, and the way to them. */
export const layer = (options: { readonly seed: number }): Layer.Layer<
  Consumers | RemoteDevices.RemoteDevices,
  | ConsumerDied
  | NoFreePort
  | SocketDevices.AddressInvalid
  | SocketDevices.PackageMissing
  | SocketDevices.TlsInvalid
  | SocketDevices.Unprotected,
  ChildProcessSpawner.ChildProcessSpawner
> =>
  Layer.unwrap(Effect.gen(function*() {
    const reserved = yield* Effect.scoped(Effect.forEach(devices, () => reservePort))
    const ports = new Map(devices.map((device, index) => [device, reserved[index]!]))
    return Layer.merge(
      SocketDevices.layer(Object.fromEntries([...ports].map(([device, port]) => [device, `tcp://127.0.0.1:${port}`]))),
      Layer.effect(Consumers, make({ seed: options.seed, live: (life) => live(ports.get(life.device)!, life) }))
    )
  }))
