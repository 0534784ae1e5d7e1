/**
 * Who is let in at a host on real sockets, and what those who are not can do to it: nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Logger, Redacted, Schema, type Scope, Stream } from "effect"
import { Credentials, FailureTolerator, Feed, Feeder, type Ledger, type RemoteDevices } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { inspect } from "node:util"
import { encodeFeederFrame } from "../../src/internal/frames.ts"
import { ca, identity, pem } from "../fixtures/identities.ts"
import { dial, freePort, until } from "../fixtures/processes.ts"
import { noProgress } from "../fixtures/progress.ts"

const Numbers = Feed.make("numbers", { element: Schema.Int, capacity: 64 })
const Words = Feed.make("words", { element: Schema.String, capacity: 64 })
type Feeds = ReadonlyArray<typeof Numbers | typeof Words>

const device = "/job:consumer/replica:0"
const secret = "correct horse battery staple"
const other = "a secret of somebody else"

/** Collects what is logged. */
const notes = () => {
  const lines: Array<string> = []
  const layer = Logger.layer([
    Logger.make(({ logLevel, message }) =>
      lines.push(`${logLevel}: ${inspect(message, { depth: 9, breakLength: Infinity })}`)
    )
  ])
  return { lines, layer }
}

interface HostSettings extends Omit<SocketDevices.HostSettings<Feeds>, "feeds"> {
  readonly host?: string | undefined
  readonly credentials?: Layer.Layer<Credentials.Credentials, Credentials.SecretEmpty> | undefined
}

/** Hosts both feeds for ever in this process; gives its port and the numbers its consumer sees. */
const hostHere = ({ credentials, ...options }: HostSettings = {}, at?: number) =>
  Effect.gen(function*() {
    const port = at ?? (yield* freePort)
    const seen: Array<number> = []
    const live = SocketDevices.layerHost({ feeds: [Numbers, Words], port, feeders: "forever", ...options })
    const context = yield* Layer.build(
      Layer.provide(live, Layer.merge(credentials ?? Layer.empty, Logger.layer([])))
    )
    yield* Numbers.forEach((n) => Effect.sync(() => seen.push(n))).pipe(Effect.provide(context), Effect.forkScoped)
    return { port, seen }
  })

const attempts = (limit: number) => FailureTolerator.make({ limit, initDelay: 10, backoffFactor: 1 })

const addressOf = (port: number, protocol = "tcp", host = "127.0.0.1") => ({
  [device]: `${protocol}://${host}:${port}`
})

/** Feeds to a host of this machine. */
const feed = (
  addresses: Record<string, string>,
  options: SocketDevices.Options = {},
  settings: { readonly source?: Iterable<number>; readonly logger?: Layer.Layer<never> } = {}
) =>
  Feeder.run(Numbers, {
    source: settings.source ?? [1, 2, 3],
    devices: [device],
    lease: 2000,
    tolerate: attempts(2)
  }).pipe(
    Effect.provide([SocketDevices.layer(addresses, options), settings.logger ?? Logger.layer([])]),
    Effect.timeout("10 seconds")
  )

const assertExact = (ledger: Ledger.Ledger, count: number) =>
  assert.deepInclude(ledger, { generated: count, delivered: count, lost: 0, leased: 0, queued: 0, redelivered: 0 })

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i)

const oneSecret = Credentials.layerSecret(Redacted.make(secret))

describe("TLS", () => {
  for (const host of ["127.0.0.1", "localhost"]) {
    it.live(`carries a feed to ${host}`, () =>
      Effect.gen(function*() {
        const { port, seen } = yield* hostHere({ tls: identity("host"), credentials: oneSecret })
        const options = { credential: Redacted.make(secret), tls: { ca } }
        assertExact(yield* feed(addressOf(port, "tls", host), options, { source: numbers(2000) }), 2000)
        assert.deepStrictEqual(seen, numbers(2000))
      }))
  }

  const bad: ReadonlyArray<readonly [name: string, host: string, tls: SocketDevices.ClientTls, message: RegExp]> = [
    [
      "an authority that is not trusted",
      "host",
      { ca: pem("stranger.crt") },
      /signed by no authority that is known here/
    ],
    ["an authority that Node does not trust", "host", {}, /signed by no authority that is known here/],
    ["a certificate that has expired", "expired", { ca }, /its certificate has expired; renew it \(CERT_HAS_EXPIRED\)/],
    ["a certificate for another name", "elsewhere", { ca }, /its certificate is for another name/]
  ]
  for (const [name, host, tls, message] of bad) {
    it.live(`${name} fails the device when its budget is spent, with the cause named, and each try is logged`, () =>
      Effect.gen(function*() {
        const { port, seen } = yield* hostHere({ tls: identity(host), credentials: oneSecret })
        const { layer: logger, lines } = notes()
        const options = { credential: Redacted.make(secret), tls }
        const error = yield* Effect.flip(feed(addressOf(port, "tls"), options, { logger }))
        assert.match(error.message, message)
        assert.include(error.message, `no secure connection to tls://127.0.0.1:${port}`)
        const warnings = lines.filter((line) => line.startsWith("Warn") && message.test(line))
        assert.strictEqual(warnings.length, 2)
        assert.deepStrictEqual(seen, [])
      }))
  }

  it.live("trusts nobody because of the environment", () =>
    Effect.gen(function*() {
      const { port } = yield* hostHere({ tls: identity("host") })
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0"
        }),
        () =>
          Effect.sync(() => {
            delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"]
          })
      )
      assert.match((yield* Effect.flip(feed(addressOf(port, "tls")))).message, /no authority that is known here/)
    }))

  it.live("looks for the name it is told", () =>
    Effect.gen(function*() {
      const { port } = yield* hostHere({ tls: identity("elsewhere") })
      assertExact(yield* feed(addressOf(port, "tls"), { tls: { ca, servername: "elsewhere.example" } }), 3)
    }))

  it.live("is not taken for plain frames, on either side", () =>
    Effect.gen(function*() {
      const secure = yield* hostHere({ tls: identity("host") })
      const plain = yield* hostHere()
      assert.match(
        (yield* Effect.flip(feed(addressOf(plain.port, "tls"), { tls: { ca } }))).message,
        /does not speak TLS/
      )
      const error = yield* Effect.flip(feed(addressOf(secure.port)))
      assert.match(error.message, /before it answered; if it has a certificate, write its address as tls:\/\//)
    }))

  it.live("is of version 1.3, and 1.2 if asked", () =>
    Effect.gen(function*() {
      const shake = (port: number) =>
        Effect.callback<string | null>((resume) => {
          const socket = Tls.connect({ port, host: "127.0.0.1", ca, maxVersion: "TLSv1.2", minVersion: "TLSv1.2" })
          socket.on("secureConnect", () => resume(Effect.succeed(socket.getProtocol())))
          socket.on("error", (error) => resume(Effect.succeed(error.message)))
          return Effect.sync(() => socket.destroy())
        }).pipe(Effect.raceFirst(Effect.as(Effect.sleep("5 seconds"), "nothing")))
      const strict = yield* hostHere({ tls: identity("host") })
      assert.match((yield* shake(strict.port)) ?? "", /protocol version/)
      const old = yield* hostHere({ tls: { ...identity("host"), minVersion: "TLSv1.2" } })
      yield* Effect.callback<void>((resume) => {
        const socket = Tls.connect({ port: old.port, host: "127.0.0.1", ca, maxVersion: "TLSv1.2" }, () => {
          assert.strictEqual(socket.getProtocol(), "TLSv1.2")
          socket.destroy()
        })
        socket.on("close", () => resume(Effect.void))
      })
    }))

  it.live("certificates that are none fail the layer, without the key in the message", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const { cert } = identity("host")
      const { key } = identity("elsewhere")
      const tls = [{ cert, key }, { cert: "no PEM", key }, { cert, key: "no PEM" }]
      for (const one of tls) {
        const error = yield* Effect.flip(Layer.build(SocketDevices.layerHost({ feeds: [Numbers], port, tls: one })))
        assert.strictEqual(error._tag, "TlsInvalid")
        assert.notInclude(inspect(error, { depth: 9 }), Redacted.value(key).slice(40, 80))
        const client = yield* Effect.flip(Layer.build(SocketDevices.layer(addressOf(port, "tls"), { tls: one })))
        assert.strictEqual(client._tag, "TlsInvalid")
      }
    }))
})

describe("certificates of feeders", () => {
  const mutual = { ...identity("host"), ca }

  it.live("are enough to listen beyond this machine", () =>
    Effect.gen(function*() {
      const { port } = yield* hostHere({ tls: mutual, host: "0.0.0.0" })
      assertExact(yield* feed(addressOf(port, "tls"), { tls: { ca, ...identity("crawler") } }), 3)
    }))

  const refused = (tls: SocketDevices.ClientTls, credentials?: HostSettings["credentials"]) =>
    Effect.gen(function*() {
      const { port, seen } = yield* hostHere({ tls: mutual, credentials })
      const { message } = yield* Effect.flip(feed(addressOf(port, "tls"), { tls: { ca, ...tls } }))
      assert.deepStrictEqual(seen, [])
      return message
    })

  it.live("one without is told so, once", () =>
    Effect.gen(function*() {
      const message = yield* refused({})
      assert.match(
        message,
        /refused the feed \(unauthenticated\): it presents no certificate, and this device asks for one/
      )
      assert.match(message, /has failed after 1 failure/)
    }))

  it.live("one of another authority is told so, once", () =>
    Effect.gen(function*() {
      assert.match(
        yield* refused(identity("forged")),
        /after 1 failure.*refused the feed \(unauthenticated\): its certificate is not trusted here \(\w+\)/
      )
    }))

  it.live("one that has expired is told so, once", () =>
    Effect.gen(function*() {
      assert.match(yield* refused(identity("expired")), /not trusted here \(CERT_HAS_EXPIRED\)/)
    }))

  const bySubject = Credentials.layer(({ feed, peer }) =>
    feed === "numbers" && peer.certificate?.subject === "CN=crawler"
      ? Effect.void
      : Effect.fail(new Credentials.Unauthorized({ detail: "only the crawler feeds numbers" }))
  )

  it.live("say which feeder may feed what", () =>
    Effect.gen(function*() {
      const { port } = yield* hostHere({ tls: mutual, credentials: bySubject })
      assertExact(yield* feed(addressOf(port, "tls"), { tls: { ca, ...identity("crawler") } }), 3)
      assert.match(
        yield* refused(identity("visitor"), bySubject),
        /refused the feed \(unauthorized\): only the crawler feeds numbers/
      )
    }))
})

describe("credentials", () => {
  it.live("the right one feeds; a wrong one and none are refused for good", () =>
    Effect.gen(function*() {
      const { port, seen } = yield* hostHere({ credentials: oneSecret })
      assertExact(yield* feed(addressOf(port), { credential: Redacted.make(secret) }), 3)
      const wrong = yield* Effect.flip(feed(addressOf(port), { credential: Redacted.make(other) }))
      assert.match(wrong.message, /after 1 failure.*\(unauthenticated\): its credential is not one of this device/)
      const none = yield* Effect.flip(feed(addressOf(port)))
      assert.match(none.message, /\(unauthenticated\): it presents no credential, and this device asks for one/)
      assert.deepStrictEqual(seen, [1, 2, 3])
    }))

  it.live("of one feed do not open another", () =>
    Effect.gen(function*() {
      const credentials = Credentials.layerSecrets({ numbers: Redacted.make(secret), words: Redacted.make(other) })
      const { port } = yield* hostHere({ credentials })
      assertExact(yield* feed(addressOf(port), { credential: Redacted.make(secret) }), 3)
      const error = yield* Effect.flip(feed(addressOf(port), { credential: Redacted.make(other) }))
      assert.match(error.message, /\(unauthorized\): its credential is for another feed/)
    }))

  it.live("are in no log and no error, and a stranger hears of no feed", () =>
    Effect.gen(function*() {
      const { layer: logger, lines } = notes()
      const port = yield* freePort
      yield* Layer.build(
        SocketDevices.layerHost({ feeds: [Numbers, Words], port }).pipe(Layer.provide([oneSecret, logger]))
      )
      const error = yield* Effect.flip(feed(addressOf(port), { credential: Redacted.make(other) }, { logger }))
      const shown = [String(error), JSON.stringify(error), inspect(error, { depth: 20 }), ...lines].join("\n")
      assert.notInclude(shown, other)
      assert.notInclude(shown, secret)
      const answers = yield* Effect.forEach([
        [hello({ feed: "letters" })],
        [hello({ credential: other, feed: "letters" })],
        [hello({ credential: other, session: -1 })],
        [hello({ credential: 12_345_678 })],
        [hello({ credential: ["x".repeat(70_000)] })],
        [hello({ credential: other, incarnation: other })]
      ], (bytes) => dial(port, bytes))
      for (const answer of answers) {
        assert.strictEqual(answer.length, 1)
        assert.strictEqual(answer[0]?._tag, "Refused")
        const text = JSON.stringify(answer)
        for (const hidden of [secret, other, "12345678", "xxxxxxxx", "numbers", "words"]) {
          assert.notInclude(text, hidden)
        }
      }
    }))
})

describe("a host without credentials", () => {
  for (const host of ["0.0.0.0", "::", "", "192.0.2.7", "example.com", "127.0.0.1.example.com", "::ffff:0.0.0.0"]) {
    it.live(`does not listen at "${host}"`, () =>
      Effect.gen(function*() {
        const port = yield* freePort
        const live = SocketDevices.layerHost({ feeds: [Numbers], port, host })
        const error = yield* Effect.flip(Layer.build(live))
        assert.strictEqual(error._tag, "Unprotected")
        assert.match(error.message, /whoever reaches it could feed it; provide `Credentials`/)
        const secured = SocketDevices.layerHost({ feeds: [Numbers], port, host, tls: identity("host") })
        assert.strictEqual((yield* Effect.flip(Layer.build(secured)))._tag, "Unprotected")
      }))
  }

  for (const host of [undefined, "127.0.0.1", "127.9.9.9", "localhost"]) {
    it.live(`listens at ${host}, and says that it is for this machine only`, () =>
      Effect.gen(function*() {
        const { layer: logger, lines } = notes()
        const port = yield* freePort
        yield* Layer.build(Layer.provide(SocketDevices.layerHost({ feeds: [Numbers], port, host }), logger))
        assert.strictEqual(lines.length, 1)
        assert.include(
          lines[0],
          `${host ?? "127.0.0.1"}:${port} is for feeders of this machine only, since it asks them for no credentials`
        )
        assert.match(lines[0]!, /^Info/)
      }))
  }

  it.live("with them but no certificate warns, and listens", () =>
    Effect.gen(function*() {
      const { layer: logger, lines } = notes()
      const port = yield* freePort
      const live = SocketDevices.layerHost({ feeds: [Numbers], port, host: "0.0.0.0" })
      yield* Layer.build(Layer.provide(live, [oneSecret, logger]))
      assert.strictEqual(lines.length, 1)
      assert.match(lines[0]!, /^Warn: .*has no certificate: credentials and elements can be read on their way/)
    }))
})

describe("a credential", () => {
  const credential = Redacted.make(secret)
  for (const address of ["tcp://192.0.2.7:4001", "tcp://example.com:4001", "tcp://[2001:db8::1]:4001"]) {
    it.live(`is not sent readable to ${address}, unless it is allowed`, () =>
      Effect.gen(function*() {
        const build = (options: SocketDevices.Options) =>
          Layer.build(SocketDevices.layer({ [device]: address }, options))
        const error = yield* Effect.flip(build({ credential }))
        assert.strictEqual(error._tag, "Unprotected")
        assert.match(error.message, /the credential could be read on its way; use "tls:\/\//)
        assert.notInclude(inspect(error, { depth: 9 }), secret)
        yield* build({ credential, allowPlaintextCredential: true })
        yield* build({})
        yield* Layer.build(SocketDevices.layer({ [device]: address.replace("tcp", "tls") }, { credential }))
      }))
  }

  for (const address of ["tcp://127.0.0.1:4001", "tcp://localhost:4001", "tcp://[::1]:4001"]) {
    it.live(`is sent to ${address}`, () =>
      Effect.asVoid(Layer.build(SocketDevices.layer({ [device]: address }, { credential }))))
  }
})

// -----------------------------------------------------------------------------
// limits
// -----------------------------------------------------------------------------

const frame = (kind: number, body: Uint8Array, length = body.length): Buffer => {
  const head = Buffer.alloc(8)
  head.writeUInt32LE(length, 0)
  head[4] = kind
  return Buffer.concat([head, body])
}

let strangers = 0

const hello = (facts: Record<string, unknown> = {}) =>
  frame(
    0,
    Buffer.from(JSON.stringify({
      _tag: "Hello",
      versions: [1, 1],
      feed: "words",
      fingerprint: Words.info.fingerprint,
      feeder: `stranger ${strangers++}`,
      incarnation: 1,
      device,
      session: 1,
      keepTo: 0,
      acknowledge: "processed",
      leaseMillis: 1000,
      ...facts
    }))
  )

const batch = (words: ReadonlyArray<string>) =>
  Buffer.concat(encodeFeederFrame({
    _tag: "Batch",
    first: 1,
    heard: 1,
    elementBytes: 1,
    runs: [{ ordinal: 0, count: words.length, attempt: 1 }],
    chunk: Words.codec.fromElements(words)
  }, Words.info))

/** An honest feed runs while `attack` does what it likes to its host, and ends exact, on the link it began with. */
const meanwhile = <A, E>(
  options: HostSettings,
  attack: (port: number) => Effect.Effect<A, E, Scope.Scope>
) =>
  Effect.gen(function*() {
    const port = yield* freePort
    const { seen } = yield* hostHere(options, port)
    const gate = yield* Deferred.make<void>()
    yield* Effect.addFinalizer(() => Deferred.succeed(gate, undefined))
    const feeder = yield* Feeder.make(Numbers, { lease: 5000, tolerate: attempts(1) }).pipe(
      Effect.flatMap((made) =>
        made.set(Stream.concat(
          Stream.fromIterable(numbers(500)),
          Stream.unwrap(Effect.as(Deferred.await(gate), Stream.fromIterable(numbers(1000).slice(500))))
        ))
      )
    )
    const run = feeder.addRemoteDevice(device).pipe(
      Effect.andThen(feeder.run),
      Effect.provide([SocketDevices.layer(addressOf(port)), Logger.layer([])])
    )
    const fiber = yield* Effect.forkScoped(run)
    yield* until("the honest feed was fed", () => seen.length === 500)
    yield* Effect.scoped(attack(port)).pipe(Effect.provide(Logger.layer([])))
    yield* Deferred.succeed(gate, undefined)
    assertExact(yield* Effect.timeout(Fiber.join(fiber), "10 seconds"), 1000)
    assert.deepStrictEqual(seen, numbers(1000))
    assert.deepInclude((yield* feeder.status).devices[0], { failures: 0, session: 1 })
  })

/** Connects and says nothing more than `bytes`; tells when it was closed, and what it was told. */
const visit = (port: number, bytes: Uint8Array = new Uint8Array(0)) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly socket: Net.Socket; readonly isClosed: () => boolean; readonly heard: () => string }>(
      (resume) => {
        let heard = ""
        const socket = Net.connect({ port, host: "127.0.0.1", noDelay: true })
        socket.on("error", () => {})
        socket.on("data", (some) => {
          heard += some.toString("latin1")
        })
        socket.once("close", () => resume(Effect.succeed(visitor)))
        socket.once("connect", () => {
          socket.write(bytes)
          resume(Effect.succeed(visitor))
        })
        const visitor = { socket, isClosed: () => socket.destroyed, heard: () => heard }
      }
    ),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

const refusedWith = (
  port: number,
  bytes: ReadonlyArray<Uint8Array>,
  reason: RemoteDevices.RefusedReason,
  detail: RegExp,
  retry = false
) =>
  Effect.map(dial(port, bytes), (answers) => {
    const last = answers.at(-1)
    assert.strictEqual(last?._tag, "Refused", JSON.stringify(answers))
    if (last?._tag !== "Refused") return
    assert.deepStrictEqual([last.reason, last.retry], [reason, retry])
    assert.match(last.detail, detail)
    assert.isBelow(last.detail.length, 2000)
  })

describe("limits, while an honest feed goes on", () => {
  it.live("what is too large is refused by name", () =>
    meanwhile(
      { limits: { frameBytes: 200_000, controlBytes: 100_000, elements: 1000, stringBytes: 1000, lease: "1 minute" } },
      (port) =>
        Effect.gen(function*() {
          const long = "x".repeat(1025)
          yield* refusedWith(port, [frame(0, new Uint8Array(0), 100_001)], "invalid", /length 100001 is over/)
          yield* refusedWith(port, [frame(1, new Uint8Array(0), 100_001)], "invalid", /length 100001 is over/)
          yield* refusedWith(
            port,
            [hello(), frame(1, new Uint8Array(0), 2 ** 31)],
            "invalid",
            /length 2147483648 is over/
          )
          for (const field of ["feed", "feeder", "device"]) {
            yield* refusedWith(port, [hello({ [field]: long })], "invalid", new RegExp(field))
          }
          yield* refusedWith(
            port,
            [hello({ leaseMillis: 60_001 })],
            "invalid",
            /leaseMillis: it is 60001, and may be 1 to 60000/
          )
          yield* refusedWith(
            port,
            [hello({ leaseMillis: 0 })],
            "invalid",
            /leaseMillis: it is 0, and may be 1 to 60000/
          )
          const words = (some: ReadonlyArray<string>) =>
            // Large frames may come only after the Welcome.
            refusedWith(port, [hello(), batch(some)], "invalid", some.length > 1000 ? /elements/ : /1001 bytes/)
          yield* words(["x".repeat(1001)])
          yield* words(Array.from({ length: 1001 }, () => ""))
        })
    ))

  it.live("connections are so many, and one more is told that the host is busy", () =>
    meanwhile({ limits: { connections: 4, strangers: 4 } }, (port) =>
      Effect.gen(function*() {
        const others = yield* Effect.forEach([1, 2, 3], () => visit(port, hello()))
        yield* until("they were admitted", () => others.every(({ heard }) => heard().includes("Welcome")))
        yield* refusedWith(port, [], "busy", /it has 4 connections, which is its limit/, true)
        others[0]!.socket.destroy()
        const again = Effect.gen(function*() {
          const another = yield* visit(port, hello())
          yield* until("it was answered", () => another.heard().includes("_tag"))
          return another.heard()
        })
        assert.include(
          yield* Effect.repeat(again, { until: (heard) => heard.includes("Welcome"), times: 100 }),
          "Welcome"
        )
      })))

  it.live("connections come so fast, and one more is told that the host is busy", () =>
    meanwhile({ limits: { connectionsPerSecond: 5 } }, (port) =>
      Effect.gen(function*() {
        const all = yield* Effect.forEach(numbers(40), () => visit(port), { concurrency: "unbounded" })
        yield* until("some were sent away", () => all.filter(({ isClosed }) => isClosed()).length >= 20)
        assert.isTrue(all.some(({ heard }) => heard().includes("more than 5 connections in a second")))
      })))

  it.live("strangers are so many: those there longest go, and an honest newcomer gets in", () =>
    meanwhile(
      { limits: { connections: 40, strangers: 10, connectionsPerSecond: 1000 } },
      (port) =>
        Effect.gen(function*() {
          const all = yield* Effect.forEach(numbers(100), () => visit(port))
          yield* until("90 were sent away", () => all.filter(({ isClosed }) => isClosed()).length === 90)
          assert.isTrue(all.slice(-10).every(({ isClosed }) => !isClosed()))
          const honest = yield* visit(port, hello())
          yield* until("it was admitted", () => honest.heard().includes("Welcome"))
          yield* Effect.forEach(numbers(20), () => visit(port))
          assert.isFalse(honest.isClosed())
        })
    ))

  /** The beginning of a message of TLS that is announced to be long. */
  const clientHello = Buffer.concat([Buffer.from([22, 3, 1, 64, 0, 1, 0, 63, 252, 3, 3]), new Uint8Array(16_000)])
  for (const [name, tls, bytes] of [["plain", undefined, hello()], ["TLS", identity("host"), clientHello]] as const) {
    it.live(`one that says Hello too slowly is closed (${name})`, () =>
      Effect.gen(function*() {
        const { port } = yield* hostHere({ tls, limits: { handshake: "300 millis" } })
        const began = performance.now()
        const slow = yield* visit(port)
        let at = 0
        yield* Effect.sleep(20).pipe(
          Effect.andThen(Effect.sync(() => slow.socket.write(bytes.subarray(at, ++at)))),
          Effect.repeat({ until: () => slow.isClosed() || at >= 400 })
        )
        assert.isTrue(slow.isClosed())
        assert.isAtLeast(performance.now() - began, 290)
        assert.isBelow(at, 400)
      }))
  }

  it.live("strangers are so many over TLS too", () =>
    Effect.gen(function*() {
      const { port } = yield* hostHere({ tls: identity("host"), limits: { strangers: 2 } })
      const options = { credential: Redacted.make(secret), tls: { ca } }
      const all = yield* Effect.forEach(numbers(5), () =>
        Effect.gen(function*() {
          const { socket } = yield* visit(port)
          const secure = yield* Effect.acquireRelease(
            Effect.sync(() => Tls.connect({ socket, ca, host: "127.0.0.1" }).on("error", () => {})),
            (secure) => Effect.sync(() => secure.destroy())
          )
          yield* Effect.sleep(20)
          return secure
        }))
      yield* until("three were sent away", () => all.filter(({ destroyed }) => destroyed).length === 3)
      assertExact(yield* feed(addressOf(port, "tls"), options), 3)
    }))

  it.live("one that is admitted and then trickles is closed after three leases", () =>
    meanwhile({}, (port) =>
      Effect.gen(function*() {
        const slow = yield* visit(port, hello({ leaseMillis: 100 }))
        yield* until("it was admitted", () => slow.heard().includes("Welcome"))
        const bytes = frame(1, new Uint8Array(1000))
        let at = 0
        const began = performance.now()
        yield* Effect.sleep(20).pipe(
          Effect.andThen(Effect.sync(() => slow.socket.write(bytes.subarray(at, ++at)))),
          Effect.repeat({ until: () => slow.isClosed() || at > 500 })
        )
        assert.isTrue(slow.isClosed())
        assert.isBelow(performance.now() - began, 3000)
      })))

  it.live(
    "2,000 come and go",
    () =>
      meanwhile({ limits: { connectionsPerSecond: 300 } }, (port) =>
        Effect.gen(function*() {
          const bytes = [
            new Uint8Array(0),
            hello(),
            Buffer.from("GET / HTTP/1.1\r\n\r\n"),
            frame(1, new Uint8Array(3), 9e5)
          ]
          yield* Effect.forEach(
            numbers(2000),
            (i) =>
              Effect.scoped(Effect.andThen(visit(port, bytes[i % 4]), i % 7 === 0 ? Effect.sleep(5) : Effect.void)),
            { concurrency: 50, discard: true }
          )
        })),
    30_000
  )

  it.live("64 MiB that are announced by many and do not come take no memory", () =>
    meanwhile({ limits: { connectionsPerSecond: 1000 } }, (port) =>
      Effect.gen(function*() {
        const all = yield* Effect.forEach(numbers(50), () => visit(port, hello()))
        yield* until("they were admitted", () => all.every(({ heard }) => heard().includes("Welcome")))
        const before = process.memoryUsage().arrayBuffers
        for (const { socket } of all) socket.write(frame(1, new Uint8Array(1), 64 * 1024 * 1024))
        yield* Effect.sleep(100)
        assert.isBelow(process.memoryUsage().arrayBuffers - before, 50 * 512 * 1024)
        assert.isTrue(all.every(({ isClosed }) => !isClosed()))
      })))
})

describe("a device that does not keep to the protocol", () => {
  const control = (json: unknown) => frame(0, Buffer.from(JSON.stringify(json)))
  const progress = (facts: Record<string, unknown>) => ({
    ...noProgress,
    creditTo: 10,
    creditBytesTo: 1e6,
    ...facts
  })
  const welcome = (facts: Record<string, unknown> = {}, some: Record<string, unknown> = {}) =>
    control({
      _tag: "Welcome",
      version: 1,
      device: "d",
      durable: false,
      capacity: 10,
      limits: { frameBytes: 1e6, elements: 100 },
      progress: progress(facts),
      ...some
    })
  const report = (facts: Record<string, unknown>) =>
    control({ _tag: "Progress", progress: progress({ report: 2, ...facts }) })
  const done = { _tag: "Done" }

  for (
    const [name, answers, message] of [
      ["says what is no frame", [Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")], /malformed frame/],
      ["announces too much", [frame(0, new Uint8Array(0), 2 ** 31)], /length 2147483648 is over the limit/],
      ["sends a batch", [frame(1, new Uint8Array(64))], /malformed frame/],
      ["sends no text", [frame(0, Buffer.from([0xff]))], /not UTF-8/],
      ["counts in fractions", [welcome({ creditTo: 0.5 })], /creditTo/],
      ["speaks a version to come", [welcome({}, { version: 9 })], /it speaks version 9/],
      ["reports before it welcomes", [report({})], /before the Welcome/],
      ["accepts what it was not sent", [welcome({ accepted: 1 })], /accepted/],
      [
        "settles what it was not sent",
        [welcome({ above: [{ from: 1, count: Number.MAX_SAFE_INTEGER, result: done }] })],
        /settles sequence 9007199254740991/
      ]
    ] as const
  ) {
    it.live(`${name}: the feeder says so and lives on`, () =>
      Effect.gen(function*() {
        const port = yield* freePort
        yield* Effect.acquireRelease(
          Effect.callback<Net.Server>((resume) => {
            const server = Net.createServer((socket) => {
              socket.on("error", () => {})
              socket.once("data", () => {
                for (const answer of answers) socket.write(answer)
              })
            })
            server.listen(port, "127.0.0.1", () => resume(Effect.succeed(server)))
          }),
          (server) =>
            Effect.callback<void>((resume) => {
              server.close(() => resume(Effect.void))
            })
        )
        assert.match((yield* Effect.flip(feed(addressOf(port)))).message, message)
      }))
  }
})
