/**
 * A connection to NATS, as both sides of `JetStreamDevices` use it: messages that are published until they are stored,
 * and records that are watched.
 */
import type { JetStreamClient, JetStreamManager, JsMsg, StreamConfig } from "@nats-io/jetstream"
import type { Msg, MsgHdrs, NatsConnection, NodeConnectionOptions } from "@nats-io/transport-node"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

const TypeId = "~effect-feeder/layers/JetStreamDevices"

/**
 * A package that `JetStreamDevices` needs is not installed.
 *
 * @category errors
 * @since 0.1.0
 */
export class PackageMissing extends Schema.Error<PackageMissing>(`${TypeId}/PackageMissing`)({
  _tag: Schema.tag("PackageMissing"),
  package: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    const why = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `JetStreamDevices needs ${this.package}, which is not there; ` +
      `run \`npm install @nats-io/transport-node @nats-io/jetstream\` (${why})`
  }
}

/**
 * The broker cannot be used: nobody answers, it refuses the connection, or it has no JetStream.
 *
 * @category errors
 * @since 0.1.0
 */
export class BrokerUnusable extends Schema.Error<BrokerUnusable>(`${TypeId}/BrokerUnusable`)({
  _tag: Schema.tag("BrokerUnusable"),
  servers: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    const why = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `the broker at ${this.servers} cannot be used: ${why}; is a nats-server running there, with \`-js\`?`
  }
}

/** The broker did not do what it was asked. */
export class BrokerFailed extends Schema.Error<BrokerFailed>(`${TypeId}/BrokerFailed`)({
  _tag: Schema.tag("BrokerFailed"),
  cause: Schema.Defect()
}) {}

/** How the broker is reached: the options of `connect` of `@nats-io/transport-node`, as they are. */
export type Connection = NodeConnectionOptions

/** A request that a server which has just started loses is missed after two heartbeats, and made again. */
export const reading = { expires: 5000, idle_heartbeat: 500 }

/** A message that is published until it is stored. */
export interface Publication {
  readonly subject: string
  readonly payload: Uint8Array
  readonly headers: MsgHdrs
  /** `times`: how often it was published. */
  readonly onStored: (times: number) => void
}

/** What an effect asks of the broker, as a promise. */
export const ask = <A>(promise: () => Promise<A>): Effect.Effect<A, BrokerFailed> =>
  Effect.tryPromise({ try: promise, catch: (cause) => new BrokerFailed({ cause }) })

/** The number of a JetStream error, if it is one. */
export const codeOf = (failed: BrokerFailed): number | undefined =>
  typeof failed.cause === "object" && failed.cause !== null && "code" in failed.cause &&
    typeof failed.cause.code === "number"
    ? failed.cause.code
    : undefined

/** The codes of JetStream that matter here. */
export const codes = { noConsumer: 10014, noStream: 10059, streamNameTaken: 10058, otherRevision: 10071 }

export interface Client {
  readonly connection: NatsConnection
  readonly js: JetStreamClient
  readonly manager: JetStreamManager
  readonly headers: (entries: Readonly<Record<string, string>>) => MsgHdrs
  /** Most bytes that the broker takes in a message, its headers among them. */
  readonly maxPayload: () => number
  readonly isConnected: () => boolean
  /** When the connection was last made, in milliseconds of a monotonic clock. */
  readonly connectedSince: () => number
  readonly now: () => number
  /** Publishes it again and again until it is stored, in order with all that is not stored yet. */
  readonly publishUnsafe: (publication: Publication) => void
  /** Writes a record, if its last revision is the one given; gives the new one. */
  readonly put: (subject: string, value: Uint8Array, revision?: number) => Effect.Effect<number, BrokerFailed>
  /**
   * Runs an effect whenever the connection was made, the first time at once, and ends it when that connection is lost.
   * One that fails, or dies, is tried again.
   */
  readonly whileConnected: (effect: Effect.Effect<void, BrokerFailed, Scope.Scope>) => Effect.Effect<never>
  /**
   * Tells the records under a subject, and then each change. `onCaughtUp` once it has told those there are; also if there
   * is no stream yet. Again after every loss of the connection.
   */
  readonly watch: (options: {
    readonly stream: string
    readonly subject: string
    readonly onValue: (message: JsMsg) => void
    readonly onCaughtUp: () => void
  }) => Effect.Effect<never>
}

const missing = (name: string) => (cause: unknown) => new PackageMissing({ package: name, cause })

/** Connects, until the scope closes. A connection that is lost later is made again, for as long as that takes. */
export const connect = (
  connection: Connection
): Effect.Effect<Client, PackageMissing | BrokerUnusable, Scope.Scope> =>
  Effect.gen(function*() {
    const transport = yield* Effect.tryPromise({
      try: () => import("@nats-io/transport-node"),
      catch: missing("@nats-io/transport-node")
    })
    const jetstream = yield* Effect.tryPromise({
      try: () => import("@nats-io/jetstream"),
      catch: missing("@nats-io/jetstream")
    })
    const servers = [connection.servers ?? "127.0.0.1:4222"].flat().join(", ")
    const unusable = (cause: unknown) => new BrokerUnusable({ servers, cause })
    const nats = yield* Effect.acquireRelease(
      Effect.tryPromise({
        try: () =>
          transport.connect({
            reconnectTimeWait: 250,
            reconnectJitter: 50,
            name: "effect-feeder",
            // Else each request takes a stack trace, in case that it fails.
            noAsyncTraces: true,
            ...connection,
            maxReconnectAttempts: -1
          }),
        catch: unusable
      }),
      (nats) => Effect.ignore(Effect.timeout(ask(() => nats.isClosed() ? Promise.resolve() : nats.close()), "1 second"))
    )
    const manager = yield* Effect.tryPromise({ try: () => jetstream.jetstreamManager(nats), catch: unusable })
    const js = jetstream.jetstream(nats)
    const clock = yield* Clock.Clock
    const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

    // --- the connection ----------------------------------------------------------------------------------------------

    let isConnected = true
    let since = now()
    let over = Latch.makeUnsafe(false)
    const made = Latch.makeUnsafe(true)
    yield* Stream.fromAsyncIterable(nats.status(), unusable).pipe(
      Stream.runForEach((status) =>
        Effect.sync(() => {
          if (status.type === "disconnect" && isConnected) {
            isConnected = false
            made.closeUnsafe()
            over.openUnsafe()
            over = Latch.makeUnsafe(false)
          } else if (status.type === "reconnect" && !isConnected) {
            isConnected = true
            since = now()
            made.openUnsafe()
            resend()
          }
        })
      ),
      Effect.ignore,
      Effect.forkScoped({ startImmediately: true })
    )

    // --- publishing --------------------------------------------------------------------------------------------------

    const inbox = transport.createInbox()
    const pending = new Map<string, Publication & { readonly sentAt: number; readonly times: number }>()
    let last = 0
    let problem = ""
    let isProblemNew = false
    const transmit = (number: string, publication: Publication) => {
      pending.set(number, { ...publication, sentAt: now(), times: (pending.get(number)?.times ?? 0) + 1 })
      try {
        nats.publish(publication.subject, publication.payload, {
          headers: publication.headers,
          reply: `${inbox}.${number}`
        })
      } catch (error) {
        // As when a server that was started again takes less in a message.
        refused(error instanceof Error ? error.message : String(error))
      }
    }
    const refused = (why: string) => {
      if (why === problem) return
      problem = why
      isProblemNew = true
    }
    /** In the order in which they were published first, so that they are stored in it. */
    const resend = () => {
      for (const [number, publication] of pending) transmit(number, publication)
    }
    const answered = (message: Msg) => {
      const number = message.subject.slice(inbox.length + 1)
      const publication = pending.get(number)
      if (publication === undefined) return
      const error = errorOf(message)
      if (error === undefined) {
        pending.delete(number)
        problem = ""
        publication.onStored(publication.times)
      } else refused(error)
    }
    nats.subscribe(`${inbox}.*`, { callback: (error, message) => error === null ? answered(message) : undefined })
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(
      Effect.sleep(250),
      Effect.suspend(() => {
        if (pending.size === 0 || !isConnected) return Effect.void
        const [oldest] = pending.values()
        if (problem !== "" || (oldest !== undefined && now() - oldest.sentAt > 5000)) resend()
        if (!isProblemNew) return Effect.void
        isProblemNew = false
        return Effect.logWarning(`the broker does not store what is fed, and is asked again: ${problem}`)
      })
    )))

    // --- records -----------------------------------------------------------------------------------------------------

    const put: Client["put"] = (subject, value, revision) =>
      Effect.map(
        ask(() =>
          js.publish(subject, value, {
            timeout: 2000,
            ...(revision === undefined ? {} : { expect: { lastSubjectSequence: revision } })
          })
        ),
        ({ seq }) => seq
      )

    const whileConnected: Client["whileConnected"] = (effect) => {
      const turn: Effect.Effect<never> = Effect.suspend(() =>
        Effect.andThen(
          made.await,
          Effect.suspend(() =>
            Effect.raceFirst(over.await, Effect.scoped(effect)).pipe(
              Effect.catch((failed) => Effect.logDebug("the broker failed", failed)),
              // What the broker says may be such that this cannot deal with it: not for ever, nor in silence.
              Effect.catchDefect((defect) => Effect.logError("what the broker said is not understood", defect)),
              Effect.andThen(Effect.suspend(() => isConnected ? Effect.sleep(100) : Effect.void)),
              Effect.andThen(turn)
            )
          )
        )
      )
      return turn
    }

    const watch: Client["watch"] = ({ onCaughtUp, onValue, stream, subject }) => {
      const begin = Effect.gen(function*() {
        const info = yield* ask(() =>
          manager.consumers.add(stream, {
            ack_policy: jetstream.AckPolicy.None,
            deliver_policy: jetstream.DeliverPolicy.LastPerSubject,
            filter_subject: subject,
            inactive_threshold: 30_000_000_000,
            mem_storage: true
          })
        )
        const consumer = yield* ask(() => js.consumers.get(stream, info.name))
        let left = info.num_pending
        if (left === 0) onCaughtUp()
        const messages = yield* Effect.acquireRelease(
          ask(() =>
            consumer.consume({
              ...reading,
              max_messages: 1000,
              callback: (message) => {
                onValue(message)
                if (--left === 0) onCaughtUp()
              }
            })
          ),
          (messages) => Effect.ignore(Effect.timeout(ask(() => messages.close()), "1 second"))
        )
        yield* ask(() => messages.closed())
      })
      return whileConnected(
        Effect.catchIf(begin, (failed) => codeOf(failed) === codes.noStream, () => Effect.sync(onCaughtUp))
      )
    }

    return {
      connection: nats,
      js,
      manager,
      headers: (entries) => {
        const headers = transport.headers()
        for (const [name, value] of Object.entries(entries)) headers.set(name, value)
        return headers
      },
      maxPayload: () => nats.info?.max_payload ?? 1024 * 1024,
      isConnected: () => isConnected,
      connectedSince: () => since,
      now,
      publishUnsafe: (publication) => transmit(String(++last), publication),
      put,
      whileConnected,
      watch
    }
  })

/** What the broker says against storing a message, if it does. */
const errorOf = (message: Msg): string | undefined => {
  if (message.headers !== undefined && message.headers.hasError) {
    return `${message.headers.code} ${message.headers.description}`
  }
  const answer: unknown = message.json()
  if (typeof answer !== "object" || answer === null || !("error" in answer)) return undefined
  const { error } = answer
  return typeof error === "object" && error !== null && "description" in error ? String(error.description) : "unknown"
}

/** Makes a stream, unless it is there already. */
export const ensureStream = (
  { manager }: Client,
  config: Partial<StreamConfig> & { readonly name: string }
): Effect.Effect<void, BrokerFailed> =>
  Effect.catchIf(
    Effect.asVoid(ask(() => manager.streams.info(config.name))),
    (failed) => codeOf(failed) === codes.noStream,
    () =>
      Effect.asVoid(
        Effect.catchIf(
          ask(() => manager.streams.add(config)),
          // Another process was faster.
          (failed) => codeOf(failed) === codes.streamNameTaken,
          () => Effect.void
        )
      )
  )
