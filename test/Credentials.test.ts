import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger, Queue, Redacted } from "effect"
import { Credentials, Device, type Feed, RemoteDevices } from "effect-feeder"
import { inspect } from "node:util"
import { greeting, Numbers } from "./network.ts"

const secret = "correct horse battery staple"
const other = "another secret of another feed"

const present = (feed: string, credential?: string): Credentials.Presented => ({
  credential: credential === undefined ? undefined : Redacted.make(credential),
  feed,
  feeder: "feeder",
  device: "/job:consumer/replica:0",
  peer: {}
})

/** What the check of some credentials says. */
const ask = <E>(layer: Layer.Layer<Credentials.Credentials, E>, presented: Credentials.Presented) =>
  Credentials.Credentials.use(({ check }) => Effect.exit(check(presented))).pipe(
    Effect.provide(layer),
    Effect.map((exit) => Exit.isSuccess(exit) ? "in" : Cause.squash(exit.cause))
  )

const tagOf = (answer: unknown): unknown =>
  typeof answer === "object" && answer !== null && "_tag" in answer ? answer._tag : answer

describe("one secret", () => {
  const layer = Credentials.layerSecret(Redacted.make(secret))
  for (
    const [name, credential, expected] of [
      ["is what it is compared with", secret, "in"],
      ["nothing is presented", undefined, "Unauthenticated"],
      ["an empty text", "", "Unauthenticated"],
      ["its beginning", secret.slice(0, -1), "Unauthenticated"],
      ["more than it", `${secret} `, "Unauthenticated"],
      ["another case", secret.toUpperCase(), "Unauthenticated"],
      ["a long one", secret.repeat(2000), "Unauthenticated"]
    ] as const
  ) {
    it.effect(name, () =>
      Effect.gen(function*() {
        assert.strictEqual(tagOf(yield* ask(layer, present("digits", credential))), expected)
      }))
  }

  it.effect("is not empty", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(Credentials.layerSecret(Redacted.make(""))))
      assert.strictEqual(
        error.message,
        "the secret of the feeders is empty, so anyone would know it; take 32 random bytes as text, " +
          "such as of \"openssl rand -hex 32\""
      )
      const some = yield* Effect.flip(Layer.build(Credentials.layerSecrets({ digits: [Redacted.make("")] })))
      assert.match(some.message, /^a secret of feed "digits" is empty/)
    }))
})

describe("secrets by feed", () => {
  const layer = Credentials.layerSecrets({
    digits: [Redacted.make("new"), Redacted.make("old")],
    pages: Redacted.make(other),
    nobody: []
  })
  for (
    const [feed, credential, expected] of [
      ["digits", "new", "in"],
      ["digits", "old", "in"],
      ["pages", other, "in"],
      ["pages", "new", "Unauthorized"],
      ["digits", other, "Unauthorized"],
      ["nobody", other, "Unauthorized"],
      ["unheard of", other, "Unauthorized"],
      ["unheard of", "a guess", "Unauthenticated"],
      ["constructor", undefined, "Unauthenticated"],
      ["__proto__", other, "Unauthorized"]
    ] as const
  ) {
    it.effect(`${feed} with ${credential ?? "nothing"}: ${expected}`, () =>
      Effect.gen(function*() {
        assert.strictEqual(tagOf(yield* ask(layer, present(feed, credential))), expected)
      }))
  }
})

it.effect("no secret is told: not by what is presented, kept or answered", () =>
  Effect.gen(function*() {
    const layer = Credentials.layerSecrets({ digits: Redacted.make(secret), pages: Redacted.make(other) })
    const presented = present("digits", other)
    const service = yield* Credentials.Credentials.use(Effect.succeed).pipe(Effect.provide(layer))
    const answers = [
      yield* ask(layer, presented),
      yield* ask(layer, present("digits", `${secret}!`)),
      yield* ask(Credentials.layerSecret(Redacted.make(secret)), present("digits", `${secret}!`))
    ]
    const shown = [presented, service, ...answers].flatMap((value) => [
      String(value),
      JSON.stringify(value),
      inspect(value, { depth: 9, showHidden: true }),
      value instanceof Error ? `${value.message} ${value.stack}` : ""
    ]).join("\n")
    assert.notInclude(shown, secret)
    assert.notInclude(shown, other)
  }))

/** A device with credentials, and what it answers to one Hello. */
const hail = (
  credentials: Credentials.Credentials["Service"] | undefined,
  facts: Partial<RemoteDevices.Hello> = {},
  options: Partial<Device.Options<ReadonlyArray<Feed.Any>>> = {}
) =>
  Effect.gen(function*() {
    const links = yield* Queue.unbounded<RemoteDevices.HostLink>()
    yield* Effect.provideService(
      Device.make({ feeds: [Numbers], credentials, ...options }),
      RemoteDevices.DeviceLinks,
      { accept: Queue.take(links) }
    )
    const answers = yield* Queue.unbounded<RemoteDevices.DeviceFrame>()
    const hello: RemoteDevices.FeederFrame = { ...greeting("/job:consumer/replica:0"), ...facts }
    const frames: Array<RemoteDevices.FeederFrame> = [hello]
    yield* Queue.offer(links, {
      peer: { address: "192.0.2.1", certificate: { subject: "CN=crawler", fingerprint: "AB:CD" } },
      send: (frame) => Effect.asVoid(Queue.offer(answers, frame)),
      receive: Effect.suspend(() => {
        const frame = frames.shift()
        return frame === undefined ? Effect.never : Effect.succeed(frame)
      })
    })
    return yield* Queue.take(answers)
  })

const knowing = (layer: Layer.Layer<Credentials.Credentials, Credentials.SecretEmpty>) =>
  Credentials.Credentials.use(Effect.succeed).pipe(Effect.provide(layer))

describe("a device that asks for credentials", () => {
  it.effect("admits a feeder that has them", () =>
    Effect.gen(function*() {
      const credentials = yield* knowing(Credentials.layerSecret(Redacted.make(secret)))
      assert.strictEqual((yield* hail(credentials, { credential: secret }))._tag, "Welcome")
    }))

  for (
    const [name, facts] of [
      ["of a feed it has", {}],
      ["of a feed it does not have", { feed: "unheard of" }],
      ["of another device", { device: "/job:else" }],
      ["of another fingerprint", { fingerprint: "?" }],
      ["of a version to come", { versions: [8, 9] }],
      ["of an absurd lease", { leaseMillis: 1e12 }]
    ] as const
  ) {
    it.effect(`tells a stranger nothing else: one ${name}`, () =>
      Effect.gen(function*() {
        const credentials = yield* knowing(Credentials.layerSecret(Redacted.make(secret)))
        assert.deepStrictEqual(yield* hail(credentials, facts, { device: "/job:consumer/replica:7" }), {
          _tag: "Refused",
          reason: "unauthenticated",
          detail: "it presents no credential, and this device asks for one",
          retry: false
        })
      }))
  }

  it.effect("tells a feeder of another feed no more than that", () =>
    Effect.gen(function*() {
      const credentials = yield* knowing(Credentials.layerSecrets({ pages: Redacted.make(other) }))
      assert.deepStrictEqual(yield* hail(credentials, { credential: other }), {
        _tag: "Refused",
        reason: "unauthorized",
        detail: "its credential is for another feed",
        retry: false
      })
    }))

  it.effect("gives a check of one's own all that is known of the feeder", () =>
    Effect.gen(function*() {
      const seen: Array<Credentials.Presented> = []
      const check: Credentials.Credentials["Service"]["check"] = (presented) => {
        seen.push(presented)
        return Effect.void
      }
      assert.strictEqual((yield* hail({ check }, { credential: secret }))._tag, "Welcome")
      assert.strictEqual(seen.length, 1)
      assert.deepStrictEqual({ ...seen[0], credential: undefined }, {
        credential: undefined,
        feed: "numbers",
        feeder: greeting("").feeder,
        device: "/job:consumer/replica:0",
        peer: { address: "192.0.2.1", certificate: { subject: "CN=crawler", fingerprint: "AB:CD" } }
      })
      assert.strictEqual(seen[0]?.credential === undefined ? "" : Redacted.value(seen[0].credential), secret)
    }))

  it.effect("writes a line to its log that has nothing of what the stranger said", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const credentials = yield* knowing(Credentials.layerSecret(Redacted.make(secret)))
      yield* hail(credentials, { credential: `${secret}!`, feeder: "evil\nname", feed: "evil feed" }).pipe(
        Effect.provide(Logger.layer([Logger.make(({ message }) => lines.push(String(message)))]))
      )
      assert.deepStrictEqual(lines, ["a feeder at 192.0.2.1 was refused: it is unauthenticated"])
    }))
})

describe("what a device takes of feeders", () => {
  for (const leaseMillis of [0, 1001]) {
    it.effect(`a lease of ${leaseMillis} ms is refused by name`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* hail(undefined, { leaseMillis }, { limits: { lease: "1 second" } }), {
          _tag: "Refused",
          reason: "invalid",
          detail: `leaseMillis: it is ${leaseMillis}, and may be 1 to 1000`,
          retry: false
        })
      }))
  }

  it.effect("it knows so many feeders of a feed, and one more may try again", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* hail(undefined, {}, { limits: { feeders: 0 } }), {
        _tag: "Refused",
        reason: "busy",
        detail: "feed \"numbers\" has 0 feeders, which is its limit",
        retry: true
      })
    }))
})
