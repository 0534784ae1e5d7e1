/**
 * Fields of rows to columns of values, and back.
 *
 * The engine remembers, for each place in the source where a field is read by a name it is given, that name and where the
 * objects have it. So there is a place for each of the first eight fields, and fields beyond take turns at them.
 */
import { arrayOf } from "./batchBuffers.ts"

type Row = { [name: string]: unknown }
type Values = ReadonlyArray<unknown>

const places = 8

const takeSome = (rows: Values, names: ReadonlyArray<string>, from: number, columns: ReadonlyArray<Array<unknown>>) => {
  const [a, b, c, d, e, f, g, h] = from === 0 ? names : names.slice(from)
  const [as, bs, cs, ds, es, fs, gs, hs] = from === 0 ? columns : columns.slice(from)
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as Row // an element is read by the names of its Schema
    as![i] = row[a!]
    if (b === undefined) continue
    bs![i] = row[b]
    if (c === undefined) continue
    cs![i] = row[c]
    if (d === undefined) continue
    ds![i] = row[d]
    if (e === undefined) continue
    es![i] = row[e]
    if (f === undefined) continue
    fs![i] = row[f]
    if (g === undefined) continue
    gs![i] = row[g]
    if (h === undefined) continue
    hs![i] = row[h]
  }
}

/** The values of fields, in the order of the names. */
export const takeFields = (rows: Values, names: ReadonlyArray<string>): ReadonlyArray<Array<unknown>> => {
  const columns = names.map(() => arrayOf<unknown>(rows.length))
  for (let from = 0; from < names.length; from += places) takeSome(rows, names, from, columns)
  return columns
}

/** Whether each field holds what it accepts. */
export const holds = (
  u: { readonly [name: string]: unknown },
  names: ReadonlyArray<string>,
  accept: ReadonlyArray<(u: unknown) => boolean>
): boolean => {
  const { length } = names
  if (length > 0 && !accept[0]!(u[names[0]!])) return false
  if (length > 1 && !accept[1]!(u[names[1]!])) return false
  if (length > 2 && !accept[2]!(u[names[2]!])) return false
  if (length > 3 && !accept[3]!(u[names[3]!])) return false
  if (length > 4 && !accept[4]!(u[names[4]!])) return false
  if (length > 5 && !accept[5]!(u[names[5]!])) return false
  if (length > 6 && !accept[6]!(u[names[6]!])) return false
  if (length > 7 && !accept[7]!(u[names[7]!])) return false
  for (let k = places; k < length; k++) {
    if (!accept[k]!(u[names[k]!])) return false
  }
  return true
}

/**
 * Rows of these fields. They are made as literals, so that all have the same shape from the start, at a third of the time
 * that adding one field after the other takes.
 */
export const makeRows = (names: ReadonlyArray<string>, columns: ReadonlyArray<Values>, length: number): Array<Row> => {
  const rows = arrayOf<Row>(length)
  const [a, b, c, d, e, f, g, h] = names as ReadonlyArray<string> & { readonly 0: string }
  const [as, bs, cs, ds, es, fs, gs, hs] = columns
  switch (Math.min(names.length, places)) {
    case 0:
      for (let i = 0; i < length; i++) rows[i] = {}
      break
    case 1:
      for (let i = 0; i < length; i++) rows[i] = { [a]: as![i] }
      break
    case 2:
      for (let i = 0; i < length; i++) rows[i] = { [a]: as![i], [b!]: bs![i] }
      break
    case 3:
      for (let i = 0; i < length; i++) rows[i] = { [a]: as![i], [b!]: bs![i], [c!]: cs![i] }
      break
    case 4:
      for (let i = 0; i < length; i++) rows[i] = { [a]: as![i], [b!]: bs![i], [c!]: cs![i], [d!]: ds![i] }
      break
    case 5:
      for (let i = 0; i < length; i++) {
        rows[i] = { [a]: as![i], [b!]: bs![i], [c!]: cs![i], [d!]: ds![i], [e!]: es![i] }
      }
      break
    case 6:
      for (let i = 0; i < length; i++) {
        rows[i] = { [a]: as![i], [b!]: bs![i], [c!]: cs![i], [d!]: ds![i], [e!]: es![i], [f!]: fs![i] }
      }
      break
    case 7:
      for (let i = 0; i < length; i++) {
        rows[i] = { [a]: as![i], [b!]: bs![i], [c!]: cs![i], [d!]: ds![i], [e!]: es![i], [f!]: fs![i], [g!]: gs![i] }
      }
      break
    default:
      for (let i = 0; i < length; i++) {
        rows[i] = {
          [a]: as![i],
          [b!]: bs![i],
          [c!]: cs![i],
          [d!]: ds![i],
          [e!]: es![i],
          [f!]: fs![i],
          [g!]: gs![i],
          [h!]: hs![i]
        }
      }
  }
  for (let k = places; k < names.length; k++) addField(rows, names[k]!, columns[k]!)
  return rows
}

const addField = (rows: ReadonlyArray<Row>, name: string, values: Values): void => {
  for (let i = 0; i < rows.length; i++) rows[i]![name] = values[i]
}
