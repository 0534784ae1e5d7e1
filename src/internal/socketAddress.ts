/**
 * Addresses of sockets, as URLs.
 */
import * as Result from "effect/Result"

/** Where somebody listens. `text` is its canonical form, so that two that are the same place are the same text. */
export type Address =
  | {
    readonly _tag: "Net"
    readonly isSecure: boolean
    readonly host: string
    readonly port: number
    readonly text: string
  }
  | { readonly _tag: "Unix"; readonly isSecure: false; readonly path: string; readonly text: string }
  | {
    readonly _tag: "Web"
    readonly isSecure: boolean
    readonly host: string
    readonly port: number
    readonly text: string
  }

/** How addresses are written. */
export const forms = `"tcp://host:port", "tls://host:port", "unix:///path", "ws://host:port" or "wss://host:port"`

/** Without the brackets that a URL has around an address of IPv6. */
const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, "")

/** As it stands in a URL. */
const inUrl = (host: string): string => host.includes(":") ? `[${host}]` : host

/** A place in the network. */
export const net = (host: string, port: number, isSecure: boolean): Address => ({
  _tag: "Net",
  isSecure,
  host,
  port,
  text: `${isSecure ? "tls" : "tcp"}://${inUrl(host)}:${port}`
})

/** A file that is a socket. */
export const unix = (path: string): Address => ({ _tag: "Unix", isSecure: false, path, text: `unix://${path}` })

/** Reads an address, or says what is wrong with it. */
export const parse = (text: string): Result.Result<Address, string> => {
  if (!URL.canParse(text)) return Result.fail("it is not a URL")
  const url = new URL(text)
  switch (url.protocol) {
    case "unix:":
      return url.host === "" && url.pathname.length > 1
        ? Result.succeed(unix(decodeURIComponent(url.pathname)))
        : Result.fail("it needs an absolute path, after three slashes")
    case "tcp:":
    case "tls:":
      return url.port === "" || url.hostname === ""
        ? Result.fail("it needs a host and a port")
        : Result.succeed(net(hostOf(url), Number(url.port), url.protocol === "tls:"))
    case "ws:":
    case "wss:": {
      const isSecure = url.protocol === "wss:"
      const port = url.port === "" ? (isSecure ? 443 : 80) : Number(url.port)
      const { hash, href } = url
      return url.username !== "" || url.password !== ""
        ? Result.fail("a name or a password in it would be written to logs")
        : Result.succeed({
          _tag: "Web",
          isSecure,
          host: hostOf(url),
          port,
          text: href.slice(0, href.length - hash.length)
        })
    }
    default:
      return Result.fail(`its protocol is ${url.protocol}`)
  }
}

const isLoopback = (host: string): boolean => host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host)

/** Whether only this machine can reach it. */
export const isLocal = (address: Address): boolean => address._tag === "Unix" || isLoopback(address.host)
