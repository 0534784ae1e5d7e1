/**
 * WebSockets in Node, by the package `ws`.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import type * as Net from "node:net"
import type { Duplex } from "node:stream"
import type * as Tls from "node:tls"
import type * as Ws from "ws"
import { PackageMissing } from "./socketErrors.ts"
import { fromDuplex } from "./socketNet.ts"
import type { Open } from "./socketWire.ts"
import { messageBytes, messagesOf } from "./socketWire.ts"

/** Which protocol is spoken within. */
const subprotocol = "effect-feeder"

type Library = typeof Ws

/** The package, if it is there. */
export const load: Effect.Effect<Library, PackageMissing> = Effect.tryPromise({
  try: () => import("ws"),
  catch: (cause) => new PackageMissing({ package: "ws", why: `an address that begins with "ws://" or "wss://"`, cause })
})

const options = { perMessageDeflate: false, maxPayload: 4 * messageBytes, skipUTF8Validation: true } as const

/** Makes a WebSocket of a connection, unless it ends before or asks for something else. */
export type Upgrade = (socket: Net.Socket) => Effect.Effect<Duplex | undefined>

/**
 * How a listener makes WebSockets. A page of a browser may only come from one of `origins`; when there are none, from
 * anywhere if `hasCredentials`, and else no page may come: any that the user looks at could reach this machine.
 */
export const makeUpgrade = (settings: {
  readonly origins: ReadonlyArray<string> | undefined
  readonly hasCredentials: boolean
}): Effect.Effect<Upgrade, PackageMissing> =>
  Effect.map(load, ({ WebSocketServer, createWebSocketStream }): Upgrade => {
    // Neither listens itself: connections are given to them.
    const http = Http.createServer((_, response) => {
      response.writeHead(426, { Connection: "close", Upgrade: "websocket" }).end()
    })
    const sockets = new WebSocketServer({ ...options, noServer: true, clientTracking: false })
    const { hasCredentials, origins } = settings
    const mayCome = (origin: string | undefined) =>
      origin === undefined || (origins === undefined ? hasCredentials : origins.includes(origin))
    const waiting = new Map<Duplex, (duplex: Duplex | undefined) => void>()
    http.on("upgrade", (request, socket, head) => {
      const done = waiting.get(socket)
      if (done === undefined || !mayCome(request.headers.origin)) {
        socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n")
        return done?.(undefined)
      }
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        const duplex = createWebSocketStream(webSocket)
        duplex.on("error", () => {})
        done(duplex.pause())
      })
    })
    return (socket) =>
      Effect.callback<Duplex | undefined>((resume) => {
        const onClose = () => done(undefined)
        const done = (duplex: Duplex | undefined) => {
          waiting.delete(socket)
          socket.off("close", onClose)
          resume(Effect.succeed(duplex))
        }
        waiting.set(socket, done)
        socket.once("close", onClose)
        http.emit("connection", socket)
        socket.resume()
        return Effect.sync(() => {
          waiting.delete(socket)
          socket.off("close", onClose)
        })
      })
  })

/** Dials a WebSocket. The wire opens when the peer has accepted it. */
export const dial = (
  library: Library,
  url: string,
  tls: { readonly context: Tls.SecureContext; readonly servername: string | undefined }
): Open =>
(limits) =>
  Effect.gen(function*() {
    const duplex = yield* connect(library, url, tls)
    return yield* fromDuplex(duplex, messagesOf)(limits)
  })

const connect = (
  { WebSocket, createWebSocketStream }: Library,
  url: string,
  { context, servername }: { readonly context: Tls.SecureContext; readonly servername: string | undefined }
): Effect.Effect<Duplex, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const [webSocket, duplex] = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const secure: Tls.ConnectionOptions = {
          secureContext: context,
          rejectUnauthorized: true,
          ...(servername === undefined ? {} : { servername })
        }
        const webSocket = new WebSocket(url, subprotocol, { ...options, ...secure })
        const duplex = createWebSocketStream(webSocket)
        duplex.on("error", () => {})
        return [webSocket, duplex] as const
      }),
      ([webSocket, duplex]) =>
        Effect.sync(() => {
          if (webSocket.readyState === WebSocket.CONNECTING) duplex.destroy()
          else duplex.end()
          // It is closed soon whatever the peer does.
          duplex.resume()
        })
    )
    yield* Effect.callback<void, unknown>((resume) => {
      webSocket.once("error", (cause) => resume(Effect.fail(cause)))
      webSocket.once("open", () => resume(Effect.void))
    })
    return duplex
  })
