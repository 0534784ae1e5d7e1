/**
 * The consumer's side: the process that is a device reads what the streams have for it, and keeps its claim of the
 * device's name.
 */
import type { JsMsg } from "@nats-io/jetstream"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { Any } from "../Feed.ts"
import type { DeviceNameTaken } from "../layers/MemoryDevices.ts"
import type { DeviceLinks, FeederFrame } from "../RemoteDevices.ts"
import * as Frames from "./frames.ts"
import type { Claimed } from "./jetStreamClaim.ts"
import * as Claims from "./jetStreamClaim.ts"
import type { Client } from "./jetStreamClient.ts"
import { ask, BrokerFailed, codeOf, codes, ensureStream, reading } from "./jetStreamClient.ts"
import type { LocalLink } from "./jetStreamLocal.ts"
import { sessionHeader } from "./jetStreamOutbox.ts"
import type { Pipe } from "./jetStreamPipe.ts"
import * as Pipes from "./jetStreamPipe.ts"
import type { Names, Told } from "./jetStreamRecords.ts"
import { isLater, nameOf, readTold, token, write } from "./jetStreamRecords.ts"
import * as View from "./jetStreamView.ts"

/** How a device is kept at the broker. */
export interface Settings extends Claimed {
  readonly storage: "file" | "memory"
  readonly replicas: number
  readonly maxBytes: number
}

/** How long records of feeders and devices are kept that nobody writes any more. */
const recordsNanos = 30 * 24 * 3600 * 1e9

/** Feeders whose state is kept in memory when all of them is finished. */
const mostPipes = 1024

/**
 * How much is read ahead, of all feeds together. A server disconnects whom it cannot write to when more is waiting, by
 * default 64 MiB.
 */
const readAheadBytes = 16 * 1024 * 1024

/** Messages of a feed that are read ahead, at most. */
const mostReadAhead = 64

/** What is smaller is copied: it would keep all that the client has read with it. */
const leastViewed = 32 * 1024

export interface Host {
  readonly links: DeviceLinks["Service"]
  /** Whether this process certainly is the device: asked whenever something is handed out. */
  readonly isClaimed: () => boolean
}

/** Takes a device over, until the scope closes. */
export const open = (
  client: Client,
  names: Names,
  settings: Settings
): Effect.Effect<Host, BrokerFailed | DeviceNameTaken, Scope.Scope> =>
  Effect.gen(function*() {
    const { device } = settings
    const stream = { storage: settings.storage, num_replicas: settings.replicas } as const
    yield* ensureStream(client, {
      ...stream,
      name: names.stateStream,
      subjects: [names.stateSubjects],
      max_msgs_per_subject: 1,
      max_age: recordsNanos
    })
    for (const feed of settings.feeds) {
      yield* ensureStream(client, {
        ...stream,
        name: names.feedStream(feed.name),
        subjects: [names.feedSubjects(feed.name)],
        retention: "workqueue",
        discard: "new",
        max_bytes: settings.maxBytes
      })
    }

    const claim = yield* Claims.take(client, names, settings)

    // --- feeders -------------------------------------------------------------------------------------------------------

    const connections = yield* Queue.unbounded<LocalLink>()
    const pipes = new Map<string, { readonly pipe: Pipe; readonly over: Latch.Latch }>()
    /** The records that this process writes over. */
    const revisions = new Map<string, number>()
    let hasBegun = false
    // Of its own, which closes when all is told.
    const scope = yield* Scope.fork(yield* Effect.scope)
    const view = yield* View.make(client, names, device, (message) => {
      claim.seenUnsafe(message.seq)
      if (!hasBegun) revisions.set(message.subject, message.seq)
      fenced(message.subject)
    })

    const found = (subject: string) =>
      Effect.map(
        ask(() => client.manager.streams.getMessage(names.stateStream, { last_by_subj: subject })),
        (message) => message === null ? undefined : { told: readTold(message.data), revision: message.seq }
      )
    /** Writes only over what this process has written, or what was there before it. */
    const tell = (subject: string, told: Told): Effect.Effect<void, BrokerFailed> =>
      Effect.suspend(() => client.put(subject, write(told), revisions.get(subject) ?? 0)).pipe(
        Effect.map((revision) => {
          revisions.set(subject, revision)
        }),
        Effect.catchIf((failed) => codeOf(failed) === codes.otherRevision, (failed) =>
          Effect.flatMap(found(subject), (last) => {
            // A process before this one may have written meanwhile, or this one, and did not hear of it.
            if ((last?.told?.claim ?? 0) > claim.number) {
              return claim.lost
            }
            revisions.set(subject, last?.revision ?? 0)
            return Effect.fail(failed)
          }))
      )

    const pipeOf = (feed: Any, feeder: string): Pipe => {
      const key = JSON.stringify([feed.name, feeder])
      const known = pipes.get(key)
      if (known !== undefined) {
        return known.pipe
      }
      if (pipes.size >= mostPipes) {
        for (const [each, { over, pipe }] of pipes) {
          if (pipe.isIdle() && pipes.delete(each)) {
            over.openUnsafe()
          }
        }
      }
      const toldSubject = names.told(device, feed.name, feeder)
      const pipe = Pipes.make({
        feed,
        feeder,
        device,
        told: view.told(toldSubject),
        maxPayload: client.maxPayload(),
        untilClaimed: claim.untilHeld,
        accept: (link) =>
          Effect.asVoid(Queue.offer(connections, link)),
        tell: (told) =>
          tell(toldSubject, { ...told, claim: claim.number })
      })
      const over = Latch.makeUnsafe(false)
      pipes.set(key, { pipe, over })
      Effect.runForkWith(context)(Effect.forkIn(Effect.raceFirst(pipe.run, over.await), scope))
      return pipe
    }
    const context = yield* Effect.context<never>()

    /** A feeder has begun another session. */
    const fenced = (changedSubject: string): void => {
      const [kind, feedToken, feederToken] = changedSubject.slice(names.device(device).length - 1).split(".")
      if (kind !== "fence" || feedToken === undefined || feederToken === undefined) return
      const feed = settings.feeds.find(({ name }) => token(name) === feedToken)
      const feeder = nameOf(feederToken)
      const fence = view.fence(changedSubject)
      if (feed === undefined || feeder === undefined || fence === undefined) return
      const told = view.told(names.told(device, feed.name, feeder))
      const isKnown = pipes.has(JSON.stringify([feed.name, feeder]))
      // Of the many that came and went before this process, nothing is to be said.
      if (isKnown || (hasBegun && (told === undefined || isLater(fence, told)))) pipeOf(feed, feeder).fenceUnsafe(fence)
    }
    yield* view.ready
    hasBegun = true
    for (const each of view.fences()) fenced(each)

    // --- elements --------------------------------------------------------------------------------------------------------

    const received = (feed: Any, message: JsMsg): Effect.Effect<void> =>
      Effect.gen(function*() {
        claim.readUnsafe(feed.name, message.seq)
        const feeder = nameOf(message.subject.split(".").at(-1) ?? "")
        const [incarnation, session] = (message.headers?.get(sessionHeader) ?? "").split(".").map(Number)
        const frame = readFrame(message.data, feed)
        if (Result.isFailure(frame) || feeder === undefined || !isCount(incarnation) || !isCount(session)) {
          const why = Result.isFailure(frame) ? frame.failure.message : "it does not say whose it is"
          yield* Effect.logError(`message ${message.seq} of stream ${names.feedStream(feed.name)} is no batch: ${why}`)
          message.term()
          return
        }
        if (feed.acknowledge === "accepted") yield* reportInvalid(feed, feeder, frame.success)
        const place = { incarnation, session, wasPulled: message.seq <= claim.pulled(feed.name) }
        const fenceSubject = names.fence(device, feed.name, feeder)
        const isFenceSeen = () => {
          const fence = view.fence(fenceSubject)
          return fence !== undefined && !isLater(place, fence)
        }
        const known = pipeOf(feed, feeder).session()
        const isNew = known === undefined || isLater(place, known)
        // It was written before the message.
        if (isNew) yield* Effect.timeoutOption(view.until(isFenceSeen), "2 seconds")
        const pipe = pipeOf(feed, feeder)
        const fence = view.fence(fenceSubject)
        if (isNew && fence !== undefined) pipe.fenceUnsafe(fence)
        pipe.feedUnsafe(frame.success, place, { ack: () => message.ack() })
        yield* pipe.room
      })

    const ended = Effect.fail(new BrokerFailed({ cause: new Error("the consumer has ended") }))
    let consumers = 0
    const readAhead = (): number => {
      const most = Math.floor(readAheadBytes / client.maxPayload() / settings.feeds.length)
      return Math.min(Math.max(1, most), mostReadAhead)
    }
    const consume = (feed: Any) =>
      Effect.gen(function*() {
        yield* claim.untilHeld
        const name = names.feedStream(feed.name)
        const own = yield* Claims.consumersOf(client, names, feed.name, device)
        // They say how far this process has read, and will be gone.
        yield* claim.keepRead(feed.name)
        for (const each of own) yield* Effect.ignore(ask(() => client.manager.consumers.delete(name, each.name)))
        const durable = `${token(device)}_${claim.number}_${++consumers}`
        yield* ask(() =>
          client.manager.consumers.add(name, {
            durable_name: durable,
            filter_subject: names.fed(feed.name, device),
            ack_policy: "explicit",
            deliver_policy: "all",
            // It is delivered again when it is asked for anew, not because a consumer takes its time.
            ack_wait: 24 * 3600 * 1e9,
            max_ack_pending: -1
          })
        )
        const consumer = yield* ask(() => client.js.consumers.get(name, durable))
        const messages = yield* Effect.acquireRelease(
          ask(() => consumer.consume({ ...reading, max_messages: readAhead() })),
          (messages) => Effect.ignore(Effect.timeout(ask(() => messages.close()), "1 second"))
        )
        const iterator = messages[Symbol.asyncIterator]()
        return yield* Effect.forever(
          Effect.flatMap(
            ask(() => iterator.next()),
            (next) => next.done === true ? ended : received(feed, next.value)
          ),
          { disableYield: true }
        )
      })
    for (const feed of settings.feeds) yield* Effect.forkScoped(client.whileConnected(consume(feed)))

    yield* Effect.addFinalizer(() =>
      Effect.gen(function*() {
        yield* Effect.forEach(pipes.values(), ({ pipe }) => pipe.flushed, { discard: true })
        yield* claim.release
        yield* ask(() => client.connection.flush())
      }).pipe(Effect.timeoutOption("1 second"), Effect.ignore)
    )
    return {
      isClaimed: claim.isHeld,
      links: {
        accept: Effect.acquireRelease(Queue.take(connections), (link) => link.close, { interruptible: true })
      }
    }
  })

/** What was acknowledged already is no dead letter: that it is left out is to be seen here. */
const reportInvalid = (feed: Any, feeder: string, frame: FeederFrame): Effect.Effect<void> => {
  if (frame._tag !== "Batch" || frame.chunk.invalid === undefined) return Effect.void
  const ordinals = frame.runs.flatMap(({ count, ordinal }) => Array.from({ length: count }, (_, i) => ordinal + i))
  const each = Array.from(frame.chunk.invalid, ([index, why]) => `#${ordinals[index]}: ${why}`)
  return Effect.logError(
    `what feeder ${feeder} fed of feed "${feed.name}" does not pass the Schema here, and is left out: ${
      each.join("; ")
    }`
  )
}

const isCount = (n: number | undefined): n is number => n !== undefined && Number.isSafeInteger(n) && n >= 0

/** A message as a frame, of which the columns are views of what the client has read: it is read into no more. */
const readFrame = (data: Uint8Array, feed: Any) => {
  const { buffer, byteOffset, length } = data.subarray(8)
  const isViewed = length >= leastViewed && buffer instanceof ArrayBuffer
  const body = isViewed ? new Uint8Array(buffer, byteOffset, length) : new Uint8Array(data.subarray(8))
  return Frames.decodeFeederFrame({ kind: data[4] ?? 0, body }, feed.info, { elements: 1024 * 1024 })
}
