/**
 * Where devices are: files, WebSockets, a Config, and the DNS, which changes its mind.
 */
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Fiber, Layer, Logger, Option, Result, Schema, Stream } from "effect"
import { FailureTolerator, Feeder } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import * as Dgram from "node:dgram"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { vi } from "vitest"
import { WebSocket } from "ws"
import * as SocketAddress from "../../src/internal/socketAddress.ts"
import { Numbers } from "../fixtures/messages.ts"
import { freePort, type Process, startBadConsumer, startConsumer } from "../fixtures/processes.ts"

const numbers = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: to - from }, (_, i) => from + i)

const device = "/job:consumer/replica:0"

const patient = FailureTolerator.make({ limit: 400, initDelay: 50, backoffFactor: 1 })

const quiet = Logger.layer([])

const feed = (count: number) =>
  Feeder.run(Numbers, { source: numbers(0, count), devices: [device], tolerate: patient, lease: 5000 })

const handed = (consumers: ReadonlyArray<Process>) => consumers.flatMap((consumer) => consumer.all("Handed"))

describe("an address", () => {
  it("is read, in one form for one place", () => {
    const text = (address: string) => {
      const parsed = SocketAddress.parse(address)
      return Result.isSuccess(parsed) ? parsed.success.text : parsed.failure
    }
    assert.strictEqual(text("tcp://127.0.0.1:4001"), "tcp://127.0.0.1:4001")
    assert.strictEqual(text("tls://[::1]:4001/"), "tls://[::1]:4001")
    assert.strictEqual(text("unix:///run/a%20b.sock"), "unix:///run/a b.sock")
    assert.strictEqual(text("ws://localhost/feed#top"), "ws://localhost/feed")
    assert.strictEqual(text("unix://run/a.sock"), "it needs an absolute path, after three slashes")
    assert.strictEqual(text("tcp://localhost"), "it needs a host and a port")
    assert.strictEqual(text("wss://me:secret@localhost"), "a name or a password in it would be written to logs")
    assert.strictEqual(text("http://localhost"), "its protocol is http:")
    assert.strictEqual(text("over there"), "it is not a URL")
  })

  it.live("that is secure needs a certificate, and no other has one", () =>
    Effect.gen(function*() {
      const build = (options: SocketDevices.ListenOptions) =>
        Effect.flip(Layer.build(SocketDevices.layerListen(options)))
      assert.match((yield* build({ url: "tls://127.0.0.1:1" })).message, /it needs `tls`/)
      const tls = { cert: "", key: "" }
      assert.match((yield* build({ url: "unix:///tmp/x", tls })).message, /`tls` is for addresses that are secure/)
    }))

  it.live("may come from a Config", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["numbers"] })
      const env = { FEED_DEVICES: `${device}=tcp://127.0.0.1:${port}` }
      const live = SocketDevices.layer(Config.Record(Schema.String, Schema.String, "FEED_DEVICES"))
      const provider = ConfigProvider.layer(ConfigProvider.fromEnv({ env }))
      const ledger = yield* feed(10).pipe(Effect.provide(Layer.provide(live, provider)))
      assert.strictEqual(ledger.delivered, 10)
      yield* consumer.exited
    }))
})

describe("a Unix socket", () => {
  it.live("that was left by a consumer that was killed is taken over, one in use is not", () =>
    Effect.gen(function*() {
      const path = Path.join(Os.tmpdir(), `effect-feeder-stale-${process.pid}.sock`)
      const url = `unix://${path}`
      const settings = { port: 0, url, feeds: ["numbers"] } as const
      const first = yield* startConsumer(settings)
      const rival = yield* startBadConsumer(settings)
      assert.strictEqual((yield* rival.exited).code, 1)
      assert.match(rival.all("Failed")[0]?.message ?? "", /cannot listen at unix:.*EADDRINUSE/)
      yield* first.signal("SIGKILL")
      yield* first.exited
      assert.isTrue(Fs.existsSync(path))
      const second = yield* startConsumer(settings)
      const ledger = yield* feed(100).pipe(Effect.provide([SocketDevices.layer({ [device]: url }), quiet]))
      assert.strictEqual(ledger.delivered, 100)
      yield* second.exited
      assert.strictEqual(handed([second]).length, 100)
      assert.isFalse(Fs.existsSync(path))
    }))

  it.live("is not taken from a file that is none", () =>
    Effect.gen(function*() {
      const path = Path.join(Os.tmpdir(), `effect-feeder-file-${process.pid}`)
      yield* Effect.acquireRelease(
        Effect.sync(() => Fs.writeFileSync(path, "precious")),
        () => Effect.sync(() => Fs.unlinkSync(path))
      )
      const error = yield* Effect.flip(Layer.build(SocketDevices.layerListen({ url: `unix://${path}` })))
      assert.match(error.message, /cannot listen/)
      assert.strictEqual(Fs.readFileSync(path, "utf8"), "precious")
    }))
})

describe("a WebSocket", () => {
  const knock = (url: string, origin?: string) =>
    Effect.callback<string>((resume) => {
      const socket = new WebSocket(url, "effect-feeder", origin === undefined ? {} : { origin })
      socket.once("open", () => {
        socket.terminate()
        resume(Effect.succeed("open"))
      })
      socket.once("error", ({ message }) => resume(Effect.succeed(message)))
    })

  it.live("is refused to pages that are not listed, and to all where anyone is let in", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* freePort, yield* freePort]
      const [open, listed] = [`ws://127.0.0.1:${one}/`, `ws://127.0.0.1:${two}/`]
      yield* Layer.build(Layer.provide(SocketDevices.layerListen({ url: open }), quiet))
      const origins = ["https://app.example"]
      yield* Layer.build(Layer.provide(SocketDevices.layerListen({ url: listed, origins }), quiet))
      assert.strictEqual(yield* knock(open), "open")
      assert.match(yield* knock(open, "https://app.example"), /403/)
      assert.match(yield* knock(listed, "https://evil.example"), /403/)
      assert.strictEqual(yield* knock(listed, "https://app.example"), "open")
    }))

  it.live("needs a package that may be missing", () =>
    Effect.gen(function*() {
      vi.resetModules()
      vi.doMock("ws", () => {
        throw new Error("Cannot find package 'ws'")
      })
      const fresh = yield* Effect.promise(() => import("../../src/layers/SocketDevices.ts"))
      const error = yield* Effect.flip(Layer.build(fresh.layer({ [device]: "ws://127.0.0.1:1" })))
      assert.match(error.message, /needs the package "ws", which is not installed; run `npm install ws`/)
      vi.doUnmock("ws")
      vi.resetModules()
    }))
})

// -----------------------------------------------------------------------------
// the DNS
// -----------------------------------------------------------------------------

const labels = (name: string) =>
  Buffer.concat([
    ...name.split(".").map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.from([0])
  ])

/** A DNS server that answers every question for SRV with the same records, which may be changed, or not at all. */
const dnsServer = Effect.acquireRelease(
  Effect.callback<{ readonly address: string; readonly records: Array<number>; code: number; asked: number }>(
    (resume) => {
      const socket = Dgram.createSocket("udp4")
      const state = { address: "", records: new Array<number>(), code: 0, asked: 0, socket }
      socket.on("message", (question, { address, port }) => {
        state.asked++
        const end = question.indexOf(0, 12) + 5
        const answers = state.records.map((target) => {
          const name = labels("localhost")
          const data = Buffer.concat([Buffer.from([0, 0, 0, 0, target >> 8, target & 255]), name])
          return Buffer.concat([
            Buffer.from([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 0, 0, data.length]),
            data
          ])
        })
        const head = Buffer.from(question.subarray(0, 12))
        head.writeUInt16BE(0x8180 | state.code, 2)
        head.writeUInt16BE(answers.length, 6)
        head.writeUInt32BE(0, 8)
        socket.send(Buffer.concat([head, question.subarray(12, end), ...answers]), port, address)
      })
      socket.bind(0, "127.0.0.1", () => {
        state.address = `127.0.0.1:${socket.address().port}`
        resume(Effect.succeed(state))
      })
    }
  ),
  (state) =>
    Effect.callback<void>((resume) => {
      if (!("socket" in state) || !(state.socket instanceof Dgram.Socket)) return resume(Effect.void)
      state.socket.close(() => resume(Effect.void))
    })
)

describe("the DNS", () => {
  it.live("tells the devices, and is asked again: they come, go and move", () =>
    Effect.gen(function*() {
      const server = yield* dnsServer
      const ports = [yield* freePort, yield* freePort, yield* freePort].toSorted((a, b) => a - b)
      const [a, b] = yield* Effect.forEach(ports.slice(0, 2), (port) =>
        startConsumer({ port, feeds: ["numbers"], millis: 5 }), { concurrency: "unbounded" })
      server.records.push(ports[0]!, ports[1]!)
      const dns = SocketDevices.dns({
        srv: "_feed._tcp.consumers.test",
        job: "consumer",
        every: "200 millis",
        servers: [server.address]
      })
      const context = yield* Layer.build(Layer.provide(SocketDevices.layer(dns), quiet))
      const made = yield* Feeder.make(Numbers, { lease: 1000, tolerate: patient })
      let isOver = false
      const source = function*() {
        for (let i = 0; !isOver; i++) {
          yield i
        }
      }
      const feeder = yield* made.set(source())
      yield* Effect.provide(feeder.addRemoteDevices("all"), context)
      const run = yield* Effect.forkScoped(feeder.run)
      const all = [a!, b!]
      yield* Effect.forEach(all, (consumer) =>
        consumer.printed("Handed", 20))
      const devices = Effect.map(feeder.status, ({ devices }) =>
        devices.map(({ device }) => device).toSorted())
      assert.deepStrictEqual(yield* devices, [device, "/job:consumer/replica:1"])
      // A server that fails takes nobody away.
      server.code = 2
      yield* Effect.sleep("600 millis")
      assert.strictEqual((yield* devices).length, 2)
      // The second dies, and comes back elsewhere: under its number, if that is free by then.
      yield* b!.signal("SIGKILL")
      yield* b!.exited
      server.code = 0
      server.records.splice(1, 1, ports[2]!)
      const c = yield* startConsumer({ port: ports[2]!, feeds: ["numbers"], millis: 5 })
      yield* c.printed("Handed", 20)
      // One that is gone from the DNS is fed until its lease has ended.
      const moved = yield* Stream.runHead(Stream.filter(feeder.changes, ({ devices }) => devices.length === 2))
      assert.isTrue(Option.isSome(moved))
      assert.strictEqual((yield* devices)[0], device)
      isOver = true
      const ledger = yield* Fiber.join(run)
      assert.deepInclude(ledger, { lost: 0, leased: 0, queued: 0, delivered: ledger.generated })
      yield* Effect.forEach([a!, c], (consumer) => consumer.exited)
      const seen = new Set(handed([a!, b!, c]).map(({ ordinal }) => ordinal))
      assert.strictEqual(seen.size, ledger.generated)
    }).pipe(Effect.provide(quiet)))

  it.live("that has none is asked again", () =>
    Effect.gen(function*() {
      const server = yield* dnsServer
      server.code = 3
      const port = yield* freePort
      const consumer = yield* startConsumer({ port, feeds: ["numbers"] })
      const dns = SocketDevices.dns({
        srv: "_feed._tcp.test",
        job: "consumer",
        every: "1 hour",
        servers: [server.address]
      })
      const fiber = yield* feed(50).pipe(Effect.provide([SocketDevices.layer(dns), quiet]), Effect.forkScoped)
      yield* Effect.sleep("100 millis")
      server.code = 0
      server.records.push(port)
      assert.strictEqual((yield* Fiber.join(fiber)).delivered, 50)
      assert.isAbove(server.asked, 1)
      yield* consumer.exited
    }))
})
