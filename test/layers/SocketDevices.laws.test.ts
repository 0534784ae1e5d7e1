/**
 * The laws of feeding for each way of linking by sockets, whichever side dials.
 */
import { it } from "@effect/vitest"
import { Effect, Layer, Logger, Redacted, Schedule } from "effect"
import { Credentials } from "effect-feeder"
import * as SocketDevices from "effect-feeder/layers/SocketDevices"
import { FeedingLaws } from "effect-feeder/testing"
import * as Os from "node:os"
import * as Path from "node:path"
import { ca, identity } from "../fixtures/identities.ts"
import { freePort } from "../fixtures/processes.ts"

const devices = ["/job:consumer/replica:0", "/job:consumer/replica:1"] as const

const quiet = Logger.layer([])

const socketPath = (name: string) => Path.join(Os.tmpdir(), `effect-feeder-laws-${process.pid}-${name}.sock`)

const addresses = (of: (device: string, replica: number) => string) =>
  Object.fromEntries(devices.map((device, replica) => [device, of(device, replica)]))

/** The feeder dials. */
const dialled = (name: string, urls: Readonly<Record<string, string>>, tls?: SocketDevices.HostTls) =>
  FeedingLaws.suite(name, it, {
    devices,
    layer: SocketDevices.layer(urls, tls === undefined ? {} : { tls: { ca } }),
    host: (device) =>
      SocketDevices.layerHost({ feeds: FeedingLaws.feeds, device, url: urls[device] ?? "", tls }).pipe(
        Layer.provide(quiet)
      )
  })

/** The devices dial. */
const dialIn = (
  name: string,
  url: string,
  options: SocketDevices.Options & { readonly host?: SocketDevices.HostTls }
) =>
  FeedingLaws.suite(name, it, {
    devices,
    layer: SocketDevices.layerListen({ url, tls: options.host }).pipe(
      Layer.provide([
        quiet,
        options.credential === undefined ? Layer.empty : Credentials.layerSecret(options.credential)
      ])
    ),
    host: (device) =>
      SocketDevices.layerDial({
        feeds: FeedingLaws.feeds,
        device,
        url,
        reconnect: Schedule.spaced("10 millis"),
        credential: options.credential,
        tls: options.tls
      }).pipe(Layer.provide(quiet)),
    claims: { gone: false }
  })

const [one, two, three, four, five] = await Effect.runPromise(
  Effect.forEach([1, 2, 3, 4, 5], () => freePort)
)

dialled("unix", addresses((_, replica) => `unix://${socketPath(`host-${replica}`)}`))
dialled("ws", addresses((_, replica) => `ws://127.0.0.1:${replica === 0 ? one : two}/feed`))
dialIn("dial-in over tcp", `tcp://127.0.0.1:${three}`, {})
dialIn("dial-in over unix", `unix://${socketPath("feeder")}`, { credential: Redacted.make("a long random text") })
dialIn("dial-in over tls", `tls://127.0.0.1:${four}`, {
  credential: Redacted.make("a long random text"),
  host: identity("host"),
  tls: { ca }
})
dialIn("dial-in over wss", `wss://127.0.0.1:${five}`, { host: identity("host"), tls: { ca } })
