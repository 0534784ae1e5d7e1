/** An async generator, read with `for await`. It has no buffer: each element is asked for. */
import { expect } from "../harness.ts"
import { type Local, sumBelow } from "../local.ts"

async function* generate(n: number): AsyncGenerator<number, void> {
  for (let i = 0; i < n; i++) yield i
}

export const one: Local = async ({ n }) => {
  let sum = 0
  for await (const i of generate(n)) sum += i
  expect("sum", sum, sumBelow(n))
}
