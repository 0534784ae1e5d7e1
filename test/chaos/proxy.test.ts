import { assert, it } from "@effect/vitest"
import { Effect, Iterable, type Scope } from "effect"
import * as Net from "node:net"
import { until } from "../fixtures/processes.ts"
import * as Plan from "./plan.ts"
import * as Proxy from "./proxy.ts"

/** A server, a proxy before it, and a connection through it; what arrived, and how the connection ended. */
const connect: Effect.Effect<
  {
    readonly proxy: Proxy.Proxy
    readonly client: Net.Socket
    readonly received: () => string
    readonly error: () => string
  },
  never,
  Scope.Scope
> = Effect.gen(function*() {
  const port = yield* Proxy.freePort
  let received = ""
  let error = ""
  const server = Net.createServer((socket) => {
    socket.on("data", (bytes) => received += bytes.toString()).on("error", () => {})
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(port, "127.0.0.1", () => resume(Effect.void))),
    () => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
  )
  const proxy = yield* Proxy.make(port)
  const client = yield* Effect.acquireRelease(
    Effect.sync(() =>
      Net.connect(proxy.port, "127.0.0.1").on("error", (cause) => error = String(Reflect.get(cause, "code")))
    ),
    (socket) => Effect.sync(() => socket.destroy())
  )
  return { proxy, client, received: () => received, error: () => error }
})

it.live("a proxy resets in the middle of what is sent", () =>
  Effect.gen(function*() {
    const { client, error, proxy, received } = yield* connect
    proxy.resetAfter(5)
    client.write("abcdefgh")
    yield* until("it was reset", () => client.destroyed)
    assert.strictEqual(error(), "ECONNRESET")
    assert.isTrue("abcde".startsWith(received()))
    assert.strictEqual(proxy.resets(), 1)
  }))

it.live("what came through before a reset is the beginning of what was sent, without a hole", () =>
  Effect.forEach([0, 1, 20_000, 100_000, 300_000], (bytes) =>
    Effect.scoped(Effect.gen(function*() {
      const { client, proxy, received } = yield* connect
      const sent = Array.from({ length: 100_000 }, (_, i) => String(i).padStart(8)).join("")
      client.write("x")
      yield* until("it was connected", () => received() === "x")
      // The first piece waits for a while, and others behind it.
      proxy.delay(20)
      client.write(sent)
      yield* Effect.sleep(5)
      proxy.delay(0)
      proxy.resetAfter(bytes)
      yield* until("it was reset", () => client.destroyed)
      yield* Effect.sleep(20)
      assert.isTrue(`x${sent}`.startsWith(received()), `there is a hole before ${received().length} bytes`)
    })), { discard: true }))

it.live("a proxy holds back what is sent until it is thawed, in order", () =>
  Effect.gen(function*() {
    const { client, proxy, received } = yield* connect
    client.write("a")
    yield* until("the first arrived", () => received() === "a")
    proxy.freeze()
    client.write("b")
    yield* Effect.sleep(30)
    assert.strictEqual(received(), "a")
    proxy.delay(10)
    proxy.thaw()
    client.write("c")
    yield* until("all arrived", () => received() === "abc")
  }))

it.live("a proxy leaves nothing open of a connection that it resets while it ends", () =>
  Effect.gen(function*() {
    const { client, proxy, received } = yield* connect
    client.write("a")
    yield* until("it arrived", () => received() === "a")
    proxy.freeze()
    client.end()
    yield* Effect.sleep(20)
    proxy.thaw()
    // The end is being told to the server.
    yield* Effect.callback<void>((resume) => process.nextTick(() => resume(Effect.void)))
    yield* proxy.close
    yield* until("nothing is left open", () => !process.getActiveResourcesInfo().includes("TCPSocketWrap"))
  }))

it.live("a proxy refuses while it is closed, at the port that it has again when it is open", () =>
  Effect.gen(function*() {
    const { client, proxy } = yield* connect
    yield* until("it was connected", () => client.readyState === "open")
    yield* proxy.close
    yield* until("the connection was reset", () => client.destroyed)
    const dial = Effect.callback<string>((resume) => {
      const socket = Net.connect(proxy.port, "127.0.0.1", () => {
        socket.destroy()
        resume(Effect.succeed("connected"))
      }).on("error", (cause) => resume(Effect.succeed(String(Reflect.get(cause, "code")))))
    })
    assert.strictEqual(yield* dial, "ECONNREFUSED")
    yield* proxy.open
    assert.strictEqual(yield* dial, "connected")
  }))

it("a seed decides the faults, of the kinds that are asked for", () => {
  const take = (seed: number, kinds: ReadonlyArray<Plan.FaultKind>) =>
    Array.from(Iterable.take(Plan.faults({ seed, devices: 3, leaseMillis: 100, kinds }), 50))
  assert.deepStrictEqual(take(7, Plan.faultKinds), take(7, Plan.faultKinds))
  assert.notDeepEqual(take(7, Plan.faultKinds), take(8, Plan.faultKinds))
  assert.deepStrictEqual(new Set(take(7, ["kill", "reset"]).map(({ kind }) => kind)), new Set(["kill", "reset"]))
  assert.deepStrictEqual(take(7, []), [])
})
