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
import { DeviceNameTaken } from "../layers/MemoryDevices.ts"
import type { DeviceLinks } from "../RemoteDevices.ts"
import * as Frames from "./frames.ts"
import type { BrokerFailed, Client } from "./jetStreamClient.ts"
import { ask, codeOf, codes, ensureStream } from "./jetStreamClient.ts"
import type { LocalLink, Pipe } from "./jetStreamPipe.ts"
import * as Pipes from "./jetStreamPipe.ts"
import type { HostRecord, Names } from "./jetStreamRecords.ts"
import { isLater, nameOf, readHost, token, write } from "./jetStreamRecords.ts"
import * as View from "./jetStreamView.ts"
import { randomId } from "./randomId.ts"

/** How a device is kept at the broker. */
export interface Settings {
  readonly device: string
  readonly feeds: ReadonlyArray<Any>
  readonly leaseMillis: number
  /** Elements of each feeder that may wait; by default the capacity of the feed. */
  readonly stored: number | undefined
  readonly windowBytes: number
  readonly storage: "file" | "memory"
  readonly replicas: number
  readonly maxBytes: number
}

/** How long records of feeders and devices are kept that nobody writes any more. */
const recordsNanos = 30 * 24 * 3600 * 1e9

/** Messages that are read ahead. */
const readAhead = 64

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
    const { device, leaseMillis } = settings
    const subject = names.host(device)
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

    // --- the claim -----------------------------------------------------------------------------------------------------

    const id = yield* randomId
    const born = yield* randomId
    let revision = 0
    let until = 0
    let isLost = false
    const claimed = Latch.makeUnsafe(false)
    /** Renewals that are on their way, by their revision: when they were sent. */
    const renewals = new Map<number, number>()
    let seen = 0

    const read: Effect.Effect<readonly [HostRecord | undefined, revision: number], BrokerFailed> = Effect.map(
      ask(() => client.manager.streams.getMessage(names.stateStream, { last_by_subj: subject })),
      (message) => message === null ? [undefined, 0] : [readHost(message.data), message.seq]
    )
    /** The record that is there once nobody renews it any more. */
    const vacant = (
      first: readonly [HostRecord | undefined, number],
      from: number
    ): Effect.Effect<readonly [HostRecord | undefined, number], BrokerFailed | DeviceNameTaken> =>
      Effect.suspend(() => {
        const [host, at] = first
        if (host === undefined || !host.isOpen || client.now() - from >= host.leaseMillis * 1.1) {
          return Effect.succeed(first)
        }
        return Effect.flatMap(Effect.andThen(Effect.sleep(50), read), (now) => {
          const [other] = now
          if (now[1] === at || other?.isOpen !== true) return vacant(now[1] === at ? first : now, from)
          return Effect.fail(new DeviceNameTaken({ device, hosts: [other.id, id] }))
        })
      })
    const [former, at] = yield* vacant(yield* read, client.now())
    /** Unless the process before this one has said that it ended, it may have handed out all that it had read. */
    const wasKilled = former?.isOpen === true
    const pulled = new Map<string, number>()
    for (const feed of settings.feeds) {
      const before = former?.feeds[feed.name]?.pulled ?? 0
      pulled.set(feed.name, wasKilled ? Math.max(before, yield* pulledOf(client, names, feed.name, device)) : before)
    }
    const record = (isOpen: boolean): HostRecord => ({
      born: former?.born ?? born,
      id,
      claim: (former?.claim ?? 0) + 1,
      isOpen,
      leaseMillis,
      feeds: {
        ...former?.feeds,
        ...Object.fromEntries(settings.feeds.map(({ acknowledge, capacity, delivery, info, name }) => [name, {
          fingerprint: info.fingerprint,
          acknowledge,
          delivery,
          capacity: settings.stored ?? capacity,
          windowBytes: settings.windowBytes,
          pulled: pulled.get(name) ?? 0
        }]))
      }
    })
    const confirm = () => {
      for (const [each, sentAt] of renewals) {
        if (each > seen) continue
        renewals.delete(each)
        until = Math.max(until, sentAt + leaseMillis)
      }
      if (until > client.now()) claimed.openUnsafe()
    }
    const renew = (isOpen: boolean) =>
      Effect.suspend(() => {
        const sentAt = client.now()
        return Effect.map(client.put(subject, write(record(isOpen)), revision), (next) => {
          revision = next
          renewals.set(next, sentAt)
          confirm()
        })
      })
    revision = at
    yield* Effect.catchIf(renew(true), (failed) =>
      codeOf(failed) === codes.otherRevision, () =>
      Effect.flatMap(read, ([other]) =>
        Effect.fail(new DeviceNameTaken({ device, hosts: [other?.id ?? "unknown", id] }))))

    /** Another process has taken the device over, or seems to. */
    const recover = Effect.flatMap(read, ([other, now]) => {
      if (other?.id === id || other === undefined) {
        revision = now
        return Effect.void
      }
      isLost = true
      until = 0
      return Effect.logError(`device ${device} was taken over by ${other.id}; this process (${id}) takes nothing more`)
    })
    yield* Effect.forkScoped(Effect.suspend(() =>
      Effect.forever(Effect.andThen(
        Effect.sleep(leaseMillis / 4),
        Effect.suspend(() => {
          if (client.now() >= until) {
            claimed.closeUnsafe()
          }
          return isLost ?
            Effect.never :
            Effect.ignore(Effect.catchIf(renew(true), (failed) =>
              codeOf(failed) === codes.otherRevision, () =>
              recover))
        })
      ))
    ))

    // --- feeders -------------------------------------------------------------------------------------------------------

    const connections = yield* Queue.unbounded<LocalLink>()
    const pipes = new Map<string, Pipe>()
    const revisions = new Map<string, number>()
    // Of its own, which closes when all is told.
    const scope = yield* Scope.fork(yield* Effect.scope)
    const view = yield* View.make(client, names, device, (message) => {
      seen = message.seq
      if (message.subject !== subject) {
        revisions.set(message.subject, message.seq)
      }
      confirm()
      fenced(message.subject)
    })

    const pipeOf = (feed: Any, feeder: string): Pipe => {
      const key = JSON.stringify([feed.name, feeder])
      const known = pipes.get(key)
      if (known !== undefined) {
        return known
      }
      const toldSubject = names.told(device, feed.name, feeder)
      const pipe = Pipes.make({
        feed,
        feeder,
        device,
        told: view.told(toldSubject),
        untilClaimed: Effect.suspend(() =>
          client.now() < until ? Effect.void : claimed.await
        ),
        accept: (link) => Effect.asVoid(Queue.offer(connections, link)),
        tell: (told) =>
          Effect.map(client.put(toldSubject, write(told), revisions.get(toldSubject) ?? 0), (next) => {
            revisions.set(toldSubject, next)
          })
      })
      pipes.set(key, pipe)
      Effect.runForkWith(context)(Effect.forkIn(pipe.run, scope))
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
    let hasBegun = false
    yield* view.ready
    hasBegun = true
    for (const each of view.fences()) fenced(each)

    // --- elements --------------------------------------------------------------------------------------------------------

    const received = (feed: Any, message: JsMsg): Effect.Effect<void> =>
      Effect.gen(function*() {
        const feeder = nameOf(message.subject.split(".").at(-1) ?? "")
        const [incarnation, session] = (message.headers?.get("Feeder-Session") ?? "").split(".").map(Number)
        const frame = readFrame(message.data, feed)
        if (Result.isFailure(frame) || feeder === undefined || !isCount(incarnation) || !isCount(session)) {
          const why = Result.isFailure(frame) ? frame.failure.message : "it does not say whose it is"
          yield* Effect.logError(`message ${message.seq} of stream ${names.feedStream(feed.name)} is no batch: ${why}`)
          message.term()
          return
        }
        const place = { incarnation, session, wasPulled: message.seq <= (pulled.get(feed.name) ?? 0) }
        const pipe = pipeOf(feed, feeder)
        const fenceSubject = names.fence(device, feed.name, feeder)
        const isFenceSeen = () => {
          const fence = view.fence(fenceSubject)
          return fence !== undefined && !isLater(place, fence)
        }
        yield* Effect.timeoutOption(view.until(isFenceSeen), "2 seconds")
        const fence = view.fence(fenceSubject)
        if (fence !== undefined) pipe.fenceUnsafe(fence)
        pipe.feedUnsafe(frame.success, place, { ack: () => message.ack() })
        yield* pipe.room
      })

    let consumers = 0
    const consume = (feed: Any) =>
      Effect.gen(function*() {
        if (isLost) return yield* Effect.never
        const name = names.feedStream(feed.name)
        const own = yield* consumersOf(client, name, names.fed(feed.name, device))
        for (const each of own) yield* Effect.ignore(ask(() => client.manager.consumers.delete(name, each.name)))
        const durable = `${token(device)}_${(former?.claim ?? 0) + 1}_${++consumers}`
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
          ask(() => consumer.consume({ max_messages: readAhead })),
          (messages) => Effect.ignore(Effect.timeout(ask(() => messages.close()), "1 second"))
        )
        const iterator = messages[Symbol.asyncIterator]()
        yield* Effect.forever(
          Effect.flatMap(ask(() => iterator.next()), (next) =>
            next.done === true ? Effect.die(new Error("the consumer has ended")) : received(feed, next.value)),
          { disableYield: true }
        )
      })
    for (const feed of settings.feeds) yield* Effect.forkScoped(client.whileConnected(consume(feed)))

    yield* Effect.addFinalizer(() =>
      Effect.gen(function*() {
        if (isLost) return
        yield* Effect.forEach(pipes.values(), (pipe) => pipe.flushed, { discard: true })
        yield* renew(false)
        yield* ask(() => client.connection.flush())
      }).pipe(Effect.timeoutOption("1 second"), Effect.ignore)
    )
    return {
      isClaimed: () => client.now() < until,
      links: {
        accept: Effect.acquireRelease(Queue.take(connections), (link) => link.close, { interruptible: true })
      }
    }
  })

const isCount = (n: number | undefined): n is number => n !== undefined && Number.isSafeInteger(n) && n >= 0

/** A message as a frame. It is copied: what the client has read belongs to the client. */
const readFrame = (data: Uint8Array, feed: Any) => {
  const body = new Uint8Array(Math.max(0, data.length - 8))
  body.set(data.subarray(8))
  return Frames.decodeFeederFrame({ kind: data[4] ?? 0, body }, feed.info, { elements: 1024 * 1024 })
}

/** The consumers of a stream that read a subject. */
const consumersOf = (client: Client, stream: string, subject: string) =>
  Effect.map(
    ask(() => client.manager.consumers.list(stream).next()),
    (all) => all.filter(({ config }) => config.filter_subject === subject)
  )

/** Up to where the consumers of a device have read the stream of a feed. */
const pulledOf = (client: Client, names: Names, feed: string, device: string): Effect.Effect<number, BrokerFailed> =>
  Effect.map(
    consumersOf(client, names.feedStream(feed), names.fed(feed, device)),
    (all) => all.reduce((most, { delivered }) => Math.max(most, delivered.stream_seq), 0)
  )
