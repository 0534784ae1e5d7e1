/**
 * A broker for the way that needs one.
 */
import { connect } from "@nats-io/transport-node"
import { Deferred, Effect, Schema, type Scope, Stream } from "effect"
import { ChildProcess, type ChildProcessSpawner } from "effect/process"

/** There is no broker, and none could be started. */
export class NoBroker extends Schema.TaggedError<NoBroker>()("NoBroker", { issue: Schema.String }) {
  override get message(): string {
    return `there is no broker: ${this.issue}`
  }
}

const install = "no `nats-server` is on the PATH; `apt-get install nats-server`, `brew install nats-server`, " +
  "or say `--servers nats://host:4222` to use one that runs with JetStream"

/** Starts a nats-server with JetStream at a free port, which ends with the scope; gives its URL. */
export const start = Effect.fnUntraced(function*(
  folder: string
): Effect.fn.Return<string, NoBroker, ChildProcessSpawner.ChildProcessSpawner | Scope.Scope> {
  const address = yield* Deferred.make<string, NoBroker>()
  const server = yield* ChildProcess.make("nats-server", ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", folder], {
    stdin: "ignore",
    stdout: "ignore"
  }).pipe(
    Effect.mapError(({ message, reason }) => new NoBroker({ issue: reason._tag === "NotFound" ? install : message }))
  )
  let said = ""
  yield* server.stderr.pipe(
    Stream.decodeText,
    Stream.splitLines,
    Stream.runForEach((line) => {
      said = line
      const [, found] = /Listening for client connections on (\S+)/.exec(line) ?? []
      return found === undefined ? Effect.void : Deferred.succeed(address, `nats://${found}`)
    }),
    Effect.ignore,
    Effect.andThen(Effect.suspend(() => Deferred.fail(address, new NoBroker({ issue: `nats-server said: ${said}` })))),
    Effect.forkScoped
  )
  return yield* Deferred.await(address)
})

/** Removes what a run leaves at a broker that goes on. */
export const clean = (servers: string, prefix: string): Effect.Effect<void> =>
  Effect.ignore(Effect.acquireUseRelease(
    Effect.tryPromise(() => connect({ servers })),
    (nats) =>
      Effect.forEach([`${prefix}_feed_pages`, `${prefix}_state`], (stream) =>
        Effect.tryPromise(() => nats.request(`$JS.API.STREAM.DELETE.${stream}`)), { discard: true }),
    (nats) =>
      Effect.promise(() =>
        nats.close()
      )
  ))
