/**
 * A fiber that owns a state and changes it by the messages in its bounded mailbox, one at a time.
 *
 * The messages an actor understands are declared as a protocol of Schemas, so that the same declaration can be served
 * to other processes. In this process a message is handed over as it is, without encoding.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as PubSub from "effect/PubSub"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Coordinator } from "./Coordinator.ts"

const TypeId = "~effect-feeder/actors/Actor"

/**
 * The actor has stopped, and the message was not handled, or not to its end. `cause` is the defect it stopped on, if
 * it did not stop by request.
 *
 * @category errors
 * @since 0.1.0
 */
export class ActorStopped extends Schema.Error<ActorStopped>(`${TypeId}/ActorStopped`)({
  _tag: Schema.tag("ActorStopped"),
  actor: Schema.String,
  command: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    const why = this.cause === undefined ? "stopped" : `stopped on a defect (${String(this.cause)})`
    return `actor ${this.actor} ${why} before ${this.command} was handled; make the actor again to go on`
  }
}

/**
 * One command an actor understands: its payload, its reply and its typed error. What is left out is nothing: `Void`
 * for payload and success, `Never` for the error.
 *
 * @category models
 * @since 0.1.0
 */
export interface Command {
  readonly payload?: Schema.Top
  readonly success?: Schema.Top
  readonly error?: Schema.Top
}

/**
 * The commands an actor understands, by tag.
 *
 * @category models
 * @since 0.1.0
 */
export interface Protocol {
  readonly [tag: string]: Command
}

type Payload<C extends Command> = C extends { readonly payload: infer S extends Schema.Top } ? S["Type"] : void
type Success<C extends Command> = C extends { readonly success: infer S extends Schema.Top } ? S["Type"] : void
type Failure<C extends Command> = C extends { readonly error: infer S extends Schema.Top } ? S["Type"] : never
type Arguments<C extends Command> = [Payload<C>] extends [void] ? [] : [payload: Payload<C>]

/**
 * What an actor does with each command: from the state and the payload to the reply and the next state.
 *
 * @category models
 * @since 0.1.0
 */
export type Handlers<P extends Protocol, S> = {
  readonly [Tag in keyof P]: (
    state: S,
    payload: Payload<P[Tag]>
  ) => Effect.Effect<readonly [reply: Success<P[Tag]>, state: S], Failure<P[Tag]>, unknown>
}

type AnyEffect = Effect.Effect<unknown, unknown, unknown>
type Services<H> = {
  [Tag in keyof H]: H[Tag] extends (...args: never) => infer Out ? Effect.Services<Extract<Out, AnyEffect>> : never
}[keyof H]

/**
 * What can be seen of an actor: its state, and how it ended.
 *
 * @category models
 * @since 0.1.0
 */
export type Status<S> =
  | { readonly _tag: "Running"; readonly state: S }
  | { readonly _tag: "Stopped"; readonly state: S; readonly exit: Exit.Exit<never> }

/**
 * A fiber with a state, a bounded mailbox and a protocol.
 *
 * @category models
 * @since 0.1.0
 */
export interface Actor<P extends Protocol, out S> {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  readonly protocol: P
  /** Puts a command into the mailbox, waits while that is full, and does not wait for the reply. */
  readonly tell: <Tag extends keyof P & string>(
    tag: Tag,
    ...payload: Arguments<P[Tag]>
  ) => Effect.Effect<void, ActorStopped>
  /**
   * Puts a command into the mailbox and waits for its reply or its typed error.
   *
   * Interrupting it gives up the reply. A command that is in the mailbox by then is handled all the same.
   */
  readonly ask: <Tag extends keyof P & string>(
    tag: Tag,
    ...payload: Arguments<P[Tag]>
  ) => Effect.Effect<Success<P[Tag]>, Failure<P[Tag]> | ActorStopped>
  /** Stops this actor alone, in the middle of a command too, and waits until it has ended. */
  readonly stop: Effect.Effect<void>
  readonly status: Effect.Effect<Status<S>>
  /**
   * The status now and after each command, ending with `Stopped`. A slow reader skips to the newest one, so watching
   * never holds the actor up.
   */
  readonly changes: Stream.Stream<Status<S>>
  /** Waits until the actor has ended: interrupted by a stop, or with the defect that ended it. */
  readonly awaitExit: Effect.Effect<Exit.Exit<never>>
}

/**
 * Starts an actor under a coordinator.
 *
 * A command's typed error goes to the asker, and the state stays as it was. A defect stops the actor and through its
 * coordinator everything beside it.
 *
 * **Gotchas**
 *
 * A handler that asks its own actor, or tells it while the mailbox is full, waits for itself.
 *
 * **Example** (A counter)
 *
 * ```ts import.meta.vitest
 * import { Effect, Schema } from "effect"
 * import { Actor, Coordinator } from "effect-feeder"
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const coordinator = yield* Coordinator.make({ name: "doc" })
 *   const counter = yield* Actor.make(coordinator, {
 *     name: "counter",
 *     protocol: { Increment: { payload: Schema.Struct({ by: Schema.Int }), success: Schema.Int } },
 *     initial: 0,
 *     handle: { Increment: (count, { by }) => Effect.succeed([count + by, count + by]) }
 *   })
 *   yield* counter.tell("Increment", { by: 1 })
 *   return yield* counter.ask("Increment", { by: 2 })
 * }))
 *
 * await Effect.runPromise(program) // => 3
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*<const P extends Protocol, S, H extends Handlers<P, S>, E>(
  coordinator: Coordinator<E>,
  options: {
    /** The name in errors, in logs and among the coordinator's fibers. */
    readonly name: string
    /** How many commands may wait. Default: 16. */
    readonly mailbox?: number | undefined
    readonly protocol: P
    readonly initial: S
    readonly handle: H
  }
): Effect.fn.Return<Actor<P, S>, never, Services<H>> {
  const { initial, mailbox: capacity = 16, name, protocol } = options
  const handlers = options.handle as unknown as AnyHandlers<S, Services<H>>
  const context = yield* Effect.context<never>()
  const mailbox = yield* Queue.bounded<Envelope>(capacity)
  const watchers = yield* PubSub.sliding<Status<S>>({ capacity: 1, replay: 1 })
  const asked = new Set<Asked>() // not answered yet, wherever they are
  let status: Status<S> = { _tag: "Running", state: initial }

  const become = (next: Status<S>) => {
    status = next
    return PubSub.publish(watchers, next)
  }
  yield* become(status)

  const receive = Effect.fnUntraced(function*({ payload, reply, tag }: Envelope) {
    const exit = yield* Effect.exit(Effect.suspend(() => handlers[tag]!(status.state, payload)))
    if (Exit.isSuccess(exit)) {
      // Not to be torn apart: who is told that the actor stopped may rely on the state not having changed.
      yield* Effect.uninterruptible(
        Effect.suspend(() => become({ _tag: "Running", state: exit.value[1] })).pipe(
          Effect.andThen(Effect.sync(() => reply && Deferred.doneUnsafe(reply, Effect.succeed(exit.value[0]))))
        )
      )
    } else if (!Cause.hasFails(exit.cause) || Cause.hasDies(exit.cause)) {
      const reasons = exit.cause.reasons.filter((reason) => reason._tag !== "Fail")
      return yield* Effect.failCause(Cause.fromReasons<never>(reasons))
    } else if (reply !== undefined) {
      Deferred.doneUnsafe(reply, exit)
    } else {
      yield* Effect.logDebug(`actor ${name} failed to handle ${tag}, which nobody asked`, exit.cause)
    }
  })

  const fiber = yield* coordinator.fork(
    name,
    Effect.forever(Effect.flatMap(Queue.take(mailbox), receive), { disableYield: true })
  )
  const stopped = (command: string) => {
    const exit = fiber.pollUnsafe()
    const defect = exit !== undefined && Exit.isFailure(exit) && Cause.hasDies(exit.cause)
    return new ActorStopped({ actor: name, command, ...(defect ? { cause: Cause.squash(exit.cause) } : {}) })
  }
  fiber.addObserver((exit) => {
    Queue.shutdownUnsafe(mailbox)
    for (const { reply, tag } of asked) Deferred.doneUnsafe(reply, Effect.fail(stopped(tag)))
    Effect.runForkWith(context)(become({ _tag: "Stopped", state: status.state, exit }))
  })

  const send = (envelope: Envelope): Effect.Effect<void, ActorStopped> =>
    Effect.flatMap(
      Queue.offer(mailbox, envelope),
      (taken) => taken ? Effect.void : Effect.suspend(() => Effect.fail(stopped(envelope.tag)))
    )

  return {
    [TypeId]: TypeId,
    name,
    protocol,
    tell: (tag, ...[payload]) => send({ tag, payload, reply: undefined }),
    ask: <Tag extends keyof P & string>(tag: Tag, ...[payload]: Arguments<P[Tag]>) =>
      Effect.suspend(() => {
        const reply = Deferred.makeUnsafe<Success<P[Tag]>, Failure<P[Tag]> | ActorStopped>()
        const envelope: Asked = { tag, payload, reply: reply as Asked["reply"] }
        asked.add(envelope)
        return Effect.andThen(send(envelope), Deferred.await(reply)).pipe(
          Effect.ensuring(Effect.sync(() => asked.delete(envelope)))
        )
      }),
    stop: Fiber.interrupt(fiber),
    status: Effect.sync(() => status),
    changes: Stream.takeUntil(Stream.fromPubSub(watchers), (seen) => seen._tag === "Stopped"),
    awaitExit: Fiber.await(fiber)
  }
})

// -----------------------------------------------------------------------------
// internals
// -----------------------------------------------------------------------------

interface Envelope {
  readonly tag: string
  readonly payload: unknown
  readonly reply: Deferred.Deferred<unknown, unknown> | undefined
}

interface Asked extends Envelope {
  readonly reply: Deferred.Deferred<unknown, unknown>
}

interface AnyHandlers<S, R> {
  readonly [tag: string]: (state: S, payload: unknown) => Effect.Effect<readonly [unknown, S], unknown, R>
}
