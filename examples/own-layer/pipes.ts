/**
 * Any number of wires over one pair of pipes, since a program has only one standard input.
 *
 * A message is a head of 8 bytes, the number of its wire and the length of what follows as u32, and those bytes. An empty
 * one closes the wire. The next number begins one: they count from 1.
 */
import { type Cause, Effect, Fiber, Queue, type Scope, type Sink, Stream } from "effect"
import { RemoteDevices, type Wire } from "effect-feeder"

/** One end of a pair of pipes. */
export interface Pipes {
  /** Begins a wire, which is there while the scope is open. */
  readonly open: Effect.Effect<Wire.Wire, never, Scope.Scope>
  /** The next wire that the other end has begun. */
  readonly accept: Effect.Effect<Wire.Wire, never, Scope.Scope>
}

interface Inbox {
  readonly number: number
  readonly bytes: Queue.Queue<Uint8Array, RemoteDevices.DeviceLost>
}

/**
 * Shares the pipes to a device, or to a feeder, while the scope is open. When `input` has ended, `end` says what that means
 * for the wires.
 */
export const share = (
  device: string,
  input: Stream.Stream<Uint8Array, unknown>,
  output: Sink.Sink<void, Uint8Array, unknown, unknown>,
  end: Effect.Effect<RemoteDevices.DeviceLost>
): Effect.Effect<Pipes, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const messages = yield* Queue.bounded<ReadonlyArray<Uint8Array>, Cause.Done>(16)
    const begun = yield* Queue.unbounded<Inbox>()
    const inboxes = new Map<number, Inbox>()
    let latest = 0
    let why = new RemoteDevices.DeviceLost({ device, fate: "unknown", cause: new Error("the link is closed") })

    const say = (number: number, segments: ReadonlyArray<Uint8Array>): Effect.Effect<void, RemoteDevices.DeviceLost> =>
      Effect.suspend(() => {
        const head = new DataView(new ArrayBuffer(8))
        head.setUint32(0, number)
        head.setUint32(4, segments.reduce((sum, { length }) => sum + length, 0))
        // All of it in one offer, so that an interruption leaves no half of a message.
        return Effect.flatMap(
          Queue.offer(messages, [new Uint8Array(head.buffer), ...segments]),
          (isTaken) => isTaken ? Effect.void : Effect.fail(why)
        )
      })

    const begin = Effect.fnUntraced(function*(number: number) {
      latest = number
      // How much waits here is bounded by what the device has granted to the feeder.
      const inbox: Inbox = { number, bytes: yield* Queue.unbounded<Uint8Array, RemoteDevices.DeviceLost>() }
      inboxes.set(number, inbox)
      return inbox
    })
    const hangUp = (inbox: Inbox) =>
      Effect.andThen(Queue.fail(inbox.bytes, why), Effect.sync(() => inboxes.delete(inbox.number)))
    const wireOf = (inbox: Effect.Effect<Inbox>): Effect.Effect<Wire.Wire, never, Scope.Scope> =>
      Effect.acquireRelease(inbox, (inbox) =>
        inboxes.has(inbox.number)
          // Whoever closes a wire does not wait for the other end, which may read nothing more.
          ? Effect.andThen(hangUp(inbox), Effect.forkIn(Effect.ignore(say(inbox.number, [])), scope))
          : Effect.void, { interruptible: true }).pipe(
          Effect.map(({ bytes, number }) => ({ send: (segments) => say(number, segments), receive: Queue.take(bytes) }))
        )

    const head = new DataView(new ArrayBuffer(8))
    let known = 0
    let left = 0
    const read = Effect.fnUntraced(function*(bytes: Uint8Array) {
      let at = 0
      while (at < bytes.length) {
        if (known < 8) {
          head.setUint8(known++, bytes[at++] ?? 0)
          if (known < 8) continue
          left = head.getUint32(4)
        }
        const number = head.getUint32(0)
        let inbox = inboxes.get(number)
        if (number > latest + 1) {
          return yield* Effect.fail("no message came; does something print to a standard output?")
        }
        if (number > latest) {
          inbox = yield* begin(number)
          yield* Queue.offer(begun, inbox)
        }
        const piece = bytes.subarray(at, at + left)
        if (inbox !== undefined) yield* left === 0 ? hangUp(inbox) : Queue.offer(inbox.bytes, piece)
        at += piece.length
        left -= piece.length
        if (left === 0) known = 0
      }
    })

    const writer = yield* Stream.fromQueue(messages).pipe(
      Stream.flattenIterable,
      Stream.run(output),
      Effect.ensuring(Queue.shutdown(messages)),
      Effect.forkScoped
    )
    yield* Stream.runForEach(input, read).pipe(
      Effect.tapError((error) => Effect.logWarning(`the pipe of ${device} is of no use any more:`, error)),
      Effect.exit,
      Effect.andThen(Queue.end(messages)),
      Effect.andThen(end),
      Effect.flatMap((lost) => {
        why = lost
        return Effect.forEach(inboxes.values(), hangUp)
      }),
      Effect.forkScoped
    )
    // What was said last, such as a report, is still written.
    yield* Effect.addFinalizer(() =>
      Effect.andThen(Queue.end(messages), Effect.timeoutOption(Fiber.await(writer), "1 second"))
    )
    return { open: wireOf(Effect.suspend(() => begin(latest + 1))), accept: wireOf(Queue.take(begun)) }
  })
