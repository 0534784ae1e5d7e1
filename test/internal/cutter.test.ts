/**
 * What is allocated for frames that are announced and do not come.
 */
import { assert, it } from "@effect/vitest"
import { Result } from "effect"
import * as FrameCutter from "../../src/internal/frameCutter.ts"
import * as Frames from "../../src/internal/frames.ts"

const head = (kind: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setUint32(0, length, true)
  bytes[4] = kind
  return bytes
}

const mebi = 1024 * 1024

/** What is allocated by `run`, in bytes of arrays. */
const allocated = (run: () => void): number => {
  const before = process.memoryUsage().arrayBuffers
  run()
  return process.memoryUsage().arrayBuffers - before
}

it("a thousand announcements of 64 MiB claim little", () => {
  const cutters = Array.from({ length: 1024 }, () => Frames.makeCutter({ frameBytes: 64 * mebi }))
  const claimed = allocated(() => {
    for (const cut of cutters) assert.deepStrictEqual(cut(head(1, 64 * mebi)), Result.succeed([]))
  })
  assert.isAtMost(claimed, 1024 * 66 * 1024 + mebi)
})

it("what is claimed is at most 32 times what has come", () => {
  for (const come of [1, 1000, 100_000, mebi]) {
    const cut = Frames.makeCutter({ frameBytes: 64 * mebi })
    const part = new Uint8Array(1000)
    const claimed = allocated(() => {
      cut(head(1, 64 * mebi))
      for (let i = 0; i < come; i += 1000) cut(part.subarray(0, Math.min(1000, come - i)))
    })
    // What it was copied from may not have been collected yet.
    assert.isAtMost(claimed, 2 * Math.max(64 * 1024, 32 * come) + mebi / 4, `${come} bytes`)
  }
})

it("a frame is whole, aligned and of its own, however slowly it comes", () => {
  const length = 3 * mebi + 5
  const body = Uint8Array.from({ length }, (_, i) => i * 7 + (i >> 8))
  for (const step of [997, 65_536, length]) {
    const cut = Frames.makeCutter({ frameBytes: 64 * mebi })
    const frames: Array<Frames.RawFrame> = [...Result.getOrThrow(cut(head(1, length)))]
    for (let at = 0; at < length; at += step) frames.push(...Result.getOrThrow(cut(body.subarray(at, at + step))))
    assert.strictEqual(frames.length, 1)
    assert.strictEqual(frames[0]!.body.byteOffset, 0)
    assert.strictEqual(Buffer.compare(frames[0]!.body, body), 0)
  }
})

it("control frames have a limit of their own, and limits may change between frames", () => {
  const limits = { frameBytes: 10, controlBytes: 20 }
  const cut = Frames.makeCutter(limits)
  const issue = (result: ReturnType<typeof cut>) => Result.isFailure(result) ? result.failure.issue : "none"
  assert.strictEqual(issue(Frames.makeCutter(limits)(head(0, 21))), "length 21 is over the limit of 20 bytes")
  assert.strictEqual(issue(Frames.makeCutter(limits)(head(1, 11))), "length 11 is over the limit of 10 bytes")
  assert.strictEqual(issue(cut(Buffer.concat([head(0, 20), new Uint8Array(20)]))), "none")
  limits.frameBytes = 100
  assert.strictEqual(issue(cut(head(1, 100))), "none")
})

it("what lies whole and aligned in bytes that are kept is a view of them, all else is a copy", () => {
  const cutter = FrameCutter.make({ frameBytes: mebi })
  const text = Uint8Array.of(123, 125, 32)
  const some = Uint8Array.from({ length: 24 }, (_, i) => i)
  const kept = new Uint8Array(Buffer.concat([head(1, 24), some, head(0, 3), text, head(1, 24), some, head(1, 24)]))
  assert.isUndefined(cutter.take(kept, true))
  const [aligned, control, crooked] = cutter.frames
  assert.strictEqual(aligned?.body.buffer, kept.buffer)
  assert.strictEqual(control?.body.buffer, kept.buffer)
  assert.notStrictEqual(crooked?.body.buffer, kept.buffer)
  assert.strictEqual((crooked?.body.byteOffset ?? 1) % 8, 0)
  assert.strictEqual(cutter.frames.length, 3)
  cutter.take(some, true)
  assert.deepStrictEqual(cutter.frames.map(({ body, kind }) => [kind, ...body]), [
    [1, ...some],
    [0, ...text],
    [1, ...some],
    [1, ...some]
  ])
  const lent = new Uint8Array(Buffer.concat([head(1, 24), some]))
  const copying = FrameCutter.make({ frameBytes: mebi })
  copying.take(lent, false)
  lent.fill(0)
  assert.deepStrictEqual([...copying.frames[0]!.body], [...some])
})

it("the rest of a body can be put where it belongs, in any pieces", () => {
  const length = mebi + 24
  const body = Uint8Array.from({ length }, (_, i) => i * 7 + (i >> 8))
  for (const most of [1, 1000, mebi]) {
    const cutter = FrameCutter.make({ frameBytes: 64 * mebi })
    for (let frame = 0; frame < 2; frame++) {
      assert.isUndefined(cutter.rest())
      cutter.take(head(2, length), true)
      cutter.take(body.subarray(0, 40), true)
      for (let at = 40; at < length;) {
        const rest = cutter.rest()!
        // A byte at a time for the beginning only, or the test would last.
        const count = Math.min(rest.length, at < 2000 ? most : mebi)
        rest.set(body.subarray(at, at + count))
        cutter.filled(count)
        at += count
      }
    }
    for (const frame of cutter.frames) assert.strictEqual(Buffer.compare(frame.body, body), 0)
    assert.strictEqual(cutter.frames.length, 2)
    assert.isUndefined(cutter.take(head(1, 0), true))
    assert.strictEqual(cutter.frames[2]?.body.length, 0)
  }
})
