/** A batch of elements to one piece of bytes and back. */
import { type Case, expect } from "../harness.ts"
import { batches, digestOf, type Name, type Payload, payloads, titles } from "../payloads.ts"
import {
  batchCodec,
  batchCodecStacked,
  batchCodecTrusting,
  json,
  msgpackr,
  schemaBinary,
  schemaJson,
  type Trip,
  v8Serialize
} from "../peers/codecs.ts"
import { comparing, type Group } from "../rows.ts"

const batch = 64

const codecs = (name: Name, goal: number | null): Group => {
  const make = (title: string, trip: (payload: Payload) => Trip) => (): Case => {
    const payload = payloads[name]
    const there = trip(payload)
    let expected = 0
    return {
      name: title,
      payload: payload.title,
      batch,
      window: "none",
      acknowledged: "none",
      clock: "cpu",
      before: async (n) => {
        expected = digestOf(payload, n)
      },
      run: (n) => {
        let sum = 0
        for (const elements of batches(payload.pool, n, batch)) sum += there(elements)
        expect(`${title}: sum of digests`, sum, expected)
      }
    }
  }
  return comparing({
    name: `codec-${name}`,
    title: `Codec round trip, ${titles[name]}, batch ${batch}`,
    cases: {
      ours: make("BatchCodec, validated at both ends", batchCodec),
      stacked: make("BatchCodec, validated, to a stacked batch", batchCodecStacked),
      trusting: make("BatchCodec, validated at the receiver only", batchCodecTrusting),
      msgpackr: make("msgpackr, not validated", msgpackr),
      binary: make("Effect SchemaBinary, validated", schemaBinary),
      schema: make("JSON by the Schema, validated", schemaJson),
      json: make("JSON, not validated", json),
      v8: make("v8.serialize, not validated", v8Serialize)
    },
    rows: [
      { row: `codec-${name}`, ours: ["ours"], peer: ["msgpackr"], goal },
      { row: `codec-${name}-stacked`, ours: ["stacked"], peer: ["msgpackr"], goal: null },
      { row: `codec-${name}-validation`, ours: ["ours"], peer: ["trusting"], goal: null },
      { row: `codec-${name}-binary`, ours: ["ours"], peer: ["binary"], goal: null },
      { row: `codec-${name}-schema-json`, ours: ["ours"], peer: ["schema"], goal: null },
      { row: `codec-${name}-json`, ours: ["ours"], peer: ["json"], goal: null },
      { row: `codec-${name}-v8`, ours: ["ours"], peer: ["v8"], goal: null }
    ]
  })
}

export const groups: ReadonlyArray<Group> = [codecs("small", 2), codecs("tensor", 2.5), codecs("image", null)]
