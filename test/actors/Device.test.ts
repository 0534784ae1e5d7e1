import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Layer, Queue, Result, Schema, Scope, Stream } from "effect"
import { Device, DeviceSpec, FailureTolerator, Feed, Feeder, MemoryDevices, RemoteDevices } from "effect-feeder"
import { ManualSource } from "effect-feeder/testing"
import { TestClock } from "effect/testing"
import { greeting, Numbers, range, settled } from "../network.ts"

const Words = Feed.make("words", { element: Schema.String, capacity: 4 })

const device = "/job:consumer/replica:0"

/** Links to one device after the other, as if each were another process behind the same address. */
const wire = Effect.sync(() => {
  const waiting: Array<Queue.Queue<RemoteDevices.HostLink>> = []
  const lost = new RemoteDevices.DeviceLost({ device, fate: "unknown", cause: new Error("the link was closed") })
  const devices: RemoteDevices.RemoteDevices["Service"] = {
    open: () =>
      Effect.gen(function*() {
        const host = waiting.at(-1)
        if (host === undefined) return yield* lost
        const toDevice = yield* Queue.unbounded<RemoteDevices.FeederFrame, RemoteDevices.DeviceLost>()
        const toFeeder = yield* Queue.unbounded<RemoteDevices.DeviceFrame, RemoteDevices.DeviceLost>()
        yield* Effect.addFinalizer(() => Effect.andThen(Queue.fail(toDevice, lost), Queue.fail(toFeeder, lost)))
        const send = <F>(queue: Queue.Queue<F, RemoteDevices.DeviceLost>) => (frame: F) =>
          Effect.flatMap(Queue.offer(queue, frame), (isSent) => isSent ? Effect.void : Effect.fail(lost))
        yield* Queue.offer(host, { send: send(toFeeder), receive: Queue.take(toDevice) })
        return { send: send(toDevice), receive: Queue.take(toFeeder) }
      })
  }
  const host = <const Feeds extends ReadonlyArray<Feed.Any>>(options: Device.Options<Feeds>) =>
    Effect.gen(function*() {
      const links = yield* Queue.unbounded<RemoteDevices.HostLink>()
      waiting.push(links)
      return yield* Effect.provideService(Device.make(options), RemoteDevices.DeviceLinks, {
        accept: Queue.take(links)
      })
    })
  return { devices, host, feeding: Effect.provideService(RemoteDevices.RemoteDevices, devices) }
})

const hello = greeting(device)

/** What a device answers to a first frame, and whether the link is then closed. */
const answer = (options: Device.Options<readonly [typeof Numbers]>, frame: RemoteDevices.FeederFrame) =>
  Effect.gen(function*() {
    const { devices, host } = yield* wire
    yield* host(options)
    const link = yield* devices.open(device, Numbers.info)
    yield* link.send(frame)
    return yield* link.receive
  })

const refusal = (frame: RemoteDevices.DeviceFrame) =>
  frame._tag === "Refused" ? [frame.reason, frame.detail, frame.retry] : frame._tag

describe("admission", () => {
  it.effect("two feeds of one name cannot be hosted", () =>
    Effect.gen(function*() {
      const { host } = yield* wire
      const error = yield* Effect.flip(host({ feeds: [Numbers, Numbers] }))
      assert.strictEqual(error.message, "a device cannot host two feeds named \"numbers\"; rename one of them")
    }))

  it.effect("a feeder that fits is welcomed", () =>
    Effect.gen(function*() {
      const frame = yield* answer({ feeds: [Numbers], limits: { frameBytes: 5000 } }, hello)
      assert.strictEqual(frame._tag, "Welcome")
      if (frame._tag !== "Welcome") return
      assert.deepStrictEqual([frame.version, frame.capacity, frame.limits.frameBytes], [1, 4, 5000])
      assert.deepStrictEqual([frame.progress.accepted, frame.progress.creditTo], [0, 4])
    }))

  it.effect("what does not fit is refused, with both sides named", () =>
    Effect.gen(function*() {
      const options = { feeds: [Numbers] as const, device }
      const cases: ReadonlyArray<readonly [RemoteDevices.FeederFrame, ReadonlyArray<string>, boolean]> = [
        [{ _tag: "Ping", heard: 0 }, ["invalid", "a link begins with Hello, not with Ping"], false],
        [{ ...hello, feed: "digits" }, ["unknown feed", "it hosts \"numbers\", the feeder has \"digits\""], false],
        [{ ...hello, device: "/job:else" }, ["another device", "the feeder asked for /job:else"], false],
        [{ ...hello, acknowledge: "accepted" }, ["different feed", "it acknowledges processed elements"], false],
        [{ ...hello, fingerprint: Words.info.fingerprint }, ["different feed", "feed \"numbers\""], false],
        [{ ...hello, versions: [8, 9] }, ["version", "it speaks 8 to 9, this device 1 to 3"], false]
      ]
      for (const [frame, [reason, detail], retry] of cases) {
        const [actualReason, actualDetail, actualRetry] = refusal(yield* answer(options, frame))
        assert.deepStrictEqual([actualReason, actualRetry], [reason, retry])
        assert.include(actualDetail, detail!)
      }
    }))

  it.effect("a link that says nothing is closed when its handshake has lasted too long", () =>
    Effect.gen(function*() {
      const { devices, host } = yield* wire
      yield* host({ feeds: [Numbers], limits: { handshake: "2 seconds" } })
      const link = yield* devices.open(device, Numbers.info)
      yield* settled
      yield* TestClock.adjust("2 seconds")
      yield* settled
      yield* link.send(hello)
      yield* settled
      const late = yield* Effect.timeoutOption(link.receive, 1).pipe(Effect.forkChild)
      yield* settled
      yield* TestClock.adjust(1)
      assert.strictEqual((yield* Fiber.join(late))._tag, "None")
    }))

  it.effect("two feeders with one id: the older is refused, and both are named", () =>
    Effect.gen(function*() {
      const { devices, host } = yield* wire
      yield* host({ feeds: [Numbers] })
      const newer = yield* devices.open(device, Numbers.info)
      yield* newer.send({ ...hello, incarnation: 7 })
      yield* newer.receive
      const older = yield* devices.open(device, Numbers.info)
      yield* older.send({ ...hello, incarnation: 6 })
      assert.deepStrictEqual(refusal(yield* older.receive), [
        "older feeder",
        "two feeders have one id: f#6 and f#7; give each its own id",
        false
      ])
    }))

  it.effect("a feeder whose source takes from the device it feeds is refused, and both ids are named", () =>
    Effect.gen(function*() {
      const source = Stream.mapEffect(Numbers.elements, ({ acknowledge, value }) => Effect.as(acknowledge, value))
      const run = yield* Effect.forkChild(
        Effect.flip(Feeder.run(Numbers, { id: "ouroboros", source, devices: [device] }))
      )
      yield* settled
      const error = yield* Fiber.join(run)
      assert.include(error.message, "feeder ouroboros feeds itself: its source takes from feed \"numbers\" at device ")
      assert.match(error.message, /at device [0-9a-f]{16}, which it feeds; feed another device, or another feed/)
    }).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers] }))))

  it.effect("a feeder may take from one feed of a device and feed another", () =>
    Effect.gen(function*() {
      const source = Stream.mapEffect(Numbers.elements, ({ acknowledge, value }) => Effect.as(acknowledge, `n${value}`))
      const words: Array<string> = []
      yield* Effect.all([
        Feeder.run(Numbers, { source: range(10), devices: [device] }),
        Feeder.run(Words, { source, devices: [device] }),
        Words.forEach((word) => Effect.sync(() => words.push(word)))
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual(words, range(10).map((n) => `n${n}`))
    }).pipe(Effect.provide(MemoryDevices.layer({ feeds: [Numbers, Words] }))))
})

describe("feeders", () => {
  it.effect("a loop ends when as many have ended as it expects; one that crashed has not", () =>
    Effect.gen(function*() {
      const { feeding, host } = yield* wire
      const [, hosts] = yield* host({ feeds: [Numbers], feeders: 2 })
      const loop = yield* Effect.forkChild(Effect.provide(Numbers.forEach(() => Effect.void), hosts))
      const run = (id: string, count: number) =>
        feeding(Feeder.run(Numbers, { id, source: range(count), devices: [device] }))
      yield* run("one", 5)
      const crashed = yield* Effect.forkChild(
        feeding(
          Feeder.run(Numbers, { id: "two", source: Stream.concat(Stream.range(0, 4), Stream.never), devices: [device] })
        )
      )
      yield* settled
      yield* Fiber.interrupt(crashed)
      yield* settled
      yield* TestClock.adjust("1 hour")
      yield* settled
      assert.isUndefined(loop.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* run("two", 3)
      assert.strictEqual((yield* Fiber.join(loop)).done, 13)
    }))

  it.effect("with feeders \"forever\" a loop goes on", () =>
    Effect.gen(function*() {
      const { feeding, host } = yield* wire
      const [, hosts] = yield* host({ feeds: [Numbers], feeders: "forever" })
      const seen: Array<number> = []
      const loop = yield* Effect.forkChild(
        Effect.provide(Numbers.forEach((n) => Effect.sync(() => seen.push(n))), hosts)
      )
      for (let i = 0; i < 3; i++) yield* feeding(Feeder.run(Numbers, { source: [i], devices: [device] }))
      yield* settled
      assert.isUndefined(loop.pollUnsafe())
      assert.deepStrictEqual(seen, [0, 1, 2])
    }))

  it.effect("when a feeding has ended another may begin, with a loop of its own", () =>
    Effect.gen(function*() {
      const { feeding, host } = yield* wire
      const [, hosts] = yield* host({ feeds: [Numbers] })
      for (let i = 1; i <= 3; i++) {
        const run = yield* Effect.forkChild(
          feeding(Feeder.run(Numbers, { source: range(i * 5), devices: [device] }))
        )
        // A loop that came before the next feeder would find that the feeders have ended.
        yield* settled
        assert.strictEqual((yield* Effect.provide(Numbers.forEach(() => Effect.void), hosts)).done, i * 5)
        assert.strictEqual((yield* Fiber.join(run)).delivered, i * 5)
      }
    }))

  for (const concurrency of [1, 2]) {
    it.effect(`a loop of ${concurrency} that is busy when its feeding ends takes nothing of the next`, () =>
      Effect.gen(function*() {
        const Held = Feed.make("held", { element: Schema.Int, capacity: 4, acknowledge: "accepted" })
        const { feeding, host } = yield* wire
        const [, hosts] = yield* host({ feeds: [Held] })
        const release = yield* Latch.make()
        const consume = (seen: Array<number>) =>
          Effect.provide(
            Held.forEach((n) => Effect.andThen(release.await, Effect.sync(() => seen.push(n))), { concurrency }),
            hosts
          )
        const first: Array<number> = []
        const second: Array<number> = []
        const busy = yield* Effect.forkChild(consume(first))
        yield* feeding(Feeder.run(Held, { source: [1], devices: [device] }))
        const next = yield* Effect.forkChild(feeding(Feeder.run(Held, { source: [2, 3], devices: [device] })))
        yield* settled
        yield* release.open
        yield* Fiber.join(busy)
        yield* consume(second)
        yield* Fiber.join(next)
        assert.deepStrictEqual([first, second], [[1], [2, 3]])
      }))
  }

  it.effect("several share the capacity, with one element each at least", () =>
    Effect.gen(function*() {
      const { devices, host } = yield* wire
      const [made] = yield* host({ feeds: [Numbers] })
      const credits: Array<number> = []
      for (let i = 0; i < 6; i++) {
        const link = yield* devices.open(device, Numbers.info)
        yield* link.send({ ...hello, feeder: `f${i}` })
        const welcome = yield* link.receive
        credits.push(welcome._tag === "Welcome" ? welcome.progress.creditTo : -1)
      }
      // The first was promised all of it while it was alone.
      assert.deepStrictEqual(credits, [4, 1, 1, 1, 1, 1])
      const [status] = yield* made.status
      assert.deepStrictEqual(
        status!.feeders.map(({ feeder, isLinked }) => [feeder, isLinked]),
        range(6).map((i): [string, boolean] => [`f${i}`, true])
      )
    }))

  it.effect("several of them are all served, and a queue holds little more than its capacity", () =>
    Effect.gen(function*() {
      const { feeding, host } = yield* wire
      const [made, hosts] = yield* host({ feeds: [Numbers], feeders: 6 })
      const ids = range(6).map((i) => `f${i}`)
      const seen = new Map(ids.map((id) => [id, [] as Array<number>]))
      let most = 0
      const runs = yield* Effect.forEach(
        ids,
        (id) => Effect.forkChild(feeding(Feeder.run(Numbers, { id, source: range(30), devices: [device] })))
      )
      yield* settled
      const consumed = yield* Effect.provide(
        Numbers.forEach((n, { feeder }) =>
          Effect.gen(function*() {
            seen.get(feeder)!.push(n)
            yield* Effect.yieldNow
            const [status] = yield* made.status
            most = Math.max(most, status!.queued)
          })
        ),
        hosts
      )
      assert.strictEqual(consumed.done, 180)
      for (const id of ids) assert.deepStrictEqual(seen.get(id), range(30), id)
      for (const run of runs) assert.strictEqual((yield* Fiber.join(run)).delivered, 30)
      assert.isAtMost(most, Numbers.capacity + ids.length)
    }))

  it.effect("bytes that wait are promised to nobody else, whoever sent them", () =>
    Effect.gen(function*() {
      const { devices, host } = yield* wire
      const [, hosts] = yield* host({ feeds: [Words], windowBytes: 60 })
      const join = (feeder: string) =>
        Effect.gen(function*() {
          const link = yield* devices.open(device, Words.info)
          yield* link.send({ ...greeting(device, Words), feeder })
          const welcome = yield* link.receive
          return [link, welcome._tag === "Welcome" ? welcome.progress.creditBytesTo : -1] as const
        })
      const scope = yield* Scope.make()
      const [first, alone] = yield* Scope.provide(join("f0"), scope)
      const elements = ["a", "b", "c"]
      yield* first.send({
        _tag: "Batch",
        first: 1,
        heard: 1,
        elementBytes: 18,
        runs: [{ ordinal: 0, count: 3, attempt: 1 }],
        chunk: Words.codec.fromElements(elements)
      })
      yield* settled
      const [, beside] = yield* join("f1")
      yield* Scope.close(scope, Exit.void)
      yield* settled
      const [, after] = yield* join("f2")
      assert.deepStrictEqual([alone, beside, after], [60, 6, 6])
      yield* Effect.forkChild(Effect.provide(Words.forEach(() => Effect.never), hosts))
      yield* settled
      const [, later] = yield* join("f3")
      // One of the three is out of the queue: of what is left, no more than the share.
      assert.strictEqual(later, 20)
    }))

  it.effect("a batch larger than the byte window is filled", () =>
    Effect.gen(function*() {
      const { feeding, host } = yield* wire
      const [, hosts] = yield* host({ feeds: [Words], windowBytes: 50 })
      const sizes: Array<number> = []
      yield* Effect.forkChild(
        Effect.provide(Words.forEachBatch(3, (batch) => Effect.sync(() => sizes.push(batch.length))), hosts)
      )
      const source = range(9).map((n) => `${n}`.repeat(40))
      const run = yield* Effect.forkChild(feeding(Feeder.run(Words, { source, devices: [device] })))
      for (let i = 0; i < 10; i++) yield* settled
      assert.deepStrictEqual(sizes, [3, 3, 3])
      assert.strictEqual((yield* Fiber.join(run)).delivered, 9)
    }))

  it.effect("one that has said goodbye is remembered for three leases, and then forgotten", () =>
    Effect.gen(function*() {
      const { devices, host } = yield* wire
      const [made] = yield* host({ feeds: [Numbers] })
      const [one, two] = yield* Effect.all([devices.open(device, Numbers.info), devices.open(device, Numbers.info)])
      const known = Effect.map(made.status, ([status]) => status!.feeders.map(({ feeder }) => feeder))
      yield* one.send(hello)
      for (let i = 0; i < 4; i++) {
        yield* settled
        yield* TestClock.adjust(1000)
        yield* one.send({ _tag: "Ping", heard: 0 })
      }
      yield* settled
      // Another comes between the Bye and the end of the link.
      yield* one.send({ _tag: "Bye" })
      yield* two.send({ ...hello, feeder: "g" })
      yield* settled
      assert.deepStrictEqual(yield* known, ["f", "g"])
      const join = (feeder: string) =>
        Effect.scoped(Effect.gen(function*() {
          const link = yield* devices.open(device, Numbers.info)
          yield* link.send({ ...hello, feeder })
          yield* settled
        }))
      yield* TestClock.adjust(3000)
      yield* join("h")
      assert.deepStrictEqual(yield* known, ["f", "g", "h"])
      yield* TestClock.adjust(1)
      yield* join("h")
      assert.notInclude(yield* known, "f")
    }))

  it.effect("one that has gone silent does not keep others waiting for the end of its batch", () =>
    Effect.gen(function*() {
      const { devices, feeding, host } = yield* wire
      const [, hosts] = yield* host({ feeds: [Numbers] })
      const sizes: Array<number> = []
      yield* Effect.forkChild(
        Effect.provide(Numbers.forEachBatch(10, (batch) => Effect.sync(() => sizes.push(batch.length))), hosts)
      )
      // Its link stays open and nothing is ever said on it.
      const link = yield* devices.open(device, Numbers.info)
      yield* link.send({ ...hello, feeder: "silent" })
      yield* settled
      const run = yield* Effect.forkChild(feeding(Feeder.run(Numbers, { source: range(15), devices: [device] })))
      yield* settled
      assert.deepStrictEqual(sizes, [10])
      for (let i = 0; i < 6; i++) {
        yield* TestClock.adjust(1000)
        yield* settled
      }
      assert.deepStrictEqual(sizes, [10, 5])
      assert.strictEqual((yield* Fiber.join(run)).delivered, 15)
    }))
})

describe("leaving", () => {
  const start = Effect.gen(function*() {
    const { feeding, host } = yield* wire
    const scope = yield* Scope.fork(yield* Effect.scope)
    const seen: Array<readonly [n: number, redelivered: boolean]> = []
    const slow = (n: number, { redelivered }: Feed.Delivery) =>
      Effect.andThen(Effect.sync(() => seen.push([n, redelivered])), Effect.sleep(100))
    const [first, hosts] = yield* Scope.provide(host({ feeds: [Numbers] }), scope)
    const loop = yield* Effect.forkChild(Effect.provide(Numbers.forEach(slow), hosts))
    const made = yield* Feeder.make(Numbers, {
      tolerate: FailureTolerator.make({ limit: 50, initDelay: 100, backoffFactor: 1 })
    })
    const feeder = yield* made.set(range(20))
    yield* feeding(feeder.addRemoteDevice(device))
    const run = yield* Effect.forkChild(feeder.run)
    yield* settled
    yield* TestClock.adjust(150)
    yield* settled
    return { feeder, first, host, loop, run, scope, seen, slow }
  })

  const pass = Effect.fnUntraced(function*(millis: number) {
    for (let i = 0; i < millis / 50; i++) {
      yield* TestClock.adjust(50)
      yield* settled
    }
  })

  it.effect("finishes what it holds, ends its loops and is given nothing more: no redelivery", () =>
    Effect.gen(function*() {
      const { first, host, loop, run, scope, seen, slow } = yield* start
      yield* first.leave("10 seconds")
      yield* settled
      yield* pass(2000)
      const consumed = yield* Fiber.join(loop)
      assert.isAtLeast(consumed.done, 2)
      assert.isAtMost(consumed.done, 2 + Numbers.capacity + 1)
      yield* Scope.close(scope, Exit.void)
      const [, hosts] = yield* host({ feeds: [Numbers] })
      yield* Effect.forkChild(Effect.provide(Numbers.forEach(slow), hosts))
      yield* pass(5000)
      const ledger = yield* Fiber.join(run)
      assert.strictEqual(ledger.delivered, 20)
      assert.strictEqual(ledger.redelivered, 0)
      assert.deepStrictEqual(seen, range(20).map((n) => [n, false]))
    }))

  it.effect("a loop that is interrupted while the process leaves still finishes what it holds", () =>
    Effect.gen(function*() {
      const { feeder, first, loop, seen } = yield* start
      yield* first.leave("10 seconds")
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(loop))
      yield* settled
      assert.isUndefined(loop.pollUnsafe())
      yield* pass(2000)
      assert.isDefined(interrupting.pollUnsafe())
      const { delivered, leased, redelivered } = yield* feeder.ledger
      assert.deepStrictEqual([delivered, leased, redelivered], [seen.length, 0, 0])
    }))

  it.effect("what is not finished within the time is given back", () =>
    Effect.gen(function*() {
      const { feeder, first, loop, seen } = yield* start
      yield* first.leave(50)
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(loop))
      yield* pass(50)
      assert.isDefined(interrupting.pollUnsafe())
      yield* settled
      const { delivered, lost } = yield* feeder.ledger
      assert.isAtMost(delivered, seen.length)
      assert.strictEqual(lost, 0)
    }))

  it.effect("abandon ends it at once", () =>
    Effect.gen(function*() {
      const { feeder, first, loop } = yield* start
      yield* first.leave("1 hour")
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(loop))
      yield* settled
      assert.isUndefined(interrupting.pollUnsafe())
      yield* first.abandon
      yield* settled
      assert.isDefined(interrupting.pollUnsafe())
      assert.strictEqual((yield* feeder.ledger).lost, 0)
    }))

  const batch = (first: number, count: number): RemoteDevices.FeederFrame => {
    const chunk = Numbers.codec.fromElements(range(count).map((i) => first - 1 + i))
    return {
      _tag: "Batch",
      first,
      heard: 1,
      elementBytes: chunk.byteLength,
      runs: [{ ordinal: first - 1, count, attempt: 1 }],
      chunk
    }
  }

  /** A device with two elements of a feeder, the first in the hands of its loop, when the link is cut. */
  const cutOff = Effect.gen(function*() {
    const { devices, host } = yield* wire
    const [made, hosts] = yield* host({ feeds: [Numbers] })
    const seen: Array<number> = []
    const gate = yield* Latch.make(false)
    const loop = yield* Effect.forkChild(
      Effect.provide(Numbers.forEach((n) => Effect.andThen(Effect.sync(() => seen.push(n)), gate.await)), hosts)
    )
    const scope = yield* Scope.make()
    const link = yield* Scope.provide(devices.open(device, Numbers.info), scope)
    yield* link.send(hello)
    yield* settled
    yield* link.send(batch(1, 2))
    yield* settled
    const cut = Effect.andThen(Scope.close(scope, Exit.void), settled)
    /** What the device says on a new link of the same session, when it was sent these frames. */
    const resume = Effect.fnUntraced(function*(...frames: ReadonlyArray<RemoteDevices.FeederFrame>) {
      const again = yield* devices.open(device, Numbers.info)
      for (const frame of [hello, ...frames]) yield* again.send(frame)
      const said: Array<RemoteDevices.DeviceFrame> = []
      yield* Effect.forkChild(Effect.ignore(Effect.forever(
        Effect.map(again.receive, (frame) => said.push(frame))
      )))
      yield* settled
      return said
    })
    return { cut, devices, gate, loop, made, resume, seen }
  })

  it.effect("what was on its way when the link was cut still comes, and everything is reported", () =>
    Effect.gen(function*() {
      const { cut, gate, loop, made, resume, seen } = yield* cutOff
      yield* made.leave("10 seconds")
      yield* cut
      const said = yield* resume(batch(3, 1), { _tag: "End", last: 3, heard: 1 })
      yield* gate.open
      yield* settled
      assert.deepStrictEqual(seen, [0, 1, 2])
      assert.isFalse(said.some(({ _tag }) => _tag === "Refused"))
      const last = said.at(-1)
      assert.isTrue(last?._tag === "Progress" && last.progress.settled === 3 && last.progress.ended)
      assert.strictEqual((yield* Fiber.join(loop)).done, 3)
    }))

  it.effect("a feeder that was cut off is waited for until all is finished", () =>
    Effect.gen(function*() {
      const { cut, gate, loop, made, seen } = yield* cutOff
      yield* cut
      yield* made.leave("10 seconds")
      yield* settled
      yield* gate.open
      yield* settled
      assert.strictEqual((yield* Fiber.join(loop)).done, 2)
      assert.deepStrictEqual(seen, [0, 1])
    }))

  it.effect("a feeder that was cut off is waited for no longer than its lease", () =>
    Effect.gen(function*() {
      const { cut, gate, loop, made, resume, seen } = yield* cutOff
      yield* made.leave("10 seconds")
      yield* cut
      yield* TestClock.adjust(hello.leaseMillis)
      yield* settled
      assert.deepStrictEqual((yield* resume(batch(3, 1))).at(-1)?._tag, "Refused")
      yield* gate.open
      yield* settled
      assert.isDefined(loop.pollUnsafe())
      assert.deepStrictEqual(seen, [0])
    }))

  it.effect("what it holds of a feeder that it turns away is not handed out, since that one gives it again", () =>
    Effect.gen(function*() {
      const { cut, devices, gate, loop, resume, seen } = yield* cutOff
      yield* cut
      // The one feeder it expects ends, and its queue is closed.
      const other = yield* devices.open(device, Numbers.info)
      yield* other.send({ ...hello, feeder: "g" })
      yield* other.send({ _tag: "End", last: 0, heard: 0 })
      yield* settled
      const said = yield* resume(batch(3, 1))
      assert.deepStrictEqual(refusal(said.at(-1)!).slice(0, 1), ["ended"])
      yield* gate.open
      yield* settled
      assert.isDefined(loop.pollUnsafe())
      assert.deepStrictEqual(seen, [0])
    }))

  it.effect("a newcomer is refused for now", () =>
    Effect.gen(function*() {
      const { devices, host } = yield* wire
      const [made] = yield* host({ feeds: [Numbers] })
      yield* made.leave("1 second")
      const link = yield* devices.open(device, Numbers.info)
      yield* link.send(hello)
      assert.deepStrictEqual(refusal(yield* link.receive), ["leaving", `device ${made.id} is shutting down`, true])
    }))
})

describe("the end of a device", () => {
  it.effect("what was settled last is still reported", () =>
    Effect.gen(function*() {
      const { feeding, host } = yield* wire
      const scope = yield* Scope.make()
      const [, hosts] = yield* Scope.provide(host({ feeds: [Numbers] }), scope)
      const made = yield* Feeder.make(Numbers)
      const manual = yield* ManualSource.make<number>()
      const feeder = yield* made.set(manual.source)
      yield* feeding(feeder.addRemoteDevice(device))
      yield* Effect.forkChild(feeder.run)
      yield* manual.push(1)
      yield* Stream.runForEach(
        Stream.take(Numbers.elements, 1),
        ({ acknowledge }) => acknowledge
      ).pipe(Effect.provide(hosts))
      yield* Scope.close(scope, Exit.void)
      yield* settled
      const { delivered, leased } = yield* feeder.ledger
      assert.deepStrictEqual([delivered, leased], [1, 0])
    }))

  it.effect("is not held up by a feeder that takes nothing", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const links = yield* Queue.unbounded<RemoteDevices.HostLink>()
      yield* Scope.provide(Device.make({ feeds: [Numbers] }), scope).pipe(
        Effect.provideService(RemoteDevices.DeviceLinks, { accept: Queue.take(links) })
      )
      const frames: Array<RemoteDevices.FeederFrame> = [hello]
      yield* Queue.offer(links, {
        send: () => Effect.never,
        receive: Effect.suspend(() => {
          const frame = frames.shift()
          return frame === undefined ? Effect.never : Effect.succeed(frame)
        })
      })
      yield* settled
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* settled
      yield* TestClock.adjust("1 second")
      yield* settled
      assert.isDefined(closing.pollUnsafe())
    }))
})

describe("layer", () => {
  it.effect("hosts its feeds on the links of a transport", () =>
    Effect.gen(function*() {
      const links = Layer.succeed(RemoteDevices.DeviceLinks, { accept: Effect.never })
      const built = yield* Effect.result(
        Effect.scoped(Layer.build(Layer.provide(Device.layer({ feeds: [Numbers, Words] }), links)))
      )
      assert.isTrue(Result.isSuccess(built))
    }))

  it("gives names to replicas, as a feeder knows them", () => {
    assert.deepStrictEqual(DeviceSpec.replicas("consumer", 1).map(String), [device])
  })
})
