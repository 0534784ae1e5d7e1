/**
 * A proxy in front of a device, which can do to its connections what networks do.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"

export interface Proxy {
  readonly port: number
  /** Resets all connections when so many more bytes have gone through, in the middle of a frame or not. */
  readonly resetAfter: (bytes: number) => void
  /** Forwards nothing, though connections stay open and new ones are accepted, until it is thawed. */
  readonly freeze: () => void
  readonly thaw: () => void
  /** Every piece takes so long, with as much again by chance; 0 for none. */
  readonly delay: (millis: number) => void
  /** Forwards at most so many bytes a second each way; `Infinity` for no limit. */
  readonly throttle: (bytesPerSecond: number) => void
  /** Refuses connections, and resets those there are. */
  readonly close: Effect.Effect<void>
  readonly open: Effect.Effect<void>
  /** How often it has reset connections because it was told to. */
  readonly resets: () => number
}

const host = "127.0.0.1"

const listen = (server: Net.Server, port: number): Effect.Effect<number> =>
  Effect.callback<number>((resume) => {
    const fail = (error: Error) => resume(Effect.die(error))
    server.once("error", fail)
    server.listen(port, host, () => {
      server.off("error", fail)
      const address = server.address()
      resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : port))
    })
  })

const end = (server: Net.Server): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
  })

/** A port where nobody listened a moment ago. */
export const freePort: Effect.Effect<number> = Effect.suspend(() => {
  const server = Net.createServer()
  return Effect.tap(listen(server, 0), () => end(server))
})

/**
 * Resets a connection. Node never closes one that is reset while its end is being told, and then turns in circles when its
 * process is to end.
 */
const resetOne = (socket: Net.Socket): void => void (socket.writableEnded ? socket.destroy() : socket.resetAndDestroy())

export const make = (target: number): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.gen(function*() {
    const sockets = new Set<Net.Socket>()
    let isFrozen = false
    let delayMillis = 0
    let bytesPerSecond = Infinity
    let left: number | undefined
    /** What comes before the reset that is due goes nowhere: behind what was cut there would be a hole. */
    let isCut = false
    let resets = 0
    let waiting: Array<() => void> = []

    const reset = () => {
      isCut = false
      for (const socket of sockets) resetOne(socket)
      sockets.clear()
    }
    const whenThawed = (go: () => void): void => {
      if (isFrozen) waiting.push(go)
      else go()
    }
    /** What goes through before the reset that is due, if one is. */
    const cut = (piece: Buffer): Buffer => {
      if (left === undefined || piece.length < left) {
        if (left !== undefined) left -= piece.length
        return piece
      }
      const through = piece.subarray(0, left)
      left = undefined
      isCut = true
      resets++
      setImmediate(reset)
      return through
    }
    const forward = (piece: Buffer, to: Net.Socket, done: () => void): void =>
      whenThawed(() => {
        if (to.destroyed || isCut) return
        if (to.write(cut(piece))) done()
        else to.once("drain", done)
      })
    const pipe = (from: Net.Socket, to: Net.Socket) => {
      sockets.add(from)
      from.on("data", (piece: Buffer) => {
        // One piece after the other, so that they stay in order.
        from.pause()
        const millis = delayMillis * (1 + Math.random()) + piece.length / bytesPerSecond * 1000
        const go = () => forward(piece, to, () => from.resume())
        if (millis < 1) go()
        else setTimeout(go, millis)
      })
      from.on("error", () => {})
      from.on("end", () => whenThawed(() => to.end()))
      from.on("close", (hadError) => {
        sockets.delete(from)
        whenThawed(() => hadError ? resetOne(to) : to.destroySoon())
      })
    }
    const server = Net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
      const far = Net.connect({ port: target, host, allowHalfOpen: true, noDelay: true })
      pipe(near, far)
      pipe(far, near)
    })
    const close = Effect.suspend(() => {
      reset()
      return server.listening ? end(server) : Effect.void
    })
    const port = yield* Effect.acquireRelease(listen(server, 0), () => close)
    return {
      port,
      resetAfter: (bytes) => {
        left = bytes
      },
      freeze: () => {
        isFrozen = true
      },
      thaw: () => {
        isFrozen = false
        const ready = waiting
        waiting = []
        for (const go of ready) go()
      },
      delay: (millis) => {
        delayMillis = millis
      },
      throttle: (limit) => {
        bytesPerSecond = limit
      },
      close,
      open: Effect.suspend(() => server.listening ? Effect.void : Effect.asVoid(listen(server, port))),
      resets: () => resets
    }
  })
