import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Net from "node:net"
import * as timers from "node:timers"
import { promisify } from "node:util"
import { Worker } from "node:worker_threads"
import { assertNoneLeft, watch } from "./leaks.ts"

/** Tells the left things with these words, one for each, and nothing of what was started and ended. */
const tells = async <A>(start: () => A | Promise<A>, end: (started: A) => unknown, ...words: ReadonlyArray<string>) => {
  // Nothing here ends by itself, so nothing is waited for.
  const left = watch(20)
  const started = await start()
  const found = await left()
  await end(started)
  assert.strictEqual(found.length, words.length, found.join("\n"))
  for (const [i, text] of words.entries()) assert.include(found[i], text)
  const again = watch()
  await end(await start())
  assert.deepStrictEqual(await again(), [])
}

const listening = async () => {
  const server = Net.createServer()
  await once(server.listen(0, "127.0.0.1"), "listening")
  return server
}

const connected = async (server: Net.Server) => {
  const accepted = once(server, "connection")
  const socket = Net.connect((server.address() as Net.AddressInfo).port, "127.0.0.1")
  const [peer] = await accepted as [Net.Socket]
  return [socket, peer] as const
}

const interrupt = (fiber: Fiber.Fiber<unknown, unknown>) => Effect.runPromise(Fiber.interrupt(fiber))

describe("what is left is told", () => {
  it("a fiber run from an empty context", () => tells(() => Effect.runFork(Effect.never), interrupt, "fiber #"))

  it("a fiber, with the code it would go on with", () =>
    tells(
      () => Effect.runFork(Effect.flatMap(Effect.never, () => Stream.runDrain(Stream.empty))),
      interrupt,
      "then () => Stream.runDrain(Stream.empty)"
    ))

  it("a fiber that outlives the one that forked it", () =>
    tells(() => Effect.runPromise(Effect.forkDetach(Effect.never)), interrupt, "fiber #"))

  it("a fiber that ignores its interruption", async () => {
    const gate = Deferred.makeUnsafe<void>()
    const left = watch()
    const fiber = Effect.runFork(Effect.onInterrupt(Effect.never, () => Deferred.await(gate)))
    fiber.interruptUnsafe()
    assert.lengthOf(await left(), 1)
    Deferred.doneUnsafe(gate, Effect.void)
    await Effect.runPromise(Fiber.await(fiber))
  })

  it("a sleeping fiber and its timer", () =>
    tells(() => Effect.runFork(Effect.sleep("1 hour")), interrupt, "fiber #", "a timer of 3600000 ms"))

  it("a timer, and where it was set", () =>
    tells(() => setTimeout(() => {}, 60_000), clearTimeout, "test/leaks.test.ts"))

  it("a timer that lets the process end", () =>
    tells(() => setTimeout(() => {}, 60_000).unref(), clearTimeout, "a timer of 60000 ms"))

  it("a timer of node:timers", () => tells(() => timers.setTimeout(() => {}, 60_000), clearTimeout, "a timer of 60000"))

  it("a timer that repeats", () => tells(() => setInterval(() => {}, 1), clearInterval, "a timer of 1 ms"))

  it("a server", () => tells(listening, (server) => server.close(), "a server"))

  it("both ends of a socket", async () => {
    const server = await listening()
    await tells(
      () => connected(server),
      (ends) => {
        for (const end of ends) end.destroy()
      },
      "a socket",
      "a socket"
    )
    server.close()
  })

  it("a worker thread", () =>
    tells(
      async () => {
        const worker = new Worker("require('node:worker_threads').parentPort.on('message', () => {})", { eval: true })
        await once(worker, "online")
        return worker
      },
      (worker) => worker.terminate(),
      "a worker thread"
    ))

  it("a child process", () =>
    tells(
      () => spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" }),
      (child) => {
        child.kill("SIGKILL")
        return once(child, "exit")
      },
      "a child process with the id"
    ))

  for (const add of ["on", "once"] as const) {
    it(`a listener of process, by ${add}`, () =>
      tells(
        () => {
          const leave = () => assert.fail("it was told to leave")
          process[add]("SIGTERM", leave)
          return leave
        },
        (leave) => process.off("SIGTERM", leave),
        "a listener of process for SIGTERM is left:\n    () => assert.fail(\"it was told to leave\")"
      ))
  }

  it("the same listener, once more than before", async () => {
    const leave = () => {}
    process.on("SIGTERM", leave)
    await tells(() => void process.on("SIGTERM", leave), () => process.off("SIGTERM", leave), "SIGTERM")
    process.off("SIGTERM", leave)
  })
})

describe("what is not left is not told", () => {
  it("what was there before", async () => {
    const fiber = Effect.runFork(Effect.sleep("1 hour"))
    assert.deepStrictEqual(await watch()(), [])
    await interrupt(fiber)
  })

  it("what ends within a few turns", async () => {
    const left = watch()
    Effect.runFork(Effect.forEach([1, 2, 3, 4, 5], () => Effect.promise(() => new Promise(setImmediate))))
    assert.deepStrictEqual(await left(), [])
  })

  it("what was told once", async () => {
    const file = watch()
    const test = watch()
    const fiber = Effect.runFork(Effect.never)
    assert.lengthOf(await test(), 1)
    assert.deepStrictEqual(await file(), [])
    await interrupt(fiber)
  })

  it("a timer that has fired, promised too", async () => {
    const left = watch()
    await promisify(setTimeout)(1)
    assert.deepStrictEqual(await left(), [])
  })
})

it("a test fails with what it left", async () => {
  const left = watch()
  // One of its own each time, since what was told is not told again.
  const leave = () => assert.fail("it was told to leave")
  process.on("SIGUSR2", leave)
  const error: unknown = await assertNoneLeft(left, "this test").catch((error: unknown) => error)
  process.off("SIGUSR2", leave)
  assert.instanceOf(error, Error)
  assert.include(
    error.message,
    "1 left after this test, which should end or close all that it starts:\n" +
      "- a listener of process for SIGUSR2 is left:\n    () => assert.fail(\"it was told to leave\")"
  )
})

describe("the setup", () => {
  // Vitest makes such a test pass only if it fails, which it does in its hooks alone.
  it.fails("fails a test that leaves a fiber", () => void Effect.runFork(Effect.never))
  it.effect.fails("fails a test of Effect that leaves a fiber", () => Effect.forkDetach(Effect.never))
})
