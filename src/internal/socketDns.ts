/**
 * Devices by the records of the DNS, looked up again and again.
 */
import type * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Dns from "node:dns/promises"
import * as Members from "./members.ts"
import type { Address } from "./socketAddress.ts"
import { net } from "./socketAddress.ts"
import { codeOf } from "./socketDial.ts"
import type { Directory } from "./socketDirectory.ts"

/** What is looked up: names of services, or all addresses of a host. */
export type Query =
  | { readonly srv: string; readonly host?: undefined; readonly port?: undefined }
  | { readonly host: string; readonly port: number; readonly srv?: undefined }

/** How the DNS is asked. */
export interface DnsConfig {
  readonly query: Query
  readonly job: string
  readonly isSecure: boolean
  readonly every: Duration.Duration
  readonly servers: ReadonlyArray<string> | undefined
}

/** How long one look may take, and how soon the next may follow when a device cannot be reached. */
const lookTime = 5000
const soonest = "1 second"

/** That there is none of the name is an answer: a service without a consumer. */
const isNone = (cause: unknown): boolean => {
  const code = codeOf(cause)
  return code === "ENOTFOUND" || code === "ENODATA"
}

/**
 * Looks up the devices, and again while the scope is open. Each address has a replica's number of its own: one that is
 * new has the lowest whose address is gone and has no link left.
 */
export const look = (config: DnsConfig): Effect.Effect<Directory, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { isSecure, job, query } = config
    const members = Members.make()
    const addresses: Array<Address | undefined> = []
    const links = new Map<string, number>()
    const wake = Latch.makeUnsafe(false)
    const resolver = new Dns.Resolver({ timeout: lookTime, tries: 1 })
    if (config.servers !== undefined) resolver.setServers(config.servers)
    const nameOf = (replica: number) => `/job:${job}/replica:${replica}`

    const orNone = <A>(records: () => Promise<ReadonlyArray<A>>): Effect.Effect<ReadonlyArray<A>, Cause.UnknownError> =>
      Effect.catch(
        Effect.tryPromise(records),
        (error) => isNone(error.cause) ? Effect.succeed([]) : Effect.fail(error)
      )

    const found: Effect.Effect<ReadonlyArray<Address>, Cause.UnknownError> = query.srv === undefined
      ? Effect.map(
        Effect.all([orNone(() => resolver.resolve4(query.host)), orNone(() => resolver.resolve6(query.host))], {
          concurrency: "unbounded"
        }),
        ([four, six]) => [...four, ...six].map((host) => net(host, query.port, isSecure))
      )
      : Effect.map(
        orNone(() => resolver.resolveSrv(query.srv)),
        (records) => records.map(({ name, port }) => net(name, port, isSecure))
      )

    const assign = (now: ReadonlyArray<Address>): void => {
      const texts = new Set(now.map(({ text }) => text))
      addresses.forEach((address, replica) => {
        if (address === undefined || texts.has(address.text)) return
        addresses[replica] = undefined
        members.deleteUnsafe(nameOf(replica))
      })
      const known = new Set(addresses.flatMap((address) => address === undefined ? [] : [address.text]))
      const fresh = now.filter(({ text }) => !known.has(text)).toSorted((a, b) => a.text < b.text ? -1 : 1)
      for (const address of fresh) {
        let replica = 0
        while (addresses[replica] !== undefined || links.has(nameOf(replica))) replica++
        addresses[replica] = address
        members.setUnsafe(nameOf(replica), undefined)
      }
    }

    const what = query.srv ?? query.host
    const once = Effect.matchEffect(found, {
      onSuccess: (now) => Effect.sync(() => assign(now)),
      // What was known may well be so still.
      onFailure: ({ cause }) => Effect.logWarning(`the DNS does not tell the devices at ${what}: ${String(cause)}`)
    })
    yield* Effect.addFinalizer(() => Effect.sync(() => resolver.cancel()))
    yield* once
    const again = Effect.gen(function*() {
      wake.closeUnsafe()
      yield* Effect.raceFirst(Effect.sleep(config.every), Effect.andThen(Effect.sleep(soonest), wake.await))
      yield* once
    })
    yield* Effect.forkScoped(Effect.forever(again))

    return {
      find: (device) => addresses.find((_, replica) => nameOf(replica) === device),
      mayChange: true,
      members,
      linked: (device) => links.set(device, (links.get(device) ?? 0) + 1),
      unlinked: (device) => {
        const left = (links.get(device) ?? 0) - 1
        if (left > 0) links.set(device, left)
        else links.delete(device)
      },
      failed: () => wake.openUnsafe()
    }
  })
