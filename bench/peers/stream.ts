/** A `Stream` whose producer runs in a fiber of its own, behind a buffer. */
import { Effect, Stream } from "effect"
import { expect } from "../harness.ts"
import { type Local, sumBelow } from "../local.ts"

export const one: Local = ({ capacity, n }) =>
  Effect.runPromise(Effect.gen(function*() {
    let sum = 0
    yield* Stream.range(0, n - 1, 1).pipe(
      Stream.buffer({ capacity }),
      Stream.runForEach((i) =>
        Effect.sync(() => {
          sum += i
        })
      )
    )
    expect("sum", sum, sumBelow(n))
  }))
