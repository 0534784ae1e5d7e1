/**
 * A short run of what `npm run fuzz` does at length: the corpus, some new inputs, and strangers at a host.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Corpus from "./corpus.ts"
import { fuzz } from "./fuzzer.ts"
import { attack } from "./listener.ts"
import * as Seeds from "./seeds.ts"
import { run } from "./targets.ts"

const seeds = Seeds.make(1)
const kept = Corpus.load()

describe("what a peer sends", () => {
  it("inputs that were kept break nothing", () => {
    assert.isAbove(kept.length, 0)
    for (const input of [...seeds, ...kept]) run(input)
  })

  it("20,000 other inputs break nothing", () => {
    const { findings, inputs } = fuzz({ inputs: 20_000, seed: 1, corpus: [...seeds, ...kept] })
    assert.deepStrictEqual(findings.map(({ input, message }) => [Buffer.from(input).toString("hex"), message]), [])
    assert.strictEqual(inputs, 20_000)
  }, 120_000)

  it.live("strangers at a host do no harm to others", () =>
    Effect.gen(function*() {
      const { delivered, findings, refused, streams } = yield* attack({
        streams: 200,
        seed: 1,
        corpus: [...seeds, ...kept]
      })
      assert.deepStrictEqual(findings, [])
      assert.strictEqual(streams, 200)
      assert.isAbove(refused, 20)
      assert.isAbove(delivered, 100)
    }), 60_000)
})
