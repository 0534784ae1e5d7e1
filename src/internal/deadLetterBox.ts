/**
 * Keeps a feeder's dead letters: a fiber writes them to the store, one after the other, and removes them again.
 *
 * An element that is to become a letter is *pending* until the store has it, and is nowhere else meanwhile. A store that
 * cannot be written is tried again until it can.
 */
import * as Arr from "effect/Array"
import * as Bytes from "effect/Bytes"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import type * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { BatchCodec, ElementInvalid } from "../BatchCodec.ts"
import type { DeadLetter, DeadLetters, FeedEnded, Reason } from "../DeadLetters.ts"
import { DeadLettersFailed, DeadLettersFull, LetterUnreadable, Stored } from "../DeadLetters.ts"
import type { Ended, Item } from "./items.ts"

/** An element that is to become a letter. */
export interface Burial<A> extends Ended {
  readonly item: Item<A>
  readonly device: string | undefined
}

/** An element of a letter that is to be fed again. `settledUnsafe` is to be called when it is acknowledged. */
export interface Revived<A> {
  readonly element: A
  readonly id: string | undefined
  readonly attempts: number
  readonly causes: ReadonlyArray<string>
  readonly letter: string
  readonly settledUnsafe: () => void
}

/** The box: see the module. The members that end in `Unsafe` act at once. */
export interface Box<A> {
  readonly letters: DeadLetters<A>
  /** Notes it; `wakeUnsafe` makes the fiber look. */
  readonly buryUnsafe: (burial: Burial<A>) => void
  readonly wakeUnsafe: () => void
  readonly pending: () => number
  readonly lastError: () => string | undefined
  /** Waits until the store has everything. */
  readonly flushed: Effect.Effect<void>
}

/** Those that are dropped by rule make room for each other: of them only the last ones are kept. */
export const isDropped = (reason: Reason): boolean => reason === "overflow" || reason === "at most once"

type Job<A> =
  | { readonly _tag: "Bury"; readonly burial: Burial<A> }
  | { readonly _tag: "Remove"; readonly key: string }

const fromJson = Schema.fromJsonString(Schema.toCodecJson(Stored))
const encode = Schema.encodeEffect(fromJson)
const decode = Schema.decodeUnknownResult(fromJson)

const firstPause = 100
const longestPause = 10_000

/** Makes the box of a feeder; its fiber lives in the scope. */
export const make = <A>(options: {
  readonly feed: string
  readonly feeder: string
  /** Under which its letters are kept: the same in the next life of the feeder. */
  readonly prefix: string
  /** What the names of its letters end with, if others keep letters under the prefix too. */
  readonly suffix: string
  readonly store: KeyValueStore.KeyValueStore
  readonly most: number
  readonly codec: BatchCodec<A, unknown>
  /** The store has it. */
  readonly onBuried: (burial: Burial<A>) => void
  /** No more fit. */
  readonly onFull: (error: DeadLettersFull) => void
  /** Puts an element into the local queue, when there is room. */
  readonly revive: (revived: Revived<A>) => Effect.Effect<void, FeedEnded>
}): Effect.Effect<Box<A>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { codec, feed, feeder, most, prefix, store, suffix } = options
    const clock = yield* Clock.Clock
    const jobs: Array<Job<A>> = []
    /** Letters whose elements are on their way again, or have come and are still to be removed. */
    const revived = new Set<string>()
    /** Letters of this life that make room for others, the oldest first. */
    const dropped: Array<string> = []
    /** One after the other, so that no letter is fed twice. */
    const redriving = Semaphore.makeUnsafe(1)
    const work = Latch.makeUnsafe(false)
    const idle = Latch.makeUnsafe(true)
    let pending = 0
    let lastError: string | undefined
    /** How many letters the store has, and the number of the next; unknown until it was first read. */
    let known: { count: number; next: number } | undefined

    const push = (job: Job<A>): void => {
      jobs.push(job)
      idle.closeUnsafe()
    }

    /** What the store is asked. One that dies is tried again like one that fails. */
    const asked = <B>(key: string, question: Effect.Effect<B, unknown>): Effect.Effect<B, DeadLettersFailed> =>
      question.pipe(
        Effect.catchDefect(Effect.fail),
        Effect.mapError((cause) => new DeadLettersFailed({ feed, key, cause }))
      )

    /** Letters are numbered in the order in which they became such. */
    const number = (key: string): number | undefined => {
      const digits = /^\d{12,}/.exec(key.slice(prefix.length))
      return digits === null ? undefined : Number(digits[0])
    }

    const keysOf = Effect.map(
      asked(prefix, store.keys),
      (keys) => keys.filter((key) => key.startsWith(prefix) && number(key) !== undefined).toSorted()
    )

    const learn = Effect.suspend(() =>
      known !== undefined ? Effect.succeed(known) : Effect.map(keysOf, (keys) => {
        return known = { count: keys.length, next: (number(keys.at(-1) ?? "") ?? 0) + 1 }
      })
    )

    const remove = (key: string): Effect.Effect<void, DeadLettersFailed> =>
      Effect.flatMap(learn, (facts) =>
        Effect.flatMap(asked(key, store.has(key)), (isThere) =>
          Effect.map(isThere ? asked(key, store.remove(key)) : Effect.void, () => {
            if (isThere) {
              facts.count--
            }
            // Until it is removed it is on its way: it is not to be fed once more meanwhile.
            revived.delete(key)
          })))

    const makeRoom: Effect.Effect<void, DeadLettersFailed | DeadLettersFull> = Effect.flatMap(learn, ({ count }) => {
      if (count < most) {
        return Effect.void
      }
      const oldest = dropped.shift()
      return oldest === undefined
        ? Effect.fail(new DeadLettersFull({ most }))
        : Effect.andThen(remove(oldest), makeRoom)
    })

    const letterOf = ({ attempts, causes, device, item, reason }: Burial<A>): typeof Stored.Type => {
      const bytes = Result.try(() =>
        Bytes.concat(codec.encode(codec.fromElements([item.element])))
      )
      const unwritten = Result.isFailure(bytes) ? [`its payload cannot be written: ${String(bytes.failure)}`] : []
      return {
        feed,
        feeder,
        ordinal: item.ordinal,
        ...(item.id === undefined ? {} : { id: item.id }),
        reason,
        attempts,
        causes: [...causes, ...unwritten],
        ...(device === undefined ? {} : { device }),
        at: clock.currentTimeMillisUnsafe(),
        fingerprint: codec.fingerprint,
        payload: Result.getOrElse(bytes, () => new Uint8Array())
      }
    }

    const bury = (burial: Burial<A>): Effect.Effect<void, DeadLettersFailed | DeadLettersFull> =>
      Effect.gen(function*() {
        const again = burial.item.origin?.letter
        if (again === undefined) yield* makeRoom
        const facts = yield* learn
        // One that was a letter before is not written over: a crash would leave neither.
        const key = `${prefix}${String(facts.next).padStart(12, "0")}${suffix}`
        // Everything of a letter is text or a number, and the Schema says so.
        const text = yield* Effect.orDie(encode(letterOf(burial)))
        yield* asked(key, store.set(key, text))
        facts.next++
        facts.count++
        if (isDropped(burial.reason) && Number.isFinite(most)) dropped.push(key)
        // Next, before others that need its room.
        if (again !== undefined) jobs.splice(1, 0, { _tag: "Remove", key: again })
        pending--
        options.onBuried(burial)
      })

    const perform = (job: Job<A>, pause: number): Effect.Effect<void> =>
      Effect.suspend(() => job._tag === "Bury" ? bury(job.burial) : remove(job.key)).pipe(
        Effect.tap(() =>
          Effect.sync(() => {
            lastError = undefined
          })
        ),
        Effect.catch((error) => {
          const isNew = lastError === undefined
          lastError = error.message
          if (error._tag === "DeadLettersFull") options.onFull(error)
          return (isNew ? Effect.logWarning(error.message) : Effect.void).pipe(
            Effect.andThen(Effect.sleep(pause)),
            Effect.andThen(perform(job, Math.min(longestPause, pause * 2)))
          )
        })
      )

    const turn: Effect.Effect<void> = Effect.suspend(() => {
      const job = jobs[0]
      if (job !== undefined) {
        return Effect.flatMap(perform(job, firstPause), () => {
          jobs.shift()
          return turn
        })
      }
      idle.openUnsafe()
      work.closeUnsafe()
      return Effect.flatMap(work.await, () => turn)
    })
    yield* Effect.forkScoped(turn)

    const read = (key: string): Effect.Effect<DeadLetter<A> | undefined, DeadLettersFailed> =>
      Effect.flatMap(asked(key, store.get(key)), (text) => {
        if (text === undefined) return Effect.succeed(undefined)
        const stored = decode(text)
        if (Result.isFailure(stored)) {
          // Torn by a crash in the middle of a write: its element was not settled, and is the feeder's still.
          return Effect.as(Effect.logWarning(`dead letter ${key} was written by half, and is passed over`), undefined)
        }
        const { fingerprint, payload, ...letter } = stored.success
        const element = fingerprint === codec.fingerprint
          ? Result.mapError(codec.decode(payload), (error) => error.message)
          : Result.fail("its element has another layout than the feed has now")
        return Effect.succeed({
          ...letter,
          key,
          element: Result.isSuccess(element) ? Arr.head(element.success.elements) : Option.none(),
          issue: Result.isFailure(element) ? element.failure : undefined,
          isRedriven: revived.has(key)
        })
      })

    const chosen = (keys: Iterable<string> | "all") => keys === "all" ? keysOf : Effect.sync(() => [...keys])

    const redriveOne = (
      letter: DeadLetter<A>,
      correct: ((letter: DeadLetter<A>) => A) | undefined
    ): Effect.Effect<void, LetterUnreadable | ElementInvalid | FeedEnded> => {
      const { key } = letter
      const given = correct === undefined ? letter.element : Option.some(correct(letter))
      if (Option.isNone(given)) {
        return Effect.fail(new LetterUnreadable({ key, issue: letter.issue ?? "it has no payload" }))
      }
      return Effect.flatMap(Effect.fromResult(codec.validate(given.value)), (element) => {
        revived.add(key)
        return Effect.onExit(
          options.revive({
            element,
            id: letter.id,
            attempts: letter.attempts,
            causes: letter.causes,
            letter: key,
            settledUnsafe: () => push({ _tag: "Remove", key })
          }),
          (exit) =>
            Effect.sync(() => {
              if (exit._tag === "Failure") revived.delete(key)
            })
        )
      })
    }

    const letters: DeadLetters<A> = {
      list: Effect.flatMap(keysOf, (keys) =>
        Effect.map(Effect.forEach(keys, read), (all) =>
          all.filter((letter) => letter !== undefined))),
      redrive: (keys, redriveOptions) =>
        redriving.withPermits(1)(Effect.gen(function*() {
          let count = 0
          for (const key of yield* chosen(keys)) {
            const letter = revived.has(key) ? undefined : yield* read(key)
            if (letter === undefined) {
              continue
            }
            yield* redriveOne(letter, redriveOptions?.correct)
            count++
          }
          return count
        })),
      discard: (keys) =>
        Effect.gen(function*() {
          let count = 0
          for (const key of yield* chosen(keys)) {
            if (revived.has(key) || !(yield* asked(key, store.has(key)))) {
              continue
            }
            yield* remove(key)
            count++
          }
          return count
        })
    }

    return {
      letters,
      buryUnsafe: (burial) => {
        pending++
        push({ _tag: "Bury", burial })
      },
      wakeUnsafe: () => {
        if (jobs.length > 0) {
          work.openUnsafe()
        }
      },
      pending: () =>
        pending,
      lastError: () => lastError,
      flushed: Effect.suspend(() => jobs.length === 0 ? Effect.void : idle.await)
    }
  })
